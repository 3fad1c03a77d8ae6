//! Kernels over rows of bf16 (given as bits) that lie one after another. Rows are multiples of 16 numbers.

use crate::{KernelError, exactly, ffi};

/// Numbers of a core's vector here.
pub(crate) const LANES: usize = 16;

/// Refuses rows that are not whole vectors.
fn check(kernel: &'static str, x: usize, y: usize, columns: usize) -> Result<(), KernelError> {
    if columns == 0 || !columns.is_multiple_of(LANES) || !x.is_multiple_of(columns) || i32::try_from(x).is_err() {
        let reason = format!("{x} numbers in rows of {columns}: rows are multiples of {LANES} numbers");
        return Err(KernelError::Value { kernel, reason });
    }
    exactly(kernel, "y", y, x)
}

/// Soft-max of the first `valid` of `columns` numbers of each row of `x`, into `y`; the others become 0.
///
/// # Errors
/// If rows are not multiples of 16 numbers, `valid` is above `columns`, or `y` is not as long as `x`.
pub fn softmax(x: &[u16], y: &mut [u16], columns: usize, valid: usize) -> Result<(), KernelError> {
    const KERNEL: &str = "softmax_rows";
    check(KERNEL, x.len(), y.len(), columns)?;
    if valid > columns {
        return Err(KernelError::Value { kernel: KERNEL, reason: format!("{valid} of {columns} columns are valid") });
    }
    ffi::softmax_rows(x, y, columns as i32, valid as i32);
    Ok(())
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta` of each row, as wide as `gamma` and `beta`.
///
/// # Errors
/// If rows are not multiples of 16 numbers, or slices have different lengths.
pub fn layer_norm(x: &[u16], gamma: &[f32], beta: &[f32], y: &mut [u16], epsilon: f32) -> Result<(), KernelError> {
    const KERNEL: &str = "layer_norm_rows";
    check(KERNEL, x.len(), y.len(), gamma.len())?;
    exactly(KERNEL, "beta", beta.len(), gamma.len())?;
    ffi::layer_norm_rows(x, gamma, beta, y, epsilon);
    Ok(())
}

/// `x Φ(x)`.
///
/// # Errors
/// If there is not a multiple of 16 numbers, or slices have different lengths.
pub fn gelu(x: &[u16], y: &mut [u16]) -> Result<(), KernelError> {
    check("gelu_rows", x.len(), y.len(), LANES)?;
    ffi::gelu_rows(x, y);
    Ok(())
}
