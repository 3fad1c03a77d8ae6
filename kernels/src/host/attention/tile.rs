//! The inner loop of both of attention's products: a tile of sums in registers.
#![allow(unsafe_code)]

use super::operand::Operand;
use crate::host::simd::Simd;

/// Sums of `R` rows and one panel of `V` vectors over `words` words: row `r`'s word `w` is at
/// `rows[r · row_stride + w]`, the panel's are at `panel[(w · V + v) · LANES]`. Each row's sums begin as `start`.
///
/// # Safety
/// All of that is readable.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, P: Operand, const R: usize, const V: usize>(
    s: S,
    words: usize,
    rows: *const u32,
    row_stride: usize,
    panel: *const i32,
    start: [P::Sum<S>; V],
) -> [[P::Sum<S>; V]; R] {
    let mut sums = [start; R];
    for word in 0..words {
        // SAFETY: the caller's promise.
        let vectors: [S::I; V] = std::array::from_fn(|v| unsafe { s.load_i(panel.add((word * V + v) * S::LANES)) });
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let row = s.splat_i(unsafe { *rows.add(r * row_stride + word) } as i32);
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = P::dot(s, *sum, row, vector);
            }
        }
    }
    sums
}
