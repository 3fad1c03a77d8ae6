//! Linear layers, a core's steps put together, against sums in i32 and f32 written out one by one.

mod common;

use common::{FIRST, GELU, LAST, Seeded, a_object, control, gelu, plain, tiled, tiled_right, untiled};
use half::bf16;
use proptest::prelude::*;
use undertone_aie::{KernelError, LinearSizes, Target, Tile, linear_bf16, linear_int8, split_int8_epilogue};

/// One tile of a layer, `steps` times k deep.
struct Int8Case {
    target: Target,
    tile: Tile,
    x: Vec<i8>,
    w: Vec<i8>,
    row_scales: Vec<f32>,
    column_scales: Vec<f32>,
    bias: Vec<f32>,
}

impl Int8Case {
    fn seeded(target: Target, tile: Tile, steps: usize, seed: u64) -> Self {
        let mut seeded = Seeded(seed);
        let Tile { m, k, n } = tile;
        Self {
            target,
            tile,
            x: seeded.int8s(m * k * steps),
            w: seeded.int8s(k * steps * n),
            row_scales: (0..m).map(|_| 0.001 + seeded.unit().abs() / 100.0).collect(),
            column_scales: (0..n).map(|_| 0.0001 + seeded.unit().abs() / 1000.0).collect(),
            bias: seeded.floats(n),
        }
    }

    /// Row-major results of the kernel.
    fn run(&self, flags: u32) -> Vec<bf16> {
        let Tile { m, k, n } = self.tile;
        let (r, s, t) = self.target.int8_micro_tile();
        let inner = self.x.len() / m;
        let sizes = LinearSizes::int8(self.tile);
        // What a core finds there at first is anything.
        let (mut sums, mut c) = (vec![0x5555_5555; sizes.sums], vec![0; sizes.c]);
        let steps = inner / k;
        for step in 0..steps {
            let x: Vec<i8> = (0..m).flat_map(|i| self.x[i * inner + step * k..][..k].to_vec()).collect();
            let flags = if step == 0 { FIRST } else { 0 } | if step + 1 == steps { LAST | flags } else { 0 };
            let a = a_object(&[tiled(&x, k, r, s), plain(&self.row_scales)], control(flags));
            let b =
                [tiled_right(&self.w[step * k * n..][..k * n], n, s, t), plain(&self.column_scales), plain(&self.bias)]
                    .concat();
            let written = linear_int8(self.target, self.tile, &a, &b, &mut sums, &mut c).unwrap();
            assert_eq!(written, step + 1 == steps);
        }
        untiled(&c, n, r, t)
    }

    /// Before rounding to bf16, each operation rounded to f32.
    fn oracle(&self) -> Vec<f32> {
        let Tile { m, n, .. } = self.tile;
        let inner = self.x.len() / m;
        let mut y = Vec::new();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let sum: i32 = (0..inner).map(|p| i32::from(self.x[i * inner + p]) * i32::from(self.w[p * n + j])).sum();
            y.push(sum as f32 * (self.row_scales[i] * self.column_scales[j]) + self.bias[j]);
        }
        y
    }
}

fn bits(values: &[bf16]) -> Vec<u16> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn int8_is_the_oracle_bit_for_bit() {
    for target in Target::ALL {
        for (m, k, n, steps) in
            [(64, 64, 64, 6), (48, 64, 96, 1), (32, 64, 64, 2), (16, 32, 32, 3), (8, 8, 8, 1), (24, 40, 56, 2)]
        {
            let case = Int8Case::seeded(target, Tile { m, k, n }, steps, 7);
            let expected: Vec<bf16> = case.oracle().into_iter().map(bf16::from_f32).collect();
            assert_eq!(bits(&case.run(0)), bits(&expected), "{target:?} {m}×{k}×{n}, {steps} steps");
        }
    }
}

/// The switch for fp32 products in its other position: of one output in many thousands the last place of bf16 differs.
#[test]
fn int8_with_split_products_is_the_oracle_but_for_ties() {
    let tile = Tile { m: 64, k: 8, n: 64 };
    let case = Int8Case::seeded(Target::Npu1, tile, 1, 13);
    let (r, s, t) = Target::Npu1.int8_micro_tile();
    let a = a_object(&[tiled(&case.x, 8, r, s), plain(&case.row_scales)], control(FIRST | LAST));
    let b = [tiled_right(&case.w, 64, s, t), plain(&case.column_scales), plain(&case.bias)].concat();
    let mut sums = vec![0; 64 * 64];
    let mut c = vec![0; 2 * 64 * 64];
    linear_int8(Target::Npu1, tile, &a, &b, &mut sums, &mut c).unwrap();
    assert_eq!(bits(&untiled(&c, 64, r, t)), bits(&case.oracle().into_iter().map(bf16::from_f32).collect::<Vec<_>>()));
    let mut split = vec![0; 2 * 64 * 64];
    split_int8_epilogue(tile, &a, &b, &sums, &mut split).unwrap();
    let (found, expected) = (bits(&untiled(&split, 64, r, t)), bits(&untiled(&c, 64, r, t)));
    let far = |(found, expected): &(&u16, &u16)| found.abs_diff(**expected) > 1;
    assert!(!found.iter().zip(&expected).any(|pair| far(&pair)));
    let apart = found.iter().zip(&expected).filter(|(found, expected)| found != expected).count();
    assert!(apart <= 4, "{apart} of 4096 differ");
    assert!(split_int8_epilogue(tile, &a[1..], &b, &sums, &mut split).is_err());
}

#[test]
fn int8_of_the_largest_operands_over_whispers_deepest_layer() {
    // 5120 · 127² is above 2^24: the conversion to fp32 rounds.
    let tile = Tile { m: 8, k: 64, n: 8 };
    let mut case = Int8Case::seeded(Target::Npu4, tile, 80, 3);
    case.x.fill(-127);
    case.w.fill(127);
    case.w[9] = 126;
    let expected: Vec<bf16> = case.oracle().into_iter().map(bf16::from_f32).collect();
    assert_eq!(bits(&case.run(0)), bits(&expected));
}

#[test]
fn gelu_in_the_epilogue() {
    for target in Target::ALL {
        let case = Int8Case::seeded(target, Tile { m: 32, k: 64, n: 64 }, 2, 11);
        for (found, x) in case.run(GELU).iter().zip(case.oracle()) {
            let exact = gelu(f64::from(x));
            let error = (f64::from(found.to_f32()) - exact).abs();
            assert!(error <= exact.abs() / 256.0 + 1.2e-5, "gelu({x}) = {exact}, found {found}");
        }
    }
}

fn bf16_case(target: Target, tile: Tile, steps: usize, seed: u64) {
    let mut seeded = Seeded(seed);
    let Tile { m, k, n } = tile;
    let inner = k * steps;
    let (x, w, bias) = (seeded.bf16s(m * inner), seeded.bf16s(inner * n), seeded.floats(n));
    let (r, s, t) = target.bf16_micro_tile();
    let sizes = LinearSizes::bf16(tile);
    let (mut sums, mut c) = (vec![f32::NAN; sizes.sums], vec![0; sizes.c]);
    for step in 0..steps {
        let part: Vec<bf16> = (0..m).flat_map(|i| x[i * inner + step * k..][..k].to_vec()).collect();
        let flags = if step == 0 { FIRST } else { 0 } | if step + 1 == steps { LAST } else { 0 };
        let a = a_object(&[tiled(&part, k, r, s)], control(flags));
        let b = [tiled_right(&w[step * k * n..][..k * n], n, s, t), plain(&bias)].concat();
        linear_bf16(target, tile, &a, &b, &mut sums, &mut c).unwrap();
    }
    let mut expected = Vec::new();
    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
        let mut sum = 0.0f32;
        for p in 0..inner {
            sum += x[i * inner + p].to_f32() * w[p * n + j].to_f32();
        }
        expected.push(bf16::from_f32(sum + bias[j]));
    }
    assert_eq!(bits(&untiled(&c, n, r, t)), bits(&expected), "{target:?} {tile:?}, {steps} steps");
}

#[test]
fn bf16_adds_in_the_order_of_k() {
    for target in Target::ALL {
        for (m, k, n, steps) in [(48, 64, 48, 3), (64, 32, 64, 2), (32, 64, 64, 6), (4, 8, 8, 1), (12, 24, 40, 2)] {
            bf16_case(target, Tile { m, k, n }, steps, 5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_tile_of_whole_micro_tiles(m in 1usize..9, k in 1usize..9, n in 1usize..9, steps in 1usize..4, seed: u64, npu4: bool) {
        let target = if npu4 { Target::Npu4 } else { Target::Npu1 };
        let (r, s, t) = target.int8_micro_tile();
        let case = Int8Case::seeded(target, Tile { m: m * r, k: k * s, n: n * t }, steps, seed);
        let expected: Vec<bf16> = case.oracle().into_iter().map(bf16::from_f32).collect();
        prop_assert_eq!(bits(&case.run(0)), bits(&expected));
        let (r, s, t) = target.bf16_micro_tile();
        bf16_case(target, Tile { m: m * r, k: k * s, n: n * t }, steps, seed);
    }
}

/// bf16 results of a bias alone, so that the epilogue's rounding stands by itself.
fn rounded(bias: &[f32]) -> Vec<bf16> {
    let tile = Tile { m: 4, k: 8, n: bias.len() };
    let a = a_object(&[vec![0; 64]], control(FIRST | LAST));
    let b = [vec![0; 16 * bias.len()], plain(bias)].concat();
    let sizes = LinearSizes::bf16(tile);
    let (mut sums, mut c) = (vec![0.0; sizes.sums], vec![0; sizes.c]);
    linear_bf16(Target::Npu1, tile, &a, &b, &mut sums, &mut c).unwrap();
    untiled(&c, bias.len(), 4, 4)[..bias.len()].to_vec()
}

#[test]
fn rounding_to_bf16_is_to_nearest_even() {
    let from = f32::from_bits;
    let cases = [
        (from(0x3f80_8000), 0x3f80), // half way, to the even one below
        (from(0x3f81_8000), 0x3f82), // half way, to the even one above
        (from(0x3f80_8001), 0x3f81),
        (from(0x3f80_7fff), 0x3f80),
        (from(0xbf81_8000), 0xbf82),
        (from(0x7f7f_7fff), 0x7f7f),
        (f32::MAX, 0x7f80), // rounds up to infinity
        (-f32::MAX, 0xff80),
        (f32::INFINITY, 0x7f80),
        (from(0x0000_8001), 0x0001), // denormals are kept
        (0.0, 0),
        (from(0x3fff_ffff), 0x4000), // carries into the exponent
    ];
    let found = rounded(&cases.map(|(value, _)| value));
    assert_eq!(bits(&found), cases.map(|(_, bits)| bits));
    // The payload's upper bits may be zero: it must not become infinite.
    assert!(rounded(&[from(0x7f80_0001); 4]).iter().all(|value| value.is_nan()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let tile = Tile { m: 64, k: 64, n: 64 };
    let sizes = LinearSizes::int8(tile);
    let (a, b) = (vec![0; sizes.a], vec![0; sizes.b]);
    let run = |tile, a: &[u8], sums: usize| {
        linear_int8(Target::Npu4, tile, a, &b, &mut vec![0; sums], &mut []).map_err(|error| error.to_string())
    };
    assert_eq!(run(tile, &a, 4096), Ok(false));
    assert!(run(tile, &a[1..], 4096).unwrap_err().contains("A has 4415 elements; with this tile it has 4416"));
    assert!(run(tile, &a, 4095).unwrap_err().contains("sums"));
    assert!(run(Tile { m: 60, ..tile }, &a, 4096).unwrap_err().contains("whole micro-tiles 8×8×8"));
    assert!(run(Tile { m: 0, ..tile }, &a, 4096).unwrap_err().contains("sides are 1 to 4096"));
    // The last step needs C.
    let mut last = a.clone();
    last[sizes.a - 64] = 3;
    let error = linear_int8(Target::Npu4, tile, &last, &b, &mut vec![0; 4096], &mut []).unwrap_err();
    assert_eq!(error, KernelError::Length { kernel: "linear_int8", argument: "C", expected: 8192, found: 0 });
}
