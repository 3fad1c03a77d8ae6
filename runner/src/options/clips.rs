//! The parts of a recording that are transcribed.

use super::OptionError;

/// A part of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio; `None` is its end.
    pub end: Option<f64>,
}

/// Ends are often rounded up.
const TOLERANCE: f64 = 0.1;

fn wrong(what: String) -> OptionError {
    OptionError { name: "clip_timestamps", what }
}

/// Whether clips follow one another.
///
/// # Errors
/// [`OptionError`] that names the time.
pub(super) fn check(clips: &[Clip]) -> Result<(), OptionError> {
    let mut before = 0.0;
    for (index, &Clip { start, end }) in clips.iter().enumerate() {
        if start < 0.0 {
            return Err(wrong(format!("has {start} s: use times from 0 on")));
        }
        let rises = start >= before && start.is_finite();
        if !rises {
            return Err(wrong(format!("has {start} s after {before} s: use times that rise")));
        }
        match end {
            Some(end) if end > start && end.is_finite() => before = end,
            Some(end) => return Err(wrong(format!("has a clip from {start} s to {end} s: use times that rise"))),
            None if index + 1 < clips.len() => {
                return Err(wrong(format!("has a clip from {start} s without an end: use one for all but the last")));
            }
            None => {}
        }
    }
    Ok(())
}

/// Whether there is audio at the clips' times, in a recording of `duration` seconds.
///
/// # Errors
/// [`OptionError`] that names both.
pub(crate) fn check_within(clips: &[Clip], duration: f64) -> Result<(), OptionError> {
    let times = clips.iter().flat_map(|clip| [Some(clip.start), clip.end]).flatten();
    match times.fold(0.0, f64::max) {
        last if last > duration + TOLERANCE => {
            Err(wrong(format!("has {last} s, and the recording ends at {duration:.2} s: use times within it")))
        }
        _ => Ok(()),
    }
}
