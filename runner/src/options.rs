//! What a person chooses: what carries out the model ([`EngineOptions`]), and how recordings are transcribed
//! ([`TranscribeOptions`], with openai/whisper's defaults). What has no meaning is found by
//! [`TranscribeOptions::check`]; nothing else is looked up or checked here: `engine` and `transcribe` do that.

mod check;
mod clips;
mod search;
mod tokens;

use crate::vad::{VadModel, VoiceOptions};
use std::path::PathBuf;

use crate::prompt::PromptOptions;
use crate::words::WordOptions;
use undertone_boundary::options::DeviceChoice;
pub use undertone_boundary::options::{Claim, Commands, Precision, Simulation, Target};
use undertone_boundary::words;
pub use undertone_boundary::words::UnknownWord;

pub use check::OptionError;
pub use clips::Clip;
pub(crate) use clips::check_within;
pub use search::{MOST_SEQUENCES, SearchOptions};
pub use tokens::TokenOptions;

words!(
    /// What carries out the model: a device of the execution provider's, or none of it.
    Device, "device", {
        /// The best device that the execution provider finds; if it cannot be loaded or fails at run time, ONNX
        /// Runtime's CPU provider, and the report says so.
        Auto = DeviceChoice::Auto.word(),
        /// ONNX Runtime's own CPU provider without the execution provider: the reference.
        Cpu = "cpu",
        /// The execution provider's host device: the NPU kernels' arithmetic on the CPU.
        Host = DeviceChoice::Host.word(),
        /// The execution provider's simulator.
        Sim = DeviceChoice::Sim.word(),
        /// The NPU; an error where there is none.
        Npu = DeviceChoice::Npu.word(),
    }
);

words!(
    /// What to write.
    Task, "task", {
        /// The words in the language they were spoken in.
        Transcribe = "transcribe",
        /// The words in English.
        Translate = "translate",
    }
);

/// How to set up ONNX Runtime and the execution provider.
///
/// ```
/// use undertone_runner::{Device, EngineOptions, Precision};
///
/// let mut options = EngineOptions::new("/usr/lib/libonnxruntime.so");
/// options.device = Device::Host;
/// options.ep_library = Some("/usr/lib/libonnxruntime_ep_xdna.so".into());
/// options.precision = Precision::Bf16;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Path of ONNX Runtime's shared library (1.24 or newer). One library serves a process: the first one wins.
    pub ort_library: PathBuf,
    /// Path of the execution provider's shared library; needed for every device but `cpu`.
    pub ep_library: Option<PathBuf>,
    /// What carries out the model.
    pub device: Device,
    /// Which NPU; `None` is the one that is there, and on the simulator its default.
    pub target: Option<Target>,
    /// How the simulator computes.
    pub simulation: Simulation,
    /// The execution provider's arithmetic.
    pub precision: Precision,
    /// Which nodes the execution provider asks for.
    pub claim: Claim,
    /// Threads for one operator; `None` leaves the choice to ONNX Runtime (one per physical core).
    pub threads: Option<usize>,
    /// Whether idle threads of ONNX Runtime wait in a loop. On an idle machine that makes the CPU provider's decoder
    /// steps somewhat shorter and the execution provider's not; on a busy one it makes both clearly longer, so the
    /// default is not to.
    pub spinning: bool,
    /// Folder of NPU kernel bundles.
    pub bundle_dir: Option<PathBuf>,
    /// How commands are given to an NPU.
    pub npu_commands: Commands,
    /// Report of `undertone npu bring-up` whose measurements predict the NPU's times.
    pub core_costs: Option<PathBuf>,
    /// Where the execution provider writes its partition report (JSON). Graphs are then opened as they are, never
    /// packed.
    pub report: Option<PathBuf>,
    /// What tells speech from other sound.
    pub vad_model: VadModel,
    /// Folder for packed models: what the execution provider makes of a graph is kept there, and a later start takes it
    /// from there. Folders that cannot be written to are done without. `None` keeps nothing.
    pub packed: Option<PathBuf>,
}

impl EngineOptions {
    /// ONNX Runtime at `ort_library`, device `cpu`, and the defaults for the rest (int8, all nodes).
    pub fn new(ort_library: impl Into<PathBuf>) -> Self {
        Self {
            ort_library: ort_library.into(),
            ep_library: None,
            device: Device::Cpu,
            target: None,
            simulation: Simulation::Fast,
            precision: Precision::Int8,
            claim: Claim::All,
            threads: None,
            spinning: false,
            bundle_dir: None,
            npu_commands: Commands::default(),
            core_costs: None,
            report: None,
            vad_model: VadModel::Embedded,
            packed: None,
        }
    }
}

/// What follows the audio in its last window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// 0.0 in normalised space, as openai/whisper's `transcribe`.
    Zero,
    /// The features of silence, as openai/whisper's `detect_language` and (nearly) transformers' preprocessor.
    Silence,
}

/// What to do with the audio.
#[derive(Debug, Clone, PartialEq)]
pub struct TranscribeOptions {
    /// Language of the speech, as [`crate::language::parse`] understands it; `None` detects it.
    pub language: Option<String>,
    /// Detect the language of each window by itself.
    pub multilingual: bool,
    /// Windows of 30 s from which the language is detected, at most: until one is sure enough, else by the majority.
    pub language_detection_segments: usize,
    /// A language with a probability above this is sure enough.
    pub language_detection_threshold: f64,
    /// Write in the spoken language or in English.
    pub task: Task,
    /// Decode without timestamps: one segment for each window.
    pub without_timestamps: bool,
    /// What windows are told before they are decoded.
    pub prompt: PromptOptions,
    /// The parts of the recording that are transcribed, in order and apart; none is all of it.
    pub clips: Vec<Clip>,
    /// Temperatures at which a window is decoded, one after another until a text passes the thresholds below. At 0 the
    /// likeliest token comes, above it tokens are drawn by chance (the same each time). One alone never decodes again;
    /// with several, text that repeats itself at all of them is not kept, and `run.warnings` says so. None is the same
    /// as 0 alone.
    pub temperatures: Vec<f32>,
    /// Sequences that are drawn together at a temperature above 0, up to [`MOST_SEQUENCES`]; the likeliest of them is
    /// taken.
    pub best_of: usize,
    /// How tokens are searched for at temperature 0, and which sequence is taken.
    pub search: SearchOptions,
    /// Which tokens may be written, and how many.
    pub tokens: TokenOptions,
    /// Text that zlib makes smaller by more than this factor repeats itself and does not pass; `None` lets all pass.
    pub compression_ratio_threshold: Option<f64>,
    /// A window whose no-speech probability is above this is silence …; `None` never skips.
    pub no_speech_threshold: Option<f64>,
    /// … unless its mean log-probability is above this; `None` always skips. Text with a lower one does not pass.
    pub logprob_threshold: Option<f64>,
    /// What is left after a window is not decoded if it is shorter than so many seconds: models make words of it that
    /// nobody said. A whole recording that is shorter is decoded, and so is a whole clip: somebody has asked for it.
    pub shortest_rest: f64,
    /// Sound that does not change for four seconds or more is not decoded: silence, hum, hiss.
    pub skip_steady: bool,
    /// What follows the audio in its last window.
    pub padding: Padding,
    /// Most windows that are decoded together, at least 1. Changes no text; each takes memory for its cache.
    pub batch: usize,
    /// Cut recordings of more than a window at pauses, so that their windows can be decoded together: without the text
    /// before them, and so not always to the same text.
    pub cut_at_pauses: bool,
    /// Whether silence is left out, and what silence is.
    pub voice: VoiceOptions,
    /// Words with their times.
    pub words: WordOptions,
}

/// Windows that are decoded together unless something else is asked for. They share what a step reads of the weights;
/// beyond eight of them that is little beside each one's own attention (`undertone bench --batch N`).
pub const DEFAULT_BATCH: usize = 8;

impl TranscribeOptions {
    /// The defaults without any that openai/whisper's `transcribe` does not have at temperature 0 without thresholds:
    /// every window is decoded once, to its likeliest tokens, and kept.
    pub fn greedy() -> Self {
        Self {
            temperatures: vec![0.0],
            compression_ratio_threshold: None,
            no_speech_threshold: None,
            logprob_threshold: None,
            shortest_rest: 0.0,
            skip_steady: false,
            ..Self::default()
        }
    }
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            multilingual: false,
            language_detection_segments: 1,
            language_detection_threshold: 0.5,
            task: Task::Transcribe,
            without_timestamps: false,
            prompt: PromptOptions::default(),
            clips: Vec::new(),
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            best_of: 5,
            search: SearchOptions::default(),
            tokens: TokenOptions::default(),
            compression_ratio_threshold: Some(2.4),
            no_speech_threshold: Some(0.6),
            logprob_threshold: Some(-1.0),
            shortest_rest: 1.0,
            skip_steady: true,
            padding: Padding::Zero,
            batch: DEFAULT_BATCH,
            cut_at_pauses: false,
            voice: VoiceOptions::default(),
            words: WordOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_unknown_ones_name_the_choices() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for precision in Precision::ALL {
            assert_eq!(precision.word().parse(), Ok(precision));
        }
        let error = "gpu".parse::<Device>().unwrap_err();
        assert_eq!(error.to_string(), "unknown device 'gpu': use one of auto, cpu, host, sim, npu");
        assert!("Int8".parse::<Precision>().is_err());
        assert!("".parse::<Task>().is_err());
    }
}
