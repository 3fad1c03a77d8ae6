//! Moving data between layouts on the host: transpose, concatenate, gather, slice, expand, tile, for any `Copy`
//! element.
//!
//! Not kernels: nothing here is counted, nothing allocates, nothing is spread over threads. Shapes of exported graphs
//! have a few entries and go through here hundreds of times per decoded token, so small tensors must cost nanoseconds;
//! large ones move by contiguous runs, and transposes by square blocks.

use std::{fmt, ops::Deref};

/// Largest number of axes that a shape may have here.
pub const MAX_RANK: usize = 8;

/// Axes of a walk: a tile walks each axis twice.
const WALK_RANK: usize = 2 * MAX_RANK;

/// Side of the squares in which a transpose moves.
const BLOCK: usize = 16;

/// A shape of at most [`MAX_RANK`] axes, held without allocation. It derefs to `[usize]`.
#[derive(Clone, Copy)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// From its axes' lengths; `None` if there are more than [`MAX_RANK`].
    pub fn new(dims: &[usize]) -> Option<Self> {
        let mut shape = Self { dims: [0; MAX_RANK], rank: dims.len() };
        shape.dims.get_mut(..dims.len())?.copy_from_slice(dims);
        Some(shape)
    }

    /// Number of elements; 1 for a scalar. One that no number holds is the largest that there is: no memory has it.
    pub fn elements(&self) -> usize {
        self.iter().fold(1, |count, length| count.saturating_mul(*length))
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Shape {}

/// A gather's index lies outside its axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gather: index {index} is outside an axis of length {length}; give {minimum}..={maximum}", minimum = -(*length as i64), maximum = *length as i64 - 1)]
pub struct IndexOutOfRange {
    /// The index as it was given.
    pub index: i64,
    /// The axis' length.
    pub length: usize,
}

/// The shape that all of `shapes` broadcast to, by ONNX's (NumPy's) rule; `None` if they do not, or at more than
/// [`MAX_RANK`] axes.
pub fn broadcast_shape(shapes: &[&[usize]]) -> Option<Shape> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut out = Shape::new([1; MAX_RANK].get(..rank)?)?;
    for shape in shapes {
        let first = rank - shape.len();
        for (have, &want) in out.dims[first..].iter_mut().zip(*shape) {
            match (*have, want) {
                (1, _) => *have = want,
                (_, 1) => {}
                (a, b) if a == b => {}
                _ => return None,
            }
        }
    }
    Some(out)
}

/// Strides, in elements, of one operand of a walk, one per axis of the walk.
pub(crate) type Strides = [isize; WALK_RANK];

/// Strides with which a dense tensor of `shape` is read as if it had `out_shape`.
///
/// # Panics
/// If `shape` does not broadcast to `out_shape`.
pub(crate) fn broadcast_strides(shape: &[usize], out_shape: &[usize]) -> Strides {
    let mut strides = [0; WALK_RANK];
    let first = out_shape.len().checked_sub(shape.len()).unwrap_or_else(|| mismatch(shape, out_shape));
    let mut stride = 1;
    for axis in (0..shape.len()).rev() {
        if shape[axis] != 1 {
            if shape[axis] != out_shape[first + axis] {
                mismatch(shape, out_shape);
            }
            strides[first + axis] = stride;
            stride *= shape[axis] as isize;
        }
    }
    strides
}

#[cold]
fn mismatch(shape: &[usize], out_shape: &[usize]) -> ! {
    panic!("shape {shape:?} does not broadcast to {out_shape:?}");
}

/// A nest of loops over a dense output and `N` strided operands, axes of one dropped and neighbours merged.
struct Nest<const N: usize> {
    rank: usize,
    dims: [usize; WALK_RANK],
    strides: [Strides; N],
}

impl<const N: usize> Nest<N> {
    fn new(shape: &[usize], strides: &[Strides; N]) -> Self {
        let mut nest = Self { rank: 0, dims: [1; WALK_RANK], strides: [[0; WALK_RANK]; N] };
        for (axis, &length) in shape.iter().enumerate() {
            if length == 1 {
                continue;
            }
            let merges =
                nest.rank > 0 && (0..N).all(|n| nest.strides[n][nest.rank - 1] == strides[n][axis] * length as isize);
            let at = if merges { nest.rank - 1 } else { nest.rank };
            nest.dims[at] *= length;
            for (merged, strides) in nest.strides.iter_mut().zip(strides) {
                merged[at] = strides[axis];
            }
            nest.rank = at + 1;
        }
        nest
    }

    /// Removes an axis and returns its length and strides; an axis of one where there is none.
    fn take(&mut self, axis: usize) -> (usize, [isize; N]) {
        if axis >= self.rank {
            return (1, [0; N]);
        }
        let taken = (self.dims[axis], std::array::from_fn(|n| self.strides[n][axis]));
        self.dims.copy_within(axis + 1..self.rank, axis);
        for strides in &mut self.strides {
            strides.copy_within(axis + 1..self.rank, axis);
        }
        self.rank -= 1;
        taken
    }

    /// Calls `visit` with the operands' offsets for each combination of the axes' indices, last axis fastest.
    #[inline(always)]
    fn each(&self, start: [isize; N], mut visit: impl FnMut([isize; N])) {
        if self.dims[..self.rank].contains(&0) {
            return;
        }
        let mut index = [0; WALK_RANK];
        let mut offsets = start;
        loop {
            visit(offsets);
            let mut axis = self.rank;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                for (offset, strides) in offsets.iter_mut().zip(&self.strides) {
                    *offset += strides[axis];
                }
                if index[axis] < self.dims[axis] {
                    break;
                }
                for (offset, strides) in offsets.iter_mut().zip(&self.strides) {
                    *offset -= strides[axis] * self.dims[axis] as isize;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Walks a dense output of `shape` by its longest uniform runs. `visit` gets the operands' offsets at a run's start,
/// the output's range, and the operands' strides inside the run.
#[inline(always)]
pub(crate) fn walk<const N: usize>(
    shape: &[usize],
    strides: &[Strides; N],
    start: [isize; N],
    mut visit: impl FnMut([isize; N], std::ops::Range<usize>, [isize; N]),
) {
    let mut nest = Nest::new(shape, strides);
    let (run, inner) = nest.take(nest.rank.wrapping_sub(1));
    if run == 0 {
        return;
    }
    let mut at = 0;
    nest.each(start, |offsets| {
        visit(offsets, at..at + run, inner);
        at += run;
    });
}

/// Copies a strided view to a dense output.
fn copy_strided<T: Copy>(x: &[T], start: isize, strides: Strides, out_shape: &[usize], out: &mut [T]) {
    walk(out_shape, &[strides], [start], |[from], range, [stride]| {
        let from = from as usize;
        let out = &mut out[range];
        match stride {
            1 => out.copy_from_slice(&x[from..from + out.len()]),
            0 => out.fill(x[from]),
            _ => {
                for (i, value) in out.iter_mut().enumerate() {
                    *value = x[from.wrapping_add_signed(i as isize * stride)];
                }
            }
        }
    });
}

/// Strides of a dense tensor.
fn dense_strides(shape: &[usize]) -> Strides {
    let mut strides = [0; WALK_RANK];
    let mut stride = 1;
    for axis in (0..shape.len()).rev() {
        strides[axis] = stride as isize;
        stride *= shape[axis];
    }
    strides
}

/// `out[i₀, i₁, …] = x[…]` with `x`'s axis `perm[n]` as the output's axis `n` (ONNX `Transpose`).
///
/// # Panics
/// If `perm` is no permutation of `shape`'s axes, or a slice's length is not the shape's.
pub fn transpose<T: Copy>(x: &[T], shape: &[usize], perm: &[usize], out: &mut [T]) {
    assert!(perm.len() == shape.len() && shape.len() <= MAX_RANK, "transpose of {shape:?} by {perm:?}");
    assert!((0..perm.len()).all(|axis| perm.contains(&axis)), "transpose: {perm:?} is no permutation");
    assert!(
        x.len() == shape.iter().product::<usize>() && out.len() == x.len(),
        "transpose: lengths differ from {shape:?}"
    );
    let dense = dense_strides(shape);
    let mut out_shape = [1; MAX_RANK];
    let mut strides = [0; WALK_RANK];
    for (n, &axis) in perm.iter().enumerate() {
        out_shape[n] = shape[axis];
        strides[n] = dense[axis];
    }
    let out_shape = &out_shape[..perm.len()];
    // The second operand of the nest is the output itself, so that its strides survive the merging of axes.
    let mut nest = Nest::new(out_shape, &[strides, dense_strides(out_shape)]);
    let contiguous = nest.strides[0][..nest.rank].iter().position(|&stride| stride == 1);
    match contiguous {
        Some(axis) if axis + 1 < nest.rank => {
            let (columns, [column_from, _]) = nest.take(nest.rank - 1);
            let (rows, [_, row_to]) = nest.take(axis);
            let (column_from, row_to) = (column_from as usize, row_to as usize);
            nest.each([0, 0], |[from, to]| {
                transpose_plane(x, from as usize, column_from, out, to as usize, row_to, rows, columns);
            });
        }
        _ => copy_strided(x, 0, strides, out_shape, out),
    }
}

/// `out[to + row · row_to + column] = x[from + row + column · column_from]`, by blocks that stay in the first-level
/// cache.
#[allow(clippy::too_many_arguments, reason = "two views of a plane")]
fn transpose_plane<T: Copy>(
    x: &[T],
    from: usize,
    column_from: usize,
    out: &mut [T],
    to: usize,
    row_to: usize,
    rows: usize,
    columns: usize,
) {
    for row_block in (0..rows).step_by(BLOCK) {
        let rows = row_block..rows.min(row_block + BLOCK);
        for column_block in (0..columns).step_by(BLOCK) {
            let columns = column_block..columns.min(column_block + BLOCK);
            for row in rows.clone() {
                let out = &mut out[to + row * row_to..][columns.clone()];
                let first = from + row + columns.start * column_from;
                for (value, source) in out.iter_mut().zip(x[first..].iter().step_by(column_from)) {
                    *value = *source;
                }
            }
        }
    }
}

/// Joins `parts` along an axis: `outer` is the product of the axes before it, `inner` of those after it, and each part
/// comes with its own length along the axis (ONNX `Concat`). `out` is `[outer, sum of lengths, inner]`.
///
/// # Panics
/// If a slice's length is not what its shape asks.
pub fn concat<T: Copy>(parts: &[(&[T], usize)], outer: usize, inner: usize, out: &mut [T]) {
    let row: usize = parts.iter().map(|(_, length)| length * inner).sum();
    assert!(out.len() == outer * row, "concat: the output has {} values for {}", out.len(), outer * row);
    let mut at = 0;
    for &(part, length) in parts {
        let run = length * inner;
        assert!(part.len() == outer * run, "concat: a part has {} values for {}", part.len(), outer * run);
        if run > 0 {
            for (from, to) in part.chunks_exact(run).zip(out.chunks_exact_mut(row)) {
                to[at..at + run].copy_from_slice(from);
            }
        }
        at += run;
    }
}

/// Takes `indices` along `axis` (ONNX `Gather`): `out` is `shape` with that axis replaced by the indices' own shape. A
/// negative index counts from the axis' end.
///
/// # Errors
/// [`IndexOutOfRange`]; `out` is then partly written.
///
/// # Panics
/// If a slice's length is not what the shapes ask.
pub fn gather<T: Copy>(
    x: &[T],
    shape: &[usize],
    axis: usize,
    indices: &[i64],
    out: &mut [T],
) -> Result<(), IndexOutOfRange> {
    let length = shape[axis];
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    assert!(x.len() == outer * length * inner, "gather: the data has {} values for {shape:?}", x.len());
    assert!(out.len() == outer * indices.len() * inner, "gather: the output has {} values", out.len());
    let mut at = 0;
    for block in 0..outer {
        for &index in indices {
            let position = if index < 0 { index.wrapping_add(length as i64) } else { index };
            if position < 0 || position >= length as i64 {
                return Err(IndexOutOfRange { index, length });
            }
            let from = (block * length + position as usize) * inner;
            if inner == 1 {
                out[at] = x[from];
            } else {
                out[at..at + inner].copy_from_slice(&x[from..from + inner]);
            }
            at += inner;
        }
    }
    Ok(())
}

/// Takes `out_shape[n]` entries of each axis, from `starts[n]` on, `steps[n]` apart (ONNX `Slice` with its starts, ends
/// and negative values already resolved; a step may be negative).
///
/// # Panics
/// If the slice reaches outside `shape`, or a slice's length is not what the shapes ask.
pub fn slice<T: Copy>(x: &[T], shape: &[usize], starts: &[usize], steps: &[isize], out_shape: &[usize], out: &mut [T]) {
    assert!(
        starts.len() == shape.len() && steps.len() == shape.len() && out_shape.len() == shape.len(),
        "slice of {shape:?}: {starts:?} {steps:?} {out_shape:?}"
    );
    assert!(
        out.len() == out_shape.iter().product::<usize>(),
        "slice: the output has {} values for {out_shape:?}",
        out.len()
    );
    if out.is_empty() {
        return;
    }
    let mut strides = dense_strides(shape);
    let mut start = 0;
    for axis in 0..shape.len() {
        let last = starts[axis] as isize + steps[axis] * (out_shape[axis] as isize - 1);
        assert!(
            starts[axis] < shape[axis] && (0..shape[axis] as isize).contains(&last),
            "slice: {} entries from {} by {} leave an axis of {}",
            out_shape[axis],
            starts[axis],
            steps[axis],
            shape[axis]
        );
        start += starts[axis] as isize * strides[axis];
        strides[axis] *= steps[axis];
    }
    copy_strided(x, start, strides, out_shape, out);
}

/// Repeats `x` along its axes of one, and along new leading axes, to `out_shape` (ONNX `Expand`, when `out_shape` is
/// the broadcast of both).
///
/// # Panics
/// If `shape` does not broadcast to `out_shape`, or a slice's length is not what the shapes ask.
pub fn expand<T: Copy>(x: &[T], shape: &[usize], out_shape: &[usize], out: &mut [T]) {
    assert!(x.len() == shape.iter().product::<usize>(), "expand: the data has {} values for {shape:?}", x.len());
    assert!(
        out.len() == out_shape.iter().product::<usize>(),
        "expand: the output has {} values for {out_shape:?}",
        out.len()
    );
    copy_strided(x, 0, broadcast_strides(shape, out_shape), out_shape, out);
}

/// Repeats the whole of `x` `repeats[n]` times along axis `n` (ONNX `Tile`).
///
/// # Panics
/// If a slice's length is not what the shapes ask.
pub fn tile<T: Copy>(x: &[T], shape: &[usize], repeats: &[usize], out: &mut [T]) {
    assert!(repeats.len() == shape.len() && shape.len() <= MAX_RANK, "tile of {shape:?} by {repeats:?}");
    assert!(x.len() == shape.iter().product::<usize>(), "tile: the data has {} values for {shape:?}", x.len());
    let dense = dense_strides(shape);
    let mut out_shape = [1; WALK_RANK];
    let mut strides = [0; WALK_RANK];
    for axis in 0..shape.len() {
        out_shape[2 * axis] = repeats[axis];
        out_shape[2 * axis + 1] = shape[axis];
        strides[2 * axis + 1] = dense[axis];
    }
    let out_shape = &out_shape[..2 * shape.len()];
    assert!(out.len() == out_shape.iter().product::<usize>(), "tile: the output has {} values", out.len());
    copy_strided(x, 0, strides, out_shape, out);
}
