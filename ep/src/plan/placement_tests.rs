//! Plans on the simulator: which products go there, and why others do not.

use std::sync::Arc;

use undertone_kernels::{
    Context, Device, DeviceKind, LinearSpec, Precision, Serial, WeightLayout,
    host::HostDevice,
    npu::{OpenNpu, Placement, Problem, Rates, Settings, Target, simulator},
    numbers::largest_magnitude,
};

use super::{Plan, placement::why_not_on_npu, smooth};
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

/// How many rows there are is known when it runs: the product is prepared for the NPU, and one row is the host's.
#[test]
fn logits_beside_an_npu_are_those_of_the_host_alone() {
    const VOCABULARY: usize = 20 * INPUTS;
    let mut graph = Builder::default()
        .input("x", DataType::F32, &[1, INPUTS])
        .constant("w", &[INPUTS, VOCABULARY], &noise(INPUTS * VOCABULARY, 1))
        .node("MatMul", &["x", "w"], "y")
        .build(&["y"]);
    graph.values[graph.inputs[0]].shape = None;
    let mut x = noise(INPUTS, 3);
    x[5] = 400.0;
    let [beside, alone] = [true, false].map(|beside| {
        let device = if beside { DeviceKind::Sim } else { DeviceKind::Host };
        let options = Options { device, ..Options::default() };
        let settings = Settings::default();
        let npu = beside.then(|| Arc::new(OpenNpu::new(simulator(&settings), settings, Rates::ASSUMED)));
        let plan = Plan::build(&graph, &options, &Store::new(&Shared::default()).on(npu, false)).expect("a plan");
        run(&plan, &graph, &[floats(&[1, INPUTS], &x)], 1 << 20).expect("a run")[0].floats()
    });
    // With rows of 8 bits, all but the outlier would be off by a hundredth of it.
    assert!(beside.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 0.05), "{:?} {:?}", &beside[..4], &alone[..4]);
}

/// An encoder's layer on the simulator: five kernels hand their results on there, and two, and the sums are those of
/// single steps to the bit. A batch, and rows that are not worth it.
#[test]
fn a_layer_that_stays_on_the_array_gives_what_its_steps_give() {
    const WIDTH: usize = 128;
    for (batch, length) in [(1, MANY), (2, 100), (1, FEW)] {
        let (shape, rows) = ([batch, length, WIDTH], batch * length);
        let mut graph = Builder::default()
            .input("x", DataType::F32, &shape)
            .constant("gain", &[WIDTH], &noise(WIDTH, 1))
            .constant("bias", &[WIDTH], &noise(WIDTH, 2));
        let layers = [("q", 1, 1), ("k", 1, 1), ("v", 1, 1), ("o", 1, 1), ("fc1", 1, 4), ("fc2", 4, 1)];
        for (at, (name, inputs, outputs)) in layers.into_iter().enumerate() {
            let sizes = [inputs * WIDTH, outputs * WIDTH];
            graph = graph.constant(&format!("w{name}"), &sizes, &noise(sizes[0] * sizes[1], 3 + at as u64));
        }
        graph = graph.node("LayerNormalization", &["x", "gain", "bias"], "n").node_of(
            "Shape",
            &["n"],
            &[("sizes", DataType::I64)],
            &[],
        );
        for part in ["q", "k", "v"] {
            graph = graph.node("MatMul", &["n", &format!("w{part}")], &format!("{part} of n"));
            graph = graph.node("Reshape", &[&format!("{part} of n"), "sizes"], part).shape(part, &shape);
        }
        let graph = graph
            .two_heads("mixed")
            .node("MatMul", &["mixed", "wo"], "o")
            .shape("o", &shape)
            .node("Add", &["o", "x"], "y")
            .shape("y", &shape)
            .node("LayerNormalization", &["y", "gain", "bias"], "m")
            .node("MatMul", &["m", "wfc1"], "h")
            .node("MatMul", &["h", "wfc2"], "f")
            .shape("f", &shape)
            .node("Add", &["f", "y"], "sum")
            .node("Erf", &["sum"], "z")
            .build(&["z"]);
        for precision in [Precision::Int8, Precision::Bf16] {
            let options =
                Options { asked: DeviceChoice::Sim, device: DeviceKind::Sim, precision, ..Options::default() };
            let x = noise(rows * WIDTH, 9);
            let [(got, counted), (wanted, counted_singly)] = [true, false].map(|together| {
                let settings = Settings::default();
                let npu = Arc::new(OpenNpu::new(simulator(&settings), settings, SLOW));
                let shared = Shared::default();
                let store = Store::new(&shared).on(Some(Arc::clone(&npu)), false);
                let plan = if together {
                    Plan::build(&graph, &options, &store)
                } else {
                    let mut program = crate::fusion::fuse(&graph, crate::lower::lower(&graph));
                    let graph = smooth(&graph, &mut program, &options);
                    Plan::from_program(&graph, program, &options, &store)
                };
                let made = run(&plan.expect("a plan"), &graph, &[floats(&shape, &x)], 1 << 20).expect("a run");
                let operators = npu.device().statistics().operators;
                let calls = operators.values().map(|operator| (operator.calls, operator.dispatches));
                (made[0].floats(), calls.fold((0, 0), |sum, now| (sum.0 + now.0, sum.1 + now.1)))
            });
            assert!(got == wanted, "{precision} {shape:?}");
            let [expected, singly] = if length == FEW { [(0, 0); 2] } else { [(7, 5), (7, 7)] };
            assert_eq!((counted, counted_singly), (expected, singly), "{precision} {shape:?}");
        }
    }
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
