//! Where a decoded window is cut into segments, and where the next window begins. Pure arithmetic on tokens.
//!
//! Source: openai/whisper, `whisper/transcribe.py`. A window that ends in a pair of timestamps was cut in mid-speech:
//! the next one begins at that pair. One that ends in a single timestamp, or has no pair, was transcribed to its end.

use crate::timestamps::{FRAMES_PER_TIMESTAMP, TIMESTAMPS};

/// A segment of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Start in hundredths of a second from the start of the audio.
    pub start: usize,
    /// End in hundredths of a second from the start of the audio.
    pub end: usize,
    /// Its tokens, timestamps included.
    pub tokens: Vec<u32>,
}

/// A window cut into segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segments, in order.
    pub pieces: Vec<Piece>,
    /// Mel frames from this window's start to the next one's; never 0 unless the window has none.
    pub advance: usize,
    /// Nothing is said after the pieces: the tokens end in a single timestamp, or what follows the last pair of them is
    /// a piece too, as the window ends in a pause.
    pub whole: bool,
}

/// [`cut`] of tokens that were cut off: a single timestamp at their end does not say that nothing follows. The next
/// window begins behind the last pair, which the model set by itself, and where there is none at that timestamp.
/// (openai/whisper begins it behind this window, and loses what is in between.)
pub fn cut_short(tokens: &[u32], first_timestamp: u32, seek: usize, frames: usize) -> Cut {
    let mut found = cut(tokens, first_timestamp, seek, frames);
    if !found.whole {
        return found;
    }
    if found.pieces.len() > 1 {
        found.pieces.pop();
    }
    let end = found.pieces.last().map_or(seek, |last| last.end);
    Cut { advance: if end > seek { end - seek } else { frames }, whole: false, ..found }
}

/// Cuts the `tokens` of the window that begins at frame `seek` and holds `frames` frames of audio.
/// `first_timestamp` is the token of 0.00, the first of [`TIMESTAMPS`].
pub fn cut(tokens: &[u32], first_timestamp: u32, seek: usize, frames: usize) -> Cut {
    let is_timestamp = |&t: &u32| t.checked_sub(first_timestamp).is_some_and(|step| step < TIMESTAMPS);
    // One hundredth of a second is one mel frame.
    let offset = |token: u32| match is_timestamp(&token) {
        true => (token - first_timestamp) as usize * FRAMES_PER_TIMESTAMP,
        false => 0,
    };
    let piece = |tokens: &[u32]| Piece {
        start: seek + offset(tokens[0]),
        end: seek + offset(tokens[tokens.len() - 1]),
        tokens: tokens.to_vec(),
    };
    let ends_in_single = matches!(tokens, [.., before, last] if !is_timestamp(before) && is_timestamp(last));
    let mut cuts: Vec<usize> =
        (1..tokens.len()).filter(|&i| is_timestamp(&tokens[i - 1]) && is_timestamp(&tokens[i])).collect();
    if cuts.is_empty() {
        let last = tokens.iter().copied().rfind(is_timestamp).filter(|&t| t != first_timestamp);
        let end = seek + last.map_or(frames, offset);
        let pieces = vec![Piece { start: seek, end, tokens: tokens.to_vec() }];
        return Cut { pieces, advance: frames, whole: ends_in_single };
    }
    if ends_in_single {
        cuts.push(tokens.len());
    }
    let mut begin = 0;
    let mut pieces = Vec::with_capacity(cuts.len());
    for &end in &cuts {
        pieces.push(piece(&tokens[begin..end]));
        begin = end;
    }
    let advance = if ends_in_single { frames } else { offset(tokens[begin - 1]) };
    // The token rules let time only move on; a model that is run without them must not hold the loop.
    Cut { pieces, advance: if advance == 0 { frames } else { advance }, whole: ends_in_single }
}

/// [`cut`] of a window that ends in a pause, behind which another is decoded by itself: text after the last pair of
/// timestamps was not cut off there, and belongs to the window. Where the window's tokens end in a pair,
/// [`Cut::advance`] says until when there is text; what follows may be more.
pub fn cut_at_pause(tokens: &[u32], first_timestamp: u32, seek: usize, frames: usize) -> Cut {
    let mut found = cut(tokens, first_timestamp, seek, frames);
    let kept: usize = found.pieces.iter().map(|piece| piece.tokens.len()).sum();
    if let [begin, text @ ..] = &tokens[kept..]
        && !text.is_empty()
    {
        let start = seek + begin.saturating_sub(first_timestamp) as usize * FRAMES_PER_TIMESTAMP;
        let end = (seek + frames).max(start);
        found.pieces.push(Piece { start, end, tokens: tokens[kept..].to_vec() });
        (found.advance, found.whole) = (frames, true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: u32 = 100;

    fn times(cut: &Cut) -> Vec<(usize, usize, usize)> {
        cut.pieces.iter().map(|p| (p.start, p.end, p.tokens.len())).collect()
    }

    #[test]
    fn without_timestamps_the_window_is_one_segment() {
        let cut = cut(&[1, 2, 3], T0, 500, 1200);
        assert_eq!((times(&cut), cut.advance), (vec![(500, 1700, 3)], 1200));
        let none = super::cut(&[], T0, 0, 7);
        assert_eq!((times(&none), none.advance), (vec![(0, 7, 0)], 7));
    }

    #[test]
    fn a_single_last_timestamp_ends_the_segment_but_not_the_window() {
        let cut = cut(&[T0 + 5, 1, 2, T0 + 50], T0, 0, 3000);
        assert_eq!((times(&cut), cut.advance), (vec![(0, 100, 4)], 3000));
        // 0.00 alone says nothing about the end.
        assert_eq!(times(&super::cut(&[T0, 1], T0, 0, 3000)), [(0, 3000, 2)]);
    }

    #[test]
    fn pairs_cut_and_the_last_pair_is_where_the_next_window_begins() {
        let tokens = [T0, 1, T0 + 50, T0 + 60, 2, T0 + 90, T0 + 90];
        let cut = cut(&tokens, T0, 1000, 3000);
        assert_eq!(times(&cut), [(1000, 1100, 3), (1120, 1180, 3)]);
        assert_eq!(cut.advance, 180);
    }

    #[test]
    fn after_pairs_a_single_last_timestamp_closes_the_window() {
        let tokens = [T0, 1, T0 + 50, T0 + 60, 2, T0 + 90];
        let cut = cut(&tokens, T0, 0, 3000);
        assert_eq!((times(&cut), cut.advance), (vec![(0, 100, 3), (120, 180, 3)], 3000));
    }

    #[test]
    fn where_tokens_were_cut_off_the_next_window_begins() {
        let short = |tokens: &[u32]| cut_short(tokens, T0, 1000, 3000);
        assert_eq!((short(&[T0, 1, T0 + 50]).advance, short(&[T0, 1, T0 + 50]).whole), (100, false));
        let pairs = short(&[T0, 1, T0 + 50, T0 + 60, 2, T0 + 90]);
        assert_eq!((times(&pairs), pairs.advance, pairs.whole), (vec![(1000, 1100, 3)], 100, false));
        // As elsewhere: behind the last pair, and the whole window where no time is known.
        assert_eq!(short(&[T0, 1, T0 + 50, T0 + 50, 2]), super::cut(&[T0, 1, T0 + 50, T0 + 50, 2], T0, 1000, 3000));
        assert_eq!((short(&[1, 2]).advance, short(&[1, T0]).advance, short(&[]).advance), (3000, 3000, 3000));
    }

    #[test]
    fn tokens_behind_the_timestamps_are_text() {
        let added = T0 + TIMESTAMPS;
        let with = |word: u32| times(&super::cut(&[T0, word, T0 + 50, T0 + 50, word, word, T0 + 90], T0, 0, 3000));
        assert_eq!(with(added), with(1));
        assert_eq!(times(&super::cut(&[added, added], T0, 500, 1200)), [(500, 1700, 2)]);
    }

    #[test]
    fn text_after_the_last_pair_is_left_to_the_next_window() {
        let tokens = [T0, 1, T0 + 50, T0 + 50, 2, 3];
        let cut = cut(&tokens, T0, 0, 3000);
        assert_eq!((times(&cut), cut.advance), (vec![(0, 100, 3)], 100));
    }

    #[test]
    fn before_a_pause_all_text_belongs_to_the_window() {
        let open = [T0, 1, T0 + 50, T0 + 60, 2, 3];
        let cut = cut_at_pause(&open, T0, 1000, 2000);
        assert_eq!((times(&cut), cut.advance), (vec![(1000, 1100, 3), (1120, 3000, 3)], 2000));
        let pair = [T0, 1, T0 + 50, T0 + 60];
        assert_eq!(cut_at_pause(&pair, T0, 0, 2000), super::cut(&pair, T0, 0, 2000));
        let single = [T0, 1, T0 + 50, T0 + 60, 2, T0 + 70];
        assert_eq!(cut_at_pause(&single, T0, 0, 2000), super::cut(&single, T0, 0, 2000));
        assert_eq!(cut_at_pause(&[1, 2], T0, 0, 2000), super::cut(&[1, 2], T0, 0, 2000));
    }

    proptest! {
        #[test]
        fn before_a_pause_no_token_is_lost(tokens in proptest::collection::vec(90u32..130, 0..50), frames in 1usize..3001) {
            let cut = cut_at_pause(&tokens, T0, 0, frames);
            let kept: Vec<u32> = cut.pieces.iter().flat_map(|p| p.tokens.clone()).collect();
            prop_assert!(cut.advance > 0 && tokens.len() - kept.len() <= 1);
            prop_assert_eq!(&tokens[..kept.len()], &kept[..]);
        }

        #[test]
        fn any_tokens_move_the_window_on(tokens in proptest::collection::vec(90u32..130, 0..50), seek in 0usize..9000, frames in 1usize..3001) {
            let cut = cut(&tokens, T0, seek, frames);
            prop_assert!(cut.advance > 0);
            let kept: Vec<u32> = cut.pieces.iter().flat_map(|p| p.tokens.clone()).collect();
            prop_assert_eq!(&tokens[..kept.len()], &kept[..]);
        }
    }
}
