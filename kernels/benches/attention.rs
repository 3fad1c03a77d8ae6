//! Attention beside the machine's limits: `cargo bench -p undertone-kernels --bench attention`.
//!
//! Prints medians and best times of interleaved runs; on a shared machine the best is nearer the truth. The limit of a
//! call is the time that its products take at the peak of their instruction plus that of one exponential for each
//! score, or the time to read its keys and values, whichever is longer; all measured in the same run.

use std::time::Instant;

use undertone_kernels::{
    AttentionArgs, AttentionSpec, Context, Counters, Device, Heads, HeadsMut, Mask, Precision, ScopedThreads, Scratch,
    host::{HostDevice, Isa},
    limits::{Limits, Work, median},
    reference::noise::noise,
};

const ROUNDS: usize = 9;
const WIDTH: usize = 64;

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
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
            q: noise(row.heads * row.queries * WIDTH, 1),
            kv: (0..copies).map(|_| (noise(keys, 1), noise(keys, 1))).collect(),
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
                attention.run(&mut context, args).expect("the host device never fails");
            }
        });
        time / kv.len() as f64
    }
}

fn main() {
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
    let mut limits = [1, 2].map(|threads| (threads, Limits::default()));
    let mut operands: Vec<_> = rows.iter().map(Operands::new).collect();
    let mut times = vec![Vec::new(); rows.len()];
    for round in 0..=ROUNDS {
        limits.iter_mut().for_each(|(threads, limits)| limits.sample(&ScopedThreads(*threads)));
        for ((row, operands), times) in rows.iter().zip(&mut operands).zip(&mut times) {
            let time = operands.time(row);
            if round > 0 {
                times.push(time);
            }
        }
    }
    for (threads, limits) in &limits {
        println!(
            "{threads} threads: Gop/s: {}; {:.2} G exponentials/s; {:.1} GB/s",
            limits.instructions(),
            limits.gexps(),
            limits.memory().gbps()
        );
    }
    println!(
        "threads isa               precision  heads x q x k   median ms    best ms   limit ms  share of limit at best"
    );
    for (row, times) in rows.iter().zip(times) {
        let (_, limits) =
            limits.iter().find(|(threads, _)| *threads == row.threads).expect("rows have one or two threads");
        let scores = (row.heads * row.queries * row.keys) as f64;
        let work = Work {
            products: Some(row.precision),
            // Two products of 64 multiply-adds for each score.
            operations: scores * 256.0,
            exponentials: scores,
            bytes: 2.0 * 256.0 * (row.heads * row.keys) as f64,
        };
        let (arithmetic, memory) = limits.least_ms(row.isa, &work);
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        let shape = format!("{}x{}x{}", row.heads, row.queries, row.keys);
        let (isa, precision) = (row.isa.to_string(), row.precision.to_string());
        print!("{:7} {isa:17} {precision:9} {shape:>14}", row.threads);
        print!(" {:11.3} {:10.3}", median(&times) * 1e3, best * 1e3);
        match arithmetic.map(|arithmetic| arithmetic.max(memory)) {
            Some(limit) => println!(" {limit:10.3} {:8.0} %", limit / 10.0 / best),
            None => println!(),
        }
    }
}
