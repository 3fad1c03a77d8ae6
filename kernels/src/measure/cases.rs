//! Kernels with operands of their own, ready to be run again and again.

use std::rc::Rc;

use super::{Batched, milliseconds, whisper::FEW};
use crate::{
    Activation, Attention, AttentionArgs, AttentionSpec, Context, Conv1d, Conv1dSpec, Device, Heads, HeadsMut, Linear,
    LinearSpec, Mask, Precision, WeightLayout,
    host::{HostDevice, Isa, matmul::matmul, norm},
    limits::{Work, median, memory::last_level_cache},
};

/// Size of the last-level cache where the system does not tell.
const USUAL_CACHE: usize = 32 << 20;

/// A kernel and its operands.
pub struct Case {
    /// What it is in a model.
    pub name: &'static str,
    kernel: Kernel,
}

enum Kernel {
    Linear { weights: Rc<Weights>, rows: usize, x: Vec<f32>, out: Vec<f32> },
    Attention { kernel: Box<dyn Attention>, sizes: [usize; 4], q: Vec<f32>, kv: Vec<[Vec<f32>; 2]>, out: Vec<f32> },
    Conv1d { kernel: Box<dyn Conv1d>, spec: Conv1dSpec, length: usize, x: Vec<f32>, out: Vec<f32> },
    LayerNorm { rows: usize, width: usize, x: Vec<f32>, gain: Vec<f32>, out: Vec<f32> },
}

/// A linear layer, in as many copies as no cache holds where its time is that of reading them.
pub struct Weights {
    inputs: usize,
    outputs: usize,
    copies: Vec<Box<dyn Linear>>,
}

impl Weights {
    /// Random weights; `streamed` makes the copies.
    pub fn linear(
        inputs: usize,
        outputs: usize,
        activation: Activation,
        precision: Precision,
        streamed: bool,
    ) -> Rc<Self> {
        let spec = LinearSpec { inputs, outputs, precision, activation, scale: 1.0 };
        let (weights, bias) = (noise(inputs * outputs), noise(outputs));
        let copy = || prepared(HostDevice::new().linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)));
        let mut copies = vec![copy()];
        let wanted = if streamed { copies_beyond_the_cache(copies[0].weight_bytes()) } else { 1 };
        copies.resize_with(wanted, copy);
        Rc::new(Self { inputs, outputs, copies })
    }
}

/// So many copies of something of this size that none of it is in a cache when its turn comes again.
fn copies_beyond_the_cache(bytes: usize) -> usize {
    (3 * last_level_cache().unwrap_or(USUAL_CACHE) / 2).div_ceil(bytes.max(1))
}

/// The host device takes every spec.
fn prepared<T>(kernel: Result<Box<T>, crate::Unsupported>) -> Box<T>
where
    T: ?Sized,
{
    kernel.unwrap_or_else(|error| unreachable!("{error}"))
}

impl Case {
    /// `rows` rows through a linear layer.
    pub fn linear(name: &'static str, weights: &Rc<Weights>, rows: usize) -> Self {
        let (x, out) = (noise(rows * weights.inputs), vec![0.0; rows * weights.outputs]);
        Self { name, kernel: Kernel::Linear { weights: Rc::clone(weights), rows, x, out } }
    }

    /// Attention of `[heads, queries, keys, head width]`; of few queries with keys and values that no cache holds.
    pub fn attention(name: &'static str, precision: Precision, sizes: [usize; 4]) -> Self {
        let [heads, queries, keys, head_width] = sizes;
        let spec = AttentionSpec { head_width, scale: (head_width as f32).sqrt().recip(), precision };
        let kernel = prepared(HostDevice::new().attention(&spec));
        let values = heads * keys * head_width;
        let copies = if queries < FEW { copies_beyond_the_cache(2 * size_of::<f32>() * values) } else { 1 };
        let kv = (0..copies).map(|_| [noise(values), noise(values)]).collect();
        let (q, out) = (noise(heads * queries * head_width), vec![0.0; heads * queries * head_width]);
        Self { name, kernel: Kernel::Attention { kernel, sizes, q, kv, out } }
    }

    /// A convolution over `length` positions.
    pub fn conv1d(name: &'static str, spec: &Conv1dSpec, length: usize) -> Self {
        let weights = noise(spec.out_channels * spec.in_channels * spec.width);
        let kernel = prepared(HostDevice::new().conv1d(spec, &weights, Some(&noise(spec.out_channels))));
        let (x, out) = (noise(spec.in_channels * length), vec![0.0; spec.out_channels * spec.out_length(length)]);
        Self { name, kernel: Kernel::Conv1d { kernel, spec: spec.clone(), length, x, out } }
    }

    /// Layer norm.
    pub fn layer_norm(name: &'static str, rows: usize, width: usize) -> Self {
        let (x, gain, out) = (noise(rows * width), noise(width), vec![0.0; rows * width]);
        Self { name, kernel: Kernel::LayerNorm { rows, width, x, gain, out } }
    }

    /// Its sizes.
    pub fn shape(&self) -> String {
        match &self.kernel {
            Kernel::Linear { weights, rows, .. } => format!("{rows}x{}x{}", weights.inputs, weights.outputs),
            Kernel::Attention { sizes: [heads, queries, keys, width], .. } => {
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
            Kernel::Attention { kernel, sizes, .. } => kernel.precision_for(sizes[1]),
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
            Kernel::Attention { sizes: [heads, queries, keys, width], q, kv, out, .. } => {
                let scores = heads * queries * keys;
                // Two products: a score is `width` multiply-adds, and so is what it adds to the result.
                products(4 * scores * width, scores, floats(q.len() + 2 * kv[0][0].len() + out.len()))
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
            Kernel::Attention { kv, .. } => kv.len(),
            Kernel::Conv1d { .. } | Kernel::LayerNorm { .. } => 1,
        }
    }

    /// One call with each copy of the operands.
    pub fn run(&mut self, context: &mut Context<'_>) {
        match &mut self.kernel {
            Kernel::Linear { weights, rows, x, out } => {
                weights.copies.iter().for_each(|linear| linear.run(context, *rows, x, None, out));
            }
            Kernel::Attention { kernel, sizes: [heads, queries, keys, width], q, kv, out } => {
                let (heads, queries, keys, width) = (*heads, *queries, *keys, *width);
                let view =
                    |data, length| Heads { data, batch_stride: 0, head_stride: length * width, row_stride: width };
                for [k, v] in kv.iter() {
                    let args = AttentionArgs {
                        batch: 1,
                        heads,
                        queries,
                        keys,
                        q: view(q, queries),
                        k: view(k, keys),
                        v: view(v, keys),
                        mask: Mask::None,
                        out: HeadsMut { data: out, batch_stride: 0, head_stride: queries * width, row_stride: width },
                    };
                    kernel.run(context, args);
                }
            }
            Kernel::Conv1d { kernel, length, x, out, .. } => kernel.run(context, 1, *length, x, out),
            Kernel::LayerNorm { rows, width, x, gain, out } => {
                norm::layer_norm(Isa::best(), context, *rows, *width, x, gain, None, 1e-5, out);
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
            let (a, b, out) = (noise(values), noise(values), vec![0.0; values]);
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
    pub fn figures(&self) -> Batched {
        let (together_ms, apart_ms) = (median(&self.together), median(&self.apart));
        Batched { size: self.size, count: Self::COUNT, together_ms, apart_ms }
    }
}

/// Values in −1 … 1, the same every time.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
