//! What `bridge.h` declares.
#![allow(
    unsafe_code,
    reason = "cxx declares foreign functions; the C++ side reads and writes within the slices that it is given"
)]
#![allow(clippy::too_many_arguments, reason = "a target, a tile's three sides and a kernel's objects")]

// SAFETY: every function below keeps to the slices' lengths, which `lib.rs` has checked against the target and the
// tile, and keeps no pointer.
#[cxx::bridge(namespace = "undertone::bridge")]
mod bridge {
    /// A generation of NPU, as [`crate::Target`].
    #[derive(Clone, Copy, Debug)]
    enum Silicon {
        Npu1,
        Npu4,
    }

    /// A core's attention: its target, its queries' and keys' number format, queries of a tile, keys of a block.
    #[derive(Clone, Copy, Debug)]
    struct Core {
        silicon: Silicon,
        int8: bool,
        m: i32,
        n: i32,
    }

    /// What a core does with the objects of a block of keys.
    #[derive(Clone, Copy, Debug)]
    enum Stage {
        Keys,
        Values,
        End,
    }

    /// Values that a core's vector unit works through; see [`crate::counts::Counts`].
    #[derive(Clone, Copy, Debug)]
    struct Counts {
        products: u64,
        macs: u64,
        additions: u64,
        comparisons: u64,
        conversions: u64,
    }

    unsafe extern "C++" {
        include!("undertone-aie/bridge/bridge.h");

        fn linear_int8(
            silicon: Silicon,
            m: i32,
            k: i32,
            n: i32,
            last: bool,
            a: &[u8],
            b: &[u8],
            sums: &mut [i32],
            c: &mut [u8],
        );
        fn linear_bf16(
            silicon: Silicon,
            m: i32,
            k: i32,
            n: i32,
            last: bool,
            a: &[u8],
            b: &[u8],
            sums: &mut [f32],
            c: &mut [u8],
        );

        fn attention_queries(core: Core, columns: i32, a: &[u8], state: &mut [f32], column: i32) -> bool;
        fn attention_blocks(core: Core, state: &[f32]) -> i32;
        fn attention_keys(core: Core, k: &[u8], state: &mut [f32], block: i32);
        fn attention_values(core: Core, v: &[u8], state: &mut [f32]);
        fn attention_end(core: Core, state: &mut [f32], c: &mut [u8]);
        fn attention_state_words(core: Core) -> i32;

        fn trial_answer(a: &[i32], c: &mut [i32]);

        fn exp2(x: &[f32], y: &mut [f32]);
        fn probability(x: &[f32], y: &mut [f32]);
        fn gelu(x: &[f32], y: &mut [f32]);
        fn reciprocal(x: &[f32], y: &mut [f32]);
        fn shift_round_saturate(x: &[i32], y: &mut [i8], shift: i32, rounding: u32, saturation: u32);
        fn round_to_bf16(x: &[f32], y: &mut [u16], rounding: u32);
        fn product_of_parts(x: &[f32], y: &[f32], products: &mut [f32]);

        fn split_product(x: &[f32], y: &[f32], products: &mut [f32]);
        fn split_reciprocal(x: &[f32], y: &mut [f32]);
        fn split_scaled(sums: &[i32], a: &[u8], b: &[u8], c: &mut [u8], m: i32, n: i32);

        fn counted_epilogue(silicon: Silicon, int8: bool, m: i32, k: i32, n: i32, gelu: bool) -> Counts;
        fn counted_attention(core: Core, stage: Stage) -> Counts;
    }
}

pub(crate) use bridge::*;
