//! Dynamic time warping: the way from a matrix's first corner to its last along which the sum is least.

/// Which step led to a place: both on, the next row, the next column.
const BOTH: u8 = 0;
const ROW: u8 = 1;
const COLUMN: u8 = 2;

/// The places `(row, column)` of the way through `rows` × `columns` costs, which goes to the next row, the next column,
/// or both at each step. Of equal ways the one that goes to the next column last; the sums are in f32, as those of
/// openai/whisper (`dtw_cpu`), so that near ties fall alike.
///
/// None if there are no costs.
pub(super) fn way(costs: &[f32], columns: usize) -> Vec<(usize, usize)> {
    let rows = costs.len() / columns.max(1);
    if rows == 0 {
        return Vec::new();
    }
    // One column more than the matrix: nothing leads there.
    let mut before = vec![f32::INFINITY; columns + 1];
    let mut sums = before.clone();
    before[0] = 0.0;
    let mut steps = vec![COLUMN; rows * columns];
    for (costs, steps) in costs.chunks_exact(columns).zip(steps.chunks_exact_mut(columns)) {
        sums[0] = f32::INFINITY;
        for (at, (cost, step)) in costs.iter().zip(steps).enumerate() {
            let (both, row, column) = (before[at], before[at + 1], sums[at]);
            let (least, least_step) = if both < row && both < column {
                (both, BOTH)
            } else if row < both && row < column {
                (row, ROW)
            } else {
                (column, COLUMN)
            };
            *step = least_step;
            sums[at + 1] = (f64::from(*cost) + f64::from(least)) as f32;
        }
        std::mem::swap(&mut before, &mut sums);
    }
    let (mut row, mut column) = (rows - 1, columns - 1);
    let mut way = vec![(row, column)];
    while row > 0 || column > 0 {
        let step = match (row, column) {
            (0, _) => COLUMN,
            (_, 0) => ROW,
            _ => steps[row * columns + column],
        };
        row -= usize::from(step != COLUMN);
        column -= usize::from(step != ROW);
        way.push((row, column));
    }
    way.reverse();
    way
}

/// For each row the column at which the way enters it.
pub(super) fn entries(way: &[(usize, usize)]) -> Vec<usize> {
    way.chunk_by(|a, b| a.0 == b.0).map(|row| row[0].1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All ways through, the obvious way.
    fn all_ways(rows: usize, columns: usize) -> Vec<Vec<(usize, usize)>> {
        fn go(
            at: (usize, usize),
            last: (usize, usize),
            way: &mut Vec<(usize, usize)>,
            all: &mut Vec<Vec<(usize, usize)>>,
        ) {
            way.push(at);
            if at == last {
                all.push(way.clone());
            }
            for (row, column) in [(1, 1), (1, 0), (0, 1)] {
                let next = (at.0 + row, at.1 + column);
                if next.0 <= last.0 && next.1 <= last.1 {
                    go(next, last, way, all);
                }
            }
            way.pop();
        }
        let mut all = Vec::new();
        go((0, 0), (rows - 1, columns - 1), &mut Vec::new(), &mut all);
        all
    }

    fn sum(way: &[(usize, usize)], costs: &[f32], columns: usize) -> f64 {
        way.iter().map(|(row, column)| f64::from(costs[row * columns + column])).sum()
    }

    /// The reference's own test: costs between 0 and 1, less 1 along a way that is drawn, which must be found.
    #[test]
    fn a_way_that_is_cheaper_everywhere_is_found() {
        for (rows, columns, seed) in [(10, 20, 1), (32, 16, 2), (123, 1500, 3), (234, 189, 4)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut costs: Vec<f32> = (0..rows * columns).map(|_| random.f32()).collect();
            let mut drawn = vec![(0, 0)];
            let (mut row, mut column) = (0, 0);
            while (row, column) != (rows - 1, columns - 1) {
                let step = random.u8(0..3);
                let (down, right) = (row + 1 < rows, column + 1 < columns);
                // A corner cut short is never dearer, so both ways at once wherever they follow one another.
                match step {
                    _ if !down => column += 1,
                    _ if !right => row += 1,
                    0 => (row, column) = (row + 1, column + 1),
                    1 if drawn.len() < 2 || drawn[drawn.len() - 2].1 == column => row += 1,
                    2 if drawn.len() < 2 || drawn[drawn.len() - 2].0 == row => column += 1,
                    _ => (row, column) = (row + 1, column + 1),
                }
                drawn.push((row, column));
            }
            for (row, column) in &drawn {
                costs[row * columns + column] -= 1.0;
            }
            let found = way(&costs, columns);
            assert!(sum(&found, &costs, columns) <= sum(&drawn, &costs, columns) + 1e-3, "{rows} × {columns}");
            let common = found.iter().filter(|place| drawn.contains(place)).count();
            assert!(common * 100 >= drawn.len() * 97, "{common} of {} places, {rows} × {columns}", drawn.len());
        }
    }

    #[test]
    fn ties_go_to_the_next_column_last() {
        assert_eq!(way(&[0.0; 6], 3), [(0, 0), (1, 0), (1, 1), (1, 2)]);
        assert_eq!(way(&[], 0), []);
        assert_eq!(way(&[1.0, 2.0], 2), [(0, 0), (0, 1)]);
        assert_eq!(way(&[1.0, 2.0], 1), [(0, 0), (1, 0)]);
        assert_eq!(entries(&way(&[0.0, 9.0, 9.0, 9.0, 0.0, 0.0], 3)), [0, 1]);
    }

    #[test]
    fn costs_that_are_no_numbers_end() {
        assert_eq!(way(&[f32::NAN; 12], 4).last(), Some(&(2, 3)));
    }

    proptest! {
        #[test]
        fn no_way_is_cheaper(rows in 1usize..5, columns in 1usize..6, seed in 0u64..u64::MAX) {
            let mut random = fastrand::Rng::with_seed(seed);
            let costs: Vec<f32> = (0..rows * columns).map(|_| random.f32() - 0.5).collect();
            let found = way(&costs, columns);
            let least = all_ways(rows, columns).iter().map(|way| sum(way, &costs, columns)).fold(f64::MAX, f64::min);
            prop_assert!((sum(&found, &costs, columns) - least).abs() < 1e-5);
            prop_assert_eq!(entries(&found).len(), rows);
            prop_assert!(all_ways(rows, columns).contains(&found));
        }
    }
}
