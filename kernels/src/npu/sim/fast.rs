//! The cores' arithmetic with this machine's vectors, step for step in the order of the C++ code in `kernels/aie/src`,
//! so that results are bit-equal to it.

use super::{
    attend,
    core::{CoreState, bytes_of, float, word, zeroed},
    floats,
    network::{CoreWork, Output},
    product::{Number, product, widen},
};
use crate::{
    host::{
        Isa,
        simd::{Simd, Task, dispatch},
    },
    npu::{
        design::{CONTROL_BYTES, Design, Kernels, Tile},
        layout::control::{FIRST, GELU},
        target::MicroTile,
    },
    numbers::bf16_bits,
};

/// One result of one core.
pub(super) fn compute(
    isa: Isa,
    design: &Design,
    output: &Output,
    a: &[u8],
    b: &[u8],
    state: &mut CoreState,
    c: &mut [u8],
) {
    dispatch(isa, Compute { design, output, a, b, state, c });
}

struct Compute<'a> {
    design: &'a Design,
    output: &'a Output,
    a: &'a [u8],
    b: &'a [u8],
    state: &'a mut CoreState,
    c: &'a mut [u8],
}

impl Task for Compute<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { design, output, a, b, state, c } = self;
        match (output.work, design.kernels) {
            (CoreWork::Attention, _) => attend::attention(design, output, a, b, state, c),
            (CoreWork::Linear, Kernels::Int8) => linear_int8(design, output, a, b, state, c),
            (CoreWork::Linear, Kernels::Bf16) => linear_bf16(design, output, a, b, state, c),
        }
    }
}

/// The sums of all steps; gives the last step's objects.
#[inline(always)]
fn sums<'a, T: Number>(
    design: &Design,
    output: &Output,
    (a, b): (&'a [u8], &'a [u8]),
    sums: &mut Vec<T>,
    [wide_a, wide_b]: &mut [Vec<T>; 2],
    gathered: &'a mut [Vec<u8>; 2],
) -> (&'a [u8], &'a [u8]) {
    let Tile { m, k, n } = design.tile;
    sums.resize(m * n, T::default());
    let micro = design.micro_tile();
    let (wide_a, wide_b) = (zeroed(wide_a, m * k), zeroed(wide_b, k * n));
    let [a_gathered, b_gathered] = gathered;
    for (a_object, b_object) in output.a.iter().zip(&output.b) {
        let a = bytes_of(a_object, a, a_gathered);
        if word(&a[a.len() - CONTROL_BYTES..], 0) & FIRST != 0 {
            sums.fill(T::default());
        }
        widen(&a[..T::BYTES * m * k], wide_a);
        widen(&bytes_of(b_object, b, b_gathered)[..T::BYTES * k * n], wide_b);
        product(micro, k, n, wide_a, wide_b, sums);
    }
    let last = output.a.len() - 1;
    (bytes_of(&output.a[last], a, a_gathered), bytes_of(&output.b[last], b, b_gathered))
}

#[inline(always)]
fn linear_int8(design: &Design, output: &Output, a: &[u8], b: &[u8], state: &mut CoreState, c: &mut [u8]) {
    let Tile { m, k, n } = design.tile;
    let CoreState { integers, wide_integers, gathered, .. } = state;
    let (a, b) = sums(design, output, (a, b), integers, wide_integers, gathered);
    let gelu = word(&a[a.len() - CONTROL_BYTES..], 0) & GELU != 0;
    let (rows, columns) = (&a[m * k..], &b[k * n..]);
    let micro = design.micro_tile();
    each_line(micro, n, c, integers, |row, column, line, sums| {
        let row_scale = float(rows, row);
        for (t, (line, sum)) in line.iter_mut().zip(sums).enumerate() {
            let scale = row_scale * float(columns, column + t);
            *line = *sum as f32 * scale + float(columns, n + column + t);
        }
        activate(gelu, line);
    });
}

#[inline(always)]
fn linear_bf16(design: &Design, output: &Output, a: &[u8], b: &[u8], state: &mut CoreState, c: &mut [u8]) {
    let Tile { k, n, .. } = design.tile;
    let CoreState { floats, wide_floats, gathered, .. } = state;
    let (a, b) = sums(design, output, (a, b), floats, wide_floats, gathered);
    let gelu = word(&a[a.len() - CONTROL_BYTES..], 0) & GELU != 0;
    let bias = &b[2 * k * n..];
    each_line(design.micro_tile(), n, c, floats, |_, column, line, sums| {
        for (t, (line, sum)) in line.iter_mut().zip(sums).enumerate() {
            *line = sum + float(bias, column + t);
        }
        activate(gelu, line);
    });
}

/// Turns sums, line of a micro-tile by line, into bf16 results in the same layout. `to_floats` gets row, first column,
/// the line and its sums.
#[inline(always)]
fn each_line<T: Copy>(
    micro: MicroTile,
    n: usize,
    c: &mut [u8],
    sums: &[T],
    to_floats: impl Fn(usize, usize, &mut [f32], &[T]),
) {
    let MicroTile { r, t, .. } = micro;
    let mut line = [0.0; 8];
    for (index, (c, sums)) in c.chunks_exact_mut(2 * t).zip(sums.chunks_exact(t)).enumerate() {
        let (tile, row) = (index / r, index % r);
        let (row, column) = (tile / (n / t) * r + row, tile % (n / t) * t);
        to_floats(row, column, &mut line[..t], sums);
        for (c, value) in c.chunks_exact_mut(2).zip(line) {
            c.copy_from_slice(&bf16_bits(value).to_le_bytes());
        }
    }
}

#[inline(always)]
fn activate(gelu: bool, line: &mut [f32]) {
    if gelu {
        line.iter_mut().for_each(|value| *value = floats::gelu(*value));
    }
}
