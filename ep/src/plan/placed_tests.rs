//! Kernels on an NPU, on the simulator and on one that fails: who computes what, what falls back, and what is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use undertone_boundary::npu::{FallbackReport, NpuReport};
use undertone_kernels::{
    Attention, AttentionArgs, AttentionSpec, Context, Conv1d, Conv1dSpec, Counters, Device, DeviceKind, Failed, Heads,
    HeadsMut, Linear, LinearSpec, Mask, Precision, Scratch, Serial, Unsupported, WeightLayout,
    host::{HostDevice, linear::Product},
    npu::{NpuDevice, Problem, Settings, Target, device::simulator, placement::Placement, rates::Rates},
};

use super::{
    Plan, Shared, Store,
    placed::{PlacedAttention, PlacedConv1d, PlacedLinear, Placing, why_not_on_npu},
    tensor::Shape,
};
use crate::{
    graph::DataType,
    npu::OpenNpu,
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

/// An NPU whose layers fail as often as is said, and then compute.
struct Failing {
    below: Arc<dyn NpuDevice>,
    left: Arc<AtomicU64>,
}

struct FailingLinear {
    below: Box<dyn Linear>,
    left: Arc<AtomicU64>,
}

impl Linear for FailingLinear {
    fn device(&self) -> DeviceKind {
        self.below.device()
    }

    fn precision(&self) -> Precision {
        self.below.precision()
    }

    fn weight_bytes(&self) -> usize {
        self.below.weight_bytes()
    }

    fn parts(&self) -> Option<Vec<&[u8]>> {
        None
    }

    fn to_host(&self) -> Option<Box<dyn Linear>> {
        self.below.to_host()
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let fails = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if fails {
            out.fill(f32::NAN);
            return Err(Failed { device: self.device(), operator: "linear", reason: "the array burnt".into() });
        }
        self.below.run(context, rows, x, residual, out)
    }

    /// A list always fails.
    fn run_together(
        &self,
        _: &mut Context<'_>,
        _: usize,
        _: &[f32],
        _: &mut [Product<'_>],
    ) -> Option<Result<(), Failed>> {
        Some(Err(Failed { device: self.device(), operator: "linear", reason: "the list burnt".into() }))
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl Device for Failing {
    fn kind(&self) -> DeviceKind {
        self.below.kind()
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        let below = self.below.linear(spec, weights, layout, bias)?;
        Ok(Box::new(FailingLinear { below, left: Arc::clone(&self.left) }))
    }

    fn attention(&self, spec: &AttentionSpec) -> Result<Box<dyn Attention>, Unsupported> {
        self.below.attention(spec)
    }

    fn conv1d(&self, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<Box<dyn Conv1d>, Unsupported> {
        self.below.conv1d(spec, weights, bias)
    }
}

impl NpuDevice for Failing {
    fn target(&self) -> Target {
        self.below.target()
    }

    fn statistics(&self) -> NpuReport {
        self.below.statistics()
    }
}

/// An NPU of which the next `failures` kernels fail.
fn npu(failures: u64) -> (Arc<OpenNpu>, Arc<AtomicU64>) {
    let left = Arc::new(AtomicU64::new(failures));
    let settings = Settings::default();
    let device = Failing { below: simulator(&settings), left: Arc::clone(&left) };
    (Arc::new(OpenNpu::new(Arc::new(device), settings).beside(SLOW)), left)
}

fn layer(npu: &Arc<OpenNpu>, falls_back: bool) -> PlacedLinear {
    let spec = LinearSpec {
        inputs: INPUTS,
        outputs: OUTPUTS,
        precision: Precision::Int8,
        wide_rows: false,
        activation: undertone_kernels::Activation::Gelu,
        scale: 0.5,
    };
    let weights = noise(INPUTS * OUTPUTS, 1);
    let layer = npu.device().linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&noise(OUTPUTS, 2)));
    PlacedLinear::new(layer.expect("taken"), &spec, Placing { npu: Arc::clone(npu), falls_back })
}

/// Runs a layer: its result, and kernels by device.
fn compute(layer: &dyn Linear, rows: usize) -> (Result<Vec<f32>, Failed>, [u64; 2]) {
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
    let mut out = vec![0.0; rows * OUTPUTS];
    let done = layer.run(&mut context, rows, &noise(rows * INPUTS, 3), None, &mut out);
    (done.map(|()| out), [DeviceKind::Host, DeviceKind::Sim].map(|device| counters.calls(device)))
}

fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = a.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.02 * largest)
}

#[test]
fn many_rows_go_to_the_npu_and_few_to_the_host() {
    let (npu, _) = npu(0);
    let layer = layer(&npu, false);
    assert_eq!(layer.device(), DeviceKind::Sim);
    let (many, calls) = compute(&layer, MANY);
    assert_eq!(calls, [0, 1]);
    let (few, calls) = compute(&layer, FEW);
    assert_eq!(calls, [1, 0]);
    // Both are nearly the same product.
    let (many, few) = (many.expect("done"), few.expect("done"));
    assert!(many.iter().chain(&few).all(|value| value.is_finite()));
    assert_eq!(npu.fallbacks(), FallbackReport::default());
}

#[test]
fn a_failure_is_an_error_where_the_npu_was_named() {
    let (npu, _) = npu(1);
    let layer = layer(&npu, false);
    let (done, calls) = compute(&layer, MANY);
    let failure = done.expect_err("it fails").to_string();
    assert!(failure.contains("the array burnt") && failure.contains("linear failed on the sim device"), "{failure}");
    assert_eq!((calls, npu.fallbacks().calls), ([0, 0], 0));
    assert!(compute(&layer, MANY).0.is_ok());
}

#[test]
fn with_auto_the_host_takes_over_and_it_is_counted() {
    let (npu, left) = npu(2);
    let layer = layer(&npu, true);
    let taken_over = compute(&layer, MANY);
    assert_eq!(taken_over.1, [1, 0]);
    let again = compute(&layer, MANY);
    assert_eq!(again.1, [1, 0]);
    let worked = compute(&layer, MANY);
    assert_eq!(worked.1, [0, 1]);
    assert!(close(&taken_over.0.expect("done"), &worked.0.expect("done")));
    let fallbacks = npu.fallbacks();
    assert_eq!((fallbacks.calls, fallbacks.refused), (2, 0));
    assert!(fallbacks.reason.is_some_and(|reason| reason.contains("the array burnt")));
    assert!(!npu.is_given_up());

    // Three in a row are enough: it is not tried again, though it would work.
    left.store(3, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(compute(&layer, MANY).1, [1, 0]);
    }
    assert!(npu.is_given_up());
    assert_eq!((left.load(Ordering::Relaxed), npu.fallbacks().calls), (0, 7));
    // Few rows would be the host's in any case: nothing falls back.
    assert_eq!(compute(&layer, FEW).1, [1, 0]);
    assert_eq!(npu.fallbacks().calls, 7);
}

#[test]
fn a_list_that_fails_is_counted_though_its_kernels_succeed_by_themselves() {
    for (falls_back, retried) in [(true, 1), (false, 0)] {
        let (npu, _) = npu(0);
        let layer = layer(&npu, falls_back);
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
        let (x, mut out) = (noise(MANY * INPUTS, 3), vec![0.0; MANY * OUTPUTS]);
        let mut products = [Product { layer: &layer, outputs: OUTPUTS, residual: None, out: &mut out }];
        let done = layer.run_together(&mut context, MANY, &x, &mut products);
        // `None`: the caller goes on one by one.
        assert_eq!(done.is_none(), falls_back);
        let fallbacks = npu.fallbacks();
        assert_eq!((fallbacks.calls, fallbacks.retried), (0, retried));
        assert_eq!(fallbacks.reason.is_some_and(|reason| reason.contains("the list burnt")), falls_back);
    }
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
        let (npu, _) = npu(0);
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
    let spec = LinearSpec {
        inputs: INPUTS,
        outputs: OUTPUTS,
        precision: Precision::F32,
        wide_rows: false,
        activation: undertone_kernels::Activation::None,
        scale: 1.0,
    };
    let exact = HostDevice::new()
        .linear(&spec, &noise(INPUTS * OUTPUTS, 1), WeightLayout::InputsByOutputs, None)
        .expect("taken");
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
    let mut wanted = vec![0.0; MANY * OUTPUTS];
    exact.run(&mut context, MANY, &x, None, &mut wanted).expect("done");
    assert!(close(&wanted, &many));
}

/// Convolutions and attention decide as products do, each time they run.
#[test]
fn convolutions_and_attention_of_few_rows_are_the_host_s() {
    let (npu, _) = npu(0);
    let placing = || Placing { npu: Arc::clone(&npu), falls_back: false };
    let spec = Conv1dSpec {
        in_channels: 24,
        out_channels: OUTPUTS,
        width: 3,
        stride: 1,
        padding: [1, 1],
        precision: Precision::Int8,
        activation: undertone_kernels::Activation::None,
        input_channels_last: true,
        output_channels_last: true,
    };
    let conv = npu.device().conv1d(&spec, &noise(OUTPUTS * 24 * 3, 1), None).expect("taken");
    let conv = PlacedConv1d::new(conv, &spec, placing());
    let heads = AttentionSpec { head_width: 64, scale: 0.125, precision: Precision::Int8 };
    let attention = npu.device().attention(&heads).expect("taken");
    let attention = PlacedAttention::new(attention, &heads, placing()).expect("the host takes it too");
    for (rows, on_npu) in [(MANY, [0, 1]), (FEW, [1, 0])] {
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
        conv.run(&mut context, 1, rows, &noise(rows * 24, 2), &mut vec![0.0; rows * OUTPUTS]).expect("done");
        let calls = || [DeviceKind::Host, DeviceKind::Sim].map(|device| counters.calls(device));
        assert_eq!(calls(), on_npu, "convolution of {rows}");
        let x = noise(MANY * 64, 3);
        let view = Heads { data: &x, batch_stride: MANY * 64, head_stride: 64, row_stride: 64 };
        let data = &mut vec![0.0; rows * 64];
        let out = HeadsMut { data, batch_stride: rows * 64, head_stride: 64, row_stride: 64 };
        let (q, k, v, mask) = (view, view, view, Mask::None);
        let args = AttentionArgs { batch: 1, heads: 1, queries: rows, keys: MANY, q, k, v, mask, out };
        attention.run(&mut context, args).expect("done");
        assert_eq!(calls(), on_npu.map(|calls| 2 * calls), "attention of {rows}");
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
    let work = crate::work::Work::estimate(&graph, &program);
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
