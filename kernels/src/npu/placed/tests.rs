//! The simulator beside the host, and one that fails: who computes what, what falls back, and what is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use undertone_boundary::npu::{FallbackReport, NpuReport};

use super::*;
use crate::{
    Activation, AttentionArgs, Heads, HeadsMut, Mask, Serial,
    npu::{NpuDevice, Settings, Target, device::simulator, rates::Rates},
    reference::{noise::noise, whisper::convolution},
};

const INPUTS: usize = 70;
const OUTPUTS: usize = 40;
/// Rows that are worth a dispatch beside [`SLOW`], and rows that are not.
const MANY: usize = 128;
const FEW: usize = 3;

/// A host beside which small products pay.
pub(super) const SLOW: Rates = Rates {
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
    lists_fail: bool,
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

    fn to_host(&self, wide_rows: bool) -> Option<Box<dyn Linear>> {
        self.below.to_host(wide_rows)
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

    fn products(&self, context: &mut Context<'_>, rows: &Rows<'_>, products: &mut [Product<'_>]) -> Result<(), Failed> {
        if self.lists_fail {
            return Err(Failed { device: self.kind(), operator: "linear", reason: "the list burnt".into() });
        }
        let below = products.iter_mut().map(|product| {
            let layer: &FailingLinear = product.layer.as_own().expect("this device's own");
            product.with(&*layer.below)
        });
        self.below.products(context, rows, &mut below.collect::<Vec<_>>())
    }

    fn mlp(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        first: &(dyn Linear + 'static),
        hidden: usize,
        second: Product<'_>,
    ) -> Result<(), Failed> {
        self.below.mlp(context, rows, first, hidden, second)
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

/// An NPU of which the next `failures` layers fail, beside a slow host.
fn device(failures: u64, falls_back: bool) -> (PlacedDevice, Arc<AtomicU64>) {
    device_of(failures, false, falls_back)
}

fn device_of(failures: u64, lists_fail: bool, falls_back: bool) -> (PlacedDevice, Arc<AtomicU64>) {
    let left = Arc::new(AtomicU64::new(failures));
    let settings = Settings::default();
    let device = Failing { below: simulator(&settings), left: Arc::clone(&left), lists_fail };
    let npu = Arc::new(OpenNpu::new(Arc::new(device), settings, SLOW));
    (PlacedDevice::new(npu, HostDevice::new(), falls_back), left)
}

fn layer_of(device: &dyn Device, outputs: usize, activation: Activation) -> Box<dyn Linear> {
    let spec = LinearSpec { activation, scale: 0.5, ..LinearSpec::new(INPUTS, outputs, Precision::Int8) };
    let (weights, bias) = (noise(INPUTS * outputs, 1), noise(outputs, 2));
    device.linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).expect("taken")
}

fn layer(device: &dyn Device) -> Box<dyn Linear> {
    layer_of(device, OUTPUTS, Activation::Gelu)
}

/// Does something: what it gives, and kernels by device.
pub(super) fn counting<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> (T, [u64; 2]) {
    let (done, counters) = Context::fresh(&Serial, work);
    (done, [DeviceKind::Host, DeviceKind::Sim].map(|device| counters.calls(device)))
}

/// Runs a layer: its result, and kernels by device.
fn compute(layer: &dyn Linear, rows: usize) -> (Result<Vec<f32>, Failed>, [u64; 2]) {
    let mut out = vec![0.0; rows * OUTPUTS];
    let (done, calls) = counting(|context| layer.run(context, rows, &noise(rows * INPUTS, 3), None, &mut out));
    (done.map(|()| out), calls)
}

pub(super) fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = crate::numbers::largest_magnitude(a);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 0.02 * largest)
}

#[test]
fn many_rows_go_to_the_npu_and_few_to_the_host() {
    let (device, _) = device(0, false);
    let layer = layer(&device);
    assert_eq!(layer.device(), DeviceKind::Sim);
    let (many, calls) = compute(&*layer, MANY);
    assert_eq!(calls, [0, 1]);
    let (few, calls) = compute(&*layer, FEW);
    assert_eq!(calls, [1, 0]);
    assert!(many.expect("done").iter().chain(&few.expect("done")).all(|value| value.is_finite()));
    assert_eq!(device.npu().fallbacks(), FallbackReport::default());
}

#[test]
fn a_failure_is_an_error_where_the_npu_was_named() {
    let (device, _) = device(1, false);
    let layer = layer(&device);
    let (done, calls) = compute(&*layer, MANY);
    let failure = done.expect_err("it fails").to_string();
    assert!(failure.contains("the array burnt") && failure.contains("linear failed on the sim device"), "{failure}");
    assert_eq!((calls, device.npu().fallbacks().calls), ([0, 0], 0));
    assert!(compute(&*layer, MANY).0.is_ok());
}

#[test]
fn with_auto_the_host_takes_over_and_it_is_counted() {
    let (device, left) = device(2, true);
    let (npu, layer) = (device.npu(), layer(&device));
    let taken_over = compute(&*layer, MANY);
    assert_eq!(taken_over.1, [1, 0]);
    let again = compute(&*layer, MANY);
    assert_eq!(again.1, [1, 0]);
    let worked = compute(&*layer, MANY);
    assert_eq!(worked.1, [0, 1]);
    assert!(close(&taken_over.0.expect("done"), &worked.0.expect("done")));
    let fallbacks = npu.fallbacks();
    assert_eq!((fallbacks.calls, fallbacks.refused), (2, 0));
    assert!(fallbacks.reason.is_some_and(|reason| reason.contains("the array burnt")));
    assert!(!npu.is_given_up());

    // Three in a row are enough: it is not tried again, though it would work.
    left.store(3, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(compute(&*layer, MANY).1, [1, 0]);
    }
    assert!(npu.is_given_up());
    assert_eq!((left.load(Ordering::Relaxed), npu.fallbacks().calls), (0, 7));
    // Few rows would be the host's in any case: nothing falls back.
    assert_eq!(compute(&*layer, FEW).1, [1, 0]);
    assert_eq!(npu.fallbacks().calls, 7);
    // Nor is a command tried.
    let (done, calls) = together(&device, &[&*layer], MANY);
    assert_eq!((done.is_ok(), calls, npu.fallbacks().calls), (true, [1, 0], 8));
}

/// An outlier leaves rows of 8 bits little of the other values.
#[test]
fn what_stays_on_the_host_has_the_rows_that_were_asked_for() {
    let (device, _) = device(0, false);
    let mut x = noise(FEW * INPUTS, 3);
    x.chunks_exact_mut(INPUTS).for_each(|row| row[5] = 400.0);
    let weights = noise(INPUTS * OUTPUTS, 1);
    let run = |device: &dyn Device, wide_rows: bool| {
        let spec = LinearSpec { wide_rows, ..LinearSpec::new(INPUTS, OUTPUTS, Precision::Int8) };
        let layer = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, None).expect("taken");
        let mut out = vec![0.0; FEW * OUTPUTS];
        let (done, calls) = counting(|context| layer.run(context, FEW, &x, None, &mut out));
        assert_eq!((done, calls), (Ok(()), [1, 0]));
        out
    };
    let [placed, wide, narrow] = [run(&device, true), run(&HostDevice::new(), true), run(&HostDevice::new(), false)];
    let off = |from: &[f32]| placed.iter().zip(from).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off(&wide) * 20.0 < off(&narrow), "{} {}", off(&wide), off(&narrow));
}

/// Layers of the same rows through the device.
fn together(device: &dyn Device, layers: &[&(dyn Linear + 'static)], rows: usize) -> (Result<(), Failed>, [u64; 2]) {
    let (x, mut out) = (noise(rows * INPUTS, 3), vec![vec![0.0; rows * OUTPUTS]; layers.len()]);
    counting(|context| {
        let products = layers.iter().zip(&mut out);
        let mut products: Vec<Product<'_>> =
            products.map(|(layer, out)| Product { layer: *layer, outputs: OUTPUTS, residual: None, out }).collect();
        device.products(context, &Rows { x: &x, rows, inputs: INPUTS, norm: None }, &mut products)
    })
}

#[test]
fn a_list_that_fails_is_counted_though_its_kernels_succeed_by_themselves() {
    for (falls_back, retried) in [(true, 1), (false, 0)] {
        let (device, _) = device_of(0, true, falls_back);
        let layer = layer(&device);
        let (done, calls) = together(&device, &[&*layer], MANY);
        assert_eq!((done.is_ok(), calls), (falls_back, [0, u64::from(falls_back)]));
        let fallbacks = device.npu().fallbacks();
        assert_eq!((fallbacks.calls, fallbacks.retried), (0, retried));
        assert_eq!(fallbacks.reason.is_some_and(|reason| reason.contains("the list burnt")), falls_back);
    }
}

#[test]
fn layers_go_together_to_the_device_where_all_of_them_have_their_place() {
    let (device, _) = device(0, false);
    let layers = [layer(&device), layer(&device)];
    let (done, calls) = together(&device, &[&*layers[0], &*layers[1]], MANY);
    assert_eq!((done.is_ok(), calls), (true, [0, 2]));
    let statistics = device.npu().device().statistics();
    assert_eq!(statistics.operators.values().map(|operator| operator.dispatches).sum::<u64>(), 1);
    let (done, calls) = together(&device, &[&*layers[0], &*layers[1]], FEW);
    assert_eq!((done.is_ok(), calls), (true, [2, 0]));
    // One that the host prepared beside one that is placed.
    let host = layer(&HostDevice::new());
    let (done, calls) = together(&device, &[&*layers[0], &*host], MANY);
    assert_eq!((done.is_ok(), calls), (true, [1, 1]));
}

#[test]
fn grouped_layers_give_what_single_ones_give_to_the_bit() {
    let (device, _) = device(0, false);
    let gain = noise(INPUTS, 7);
    let norm = crate::Norm { gain: &gain, bias: None, epsilon: 1e-5 };
    for rows in [FEW, MANY] {
        let x = noise(rows * INPUTS, 3);
        let from = Rows { x: &x, rows, inputs: INPUTS, norm: Some(&norm) };
        let first = layer_of(&device, INPUTS, Activation::Gelu);
        let second = layer(&device);
        let mut normed = vec![0.0; x.len()];
        let (mut hidden, mut wanted, mut got) =
            (vec![0.0; rows * INPUTS], vec![0.0; rows * OUTPUTS], vec![0.0; rows * OUTPUTS]);
        counting(|context| {
            HostDevice::new().layer_norm(context, rows, &norm, &x, &mut normed);
            first.run(context, rows, &normed, None, &mut hidden).expect("done");
            second.run(context, rows, &hidden, None, &mut wanted).expect("done");
            let second = Product { layer: &*second, outputs: OUTPUTS, residual: None, out: &mut got };
            device.mlp(context, &from, &*first, INPUTS, second).expect("done");
        });
        assert_eq!(got, wanted, "{rows} rows");
    }
}

/// Convolutions and attention decide as products do, each time they run.
#[test]
fn convolutions_and_attention_of_few_rows_are_the_host_s() {
    let (device, _) = device(0, false);
    let spec = convolution(24, OUTPUTS, 1, Precision::Int8);
    let spec = Conv1dSpec { activation: Activation::None, input_channels_last: true, ..spec };
    let conv = device.conv1d(&spec, &noise(OUTPUTS * 24 * 3, 1), None).expect("taken");
    let heads = AttentionSpec { head_width: 64, scale: 0.125, precision: Precision::Int8 };
    let attention = device.attention(&heads).expect("taken");
    for (rows, on_npu) in [(MANY, [0, 1]), (FEW, [1, 0])] {
        let (done, calls) =
            counting(|context| conv.run(context, 1, rows, &noise(rows * 24, 2), &mut vec![0.0; rows * OUTPUTS]));
        assert_eq!((done.is_ok(), calls), (true, on_npu), "convolution of {rows}");
        let x = noise(MANY * 64, 3);
        let view = Heads::new(&x, [MANY * 64, 64, 64]);
        let data = &mut vec![0.0; rows * 64];
        let out = HeadsMut::new(data, [rows * 64, 64, 64]);
        let (q, k, v, mask) = (view, view, view, Mask::None);
        let args = AttentionArgs { batch: 1, heads: 1, queries: rows, keys: MANY, q, k, v, mask, out };
        let (done, calls) = counting(|context| attention.run(context, args));
        assert_eq!((done.is_ok(), calls), (true, on_npu), "attention of {rows}");
    }
}

/// The simulator's refusals are the host's kernels; a named NPU's would be errors.
#[test]
fn what_the_npu_refuses_the_host_takes_and_it_is_counted() {
    let (device, _) = device(0, false);
    let heads = AttentionSpec { head_width: 32, scale: 0.125, precision: Precision::Int8 };
    assert_eq!(device.attention(&heads).expect("the host's").device(), DeviceKind::Host);
    let fallbacks = device.npu().fallbacks();
    assert_eq!(fallbacks.refused, 1);
    assert!(fallbacks.reason.is_some_and(|reason| reason.contains("64 wide")));
}
