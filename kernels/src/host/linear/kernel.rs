//! One kernel: entry points compiled for an instruction set, and what packing and scheduling must know of them.
#![allow(unsafe_code)]

use super::{
    simd::{Dot, Simd},
    tile::Block,
};
use crate::{Precision, host::Isa};

/// Entry points of one instruction set at one precision.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    /// Computes a block.
    ///
    /// Safety: the CPU must have the instruction set, and the block's pointers must be valid.
    pub block: unsafe fn(&Block),
    /// Converts one row of activations and returns its scale.
    ///
    /// Safety: the CPU must have the instruction set, and the pointer must be valid for the row, rounded up to a group.
    pub convert: unsafe fn(&[f32], *mut u8) -> f32,
    /// Rows of a full tile.
    pub rows: usize,
    /// Columns of a panel.
    pub columns: usize,
    /// Inputs to a step.
    pub group: usize,
    /// Bytes of one converted activation.
    pub activation_bytes: usize,
    /// Bytes of one packed weight.
    pub weight_bytes: usize,
    /// Activations are stored with 128 added.
    pub offset: bool,
    /// Activations can be read as they come.
    pub direct: bool,
}

impl Kernel {
    /// A kernel from entry points that were compiled for `D`.
    pub(crate) fn new<D: Dot>(block: unsafe fn(&Block), convert: unsafe fn(&[f32], *mut u8) -> f32) -> Self {
        Self {
            block,
            convert,
            rows: D::ROWS,
            columns: 2 * D::Simd::LANES,
            group: D::GROUP,
            activation_bytes: size_of::<D::Activation>(),
            weight_bytes: size_of::<D::Weight>(),
            offset: D::OFFSET,
            direct: D::DIRECT,
        }
    }
}

/// Entry points for the three precisions, compiled with the given target features (none: as the crate is).
macro_rules! entry {
    ($precision:expr, $f32:ty, $bf16:ty, $int8:ty $(, $feature:literal)*) => {
        match $precision {
            crate::Precision::F32 => $crate::host::linear::kernel::entry!(@ $f32 $(, $feature)*),
            crate::Precision::Bf16 => $crate::host::linear::kernel::entry!(@ $bf16 $(, $feature)*),
            crate::Precision::Int8 => $crate::host::linear::kernel::entry!(@ $int8 $(, $feature)*),
        }
    };
    (@ $dot:ty $(, $feature:literal)*) => {{
        $(#[target_feature(enable = $feature)])*
        unsafe fn block(block: &$crate::host::linear::tile::Block) {
            // SAFETY: the caller promises the CPU's instructions and the block's pointers.
            unsafe { $crate::host::linear::tile::block::<$dot>(block) }
        }
        $(#[target_feature(enable = $feature)])*
        unsafe fn convert(x: &[f32], out: *mut u8) -> f32 {
            // SAFETY: the caller promises the CPU's instructions and `out`.
            unsafe { <$dot as $crate::host::linear::simd::Dot>::convert(x, out.cast()) }
        }
        $crate::host::linear::kernel::Kernel::new::<$dot>(block, convert)
    }};
}
pub(crate) use entry;

/// The kernel of an instruction set at a precision.
pub(crate) fn select(isa: Isa, precision: Precision) -> Kernel {
    // An instruction set that this CPU lacks must not be entered, whoever asks for it.
    assert!(isa.is_available(), "this CPU has no {isa}");
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512VnniBf16 => super::avx512::kernel_vnni_bf16(precision),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => super::avx512::kernel(precision),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2Vnni => super::avx2::kernel_vnni(precision),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::avx2::kernel(precision),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => super::neon::kernel(precision),
        _ => super::portable::kernel(precision),
    }
}
