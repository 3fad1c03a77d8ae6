//! Log-mel features of audio of any length, made as it comes: what ten hours take in memory is what one hour takes.
//!
//! The samples of a second or two are held until their frames are made. The frames are kept as they are before the
//! maximum of the whole audio is known, in memory up to a limit and beyond that in a file without a name; windows are
//! normalised when they are asked for. Every value is that of [`LogMel::openai`], to the last bit.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mel::{FRAME, HOP, LogMel, QUIETEST, WINDOW_FRAMES, WINDOW_SAMPLES, normalised};

/// Frames of a block, which are stored together.
const BLOCK: usize = 1000;
/// Bytes of frames that stay in memory: half an hour of 80 bins.
const IN_MEMORY: usize = 64 << 20;
/// Samples that are held before their frames are made.
const HELD: usize = 16_000;
/// Frames before the next one whose samples are held: the next one reaches 200 samples back.
const CONTEXT: usize = 2;

/// Turns samples into features as they come.
pub struct Listener<'a> {
    mel: &'a LogMel,
    /// From the frame [`Self::held_from`] on.
    samples: Vec<f32>,
    held_from: usize,
    total: u64,
    /// `[bins, BLOCK]`; the first `filled` frames are there.
    block: Vec<f32>,
    filled: usize,
    store: Store,
    maximum: f32,
    time: Duration,
}

/// Features of a whole recording, in Whisper's normalised space.
#[derive(Debug)]
pub struct LongFeatures {
    bins: usize,
    frames: usize,
    samples: u64,
    /// Normalised.
    tail: Vec<f32>,
    tail_frames: usize,
    store: Store,
    maximum: f32,
    time: Duration,
}

/// Only themselves: they may lie in a file.
impl PartialEq for LongFeatures {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl<'a> Listener<'a> {
    /// For features by `mel`.
    #[must_use]
    pub fn new(mel: &'a LogMel) -> Self {
        Self {
            mel,
            samples: Vec::new(),
            held_from: 0,
            total: 0,
            block: vec![0.0; mel.bins() * BLOCK],
            filled: 0,
            store: Store::new(IN_MEMORY),
            maximum: QUIETEST,
            time: Duration::ZERO,
        }
    }

    /// Takes samples at 16 kHz.
    pub fn push(&mut self, samples: &[f32]) {
        let begun = Instant::now();
        for piece in samples.chunks(HELD) {
            self.samples.extend_from_slice(piece);
            self.total += piece.len() as u64;
            // Frames that reach to no sample that is still to come.
            let ready = self.samples.len().checked_sub(FRAME / 2).map_or(0, |last| last / HOP + 1);
            self.frames(self.held_from + ready);
        }
        self.time += begun.elapsed();
    }

    /// Ends the audio.
    #[must_use]
    pub fn finish(mut self) -> LongFeatures {
        let begun = Instant::now();
        let frames = (self.total / HOP as u64) as usize;
        self.frames(frames);
        let tail_frames = ((self.total + FRAME as u64 / 2).div_ceil(HOP as u64)) as usize - frames;
        let length = self.samples.len() + WINDOW_SAMPLES;
        let mut tail = self.mel.log_power(&self.samples, length, frames - self.held_from, tail_frames);
        let maximum = tail.iter().copied().fold(self.maximum, f32::max);
        tail.iter_mut().for_each(|value| *value = normalised(*value, maximum));
        if self.filled > 0 {
            self.store.push(std::mem::take(&mut self.block));
        }
        LongFeatures {
            bins: self.mel.bins(),
            frames,
            samples: self.total,
            tail,
            tail_frames,
            store: self.store,
            maximum,
            time: self.time + begun.elapsed(),
        }
    }

    /// Makes the frames before `end` that are not made yet.
    fn frames(&mut self, end: usize) {
        loop {
            let next = self.store.blocks() * BLOCK + self.filled;
            let count = end.saturating_sub(next).min(BLOCK - self.filled);
            if count == 0 {
                break;
            }
            let length = self.samples.len() + WINDOW_SAMPLES;
            let made = self.mel.log_power(&self.samples, length, next - self.held_from, count);
            self.maximum = made.iter().copied().fold(self.maximum, f32::max);
            for (line, made) in self.block.chunks_exact_mut(BLOCK).zip(made.chunks_exact(count)) {
                line[self.filled..self.filled + count].copy_from_slice(made);
            }
            self.filled += count;
            if self.filled == BLOCK {
                let empty = vec![0.0; self.block.len()];
                self.store.push(std::mem::replace(&mut self.block, empty));
                self.filled = 0;
            }
            let from = (next + count).saturating_sub(CONTEXT);
            self.samples.drain(..((from.saturating_sub(self.held_from)) * HOP).min(self.samples.len()));
            self.held_from = self.held_from.max(from);
        }
    }
}

impl LongFeatures {
    /// All of `samples`.
    #[must_use]
    pub fn of(mel: &LogMel, samples: &[f32]) -> Self {
        let mut listener = Listener::new(mel);
        listener.push(samples);
        listener.finish()
    }

    /// Frames of 10 ms that belong to the audio.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Samples at 16 kHz.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// What making them took.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The value of every bin in silence.
    #[must_use]
    pub fn silence(&self) -> f32 {
        normalised(QUIETEST, self.maximum)
    }

    /// The encoder's input from frame `start` on, `[bins * 3000]`, with 0.0 after the audio's own frames:
    /// [`crate::mel::Features::window`].
    ///
    /// # Errors
    /// If the file that the features went to cannot be read.
    pub fn window(&self, start: usize) -> io::Result<Vec<f32>> {
        let mut window = vec![0.0; self.bins * WINDOW_FRAMES];
        let end = self.frames.min(start + WINDOW_FRAMES);
        let mut at = start;
        while at < end {
            let (index, first) = (at / BLOCK, at % BLOCK);
            let count = (BLOCK - first).min(end - at);
            self.store.read(index, |block| {
                for (to, from) in window.chunks_exact_mut(WINDOW_FRAMES).zip(block.chunks_exact(BLOCK)) {
                    for (to, from) in to[at - start..].iter_mut().zip(&from[first..first + count]) {
                        *to = normalised(*from, self.maximum);
                    }
                }
            })?;
            at += count;
        }
        Ok(window)
    }

    /// As [`Self::window`], but the features of silence follow the audio:
    /// [`crate::mel::Features::window_with_silence`].
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn window_with_silence(&self, start: usize) -> io::Result<Vec<f32>> {
        let mut window = self.window(start)?;
        let own = self.frames.saturating_sub(start).min(WINDOW_FRAMES);
        let skipped = start.saturating_sub(self.frames).min(self.tail_frames);
        for (bin, line) in window.chunks_exact_mut(WINDOW_FRAMES).enumerate() {
            let tail = &self.tail[bin * self.tail_frames..(bin + 1) * self.tail_frames];
            line[own..].fill(self.silence());
            for (to, from) in line[own..].iter_mut().zip(&tail[skipped..]) {
                *to = *from;
            }
        }
        Ok(window)
    }

    /// Each frame's mean over the bins.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn levels(&self) -> io::Result<Vec<f32>> {
        let mut levels = vec![0.0; self.frames];
        for (index, levels) in levels.chunks_mut(BLOCK).enumerate() {
            self.store.read(index, |block| {
                for line in block.chunks_exact(BLOCK) {
                    for (level, value) in levels.iter_mut().zip(line) {
                        *level += normalised(*value, self.maximum);
                    }
                }
            })?;
        }
        let share = 1.0 / self.bins.max(1) as f32;
        levels.iter_mut().for_each(|level| *level *= share);
        Ok(levels)
    }
}

/// Blocks of one length, in memory and beyond that in a file.
#[derive(Debug)]
struct Store {
    places: Vec<Place>,
    /// Bytes that may still stay in memory.
    room: usize,
    file: Option<Mutex<File>>,
    written: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    /// From this byte on, so many values.
    File(u64, usize),
}

impl Store {
    fn new(room: usize) -> Self {
        Self { places: Vec::new(), room, file: None, written: 0 }
    }

    fn blocks(&self) -> usize {
        self.places.len()
    }

    fn push(&mut self, block: Vec<f32>) {
        let bytes = size_of_val(&block[..]);
        let place = match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                Place::Memory(block)
            }
            None => match self.write(&block) {
                Ok(at) => Place::File(at, block.len()),
                Err(error) => {
                    tracing::warn!("features go to memory, since no file can be written ({error}); set TMPDIR");
                    // Said once.
                    self.room = usize::MAX;
                    Place::Memory(block)
                }
            },
        };
        self.places.push(place);
    }

    fn write(&mut self, block: &[f32]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Mutex::new(crate::scratch::file()?)),
        };
        let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_ne_bytes()).collect();
        file.seek(SeekFrom::Start(self.written))?;
        file.write_all(&bytes)?;
        self.written += bytes.len() as u64;
        Ok(self.written - bytes.len() as u64)
    }

    /// Calls `take` with a block.
    fn read(&self, index: usize, take: impl FnOnce(&[f32])) -> io::Result<()> {
        match (&self.places[index], &self.file) {
            (Place::Memory(block), _) => take(block),
            (Place::File(at, count), Some(file)) => {
                let mut bytes = vec![0; count * size_of::<f32>()];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*at))?;
                file.read_exact(&mut bytes)?;
                let values: Vec<f32> = bytes
                    .chunks_exact(4)
                    .map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
                    .collect();
                take(&values);
            }
            (Place::File(..), None) => return Err(io::Error::other("features in a file that is not there")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(count: usize) -> Vec<f32> {
        let mut noise = fastrand::Rng::with_seed(1);
        let loudness = |i: usize| if i / 5000 % 3 == 0 { 0.5 } else { 0.01 };
        (0..count).map(|i| loudness(i) * (noise.f32() - 0.5)).collect()
    }

    fn same(samples: &[f32], pieces: &[usize], room: usize) {
        let mel = LogMel::new(80);
        let mut listener = Listener::new(&mel);
        listener.store.room = room;
        let mut rest = samples;
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            listener.push(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let made = listener.finish();
        let expected = mel.openai(samples);
        assert_eq!((made.frames(), made.silence()), (expected.frames, expected.silence()));
        for start in [0, 1, 999, 1000, 2500, made.frames().saturating_sub(1), made.frames()] {
            assert_eq!(made.window(start).unwrap(), expected.window(start), "{start}");
            assert_eq!(made.window_with_silence(start).unwrap(), expected.window_with_silence(start), "{start}");
        }
        for (frame, level) in made.levels().unwrap().into_iter().enumerate() {
            let sum = expected.data.chunks_exact(expected.frames).fold(0.0, |sum, line| sum + line[frame]);
            assert_eq!(level, sum * (1.0 / 80.0), "{frame}");
        }
    }

    #[test]
    fn long_audio_in_memory_and_in_a_file_gives_the_same() {
        let samples = noise(16_000 * 67 + 123);
        for room in [usize::MAX, 1_000_000, 0] {
            same(&samples, &[16_000], room);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn any_audio_in_any_pieces_gives_the_features_of_the_whole(
            count in prop_oneof![0usize..1000, 0usize..60_000],
            pieces in prop::collection::vec(1usize..20_000, 1..5),
        ) {
            same(&noise(count), &pieces, 400_000);
        }
    }
}
