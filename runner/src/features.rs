//! Log-mel features of audio of any length, made as it comes: what ten hours take in memory is what one hour takes.
//!
//! They are padded as openai/whisper's `transcribe` pads: 30 s of zeros follow the samples, and the maximum is that of
//! the whole audio. The samples of a second or two are held until their frames are made. The frames are kept as they
//! are before the maximum is known, in memory up to a limit and beyond that in a file without a name; windows are
//! normalised when they are asked for. In what pieces the audio comes changes no bit.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
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
pub struct Features {
    bins: usize,
    frames: usize,
    samples: u64,
    /// The frames after the audio's end that it still reaches into, `[bins, tail_frames]`, normalised: after them
    /// everything is silence.
    tail: Vec<f32>,
    tail_frames: usize,
    store: Store,
    maximum: f32,
    time: Duration,
}

/// Only themselves: they may lie in a file.
impl PartialEq for Features {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl<'a> Listener<'a> {
    /// For features by `mel`.
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
    pub fn finish(mut self) -> Features {
        let begun = Instant::now();
        let frames = (self.total / HOP as u64) as usize;
        self.frames(frames);
        // A frame reaches 200 samples back: the last that holds some of the audio is centred before its end + 200.
        let tail_frames = ((self.total + FRAME as u64 / 2).div_ceil(HOP as u64)) as usize - frames;
        let length = self.samples.len() + WINDOW_SAMPLES;
        let mut tail = self.mel.log_power(&self.samples, length, frames - self.held_from, tail_frames);
        let maximum = tail.iter().copied().fold(self.maximum, f32::max);
        tail.iter_mut().for_each(|value| *value = normalised(*value, maximum));
        if self.filled > 0 {
            self.store.push(std::mem::take(&mut self.block));
        }
        Features {
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

impl Features {
    /// All of `samples`.
    pub fn of(mel: &LogMel, samples: &[f32]) -> Self {
        let mut listener = Listener::new(mel);
        listener.push(samples);
        listener.finish()
    }

    /// Frames of 10 ms that belong to the audio: `samples / 160`.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Samples at 16 kHz.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// What making them took.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The value of every bin in silence.
    pub fn silence(&self) -> f32 {
        normalised(QUIETEST, self.maximum)
    }

    /// The encoder's input from frame `start` on, `[bins * 3000]`: 3000 frames, with 0.0 after the audio's own frames,
    /// as openai/whisper fills its windows.
    ///
    /// # Errors
    /// If the file that the features went to cannot be read.
    pub fn window(&self, start: usize) -> io::Result<Vec<f32>> {
        self.window_of(std::iter::once(start..start + WINDOW_FRAMES))
    }

    /// As [`Self::window`], of several parts of the audio one after another: frames of `parts`, in order.
    pub(crate) fn window_of(&self, parts: impl IntoIterator<Item = Range<usize>>) -> io::Result<Vec<f32>> {
        let (mut window, filled) = self.log_power(parts)?;
        normalise(&mut window, filled, self.maximum);
        Ok(window)
    }

    /// As [`Self::window_of`], relative to the loudest of these frames instead of the recording's: so a quiet person is
    /// not cut off at the floor because another was loud. After them comes silence if `silence`, else 0.0.
    pub(crate) fn window_by_itself(
        &self,
        parts: impl IntoIterator<Item = Range<usize>>,
        silence: bool,
    ) -> io::Result<Vec<f32>> {
        let (mut window, filled) = self.log_power(parts)?;
        let own = window.chunks_exact(WINDOW_FRAMES).flat_map(|line| &line[..filled]);
        let maximum = own.copied().fold(QUIETEST, f32::max);
        normalise(&mut window, filled, maximum);
        if silence {
            window.chunks_exact_mut(WINDOW_FRAMES).for_each(|line| line[filled..].fill(normalised(QUIETEST, maximum)));
        }
        Ok(window)
    }

    /// The frames of `parts` as they are stored, `[bins, 3000]`, and how many they are.
    fn log_power(&self, parts: impl IntoIterator<Item = Range<usize>>) -> io::Result<(Vec<f32>, usize)> {
        let mut window = vec![0.0; self.bins * WINDOW_FRAMES];
        let mut filled = 0;
        for part in parts {
            let end = self.frames.min(part.end).min(part.start + WINDOW_FRAMES - filled);
            let mut at = part.start;
            while at < end {
                let (index, first) = (at / BLOCK, at % BLOCK);
                let count = (BLOCK - first).min(end - at);
                self.store.read(index, |block| {
                    for (to, from) in window.chunks_exact_mut(WINDOW_FRAMES).zip(block.chunks_exact(BLOCK)) {
                        to[filled..filled + count].copy_from_slice(&from[first..first + count]);
                    }
                })?;
                (at, filled) = (at + count, filled + count);
            }
        }
        Ok((window, filled))
    }

    /// As [`Self::window`], but what follows the audio are the features of silence: what openai/whisper looks at to
    /// detect the language, and close to what the other way of padding gives.
    pub fn window_with_silence(&self, start: usize) -> io::Result<Vec<f32>> {
        let mut window = self.window(start)?;
        let own = self.frames.saturating_sub(start).min(WINDOW_FRAMES);
        // Frames of the tail that lie before `start` are skipped.
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

/// Brings the first `filled` frames of a window into Whisper's space.
fn normalise(window: &mut [f32], filled: usize, maximum: f32) {
    for line in window.chunks_exact_mut(WINDOW_FRAMES) {
        line[..filled].iter_mut().for_each(|value| *value = normalised(*value, maximum));
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
        let bytes: &[u8] = bytemuck::cast_slice(block);
        file.seek(SeekFrom::Start(self.written))?;
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(self.written - bytes.len() as u64)
    }

    /// Calls `take` with a block.
    fn read(&self, index: usize, take: impl FnOnce(&[f32])) -> io::Result<()> {
        match (&self.places[index], &self.file) {
            (Place::Memory(block), _) => take(block),
            (Place::File(at, count), Some(file)) => {
                let mut values = vec![0.0; *count];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*at))?;
                file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
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
        let loudness = |i: usize| if (i / 5000).is_multiple_of(3) { 0.5 } else { 0.01 };
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
        // All at once, with two windows of silence behind.
        let frames = samples.len() / HOP;
        let count = frames + 2 * WINDOW_FRAMES;
        let padded = mel.log_power(samples, samples.len() + 2 * WINDOW_SAMPLES, 0, count);
        let maximum = padded.iter().copied().fold(QUIETEST, f32::max);
        let expected: Vec<f32> = padded.iter().map(|&value| normalised(value, maximum)).collect();
        let lines = || expected.chunks_exact(count);
        assert_eq!((made.frames(), made.silence()), (frames, normalised(QUIETEST, maximum)));
        for start in [0, 1, 999, 1000, 2500, frames.saturating_sub(1), frames] {
            let (window, silent) = (made.window(start).unwrap(), made.window_with_silence(start).unwrap());
            let own = frames.saturating_sub(start).min(WINDOW_FRAMES);
            let windows = window.chunks_exact(WINDOW_FRAMES).zip(silent.chunks_exact(WINDOW_FRAMES));
            for (line, (window, silent)) in lines().zip(windows) {
                assert_eq!(silent, &line[start..start + WINDOW_FRAMES], "{start}");
                assert_eq!(window[..own], silent[..own], "{start}");
                assert!(window[own..].iter().all(|value| *value == 0.0), "{start}");
            }
        }
        // Parts by themselves are as loud as the loudest of their frames.
        let parts = [frames / 8..frames / 4, frames / 2..frames];
        let own: Vec<usize> = parts.iter().cloned().flatten().take(WINDOW_FRAMES).collect();
        let loudest = padded.chunks_exact(count).flat_map(|line| own.iter().map(|&frame| line[frame]));
        let loudest = loudest.fold(QUIETEST, f32::max);
        for silence in [false, true] {
            let window = made.window_by_itself(parts.clone(), silence).unwrap();
            let behind = if silence { normalised(QUIETEST, loudest) } else { 0.0 };
            for (line, window) in padded.chunks_exact(count).zip(window.chunks_exact(WINDOW_FRAMES)) {
                let expected = own.iter().map(|&frame| normalised(line[frame], loudest));
                assert!(
                    window.iter().copied().eq(expected.chain(std::iter::repeat_n(behind, WINDOW_FRAMES - own.len())))
                );
            }
        }
        for (frame, level) in made.levels().unwrap().into_iter().enumerate() {
            let sum = lines().fold(0.0, |sum, line| sum + line[frame]);
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

    #[test]
    fn what_is_quiet_beside_loud_sound_is_not_cut_off_by_itself() {
        // 86 dB between the two.
        let samples: Vec<f32> =
            noise(96_000).iter().enumerate().map(|(i, s)| if i < 48_000 { *s } else { s * 5e-5 }).collect();
        let made = Features::of(&LogMel::new(80), &samples);
        let quiet = || std::iter::once(305..600);
        let values = |window: Vec<f32>| {
            let own = window.chunks_exact(WINDOW_FRAMES).flat_map(|line| line[..295].to_vec());
            let mut values: Vec<u32> = own.map(f32::to_bits).collect();
            values.sort_unstable();
            values.dedup();
            values.len()
        };
        assert_eq!(values(made.window_of(quiet()).unwrap()), 1, "the floor");
        assert!(values(made.window_by_itself(quiet(), false).unwrap()) > 1000);
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
