//! How the fitted numbers of [`Machine`] come about: cores by least squares of relative errors, memory by a grid, both
//! over the published figures marked [`Use::Fit`].

use undertone_kernels::npu::{
    Target,
    cost::{CoreRate, Machine, STREAM_BYTES},
};

use super::published::{ARRAYS, CORES, CoreFigure, Figure, Kind, Products, Use};

/// The most multiply-accumulates a cycle that a core's instruction does, where its rate is known to be that: AIE2P has
/// no instruction for bf16 alone.
fn peak(target: Target, products: Products) -> Option<f64> {
    match products {
        Products::Bf16 if target == Target::Npu4 => None,
        Products::Bf16 => Some(target.bf16_macs() as f64),
        _ => Some(target.int8_macs() as f64),
    }
}

/// Fits one kind of core to its figures.
pub fn core(target: Target, products: Products) -> CoreRate {
    // Each figure says: a·(1/rate) + b·per_output = 1, with a and b in units of its own cycles.
    let rows: Vec<(f64, f64)> = CORES
        .iter()
        .filter(|figure| figure.target == target && figure.products == products && figure.purpose == Use::Fit)
        .map(|CoreFigure { tile: [m, k, n], macs_per_cycle, .. }| {
            let macs = (m * k * n) as f64;
            let cycles = macs / macs_per_cycle;
            (macs / cycles, (m * n) as f64 / cycles)
        })
        .collect();
    let sum = |of: fn(f64, f64) -> f64| rows.iter().map(|(a, b)| of(*a, *b)).sum::<f64>();
    let (ab, bb) = (sum(|a, b| a * b), sum(|_, b| b * b));
    let inverse = match peak(target, products) {
        Some(peak) => 1.0 / peak,
        None => {
            let (aa, a1, b1) = (sum(|a, _| a * a), sum(|a, _| a), sum(|_, b| b));
            (a1 * bb - b1 * ab) / (aa * bb - ab * ab)
        }
    };
    let per_output = (sum(|_, b| b) - ab * inverse) / bb;
    CoreRate { rate: round(1.0 / inverse, 1), per_output: round(per_output, 4) }
}

/// Fits bandwidth (in steps of 0.1 GB/s) and exposed share (in steps of 0.005) to a target's figures.
#[cfg(test)] // The document has the numbers in use, and the tests hold that they are these.
pub fn memory(machine: &Machine) -> (f64, f64) {
    let figures: Vec<&Figure> = fitted(machine.target).filter(|figure| figure.kind != Kind::Stock).collect();
    let grid =
        (50..1200).flat_map(|tenth| (0..60).map(move |share| (f64::from(tenth) * 1e8, f64::from(share) * 0.005)));
    best(grid, |(bandwidth, exposed)| error(&figures, &Machine { bandwidth, exposed, ..*machine }))
}

/// Fits the bandwidth of mlir-aie's stock design on npu4, whose runs in memory are short, in steps of 0.1 GB/s.
pub fn stock_bandwidth() -> f64 {
    let figures: Vec<&Figure> = fitted(Target::Npu4).filter(|figure| figure.kind == Kind::Stock).collect();
    let grid = (50..1200).map(|tenth| f64::from(tenth) * 1e8);
    best(grid, |bandwidth| {
        let machine = Machine { bandwidth, ..Machine::of(Target::Npu4) };
        error(&figures, &machine)
    })
}

fn fitted(target: Target) -> impl Iterator<Item = &'static Figure> {
    ARRAYS.iter().filter(move |figure| figure.target == target && figure.purpose == Use::Fit)
}

/// The first of the candidates with the least error.
fn best<T: Copy>(candidates: impl Iterator<Item = T>, error: impl Fn(T) -> f64) -> T {
    let all = candidates.map(|candidate| (error(candidate), candidate));
    #[expect(clippy::expect_used, reason = "the grids above are not empty")]
    all.reduce(|best, other| if other.0 < best.0 { other } else { best }).expect("candidates").1
}

fn error(figures: &[&Figure], machine: &Machine) -> f64 {
    figures.iter().map(|figure| (tops(figure, machine) / figure.tops - 1.0).powi(2)).sum()
}

/// What the model says of a published figure's own design, in 10¹² operations a second.
pub fn tops(figure: &Figure, machine: &Machine) -> f64 {
    let Figure { target, products, tile, shape, kind, .. } = *figure;
    let [m, k, n] = tile.map(|size| size as f64);
    let [rows, inputs, outputs] = shape.map(|size| size as f64);
    let (array_rows, columns) = (Target::ROWS as f64, target.columns() as f64);
    let (operand, result) = (products.operand_bytes() as f64, products.result_bytes() as f64);
    let macs = rows * inputs * outputs;
    let step = core(target, products).cycles(m, k, n).max(m.max(n) * k * operand / STREAM_BYTES);
    let sent = if kind == Kind::SingleC { m * n * result / STREAM_BYTES } else { 0.0 };
    let rounds = rows / (array_rows * m) * (outputs / (columns * n));
    let compute = rounds * (inputs / k * step + sent) / target.clock();
    let bytes = macs * operand * (1.0 / (n * columns) + 1.0 / (m * array_rows)) + rows * outputs * result;
    2.0 * macs / machine.total(compute, bytes / machine.bandwidth) / 1e12
}

/// The model's answer to a figure with the numbers in use.
pub fn predicted(figure: &Figure) -> f64 {
    let machine = Machine::of(figure.target);
    match figure.kind {
        Kind::Stock => tops(figure, &Machine { bandwidth: stock_bandwidth(), ..machine }),
        Kind::SingleC | Kind::DoubleC => tops(figure, &machine),
    }
}

/// The model's answer to a core's figure.
pub fn predicted_core(figure: &CoreFigure) -> f64 {
    let [m, k, n] = figure.tile.map(|size| size as f64);
    m * k * n / core(figure.target, figure.products).cycles(m, k, n)
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
