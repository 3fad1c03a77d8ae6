//! Audio in: a file or a stream in any common format becomes 16 kHz mono samples.
//!
//! WAV, FLAC, MP3, OGG/Vorbis, M4A/AAC and ALAC through symphonia, any sampling rate and channel count; the channels are
//! averaged, the rate is changed by a band-limited filter without a shift in time. Damaged input is an error that says at which
//! second it broke: nothing is lost in silence. This is not a player: no volume, no channel choice, no partial reads.
//!
//! Times are those of the samples. One exception: the silence that an AAC encoder puts in front (1024 to 2112 samples of the
//! source, 20 to 130 ms) stays, because symphonia does not read what M4A says about it.

mod decode;
mod error;
mod ogg;
mod resample;
mod wav;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

pub use error::AudioError;
use symphonia::core::io::MediaSource;

/// Samples per second of everything after this module.
pub const SAMPLE_RATE: u32 = 16_000;
/// The most bytes that [`read`] takes from a stream before it refuses: it holds them in memory.
pub const MAX_STREAM_BYTES: u64 = 2 << 30;
/// The longest audio that is decoded, in seconds: a day, which is 5.5 GB of samples.
pub const MAX_SECONDS: u64 = 24 * 3600;
/// The lowest sampling rate that is read, in Hz.
pub const MIN_RATE: u32 = 2_000;
/// The highest sampling rate that is read, in Hz.
pub const MAX_RATE: u32 = 768_000;

/// Decoded audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Audio {
    /// Mono at [`SAMPLE_RATE`], finite, nominally in −1…1; at least one sample when it comes from this module's readers.
    pub samples: Vec<f32>,
    /// The source's sampling rate in Hz.
    pub source_rate: u32,
    /// The source's channels.
    pub channels: usize,
}

impl Audio {
    /// Audio that is already 16 kHz mono.
    #[must_use]
    pub fn from_samples(samples: Vec<f32>) -> Self {
        Self { samples, source_rate: SAMPLE_RATE, channels: 1 }
    }

    /// Length in seconds.
    #[must_use]
    pub fn duration(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SAMPLE_RATE)
    }
}

/// Reads an audio file.
///
/// The format is found from the content; the file's extension is only a hint.
///
/// # Errors
/// [`AudioError`], one line that names the file: nothing there, a directory, empty, not audio, cut short, damaged.
///
/// # Example
/// ```no_run
/// let audio = undertone_runner::audio::read_file("speech.flac".as_ref())?;
/// println!("{:.1} s", audio.duration());
/// # Ok::<(), undertone_runner::audio::AudioError>(())
/// ```
pub fn read_file(path: &Path) -> Result<Audio, AudioError> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => AudioError::NotFound(path.to_owned()),
        _ => AudioError::Read { name: name.clone(), source },
    })?;
    if metadata.is_dir() {
        return Err(AudioError::IsDirectory(path.to_owned()));
    }
    let file = File::open(path).map_err(|source| AudioError::Read { name: name.clone(), source })?;
    let hint = path.extension().and_then(|extension| extension.to_str());
    if !metadata.is_file() {
        // A pipe or a device: no length and no seeking.
        return read_named(file, &name, hint);
    }
    if metadata.len() == 0 {
        return Err(AudioError::Empty(name));
    }
    decode_source(file, &name, hint)
}

/// Reads audio from a stream, for example standard input, to its end.
///
/// `hint` is a file extension such as `mp3`, if one is known. Up to [`MAX_STREAM_BYTES`] are held in memory while decoding.
///
/// # Errors
/// [`AudioError`], with “standard input” as the name.
pub fn read(reader: impl Read, hint: Option<&str>) -> Result<Audio, AudioError> {
    read_named(reader, "standard input", hint)
}

/// Decodes a whole audio file that is in memory; `name` is what errors call it.
///
/// # Errors
/// As [`read_file`].
pub fn decode_bytes(bytes: Vec<u8>, name: &str, hint: Option<&str>) -> Result<Audio, AudioError> {
    if bytes.is_empty() {
        return Err(AudioError::Empty(name.to_owned()));
    }
    decode_source(Cursor::new(bytes), name, hint)
}

fn read_named(reader: impl Read, name: &str, hint: Option<&str>) -> Result<Audio, AudioError> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_STREAM_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| AudioError::Read { name: name.to_owned(), source })?;
    if bytes.len() as u64 > MAX_STREAM_BYTES {
        return Err(AudioError::TooLarge { name: name.to_owned(), limit: MAX_STREAM_BYTES });
    }
    decode_bytes(bytes, name, hint)
}

fn decode_source(mut source: impl MediaSource + 'static, name: &str, hint: Option<&str>) -> Result<Audio, AudioError> {
    let unreadable = |source| AudioError::Read { name: name.to_owned(), source };
    let cut = ogg::ends_within_page(&mut source).map_err(unreadable)?;
    let source = wav::with_real_length(source).map_err(unreadable)?;
    decode::decode(Box::new(source), name, hint, cut)
}
