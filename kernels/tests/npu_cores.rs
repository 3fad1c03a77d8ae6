//! The designs' sizes against those of the cores' own code, and a core's memory: objects twice, state and stack in 64 KB.

use undertone_aie as aie;
use undertone_kernels::npu::{Design, Operator, Target, Tile, design::STACK_BYTES};

/// Tiles that `aie/build.sh` compiles if it is not told others, and others that fit.
fn designs() -> Vec<Design> {
    let linear_int8 = [(64, 64, 64), (48, 64, 96), (32, 64, 64), (16, 32, 32), (8, 8, 8)].as_slice();
    let linear_bf16 = [(32, 64, 64), (64, 32, 32), (16, 32, 32), (4, 8, 8)].as_slice();
    let attention = [(32, 64, 64), (16, 64, 64), (32, 64, 32), (8, 64, 8), (24, 64, 48)].as_slice();
    let mut designs = Vec::new();
    for (target, operator) in
        Target::ALL.into_iter().flat_map(|target| Operator::ALL.map(|operator| (target, operator)))
    {
        let tiles = match operator {
            Operator::LinearInt8 => linear_int8,
            Operator::LinearBf16 => linear_bf16,
            Operator::AttentionBf16 | Operator::AttentionInt8 => attention,
        };
        designs.extend(tiles.iter().map(|&(m, k, n)| Design::new(target, operator, Tile { m, k, n }).unwrap()));
    }
    designs
}

/// Bytes of a core's A, B and C objects and of its state, as its code has them.
fn by_the_code(design: &Design) -> [usize; 4] {
    let Tile { m, k, n } = design.tile;
    let tile = aie::Tile { m, k, n };
    let target = match design.target {
        Target::Npu1 => aie::Target::Npu1,
        Target::Npu4 => aie::Target::Npu4,
    };
    let linear = |sizes: aie::LinearSizes| [sizes.a, sizes.b, sizes.c, 4 * sizes.sums];
    let attention = |precision| {
        let kernel = aie::Attention::new(target, precision, tile).unwrap();
        [kernel.a_bytes(), kernel.b_bytes(), kernel.c_bytes(), kernel.state_bytes()]
    };
    match design.operator {
        Operator::LinearInt8 => linear(aie::LinearSizes::int8(tile)),
        Operator::LinearBf16 => linear(aie::LinearSizes::bf16(tile)),
        Operator::AttentionBf16 => attention(aie::Precision::Bf16),
        Operator::AttentionInt8 => attention(aie::Precision::Int8),
    }
}

#[test]
fn sizes_are_those_of_the_code() {
    for design in designs() {
        let sizes = [design.a_object(), design.b_object(), design.c_object(), design.core_state()];
        assert_eq!(sizes, by_the_code(&design), "{design:?}");
    }
}

#[test]
fn a_core_holds_objects_twice_state_and_stack() {
    for design in designs() {
        let [a, b, c, state] = by_the_code(&design);
        let left = (64 * 1024usize).checked_sub(2 * (a + b + c) + state).expect("objects and state fit");
        assert!(left >= STACK_BYTES, "{design:?}: {left} bytes are left for the stack");
    }
}
