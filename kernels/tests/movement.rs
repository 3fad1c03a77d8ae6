//! Data movement against index arithmetic that is written out.

use proptest::prelude::*;
use undertone_kernels::host::movement::{
    IndexOutOfRange, MAX_RANK, Shape, broadcast_shape, concat, expand, gather, slice, tile, transpose,
};

fn counting(shape: &[usize]) -> Vec<u32> {
    (0..shape.iter().product::<usize>() as u32).collect()
}

/// The indices of the `at`th element of a dense tensor.
fn unravel(shape: &[usize], mut at: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = at % shape[axis];
        at /= shape[axis];
    }
    index
}

fn ravel(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (length, i)| at * length + i)
}

/// A tensor of `out_shape` whose elements `from` finds in a counting tensor of `shape`.
fn oracle(shape: &[usize], out_shape: &[usize], from: impl Fn(&[usize]) -> Vec<usize>) -> Vec<u32> {
    (0..out_shape.iter().product()).map(|at| ravel(shape, &from(&unravel(out_shape, at))) as u32).collect()
}

fn check_transpose(shape: &[usize], perm: &[usize]) {
    let out_shape: Vec<_> = perm.iter().map(|&axis| shape[axis]).collect();
    let mut out = vec![u32::MAX; shape.iter().product()];
    transpose(&counting(shape), shape, perm, &mut out);
    let expected = oracle(shape, &out_shape, |index| {
        let mut from = vec![0; shape.len()];
        perm.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
        from
    });
    assert_eq!(out, expected, "{shape:?} by {perm:?}");
}

#[test]
fn transposes() {
    check_transpose(&[], &[]);
    check_transpose(&[5], &[0]);
    check_transpose(&[80, 301], &[1, 0]);
    check_transpose(&[1, 37, 4, 64], &[0, 2, 1, 3]);
    check_transpose(&[2, 5, 3, 8], &[0, 2, 3, 1]);
    check_transpose(&[2, 0, 3], &[2, 1, 0]);
    check_transpose(&[3, 1, 1, 4], &[3, 1, 0, 2]);
    check_transpose(&[1, 1, 1], &[2, 0, 1]);
}

#[test]
fn broadcasting_shapes() {
    let shape = |shapes: &[&[usize]]| broadcast_shape(shapes).map(|shape| shape.to_vec());
    assert_eq!(shape(&[]), Some(vec![]));
    assert_eq!(shape(&[&[], &[3]]), Some(vec![3]));
    assert_eq!(shape(&[&[2, 1, 4], &[3, 1]]), Some(vec![2, 3, 4]));
    assert_eq!(shape(&[&[0], &[1]]), Some(vec![0]));
    assert_eq!(shape(&[&[2], &[3]]), None);
    assert_eq!(shape(&[&[0], &[2]]), None);
    assert_eq!(shape(&[&[1; MAX_RANK], &[2]]), Some(vec![1, 1, 1, 1, 1, 1, 1, 2]));
    assert_eq!(shape(&[&[1; MAX_RANK + 1]]), None);
    assert_eq!(Shape::new(&[1; MAX_RANK + 1]), None);
    assert_eq!(Shape::new(&[2, 3]).map(|shape| shape.elements()), Some(6));
}

#[test]
fn concatenations() {
    let mut out = [0; 10];
    concat(&[(&[1, 2, 3, 4][..], 1), (&[5, 6], 0), (&[7, 8, 9, 10, 11, 12], 1)][..1], 1, 4, &mut out[..4]);
    assert_eq!(out[..4], [1, 2, 3, 4]);
    // [2, 1 | 0 | 3, 1] along the second axis.
    let mut out = [0; 8];
    concat(&[(&[1, 2][..], 1), (&[], 0), (&[3, 4, 5, 6, 7, 8], 3)], 2, 1, &mut out);
    assert_eq!(out, [1, 3, 4, 5, 2, 6, 7, 8]);
    concat::<u8>(&[], 3, 4, &mut []);
    concat::<u8>(&[(&[], 5)], 3, 0, &mut []);
}

#[test]
fn gathers() {
    let x = counting(&[2, 3, 4]);
    let mut out = vec![0; 2 * 4 * 4];
    gather(&x, &[2, 3, 4], 1, &[2, 0, -1, -3], &mut out).expect("indices inside");
    let expected = oracle(&[2, 3, 4], &[2, 4, 4], |i| vec![i[0], [2, 0, 2, 0][i[1]], i[2]]);
    assert_eq!(out, expected);
    for index in [3, -4, i64::MAX, i64::MIN] {
        let error = gather(&x, &[2, 3, 4], 1, &[index], &mut out[..8]).expect_err("an index outside");
        assert_eq!(error, IndexOutOfRange { index, length: 3 });
        assert!(error.to_string().contains("-3..=2"), "{error}");
    }
    gather(&x, &[2, 3, 4], 0, &[], &mut []).expect("no indices");
    gather::<u8>(&[], &[0], 0, &[0], &mut [0]).expect_err("nothing to gather from");
}

#[test]
fn slices() {
    let x = counting(&[4, 5]);
    let mut out = vec![0; 6];
    slice(&x, &[4, 5], &[1, 0], &[2, 2], &[2, 3], &mut out);
    assert_eq!(out, [5, 7, 9, 15, 17, 19]);
    slice(&x, &[4, 5], &[3, 4], &[-2, -2], &[2, 3], &mut out);
    assert_eq!(out, [19, 17, 15, 9, 7, 5]);
    slice(&x, &[4, 5], &[4, 0], &[1, 1], &[0, 5], &mut []);
    slice(&[7], &[], &[], &[], &[], &mut out[..1]);
    assert_eq!(out[0], 7);
}

#[test]
#[should_panic(expected = "leave an axis of 4")]
fn a_slice_past_the_end_is_refused() {
    slice(&counting(&[4]), &[4], &[2], &[1], &[3], &mut [0; 3]);
}

#[test]
fn expansions_and_tiles() {
    let mut out = vec![0; 12];
    expand(&[1, 2, 3], &[3, 1], &[2, 3, 2], &mut out);
    assert_eq!(out, [1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3]);
    expand(&[9], &[], &[12], &mut out);
    assert_eq!(out, [9; 12]);
    expand::<u32>(&[], &[0], &[3, 0], &mut []);
    tile(&[1, 2, 3], &[1, 3], &[2, 2], &mut out);
    assert_eq!(out, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
    tile(&[1, 2, 3], &[3], &[0], &mut []);
}

proptest! {
    #[test]
    fn any_transpose((shape, perm) in prop::collection::vec(1usize..6, 0..6).prop_flat_map(|shape| {
        let axes: Vec<usize> = (0..shape.len()).collect();
        (Just(shape), Just(axes).prop_shuffle())
    })) {
        check_transpose(&shape, &perm);
    }

    #[test]
    fn any_tile(axes in prop::collection::vec((1usize..4, 0usize..4), 0..5)) {
        let (shape, repeats): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let out_shape: Vec<_> = shape.iter().zip(&repeats).map(|(a, b)| a * b).collect();
        let mut out = vec![u32::MAX; out_shape.iter().product()];
        tile(&counting(&shape), &shape, &repeats, &mut out);
        let expected = oracle(&shape, &out_shape, |i| i.iter().zip(&shape).map(|(i, length)| i % length).collect());
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn any_slice(axes in prop::collection::vec((1usize..7, 0usize..7, 1usize..4, any::<bool>()), 0..5)) {
        let shape: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let starts: Vec<usize> = axes.iter().map(|a| a.1 % a.0).collect();
        let steps: Vec<isize> = axes.iter().map(|a| if a.3 { -(a.2 as isize) } else { a.2 as isize }).collect();
        let out_shape: Vec<usize> = (0..axes.len())
            .map(|n| if steps[n] > 0 { shape[n] - 1 - starts[n] } else { starts[n] } / steps[n].unsigned_abs() + 1)
            .collect();
        let mut out = vec![u32::MAX; out_shape.iter().product()];
        slice(&counting(&shape), &shape, &starts, &steps, &out_shape, &mut out);
        let expected = oracle(&shape, &out_shape, |index| {
            (0..index.len()).map(|n| starts[n].wrapping_add_signed(index[n] as isize * steps[n])).collect()
        });
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn any_expansion(axes in prop::collection::vec((0usize..4, any::<bool>()), 0..6), leading in 0usize..3) {
        let out_shape: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let shape: Vec<usize> = axes.iter().skip(leading).map(|a| if a.1 { 1 } else { a.0 }).collect();
        let first = out_shape.len() - shape.len();
        let mut out = vec![u32::MAX; out_shape.iter().product()];
        expand(&counting(&shape), &shape, &out_shape, &mut out);
        let expected = oracle(&shape, &out_shape, |index| {
            index[first..].iter().zip(&shape).map(|(&i, &length)| if length == 1 { 0 } else { i }).collect()
        });
        prop_assert_eq!(out, expected);
    }
}
