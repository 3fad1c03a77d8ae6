//! A median filter of width 7, which smooths a head's attention along time.

/// Values that a median is taken of.
pub(super) const WIDTH: usize = 7;
const BESIDE: usize = WIDTH / 2;

/// Sorts what is at two places. Plain comparisons, which become vector instructions; `f32::min` does not.
macro_rules! sort {
    ($a:ident, $b:ident) => {
        let (low, high) = if $b < $a { ($b, $a) } else { ($a, $b) };
        ($a, $b) = (low, high);
    };
}

/// Replaces each value of `row` by the median of the seven around it, the row being reflected at its ends. A row of
/// three values or fewer stays as it is. `padded` is working memory.
///
/// Source: openai/whisper, `whisper/timing.py` (`median_filter`).
pub(super) fn filter(row: &mut [f32], padded: &mut Vec<f32>) {
    let length = row.len();
    if length <= BESIDE {
        return;
    }
    padded.clear();
    padded.extend((1..=BESIDE).rev().map(|at| row[at]));
    padded.extend_from_slice(row);
    padded.extend((1..=BESIDE).map(|at| row[length - 1 - at]));
    let around: [&[f32]; WIDTH] = std::array::from_fn(|shift| &padded[shift..shift + length]);
    for (at, value) in row.iter_mut().enumerate() {
        *value = median(around.map(|shifted| shifted[at]));
    }
}

/// The median of seven: a sorting network that leaves out what does not reach the middle.
#[inline(always)]
fn median([mut a, mut b, mut c, mut d, mut e, mut f, mut g]: [f32; WIDTH]) -> f32 {
    sort!(a, f);
    sort!(a, d);
    sort!(b, g);
    sort!(c, e);
    sort!(a, b);
    sort!(d, f);
    sort!(c, g);
    sort!(c, d);
    sort!(d, g);
    sort!(e, f);
    sort!(b, e);
    sort!(b, d);
    sort!(d, e);
    // The others are in some order, and not asked for.
    let _ = (a, b, c, e, f, g);
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious way: reflect, sort each seven, take the middle.
    fn slow(row: &[f32]) -> Vec<f32> {
        let at = |place: isize| {
            let last = row.len() as isize - 1;
            let place = place.abs();
            row[(if place > last { 2 * last - place } else { place }) as usize]
        };
        let around = |place: usize| (place as isize - 3..=place as isize + 3).map(at).collect::<Vec<f32>>();
        let middle = |place| {
            let mut seven = around(place);
            seven.sort_by(f32::total_cmp);
            seven[3]
        };
        if row.len() <= 3 { row.to_vec() } else { (0..row.len()).map(middle).collect() }
    }

    fn filtered(row: &[f32]) -> Vec<f32> {
        let mut row = row.to_vec();
        filter(&mut row, &mut vec![9.0; 2]);
        row
    }

    /// A network that sorts all rows of zeros and ones sorts all rows.
    #[test]
    fn the_network_finds_the_median_of_all_zeros_and_ones() {
        for bits in 0u32..1 << WIDTH {
            let values: [f32; WIDTH] = std::array::from_fn(|at| (bits >> at & 1) as f32);
            assert_eq!(median(values), f32::from(u8::from(bits.count_ones() > 3)), "{bits:07b}");
        }
    }

    #[test]
    fn ends_are_reflected_and_short_rows_stay() {
        assert_eq!(filtered(&[5.0, 1.0, 3.0]), [5.0, 1.0, 3.0]);
        assert!(filtered(&[]).is_empty());
        // Around the first: 4 3 2 | 1 | 2 3 4; around the second: 3 2 1 | 2 | 3 4 3.
        assert_eq!(filtered(&[1.0, 2.0, 3.0, 4.0]), [3.0, 3.0, 2.0, 2.0]);
        let spike: Vec<f32> = (0..20).map(|at| if at == 10 { 100.0 } else { at as f32 }).collect();
        assert_eq!(filtered(&spike)[10], 10.0 + 1.0);
    }

    proptest! {
        #[test]
        fn any_row_is_as_the_obvious_way_has_it(row in proptest::collection::vec(-1e3f32..1e3, 0..60)) {
            prop_assert_eq!(filtered(&row), slow(&row));
        }
    }
}
