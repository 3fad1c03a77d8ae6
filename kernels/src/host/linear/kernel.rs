//! One kernel: a number format on an instruction set, and what packing and scheduling must know of it.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::{
    format::{Bf16, F32, Format, Int8, Int8Wide, planes},
    tile::{self, Block},
};
use crate::{
    Norm, Precision,
    host::{
        Isa,
        simd::{Simd, Task, dispatch},
    },
};

/// A number format on an instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    isa: Isa,
    block: unsafe fn(Isa, &Block),
    convert: unsafe fn(Isa, Conversion<'_>),
    /// Rows of a full tile.
    pub rows: usize,
    /// Columns of a panel.
    pub columns: usize,
    /// Inputs to a word of activations.
    pub group: usize,
    /// Planes of a row of activations.
    pub planes: usize,
    /// Bytes of one packed weight.
    pub weight_bytes: usize,
    /// What int8 activations have added.
    pub offset: u8,
    /// Activations can be read as they come.
    pub direct: bool,
}

/// Some rows of activations, and where they go.
pub(crate) struct Conversion<'a> {
    /// How many rows.
    pub rows: usize,
    /// Row after row.
    pub x: &'a [f32],
    /// Values of a row.
    pub inputs: usize,
    /// Done to each row first.
    pub norm: Option<&'a Norm<'a>>,
    /// Room for one row while it is normed.
    pub normed: &'a mut [f32],
    /// The first row's words.
    pub out: *mut u8,
    /// From row to row of `out`.
    pub row_bytes: usize,
    /// A scale for each row.
    pub scales: *mut f32,
}

impl Kernel {
    /// The kernel of an instruction set at a precision.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub(crate) fn new(isa: Isa, precision: Precision) -> Self {
        Self::with_rows(isa, precision, false)
    }

    /// The same, for wide rows if the precision has them.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub(crate) fn with_rows(isa: Isa, precision: Precision, wide: bool) -> Self {
        // `dispatch` would fall back to plain Rust, which nobody asked for.
        assert!(isa.is_available(), "this CPU has no {isa}");
        match precision {
            Precision::F32 => dispatch(isa, Describe::<F32>(isa, PhantomData)),
            Precision::Bf16 => dispatch(isa, Describe::<Bf16>(isa, PhantomData)),
            Precision::Int8 if wide => dispatch(isa, Describe::<Int8Wide>(isa, PhantomData)),
            Precision::Int8 => dispatch(isa, Describe::<Int8>(isa, PhantomData)),
        }
    }

    /// The kernel of a format in plain Rust, in the layout of CPUs that multiply bytes.
    #[cfg(test)]
    pub(super) fn of_bytes<P: Format>() -> Self {
        use crate::host::simd::Portable;
        Self {
            block: |_, block| Compute::<P>(block, PhantomData).run(Portable::<true>),
            convert: |_, conversion| Convert::<P>(conversion, PhantomData).run(Portable::<true>),
            ..Describe::<P>(Isa::Portable, PhantomData).run(Portable::<true>)
        }
    }

    /// The instruction set.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Computes a block.
    ///
    /// # Safety
    /// The block's pointers are valid for its rows and panels, packed for this kernel.
    pub(crate) unsafe fn block(&self, block: &Block) {
        // SAFETY: the caller's promise.
        unsafe { (self.block)(self.isa, block) }
    }

    /// Converts rows of activations.
    ///
    /// # Safety
    /// Each row of `out` is valid for writing `inputs` values in whole words, `scales` for one value to a row.
    pub(crate) unsafe fn convert(&self, conversion: Conversion<'_>) {
        // SAFETY: the caller's promise.
        unsafe { (self.convert)(self.isa, conversion) }
    }
}

/// Makes the kernel: its sizes are the instruction set's.
struct Describe<P>(Isa, PhantomData<P>);

impl<P: Format> Task for Describe<P> {
    type Output = Kernel;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Kernel {
        Kernel {
            isa: self.0,
            block: |isa, block| dispatch(isa, Compute::<P>(block, PhantomData)),
            convert: |isa, conversion| dispatch(isa, Convert::<P>(conversion, PhantomData)),
            rows: tile::rows::<S, P>(),
            columns: 2 * S::LANES,
            group: P::group::<S>(),
            planes: planes::<S, P>(),
            weight_bytes: P::WEIGHT_BYTES,
            offset: if P::QUANTISED { S::INT8_OFFSET } else { 0 },
            direct: P::DIRECT,
        }
    }
}

struct Compute<'a, P>(&'a Block, PhantomData<P>);

impl<P: Format> Task for Compute<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: whoever called the kernel promised that the block's pointers are valid.
        unsafe { tile::block::<S, P>(s, self.0) }
    }
}

struct Convert<'a, P>(Conversion<'a>, PhantomData<P>);

impl<P: Format> Task for Convert<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Conversion { rows, x, inputs, norm, normed, out, row_bytes, scales } = self.0;
        for row in 0..rows {
            let mut x = &x[row * inputs..][..inputs];
            if let Some(norm) = norm {
                norm.row(s, x, &mut normed[..inputs]);
                x = &normed[..inputs];
            }
            // SAFETY: whoever called the kernel promised room for each row and its scale.
            unsafe { scales.add(row).write(P::convert::<S>(x, out.add(row * row_bytes))) };
        }
    }
}
