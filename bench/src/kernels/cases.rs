//! Kernels with operands of their own, ready to be run again and again.

use std::rc::Rc;

use undertone_kernels::host::{HostDevice, Isa, KvCache, Side};
use undertone_kernels::reference::noise::noise;
use undertone_kernels::{
    Activation, Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, Conv1dSpec, Counters, Device as _,
    Failed, Heads, HeadsMut, Linear, LinearSpec, Mask, Norm, Precision, Scratch, Serial, Unsupported, WeightLayout,
};

use super::{BatchedProducts, milliseconds};
use crate::{limits::Work, median};

/// Bytes that a pass over the copies of weights or of a cache reads: half a millisecond or more.
const PASS_BYTES: usize = 16 << 20;

/// Values that a layer norm works on in a run, at least: some ten microseconds.
const SHORT_VALUES: usize = 1 << 17;

/// A kernel and its operands.
pub struct Case {
    /// What it is in a model.
    pub name: String,
    /// The instruction set.
    pub isa: Isa,
    /// Its sizes.
    pub shape: String,
    /// The precision that its products really use.
    pub precision: Precision,
    /// What a call has to do.
    pub work: Work,
    /// Calls in a run: one with each copy of the operands.
    pub calls: usize,
    /// Whether its operands are to come from memory: what the machine's caches hold of them must be driven out before a
    /// run.
    pub streamed: bool,
    /// A run.
    pub run: Box<dyn FnMut(&mut Context<'_>)>,
}

/// A linear layer; in several copies where its time is that of reading them.
pub struct Weights {
    device: HostDevice,
    inputs: usize,
    outputs: usize,
    copies: Vec<Box<dyn Linear>>,
    streamed: bool,
}

impl Weights {
    /// Random weights; `streamed` if they are to be read from memory in every call.
    pub fn linear(
        device: HostDevice,
        inputs: usize,
        outputs: usize,
        activation: Activation,
        precision: Precision,
        streamed: bool,
    ) -> Rc<Self> {
        let spec = LinearSpec { inputs, outputs, precision, wide_rows: false, activation, scale: 1.0 };
        let (weights, bias) = (noise(inputs * outputs, 1), noise(outputs, 1));
        let copy = || prepared(device.linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)));
        let mut all = vec![copy()];
        let wanted = if streamed { copies(all[0].weight_bytes()) } else { 1 };
        all.resize_with(wanted, copy);
        Rc::new(Self { device, inputs, outputs, copies: all, streamed })
    }
}

/// So many copies of something of this size that a pass over them takes long enough to be timed.
fn copies(bytes: usize) -> usize {
    PASS_BYTES.div_ceil(bytes.max(1))
}

/// The host device takes every spec.
fn prepared<T: ?Sized>(kernel: Result<Box<T>, Unsupported>) -> Box<T> {
    kernel.unwrap_or_else(|error| unreachable!("{error}"))
}

/// The host device never fails.
fn carried_out(run: Result<(), Failed>) {
    run.unwrap_or_else(|error| unreachable!("{error}"));
}

fn attention(device: HostDevice, head_width: usize, precision: Precision) -> Box<dyn Attention> {
    let scale = (head_width as f32).sqrt().recip();
    prepared(device.attention(&AttentionSpec { head_width, scale, precision }))
}

/// Heads one after another, `[heads, length, width]`.
fn view(data: &[f32], length: usize, width: usize) -> Heads<'_> {
    Heads { data, batch_stride: 0, head_stride: length * width, row_stride: width }
}

fn view_mut(data: &mut [f32], length: usize, width: usize) -> HeadsMut<'_> {
    HeadsMut { data, batch_stride: 0, head_stride: length * width, row_stride: width }
}

/// Operations and exponentials of products, and bytes: those of weights or of a cache, and of fp32 values.
fn products(precision: Precision, operations: usize, exponentials: usize, bytes: usize, values: usize) -> Work {
    let bytes = bytes + values * size_of::<f32>();
    let [operations, exponentials, bytes] = [operations, exponentials, bytes].map(|number| number as f64);
    Work { products: Some(precision), operations, exponentials, bytes }
}

impl Case {
    /// `rows` rows through a linear layer.
    pub fn linear(name: &str, weights: &Rc<Weights>, rows: usize) -> Self {
        let weights = Rc::clone(weights);
        let Weights { device, inputs, outputs, streamed, .. } = *weights;
        let (x, mut out) = (noise(rows * inputs, 1), vec![0.0; rows * outputs]);
        let (precision, bytes) = (weights.copies[0].precision(), weights.copies[0].weight_bytes());
        Self {
            name: name.to_owned(),
            isa: device.isa(),
            shape: format!("{rows}x{inputs}x{outputs}"),
            precision,
            work: products(precision, 2 * rows * inputs * outputs, 0, bytes, x.len() + out.len()),
            calls: weights.copies.len(),
            streamed,
            run: Box::new(move |context| {
                weights.copies.iter().for_each(|linear| carried_out(linear.run(context, rows, &x, None, &mut out)));
            }),
        }
    }

    /// Attention of `[heads, queries, keys, head width]`.
    pub fn attention(device: HostDevice, name: &str, precision: Precision, sizes: [usize; 4]) -> Self {
        let [heads, queries, keys, width] = sizes;
        let kernel = attention(device, width, precision);
        let [q, k, v] = [queries, keys, keys].map(|length| noise(heads * length * width, 1));
        let mut out = vec![0.0; heads * queries * width];
        let (precision, values) = (kernel.precision(), q.len() + k.len() + v.len() + out.len());
        let run = move |context: &mut Context<'_>| {
            let (q, k, v) = (view(&q, queries, width), view(&k, keys, width), view(&v, keys, width));
            let out = view_mut(&mut out, queries, width);
            let args = AttentionArgs { batch: 1, heads, queries, keys, q, k, v, mask: Mask::None, out };
            carried_out(kernel.run(context, args));
        };
        Self::scores(device, name, precision, sizes, [0, values], None, run)
    }

    /// The same over keys and values that are kept at `precision`, in several copies.
    pub fn cached(device: HostDevice, name: &str, precision: Precision, sizes: [usize; 4]) -> Self {
        let [heads, queries, keys, width] = sizes;
        let kernel = attention(device, width, precision);
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
        let entries = noise(heads * keys * width, 1);
        let mut copy = || {
            [Side::Keys, Side::Values].map(|side| {
                let mut cache = KvCache::new(device.isa(), side, precision, heads, width);
                cache.append(&mut context, 1, keys, view(&entries, keys, width));
                cache
            })
        };
        let mut caches = vec![copy()];
        let bytes = caches[0].iter().map(KvCache::bytes).sum();
        caches.resize_with(copies(bytes), copy);
        let (q, mut out) = (noise(heads * queries * width, 1), vec![0.0; heads * queries * width]);
        let (precision, values, count) = (kernel.precision(), q.len() + out.len(), caches.len());
        let run = move |context: &mut Context<'_>| {
            for [keys, values] in &caches {
                let (q, out) = (view(&q, queries, width), view_mut(&mut out, queries, width));
                let args = CachedArgs { queries, q, keys, values, mask: Mask::None, out };
                carried_out(kernel.run_cached(context, args));
            }
        };
        Self::scores(device, name, precision, sizes, [bytes, values], Some(count), run)
    }

    /// Attention whose `run` reads so many bytes of a cache and so many fp32 values, and goes through `copies` of the
    /// cache.
    fn scores(
        device: HostDevice,
        name: &str,
        precision: Precision,
        [heads, queries, keys, width]: [usize; 4],
        [bytes, values]: [usize; 2],
        copies: Option<usize>,
        run: impl FnMut(&mut Context<'_>) + 'static,
    ) -> Self {
        let scores = heads * queries * keys;
        Self {
            name: name.to_owned(),
            isa: device.isa(),
            shape: format!("{heads}x{queries}x{keys}x{width}"),
            precision,
            // Two products: a score is `width` multiply-adds, and so is what it adds to the result.
            work: products(precision, 4 * scores * width, scores, bytes, values),
            calls: copies.unwrap_or(1),
            streamed: copies.is_some(),
            run: Box::new(run),
        }
    }

    /// A convolution over `length` positions.
    pub fn conv1d(device: HostDevice, name: &str, spec: &Conv1dSpec, length: usize) -> Self {
        let &Conv1dSpec { in_channels, out_channels, width, stride, .. } = spec;
        let weights = noise(out_channels * in_channels * width, 1);
        let kernel = prepared(device.conv1d(spec, &weights, Some(&noise(out_channels, 1))));
        let (x, mut out) = (noise(in_channels * length, 1), vec![0.0; out_channels * spec.out_length(length)]);
        let (operations, values) = (2 * out.len() * in_channels * width, x.len() + out.len());
        Self {
            name: name.to_owned(),
            isa: device.isa(),
            shape: format!("{length}x{in_channels}x{out_channels} taps {width} stride {stride}"),
            precision: kernel.precision(),
            work: products(kernel.precision(), operations, 0, kernel.weight_bytes(), values),
            calls: 1,
            streamed: false,
            run: Box::new(move |context| carried_out(kernel.run(context, 1, length, &x, &mut out))),
        }
    }

    /// Layer norm; of so few rows that one call is too short to be timed, many calls.
    pub fn layer_norm(device: HostDevice, name: &str, rows: usize, width: usize) -> Self {
        let (x, gain, mut out) = (noise(rows * width, 1), noise(width, 1), vec![0.0; rows * width]);
        let values = (rows * width) as f64;
        let calls = (SHORT_VALUES / (rows * width)).max(1);
        Self {
            name: name.to_owned(),
            isa: device.isa(),
            shape: format!("{rows}x{width}"),
            precision: Precision::F32,
            // Mean, difference, square and its sum, scale, gain, bias: seven operations for each value.
            work: Work { products: None, operations: 7.0 * values, exponentials: 0.0, bytes: 8.0 * values },
            calls,
            streamed: false,
            run: Box::new(move |context| {
                let norm = Norm { gain: &gain, bias: None, epsilon: 1e-5 };
                (0..calls).for_each(|_| device.layer_norm(context, rows, &norm, &x, &mut out));
            }),
        }
    }
}

/// Equal products of run-time operands.
pub struct Products {
    size: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    out: Vec<f32>,
    together: Vec<f64>,
    apart: Vec<f64>,
}

impl Products {
    const COUNT: usize = 16;

    /// Sixteen of matrices of `size` rows and columns.
    pub fn new(size: usize) -> Self {
        let values = Self::COUNT * size * size;
        let (a, b, out) = (noise(values, 1), noise(values, 1), vec![0.0; values]);
        Self { size, a, b, out, together: Vec::new(), apart: Vec::new() }
    }

    /// All in one call, then one by one.
    pub fn run(&mut self, context: &mut Context<'_>, counts: bool) {
        let Self { size, a, b, out, .. } = self;
        let (n, host) = (*size, HostDevice::new());
        let together = milliseconds(|| host.matmul(context, Self::COUNT, [n; 3], a, b, out));
        let apart = milliseconds(|| {
            for ((a, b), out) in a.chunks(n * n).zip(b.chunks(n * n)).zip(out.chunks_mut(n * n)) {
                host.matmul(context, 1, [n; 3], a, b, out);
            }
        });
        if counts {
            self.together.push(together);
            self.apart.push(apart);
        }
    }

    /// Both medians.
    pub fn figures(&self) -> BatchedProducts {
        let (together_ms, one_by_one_ms) = (median(&self.together), median(&self.apart));
        BatchedProducts {
            shape: format!("{0}x{0}x{0}", self.size),
            count: Self::COUNT,
            together_ms,
            one_by_one_ms,
            ratio: one_by_one_ms / together_ms,
        }
    }
}
