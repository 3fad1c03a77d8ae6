//! Plans on the simulator: which products go there, and why others do not.

use std::sync::Arc;

use undertone_kernels::{
    Context, Device, DeviceKind, LinearSpec, Precision, Serial, WeightLayout,
    host::HostDevice,
    npu::{OpenNpu, Placement, Problem, Rates, Settings, Target, simulator},
    numbers::largest_magnitude,
};

use super::{Plan, placement::why_not_on_npu};
use crate::{
    graph::DataType,
    memory::{Shape, Shared, Store},
    options::{DeviceChoice, Options},
    testing::{Builder, floats, noise, run},
};

const INPUTS: usize = 70;
const OUTPUTS: usize = 40;
/// Rows that are worth a dispatch beside [`SLOW`], and rows that are not.
const MANY: usize = 128;
const FEW: usize = 3;

/// A host beside which small products pay.
const SLOW: Rates = Rates {
    products_int8: 5e9,
    products_bf16: 5e9,
    attention_int8: 5e9,
    attention_bf16: 5e9,
    memory: 5e9,
    ..Rates::ASSUMED
};

fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = largest_magnitude(a);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.02 * largest)
}

#[test]
fn a_plan_on_the_simulator_places_products_by_their_rows() {
    let plan_of = |rows: usize| {
        let graph = Builder::default()
            .input("x", DataType::F32, &[rows, INPUTS])
            .constant("w", &[INPUTS, OUTPUTS], &noise(INPUTS * OUTPUTS, 1))
            .node("MatMul", &["x", "w"], "y")
            .build(&["y"]);
        let options = Options { asked: DeviceChoice::Sim, device: DeviceKind::Sim, ..Options::default() };
        let settings = Settings::default();
        let npu = Arc::new(OpenNpu::new(simulator(&settings), settings, SLOW));
        let store_of = Shared::default();
        let plan =
            Plan::build(&graph, &options, &Store::new(&store_of).on(Some(Arc::clone(&npu)), false)).expect("a plan");
        let x = noise(rows * INPUTS, 3);
        let made = run(&plan, &graph, &[floats(&[rows, INPUTS], &x)], 1 << 20).expect("a run");
        let calls: u64 = npu.device().statistics().operators.values().map(|operator| operator.calls).sum();
        (made[0].floats(), calls, x)
    };
    let (few, calls, _) = plan_of(FEW);
    assert_eq!((few.len(), calls), (FEW * OUTPUTS, 0));
    let (many, calls, x) = plan_of(MANY);
    assert_eq!(calls, 1);
    let spec = LinearSpec::new(INPUTS, OUTPUTS, Precision::F32);
    let exact = HostDevice::new()
        .linear(&spec, &noise(INPUTS * OUTPUTS, 1), WeightLayout::InputsByOutputs, None)
        .expect("taken");
    let mut wanted = vec![0.0; MANY * OUTPUTS];
    Context::fresh(&Serial, |context| exact.run(context, MANY, &x, None, &mut wanted)).0.expect("done");
    assert!(close(&wanted, &many));
}

#[test]
fn what_is_left_to_the_host_has_a_reason() {
    let options = Options { asked: DeviceChoice::Sim, device: DeviceKind::Sim, ..Options::default() };
    let placement = Placement::new(Target::Npu4, Rates::ASSUMED);
    let graph = Builder::default()
        .input("x", DataType::F32, &[1, 384])
        .constant("w", &[384, 1536], &noise(384 * 1536, 1))
        .node("MatMul", &["x", "w"], "y")
        .build(&["y"]);
    let program = crate::fusion::fuse(&graph, crate::lower::lower(&graph));
    let work = crate::plan::Estimate::of(&graph, &program);
    let step = &program.steps[0];
    let reason = why_not_on_npu(step, &options, &placement, &work.shapes).expect("one row is the host's");
    let problem = Problem::Linear { rows: 1, inputs: 384, outputs: 1536 };
    assert_eq!(reason, placement.weigh(Precision::Int8, problem).expect("a design").to_string());
    assert!(reason.starts_with("1×384×1536: predicted 0."), "{reason}");
    let unknown: Vec<Option<Shape>> = vec![None; work.shapes.len()];
    assert_eq!(why_not_on_npu(step, &options, &placement, &unknown), None, "unknown rows are many");
    let exact = Options { precision: Precision::F32, ..options };
    assert!(why_not_on_npu(step, &exact, &placement, &work.shapes).is_some_and(|reason| reason.contains("fp32")));
}
