//! Whole rows on one core, step for step as in `kernels/aie/src/rows.h`.

use super::{
    State, bytes_of,
    fast::{float, zeroed},
    floats::{exp2, gelu, larger, reciprocal, reciprocal_root, reduce_add, reduce_max},
    network::Output,
    product::Number as _,
};
use crate::{
    host::bf16_bits,
    npu::{
        design::{Design, ROW_LANES, RowOperator},
        layout::control::RowsControl,
    },
};

/// Below every number; 2 to the power of its distance to any is 0.
const NOTHING: f32 = -3.0e38;

type Lanes = [f32; ROW_LANES];

/// The rows of one object, of which this is said.
#[inline(always)]
pub(super) fn rows(
    design: &Design,
    control: RowsControl,
    output: &Output,
    a: &[u8],
    b: &[u8],
    state: &mut State,
    c: &mut [u8],
) {
    let State { parameters, floats, gathered: [a_gathered, b_gathered], .. } = state;
    for (kept, object) in parameters.iter_mut().zip(&output.b) {
        let object = bytes_of(object, b, b_gathered);
        kept.clear();
        kept.extend((0..design.tile.k).map(|index| float(object, index)));
    }
    // What was never given is what a core begins with here: zeros.
    parameters.iter_mut().for_each(|kept| kept.resize(design.tile.k, 0.0));
    let [gamma, beta] = parameters;
    let RowsControl { what, rows, width, valid, inverse, epsilon, .. } = control;
    let bytes = 2 * rows * width;
    let Some(object) = output.a.first() else { return };
    let x = &bytes_of(object, a, a_gathered)[..bytes];
    let powers = zeroed(floats, width);
    for (x, y) in x.chunks_exact(2 * width).zip(c[..bytes].chunks_exact_mut(2 * width)) {
        match what {
            RowOperator::SoftMax => soft_max(x, y, powers, valid),
            RowOperator::LayerNorm => layer_norm(x, y, [gamma, beta], valid, [inverse, epsilon]),
            RowOperator::Gelu => each(x, y, |_, x| gelu(x)),
        }
    }
}

/// Numbers of a row, vector by vector, each with the column of its first.
#[inline(always)]
fn vectors(x: &[u8]) -> impl Iterator<Item = (usize, Lanes)> {
    x.chunks_exact(2 * ROW_LANES).enumerate().map(|(index, bytes)| {
        let mut lanes = [0.0; ROW_LANES];
        lanes.iter_mut().zip(bytes.chunks_exact(2)).for_each(|(lane, bytes)| *lane = f32::widen(bytes));
        (index * ROW_LANES, lanes)
    })
}

/// The lanes before `valid`; the others are `filler`.
#[inline(always)]
fn visible(column: usize, lanes: Lanes, valid: usize, filler: f32) -> Lanes {
    let mut seen = lanes;
    seen.iter_mut().enumerate().for_each(|(lane, x)| *x = if column + lane < valid { *x } else { filler });
    seen
}

#[inline(always)]
fn add(sum: &mut Lanes, lanes: Lanes) {
    sum.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum += lane);
}

/// Each number by itself, with its column.
#[inline(always)]
fn each(x: &[u8], y: &mut [u8], function: impl Fn(usize, f32) -> f32) {
    for ((column, lanes), y) in vectors(x).zip(y.chunks_exact_mut(2 * ROW_LANES)) {
        let mut results = [0.0; ROW_LANES];
        for (lane, (result, x)) in results.iter_mut().zip(lanes).enumerate() {
            *result = function(column + lane, x);
        }
        for (y, result) in y.chunks_exact_mut(2).zip(results) {
            y.copy_from_slice(&bf16_bits(result).to_le_bytes());
        }
    }
}

#[inline(always)]
fn soft_max(x: &[u8], y: &mut [u8], powers: &mut [f32], valid: usize) {
    let mut largest = [NOTHING; ROW_LANES];
    for (column, lanes) in vectors(x) {
        let lanes = visible(column, lanes, valid, NOTHING);
        largest.iter_mut().zip(lanes).for_each(|(largest, lane)| *largest = larger(*largest, lane));
    }
    let top = reduce_max(&largest);
    let mut sum = [0.0; ROW_LANES];
    for ((column, lanes), powers) in vectors(x).zip(powers.chunks_exact_mut(ROW_LANES)) {
        let mut here = visible(column, lanes, valid, NOTHING);
        here.iter_mut().for_each(|lane| *lane = exp2((*lane - top) * std::f32::consts::LOG2_E));
        powers.copy_from_slice(&here);
        add(&mut sum, here);
    }
    let factor = if valid > 0 { reciprocal(reduce_add(sum)) } else { 0.0 };
    each(x, y, |column, _| powers[column] * factor);
}

#[inline(always)]
fn layer_norm(x: &[u8], y: &mut [u8], [gamma, beta]: [&[f32]; 2], valid: usize, [inverse, epsilon]: [f32; 2]) {
    let mut sum = [0.0; ROW_LANES];
    vectors(x).for_each(|(column, lanes)| add(&mut sum, visible(column, lanes, valid, 0.0)));
    let mean = reduce_add(sum) * inverse;
    let mut squares = [0.0; ROW_LANES];
    for (column, lanes) in vectors(x) {
        let distance = visible(column, lanes.map(|lane| lane - mean), valid, 0.0);
        add(&mut squares, distance.map(|distance| distance * distance));
    }
    let factor = reciprocal_root(reduce_add(squares) * inverse + epsilon);
    each(x, y, |column, x| (x - mean) * factor * gamma[column] + beta[column]);
}
