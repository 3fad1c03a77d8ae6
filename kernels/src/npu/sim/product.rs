//! Products of tiles, as fast as plain loops go: sums in the order of the summed index, each rounded, so that they are
//! bit-equal to the cores'.

use crate::{npu::target::MicroTile, numbers::bf16_at};

/// Something that is multiplied and summed: int8 widened to int32, or bf16 widened to fp32, whose products are exact.
pub(super) trait Number: Copy + Default + Send + Sync {
    /// `sum + a · b`.
    fn multiply_add(sum: Self, a: Self, b: Self) -> Self;
    /// Bytes of an operand.
    const BYTES: usize;
    /// An operand, widened.
    fn widen(bytes: &[u8]) -> Self;
}

impl Number for i32 {
    #[inline(always)]
    fn multiply_add(sum: Self, a: Self, b: Self) -> Self {
        sum.wrapping_add(a.wrapping_mul(b))
    }

    const BYTES: usize = 1;

    #[inline(always)]
    fn widen(bytes: &[u8]) -> Self {
        Self::from(bytes[0] as i8)
    }
}

impl Number for f32 {
    #[inline(always)]
    fn multiply_add(sum: Self, a: Self, b: Self) -> Self {
        sum + a * b
    }

    const BYTES: usize = 2;

    #[inline(always)]
    fn widen(bytes: &[u8]) -> Self {
        bf16_at(bytes)
    }
}

/// Widens operands.
#[inline(always)]
pub(super) fn widen<T: Number>(bytes: &[u8], out: &mut [T]) {
    for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(T::BYTES)) {
        *out = T::widen(bytes);
    }
}

/// `sums += a · b` for tiles in their layouts: `a` a left operand of `k` columns, `b` a right operand of `k` rows,
/// `sums` a result of `n` columns.
#[inline(always)]
pub(super) fn product<T: Number>(micro: MicroTile, k: usize, n: usize, a: &[T], b: &[T], sums: &mut [T]) {
    match micro {
        MicroTile { r: 4, s: 8, t: 4 } => of_shape::<T, 4, 8, 4>(k, n, a, b, sums),
        MicroTile { r: 4, s: 8, t: 8 } => of_shape::<T, 4, 8, 8>(k, n, a, b, sums),
        MicroTile { r: 8, s: 8, t: 8 } => of_shape::<T, 8, 8, 8>(k, n, a, b, sums),
        _ => any(micro, k, n, a, b, sums),
    }
}

#[inline(always)]
fn of_shape<T: Number, const R: usize, const S: usize, const T_: usize>(
    k: usize,
    n: usize,
    a: &[T],
    b: &[T],
    sums: &mut [T],
) {
    let (steps, columns) = (k / S, n / T_);
    for (a, sums) in a.chunks_exact(steps * R * S).zip(sums.chunks_exact_mut(columns * R * T_)) {
        for (b, sums) in b.chunks_exact(steps * S * T_).zip(sums.chunks_exact_mut(R * T_)) {
            let mut block = [[T::default(); T_]; R];
            for (block, sums) in block.iter_mut().zip(sums.chunks_exact(T_)) {
                block.copy_from_slice(sums);
            }
            for (a, b) in a.chunks_exact(R * S).zip(b.chunks_exact(S * T_)) {
                for s in 0..S {
                    let b = &b[s * T_..][..T_];
                    for r in 0..R {
                        let a = a[r * S + s];
                        for t in 0..T_ {
                            block[r][t] = T::multiply_add(block[r][t], a, b[t]);
                        }
                    }
                }
            }
            for (block, sums) in block.iter().zip(sums.chunks_exact_mut(T_)) {
                sums.copy_from_slice(block);
            }
        }
    }
}

/// Any other micro-tile.
#[inline(always)]
fn any<T: Number>(micro: MicroTile, k: usize, n: usize, a: &[T], b: &[T], sums: &mut [T]) {
    let rows = sums.len() / n;
    for row in 0..rows {
        for column in 0..n {
            let sum = &mut sums[micro.result(n, row, column)];
            for input in 0..k {
                *sum = T::multiply_add(*sum, a[micro.left(k, row, input)], b[micro.right(k, input, column)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{npu::Target, reference::noise::noise};

    #[test]
    fn shapes_are_the_obvious_product() {
        for target in Target::ALL {
            for micro in [target.int8_micro_tile(), target.bf16_micro_tile()] {
                let (m, k, n) = (micro.r * 3, micro.s * 2, micro.t * 3);
                let (a, b) = (noise(m * k, 1), noise(k * n, 2));
                let (mut fast, mut slow) = (noise(m * n, 3), noise(m * n, 3));
                product(micro, k, n, &a, &b, &mut fast);
                any(micro, k, n, &a, &b, &mut slow);
                assert_eq!(fast, slow, "{target} {micro:?}");
            }
        }
    }
}
