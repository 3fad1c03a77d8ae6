//! What `bridge.h` declares.
#![allow(
    unsafe_code,
    reason = "cxx declares foreign functions; the C++ side reads and writes within the slices that it is given"
)]
#![allow(clippy::too_many_arguments, reason = "a target, a tile's three sides and a kernel's objects")]

// SAFETY: every function below keeps to the slices' lengths, which `lib.rs` has checked against the target and the tile, and keeps no pointer.
#[cxx::bridge(namespace = "undertone::bridge")]
mod bridge {
    unsafe extern "C++" {
        include!("undertone-aie/bridge/bridge.h");

        fn linear_int8(npu4: bool, m: i32, k: i32, n: i32, a: &[u8], b: &[u8], sums: &mut [i32], c: &mut [u8]) -> bool;
        fn linear_bf16(npu4: bool, m: i32, k: i32, n: i32, a: &[u8], b: &[u8], sums: &mut [f32], c: &mut [u8]) -> bool;
    }
}

pub(crate) use bridge::*;
