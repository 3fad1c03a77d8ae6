//! Packing for an NPU beside this machine's memory:
//! `cargo bench -p undertone-bench --bench packing [-- THREADS [TARGET [PRECISION]]]`.
//!
//! For each operand at the shapes of whisper-tiny's and base's encoders: medians of interleaved runs, one value after
//! another and with vectors, in 10⁹ bytes of fp32 values a second; then the vectors' time for a whole encoder. Beside
//! them stands how fast memory is read, measured in the same run. An operand that stays in a cache can be faster than
//! that, as it would be in a model, whose layers come one after another.

use std::time::Instant;

use undertone_bench::{limits::memory::Memory, median};
use undertone_kernels::{
    Heads, HeadsMut, LinearSpec, Parallel, Precision, WeightLayout,
    npu::{
        Argument, Design, HEAD_WIDTH, Kernels, Problem, Target,
        layout::{PackMethod, pack_keys_and_values, pack_queries, pack_rows, pack_weights, unpack_heads, unpack_rows},
    },
    reference::noise::noise,
    team::Team,
};

const ROUNDS: usize = 21;
const POSITIONS: usize = 1500;
/// Width and layers of tiny and base.
const MODELS: [(&str, usize, usize); 2] = [("tiny", 384, 4), ("base", 512, 6)];

/// Packs or unpacks an operand.
type Run = Box<dyn FnMut(PackMethod, &Team)>;

struct Case {
    name: String,
    model: usize,
    /// How often a window's encoder has it.
    count: usize,
    /// Bytes of fp32 values that are read or written.
    bytes: usize,
    run: Run,
    seconds: [Vec<f64>; 2],
}

/// What a window's encoder packs and unpacks, convolutions apart; weights stand among them once and count for nothing.
fn cases(target: Target, precision: Precision) -> Vec<Case> {
    let kernels = Kernels::of(precision).expect("int8 or bf16");
    let design = &Design::shipped(target, kernels).expect("shipped");
    let linear = |inputs, outputs| Problem::Linear { rows: POSITIONS, inputs, outputs };
    // bf16 values of magnitude around 1, whatever the operand.
    let packed = |problem, argument| -> Vec<u8> {
        [0x12, 0x3f].into_iter().cycle().take(design.buffer_bytes(&problem, argument)).collect()
    };
    let mut all = Vec::new();
    for (model, (name, width, layers)) in MODELS.into_iter().enumerate() {
        let (wide, heads) = (4 * width, width / HEAD_WIDTH);
        let attention = Problem::Attention { heads, queries: POSITIONS, keys: POSITIONS };
        let mut case = |what: &str, count, values: usize, run: Run| {
            let (name, count, bytes) = (format!("{name} {what}"), count * layers, values * size_of::<f32>());
            all.push(Case { name, model, count, bytes, run, seconds: Default::default() });
        };
        for (what, inputs, count) in [("rows", width, 3), ("wide rows", wide, 1)] {
            let (design, values) = (design.clone(), POSITIONS * inputs);
            let (x, mut bytes) = (noise(values, 1), packed(linear(inputs, 1), Argument::A));
            let run = move |method, pool: &Team| {
                pack_rows(method, &design, &x, [POSITIONS, inputs], false, &mut bytes, pool);
            };
            case(what, count, values, Box::new(run));
        }
        let results =
            [("results", width, false, 3), ("wide results", wide, false, 1), ("results + residual", width, true, 2)];
        for (what, outputs, residual, count) in results {
            let (design, values) = (design.clone(), POSITIONS * outputs);
            let (bytes, mut out) = (packed(linear(1, outputs), Argument::C), noise(values, 1));
            let residual = residual.then(|| noise(values, 1));
            let run = move |method, pool: &Team| {
                unpack_rows(method, &design, &bytes, [POSITIONS, outputs], residual.as_deref(), &mut out, pool);
            };
            case(what, count, values, Box::new(run));
        }
        let (values, shape) = (POSITIONS * width, [1, heads, POSITIONS]);
        // All heads of the model's width, row by row.
        let strides = [values, HEAD_WIDTH, width];
        let (x, mut bytes, its) = (noise(values, 1), packed(attention, Argument::A), design.clone());
        let run = move |method, pool: &Team| {
            pack_queries(
                method,
                &its,
                &Heads::new(&x, strides),
                [1, heads, POSITIONS, POSITIONS],
                0.125,
                &mut bytes,
                pool,
            );
        };
        case("queries", 1, values, Box::new(run));
        let (k, v, mut bytes) = (noise(values, 1), noise(values, 1), packed(attention, Argument::B));
        let its = design.clone();
        let run = move |method, pool: &Team| {
            pack_keys_and_values(
                method,
                &its,
                [&Heads::new(&k, strides), &Heads::new(&v, strides)],
                shape,
                &mut bytes,
                pool,
            );
        };
        case("keys and values", 1, 2 * values, Box::new(run));
        let (bytes, mut data, its) = (packed(attention, Argument::C), noise(values, 1), design.clone());
        let run = move |method, pool: &Team| {
            let mut out = HeadsMut::new(&mut data, strides);
            unpack_heads(method, &its, &bytes, shape, &mut out, pool);
        };
        case("heads", 1, values, Box::new(run));
        let (weights, mut bytes) = (noise(width * wide, 1), packed(linear(width, wide), Argument::B));
        let (spec, its) = (LinearSpec::new(width, wide, precision), design.clone());
        let run = move |method, _: &Team| {
            pack_weights(method, &its, &spec, (&weights, WeightLayout::InputsByOutputs), None, &mut bytes);
        };
        case("weights", 0, width * wide, Box::new(run));
    }
    all
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let threads = words.next().and_then(|word| word.parse().ok()).unwrap_or(2);
    let target = words.next().and_then(|word| word.parse().ok()).unwrap_or(Target::Npu1);
    let precisions = match words.next().and_then(|word| word.parse().ok()) {
        Some(precision) => vec![precision],
        None => vec![Precision::Int8, Precision::Bf16],
    };
    Team::with_threads(threads, |pool| {
        for precision in precisions {
            measure(pool, target, precision);
        }
    });
}

/// Interleaved rounds, and the table.
fn measure(pool: &Team, target: Target, precision: Precision) {
    let mut cases = cases(target, precision);
    let mut memory = Memory::default();
    for round in 0..ROUNDS {
        if round % 4 == 0 {
            memory.sample(pool);
        }
        for case in &mut cases {
            for (at, method) in [PackMethod::OneByOne, PackMethod::best()].into_iter().enumerate() {
                let start = Instant::now();
                (case.run)(method, pool);
                case.seconds[at].push(start.elapsed().as_secs_f64());
            }
        }
    }
    println!("{target} {precision}; memory is read at {:.1} GB/s by {} threads", memory.gbps(), pool.width());
    println!("{:<28} {:>8} {:>12} {:>12} {:>8}", "operand", "KiB", "scalar GB/s", "SIMD GB/s", "times");
    for case in &cases {
        let [scalar, simd] = [0, 1].map(|at| case.bytes as f64 / median(&case.seconds[at]) / 1e9);
        let kib = case.bytes / 1024;
        println!("{:<28} {kib:>8} {scalar:>12.2} {simd:>12.2} {:>8.1}", case.name, simd / scalar);
    }
    for (model, (name, ..)) in MODELS.into_iter().enumerate() {
        let of = |at: usize| {
            let cases = cases.iter().filter(|case| case.model == model);
            cases.map(|case| case.count as f64 * median(&case.seconds[at]) * 1e3).sum::<f64>()
        };
        println!("{name}'s encoder without convolutions: {:.2} ms scalar, {:.2} ms SIMD", of(0), of(1));
    }
    println!();
}
