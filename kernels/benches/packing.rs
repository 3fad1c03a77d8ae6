//! Packing for an NPU beside this machine's memory:
//! `cargo bench -p undertone-kernels --bench packing [-- THREADS [TARGET [PRECISION]]]`.
//!
//! For each operand at the shapes of whisper-tiny's and base's encoders: medians of interleaved runs, one value after
//! another and with vectors, in 10⁹ bytes of fp32 values a second; then the vectors' time for a whole encoder. Beside
//! them stands how fast memory is read, measured in the same run. An operand that stays in a cache can be faster than
//! that, as it would be in a model, whose layers come one after another.

use std::time::Instant;

use undertone_kernels::{
    Heads, HeadsMut, LinearSpec, Parallel, Precision, WeightLayout,
    limits::{median, memory::Reader},
    npu::{
        Argument, Design, HEAD_WIDTH, Kernels, Problem, Target,
        layout::{
            PackMethod, pack_keys_and_values_by, pack_queries_by, pack_rows_by, pack_weights_by, unpack_heads_by,
            unpack_rows_by,
        },
        tiling,
    },
    reference::noise::noise,
    team::Team,
};

const ROUNDS: usize = 21;
const POSITIONS: usize = 1500;
/// Width and layers of tiny and base.
const MODELS: [(&str, usize, usize); 2] = [("tiny", 384, 4), ("base", 512, 6)];

#[derive(Clone, Copy)]
enum Kind {
    Rows { inputs: usize },
    Results { outputs: usize, residual: bool },
    Weights { inputs: usize, outputs: usize },
    Queries,
    KeysAndValues,
    Heads,
}

struct Case {
    name: String,
    model: usize,
    kind: Kind,
    /// How often a window's encoder has it.
    count: usize,
    design: Design,
    heads: usize,
    floats: Vec<f32>,
    more: Vec<f32>,
    bytes: Vec<u8>,
    seconds: [Vec<f64>; 2],
}

impl Case {
    fn new(model: usize, what: &str, kind: Kind, count: usize, design: &Design) -> Self {
        let (name, width, _) = MODELS[model];
        let heads = width / HEAD_WIDTH;
        let linear = |inputs, outputs| Problem::Linear { rows: POSITIONS, inputs, outputs };
        let attention = Problem::Attention { heads, queries: POSITIONS, keys: POSITIONS };
        let (problem, argument, values) = match kind {
            Kind::Rows { inputs } => (linear(inputs, 1), Argument::A, POSITIONS * inputs),
            Kind::Results { outputs, .. } => (linear(1, outputs), Argument::C, POSITIONS * outputs),
            Kind::Weights { inputs, outputs } => (linear(inputs, outputs), Argument::B, inputs * outputs),
            Kind::Queries => (attention, Argument::A, POSITIONS * width),
            Kind::KeysAndValues => (attention, Argument::B, POSITIONS * width),
            Kind::Heads => (attention, Argument::C, POSITIONS * width),
        };
        // bf16 values of magnitude around 1, whatever the operand.
        let bytes = [0x12, 0x3f].into_iter().cycle().take(design.buffer_bytes(&problem, argument)).collect();
        Self {
            name: format!("{name} {what}"),
            model,
            kind,
            count,
            design: design.clone(),
            heads,
            floats: noise(values, 1),
            more: noise(values, 1),
            bytes,
            seconds: Default::default(),
        }
    }

    /// Bytes of fp32 values that are read or written.
    fn bytes(&self) -> usize {
        let operands = if matches!(self.kind, Kind::KeysAndValues) { 2 } else { 1 };
        operands * self.floats.len() * size_of::<f32>()
    }

    fn run(&mut self, method: PackMethod, pool: &Team) {
        let Self { kind, design, heads, floats, more, bytes, .. } = self;
        let heads = *heads;
        let strides = [POSITIONS * heads * HEAD_WIDTH, HEAD_WIDTH, heads * HEAD_WIDTH];
        let view = |data| {
            let [batch_stride, head_stride, row_stride] = strides;
            Heads { data, batch_stride, head_stride, row_stride }
        };
        match *kind {
            Kind::Rows { inputs } => pack_rows_by(method, design, floats, [POSITIONS, inputs], false, bytes, pool),
            Kind::Results { outputs, residual } => {
                let residual = residual.then_some(&more[..]);
                unpack_rows_by(method, design, bytes, [POSITIONS, outputs], residual, floats, pool);
            }
            Kind::Weights { inputs, outputs } => {
                let precision = design.kernels.precision();
                let activation = undertone_kernels::Activation::None;
                let spec = LinearSpec { inputs, outputs, precision, wide_rows: false, activation, scale: 1.0 };
                pack_weights_by(method, design, &spec, (floats, WeightLayout::InputsByOutputs), None, bytes);
            }
            Kind::Queries => {
                pack_queries_by(method, design, &view(floats), [1, heads, POSITIONS, POSITIONS], 0.125, bytes, pool);
            }
            Kind::KeysAndValues => {
                pack_keys_and_values_by(
                    method,
                    design,
                    [&view(floats), &view(more)],
                    [1, heads, POSITIONS],
                    bytes,
                    pool,
                );
            }
            Kind::Heads => {
                let [batch_stride, head_stride, row_stride] = strides;
                let mut out = HeadsMut { data: floats, batch_stride, head_stride, row_stride };
                unpack_heads_by(method, design, bytes, [1, heads, POSITIONS], &mut out, pool);
            }
        }
    }
}

/// What a window's encoder packs and unpacks, convolutions apart; weights stand among them once and count for nothing.
fn cases(target: Target, precision: Precision) -> Vec<Case> {
    let kernels = Kernels::of(precision).expect("int8 or bf16");
    let design = tiling::shipped(target, kernels).expect("shipped");
    let mut all = Vec::new();
    for (model, (_, width, layers)) in MODELS.into_iter().enumerate() {
        let wide = 4 * width;
        let mut case = |what: &str, kind, count| all.push(Case::new(model, what, kind, count * layers, &design));
        case("rows", Kind::Rows { inputs: width }, 3);
        case("wide rows", Kind::Rows { inputs: wide }, 1);
        case("results", Kind::Results { outputs: width, residual: false }, 3);
        case("wide results", Kind::Results { outputs: wide, residual: false }, 1);
        case("results + residual", Kind::Results { outputs: width, residual: true }, 2);
        case("queries", Kind::Queries, 1);
        case("keys and values", Kind::KeysAndValues, 1);
        case("heads", Kind::Heads, 1);
        case("weights", Kind::Weights { inputs: width, outputs: wide }, 0);
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
    let mut memory = Reader::new();
    for round in 0..ROUNDS {
        if round % 4 == 0 {
            memory.sample(pool);
        }
        for case in &mut cases {
            for (at, method) in [PackMethod::OneByOne, PackMethod::best()].into_iter().enumerate() {
                let start = Instant::now();
                case.run(method, pool);
                case.seconds[at].push(start.elapsed().as_secs_f64());
            }
        }
    }
    println!("{target} {precision}; memory is read at {:.1} GB/s by {} threads", memory.gbps(), pool.width());
    println!("{:<28} {:>8} {:>12} {:>12} {:>8}", "operand", "KiB", "scalar GB/s", "SIMD GB/s", "times");
    for case in &cases {
        let [scalar, simd] = [0, 1].map(|at| case.bytes() as f64 / median(&case.seconds[at]) / 1e9);
        let kib = case.bytes() / 1024;
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
