//! Attention beside the machine's limits: `cargo bench -p undertone-kernels --bench attention`.
//!
//! Prints medians and best times of interleaved runs; on a shared machine the best is nearer the truth. The limit of a blocked
//! call is the time that its products take at the peak of their instruction, measured in the same run, plus that of one
//! exponential of the best instruction set for each score; of a streamed call, the time to read its keys and values at the bandwidth measured in the same run.

mod peak;

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
    let mut peaks = peak::Peaks::default();
    (0..20).for_each(|_| peaks.measure(1));
    println!("one thread, Gop/s: {peaks}");
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
            // Two products of 64 multiply-adds for each score.
            peaks
                .best(row.isa, row.precision)
                .map(|peak| (scores * 256.0 / (peak * 1e9) + scores / exponentials) / row.threads as f64)
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
