//! Where a long recording can be cut into chunks that are transcribed by themselves: at pauses, and so that few windows
//! hold all of it. `voice` measures where there may be speech; only long silence without any is left out.

use crate::mel::WINDOW_FRAMES;
use crate::voice::Voice;
use std::ops::Range;

/// The shortest chunk. From less than a second models make words that nobody said.
pub const SHORTEST: usize = 100;
/// Where no voice is for longer than this …
const LONG_SILENCE: usize = 100;
/// … it is left out, but for this much of it on either side: words begin and end more quietly than they are loud.
const MARGIN: usize = 50;
/// A pause this long separates chunks as well as any longer one.
const GOOD_PAUSE: f32 = 60.0;
/// A pause this short may be one within a word.
const SHORT_PAUSE: usize = 15;
/// What cuts cost, in windows: in the shortest pause, where a pause may be within a word, and within speech where it is
/// as quiet as in a pause, or louder. One within speech costs more than the window that it may spare.
const COSTS: [f32; 4] = [0.4, 0.6, 1.5, 2.0];
/// What a chunk costs for each change between a voice that is faint and one that is not: more than a window and a cut.
/// A model that hears both together writes the louder one's words alone.
const MIXED: f32 = 2.0;
/// What a chunk that is too short costs beside its window.
const TOO_SHORT: f32 = 4.0;
/// Frames from one place to the next at which a cut is thought of where there is no pause.
const STEP: usize = 50;

/// A place at which one chunk may end and another begin.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gap {
    /// Where the chunk before ends.
    end: usize,
    /// Where the next one begins: later where silence is left out.
    begin: usize,
    cost: f32,
}

/// Cuts a recording into chunks of at most a window (30 s), in order, so that windows and cuts together cost least. The
/// longer a pause, the less a cut in it costs.
///
/// A recording that fits into one window is left whole.
pub fn chunks(voice: &Voice) -> Vec<Range<usize>> {
    let frames = voice.frames();
    if frames <= WINDOW_FRAMES {
        return if frames == 0 { Vec::new() } else { std::iter::once(0..frames).collect() };
    }
    let changes = changes(voice);
    let gaps = gaps(voice, &changes);
    // The least cost of what is before each gap, and the gap at which its last chunk begins.
    let mut best: Vec<(f32, usize)> = vec![(f32::INFINITY, 0); gaps.len()];
    best[0].0 = 0.0;
    // Changes that have begun where a chunk begins, and that have ended where one ends.
    let begun: Vec<usize> =
        gaps.iter().map(|gap| changes.partition_point(|change| change.start <= gap.begin)).collect();
    for (j, to) in gaps.iter().enumerate().skip(1) {
        let ended = changes.partition_point(|change| change.end < to.end);
        let from = gaps[..j].iter().enumerate().rev().take_while(|(_, from)| to.end <= from.begin + WINDOW_FRAMES);
        for (i, from) in from.filter(|(_, from)| to.end > from.begin) {
            let length = to.end - from.begin;
            // Among cuts into as many windows, equal lengths are better: a short window has little to go by.
            let missing = 1.0 - length as f32 / WINDOW_FRAMES as f32;
            let short = if length < SHORTEST { TOO_SHORT } else { 0.0 };
            let mixed = MIXED * ended.saturating_sub(begun[i]) as f32;
            let cost = best[i].0 + 1.0 + to.cost + 0.1 * missing * missing + short + mixed;
            if cost < best[j].0 {
                best[j] = (cost, i);
            }
        }
    }
    let mut chunks = Vec::new();
    let mut at = gaps.len() - 1;
    while at > 0 {
        let from = best[at].1;
        chunks.push(gaps[from].begin..gaps[at].end);
        at = from;
    }
    chunks.reverse();
    // A sound by itself, between silences that are left out, takes some of them with it.
    for i in 0..chunks.len() {
        let before = if i == 0 { 0 } else { chunks[i - 1].end };
        let after = chunks.get(i + 1).map_or(frames, |next| next.start);
        let chunk = &mut chunks[i];
        chunk.end = chunk.end.max((chunk.start + SHORTEST).min(after));
        chunk.start = chunk.start.min(chunk.end.saturating_sub(SHORTEST).max(before));
    }
    chunks
}

/// The recording's start, the places at which it may be cut, and its end.
fn gaps(voice: &Voice, changes: &[Range<usize>]) -> Vec<Gap> {
    let frames = voice.frames();
    let whole = |at: usize, cost: f32| Gap { end: at, begin: at, cost };
    let (mut inner, mut left_out) = (Vec::new(), Vec::new());
    let (mut first, mut last) = (whole(0, 0.0), whole(frames, 0.0));
    for pause in voice.pauses() {
        // Where a recording begins or ends in silence, no word is cut off there.
        let margin = |at: usize| if at == 0 || at == frames { 0 } else { MARGIN };
        let silences = voice.voiceless(pause.clone()).into_iter();
        let inside = silences.map(|s| s.start + margin(s.start)..s.end.saturating_sub(margin(s.end)));
        let mut long = inside.filter(|silence| silence.len() >= LONG_SILENCE).peekable();
        if long.peek().is_none() {
            let share = (pause.len() as f32 / GOOD_PAUSE).min(1.0);
            let cost = if pause.len() < SHORT_PAUSE { COSTS[1] } else { COSTS[0] * (1.0 - share) };
            inner.push(whole(pause.start + pause.len() / 2, cost));
        }
        for silence in long {
            left_out.push(silence.clone());
            match silence {
                Range { start: 0, end } => first.begin = end,
                Range { start, end } if end == frames => last.end = start,
                Range { start, end } => inner.push(Gap { cost: 0.0, begin: end, ..whole(start, 0.0) }),
            }
        }
    }
    // Where there is no pause, or a pause longer than a window that is not silent, it is cut where it is quietest.
    for start in (0..frames).step_by(STEP) {
        let at = voice.quietest(start..(start + STEP).min(frames));
        let cost = match voice.voiced(at..at + 1) {
            0 => COSTS[0],
            _ if voice.is_quiet(at) => COSTS[2],
            _ => COSTS[3],
        };
        inner.push(whole(at, cost));
    }
    inner.extend(changes.iter().map(|change| whole(voice.quietest(change.clone()), 0.0)));
    let inside = |gap: &Gap| left_out.iter().any(|out| out.start < gap.begin && gap.end < out.end);
    inner.retain(|gap| gap.end > first.begin && gap.begin < last.end && (gap.end < gap.begin || !inside(gap)));
    inner.sort_by_key(|gap| (gap.end, gap.begin));
    [vec![first], inner, vec![last]].concat()
}

/// Between a voice that is faint and one that is not, each of a second or more: from the end of the one to the begin of
/// the other.
fn changes(voice: &Voice) -> Vec<Range<usize>> {
    let mut parts: Vec<(Range<usize>, bool, usize)> = Vec::new();
    let mut at = 0;
    let pauses = voice.pauses().into_iter();
    for pause in pauses.chain(std::iter::once(voice.frames()..voice.frames())) {
        let run = at..pause.start;
        at = pause.end;
        let faint = 2 * run.clone().filter(|&frame| voice.is_faint(frame)).count() > run.len();
        match parts.last_mut() {
            _ if run.is_empty() => {}
            Some((part, same, voiced)) if *same == faint => {
                part.end = run.end;
                *voiced += run.len();
            }
            _ => parts.push((run.clone(), faint, run.len())),
        }
    }
    parts.retain(|(_, _, voiced)| *voiced >= SHORTEST);
    let pairs = parts.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    pairs.map(|pair| pair[0].0.end..pair[1].0.start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::mel::LogMel;
    use proptest::prelude::*;

    fn voice_of(samples: &[f32]) -> Voice {
        let features = Features::of(&LogMel::new(80), samples);
        Voice::of(&features.levels().unwrap(), features.silence())
    }

    /// Noise with silence at the given hundredths of a second.
    fn noise(frames: usize, pauses: &[Range<usize>]) -> Voice {
        let mut noise = fastrand::Rng::with_seed(1);
        let loudness = |i: usize| if pauses.iter().any(|p| p.contains(&(i / 160))) { 0.001 } else { 0.5 };
        voice_of(&(0..frames * 160).map(|i| loudness(i) * (noise.f32() - 0.5)).collect::<Vec<_>>())
    }

    fn cut(frames: usize, pauses: &[Range<usize>]) -> Vec<Range<usize>> {
        chunks(&noise(frames, pauses))
    }

    #[test]
    fn cuts_lie_in_pauses_and_windows_are_few() {
        // 70 s; three windows hold them with cuts in pauses, and the long pauses are preferred to the short ones.
        let found = cut(7000, &[500..600, 2300..2312, 2600..2720, 2900..2912, 4900..5000]);
        let cuts: Vec<usize> = found.iter().map(|s| s.end).collect();
        assert!(cuts.len() == 3 && (2640..2680).contains(&cuts[0]) && (4930..4970).contains(&cuts[1]), "{found:?}");
    }

    #[test]
    fn long_silence_is_left_out_and_short_is_not() {
        // 18 s of speech, a minute of silence, 8 s of speech, a pause, 10 s of speech, silence to the end.
        let found = cut(12_000, &[0..500, 2300..8300, 9100..9200, 10_200..12_000]);
        assert_eq!(found.len(), 2, "{found:?}");
        let near = |a: usize, b: usize| a.abs_diff(b) <= MARGIN + 30;
        assert!(near(found[0].start, 500) && near(found[0].end, 2300), "{found:?}");
        assert!(near(found[1].start, 8300) && near(found[1].end, 10_200), "{found:?}");
    }

    /// A person far from the microphone, then one beside it.
    #[test]
    fn a_quiet_voice_is_not_left_out() {
        let sound = |i: usize| {
            let second = i as f32 / 16_000.0;
            // Words of a third of a second, of different loudness.
            let word = [1.0, 0.3, 0.6, 0.1, 0.8][(second * 3.0) as usize % 5];
            let noise = (i as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
            // The quiet one is louder than the loud one's least only at a vowel's pitch.
            let vowel = (second * 300.0 * std::f32::consts::TAU).sin();
            if second < 20.0 { 0.004 * vowel * word } else { 0.5 * noise * word }
        };
        let samples: Vec<f32> = (0..50 * 16_000).map(sound).collect();
        let found = chunks(&voice_of(&samples));
        let kept: usize = found.iter().map(|chunk| chunk.len()).sum();
        assert!(found[0].start == 0 && kept == 5000, "{found:?}");
    }

    #[test]
    fn short_recordings_are_left_whole() {
        for frames in [1, 100, 2999, 3000] {
            assert!(cut(frames, &[]).into_iter().eq(std::iter::once(0..frames)), "{frames}");
        }
        assert!(cut(0, &[]).is_empty());
        assert_eq!(cut(3001, &[]).len(), 2);
    }

    #[test]
    fn without_a_pause_no_chunk_is_longer_than_a_window() {
        for silence in [0..0, 0..9500] {
            let found = cut(9500, &[silence]);
            assert!(found.iter().all(|s| s.len() <= 3000) && found.len() == 4, "{found:?}");
        }
    }

    /// What a detector says of speech of such lengths, a pause of such a length after each, in the same loud noise.
    fn detected(runs: &[(usize, usize)]) -> Voice {
        let speech: Vec<f32> =
            runs.iter().flat_map(|&(speech, pause)| [vec![1.0; speech], vec![0.0; pause]].concat()).collect();
        Voice::detected(&vec![0.5; speech.len()], -1.0, &speech, 0.35)
    }

    #[test]
    fn a_detector_tells_pauses_that_are_as_loud_as_speech() {
        // Two windows would hold it if it were cut in speech.
        let found = chunks(&detected(&[(1900, 100), (1900, 100), (1900, 50)]));
        assert_eq!(found, [0..1950, 1950..3950, 3950..5950]);
        // Long silence is left out but for its margins.
        let found = chunks(&detected(&[(2500, 900), (2500, 100)]));
        assert_eq!(found, [0..2550, 3350..6000]);
        // Where there is only speech, no chunk is too long.
        let found = chunks(&detected(&[(9500, 0)]));
        assert!(found.iter().all(|s| s.len() <= 3000) && found.len() == 4, "{found:?}");
    }

    #[test]
    fn a_faint_voice_has_a_chunk_of_its_own() {
        let runs = [(1000, 50), (400, 50), (1000, 50), (1000, 50)];
        let faint = |of: Range<usize>| detected(&runs).with_faint((0..3600).map(|frame| of.contains(&frame)).collect());
        assert_eq!(chunks(&detected(&runs)).len(), 2);
        let cut = |voice: &Voice| chunks(voice).iter().map(|chunk| chunk.end).collect::<Vec<_>>();
        // The second voice is faint, and so is the pause around it.
        let found = cut(&faint(1010..1500));
        assert!(found.len() == 3 && (1000..1050).contains(&found[0]) && (1450..1500).contains(&found[1]), "{found:?}");
        // What is shorter than a second is none.
        assert_eq!(cut(&faint(1010..1140)), cut(&detected(&runs)));
        // Where all is faint nothing changes.
        assert_eq!(cut(&faint(0..3600)), cut(&detected(&runs)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn speech_is_cut_only_where_a_window_is_too_short_for_it(
            runs in prop::collection::vec((1usize..2800, 60usize..700), 2..12),
        ) {
            let voice = detected(&runs);
            let found = chunks(&voice);
            for cut in found.iter().flat_map(|s| [s.start, s.end]).filter(|&at| at > 0 && at < voice.frames()) {
                prop_assert_eq!(voice.voiced(cut..cut + 1), 0, "{} of {:?}", cut, found);
            }
        }

        #[test]
        fn chunks_hold_all_that_is_not_silent(
            frames in 0usize..10_000,
            pauses in prop::collection::vec((0usize..10_000, 1usize..4000), 0..9),
        ) {
            let pauses: Vec<_> = pauses.into_iter().map(|(from, length)| from..from + length).collect();
            let voice = noise(frames, &pauses);
            let found = chunks(&voice);
            prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert!(found.iter().all(|s| s.len() <= WINDOW_FRAMES && s.end <= frames));
            prop_assert!(frames <= WINDOW_FRAMES || found.iter().all(|s| s.len() >= SHORTEST), "{:?}", found);
            let ends = std::iter::once(0).chain(found.iter().map(|s| s.end));
            let begins = found.iter().map(|s| s.start).chain(std::iter::once(frames));
            for (from, to) in ends.zip(begins) {
                prop_assert_eq!(voice.voiced(from..to), 0, "{}..{} of {:?}", from, to, found);
                prop_assert!(from == to || voice.silences(from..to).into_iter().eq(std::iter::once(from..to)), "{}..{}", from, to);
            }
        }
    }
}
