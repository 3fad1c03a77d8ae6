//! Packing for an NPU beside this machine's memory:
//! `cargo bench -p undertone-bench --bench packing [-- THREADS [TARGET [PRECISION]]]`.
//!
//! For each operand at the shapes of some encoders: medians of interleaved runs, one value after another and with
//! vectors, in 10⁹ bytes a second that are read and written; then the vectors' time for a whole encoder, with every
//! result unpacked to fp32, and with kernels that hand on what the array left, as groups of them do. Beside them stands
//! how fast memory is read, measured in the same run. An operand that stays in a cache can be faster than that, as it
//! would be in a model, whose layers come one after another.

use std::time::Instant;

use undertone_bench::{limits::memory::Memory, median};
use undertone_kernels::{
    Heads, HeadsMut, LinearSpec, Parallel, Precision, WeightLayout,
    npu::{
        Argument, Design, HEAD_WIDTH, Kernels, Problem, Target,
        layout::{
            PackMethod, pack_attended, pack_keys_and_values, pack_queries, pack_results, pack_rows, pack_weights,
            result_heads, unpack_heads, unpack_rows,
        },
    },
    reference::noise::noise,
    team::Team,
};

const ROUNDS: usize = 21;
const POSITIONS: usize = 1500;
/// Width and layers.
const MODELS: [(&str, usize, usize); 3] = [("tiny", 384, 4), ("base", 512, 6), ("large-v3-turbo", 1280, 32)];

/// Packs or unpacks an operand.
type Run = Box<dyn FnMut(PackMethod, &Team)>;

/// Takes a case: its name, how often it occurs in a layer, its bytes, and how it is run.
type Note<'n> = &'n mut dyn FnMut(&str, [usize; 2], usize, Run);

struct Case {
    name: String,
    model: usize,
    /// How often a window's encoder has it where every result is unpacked, and where results are handed on.
    counts: [usize; 2],
    /// Bytes that are read and written.
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
        let bytes_of = |problem, argument| design.buffer_bytes(&problem, argument);
        let mut case = |what: &str, counts: [usize; 2], bytes: usize, run: Run| {
            let (name, counts) = (format!("{name} {what}"), counts.map(|count| count * layers));
            all.push(Case { name, model, counts, bytes, run, seconds: Default::default() });
        };
        for (what, inputs, counts) in [("rows", width, [3, 2]), ("wide rows", wide, [1, 0])] {
            let moved = 4 * POSITIONS * inputs + bytes_of(linear(inputs, 1), Argument::A);
            let (design, values) = (design.clone(), POSITIONS * inputs);
            let (x, mut bytes) = (noise(values, 1), packed(linear(inputs, 1), Argument::A));
            let run = move |method, pool: &Team| {
                pack_rows(method, &design, &x, [POSITIONS, inputs], false, &mut bytes, pool);
            };
            case(what, counts, moved, Box::new(run));
        }
        let results = [
            ("results", width, false, [3, 0]),
            ("wide results", wide, false, [1, 0]),
            ("results + residual", width, true, [2; 2]),
        ];
        for (what, outputs, residual, counts) in results {
            let moved = POSITIONS * outputs * if residual { 10 } else { 6 };
            let (design, values) = (design.clone(), POSITIONS * outputs);
            let (bytes, mut out) = (packed(linear(1, outputs), Argument::C), noise(values, 1));
            let residual = residual.then(|| noise(values, 1));
            let run = move |method, pool: &Team| {
                unpack_rows(method, &design, &bytes, [POSITIONS, outputs], residual.as_deref(), &mut out, pool);
            };
            case(what, counts, moved, Box::new(run));
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
        let [a, b] = [Argument::A, Argument::B].map(|argument| bytes_of(attention, argument));
        case("queries", [1, 0], 4 * values + a, Box::new(run));
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
        case("keys and values", [1, 0], 8 * values + b, Box::new(run));
        let (bytes, mut data, its) = (packed(attention, Argument::C), noise(values, 1), design.clone());
        let run = move |method, pool: &Team| {
            let mut out = HeadsMut::new(&mut data, strides);
            unpack_heads(method, &its, &bytes, shape, &mut out, pool);
        };
        case("heads", [1, 0], 6 * values, Box::new(run));
        handed_on(design, [width, heads], &mut case);
        let (weights, mut bytes) = (noise(width * wide, 1), packed(linear(width, wide), Argument::B));
        let (spec, its) = (LinearSpec::new(width, wide, precision), design.clone());
        let run = move |method, _: &Team| {
            pack_weights(method, &its, &spec, (&weights, WeightLayout::InputsByOutputs), None, &mut bytes);
        };
        case("weights", [0; 2], 5 * width * wide, Box::new(run));
    }
    all
}

/// Operands that are made of what the array left.
fn handed_on(design: &Design, [width, heads]: [usize; 2], case: Note<'_>) {
    let linear = |inputs, outputs| Problem::Linear { rows: POSITIONS, inputs, outputs };
    let attention = Problem::Attention { heads, queries: POSITIONS, keys: POSITIONS };
    let bytes = |problem, argument| vec![0; design.buffer_bytes(&problem, argument)];
    // bf16 values of noise, whose magnitudes differ from row to row.
    let left = |problem| -> Vec<u8> {
        let values = noise(design.buffer_bytes(&problem, Argument::C) / 2, 7);
        values.iter().flat_map(|value| value.to_le_bytes().into_iter().skip(2)).collect()
    };
    let (wide, values) = (4 * width, POSITIONS * width);

    let (c, mut a, its) = (left(linear(1, wide)), bytes(linear(wide, 1), Argument::A), design.clone());
    let moved = 8 * values + a.len();
    let run = move |method, pool: &Team| pack_results(method, &its, &c, [POSITIONS, wide], false, &mut a, pool);
    case("wide results as rows", [0, 1], moved, Box::new(run));

    let (c, mut a, its) = (left(linear(1, width)), bytes(attention, Argument::A), design.clone());
    let moved = 2 * values + a.len();
    let run = move |method, pool: &Team| {
        let q = result_heads(&its, &c, [heads, POSITIONS]);
        pack_queries(method, &its, &q, [1, heads, POSITIONS, POSITIONS], 0.125, &mut a, pool);
    };
    case("results as queries", [0, 1], moved, Box::new(run));

    let ([k, v], mut b) = ([left(linear(1, width)), left(linear(1, width))], bytes(attention, Argument::B));
    let (moved, its) = (4 * values + b.len(), design.clone());
    let run = move |method, pool: &Team| {
        let [k, v] = [&k, &v].map(|c| result_heads(&its, c, [heads, POSITIONS]));
        pack_keys_and_values(method, &its, [&k, &v], [1, heads, POSITIONS], &mut b, pool);
    };
    case("results as keys and values", [0, 1], moved, Box::new(run));

    let (c, mut a, its) = (left(attention), bytes(linear(width, 1), Argument::A), design.clone());
    let moved = 2 * values + a.len();
    let run = move |method, pool: &Team| pack_attended(method, &its, &c, [1, heads, POSITIONS], false, &mut a, pool);
    case("heads as rows", [0, 1], moved, Box::new(run));
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
        let sums = [0, 1].map(|way| {
            let cases = cases.iter().filter(|case| case.model == model);
            cases.fold((0.0, 0.0), |(ms, mb), case| {
                let count = case.counts[way] as f64;
                (ms + count * median(&case.seconds[1]) * 1e3, mb + count * case.bytes as f64 / 1e6)
            })
        });
        let said = sums.map(|(ms, mb)| format!("{ms:.2} ms ({mb:.0} MB, {:.1} GB/s)", mb / ms));
        println!("{name}'s encoder without convolutions: unpacked {}, handed on {}", said[0], said[1]);
    }
    println!();
}
