//! One kernel: a number format on an instruction set, and what packing and scheduling must know of it.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::{
    blocks::{self, Blocks, Exact, Unpacked, unpack_and_multiply},
    format::{Bf16, F32, Format, Int8, Int8Wide, planes},
    tile::{self, Block},
};
use crate::{
    BlockForm, Norm, Precision,
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
    /// How weights lie in a panel, if they are in blocks.
    pub blocks: Blocks,
    /// The codes of blocks are multiplied as they are: rows are whole blocks, with their sums behind them.
    exact: bool,
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
    /// Inputs of a block of weights, if they are in blocks.
    pub block: usize,
}

impl Conversion<'_> {
    /// Converts row after row: norms each if that is asked for, and gives it to `convert` with the place of its words.
    /// `convert` returns its scale.
    ///
    /// Whoever calls the kernel promises room for each row and its scale.
    #[inline(always)]
    pub(super) fn each<S: Simd>(self, s: S, convert: impl Fn(&[f32], *mut u8) -> f32) {
        let Self { rows, x, inputs, norm, normed, out, row_bytes, scales, .. } = self;
        for row in 0..rows {
            let mut x = &x[row * inputs..][..inputs];
            if let Some(norm) = norm {
                norm.row(s, x, &mut normed[..inputs]);
                x = &normed[..inputs];
            }
            // SAFETY: there is room, as promised.
            unsafe { scales.add(row).write(convert(x, out.add(row * row_bytes))) };
        }
    }
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

    /// The kernel of weights in blocks. With int8 their codes have at most four bits; with wide rows they are multiplied
    /// as they are.
    ///
    /// # Panics
    /// If this CPU lacks `isa`.
    pub(crate) fn with_blocks(isa: Isa, precision: Precision, wide: bool, form: BlockForm) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        match precision {
            Precision::F32 => dispatch(isa, DescribeUnpacked::<F32>(isa, form, PhantomData)),
            Precision::Bf16 => dispatch(isa, DescribeUnpacked::<Bf16>(isa, form, PhantomData)),
            Precision::Int8 if wide => dispatch(isa, DescribeExact(isa, form)),
            Precision::Int8 => dispatch(isa, DescribeUnpacked::<Int8>(isa, form, PhantomData)),
        }
    }

    /// Words of a row of activations' plane.
    pub(crate) fn steps(&self, inputs: usize) -> usize {
        let inputs = if self.exact { inputs.next_multiple_of(self.blocks.inputs) } else { inputs };
        inputs.div_ceil(self.group)
    }

    /// Words of a row of activations.
    pub(crate) fn row_words(&self, inputs: usize) -> usize {
        let sums = if self.exact { self.blocks.count(inputs) } else { 0 };
        self.steps(inputs) * self.planes + sums
    }

    /// Bytes of one step of a panel; the weights are not in blocks.
    pub(crate) fn step_bytes(&self) -> usize {
        self.columns * self.group * self.weight_bytes
    }

    /// Bytes from one panel to the next.
    pub(crate) fn panel_bytes(&self, inputs: usize) -> usize {
        if self.blocks == Blocks::default() {
            self.steps(inputs) * self.step_bytes()
        } else {
            self.blocks.count(inputs) * self.blocks.bytes(self.columns)
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

    /// The kernel of weights in blocks of four bits in int8, likewise.
    #[cfg(test)]
    pub(super) fn of_blocks_in_bytes(wide: bool, form: BlockForm) -> Self {
        use crate::host::simd::Portable;
        if wide {
            return Self {
                block: |_, block| Exact::<4>(block).run(Portable::<true>),
                convert: |_, conversion| blocks::Convert(conversion).run(Portable::<true>),
                ..DescribeExact(Isa::Portable, form).run(Portable::<true>)
            };
        }
        Self {
            block: |_, block| {
                let mut panel = vec![0; 1 << 16];
                blocks::Unpack::<Int8, 4>::new(block, &mut panel).run(Portable::<true>);
            },
            convert: |_, conversion| Convert::<Int8>(conversion, PhantomData).run(Portable::<true>),
            ..DescribeUnpacked::<Int8>(Isa::Portable, form, PhantomData).run(Portable::<true>)
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
            blocks: Blocks::default(),
            exact: false,
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
        // SAFETY: whoever called the kernel promised room for each row.
        self.0.each(s, |x, out| unsafe { P::convert::<S>(x, out) });
    }
}

/// Makes the kernel of weights in blocks that are unpacked to a format.
struct DescribeUnpacked<P>(Isa, BlockForm, PhantomData<P>);

impl<P: Unpacked> Task for DescribeUnpacked<P> {
    type Output = Kernel;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Kernel {
        let Self(isa, form, format) = self;
        let offsets = form.zeros && !P::QUANTISED;
        Kernel {
            block: match form.bits {
                2 => unpack_and_multiply::<P, 2>,
                4 => unpack_and_multiply::<P, 4>,
                _ => unpack_and_multiply::<P, 8>,
            },
            blocks: Blocks::of(form, offsets),
            ..Describe::<P>(isa, format).run(s)
        }
    }
}

/// Makes the kernel of weights in blocks whose codes are multiplied as they are.
struct DescribeExact(Isa, BlockForm);

impl Task for DescribeExact {
    type Output = Kernel;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Kernel {
        let Self(isa, form) = self;
        Kernel {
            block: match form.bits {
                2 => |isa, block| dispatch(isa, Exact::<2>(block)),
                _ => |isa, block| dispatch(isa, Exact::<4>(block)),
            },
            convert: |isa, conversion| dispatch(isa, blocks::Convert(conversion)),
            rows: blocks::exact_rows::<S>(),
            planes: blocks::exact_planes::<S>(),
            offset: 0,
            blocks: Blocks::of(form, form.zeros),
            exact: true,
            ..Describe::<Int8>(isa, PhantomData).run(s)
        }
    }
}
