//! Kernels with operands of their own, ready to be run again and again.

use std::rc::Rc;

use undertone_boundary::measure::BatchedProducts;

use super::milliseconds;
use crate::{
    Activation, Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, Conv1d, Conv1dSpec, Counters, Device,
    Heads, HeadsMut, Linear, LinearSpec, Mask, Norm, Precision, Scratch, Serial, WeightLayout,
    host::{HostDevice, Isa, KvCache, Side, matmul::matmul, norm},
    limits::{Work, median},
    reference::noise::noise,
};

/// Bytes that a pass over the copies of weights or of a cache reads: half a millisecond or more.
const PASS_BYTES: usize = 16 << 20;

/// A kernel and its operands.
pub struct Case {
    /// What it is in a model.
    pub name: &'static str,
    kernel: Kernel,
}

enum Kernel {
    Linear { weights: Rc<Weights>, rows: usize, x: Vec<f32>, out: Vec<f32> },
    Attention { kernel: Box<dyn Attention>, sizes: [usize; 4], qkv: [Vec<f32>; 3], out: Vec<f32> },
    Cached { kernel: Box<dyn Attention>, sizes: [usize; 4], q: Vec<f32>, caches: Vec<[KvCache; 2]>, out: Vec<f32> },
    Conv1d { kernel: Box<dyn Conv1d>, spec: Conv1dSpec, length: usize, x: Vec<f32>, out: Vec<f32> },
    LayerNorm { rows: usize, width: usize, x: Vec<f32>, gain: Vec<f32>, out: Vec<f32> },
}

/// A linear layer; in several copies where its time is that of reading them.
pub struct Weights {
    inputs: usize,
    outputs: usize,
    copies: Vec<Box<dyn Linear>>,
    streamed: bool,
}

impl Weights {
    /// Random weights; `streamed` if they are to be read from memory in every call.
    pub fn linear(
        inputs: usize,
        outputs: usize,
        activation: Activation,
        precision: Precision,
        streamed: bool,
    ) -> Rc<Self> {
        let spec = LinearSpec { inputs, outputs, precision, wide_rows: false, activation, scale: 1.0 };
        let (weights, bias) = (noise(inputs * outputs, 1), noise(outputs, 1));
        let copy = || prepared(HostDevice::new().linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)));
        let mut all = vec![copy()];
        let wanted = if streamed { copies(all[0].weight_bytes()) } else { 1 };
        all.resize_with(wanted, copy);
        Rc::new(Self { inputs, outputs, copies: all, streamed })
    }
}

/// So many copies of something of this size that a pass over them takes long enough to be timed.
fn copies(bytes: usize) -> usize {
    PASS_BYTES.div_ceil(bytes.max(1))
}

/// The host device takes every spec.
fn prepared<T>(kernel: Result<Box<T>, crate::Unsupported>) -> Box<T>
where
    T: ?Sized,
{
    kernel.unwrap_or_else(|error| unreachable!("{error}"))
}

/// The host device never fails.
fn carried_out(run: Result<(), crate::Failed>) {
    run.unwrap_or_else(|error| unreachable!("{error}"));
}

fn attention(head_width: usize, precision: Precision) -> Box<dyn Attention> {
    let scale = (head_width as f32).sqrt().recip();
    prepared(HostDevice::new().attention(&AttentionSpec { head_width, scale, precision }))
}

/// Heads one after another, `[heads, length, width]`.
fn view(data: &[f32], length: usize, width: usize) -> Heads<'_> {
    Heads { data, batch_stride: 0, head_stride: length * width, row_stride: width }
}

fn view_mut(data: &mut [f32], length: usize, width: usize) -> HeadsMut<'_> {
    HeadsMut { data, batch_stride: 0, head_stride: length * width, row_stride: width }
}

impl Case {
    /// `rows` rows through a linear layer.
    pub fn linear(name: &'static str, weights: &Rc<Weights>, rows: usize) -> Self {
        let (x, out) = (noise(rows * weights.inputs, 1), vec![0.0; rows * weights.outputs]);
        Self { name, kernel: Kernel::Linear { weights: Rc::clone(weights), rows, x, out } }
    }

    /// Attention of `[heads, queries, keys, head width]`.
    pub fn attention(name: &'static str, precision: Precision, sizes: [usize; 4]) -> Self {
        let [heads, queries, keys, head_width] = sizes;
        let kernel = attention(head_width, precision);
        let qkv = [queries, keys, keys].map(|length| noise(heads * length * head_width, 1));
        let out = vec![0.0; heads * queries * head_width];
        Self { name, kernel: Kernel::Attention { kernel, sizes, qkv, out } }
    }

    /// The same over keys and values that are kept at `precision`, in several copies.
    pub fn cached(name: &'static str, precision: Precision, sizes: [usize; 4]) -> Self {
        let [heads, queries, keys, head_width] = sizes;
        let kernel = attention(head_width, precision);
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
        let entries = noise(heads * keys * head_width, 1);
        let mut copy = || {
            [Side::Keys, Side::Values].map(|side| {
                let mut cache = KvCache::new(Isa::best(), side, precision, heads, head_width);
                cache.append(&mut context, 1, keys, view(&entries, keys, head_width));
                cache
            })
        };
        let mut caches = vec![copy()];
        let wanted = copies(caches[0].iter().map(KvCache::bytes).sum());
        caches.resize_with(wanted, copy);
        let (q, out) = (noise(heads * queries * head_width, 1), vec![0.0; heads * queries * head_width]);
        Self { name, kernel: Kernel::Cached { kernel, sizes, q, caches, out } }
    }

    /// A convolution over `length` positions.
    pub fn conv1d(name: &'static str, spec: &Conv1dSpec, length: usize) -> Self {
        let weights = noise(spec.out_channels * spec.in_channels * spec.width, 1);
        let kernel = prepared(HostDevice::new().conv1d(spec, &weights, Some(&noise(spec.out_channels, 1))));
        let (x, out) = (noise(spec.in_channels * length, 1), vec![0.0; spec.out_channels * spec.out_length(length)]);
        Self { name, kernel: Kernel::Conv1d { kernel, spec: spec.clone(), length, x, out } }
    }

    /// Layer norm.
    pub fn layer_norm(name: &'static str, rows: usize, width: usize) -> Self {
        let (x, gain, out) = (noise(rows * width, 1), noise(width, 1), vec![0.0; rows * width]);
        Self { name, kernel: Kernel::LayerNorm { rows, width, x, gain, out } }
    }

    /// Its sizes.
    pub fn shape(&self) -> String {
        match &self.kernel {
            Kernel::Linear { weights, rows, .. } => format!("{rows}x{}x{}", weights.inputs, weights.outputs),
            Kernel::Attention { sizes: [heads, queries, keys, width], .. }
            | Kernel::Cached { sizes: [heads, queries, keys, width], .. } => {
                format!("{heads}x{queries}x{keys}x{width}")
            }
            Kernel::Conv1d { spec, length, .. } => {
                format!(
                    "{length}x{}x{} taps {} stride {}",
                    spec.in_channels, spec.out_channels, spec.width, spec.stride
                )
            }
            Kernel::LayerNorm { rows, width, .. } => format!("{rows}x{width}"),
        }
    }

    /// The precision that its products really use.
    pub fn precision(&self) -> Precision {
        match &self.kernel {
            Kernel::Linear { weights, .. } => weights.copies[0].precision(),
            Kernel::Attention { kernel, .. } | Kernel::Cached { kernel, .. } => kernel.precision(),
            Kernel::Conv1d { kernel, .. } => kernel.precision(),
            Kernel::LayerNorm { .. } => Precision::F32,
        }
    }

    /// What a call has to do.
    pub fn work(&self) -> Work {
        let floats = |values: usize| (values * size_of::<f32>()) as f64;
        let products = |operations: usize, exponentials: usize, bytes: f64| Work {
            products: Some(self.precision()),
            operations: operations as f64,
            exponentials: exponentials as f64,
            bytes,
        };
        match &self.kernel {
            Kernel::Linear { weights, rows, x, out } => products(
                2 * rows * weights.inputs * weights.outputs,
                0,
                weights.copies[0].weight_bytes() as f64 + floats(x.len() + out.len()),
            ),
            // Two products: a score is `width` multiply-adds, and so is what it adds to the result.
            Kernel::Attention { sizes: [heads, queries, keys, width], qkv, out, .. } => {
                let scores = heads * queries * keys;
                let values: usize = qkv.iter().map(Vec::len).sum();
                products(4 * scores * width, scores, floats(values + out.len()))
            }
            Kernel::Cached { sizes: [heads, queries, keys, width], q, caches, out, .. } => {
                let (scores, kept) = (heads * queries * keys, caches[0].iter().map(KvCache::bytes).sum::<usize>());
                products(4 * scores * width, scores, kept as f64 + floats(q.len() + out.len()))
            }
            Kernel::Conv1d { kernel, spec, x, out, .. } => products(
                2 * out.len() * spec.in_channels * spec.width,
                0,
                kernel.weight_bytes() as f64 + floats(x.len() + out.len()),
            ),
            // Mean, difference, square and its sum, scale, gain, bias: seven operations for each value.
            Kernel::LayerNorm { x, out, .. } => Work {
                products: None,
                operations: 7.0 * x.len() as f64,
                exponentials: 0.0,
                bytes: floats(x.len() + out.len()),
            },
        }
    }

    /// Calls in a run.
    pub fn calls(&self) -> usize {
        match &self.kernel {
            Kernel::Linear { weights, .. } => weights.copies.len(),
            Kernel::Cached { caches, .. } => caches.len(),
            Kernel::Attention { .. } | Kernel::Conv1d { .. } | Kernel::LayerNorm { .. } => 1,
        }
    }

    /// Whether its operands are to come from memory: what the machine's caches hold of them must be driven out before a
    /// run.
    pub fn streamed(&self) -> bool {
        match &self.kernel {
            Kernel::Linear { weights, .. } => weights.streamed,
            Kernel::Cached { .. } => true,
            Kernel::Attention { .. } | Kernel::Conv1d { .. } | Kernel::LayerNorm { .. } => false,
        }
    }

    /// One call with each copy of the operands.
    pub fn run(&mut self, context: &mut Context<'_>) {
        match &mut self.kernel {
            Kernel::Linear { weights, rows, x, out } => {
                weights.copies.iter().for_each(|linear| carried_out(linear.run(context, *rows, x, None, out)));
            }
            Kernel::Attention { kernel, sizes: [heads, queries, keys, width], qkv: [q, k, v], out } => {
                let (queries, keys, width) = (*queries, *keys, *width);
                let args = AttentionArgs {
                    batch: 1,
                    heads: *heads,
                    queries,
                    keys,
                    q: view(q, queries, width),
                    k: view(k, keys, width),
                    v: view(v, keys, width),
                    mask: Mask::None,
                    out: view_mut(out, queries, width),
                };
                carried_out(kernel.run(context, args));
            }
            Kernel::Cached { kernel, sizes: [_, queries, _, width], q, caches, out } => {
                for [keys, values] in caches.iter() {
                    let args = CachedArgs {
                        queries: *queries,
                        q: view(q, *queries, *width),
                        keys,
                        values,
                        mask: Mask::None,
                        out: view_mut(out, *queries, *width),
                    };
                    carried_out(kernel.run_cached(context, args));
                }
            }
            Kernel::Conv1d { kernel, length, x, out, .. } => carried_out(kernel.run(context, 1, *length, x, out)),
            Kernel::LayerNorm { rows, x, gain, out, .. } => {
                let norm = Norm { gain, bias: None, epsilon: 1e-5 };
                norm::layer_norm(Isa::best(), context, *rows, &norm, x, out);
            }
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

    /// 64³, 128³ and 512³, sixteen of each.
    pub fn standard() -> Vec<Self> {
        let of = |size: usize| {
            let values = Self::COUNT * size * size;
            let (a, b, out) = (noise(values, 1), noise(values, 1), vec![0.0; values]);
            Self { size, a, b, out, together: Vec::new(), apart: Vec::new() }
        };
        [64, 128, 512].map(of).into()
    }

    /// All in one call, then one by one.
    pub fn run(&mut self, context: &mut Context<'_>, counts: bool) {
        let Self { size, a, b, out, .. } = self;
        let (n, isa) = (*size, Isa::best());
        let together = milliseconds(|| matmul(isa, context, Self::COUNT, n, n, n, a, b, out));
        let apart = milliseconds(|| {
            for ((a, b), out) in a.chunks(n * n).zip(b.chunks(n * n)).zip(out.chunks_mut(n * n)) {
                matmul(isa, context, 1, n, n, n, a, b, out);
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
