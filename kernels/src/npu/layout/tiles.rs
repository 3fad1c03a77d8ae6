//! Rows of values as the operands of a core's product, and a core's results as fp32: the part of packing that
//! knows micro-tiles and number formats, and nothing of designs.
//!
//! Every operand is one or more *objects* of equal size. An object begins with the operand's values; int8 ones are
//! followed by a scale (fp32) for each row or column; all behind that is zero here, and the caller's to write.
//!
//! | | laid out as | made of |
//! |---|---|---|
//! | [`LeftTile`] | `[m/r][k/s][r][s]` | its rows |
//! | [`RightTile::write_columns`] | `[n/t][k/s][s][t]` | its columns: a key, or an output's weights |
//! | [`RightTile::write_rows`] | the same, bf16 | its rows: a value |
//! | [`to_floats`] | bf16, row after row | |
//!
//! Loops are plain, over blocks of a fixed size, and inlined into what `dispatch` compiles for an instruction set,
//! where the compiler makes vectors of them. Every byte of `out` is written once, the control words of a caller apart.

use std::marker::PhantomData;

use super::{
    format::{BLOCK, Bf16, Bf16Bytes, Block, Int8, OperandFormat, Value, largest_of},
    operand::{LeftTile, PackMethod, RightTile},
    scalar,
};
use crate::{
    host::simd::{Simd, Task, dispatch},
    npu::{design::Kernels, target::MicroTile},
};

/// The most rows of a micro-tile's left operand, and columns of its right one.
const MOST_ROWS: usize = 8;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Rows between the one that is written and the one that is asked for.
const AHEAD: usize = 8;
const WORD: usize = size_of::<u64>();

/// Converts the block of `x` that begins at `at`; behind the last value are zeros.
#[inline(always)]
fn convert<F: OperandFormat, T: Value, const N: usize>(format: F, x: &[T], at: usize, out: &mut Block) {
    let x = x.get(at..).unwrap_or_default();
    match x.first_chunk::<N>() {
        Some(block) => format.convert(block, out),
        None => {
            let mut block = [T::default(); N];
            block[..x.len()].copy_from_slice(x);
            format.convert(&block, out);
        }
    }
}

/// The values of `x` from `first` on, at most `count`.
#[inline(always)]
pub(super) fn part<T>(x: &[T], first: usize, count: usize) -> &[T] {
    &x[first.min(x.len())..(first + count).min(x.len())]
}

/// Writes `values` values, those of `x` and zeros behind them, as pieces of `width` values, `stride` values from one to
/// the next.
#[inline(always)]
fn write_pieces<F: OperandFormat, T: Value>(
    format: F,
    x: &[T],
    values: usize,
    width: usize,
    stride: usize,
    out: &mut [u8],
) {
    // Sizes that are known when this is compiled, of all micro-tiles that there are; and no more values at a time than
    // there are.
    match (width * F::BYTES, values < BLOCK) {
        (8, false) => write_pieces_of::<F, T, BLOCK>(format, x, values, 8, stride, out),
        (16, false) => write_pieces_of::<F, T, BLOCK>(format, x, values, 16, stride, out),
        (8, true) => write_pieces_of::<F, T, { BLOCK / 2 }>(format, x, values, 8, stride, out),
        (16, true) => write_pieces_of::<F, T, { BLOCK / 2 }>(format, x, values, 16, stride, out),
        (bytes, _) => write_pieces_of::<F, T, BLOCK>(format, x, values, bytes, stride, out),
    }
}

#[inline(always)]
fn write_pieces_of<F: OperandFormat, T: Value, const N: usize>(
    format: F,
    x: &[T],
    values: usize,
    bytes: usize,
    stride: usize,
    out: &mut [u8],
) {
    let mut block = [0; 2 * BLOCK];
    let mut pieces = out.chunks_mut(stride * F::BYTES);
    for at in (0..values).step_by(N) {
        convert::<F, T, N>(format, x, at, &mut block);
        let converted = &block[..N.min(values - at) * F::BYTES];
        for (piece, out) in converted.chunks_exact(bytes).zip(&mut pieces) {
            out[..bytes].copy_from_slice(piece);
        }
    }
}

/// Asks for the memory of values that are soon read or written. Objects lie so far apart that the CPU does not guess
/// what comes next.
#[inline(always)]
fn ask_for<S: Simd, T>(s: S, values: &[T]) {
    values.chunks(LINE / size_of::<T>()).for_each(|line| s.prefetch(line.as_ptr().cast()));
}

/// The columns from `first` on of `count` that there are, at most `most`; the others are empty.
#[inline(always)]
fn some_columns<'x, T>(
    first: usize,
    count: usize,
    most: usize,
    column: impl Fn(usize) -> &'x [T],
) -> [&'x [T]; MOST_ROWS] {
    let mut columns: [&[T]; MOST_ROWS] = [&[]; MOST_ROWS];
    (first..count.min(first + most)).zip(&mut columns).for_each(|(index, x)| *x = column(index));
    columns
}

/// Writes a scale among the scales at the start of `out`.
#[inline(always)]
fn put_scale(out: &mut [u8], index: usize, scale: f32) {
    out[size_of::<f32>() * index..][..size_of::<f32>()].copy_from_slice(&scale.to_le_bytes());
}

impl LeftTile {
    /// Bytes of the values of an operand.
    fn values(&self, bytes: usize) -> usize {
        self.rows * self.columns * bytes
    }

    /// Writes the objects of all steps, `object` bytes each. The tile's first `rows` rows are there:
    /// `piece(row, step)` is what belongs into a step's object, at most as many values as it has columns. Scales are
    /// found over a whole row and stand in each of its objects. What is missing of rows and values is zero.
    ///
    /// # Panics
    /// If an object is too small for the operand, or `out` no whole number of objects.
    pub fn write<'x, T: Value + 'x>(
        self,
        method: PackMethod,
        object: usize,
        rows: usize,
        piece: impl Fn(usize, usize) -> &'x [T],
        out: &mut [u8],
    ) {
        assert!(out.len().is_multiple_of(object) && rows <= self.rows, "{rows} rows of {self:?}");
        assert!(self.micro.r <= MOST_ROWS, "micro-tiles of {} rows", self.micro.r);
        match (method, self.operands) {
            (PackMethod::OneByOne, _) => scalar::left(self, object, rows, piece, out),
            (PackMethod::Vectors(isa), Kernels::Int8) => {
                dispatch(isa, Left { tile: self, object, rows, piece, out, format: PhantomData::<Int8> });
            }
            (PackMethod::Vectors(isa), Kernels::Bf16) => {
                dispatch(isa, Left { tile: self, object, rows, piece, out, format: PhantomData::<Bf16> });
            }
        }
    }
}

struct Left<'o, F, P> {
    tile: LeftTile,
    object: usize,
    rows: usize,
    piece: P,
    out: &'o mut [u8],
    format: PhantomData<F>,
}

impl<'x, T: Value + 'x, F: OperandFormat, P: Fn(usize, usize) -> &'x [T]> Task for Left<'_, F, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { tile, object, rows, piece, out, .. } = self;
        let LeftTile { micro: MicroTile { r, s, .. }, rows: m, columns: k, .. } = tile;
        let (values, steps) = (tile.values(F::BYTES), out.len() / object);
        // Rows up to a whole micro-tile are written as rows of zeros, all below in one go.
        let begun = rows.next_multiple_of(r);
        for first in (0..begun).step_by(r) {
            // A micro-tile's rows together, step by step: so lines of memory are written as a whole.
            let here = rows.min(first + r) - first;
            let mut formats = [F::of(|| 0.0).0; MOST_ROWS];
            for (index, to) in (first..first + here).zip(&mut formats) {
                let (format, scale) = F::of(|| largest_of((0..steps).map(|step| piece(index, step))));
                *to = format;
                if F::SCALED {
                    out.chunks_exact_mut(object).for_each(|object| put_scale(&mut object[values..], index, scale));
                }
            }
            for (step, object) in out.chunks_exact_mut(object).enumerate() {
                let (group, behind) = object[first * k * F::BYTES..].split_at_mut(r * k * F::BYTES);
                ask_for(simd, &behind[..behind.len().min(group.len())]);
                (first + r..rows.min(first + 2 * r)).for_each(|next| ask_for(simd, piece(next, step)));
                for (at, format) in formats.into_iter().take(r).enumerate() {
                    let x = if at < here { piece(first + at, step) } else { &[] };
                    write_pieces(format, x, k, s, r * s, &mut group[at * s * F::BYTES..]);
                }
            }
        }
        for object in out.chunks_exact_mut(object) {
            let (operand, rest) = object.split_at_mut(values);
            operand[begun * k * F::BYTES..].fill(0);
            rest[if F::SCALED { rows * size_of::<f32>() } else { 0 }..].fill(0);
        }
        debug_assert!(begun <= m, "a tile is made of whole micro-tiles");
    }
}

impl RightTile {
    /// Bytes of the values of an operand.
    fn values(&self, bytes: usize) -> usize {
        self.rows * self.columns * bytes
    }

    /// Writes the objects of all steps, `object` bytes each. The tile's first `columns` columns are `column(0)`,
    /// `column(1)`, …: their first values are in the first object, and so on. Scales are found over a whole column, and
    /// written times `factor`. What is missing of columns and values is zero.
    ///
    /// # Panics
    /// As [`LeftTile::write`].
    pub fn write_columns<'x, T: Value + 'x>(
        self,
        method: PackMethod,
        object: usize,
        factor: f32,
        columns: usize,
        column: impl Fn(usize) -> &'x [T],
        out: &mut [u8],
    ) {
        assert!(out.len().is_multiple_of(object) && columns <= self.columns, "{columns} columns of {self:?}");
        assert!(self.micro.t <= MOST_ROWS, "micro-tiles of {} columns", self.micro.t);
        match (method, self.operands) {
            (PackMethod::OneByOne, _) => scalar::columns(self, object, factor, columns, column, out),
            (PackMethod::Vectors(isa), Kernels::Int8) => {
                dispatch(
                    isa,
                    Columns { tile: self, object, factor, columns, column, out, format: PhantomData::<Int8> },
                );
            }
            (PackMethod::Vectors(isa), Kernels::Bf16) => {
                dispatch(
                    isa,
                    Columns { tile: self, object, factor, columns, column, out, format: PhantomData::<Bf16> },
                );
            }
        }
    }

    /// Writes one bf16 object whose first `rows` rows are `row(0)`, `row(1)`, …; what is missing of rows and values is
    /// zero.
    ///
    /// # Panics
    /// If `out` is too small for the operand.
    pub fn write_rows<'x, T: Value + 'x>(
        self,
        method: PackMethod,
        rows: usize,
        row: impl Fn(usize) -> &'x [T],
        out: &mut [u8],
    ) {
        assert!(rows <= self.rows, "{rows} rows of {self:?}");
        match method {
            PackMethod::OneByOne => scalar::rows(self, rows, row, out),
            PackMethod::Vectors(isa) => dispatch(isa, RightRows { tile: self, rows, row, out }),
        }
    }
}

struct Columns<'o, F, C> {
    tile: RightTile,
    object: usize,
    factor: f32,
    columns: usize,
    column: C,
    out: &'o mut [u8],
    format: PhantomData<F>,
}

impl<'x, T: Value + 'x, F: OperandFormat, C: Fn(usize) -> &'x [T]> Task for Columns<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { tile, object, factor, columns, column, out, .. } = self;
        let RightTile { micro: MicroTile { t, .. }, rows: k, .. } = tile;
        let (values, panel) = (tile.values(F::BYTES), k * t * F::BYTES);
        let begun = columns.next_multiple_of(t);
        let mut next = some_columns(0, columns, t, &column);
        for first in (0..begun).step_by(t) {
            let x = std::mem::replace(&mut next, some_columns(first + t, columns, t, &column));
            let mut formats = [F::of(|| 0.0).0; MOST_ROWS];
            for (index, (x, to)) in (first..columns).zip(x.iter().zip(&mut formats).take(t)) {
                let (format, scale) = F::of(|| largest_of([*x].into_iter()));
                *to = format;
                if F::SCALED {
                    let scale = scale * factor;
                    out.chunks_exact_mut(object).for_each(|object| put_scale(&mut object[values..], index, scale));
                }
            }
            for (step, object) in out.chunks_exact_mut(object).enumerate() {
                let x = x.map(|x| part(x, step * k, k));
                let (panel, behind) = object[first / t * panel..].split_at_mut(panel);
                ask_for(simd, &behind[..behind.len().min(panel.len())]);
                next.iter().take(t).for_each(|x| ask_for(simd, part(x, step * k, k)));
                // Sizes that are known when this is compiled, of all micro-tiles that there are.
                match t {
                    4 => write_panel(4, &formats, &x, k, panel),
                    8 => write_panel(8, &formats, &x, k, panel),
                    t => write_panel(t, &formats, &x, k, panel),
                }
            }
        }
        for object in out.chunks_exact_mut(object) {
            let (operand, rest) = object.split_at_mut(values);
            operand[begun * k * F::BYTES..].fill(0);
            rest[if F::SCALED { columns * size_of::<f32>() } else { 0 }..].fill(0);
        }
    }
}

/// Writes `t` columns of `k` values side by side: `[k][t]`.
#[inline(always)]
fn write_panel<F: OperandFormat, T: Value>(
    t: usize,
    formats: &[F; MOST_ROWS],
    x: &[&[T]; MOST_ROWS],
    k: usize,
    out: &mut [u8],
) {
    // A row of the panel is one or two words, each of the same row of some columns.
    let lanes = WORD / F::BYTES;
    debug_assert!(t.is_multiple_of(lanes), "rows of {t} columns are whole words");
    let mut blocks = [[0; 2 * BLOCK]; MOST_ROWS];
    for (at, out) in (0..k).step_by(BLOCK).zip(out.chunks_mut(BLOCK * t * F::BYTES)) {
        for ((block, format), x) in blocks.iter_mut().zip(formats).zip(x).take(t) {
            convert::<F, T, BLOCK>(*format, x, at, block);
        }
        for (word, blocks) in blocks[..t].chunks_exact(lanes).enumerate() {
            let mut words = [0u64; BLOCK];
            for (lane, block) in blocks.iter().enumerate() {
                for (at, word) in words.iter_mut().enumerate() {
                    *word |= F::bits(block, at) << (8 * F::BYTES * lane);
                }
            }
            for (out, value) in out.chunks_exact_mut(t * F::BYTES).zip(words) {
                out[word * WORD..][..WORD].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

struct RightRows<'o, R> {
    tile: RightTile,
    rows: usize,
    row: R,
    out: &'o mut [u8],
}

impl<'x, T: Value + 'x, R: Fn(usize) -> &'x [T]> Task for RightRows<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { tile, rows, row, out } = self;
        let RightTile { micro: MicroTile { t, .. }, rows: k, columns: n, .. } = tile;
        let (operand, rest) = out.split_at_mut(tile.values(Bf16::BYTES));
        rest.fill(0);
        for index in 0..rows {
            if index + AHEAD < rows {
                ask_for(simd, row(index + AHEAD));
            }
            let out = &mut operand[index * t * Bf16::BYTES..];
            write_pieces(Bf16, part(row(index), 0, n), n, t, k * t, out);
        }
        // Rows of a panel lie together.
        for panel in operand.chunks_exact_mut(k * t * Bf16::BYTES) {
            panel[rows * t * Bf16::BYTES..].fill(0);
        }
    }
}

/// bf16 values as fp32, plus `residual`.
///
/// # Panics
/// If lengths differ.
pub fn to_floats(method: PackMethod, values: &[u8], residual: Option<&[f32]>, out: &mut [f32]) {
    let (values, rest) = values.as_chunks();
    assert!(rest.is_empty() && values.len() == out.len(), "{} values for {}", values.len(), out.len());
    assert!(residual.is_none_or(|residual| residual.len() == out.len()), "a residual of {}", out.len());
    match method {
        PackMethod::OneByOne => scalar::floats(values, residual, out),
        PackMethod::Vectors(isa) => dispatch(isa, ToFloats { values, residual, out }),
    }
}

struct ToFloats<'a> {
    values: &'a [Bf16Bytes],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Task for ToFloats<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { values, residual, out } = self;
        match residual {
            Some(residual) => {
                for ((out, value), residual) in out.iter_mut().zip(values).zip(residual) {
                    *out = value.float() + residual;
                }
            }
            None => {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = value.float();
                }
            }
        }
    }
}
