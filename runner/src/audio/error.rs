//! Why a piece of audio could not be read: one line that names the file and the way out.

use std::path::PathBuf;

/// An error of [`super::read_file`], [`super::read`] or [`super::decode_bytes`].
///
/// `name` is the file's path as given, or what the caller called the stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// There is nothing at the path.
    #[error("{}: no such file; check the path", .0.display())]
    NotFound(PathBuf),
    /// The path is a directory.
    #[error("{}: is a directory; name the audio files in it instead", .0.display())]
    IsDirectory(PathBuf),
    /// The file cannot be opened or read.
    #[error("{name}: cannot be read ({source}); check that it is there and that you may read it")]
    Read {
        /// The file or stream.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not one byte.
    #[error("{0}: is empty; give a WAV, FLAC, MP3, OGG/Vorbis or M4A/AAC file")]
    Empty(String),
    /// A stream longer than [`super::MAX_STREAM_BYTES`].
    #[error("{name}: is larger than {limit} bytes, the most that is read from a stream; give the file's path instead")]
    TooLarge {
        /// The stream.
        name: String,
        /// [`super::MAX_STREAM_BYTES`].
        limit: u64,
    },
    /// Longer than [`super::MAX_SECONDS`].
    #[error(
        "{name}: is longer than {limit} hours; split it, for example with `ffmpeg -i IN -f segment -segment_time 3600 OUT%03d.wav`"
    )]
    TooLong {
        /// The file or stream.
        name: String,
        /// [`super::MAX_SECONDS`] in hours.
        limit: u64,
    },
    /// No known container: text, an image, noise.
    #[error(
        "{0}: is not audio that can be read; give a WAV, FLAC, MP3, OGG/Vorbis or M4A/AAC file, or convert it with `ffmpeg -i IN OUT.wav`"
    )]
    NotAudio(String),
    /// A known container with a codec or feature that cannot be decoded.
    #[error("{name}: uses {what}, which cannot be decoded; convert it with `ffmpeg -i IN OUT.wav`")]
    Unsupported {
        /// The file or stream.
        name: String,
        /// The codec or feature.
        what: String,
    },
    /// The stream ends before what its header promises.
    #[error("{name}: is cut short: the stream ends at {at:.2} s{}; get the whole file, or keep what is there with `ffmpeg -i IN OUT.wav`", promised(.expected))]
    Truncated {
        /// The file or stream.
        name: String,
        /// Seconds that could be decoded.
        at: f64,
        /// Seconds that the header promises, where it does.
        expected: Option<f64>,
    },
    /// The stream breaks in the middle.
    #[error("{name}: is damaged at {at:.2} s ({what}); get it again, or repair it with `ffmpeg -i IN OUT.wav`")]
    Damaged {
        /// The file or stream.
        name: String,
        /// Seconds that were decoded before the break.
        at: f64,
        /// What the decoder met.
        what: String,
    },
    /// A valid file with no samples in it.
    #[error("no audio in {0}: it holds 0 samples; check the recording")]
    NoAudio(String),
    /// A sampling rate outside [`super::MIN_RATE`] to [`super::MAX_RATE`].
    #[error(
        "{name}: has a sampling rate of {rate} Hz, and {} to {} Hz can be read; convert it with `ffmpeg -i IN -ar 16000 OUT.wav`",
        super::MIN_RATE,
        super::MAX_RATE
    )]
    Rate {
        /// The file or stream.
        name: String,
        /// The rate in its header.
        rate: u32,
    },
}

fn promised(expected: &Option<f64>) -> String {
    expected.map_or_else(String::new, |seconds| format!(" of {seconds:.2} s"))
}
