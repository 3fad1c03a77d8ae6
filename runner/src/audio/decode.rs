//! Packets of one audio track to mono samples at 16 kHz, and the watch over what is missing.
//!
//! Lossless streams (FLAC, WAV, ALAC) must be whole: a gap, a bad checksum or a missing end is an error. In lossy streams a
//! packet that cannot be decoded becomes silence of its length, as in every player, and is reported through `tracing`: cut
//! MP3 recordings begin with such packets as a matter of course.

use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::{CodecParameters, audio::AudioCodecId};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::resample::Resampler;
use super::{Audio, AudioError, MAX_RATE, MAX_SECONDS, MIN_RATE, SAMPLE_RATE};

/// Source frames that a lossy stream's header may promise beyond what is there: delay and padding are counted differently by
/// different encoders.
const LOSSY_TOLERANCE: u64 = 4608;

/// Decodes all of `source`; `name` is what errors call it, `hint` a file extension. `cut` says that its end is known to be
/// missing: what can be decoded then only tells where.
pub(super) fn decode(
    source: Box<dyn MediaSource>,
    name: &str,
    hint: Option<&str>,
    cut: bool,
) -> Result<Audio, AudioError> {
    let stream = MediaSourceStream::new(source, Default::default());
    let mut wanted = Hint::new();
    if let Some(extension) = hint {
        wanted.with_extension(extension);
    }
    let mut reader = symphonia::default::get_probe()
        .probe(&wanted, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| at_opening(error, name, cut))?;
    let mut progress = Progress { name, ..Progress::default() };
    let mut track = Track::open(reader.as_ref(), name)?;
    loop {
        match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == track.id => progress.packet(&mut track, &packet)?,
            Ok(Some(_)) => {}
            Ok(None) => break,
            // Another stream begins in the same file, as in chained OGG.
            Err(Error::ResetRequired) => {
                progress.end_of_track(&track)?;
                track = Track::open(reader.as_ref(), name)?;
            }
            Err(error) => return Err(progress.broken(&track, error)),
        }
    }
    if cut {
        return Err(progress.truncated(&track));
    }
    progress.end_of_track(&track)?;
    progress.finish()
}

/// The audio track that is read, and its decoder.
struct Track {
    id: u32,
    decoder: Box<dyn AudioDecoder>,
    codec: AudioCodecId,
    lossless: bool,
    /// Frames that the header promises, where its word can be trusted.
    frames: Option<u64>,
    rate: Option<u32>,
}

impl Track {
    fn open(reader: &dyn FormatReader, name: &str) -> Result<Self, AudioError> {
        let unsupported = |what: &str| AudioError::Unsupported { name: name.to_owned(), what: what.to_owned() };
        let track = reader.default_track(TrackType::Audio).ok_or_else(|| unsupported("no known audio codec"))?;
        let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
            return Err(unsupported("an unknown audio codec"));
        };
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| match error {
                Error::Unsupported(what) => unsupported(what),
                error => unsupported(&error.to_string()),
            })?;
        let container = reader.format_info().short_name;
        let lossless = is_lossless(parameters);
        let trusted = match container {
            // Without an encoder's tag the count is only estimated from the file's length.
            "mp1" | "mp2" | "mp3" => track.delay.is_some(),
            "aac" => false,
            _ => true,
        };
        Ok(Self {
            id: track.id,
            decoder,
            codec: parameters.codec,
            lossless,
            frames: track.num_frames.filter(|_| trusted),
            rate: parameters.sample_rate,
        })
    }
}

/// Whether a packet that does not decode is a loss that must be reported, rather than a glitch.
fn is_lossless(parameters: &AudioCodecParameters) -> bool {
    use symphonia::core::codecs::audio::well_known as codec;
    !matches!(
        parameters.codec,
        codec::CODEC_ID_MP1
            | codec::CODEC_ID_MP2
            | codec::CODEC_ID_MP3
            | codec::CODEC_ID_AAC
            | codec::CODEC_ID_VORBIS
            | codec::CODEC_ID_OPUS
    )
}

/// What was decoded so far.
#[derive(Default)]
struct Progress<'a> {
    name: &'a str,
    out: Vec<f32>,
    resampler: Option<(u32, Resampler)>,
    /// Of the first decoded packet.
    source: Option<(u32, usize)>,
    /// Frames of this track that were decoded or replaced by silence, at the source rate.
    frames: u64,
    /// Packets that became silence, in the whole file.
    replaced: usize,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

impl Progress<'_> {
    fn packet(&mut self, track: &mut Track, packet: &Packet) -> Result<(), AudioError> {
        // The FLAC reader skips frames with a bad checksum without a word; their place in time tells.
        if track.codec == CODEC_ID_FLAC && track.rate.is_some() && packet.pts.get() > self.frames as i64 {
            return Err(self.damaged(track, "frames are missing"));
        }
        let (rate, channels) = match track.decoder.decode(packet) {
            Ok(decoded) => {
                decoded.copy_to_vec_interleaved(&mut self.interleaved);
                (decoded.spec().rate(), decoded.spec().channels().count())
            }
            Err(Error::DecodeError(_) | Error::IoError(_)) if !track.lossless => {
                self.replaced += 1;
                // The bit reservoir of a cut MP3 file and its like: no samples yet, so nothing to keep in step with.
                let Some((rate, channels)) = self.source else { return Ok(()) };
                let frames = usize::try_from(packet.dur.get()).unwrap_or(0).min(LOSSY_TOLERANCE as usize);
                self.interleaved.clear();
                self.interleaved.resize(frames * channels, 0.0);
                (rate, channels)
            }
            Err(error) => return Err(self.broken(track, error)),
        };
        if channels == 0 || self.interleaved.is_empty() {
            return Ok(());
        }
        self.mono.clear();
        let scale = 1.0 / channels as f32;
        self.mono.extend(self.interleaved.chunks_exact(channels).map(|frame| {
            let mean = frame.iter().sum::<f32>() * scale;
            // Floating-point files may hold anything.
            if mean.is_finite() { mean } else { 0.0 }
        }));
        self.source.get_or_insert((rate, channels));
        self.resample(rate)
    }

    /// Sends the mono samples on, through a new resampler if the rate changed.
    fn resample(&mut self, rate: u32) -> Result<(), AudioError> {
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err(AudioError::Rate { name: self.name.to_owned(), rate });
        }
        if self.resampler.as_ref().is_none_or(|(current, _)| *current != rate) {
            self.flush()?;
            let resampler = Resampler::new(rate).map_err(|what| resampling(self.name, what))?;
            self.resampler = Some((rate, resampler));
        }
        let Some((_, resampler)) = &mut self.resampler else { return Ok(()) };
        resampler.push(&self.mono, &mut self.out).map_err(|what| resampling(self.name, what))?;
        self.frames += self.mono.len() as u64;
        if self.out.len() as u64 > MAX_SECONDS * u64::from(SAMPLE_RATE) {
            return Err(AudioError::TooLong { name: self.name.to_owned(), limit: MAX_SECONDS / 3600 });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), AudioError> {
        match self.resampler.take() {
            Some((_, resampler)) => resampler.finish(&mut self.out).map_err(|what| resampling(self.name, what)),
            None => Ok(()),
        }
    }

    /// Compares what was decoded with what the header promised.
    fn end_of_track(&mut self, track: &Track) -> Result<(), AudioError> {
        let tolerance = if track.lossless { 0 } else { LOSSY_TOLERANCE };
        if track.frames.is_some_and(|promised| self.frames + tolerance < promised) {
            return Err(self.truncated(track));
        }
        self.frames = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Audio, AudioError> {
        self.flush()?;
        let Some((source_rate, channels)) = self.source else {
            return Err(AudioError::NoAudio(self.name.to_owned()));
        };
        if self.out.is_empty() {
            return Err(AudioError::NoAudio(self.name.to_owned()));
        }
        if self.replaced > 0 {
            tracing::warn!("{}: {} damaged packets were replaced by silence", self.name, self.replaced);
        }
        Ok(Audio { samples: self.out, source_rate, channels })
    }

    fn seconds(&self, track: &Track, frames: u64) -> f64 {
        let rate = self.source.map(|(rate, _)| rate).or(track.rate).unwrap_or(SAMPLE_RATE);
        frames as f64 / f64::from(rate.max(1))
    }

    fn truncated(&self, track: &Track) -> AudioError {
        AudioError::Truncated {
            name: self.name.to_owned(),
            at: self.seconds(track, self.frames),
            expected: track.frames.map(|frames| self.seconds(track, frames)),
        }
    }

    fn damaged(&self, track: &Track, what: &str) -> AudioError {
        AudioError::Damaged { name: self.name.to_owned(), at: self.seconds(track, self.frames), what: what.to_owned() }
    }

    /// What an error in the middle of the stream means.
    fn broken(&self, track: &Track, error: Error) -> AudioError {
        match error {
            Error::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => self.truncated(track),
            Error::IoError(source) => AudioError::Read { name: self.name.to_owned(), source },
            Error::DecodeError(what) | Error::Unsupported(what) | Error::LimitError(what) => self.damaged(track, what),
            error => self.damaged(track, &error.to_string()),
        }
    }
}

fn resampling(name: &str, what: String) -> AudioError {
    AudioError::Unsupported { name: name.to_owned(), what: format!("a rate that cannot be resampled ({what})") }
}

/// What an error before the first packet means.
fn at_opening(error: Error, name: &str, cut: bool) -> AudioError {
    match error {
        Error::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            AudioError::Read { name: name.to_owned(), source }
        }
        _ if cut => AudioError::Truncated { name: name.to_owned(), at: 0.0, expected: None },
        _ => AudioError::NotAudio(name.to_owned()),
    }
}
