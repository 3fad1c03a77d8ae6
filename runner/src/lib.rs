//! Audio to text with exported Whisper models, through ONNX Runtime and (if wanted) Undertone's execution provider.
//!
//! ```
//! # // Compiled always, run where ONNX Runtime is named; the paths are the repository's.
//! # let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else { return Ok(()) };
//! # std::env::set_current_dir("..")?;
//! use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};
//!
//! // `library` is the path of ONNX Runtime's shared library. The device is `cpu` unless the options say otherwise.
//! let options = EngineOptions::new(library);
//! let model = Model::open("models/reference", None)?;
//! let mut transcriber = Transcriber::load(&model, &options)?;
//! let recording = audio::read_file("speech/short/000-en.flac".as_ref())?;
//! let result = transcriber.transcribe(&recording, &TranscribeOptions::default(), &mut ())?;
//! assert_eq!(result.text, " The green lion is above the red table.");
//! assert_eq!(result.language, "en");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A tour
//!
//! **A model** is found by [`Model::open`]: a folder of graphs, or a name. [`Transcriber::load`] loads it on the device of
//! [`EngineOptions`]; that takes longest and is done once.
//!
//! With another device than `cpu` the execution provider computes. The crate does not depend on its code: it loads its
//! library through ONNX Runtime, as any other program would. With device `auto`, an execution provider that cannot be
//! loaded or fails is replaced by ONNX Runtime's CPU provider, and `run.fallback` of the result says why: show it as a
//! warning. With every other device it is an error.
//!
//! **Audio** comes from a file ([`audio::read_file`]), from anything that reads ([`audio::read`],
//! [`audio::decode_bytes`]), or from samples of a program's own ([`Audio::from_interleaved`]; [`Audio::from_samples`] for
//! 16 kHz mono). Any common format is read, whatever the name says. Hours of audio take little memory through
//! [`audio::open`] and [`Transcriber::listen`], which keep what the model needs instead of samples.
//!
//! **Text** comes in three ways, on one state ([`Transcribing`]) that computes when it is asked to, window by window,
//! without a thread:
//!
//! | | |
//! |---|---|
//! | [`Transcriber::transcribe`], [`Transcriber::transcribe_all`] | when all is done; an [`Observer`] hears of what comes before |
//! | [`Transcriber::segments`] | an iterator of `Result<`[`Segment`]`>`, each computed when it is asked for |
//! | [`Transcriber::begin`] | the state itself, for who keeps it beside a shared transcriber |
//!
//! ```no_run
//! # use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};
//! # let mut transcriber = Transcriber::load(&Model::open("base", None)?, &EngineOptions::new("libonnxruntime.so"))?;
//! let recording = audio::read_file("talk.mp3".as_ref())?;
//! for segment in transcriber.segments(&recording, &TranscribeOptions::default())? {
//!     let segment = segment?;
//!     println!("[{:.2} to {:.2}]{}", segment.start, segment.end, segment.text);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Ending early**: drop the iterator, or call [`Cancel::cancel`] from another thread, or let an observer's
//! [`stop`](Observer::stop) answer. What was done until then is returned, and `run.stopped` says until where.
//!
//! **Threads**: a [`Transcriber`] is [`Send`] and computes one batch of windows at a time, with all cores. Programs with
//! several threads keep it in a `Mutex` and lock it for each [`Transcribing::next_segment`], so that a short recording
//! does not wait for a long one; recordings that are there together are faster in one [`Transcriber::transcribe_all`].
//!
//! **Formats**: [`Format`](crate::format::Format) writes results as text, subtitles, tables and JSON, whole or segment by
//! segment.
//!
//! Programs to start from, in `runner/examples`: `file`, `samples`, `reader`, `segments`, `cancel`, `several`.
//!
//! The parts stand alone, too: [`audio`], [`mel`] and [`features`] (sound to features), [`tokenizer`], [`engine`] (ONNX
//! Runtime and the execution provider), [`decoder`] (the exported graphs), [`decode`] with [`rules`], [`penalty`],
//! [`choice`] and [`ranking`] (the tokens of windows), [`mod@format`] (text and subtitles), [`normalise`] (word error rates).
//!
//! ```
//! use undertone_runner::{audio::SAMPLE_RATE, features::Features, mel::LogMel};
//!
//! let second: Vec<f32> = (0..SAMPLE_RATE).map(|i| (i as f32 * 0.1).sin()).collect();
//! let features = Features::of(&LogMel::new(80), &second);
//! assert_eq!(features.frames(), 100);
//! ```

pub mod any_graph;
pub mod audio;
pub mod choice;
pub mod decode;
pub mod decoder;
pub mod engine;
pub mod features;
pub mod format;
pub mod language;
pub mod mel;
pub mod model;
pub mod normalise;
pub mod npu;
pub mod options;
pub mod penalty;
pub mod prompt;
pub mod ranking;
pub mod rules;
pub mod speech_model;
pub mod tokenizer;
pub mod vad;

mod batch;
mod beam;
mod cancel;
mod chunk;
mod cut_off;
mod cuts;
mod detection;
mod engine_error;
mod ep_library;
mod fallback;
mod json;
mod kv_cache;
mod native;
mod observer;
mod packed;
mod recording;
mod result;
mod sampling;
mod scratch;
mod search;
mod seek;
mod segments;
mod settle;
mod text;
mod time;
mod timestamps;
mod transcribe;
mod transcribing;
mod voice;
mod words;
mod writer;

pub use audio::Audio;
pub use cancel::Cancel;
pub use engine::{Engine, EngineError, EpDevice, OpenGraph};
pub use model::{Layout, Model, ModelError};
pub use npu::NpuReport;
pub use observer::{Observer, Progress};
pub use options::{
    Claim, Clip, Commands, Device, EngineOptions, OptionError, Padding, Precision, SearchOptions, Simulation, Target,
    Task, TokenOptions, TranscribeOptions,
};
pub use prompt::{Prompt, PromptOptions};
pub use result::{RunReport, Segment, Transcription, Warning, Word};
pub use segments::Segments;
pub use transcribe::{TranscribeError, Transcriber};
pub use transcribing::Transcribing;
pub use vad::{VadModel, VadOptions, VoiceOptions};
pub use words::{Attended, WordOptions};
