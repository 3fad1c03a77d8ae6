//! Why a piece of audio could not be read: one line that names the file and the way out.

use std::path::PathBuf;

use super::warning::AudioWarning;

/// An error of [`super::open`], [`super::read_file`] and their kin.
///
/// `name` is the file's path as given, or what the caller called the stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum AudioError {
    /// There is nothing at the path.
    #[error("{}: no such file; check the path", .0.display())]
    NotFound(PathBuf),
    /// The path is a directory.
    #[error("{}: is a directory; name the audio files in it instead", .0.display())]
    IsDirectory(PathBuf),
    /// The file cannot be opened or read.
    #[error("{name}: cannot be read ({source}); check that it is there and that you may read it")]
    Read { name: String, source: std::io::Error },
    /// Not one byte.
    #[error("{0}: is empty; give an audio or video file")]
    Empty(String),
    /// Longer than [`super::MAX_SECONDS`].
    #[error(
        "{name}: is longer than {limit} hours; split it, for example with `ffmpeg -i IN -f segment -segment_time 3600 \
         OUT%03d.wav`"
    )]
    TooLong {
        name: String,
        /// [`super::MAX_SECONDS`] in hours.
        limit: u64,
    },
    /// No known container: text, an image, noise.
    #[error(
        "{0}: is not audio that can be read; give a recording or a film, or convert it with `ffmpeg -i IN OUT.wav`"
    )]
    NotAudio(String),
    /// A known container whose beginning or index is missing or makes no sense.
    #[error("{name}: cannot be read ({what}); get it again, or give another file")]
    Broken { name: String, what: String },
    /// Pictures only.
    #[error("{name}: has pictures, but no sound in it; give a film with an audio track")]
    NoSound { name: String },
    /// Samples of a program's own that make no sound.
    #[error("the samples cannot be used: {what}; give whole frames, and the rate in Hz that they were taken at")]
    Samples { what: String },
    /// An audio track that is not there.
    #[error("{name}: has no audio track {asked}; it has {count}, counted from 1 (--audio-track)")]
    NoTrack { name: String, asked: usize, count: usize },
    /// A container or codec that is left to ffmpeg.
    #[error("{name}: is {what}, which is decoded by ffmpeg; {}", way_to_ffmpeg(*.ffmpeg))]
    NoDecoder {
        name: String,
        what: String,
        /// Whether there is an ffmpeg that was not allowed.
        ffmpeg: bool,
    },
    /// `ffmpeg` was asked for and cannot be run.
    #[error("{name}: is to be decoded by ffmpeg, and there is none; {}", way_to_ffmpeg(false))]
    NoFfmpeg { name: String },
    /// `ffmpeg` could not decode it either.
    #[error("{name}: ffmpeg cannot decode it ({what}); get it again, or give another file")]
    Ffmpeg { name: String, what: String },
    /// A feature that cannot be decoded.
    #[error("{name}: uses {what}, which cannot be decoded; convert it with `ffmpeg -i IN OUT.wav`")]
    Unsupported { name: String, what: String },
    /// Nothing is left of it: it was cut short before the first sound.
    #[error("{name}: is cut short before its first sound{}; get the whole file", promised(.expected))]
    Truncated {
        name: String,
        /// Seconds that could be decoded.
        at: f64,
        /// Seconds that the header promises, where it does.
        expected: Option<f64>,
    },
    /// Something is missing, and [`super::AudioOptions::strict`] makes that an error.
    #[error("{name}: {warning}; without --strict what is there is read")]
    Strict { name: String, warning: AudioWarning },
    /// A valid file with no samples in it.
    #[error("no audio in {0}: it holds 0 samples; check the recording")]
    NoAudio(String),
    /// A sampling rate outside [`super::MIN_RATE`] to [`super::MAX_RATE`].
    #[error(
        "{name}: has a sampling rate of {rate} Hz, and {} to {} Hz can be read; convert it with `ffmpeg -i IN -ar \
         16000 OUT.wav`",
        super::MIN_RATE,
        super::MAX_RATE
    )]
    Rate { name: String, rate: u32 },
}

fn promised(expected: &Option<f64>) -> String {
    expected.map_or_else(String::new, |seconds| format!(", of {seconds:.2} s that its header promises"))
}

fn way_to_ffmpeg(there: bool) -> &'static str {
    if there {
        "allow it with --decoder auto"
    } else if cfg!(target_os = "macos") {
        "install it (`brew install ffmpeg`), or convert the file elsewhere"
    } else if cfg!(windows) {
        "install it (`winget install ffmpeg`), or convert the file elsewhere"
    } else {
        "install the package ffmpeg (`sudo apt install ffmpeg`, `sudo dnf install ffmpeg`), or convert the file \
         elsewhere"
    }
}
