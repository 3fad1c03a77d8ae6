//! How far a tensor is from the reference's.

use undertone_runner::any_graph::NamedTensor;

use super::report::TensorAccuracy;

/// `found` beside `reference`; what the graph says of the tensor is left to the caller.
pub fn compare(reference: &NamedTensor, found: &NamedTensor) -> TensorAccuracy {
    let mut accuracy = TensorAccuracy {
        name: reference.name.clone(),
        dtype: found.elements.dtype().to_owned(),
        shape: found.shape.clone(),
        ..TensorAccuracy::default()
    };
    let (Some(expected), Some(values)) = (reference.elements.numbers(), found.elements.numbers()) else {
        return accuracy;
    };
    if reference.shape != found.shape || expected.len() != values.len() {
        return accuracy;
    }
    let (mut products, mut squares, mut expected_squares, mut differences) = (0.0, 0.0, 0.0, 0.0);
    let (mut largest_error, mut largest_value) = (0.0_f64, 0.0_f64);
    for (expected, value) in expected.iter().zip(&values) {
        if !(expected.is_finite() && value.is_finite()) {
            // Infinities that both have, as masks do, are no difference.
            accuracy.not_finite += usize::from(expected.to_bits() != value.to_bits());
            continue;
        }
        let difference = expected - value;
        products += expected * value;
        squares += value * value;
        expected_squares += expected * expected;
        differences += difference * difference;
        largest_error = largest_error.max(difference.abs());
        largest_value = largest_value.max(expected.abs());
    }
    let lengths = (squares * expected_squares).sqrt();
    let both_zero = squares == 0.0 && expected_squares == 0.0;
    // A tensor beside one that is all zeros is at right angles to it.
    let cosine = if lengths > 0.0 { products / lengths } else { 0.0 };
    accuracy.cosine = Some(if both_zero || differences == 0.0 { 1.0 } else { cosine });
    let relative = || (expected_squares > 0.0).then(|| (differences / expected_squares).sqrt());
    accuracy.relative_l2 = if differences == 0.0 { Some(0.0) } else { relative() };
    accuracy.largest_error = Some(largest_error);
    accuracy.largest_value = Some(largest_value);
    if reference.name == "logits" {
        accuracy.same_largest = same_largest(&expected, &values, *reference.shape.last().unwrap_or(&0));
    }
    accuracy
}

/// The share of rows whose largest element is the same one.
fn same_largest(expected: &[f64], values: &[f64], width: usize) -> Option<f64> {
    if width == 0 || expected.is_empty() {
        return None;
    }
    let largest = |row: &[f64]| row.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(at, _)| at);
    let rows = expected.len() / width;
    let same = expected.chunks_exact(width).zip(values.chunks_exact(width)).filter(|(e, v)| largest(e) == largest(v));
    Some(same.count() as f64 / rows as f64)
}

#[cfg(test)]
mod tests {
    use undertone_runner::any_graph::Elements;

    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: name.into(), shape: shape.to_vec(), elements: Elements::F32(values.to_vec()) }
    }

    #[test]
    fn a_tensor_is_exactly_itself() {
        let x = tensor("x", &[2, 2], &[1.0, -2.5, f32::NEG_INFINITY, 1e-3]);
        let same = compare(&x, &x);
        assert_eq!((same.cosine, same.relative_l2, same.largest_error), (Some(1.0), Some(0.0), Some(0.0)));
        assert_eq!((same.largest_value, same.not_finite), (Some(2.5), 0));
    }

    #[test]
    fn numbers_are_those_of_the_slow_way() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20 {
            let count = random.usize(1..50);
            let mut draw = || (0..count).map(|_| random.f32() * 4.0 - 2.0).collect::<Vec<_>>();
            let (a, b) = (draw(), draw());
            let found = compare(&tensor("x", &[count], &a), &tensor("x", &[count], &b));
            // By unit vectors, and by sorting.
            let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let (la, lb) = (length(&a), length(&b));
            let cosine: f64 = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) / la) * (f64::from(*b) / lb)).sum();
            let mut errors: Vec<f64> = a.iter().zip(&b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect();
            errors.sort_by(f64::total_cmp);
            let l2 = errors.iter().map(|e| e * e).sum::<f64>().sqrt() / la;
            assert!((found.cosine.unwrap() - cosine).abs() < 1e-9);
            assert!((found.relative_l2.unwrap() - l2).abs() < 1e-9);
            assert_eq!(found.largest_error, errors.last().copied());
        }
    }

    #[test]
    fn odd_tensors_have_words_or_none() {
        let (zero, one) = (tensor("x", &[2], &[0.0, 0.0]), tensor("x", &[2], &[1.0, 0.0]));
        assert_eq!(compare(&zero, &zero).cosine, Some(1.0));
        assert_eq!((compare(&zero, &one).cosine, compare(&zero, &one).relative_l2), (Some(0.0), None));
        let broken = compare(&one, &tensor("x", &[2], &[f32::NAN, 0.0]));
        assert_eq!((broken.not_finite, broken.largest_error), (1, Some(0.0)));
        let other = compare(&one, &tensor("x", &[1, 2], &[1.0, 0.0]));
        assert_eq!((other.cosine, other.shape), (None, vec![1, 2]));
    }

    #[test]
    fn logits_are_compared_by_their_largest() {
        let reference = tensor("logits", &[2, 2], &[1.0, 2.0, 4.0, 3.0]);
        let found = compare(&reference, &tensor("logits", &[2, 2], &[1.0, 2.0, 3.0, 3.5]));
        assert_eq!(found.same_largest, Some(0.5));
    }
}
