//! Audio in: a file or a stream in any common format becomes 16 kHz mono samples, block by block ([`open`],
//! [`open_reader`]) or as a whole ([`read_file`], [`read`]).
//!
//! Read here: WAV in all its forms, AIFF, AU, FLAC, MPEG audio, AAC, OGG, Matroska and WebM, MP4 and its kin, CAF;
//! PCM, ADPCM, FLAC, ALAC, MP1 to MP3, AAC, Vorbis, Opus. Everything else goes through the system's `ffmpeg`, if there
//! is one. Any rate and any number of channels; the channels are mixed to one, and the rate is changed by a
//! band-limited filter without a shift in time.
//!
//! A header's promise never outranks the data: what is there is read to its end, and stands at its true time; what is
//! missing is silence where its length is known, and an [`AudioWarning`] says from where to where. An error means that
//! nothing was left.
//!
//! One exception of true times: the silence that an AAC encoder puts in front (1024 to 2112 samples of the source, 20
//! to 130 ms) stays, because symphonia does not read what M4A says about it.

mod aac;
mod aiff;
mod boxed;
mod bytes;
mod codec;
mod crc;
mod demux;
mod ebml;
mod edits;
mod error;
mod ffmpeg;
mod flac;
mod frames;
mod header;
mod mix;
mod mkv;
mod mpeg;
mod ogg;
mod open;
mod opus;
mod pcm;
mod plain;
mod resample;
mod riff;
mod samples;
mod stream;
mod tags;
mod vorbis;
mod warning;

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use undertone_boundary::words;

use crate::features::{Features, Listener};
use crate::mel::LogMel;
pub use crate::mel::SAMPLE_RATE;
use crate::vad::detector::{Detector, ReadVoice};
use crate::vad::faint::HeardSpeech;
pub use error::AudioError;
use open::Input;
pub use stream::{AudioStream, Side};
pub use warning::{AudioDefect, AudioWarning};

/// The longest audio that is decoded, in seconds: four days.
pub const MAX_SECONDS: u64 = 4 * 24 * 3600;
/// The lowest sampling rate that is read, in Hz.
pub const MIN_RATE: u32 = 2_000;
/// The highest sampling rate that is read, in Hz.
pub const MAX_RATE: u32 = 768_000;

words!(
    /// What decodes.
    #[derive(Default)]
    DecoderChoice, "decoder", {
        /// The decoders of this crate, and for what they do not know the system's `ffmpeg`, if there is one.
        #[default]
        Auto = "auto",
        /// The decoders of this crate alone.
        Builtin = "builtin",
        /// `ffmpeg` for everything.
        Ffmpeg = "ffmpeg",
    }
);

/// How audio is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AudioOptions {
    /// What decodes.
    pub decoder: DecoderChoice,
    /// The audio track, counted from 1; `None` takes the default one, or if that is silent the first that is not.
    pub track: Option<usize>,
    /// Whether anything that is missing or damaged is an error.
    pub strict: bool,
}

/// Decoded audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Mono at [`SAMPLE_RATE`], finite, nominally in −1…1; at least one sample when it comes from this module's
    /// readers. None after [`AudioStream::listen`].
    pub samples: Vec<f32>,
    /// The source's sampling rate in Hz.
    pub source_rate: u32,
    /// The source's channels.
    pub channels: usize,
    /// What is missing, in order of time.
    pub warnings: Vec<AudioWarning>,
    /// What is left of samples that were only listened to.
    read: Option<Listened>,
}

/// What is left of samples that were only listened to.
#[derive(Debug, Clone, PartialEq)]
struct Listened {
    features: Arc<Features>,
    voice: Option<Arc<ReadVoice>>,
}

impl Audio {
    /// Audio that is already 16 kHz mono, taken as it is; [`Self::from_interleaved`] takes any other.
    pub fn from_samples(samples: Vec<f32>) -> Self {
        Self { samples, source_rate: SAMPLE_RATE, channels: 1, warnings: Vec::new(), read: None }
    }

    /// Length in seconds.
    pub fn duration(&self) -> f64 {
        let samples = self.read.as_ref().map_or(self.samples.len() as u64, |read| read.features.samples());
        samples as f64 / f64::from(SAMPLE_RATE)
    }

    /// The features by `mel`; made now unless the audio was listened to with the same.
    pub(crate) fn features(&self, mel: &LogMel) -> Arc<Features> {
        match &self.read {
            Some(read) => read.features.clone(),
            None => Arc::new(Features::of(mel, &self.samples)),
        }
    }

    /// How probable it is that somebody speaks, all along; made now unless that was done while it was read.
    ///
    /// # Errors
    /// Why nobody can tell.
    pub(crate) fn speech(&self, detector: &Detector) -> Result<HeardSpeech, String> {
        match self.read.as_ref().map(|read| read.voice.as_deref()) {
            None => detector.probabilities(&self.samples),
            Some(Some(ReadVoice::Short(samples))) => detector.probabilities(samples),
            Some(Some(ReadVoice::Long(found))) => found.clone(),
            Some(None) => Err("the recording was read without it".to_owned()),
        }
    }
}

impl From<Audio> for Cow<'_, Audio> {
    fn from(audio: Audio) -> Self {
        Cow::Owned(audio)
    }
}

impl<'a> From<&'a Audio> for Cow<'a, Audio> {
    fn from(audio: &'a Audio) -> Self {
        Cow::Borrowed(audio)
    }
}

impl AudioStream {
    /// The rest of the stream as a whole.
    pub fn read(mut self) -> Result<Audio, AudioError> {
        let mut samples = Vec::new();
        while let Some(block) = self.next_block()? {
            samples.extend_from_slice(block);
        }
        let warnings = self.warnings().to_vec();
        Ok(Audio { samples, source_rate: self.source_rate(), channels: self.channels(), warnings, read: None })
    }

    /// The rest of the stream as the features by `mel`, without its samples: ten hours take no more memory than one.
    /// For transcribing by a model whose `mel` this is ([`crate::Transcriber::listen`]).
    pub fn listen(self, mel: &LogMel) -> Result<Audio, AudioError> {
        self.listen_for(mel, &Detector::default())
    }

    /// [`Self::listen`], with an ear for when somebody speaks.
    pub(crate) fn listen_for(mut self, mel: &LogMel, detector: &Detector) -> Result<Audio, AudioError> {
        let mut listener = Listener::new(mel);
        let voice = std::thread::scope(|scope| {
            let mut voice = (!detector.is_loudness()).then(|| detector.listen(scope));
            while let Some(block) = self.next_block()? {
                if let Some(voice) = &mut voice {
                    voice.push(block);
                }
                listener.push(block);
            }
            Ok(voice.map(|voice| Arc::new(voice.finish())))
        })?;
        let read = Some(Listened { features: Arc::new(listener.finish()), voice });
        let (source_rate, channels, warnings) = (self.source_rate(), self.channels(), self.warnings().to_vec());
        Ok(Audio { samples: Vec::new(), source_rate, channels, warnings, read })
    }
}

/// Opens an audio or video file. The format is found from the content.
///
/// # Errors
/// [`AudioError`], one line that names the file: nothing there, a directory, empty, not audio, no sound, no decoder.
///
/// # Example
/// ```no_run
/// use undertone_runner::audio::{self, AudioOptions};
///
/// let mut stream = audio::open("film.mkv".as_ref(), &AudioOptions::default())?;
/// let mut samples = 0;
/// while let Some(block) = stream.next_block()? {
///     samples += block.len();
/// }
/// for warning in stream.warnings() {
///     eprintln!("{warning}");
/// }
/// # Ok::<(), audio::AudioError>(())
/// ```
pub fn open(path: &Path, options: &AudioOptions) -> Result<AudioStream, AudioError> {
    let name = path.display().to_string();
    let metadata = open::check(path)?;
    let file = File::open(path).map_err(|source| AudioError::Read { name: name.clone(), source })?;
    if !metadata.is_file() {
        // A pipe or a device: no length and no seeking.
        return open::open_reader(file, &name, options);
    }
    if metadata.len() == 0 {
        return Err(AudioError::Empty(name));
    }
    open::open(&Input::Path(path.to_owned()), &name, options)
}

/// Opens a stream, for example standard input; `name` is what messages call it. It is decoded as it comes, or, where
/// its container must be read with seeking, goes to a file without a name first.
pub fn open_reader(
    reader: impl Read + Send + 'static,
    name: &str,
    options: &AudioOptions,
) -> Result<AudioStream, AudioError> {
    open::open_reader(reader, name, options)
}

/// Reads an audio file as a whole.
///
/// # Example
/// ```no_run
/// let audio = undertone_runner::audio::read_file("speech.flac".as_ref())?;
/// println!("{:.1} s", audio.duration());
/// # Ok::<(), undertone_runner::audio::AudioError>(())
/// ```
pub fn read_file(path: &Path) -> Result<Audio, AudioError> {
    open(path, &AudioOptions::default())?.read()
}

/// Reads audio from a stream, for example standard input, to its end.
///
/// # Errors
/// [`AudioError`], with “standard input” as the name.
pub fn read(reader: impl Read + Send + 'static, options: &AudioOptions) -> Result<Audio, AudioError> {
    open_reader(reader, "standard input", options)?.read()
}

/// Decodes a whole audio file that is in memory; `name` is what errors call it.
pub fn decode_bytes(bytes: Vec<u8>, name: &str, options: &AudioOptions) -> Result<Audio, AudioError> {
    open_bytes(bytes, name, options)?.read()
}

/// Opens an audio file that is in memory; `name` is what errors call it.
///
/// # Errors
/// As [`open`](fn@open).
pub fn open_bytes(bytes: Vec<u8>, name: &str, options: &AudioOptions) -> Result<AudioStream, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Empty(name.to_owned()));
    }
    open::open(&Input::Memory(bytes.into()), name, options)
}
