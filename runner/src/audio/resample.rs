//! From any sampling rate to another, piece by piece, without a shift in time.
//!
//! rubato limits the band (FFT, synchronous). Here is the bookkeeping around it: the resampler's delay
//! is dropped at the front and made up for at the end, so that `n` samples in give `round(n · to / from)` samples
//! out and a click at time t comes out at time t.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _};

/// About this many source frames go through one FFT: the longer, the steeper the filter at 8 kHz.
const FFT_FRAMES: usize = 4096;

/// A stream of mono samples on its way to another rate.
pub(super) struct Resampler {
    from: u32,
    to: u32,
    /// `None` where the source has that rate already.
    fft: Option<Fft<f32>>,
    /// Source samples that do not fill a piece yet.
    pending: Vec<f32>,
    /// What one piece gives.
    piece: Vec<f32>,
    /// Samples of the delay that are still to be dropped.
    delay: usize,
    taken: u64,
    /// Samples given since this resampler was made, without the delay.
    given: u64,
}

impl Resampler {
    /// A resampler between two rates in Hz. The caller has checked that both are between `MIN_RATE` and `MAX_RATE`.
    pub(super) fn new(from: u32, to: u32) -> Result<Self, String> {
        let fft = if from == to {
            None
        } else {
            let (from, to) = (from as usize, to as usize);
            let step = from / gcd(from, to);
            // An even number of steps: the filter's middle then falls on a sample on both sides, and nothing shifts.
            let steps = FFT_FRAMES.div_ceil(step).next_multiple_of(2);
            let fft = Fft::new(from, to, steps * step, 1, FixedSync::Both).map_err(|error| error.to_string())?;
            Some(fft)
        };
        let delay = fft.as_ref().map_or(0, |fft| fft.output_delay());
        let piece = vec![0.0; fft.as_ref().map_or(0, |fft| fft.output_frames_max())];
        Ok(Self { from, to, fft, pending: Vec::new(), piece, delay, taken: 0, given: 0 })
    }

    /// Takes source samples; what is ready goes to the end of `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), String> {
        self.taken += samples.len() as u64;
        let Some(fft) = &self.fft else {
            out.extend_from_slice(samples);
            return Ok(());
        };
        let length = fft.input_frames_next();
        self.pending.extend_from_slice(samples);
        let mut done = 0;
        while self.pending.len() - done >= length {
            self.process(done, length, u64::MAX, out)?;
            done += length;
        }
        self.pending.drain(..done);
        Ok(())
    }

    /// Ends the stream: the rest goes to the end of `out`, filled up with silence where the filter needs it.
    pub(super) fn finish(mut self, out: &mut Vec<f32>) -> Result<(), String> {
        let Some(fft) = &self.fft else { return Ok(()) };
        let length = fft.input_frames_next();
        // Rounded to the nearest; no overflow below 2^64 / 768000 samples, which is a year at that rate.
        let total = (self.taken * u64::from(self.to) + u64::from(self.from) / 2) / u64::from(self.from);
        // A single sample of a high rate is less than half a sample here, and still audio.
        let total = total.max(u64::from(self.taken > 0));
        while self.given < total {
            self.pending.resize(self.pending.len().max(length), 0.0);
            self.process(0, length, total, out)?;
            self.pending.clear();
        }
        // The last whole piece may have given a sample more than the rounded length.
        let excess = usize::try_from(self.given - total).unwrap_or(0);
        out.truncate(out.len() - excess);
        Ok(())
    }

    /// Sends `pending[start..start + length]` through the FFT and keeps what lies after the delay and before `total`.
    fn process(&mut self, start: usize, length: usize, total: u64, out: &mut Vec<f32>) -> Result<(), String> {
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let frames = self.piece.len();
        let input = SequentialSlice::new(&self.pending[start..start + length], 1, length).map_err(|e| e.to_string())?;
        let mut output = SequentialSlice::new_mut(&mut self.piece, 1, frames).map_err(|e| e.to_string())?;
        let (_, written) = fft.process_into_buffer(&input, &mut output, None).map_err(|e| e.to_string())?;
        let dropped = self.delay.min(written);
        self.delay -= dropped;
        let room = usize::try_from(total.saturating_sub(self.given)).unwrap_or(usize::MAX);
        let kept = &self.piece[dropped..written];
        let kept = &kept[..kept.len().min(room)];
        out.extend_from_slice(kept);
        self.given += kept.len() as u64;
        Ok(())
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
