//! How fast this machine's host device is, beside which an NPU has to pay: products, attention, reading memory, and
//! packing for the NPU.

use std::{hint::black_box, sync::OnceLock, time::Instant};

use undertone_boundary::npu::RatesReport;

use super::{
    cost::PACKING_RATE,
    design::{Argument, Design, HEAD_WIDTH, Kernels, Problem},
    layout::{self, PackMethod},
    target::Target,
};
use crate::{
    AttentionArgs, AttentionSpec, Context, Device as _, Heads, HeadsMut, LinearSpec, Mask, Parallel, Precision,
    WeightLayout,
    host::HostDevice,
    reader::{Pattern, Reader},
    reference::noise::noise,
    team::Team,
};

/// The host's speeds. Operations are multiplications and additions, a second; bytes are a second's too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Whether they were measured on this machine, or are [`Rates::ASSUMED`].
    pub measured: bool,
    /// Operations of products with int8 operands.
    pub products_int8: f64,
    /// The same with bf16 operands.
    pub products_bf16: f64,
    /// Operations of attention with int8 scores, soft-max included.
    pub attention_int8: f64,
    /// The same with bf16 scores.
    pub attention_bf16: f64,
    /// Bytes that are read from memory.
    pub memory: f64,
    /// Bytes of fp32 values that are packed for the NPU, or unpacked.
    pub packing: f64,
}

/// Samples of each rate, at least and at most. The fastest counts: whatever else runs makes samples slower, single ones
/// by a hundred times, and where a kernel goes must not depend on that.
const SAMPLES: [usize; 2] = [5, 500];
/// Seconds after which no further sample of a rate is taken than must be: some slices of the system's scheduler.
const PATIENCE: f64 = 15e-3;
/// Rows of the product that is timed, and its inputs and outputs.
const SIZE: usize = 384;
/// Heads and queries of the attention that is timed; keys are as many.
const HEADS: usize = 2;
/// Bytes of memory that are read: more than most caches hold.
const READ: usize = 64 << 20;

impl Rates {
    /// Two cores with AVX-512: products at their measured peak (441 GOPS int8 and 221 GFLOPS bf16 a core), 32 GB/s, and
    /// [`PACKING_RATE`]. For documents and tests, which must not depend on the machine.
    pub const ASSUMED: Self = Self {
        measured: false,
        products_int8: 882e9,
        products_bf16: 442e9,
        attention_int8: 442e9,
        attention_bf16: 442e9,
        memory: 32e9,
        packing: PACKING_RATE,
    };

    /// This machine's, with so many threads: measured when they are first asked for, in some tens of milliseconds, and
    /// then kept for the process.
    pub fn measured(threads: usize) -> Self {
        static MEASURED: OnceLock<Rates> = OnceLock::new();
        *MEASURED.get_or_init(|| Team::with_threads(threads.max(1), |pool| Self::measure(pool)))
    }

    fn measure(pool: &dyn Parallel) -> Self {
        let assumed = Self::ASSUMED;
        Self {
            measured: true,
            products_int8: products(Precision::Int8, pool).unwrap_or(assumed.products_int8),
            products_bf16: products(Precision::Bf16, pool).unwrap_or(assumed.products_bf16),
            attention_int8: attention(Precision::Int8, pool).unwrap_or(assumed.attention_int8),
            attention_bf16: attention(Precision::Bf16, pool).unwrap_or(assumed.attention_bf16),
            memory: memory(pool),
            packing: packing(pool).unwrap_or(assumed.packing),
        }
    }

    /// Seconds that the host device takes for a problem: its arithmetic, or reading its weights (or keys and values)
    /// from memory if that takes longer.
    pub fn host_seconds(&self, kernels: Kernels, problem: &Problem) -> f64 {
        let int8 = kernels == Kernels::Int8;
        let (operations, read) = match *problem {
            Problem::Linear { inputs, outputs, .. } => {
                let (rate, element) = if int8 { (self.products_int8, 1) } else { (self.products_bf16, 2) };
                (rate, inputs * outputs * element)
            }
            Problem::Attention { heads, keys, .. } => {
                let rate = if int8 { self.attention_int8 } else { self.attention_bf16 };
                (rate, 2 * heads * keys * HEAD_WIDTH * 2)
            }
        };
        (2.0 * problem.macs() as f64 / operations).max(read as f64 / self.memory)
    }
}

impl From<Rates> for RatesReport {
    fn from(rates: Rates) -> Self {
        let Rates { measured, products_int8, products_bf16, attention_int8, attention_bf16, memory, packing } = rates;
        Self { measured, products_int8, products_bf16, attention_int8, attention_bf16, memory, packing }
    }
}

/// The least that `work` takes, in seconds, after it was done once.
fn seconds(mut work: impl FnMut() -> Option<()>) -> Option<f64> {
    let begun = Instant::now();
    work()?;
    let (mut samples, mut least) = (0, f64::INFINITY);
    while samples < SAMPLES[0] || samples < SAMPLES[1] && begun.elapsed().as_secs_f64() < PATIENCE {
        let start = Instant::now();
        work()?;
        least = least.min(start.elapsed().as_secs_f64());
        samples += 1;
    }
    Some(least.max(f64::MIN_POSITIVE))
}

/// Operations a second of a host layer.
fn products(precision: Precision, pool: &dyn Parallel) -> Option<f64> {
    let spec = LinearSpec::new(SIZE, SIZE, precision);
    let (x, mut out) = (noise(SIZE * SIZE, 1), vec![0.0; SIZE * SIZE]);
    let layer = HostDevice::new().linear(&spec, &x, WeightLayout::InputsByOutputs, None).ok()?;
    let seconds = Context::fresh(pool, |context| seconds(|| layer.run(context, SIZE, &x, None, &mut out).ok())).0?;
    black_box(&out);
    Some(2.0 * (SIZE * SIZE * SIZE) as f64 / seconds)
}

/// Operations a second of the host's attention.
fn attention(precision: Precision, pool: &dyn Parallel) -> Option<f64> {
    let attention =
        HostDevice::new().attention(&AttentionSpec { head_width: HEAD_WIDTH, scale: 0.125, precision }).ok()?;
    let length = HEADS * SIZE * HEAD_WIDTH;
    let (x, mut data) = (noise(length, 1), vec![0.0; length]);
    let strides = [length, HEAD_WIDTH, HEADS * HEAD_WIDTH];
    let [q, k, v] = [Heads::new(&x, strides); 3];
    let mut run = |context: &mut Context<'_>| {
        let out = HeadsMut::new(&mut data, strides);
        let args = AttentionArgs { batch: 1, heads: HEADS, queries: SIZE, keys: SIZE, q, k, v, mask: Mask::None, out };
        attention.run(context, args).ok()
    };
    let seconds = Context::fresh(pool, |context| seconds(|| run(context))).0?;
    black_box(&data);
    Some(2.0 * Problem::Attention { heads: HEADS, queries: SIZE, keys: SIZE }.macs() as f64 / seconds)
}

/// Bytes a second that are read.
fn memory(pool: &dyn Parallel) -> f64 {
    let reader = Reader::new(READ);
    Pattern::ALL.map(|pattern| reader.read(pattern, pool)).into_iter().fold(f64::NAN, f64::max) * 1e9
}

/// Bytes of fp32 a second: a layer's operand is packed and its result unpacked.
fn packing(pool: &dyn Parallel) -> Option<f64> {
    let design = Design::shipped(Target::Npu4, Kernels::Int8).ok()?;
    let problem = Problem::Linear { rows: SIZE, inputs: SIZE, outputs: SIZE };
    let [mut a, c] = [Argument::A, Argument::C].map(|argument| vec![0u8; design.buffer_bytes(&problem, argument)]);
    let (x, mut out) = (noise(SIZE * SIZE, 1), vec![0.0; SIZE * SIZE]);
    let seconds = seconds(|| {
        layout::pack_rows(PackMethod::best(), &design, &x, [SIZE; 2], false, &mut a, pool);
        layout::unpack_rows(PackMethod::best(), &design, &c, [SIZE; 2], None, &mut out, pool);
        Some(())
    })?;
    black_box((&a, &out));
    Some((2 * SIZE * SIZE * size_of::<f32>()) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_measured_once() {
        let rates = Rates::measured(2);
        assert!(rates.measured && !Rates::ASSUMED.measured);
        let Rates { products_int8, products_bf16, attention_int8, attention_bf16, memory, packing, .. } = rates;
        for rate in [products_int8, products_bf16, attention_int8, attention_bf16, memory, packing] {
            assert!(rate.is_finite() && rate > 0.0, "{rates:?}");
        }
        assert_eq!(Rates::measured(1), rates);
    }

    #[test]
    fn a_few_rows_take_as_long_as_their_weights_and_many_as_their_products() {
        let rates = Rates::ASSUMED;
        let linear = |rows| Problem::Linear { rows, inputs: 1000, outputs: 1000 };
        assert_eq!(rates.host_seconds(Kernels::Int8, &linear(1)), 1e6 / 32e9);
        assert_eq!(rates.host_seconds(Kernels::Bf16, &linear(1)), 2e6 / 32e9);
        assert_eq!(rates.host_seconds(Kernels::Int8, &linear(1000)), 2e9 / 882e9);
        let heads = Problem::Attention { heads: 2, queries: 1000, keys: 1000 };
        assert_eq!(rates.host_seconds(Kernels::Int8, &heads), 2.0 * heads.macs() as f64 / 442e9);
    }
}
