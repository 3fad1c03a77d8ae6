//! Sound as it comes out: decoded, put at its place in time, mixed to one channel, resampled, block by block; and what
//! is missing.
//!
//! What a container promises never outranks what is there: the stream goes on to the end of the data, silence stands
//! where sound is known to be missing, and the warnings say where.

use super::codec::{Decoder, Spec};
use super::demux::{Codec, Demuxer, Item, Packet, Track};
use super::mix::Mixer;
use super::resample::Resampler;
use super::warning::{AudioDefect, AudioWarning};
use super::{AudioError, MAX_RATE, MAX_SECONDS, MIN_RATE, SAMPLE_RATE};

/// Samples that a block has at least, but for the last.
const BLOCK: usize = SAMPLE_RATE as usize;
/// A gap of more seconds is a wrong number, and no gap.
pub(super) const LONGEST_GAP: u64 = 2 * 3600;
/// The part of a second by which the first sound may lie later than it seems: a twentieth.
pub(super) const ROUNDING: u64 = 20;
/// Frames of silence that are written at once.
const SILENCE: usize = 1 << 16;
/// Seconds between two losses that are told as one.
const APART: f64 = 0.1;

/// A side of a stereo recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first channel.
    Left,
    /// The second one.
    Right,
}

impl Side {
    /// The place of the other one's channel.
    fn other(self) -> usize {
        match self {
            Self::Left => 1,
            Self::Right => 0,
        }
    }
}

/// Audio on its way: 16 kHz mono in blocks, and after the last of them what was missing.
///
/// Made by [`super::open`] and [`super::open_reader`].
pub struct AudioStream {
    name: String,
    strict: bool,
    demuxer: Box<dyn Demuxer>,
    track: Track,
    decoder: Decoder,
    output: Output,
    /// Frames of this track that were placed, at its rate.
    position: u64,
    /// Seconds before this track, where files were joined.
    before: f64,
    source: Option<(u32, usize)>,
    warnings: Vec<AudioWarning>,
    /// Bytes that are no sound were met, and where they belong is not known yet.
    damage: Option<String>,
    /// The data end within something; the frames that were promised.
    cut: Option<Option<u64>>,
    /// Frames of the last packet.
    usual: u64,
    /// Why the first packets were not decoded.
    refused: Option<String>,
    interleaved: Vec<f32>,
    block: Vec<f32>,
    ended: bool,
}

/// From interleaved frames to one channel at one rate.
struct Output {
    /// Hz.
    rate: u32,
    side: Option<Side>,
    current: Option<(Spec, Mixer, Resampler)>,
    mono: Vec<f32>,
    ready: Vec<f32>,
    /// Samples that were given away.
    given: u64,
}

impl Default for Output {
    fn default() -> Self {
        Self { rate: SAMPLE_RATE, side: None, current: None, mono: Vec::new(), ready: Vec::new(), given: 0 }
    }
}

impl Output {
    fn push(&mut self, spec: &Spec, interleaved: &[f32]) -> Result<(), String> {
        if self.current.as_ref().is_none_or(|(current, ..)| current != spec) {
            self.flush()?;
            let mut weights = spec.weights.clone();
            if let (Some(side), 2..) = (self.side, weights.len()) {
                weights[side.other()] = 0.0;
            }
            let mixer = Mixer::new(&weights, spec.rate);
            self.current = Some((spec.clone(), mixer, Resampler::new(spec.rate, self.rate)?));
        }
        let Some((_, mixer, resampler)) = &mut self.current else { return Ok(()) };
        self.mono.clear();
        mixer.push(interleaved, &mut self.mono);
        resampler.push(&self.mono, &mut self.ready)
    }

    fn flush(&mut self) -> Result<(), String> {
        let Some((_, mixer, mut resampler)) = self.current.take() else { return Ok(()) };
        self.mono.clear();
        mixer.finish(&mut self.mono);
        resampler.push(&self.mono, &mut self.ready)?;
        resampler.finish(&mut self.ready)
    }
}

impl AudioStream {
    pub(super) fn new(name: &str, strict: bool, demuxer: Box<dyn Demuxer>, track: Track, decoder: Decoder) -> Self {
        let mut stream = Self {
            name: name.to_owned(),
            strict,
            demuxer,
            track,
            decoder,
            output: Output::default(),
            position: 0,
            before: 0.0,
            source: None,
            warnings: Vec::new(),
            damage: None,
            cut: None,
            usual: 0,
            refused: None,
            interleaved: Vec::new(),
            block: Vec::new(),
            ended: false,
        };
        stream.half_bandwidth();
        stream
    }

    /// The same stream at another rate than 16 kHz, from [`MIN_RATE`] to [`MAX_RATE`]. Before anything is read of it.
    ///
    /// # Errors
    /// [`AudioError::Rate`].
    pub fn at_rate(mut self, rate: u32) -> Result<Self, AudioError> {
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err(AudioError::Rate { name: self.name, rate });
        }
        self.output.rate = rate;
        Ok(self)
    }

    /// The same stream without the front channel of the other side: of two channels, one. Of a single channel, that.
    /// Before anything is read of it.
    pub fn of_side(mut self, side: Side) -> Self {
        self.output.side = Some(side);
        self
    }

    /// The next second of samples or more, fewer only at the end; `None` after it. Finite, nominally in −1…1.
    ///
    /// # Errors
    /// [`AudioError`]: nothing could be decoded, or (if that was asked for) anything is missing.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>, AudioError> {
        self.block.clear();
        while !self.ended && self.output.ready.len() < BLOCK {
            match self.demuxer.next() {
                Some(item) => self.item(item)?,
                None => self.end()?,
            }
            if let Some(warning) = self.warnings.first().filter(|_| self.strict) {
                return Err(AudioError::Strict { name: self.name.clone(), warning: warning.clone() });
            }
        }
        std::mem::swap(&mut self.block, &mut self.output.ready);
        self.output.given += self.block.len() as u64;
        if self.output.given > MAX_SECONDS * u64::from(self.output.rate) {
            return Err(AudioError::TooLong { name: self.name.clone(), limit: MAX_SECONDS / 3600 });
        }
        if self.block.is_empty() { Ok(None) } else { Ok(Some(&self.block)) }
    }

    /// What is missing so far, in order of time; complete after the last block.
    pub fn warnings(&self) -> &[AudioWarning] {
        &self.warnings
    }

    /// The source's sampling rate in Hz; 0 before anything was decoded.
    pub fn source_rate(&self) -> u32 {
        self.source.map_or(0, |(rate, _)| rate)
    }

    /// The source's channels; 0 before anything was decoded.
    pub fn channels(&self) -> usize {
        self.source.map_or(0, |(_, channels)| channels)
    }

    fn item(&mut self, item: Item) -> Result<(), AudioError> {
        match item {
            Item::Packet(packet) => return self.packet(&packet),
            Item::Damage(what) => self.damage = Some(what),
            Item::Cut(promised) => self.cut = Some(promised),
            Item::Complaint(what) => self.warn(None, None, AudioDefect::Decoder, what),
            Item::Track(track) => {
                self.end_of_track();
                self.before = self.seconds(self.position);
                self.position = 0;
                self.decoder = Decoder::new(&track.codec).map_err(|what| self.unsupported(&what))?;
                self.track = *track;
                self.half_bandwidth();
            }
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet) -> Result<(), AudioError> {
        self.place(packet)?;
        let frames = match self.decoder.decode(packet, &mut self.interleaved) {
            Ok(spec) if self.interleaved.is_empty() => {
                // The first packet of a codec whose packets overlap.
                self.source.get_or_insert((spec.rate, spec.weights.len()));
                return Ok(());
            }
            Ok(spec) => {
                if !(MIN_RATE..=MAX_RATE).contains(&spec.rate) {
                    return Err(AudioError::Rate { name: self.name.clone(), rate: spec.rate });
                }
                self.source.get_or_insert((spec.rate, spec.weights.len()));
                let channels = spec.weights.len();
                let frames = self.interleaved.len() / channels;
                self.usual = frames as u64;
                let start = usize::try_from(packet.trim_start).unwrap_or(usize::MAX).min(frames);
                let end = frames - usize::try_from(packet.trim_end).unwrap_or(usize::MAX).min(frames - start);
                self.output
                    .push(spec, &self.interleaved[start * channels..end * channels])
                    .map_err(|what| resampling(&self.name, what))?;
                (end - start) as u64
            }
            // What the first packets of a part refer to was cut off with the packets before them: nothing to keep in
            // step with.
            Err(what) if self.source.is_none() => {
                tracing::debug!("{}: the first packets are not decoded: {what}", self.name);
                self.refused = Some(what);
                return Ok(());
            }
            Err(what) => {
                let whole = if packet.frames > 0 { packet.frames } else { self.usual };
                let frames = whole.saturating_sub(packet.trim_start + packet.trim_end);
                let (from, to) = (self.seconds(self.position), self.seconds(self.position + frames));
                self.silence(frames)?;
                self.warn(Some(from), Some(to), AudioDefect::Missing, what);
                frames
            }
        };
        self.position += frames;
        Ok(())
    }

    /// Silence up to where the packet belongs, and what there is to say about it.
    fn place(&mut self, packet: &Packet) -> Result<(), AudioError> {
        let damage = self.damage.take();
        let gap = packet.at.map_or(0, |at| at.saturating_sub(self.position));
        let slack = match damage {
            Some(_) => 0,
            // Nothing has drifted yet: what stands before the first sound is true but for rounding.
            None if self.position == 0 => self.track.slack.min(u64::from(self.track.rate) / ROUNDING),
            None => self.track.slack,
        };
        let believed = gap > slack && gap <= LONGEST_GAP * u64::from(self.track.rate);
        let here = self.seconds(self.position);
        if believed {
            let to = self.seconds(self.position + gap);
            if self.silence(gap)? {
                self.position += gap;
            }
            self.decoder.reset();
            // Where times are the clock's, a gap without damage is a pause in the recording.
            if self.track.slack == 0 || damage.is_some() {
                self.warn(Some(here), Some(to), AudioDefect::Missing, damage.unwrap_or_default());
            } else {
                tracing::debug!("{}: nothing from {here:.2} s to {to:.2} s", self.name);
            }
        } else if let Some(what) = damage {
            self.warn(Some(here), None, AudioDefect::Damaged, what);
        }
        Ok(())
    }

    /// Writes silence; `false` if nothing says yet how it would look.
    fn silence(&mut self, frames: u64) -> Result<bool, AudioError> {
        let spec = self.decoder.spec().cloned().or_else(|| {
            let rate = self.track.rate;
            (MIN_RATE..=MAX_RATE).contains(&rate).then(|| Spec { rate, weights: vec![1.0] })
        });
        let Some(spec) = spec else { return Ok(false) };
        let mut left = frames;
        let zeros = vec![0.0; SILENCE.min(frames as usize) * spec.weights.len()];
        while left > 0 {
            let now = left.min(SILENCE as u64);
            self.output
                .push(&spec, &zeros[..now as usize * spec.weights.len()])
                .map_err(|what| resampling(&self.name, what))?;
            left -= now;
        }
        Ok(true)
    }

    /// Compares what was decoded with what was promised.
    fn end_of_track(&mut self) {
        let here = self.seconds(self.position);
        if let Some(what) = self.damage.take() {
            self.warn(Some(here), None, AudioDefect::Damaged, what);
        }
        let cut = self.cut.take();
        let promised = self.track.promised.or(cut.flatten());
        let short = promised.is_some_and(|promised| promised.saturating_sub(self.position) > self.track.tolerance);
        if cut.is_some() || short {
            let to = promised.filter(|promised| *promised > self.position).map(|promised| self.seconds(promised));
            let detail = to.map_or_else(String::new, |to| format!("its header promises {to:.2} s"));
            self.warn(Some(here), to, AudioDefect::EndsEarly, detail);
        }
    }

    fn end(&mut self) -> Result<(), AudioError> {
        self.ended = true;
        let trouble = self.demuxer.trouble();
        if let Some(source) = trouble {
            if self.source.is_none() {
                return Err(AudioError::Read { name: self.name.clone(), source });
            }
            let here = self.seconds(self.position);
            self.warn(Some(here), None, AudioDefect::Unreadable, source.to_string());
        }
        self.end_of_track();
        self.output.flush().map_err(|what| resampling(&self.name, what))?;
        if self.source.is_none() || self.output.given + self.output.ready.len() as u64 == 0 {
            let at = self.warnings.iter().find(|warning| warning.kind == AudioDefect::EndsEarly);
            return Err(match at {
                _ if self.refused.is_some() => {
                    let what = self.refused.take().unwrap_or_default();
                    AudioError::Broken { name: self.name.clone(), what }
                }
                Some(warning) => AudioError::Truncated { name: self.name.clone(), at: 0.0, expected: warning.to },
                None => AudioError::NoAudio(self.name.clone()),
            });
        }
        Ok(())
    }

    fn half_bandwidth(&mut self) {
        if matches!(self.track.codec, Codec::HighEfficiency(_)) {
            let detail = format!("HE-AAC, {} Hz are left", self.track.rate / 2);
            self.warn(None, None, AudioDefect::HalfBandwidth, detail);
        }
    }

    /// Adds a warning, or extends the last one if it is of the same kind and ends here.
    fn warn(&mut self, from: Option<f64>, to: Option<f64>, kind: AudioDefect, detail: String) {
        if let (Some(from), Some(last)) = (from, self.warnings.last_mut())
            && kind == AudioDefect::Missing
            && last.kind == kind
            && last.to.is_some_and(|end| from - end < APART)
        {
            last.to = to;
            if last.detail.is_empty() {
                last.detail = detail;
            }
            return;
        }
        self.warnings.push(AudioWarning { from, to, kind, detail });
    }

    fn seconds(&self, frames: u64) -> f64 {
        self.before + frames as f64 / f64::from(self.track.rate.max(1))
    }

    fn unsupported(&self, what: &str) -> AudioError {
        AudioError::Unsupported { name: self.name.clone(), what: what.to_owned() }
    }
}

fn resampling(name: &str, what: String) -> AudioError {
    AudioError::Unsupported { name: name.to_owned(), what: format!("a rate that cannot be resampled ({what})") }
}
