//! Layers that are carried out together beside the same layers one by one: q, k and v after a layer norm, and fc1, GELU
//! and fc2 after a layer norm.
//!
//! `cargo bench -p undertone-bench --bench together [-- THREADS [PRECISION…]]` prints the best time of interleaved
//! rounds, and the share of the peak of the instruction that does the products.

use std::time::Instant;

use undertone_bench::limits::instructions::Peaks;
use undertone_kernels::{
    Activation, Context, Counters, Device, Linear, LinearSpec, Norm, Parallel, Precision, Product, Rows, Scratch,
    WeightLayout,
    host::{HostDevice, Isa},
    reference::noise::noise,
    team::Team,
};

/// Widths of tiny, base and small.
const WIDTHS: [usize; 3] = [384, 512, 768];
const ROWS: [usize; 3] = [1, 4, 1500];
const ROUNDS: usize = 25;

/// One block of a transformer, without its attention.
struct Block {
    precision: Precision,
    rows: usize,
    width: usize,
    gain: Vec<f32>,
    qkv: [Box<dyn Linear>; 3],
    fc: [Box<dyn Linear>; 2],
    x: Vec<f32>,
    normed: Vec<f32>,
    outs: [Vec<f32>; 3],
    hidden: Vec<f32>,
    /// Best seconds: q, k and v together and one by one, then fc1 and fc2.
    best: [f64; 4],
}

impl Block {
    fn new(precision: Precision, rows: usize, width: usize) -> Self {
        let square = || layer(precision, width, width, Activation::None);
        Self {
            precision,
            rows,
            width,
            gain: noise(width, 1),
            qkv: [square(), square(), square()],
            fc: [
                layer(precision, width, 4 * width, Activation::Gelu),
                layer(precision, 4 * width, width, Activation::None),
            ],
            x: noise(rows * width, 1),
            normed: vec![0.0; rows * width],
            outs: [(); 3].map(|()| vec![0.0; rows * width]),
            hidden: vec![0.0; rows * 4 * width],
            best: [f64::INFINITY; 4],
        }
    }

    fn round(&mut self, device: HostDevice, context: &mut Context<'_>, even: bool) {
        let Self { rows, width, gain, qkv, fc, x, normed, outs, hidden, best, .. } = self;
        let (rows, width) = (*rows, *width);
        let norm = Norm { gain, bias: Some(gain), epsilon: 1e-5 };
        let from = Rows { x, rows, inputs: width, norm: Some(&norm) };
        // Who is second finds more in the caches: they take turns.
        for at in if even { [0, 1, 2, 3] } else { [1, 0, 3, 2] } {
            // The second call finds its weights where the first left them.
            for _ in 0..2 {
                let start = Instant::now();
                match at {
                    0 => {
                        let [q, k, v] = &mut *outs;
                        let product = |layer: usize, out| Product {
                            layer: qkv[layer].as_ref(),
                            outputs: width,
                            residual: None,
                            out,
                        };
                        let products = &mut [product(0, q), product(1, k), product(2, v)];
                        done(device.products(context, &from, products));
                    }
                    1 => {
                        device.layer_norm(context, rows, &norm, x, normed);
                        for (layer, out) in qkv.iter().zip(&mut *outs) {
                            done(layer.run(context, rows, normed, None, out));
                        }
                    }
                    2 => {
                        let layer = fc[1].as_ref();
                        let second = Product { layer, outputs: width, residual: Some(x), out: &mut outs[0] };
                        done(device.mlp(context, &from, fc[0].as_ref(), 4 * width, second));
                    }
                    _ => {
                        device.layer_norm(context, rows, &norm, x, normed);
                        done(fc[0].run(context, rows, normed, None, hidden));
                        done(fc[1].run(context, rows, hidden, Some(x), &mut outs[0]));
                    }
                }
                best[at] = best[at].min(start.elapsed().as_secs_f64());
            }
        }
    }
}

fn done(run: Result<(), undertone_kernels::Failed>) {
    run.expect("the host device never fails");
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let threads = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let mut precisions: Vec<Precision> = words.filter_map(|word| word.parse().ok()).collect();
    if precisions.is_empty() {
        precisions.push(Precision::Int8);
    }
    let mut blocks: Vec<Block> = Vec::new();
    for precision in precisions {
        for width in WIDTHS {
            blocks.extend(ROWS.map(|rows| Block::new(precision, rows, width)));
        }
    }
    Team::with_threads(threads, |pool| measure(pool, &mut blocks));
}

/// Interleaved rounds, and the table.
fn measure(pool: &Team, blocks: &mut [Block]) {
    let threads = pool.width();
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let (device, mut peaks) = (HostDevice::new(), Peaks::default());
    for round in 0..ROUNDS {
        peaks.sample(pool);
        for block in &mut *blocks {
            let mut context = Context { pool, counters: &counters, scratch: &mut scratch };
            block.round(device, &mut context, round % 2 == 0);
        }
    }
    println!("{threads} threads");
    println!(
        "{:<24} {:>12} {:>12} {:>6} {:>12} {:>12} {:>6}",
        "block", "qkv us", "apart", "peak", "mlp us", "apart", "peak"
    );
    for block in blocks {
        let [qkv, qkv_apart, mlp, mlp_apart] = block.best.map(|seconds| seconds * 1e6);
        let square = 2.0 * (block.rows * block.width * block.width) as f64 / 1e3;
        let share = |operations: f64, us: f64| {
            let peak = peaks.best(Isa::best(), block.precision)?;
            Some(format!("{:.0}%", operations / us / peak * 100.0))
        };
        let share = |operations, us| share(operations, us).unwrap_or_else(|| "-".to_owned());
        println!(
            "{:<24} {qkv:>12.1} {qkv_apart:>12.1} {:>6} {mlp:>12.1} {mlp_apart:>12.1} {:>6}",
            format!("{} {}x{}", block.precision, block.rows, block.width),
            share(3.0 * square, qkv),
            share(8.0 * square, mlp),
        );
    }
}

fn layer(precision: Precision, inputs: usize, outputs: usize, activation: Activation) -> Box<dyn Linear> {
    let spec = LinearSpec { inputs, outputs, precision, wide_rows: false, activation, scale: 1.0 };
    let (weights, bias) = (noise(inputs * outputs, 1), noise(outputs, 1));
    HostDevice::new()
        .linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias))
        .expect("the host takes every spec")
}
