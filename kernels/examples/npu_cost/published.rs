//! What others have measured and published with shapes and tiles, and which of it the model is fitted to. Sources:
//! arXiv 2512.13282, tables 1 to 3 and sections 5.2 and 5.3 (7940HS and Ryzen AI 7 350, DDR5-5600, wall clock with
//! dispatch); mlir-aie's stock `whole_array` design where it says so.

use undertone_kernels::npu::Target;

use Products::{Bf16, Int8ToInt8, Int8ToInt16, Int8ToInt32};
use Target::{Npu1, Npu4};

/// What a core multiplies, and how wide the sums are that it loads and stores at each step: that sets its speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// int8 operands, sums narrowed to int8.
    Int8ToInt8,
    /// int8 operands, sums narrowed to int16.
    Int8ToInt16,
    /// int8 operands, int32 sums.
    Int8ToInt32,
    /// bf16 operands, sums narrowed to bf16; on npu4 by way of bfp16.
    Bf16,
}

impl Products {
    /// All of them.
    pub const ALL: [Self; 4] = [Int8ToInt8, Int8ToInt16, Int8ToInt32, Bf16];

    /// Bytes of an operand's element.
    pub fn operand_bytes(self) -> usize {
        if self == Bf16 { 2 } else { 1 }
    }

    /// Bytes of a result's element.
    pub fn result_bytes(self) -> usize {
        match self {
            Int8ToInt8 => 1,
            Int8ToInt16 | Bf16 => 2,
            Int8ToInt32 => 4,
        }
    }

    /// As the paper names them.
    pub fn name(self) -> &'static str {
        match self {
            Int8ToInt8 => "int8→int8",
            Int8ToInt16 => "int8→int16",
            Int8ToInt32 => "int8→int32",
            Bf16 => "bf16→bf16",
        }
    }
}

/// What a figure is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The model's numbers are fitted to it.
    Fit,
    /// The model is checked with it.
    Check,
}

/// Multiply-accumulates in a cycle of one core that always has its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoreFigure {
    /// On which silicon.
    pub target: Target,
    /// What is multiplied.
    pub products: Products,
    /// `m, k, n`.
    pub tile: [usize; 3],
    /// The measurement.
    pub macs_per_cycle: f64,
    /// What it is for.
    pub purpose: Use,
}

/// How the design of a figure differs from the paper's best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One C object in a core's memory, which waits until it is sent; long runs in memory.
    SingleC,
    /// Two C objects.
    DoubleC,
    /// The stock design: two C objects, short runs in memory, descriptors written between transfers.
    Stock,
}

/// 10¹² operations a second of a whole array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// On which silicon.
    pub target: Target,
    /// What is multiplied.
    pub products: Products,
    /// `m, k, n`.
    pub tile: [usize; 3],
    /// `M, K, N`.
    pub shape: [usize; 3],
    /// The measurement.
    pub tops: f64,
    /// How its design differs.
    pub kind: Kind,
    /// What it is for.
    pub purpose: Use,
    /// Where it stands.
    pub source: &'static str,
}

const fn core(target: Target, products: Products, tile: [usize; 3], macs_per_cycle: f64, purpose: Use) -> CoreFigure {
    CoreFigure { target, products, tile, macs_per_cycle, purpose }
}

/// Figures of single cores.
pub const CORES: [CoreFigure; 24] = [
    core(Npu1, Int8ToInt8, [64, 232, 64], 233.0, Use::Fit),
    core(Npu1, Int8ToInt8, [112, 112, 112], 212.5, Use::Fit),
    core(Npu1, Int8ToInt8, [112, 104, 128], 207.4, Use::Check),
    core(Npu1, Int8ToInt16, [64, 216, 64], 217.6, Use::Fit),
    core(Npu1, Int8ToInt16, [96, 112, 96], 192.0, Use::Fit),
    core(Npu1, Int8ToInt16, [80, 104, 128], 186.9, Use::Check),
    core(Npu1, Int8ToInt32, [48, 280, 48], 192.0, Use::Fit),
    core(Npu1, Int8ToInt32, [80, 88, 96], 146.0, Use::Fit),
    core(Npu1, Int8ToInt32, [64, 80, 128], 133.1, Use::Check),
    core(Npu1, Bf16, [64, 104, 64], 112.6, Use::Fit),
    core(Npu1, Bf16, [96, 56, 96], 99.8, Use::Fit),
    core(Npu1, Bf16, [96, 48, 112], 97.3, Use::Check),
    core(Npu4, Int8ToInt8, [64, 232, 64], 450.6, Use::Fit),
    core(Npu4, Int8ToInt8, [144, 72, 144], 343.0, Use::Fit),
    core(Npu4, Int8ToInt8, [160, 64, 144], 322.6, Use::Check),
    core(Npu4, Int8ToInt16, [64, 216, 64], 419.8, Use::Fit),
    core(Npu4, Int8ToInt16, [128, 72, 112], 307.2, Use::Fit),
    core(Npu4, Int8ToInt16, [160, 64, 96], 271.4, Use::Check),
    core(Npu4, Int8ToInt32, [48, 280, 48], 384.0, Use::Fit),
    core(Npu4, Int8ToInt32, [96, 64, 96], 256.0, Use::Fit),
    core(Npu4, Int8ToInt32, [128, 56, 80], 209.9, Use::Check),
    core(Npu4, Bf16, [48, 152, 48], 158.1, Use::Fit),
    core(Npu4, Bf16, [112, 48, 96], 137.2, Use::Fit),
    core(Npu4, Bf16, [160, 40, 80], 124.1, Use::Check),
];

const TABLE: &str = "tables 2, 3";
const SWEEP: &str = "best of the sweep; its shape (\"~4K\") taken from tables 2, 3";
const TEXT: &str = "sections 5.2, 5.3; \"~4K\" taken as 4096";
const STOCK: &str = "stock `whole_array`, Strix Halo, others' report of September 2026";

const fn figure(
    target: Target,
    products: Products,
    tile: [usize; 3],
    shape: [usize; 3],
    tops: f64,
    how: (Kind, Use, &'static str),
) -> Figure {
    let (kind, purpose, source) = how;
    Figure { target, products, tile, shape, tops, kind, purpose, source }
}

const FIT: (Kind, Use, &str) = (Kind::SingleC, Use::Fit, TABLE);
const CHECK: (Kind, Use, &str) = (Kind::SingleC, Use::Check, TABLE);
const BEST: (Kind, Use, &str) = (Kind::SingleC, Use::Check, SWEEP);
/// Bound by memory, as no row of the tables is: without it nothing would tell the bandwidth.
const BOUND: (Kind, Use, &str) = (Kind::SingleC, Use::Fit, TEXT);
const DOUBLE: (Kind, Use, &str) = (Kind::DoubleC, Use::Check, TEXT);

/// Figures of whole arrays.
#[expect(clippy::approx_constant, reason = "3.14 is a measurement")]
pub const ARRAYS: [Figure; 31] = [
    figure(Npu1, Int8ToInt8, [112, 112, 112], [4032, 4032, 4032], 6.52, FIT),
    figure(Npu1, Int8ToInt8, [112, 104, 128], [4032, 4160, 4096], 6.48, CHECK),
    figure(Npu1, Int8ToInt8, [112, 112, 112], [4032, 4032, 4032], 6.76, BEST),
    figure(Npu1, Int8ToInt16, [96, 112, 96], [4224, 4032, 4224], 5.85, FIT),
    figure(Npu1, Int8ToInt16, [80, 104, 128], [4160, 4160, 4096], 5.75, CHECK),
    figure(Npu1, Int8ToInt16, [96, 112, 96], [4224, 4032, 4224], 6.05, BEST),
    figure(Npu1, Int8ToInt16, [64, 216, 64], [4096, 4096, 4096], 4.03, BOUND),
    figure(Npu1, Int8ToInt32, [80, 88, 96], [4160, 4224, 4224], 4.42, FIT),
    figure(Npu1, Int8ToInt32, [64, 80, 128], [4096, 4160, 4096], 4.09, CHECK),
    figure(Npu1, Int8ToInt32, [80, 88, 96], [4160, 4224, 4224], 4.57, BEST),
    figure(Npu1, Bf16, [96, 56, 96], [4224, 4032, 4224], 3.12, FIT),
    figure(Npu1, Bf16, [96, 48, 112], [4224, 4032, 4032], 3.02, CHECK),
    figure(Npu1, Bf16, [96, 56, 96], [4224, 4032, 4224], 3.14, BEST),
    figure(Npu1, Bf16, [80, 40, 96], [4096, 4096, 4096], 2.76, DOUBLE),
    figure(Npu4, Int8ToInt8, [144, 72, 144], [4032, 4320, 4608], 37.35, FIT),
    figure(Npu4, Int8ToInt8, [160, 64, 144], [4480, 4224, 4608], 36.13, CHECK),
    figure(Npu4, Int8ToInt8, [144, 72, 144], [4032, 4320, 4608], 38.05, BEST),
    figure(Npu4, Int8ToInt16, [128, 72, 112], [4096, 4320, 4480], 30.77, FIT),
    figure(Npu4, Int8ToInt16, [160, 64, 96], [4480, 4224, 4608], 29.59, CHECK),
    figure(Npu4, Int8ToInt16, [128, 72, 112], [4096, 4320, 4480], 31.52, BEST),
    figure(Npu4, Int8ToInt16, [64, 216, 64], [4096, 4096, 4096], 17.86, BOUND),
    figure(Npu4, Int8ToInt16, [112, 48, 96], [4096, 4096, 4096], 26.1, DOUBLE),
    figure(Npu4, Int8ToInt32, [96, 64, 96], [4224, 4224, 4608], 24.74, FIT),
    figure(Npu4, Int8ToInt32, [128, 56, 80], [4096, 4032, 4480], 21.67, CHECK),
    figure(Npu4, Int8ToInt32, [96, 64, 96], [4224, 4224, 4608], 25.31, BEST),
    figure(Npu4, Bf16, [112, 48, 96], [4032, 4224, 4608], 14.52, FIT),
    figure(Npu4, Bf16, [160, 40, 80], [4480, 4160, 4480], 13.67, CHECK),
    figure(Npu4, Bf16, [112, 48, 96], [4032, 4224, 4608], 14.71, BEST),
    figure(Npu4, Int8ToInt32, [64, 64, 32], [2048, 2048, 2048], 4.28, (Kind::Stock, Use::Fit, STOCK)),
    figure(Npu4, Int8ToInt32, [64, 64, 32], [17408, 5120, 512], 5.67, (Kind::Stock, Use::Fit, STOCK)),
    figure(
        Npu4,
        Int8ToInt32,
        [64, 64, 64],
        [2048, 2048, 2048],
        6.65,
        (Kind::Stock, Use::Check, "stock `whole_array`, Strix"),
    ),
];

/// What was published without what a prediction needs, and what is missing.
pub const NOT_COMPARABLE: [(&str, &str); 7] = [
    ("npu4, stock, 512³ in about 0.2 ms", "tiles and number format are not stated"),
    ("npu1, stock, 512³ in 0.267 ms through XRT", "tiles and number format are not stated"),
    ("npu1, stock bf16, 1536×1536×384 at 1761 GFLOPS", "tiles are not stated"),
    ("npu1, stock bf16, 1536×5120×1280 at 1514 GFLOPS", "tiles are not stated"),
    ("npu1, stock bf16, 1536×64×1536 at 386 GFLOPS", "tiles are not stated; written as products, not as attention"),
    ("npu1, stock, int8 1.33 times as fast as bf16", "neither shape nor tiles are stated"),
    ("the paper's design with runs of 112 bytes in memory, 1.27 TOPS", "our objects lie in memory as one run each"),
];
