//! Whisper's timestamps: tokens behind the text's, one for each 20 ms of a window.

/// Timestamps from 0.00 to 30.00 s.
pub const TIMESTAMPS: u32 = 1501;
/// Seconds from one timestamp to the next.
pub const TIMESTAMP_STEP: f64 = 0.02;
/// Mel frames from one timestamp to the next, 10 ms each.
pub(crate) const FRAMES_PER_TIMESTAMP: usize = 2;
