//! Whole rows as the buffers of their array have them, and what is said of them: for soft-max, layer norm and GELU.

use super::{
    Way,
    control::RowsControl,
    put_control, put_word,
    tiles::{LeftTile, to_floats},
};
use crate::{
    Parallel, Precision,
    host::split,
    npu::{
        design::{Argument, Design, Problem},
        rows::RowFunction,
        target::{MicroTile, Target},
    },
};

/// How a row lies in an object: number after number, converted eight at a time.
const ROW: MicroTile = MicroTile { r: 1, s: 8, t: 8 };

/// Packs rows of `columns` values into the A buffer, `[job][core][object]`: as many bf16 rows in an object as it holds whole. The last row may lack
/// values; what is missing is zero.
///
/// # Panics
/// If rows are wider than the design's, or `out` is not as long as [`Design::buffer_bytes`] says.
pub fn pack_whole_rows(
    design: &Design,
    function: &RowFunction<'_>,
    columns: usize,
    x: &[f32],
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    pack_whole_rows_by(Way::best(), design, function, columns, x, out, pool);
}

/// [`pack_whole_rows`] in a given way.
///
/// # Panics
/// As [`pack_whole_rows`].
pub fn pack_whole_rows_by(
    way: Way,
    design: &Design,
    function: &RowFunction<'_>,
    columns: usize,
    x: &[f32],
    out: &mut [u8],
    pool: &dyn Parallel,
) {
    let (width, object, most) = (design.row_width(columns), design.a_object(), design.rows_of_object(columns));
    assert!(width <= design.tile.k, "rows of {columns}, at most {} can be", design.tile.k);
    let (rows, what) = (x.len().div_ceil(columns.max(1)), function.operator());
    let bytes = design.buffer_bytes(&Problem::Rows { what, rows, columns }, Argument::A);
    assert_eq!(out.len(), bytes, "the A buffer of {rows} rows of {columns}");
    let tile = LeftTile { micro: ROW, rows: most, columns: width, precision: Precision::Bf16 };
    // Jobs go to the columns in turn, and each core gets gamma and beta before its first rows.
    let first = Target::ROWS * design.target.columns();
    split::chunks(pool, object, out, &|index, out| {
        let begin = index * most;
        let here = rows.saturating_sub(begin).min(most);
        let row = |row: usize| {
            let start = (begin + row) * columns;
            &x[start..x.len().min(start + columns)]
        };
        tile.write(way, object, here, row, out);
        let control = RowsControl {
            first: function.has_parameters() && index < first,
            what,
            rows: here,
            width,
            valid: columns,
            inverse: 1.0 / columns as f32,
            epsilon: function.epsilon(),
        };
        put_control(out, &control.words());
    });
}

/// Packs gamma and beta into the B buffer, an object each; zeros where the function has none.
///
/// # Panics
/// If they are longer than the design's rows, or `out` is not two objects.
pub fn pack_parameters(design: &Design, function: &RowFunction<'_>, out: &mut [u8]) {
    let object = design.b_object();
    assert_eq!(out.len(), 2 * object, "gamma and beta");
    out.fill(0);
    if let RowFunction::LayerNorm { gamma, beta, .. } = *function {
        for (values, object) in [gamma, beta].into_iter().zip(out.chunks_exact_mut(object)) {
            values.iter().enumerate().for_each(|(index, value)| put_word(object, index, value.to_bits()));
        }
    }
}

/// Takes rows of `columns` values from the C buffer; the last may be wanted in part only.
///
/// # Panics
/// If `c` is too short.
pub fn unpack_whole_rows(design: &Design, columns: usize, c: &[u8], out: &mut [f32], pool: &dyn Parallel) {
    unpack_whole_rows_by(Way::best(), design, columns, c, out, pool);
}

/// [`unpack_whole_rows`] in a given way.
///
/// # Panics
/// As [`unpack_whole_rows`].
pub fn unpack_whole_rows_by(way: Way, design: &Design, columns: usize, c: &[u8], out: &mut [f32], pool: &dyn Parallel) {
    if out.is_empty() {
        return;
    }
    let (width, object, most) = (design.row_width(columns), design.c_object(), design.rows_of_object(columns));
    let take = |row: usize, out: &mut [f32]| {
        let at = row / most * object + row % most * 2 * width;
        to_floats(way, &c[at..][..2 * out.len()], None, out);
    };
    let (whole, rest) = out.split_at_mut(out.len() / columns * columns);
    split::rows(pool, columns, whole, &|range, out| {
        range.zip(out.chunks_exact_mut(columns)).for_each(|(row, out)| take(row, out));
    });
    if !rest.is_empty() {
        take(whole.len() / columns, rest);
    }
}
