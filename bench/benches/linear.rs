//! How fast the linear layer is, and what share that is of what the instructions can do.
//!
//! `cargo bench -p undertone-bench --bench linear [-- THREADS [ISA…] [PRECISION…]]` prints a table: medians over
//! interleaved rounds, in billions of operations a second (a multiply-add is two), and the best round beside the best
//! peak of the instruction that does the products, measured in the same rounds on as many threads: on a machine that
//! others use too, the best says more about the kernel. For one row (decoding) the limit is memory: GB/s of packed
//! weights.

use std::time::Instant;

use undertone_bench::{limits::instructions::Peaks, median};
use undertone_kernels::{
    Activation, Context, Counters, Device, Linear, LinearSpec, Parallel, Precision, Scratch, WeightLayout,
    host::{HostDevice, Isa, matmul::matmul},
    reference::noise::noise,
    team::Team,
};

/// Rows, inputs, outputs, and whether the layer ends in GELU: an encoder's layers, and a decoder's for one row and for
/// the rows of beams and batches.
const SHAPES: [(usize, usize, usize, bool); 21] = [
    (1500, 384, 384, false),
    (1500, 384, 1536, true),
    (1500, 1536, 384, false),
    (1500, 512, 2048, true),
    (1500, 2048, 512, false),
    (1, 384, 384, false),
    (1, 384, 1152, false),
    (1, 1536, 384, false),
    (1, 384, 1536, true),
    (2, 384, 1536, true),
    (4, 384, 1536, true),
    (8, 384, 1536, true),
    (12, 384, 1536, true),
    (16, 384, 1536, true),
    (1, 384, 51865, false),
    (2, 384, 51865, false),
    (4, 384, 51865, false),
    (8, 384, 51865, false),
    (12, 384, 51865, false),
    (16, 384, 51865, false),
    (8, 512, 51865, false),
];

const ROUNDS: usize = 15;

struct Layer {
    label: String,
    linear: Box<dyn Linear>,
    isa: Isa,
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: Vec<f32>,
    out: Vec<f32>,
    seconds: Vec<f64>,
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let threads = words.next().and_then(|word| word.parse().ok()).unwrap_or(2);
    let words: Vec<String> = words.collect();
    let mut isas: Vec<Isa> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let mut precisions: Vec<Precision> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if isas.is_empty() {
        isas.push(Isa::best());
    }
    if precisions.is_empty() {
        precisions.extend([Precision::Int8, Precision::Bf16, Precision::F32]);
    }
    let mut layers: Vec<Layer> = Vec::new();
    for isa in isas {
        let device = HostDevice::with_isa(isa).expect("this CPU has the instruction set that was named");
        for precision in &precisions {
            for (rows, inputs, outputs, gelu) in SHAPES {
                layers.push(layer(&device, *precision, rows, inputs, outputs, gelu));
            }
        }
    }
    Team::with_threads(threads, |pool| measure(pool, &mut layers));
}

/// Interleaved rounds, and the table.
fn measure(pool: &Team, layers: &mut [Layer]) {
    let threads = pool.width();
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut peaks = Peaks::default();
    for _ in 0..ROUNDS {
        peaks.sample(pool);
        for layer in &mut *layers {
            let mut context = Context { pool, counters: &counters, scratch: &mut scratch };
            let start = Instant::now();
            layer
                .linear
                .run(&mut context, layer.rows, &layer.x, None, &mut layer.out)
                .expect("the host device never fails");
            layer.seconds.push(start.elapsed().as_secs_f64());
        }
    }
    println!("{threads} threads; peaks in Gop/s: {peaks}");
    println!("{:<42} {:>9} {:>8} {:>7}   {:>9} {:>6}", "layer", "us", "Gop/s", "GB/s", "best us", "peak");
    for layer in layers {
        let seconds = median(&layer.seconds);
        let best = layer.seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let operations = 2.0 * (layer.rows * layer.inputs * layer.outputs) as f64 / 1e9;
        let peak = peaks.best(layer.isa, layer.linear.precision());
        let share = peak.map_or_else(|| "-".to_owned(), |peak| format!("{:.0}%", operations / best / peak * 100.0));
        println!(
            "{:<42} {:>9.1} {:>8.1} {:>7.1}   {:>9.1} {:>6}",
            layer.label,
            seconds * 1e6,
            operations / seconds,
            layer.linear.weight_bytes() as f64 / seconds / 1e9,
            best * 1e6,
            share,
        );
    }
    products(pool);
}

fn layer(device: &HostDevice, precision: Precision, rows: usize, inputs: usize, outputs: usize, gelu: bool) -> Layer {
    let spec = LinearSpec {
        inputs,
        outputs,
        precision,
        wide_rows: false,
        activation: if gelu { Activation::Gelu } else { Activation::None },
        scale: 1.0,
    };
    let (weights, bias) = (noise(inputs * outputs, 1), noise(outputs, 1));
    let linear =
        device.linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).expect("the host takes every spec");
    let gelu = if gelu { " gelu" } else { "" };
    Layer {
        label: format!("{} {precision} {rows}x{inputs}x{outputs}{gelu}", device.isa()),
        linear,
        isa: device.isa(),
        rows,
        inputs,
        outputs,
        x: noise(rows * inputs, 1),
        out: vec![0.0; rows * outputs],
        seconds: Vec::new(),
    }
}

/// Attention's two products as a graph without fusion has them.
fn products(pool: &Team) {
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    for (batch, m, k, n) in [(6, 1500, 64, 1500), (6, 1500, 1500, 64), (6, 1, 64, 448)] {
        let (a, b, mut out) = (noise(batch * m * k, 1), noise(batch * k * n, 1), vec![0.0; batch * m * n]);
        let mut seconds = Vec::new();
        for _ in 0..ROUNDS {
            let mut context = Context { pool, counters: &counters, scratch: &mut scratch };
            let start = Instant::now();
            matmul(Isa::best(), &mut context, batch, m, k, n, &a, &b, &mut out);
            seconds.push(start.elapsed().as_secs_f64());
        }
        let seconds = median(&seconds);
        let operations = 2.0 * (batch * m * k * n) as f64 / seconds / 1e9;
        println!("{:<42} {:>9.1} {:>8.1}", format!("matmul f32 {batch}x{m}x{k}x{n}"), seconds * 1e6, operations);
    }
}
