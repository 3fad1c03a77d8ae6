//! The designs' sizes against those of the cores' own code, and a core's memory: objects twice, state and stack in 64
//! KB.

use undertone_aie as aie;
use undertone_kernels::npu::{CONSTANT_BYTES, Design, Kernels, STACK_BYTES, Target, Tile};

/// Tiles that `aie/build.sh` compiles if it is not told others, and others that fit.
fn designs() -> Vec<Design> {
    let int8 = [(48, 64), (64, 32), (32, 64), (16, 32), (8, 16)].as_slice();
    let bf16 = [(48, 32), (32, 48), (16, 32), (24, 24), (4, 8)].as_slice();
    let mut designs = Vec::new();
    for target in Target::ALL {
        for (kernels, tiles) in [(Kernels::Int8, int8), (Kernels::Bf16, bf16)] {
            designs.extend(tiles.iter().map(|&(m, k)| Design::new(target, kernels, Tile { m, k, n: 64 }).unwrap()));
        }
        designs.extend(Kernels::ALL.map(|kernels| Design::shipped(target, kernels).unwrap()));
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
    let (sizes, precision) = match design.kernels {
        Kernels::Int8 => (aie::LinearSizes::int8(tile), aie::Precision::Int8),
        Kernels::Bf16 => (aie::LinearSizes::bf16(tile), aie::Precision::Bf16),
    };
    // Attention's objects are those of the linear layers, its state holds their sums.
    let attention = aie::Attention::new(target, precision, tile).unwrap();
    assert_eq!((attention.a_bytes(), attention.c_bytes(), attention.block()), (sizes.a, sizes.c, design.block()));
    assert!(attention.b_bytes() <= sizes.b && 4 * sizes.sums <= attention.state_bytes());
    [sizes.a, sizes.b, sizes.c, attention.state_bytes()]
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
        assert!(left >= STACK_BYTES + CONSTANT_BYTES, "{design:?}: {left} bytes are left for stack and constants");
    }
}
