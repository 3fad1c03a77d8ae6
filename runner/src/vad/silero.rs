//! Silero's voice activity detector: an ONNX model that gives every 512 samples at 16 kHz a probability of speech. It
//! always runs on ONNX Runtime's CPU provider, on one thread.
//!
//! Its exports differ in how they keep what they have heard so far:
//!
//! | export | input | state |
//! |---|---|---|
//! | Silero 6.2's `sequence`, faster-whisper's, and the one in this library | any number of pieces, each behind the 64 samples before it | `h`, `c` |
//! | Silero 5 and 6 | one piece behind the 64 samples before it | `state` |
//! | Silero 4 | one piece | `h`, `c`, with `sr` |

use super::segments::{PIECE, SpeechProbabilities};
use crate::engine::{Engine, EngineError, words};
use crate::mel::SAMPLE_RATE;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;
use std::path::{Path, PathBuf};

/// Silero VAD 6.2.3, by `assets/silero-vad/make.py`.
const EMBEDDED: &[u8] = include_bytes!("../../assets/silero-vad/silero_vad.onnx");
/// Samples before a piece that it is given with.
const CONTEXT: usize = 64;
/// Pieces that run at once where the model takes several: 8 s, which fit the nearer caches.
const BLOCK: usize = 256;

/// What is wrong with a detector.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
pub enum VadError {
    /// ONNX Runtime does not open it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A graph with other inputs or outputs than Silero's.
    #[error("'{0}' is no Silero VAD of version 4 to 6: {1}; take an ONNX file of the package silero-vad, or name none")]
    Interface(PathBuf, String),
    /// It failed while it ran.
    #[error("the voice activity detector failed: {0}")]
    Run(String),
}

/// How a model is fed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// Many pieces with context, `h` and `c`.
    Sequence,
    /// One piece with context, `state`; with or without `sr`.
    Stepwise { rate: bool },
    /// One piece without context, `h` and `c` and `sr`.
    Version4,
}

/// An opened detector.
#[derive(Debug)]
pub struct Silero {
    session: Session,
    layout: Layout,
}

/// What a detector has heard of a recording so far.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The last samples that were looked at, and those that fill no piece yet.
    samples: Vec<f32>,
    states: Vec<(&'static str, Vec<f32>)>,
    found: SpeechProbabilities,
}

impl Silero {
    /// Opens the detector of this library, or the one in `file`.
    ///
    /// # Errors
    /// [`VadError`]: it cannot be opened, or is none.
    pub fn open(engine: &Engine, file: Option<&Path>) -> Result<Self, VadError> {
        let session = match file {
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
                engine.open_on_cpu(path, &bytes).map_err(|error| refused(path, &error))?
            }
            None => engine.open_on_cpu(Path::new("silero_vad.onnx"), EMBEDDED)?,
        };
        let has = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        let layout = match (has("input"), has("state"), has("h") && has("c"), has("sr")) {
            (true, true, _, rate) => Layout::Stepwise { rate },
            (true, false, true, false) => Layout::Sequence,
            (true, false, true, true) => Layout::Version4,
            _ => {
                let names: Vec<&str> = session.inputs().iter().map(|input| input.name()).collect();
                let path = file.unwrap_or_else(|| Path::new("silero_vad.onnx")).to_owned();
                return Err(VadError::Interface(path, format!("its inputs are {}", names.join(", "))));
            }
        };
        Ok(Self { session, layout })
    }

    /// Probabilities of speech all along a recording of samples at 16 kHz.
    ///
    /// # Errors
    /// [`VadError::Run`].
    pub fn probabilities(&mut self, samples: &[f32]) -> Result<SpeechProbabilities, VadError> {
        let mut heard = self.begin();
        self.push(&mut heard, samples)?;
        self.finish(heard)
    }

    /// Begins a recording.
    pub(crate) fn begin(&self) -> Heard {
        let states = match self.layout {
            Layout::Sequence => vec![("h", vec![0.0; 128]), ("c", vec![0.0; 128])],
            Layout::Stepwise { .. } => vec![("state", vec![0.0; 256])],
            Layout::Version4 => vec![("h", vec![0.0; 128]), ("c", vec![0.0; 128])],
        };
        Heard { samples: vec![0.0; CONTEXT], states, found: SpeechProbabilities::default() }
    }

    /// Takes the next samples. In what pieces they come changes nothing.
    pub(crate) fn push(&mut self, heard: &mut Heard, samples: &[f32]) -> Result<(), VadError> {
        heard.found.samples += samples.len() as u64;
        heard.samples.extend_from_slice(samples);
        let whole = (heard.samples.len() - CONTEXT) / PIECE;
        // Always the same blocks, so that no sum depends on how the samples came.
        let ready = whole - whole % BLOCK;
        self.run(heard, ready)
    }

    /// Ends the recording. What is left is filled up with silence.
    pub(crate) fn finish(&mut self, mut heard: Heard) -> Result<SpeechProbabilities, VadError> {
        let whole = (heard.samples.len() - CONTEXT) / PIECE + 1;
        heard.samples.resize(CONTEXT + whole * PIECE, 0.0);
        self.run(&mut heard, whole)?;
        Ok(heard.found)
    }

    /// Runs the next `pieces` pieces and lets go of them.
    fn run(&mut self, heard: &mut Heard, pieces: usize) -> Result<(), VadError> {
        let at_once = if self.layout == Layout::Sequence { BLOCK } else { 1 };
        let mut done = 0;
        while done < pieces {
            let count = at_once.min(pieces - done);
            let (from, context) = match self.layout {
                Layout::Version4 => (CONTEXT, 0),
                _ => (0, CONTEXT),
            };
            let piece = |index: usize| {
                let from = (done + index) * PIECE + from;
                &heard.samples[from..from + context + PIECE]
            };
            let input: Vec<f32> = (0..count).flat_map(piece).copied().collect();
            let values = self.step(&mut heard.states, [count, context + PIECE], input)?;
            heard.found.values.extend_from_slice(&values);
            done += count;
        }
        heard.samples.drain(..pieces * PIECE);
        Ok(())
    }

    fn step(
        &mut self,
        states: &mut [(&'static str, Vec<f32>)],
        shape: [usize; 2],
        input: Vec<f32>,
    ) -> Result<Vec<f32>, VadError> {
        let failed = |error: ort::Error| VadError::Run(words(&error));
        let state_shape = match self.layout {
            Layout::Sequence => [1, 1, 128],
            Layout::Stepwise { .. } => [2, 1, 128],
            Layout::Version4 => [2, 1, 64],
        };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> =
            vec![("input", Tensor::from_array((shape, input)).map_err(failed)?.into())];
        for (name, state) in states.iter_mut() {
            let state = Tensor::from_array((state_shape, std::mem::take(state))).map_err(failed)?;
            inputs.push((name, state.into()));
        }
        if matches!(self.layout, Layout::Stepwise { rate: true } | Layout::Version4) {
            let rate = Tensor::from_array(([0usize; 0], vec![i64::from(SAMPLE_RATE)])).map_err(failed)?;
            inputs.push(("sr", rate.into()));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let missing = || VadError::Run("it gives other outputs than Silero's".to_owned());
        let value = |index: usize| -> Result<Vec<f32>, VadError> {
            if index >= outputs.len() {
                return Err(missing());
            }
            Ok(outputs[index].try_extract_tensor::<f32>().map_err(failed)?.1.to_vec())
        };
        // The probabilities come first, the states in the order in which they go in.
        for (index, (_, state)) in states.iter_mut().enumerate() {
            *state = value(index + 1)?;
            if state.len() != state_shape.iter().product::<usize>() {
                return Err(missing());
            }
        }
        let probabilities = value(0)?;
        if probabilities.len() == shape[0] { Ok(probabilities) } else { Err(missing()) }
    }
}

/// What ONNX Runtime says of a file that is none of its models is for programmers.
fn refused(path: &Path, error: &EngineError) -> VadError {
    let words = error.to_string();
    let what = if words.contains("protobuf") { "it is no ONNX model".to_owned() } else { words };
    VadError::Interface(path.to_owned(), what)
}

fn unreadable(path: &Path, error: &std::io::Error) -> VadError {
    VadError::Interface(path.to_owned(), format!("it cannot be read ({error})"))
}
