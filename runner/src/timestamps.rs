//! Whisper's timestamps: tokens behind the text's, one for each 20 ms of a window.

pub use undertone_models::vocabulary::TIMESTAMPS;

/// Seconds from one timestamp to the next.
pub const TIMESTAMP_STEP: f64 = 0.02;
/// Mel frames from one timestamp to the next, 10 ms each.
pub(crate) const FRAMES_PER_TIMESTAMP: usize = 2;
