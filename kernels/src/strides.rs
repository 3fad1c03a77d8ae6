//! Views of memory: (length, stride) of each axis, in values.

/// One more than the largest offset of a view; 0 if it has no elements.
pub(crate) fn reach(axes: [(usize, usize); 4]) -> usize {
    if axes.iter().any(|&(length, _)| length == 0) {
        return 0;
    }
    axes.iter()
        .try_fold(1, |reach: usize, &(length, stride)| reach.checked_add((length - 1).checked_mul(stride)?))
        .unwrap_or(usize::MAX)
}

/// Whether no two elements of a view share an offset (sufficient: each axis steps over all that smaller axes span).
pub(crate) fn distinct(mut axes: [(usize, usize); 4]) -> bool {
    axes.sort_unstable_by_key(|&(_, stride)| stride);
    let mut span = 1;
    for (length, stride) in axes {
        if length > 1 {
            if stride < span {
                return false;
            }
            span += (length - 1).saturating_mul(stride);
        }
    }
    true
}
