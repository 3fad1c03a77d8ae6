//! Attention beside the machine's limits: `cargo bench -p undertone-kernels --bench attention`.
//!
//! Prints medians and best times of interleaved runs; on a shared machine the best is nearer the truth. The limit of a blocked
//! call is the time that its products take at the peak of their instruction, measured in the same run, plus that of one
//! exponential for each score; of a streamed call, the time to read its keys and values at the bandwidth measured in the same run.

use std::{hint::black_box, time::Instant};

use undertone_kernels::{
    AttentionArgs, AttentionSpec, Context, Counters, Device, Heads, HeadsMut, Mask, Parallel, Precision, Scratch,
    host::{
        HostDevice, Isa,
        elementwise::{Unary, unary},
    },
    parallel::ScopedThreads,
};

const ROUNDS: usize = 9;
const WIDTH: usize = 64;

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Best time of `rounds`.
fn best(rounds: usize, mut work: impl FnMut()) -> f64 {
    (0..rounds).map(|_| seconds(&mut work)).fold(f64::INFINITY, f64::min)
}

/// Instruction peaks of one thread.
#[cfg(target_arch = "x86_64")]
mod peak {
    #![allow(unsafe_code)]
    use std::arch::x86_64::*;

    use super::{Isa, Precision};

    const STEPS: usize = 500_000;

    macro_rules! peak {
        ($name:ident, $features:literal, $zero:expr, $operand:expr, $dot:ident) => {
            #[target_feature(enable = $features)]
            fn $name() {
                let mut sums = [$zero; 16];
                let operand = std::hint::black_box($operand);
                for _ in 0..STEPS {
                    for sum in &mut sums {
                        *sum = $dot(*sum, operand, operand);
                    }
                }
                std::hint::black_box(sums);
            }
        };
    }

    #[target_feature(enable = "avx512f")]
    fn fma(sum: __m512, a: __m512, b: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, sum)
    }
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bf16(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: both types are 64 plain bytes.
        let (a, b) = unsafe { std::mem::transmute::<(__m512i, __m512i), (__m512bh, __m512bh)>((a, b)) };
        _mm512_dpbf16_ps(sum, a, b)
    }
    peak!(f32_peak, "avx512f", _mm512_setzero_ps(), _mm512_set1_ps(0.5), fma);
    peak!(bf16_peak, "avx512f,avx512bf16", _mm512_setzero_ps(), _mm512_set1_epi32(0x3f00_3f00), bf16);
    peak!(int8_peak, "avx512f,avx512vnni", _mm512_setzero_si512(), _mm512_set1_epi32(0x0101_0101), _mm512_dpbusd_epi32);

    /// Multiply-adds a second; `None` where the CPU lacks the instruction.
    pub fn multiply_adds_per_second(precision: Precision) -> Option<f64> {
        if !Isa::Avx512VnniBf16.is_available() {
            return None;
        }
        let (work, lanes): (unsafe fn(), f64) = match precision {
            Precision::F32 => (f32_peak, 16.0),
            Precision::Bf16 => (bf16_peak, 32.0),
            Precision::Int8 => (int8_peak, 64.0),
        };
        // SAFETY: the instruction set was found above.
        Some(lanes * (STEPS * 16) as f64 / super::best(20, || unsafe { work() }))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod peak {
    /// Not known for this architecture.
    pub fn multiply_adds_per_second(_: super::Precision) -> Option<f64> {
        None
    }
}

/// Values in −1 … 1.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Exponentials a second of one thread, from and to the first-level cache.
fn exponentials_per_second() -> f64 {
    let x = noise(12 * 256);
    let mut out = vec![0.0; x.len()];
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &ScopedThreads(1), counters: &counters, scratch: &mut scratch };
    x.len() as f64 / best(2000, || unary(Isa::best(), &mut context, Unary::Exp, &x, &mut out))
}

/// Bytes a second read from a buffer that is larger than the caches.
fn bandwidth(pool: &dyn Parallel) -> f64 {
    let data = vec![1.0f32; 48 << 20];
    let part = data.len() / pool.width();
    let time = best(7, || {
        pool.run(pool.width(), &|task| {
            let mut sums = [0.0f32; 64];
            for line in data[task * part..][..part].chunks_exact(64) {
                sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += value);
            }
            black_box(sums);
        });
    });
    (data.len() * 4) as f64 / time
}

#[derive(Clone, Copy)]
struct Row {
    isa: Isa,
    precision: Precision,
    threads: usize,
    heads: usize,
    queries: usize,
    keys: usize,
}

/// One row's operands: copies of keys and values enough that a decoder's call does not find them in the cache.
struct Operands {
    q: Vec<f32>,
    kv: Vec<(Vec<f32>, Vec<f32>)>,
    out: Vec<f32>,
    scratch: Scratch,
}

impl Operands {
    fn new(row: &Row) -> Self {
        let keys = row.heads * row.keys * WIDTH;
        let copies = if row.queries <= 8 { (256 << 20) / (8 * keys) } else { 1 };
        Self {
            q: noise(row.heads * row.queries * WIDTH),
            kv: (0..copies).map(|_| (noise(keys), noise(keys))).collect(),
            out: vec![0.0; row.heads * row.queries * WIDTH],
            scratch: Scratch::default(),
        }
    }

    /// Seconds of a call.
    fn time(&mut self, row: &Row) -> f64 {
        let &Row { heads, queries, keys, .. } = row;
        let spec = AttentionSpec { head_width: WIDTH, scale: 0.125, precision: row.precision };
        let device = HostDevice::with_isa(row.isa).expect("an available instruction set");
        let attention = device.attention(&spec).expect("the host takes every spec");
        let counters = Counters::new();
        let pool = ScopedThreads(row.threads);
        let Self { q, kv, out, scratch } = self;
        let mut context = Context { pool: &pool, counters: &counters, scratch };
        let view = |data, length| Heads { data, batch_stride: 0, head_stride: length * WIDTH, row_stride: WIDTH };
        let time = seconds(|| {
            for (k, v) in kv.iter() {
                let args = AttentionArgs {
                    batch: 1,
                    heads,
                    queries,
                    keys,
                    q: view(q, queries),
                    k: view(k, keys),
                    v: view(v, keys),
                    mask: Mask::None,
                    out: HeadsMut { data: out, batch_stride: 0, head_stride: queries * WIDTH, row_stride: WIDTH },
                };
                attention.run(&mut context, args);
            }
        });
        time / kv.len() as f64
    }
}

fn main() {
    let exponentials = exponentials_per_second();
    println!("one thread: {:.2} G exponentials/s", exponentials / 1e9);
    let peaks = Precision::ALL.map(|precision| (precision, peak::multiply_adds_per_second(precision)));
    for (precision, peak) in peaks {
        if let Some(peak) = peak {
            println!("one thread: {:.0} G operations/s, {precision} products", 2.0 * peak / 1e9);
        }
    }
    let bandwidths = [bandwidth(&ScopedThreads(1)), bandwidth(&ScopedThreads(2))];
    println!("read: {:.1} GB/s one thread, {:.1} GB/s two", bandwidths[0] / 1e9, bandwidths[1] / 1e9);

    let mut rows = Vec::new();
    for threads in [1, 2] {
        for isa in Isa::available().filter(|&isa| threads == 1 || isa == Isa::best()) {
            for precision in Precision::ALL {
                rows.push(Row { isa, precision, threads, heads: 8, queries: 1500, keys: 1500 });
            }
        }
        for (queries, keys) in [(1, 1500), (4, 1500), (1, 100)] {
            rows.push(Row { isa: Isa::best(), precision: Precision::F32, threads, heads: 8, queries, keys });
        }
    }
    let mut operands: Vec<_> = rows.iter().map(Operands::new).collect();
    let mut times = vec![Vec::new(); rows.len()];
    for round in 0..=ROUNDS {
        for ((row, operands), times) in rows.iter().zip(&mut operands).zip(&mut times) {
            let time = operands.time(row);
            if round > 0 {
                times.push(time);
            }
        }
    }
    println!(
        "threads isa               precision  heads x q x k   median ms    best ms   limit ms  share of limit at best"
    );
    for (row, mut times) in rows.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let scores = (row.heads * row.queries * row.keys) as f64;
        let limit = if row.queries <= 8 {
            Some(2.0 * 256.0 * (row.heads * row.keys) as f64 / bandwidths[row.threads - 1])
        } else {
            let peak = peaks.iter().find(|(precision, _)| *precision == row.precision).and_then(|(_, peak)| *peak);
            peak.filter(|_| row.isa == Isa::best())
                .map(|peak| (scores * 128.0 / peak + scores / exponentials) / row.threads as f64)
        };
        let shape = format!("{}x{}x{}", row.heads, row.queries, row.keys);
        let (isa, precision) = (row.isa.to_string(), row.precision.to_string());
        print!("{:7} {isa:17} {precision:9} {shape:>14}", row.threads);
        print!(" {:11.3} {:10.3}", times[times.len() / 2] * 1e3, times[0] * 1e3);
        match limit {
            Some(limit) => println!(" {:10.3} {:8.0} %", limit * 1e3, 100.0 * limit / times[0]),
            None => println!(),
        }
    }
}
