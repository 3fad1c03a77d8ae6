//! Audio to text: windows, prompts, segments, and the report of the run. The front of the crate.
//!
//! The loop over windows is openai/whisper's (`whisper/transcribe.py`): each window is decoded with the text before it as
//! prompt (if wanted), cut at its timestamps, and followed by the next where the last pair of timestamps says. Decoding
//! itself is `decode`'s; the models behind it are `decoder`'s.

use crate::audio::Audio;
use crate::decode::{Decoded, Decoding, MAX_NEW_TOKENS};
use crate::decoder::{LoadError, OrtModel};
use crate::engine::{Engine, EpCounts};
use crate::language::detect;
use crate::mel::{Features, LogMel, WINDOW_FRAMES};
use crate::model::{Model, ModelConfig};
use crate::options::{Device, EngineOptions, Task};
use crate::result::{RunReport, Transcription};
use crate::speech_model::{RunError, SpeechModel};
use crate::tokenizer::{SpecialTokens, Tokenizer, TokenizerError};
use crate::writer::Writer;
use std::time::Instant;

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
    /// Language code of the speech; `None` detects it from the first window.
    pub language: Option<String>,
    /// Write in the spoken language or in English.
    pub task: Task,
    /// Decode without timestamps: one segment for each window.
    pub without_timestamps: bool,
    /// Give the text written so far to the next window as prompt.
    pub condition_on_previous_text: bool,
    /// Text that comes before the first window's.
    pub initial_prompt: Option<String>,
    /// A window whose no-speech probability is above this is silence …; `None` never skips.
    pub no_speech_threshold: Option<f64>,
    /// … unless its mean log-probability is above this; `None` always skips.
    pub logprob_threshold: Option<f64>,
    /// What follows the audio in its last window.
    pub padding: Padding,
}

impl Default for TranscribeOptions {
    fn default() -> Self {
        Self {
            language: None,
            task: Task::Transcribe,
            without_timestamps: false,
            condition_on_previous_text: true,
            initial_prompt: None,
            no_speech_threshold: Some(0.6),
            logprob_threshold: Some(-1.0),
            padding: Padding::Zero,
        }
    }
}

/// How far a transcription has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds of audio that are done.
    pub done_seconds: f64,
    /// Seconds of audio in all.
    pub total_seconds: f64,
}

/// Why there is no transcription.
#[derive(Debug, thiserror::Error)]
pub enum TranscribeError {
    /// The model or its device.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model failed while it ran.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A language that the model does not know.
    #[error("the model knows no language '{language}'; it knows: {known}")]
    Language {
        /// What was asked for.
        language: String,
        /// What there is.
        known: String,
    },
    /// Something that an English-only model cannot do.
    #[error("the model is English-only and cannot {0}; use a multilingual model")]
    EnglishOnly(String),
}

impl From<crate::engine::EngineError> for TranscribeError {
    fn from(error: crate::engine::EngineError) -> Self {
        Self::Load(error.into())
    }
}

/// Makes the model that takes over when the asked device fails, and says how many nodes its sessions have.
type Spare = Box<dyn FnMut() -> Result<(Box<dyn SpeechModel>, usize), LoadError> + Send>;

/// A loaded model that turns audio into text.
///
/// ```no_run
/// use undertone_runner::{Audio, Device, EngineOptions, Model, TranscribeOptions, Transcriber, audio};
///
/// let model = Model::open("models/reference", None)?;
/// let mut options = EngineOptions::new(std::env::var("ORT_DYLIB_PATH")?);
/// options.device = Device::Cpu;
/// let mut transcriber = Transcriber::load(&model, &options)?;
/// let audio: Audio = audio::read_file("speech/short/000-en.flac".as_ref())?;
/// let result = transcriber.transcribe(&audio, &TranscribeOptions::default(), &mut |_| {})?;
/// println!("[{}]{}", result.language, result.text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Transcriber {
    tokenizer: Tokenizer,
    config: ModelConfig,
    mel: LogMel,
    model: Box<dyn SpeechModel>,
    cpu_nodes: Option<usize>,
    spare: Option<Spare>,
    /// The spare, once it was needed.
    taken_over: Option<(Box<dyn SpeechModel>, usize)>,
    engine: Option<Engine>,
    device: Device,
    precision: String,
    /// Why the CPU provider is used though another device was asked for, if that was so from the start.
    load_fallback: Option<String>,
}

impl Transcriber {
    /// Loads `model` on the device of `options`. With device `auto`, an execution provider that cannot be loaded or takes
    /// nothing is replaced by the CPU provider, and every result says so in `run.fallback`.
    ///
    /// # Errors
    /// [`TranscribeError`]: a library, a device, a graph or a tokenizer that is missing or does not fit.
    pub fn load(model: &Model, options: &EngineOptions) -> Result<Self, TranscribeError> {
        let tokenizer = Tokenizer::load(model.directory())?;
        let cpu = EngineOptions { device: Device::Cpu, report: None, ..options.clone() };
        let on = |options: &EngineOptions| -> Result<(Engine, OrtModel), LoadError> {
            let engine = Engine::new(options)?;
            let loaded = OrtModel::load(model, &engine)?;
            Ok((engine, loaded))
        };
        let (engine, loaded, load_fallback) = match on(options) {
            Ok((engine, loaded)) => (engine, loaded, None),
            Err(error) if options.device == Device::Auto => {
                tracing::debug!("going on with the CPU provider: {error}");
                let (engine, loaded) = on(&cpu)?;
                (engine, loaded, Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        let on_cpu = options.device == Device::Cpu || load_fallback.is_some();
        let precision = if on_cpu { model.variant().to_owned() } else { options.precision.to_string() };
        let spare: Option<Spare> = (options.device == Device::Auto && !on_cpu).then(|| {
            let model = model.clone();
            let load = move || {
                let loaded = OrtModel::load(&model, &Engine::new(&cpu)?)?;
                let nodes = loaded.cpu_nodes();
                Ok((Box::new(loaded) as Box<dyn SpeechModel>, nodes))
            };
            Box::new(load) as Spare
        });
        let cpu_nodes = Some(loaded.cpu_nodes());
        Ok(Self {
            cpu_nodes,
            spare,
            engine: Some(engine),
            device: options.device,
            precision,
            load_fallback,
            ..Self::with_model(Box::new(loaded), tokenizer, model.config().clone())
        })
    }

    /// A transcriber over any [`SpeechModel`], for example [`crate::decoder::WithoutCache`]. Its reports hold no device's counts.
    pub fn with_model(model: Box<dyn SpeechModel>, tokenizer: Tokenizer, config: ModelConfig) -> Self {
        Self {
            mel: LogMel::new(config.mel_bins),
            tokenizer,
            config,
            model,
            cpu_nodes: None,
            spare: None,
            taken_over: None,
            engine: None,
            device: Device::Cpu,
            precision: String::new(),
            load_fallback: None,
        }
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Transcribes `audio`; `progress` is called after every window.
    ///
    /// With device `auto`, a window on which the execution provider fails is run again on the CPU provider, and so are
    /// those after it; `run.fallback` says so.
    ///
    /// # Errors
    /// [`TranscribeError`]: a language that the model does not know, or the model's failure while it ran.
    pub fn transcribe(
        &mut self,
        audio: &Audio,
        options: &TranscribeOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Transcription, TranscribeError> {
        let begun = Instant::now();
        let before = self.counts();
        let asked = self.asked_language(options)?;
        let mut run = RunReport { fallback: self.load_fallback.clone(), ..RunReport::default() };
        let features = self.mel.openai(&audio.samples);
        run.mel_ms = milliseconds(begun);

        let mut writer = Writer::new(&self.tokenizer, &self.config, options, asked, audio.duration())?;
        let mut seek = 0;
        // The language of audio that is too short for a window is still asked for.
        if features.frames == 0 && writer.language.is_none() {
            let window = window(&features, 0, options.padding);
            let job = Job { window: &window, decoding: None };
            let (heard, _) = self.run(&job, &mut run)?;
            writer.language = heard;
        }
        while seek < features.frames {
            let frames = WINDOW_FRAMES.min(features.frames - seek);
            let window = window(&features, seek, options.padding);
            let job = Job { window: &window, decoding: Some(&writer) };
            let (language, decoded) = self.run(&job, &mut run)?;
            writer.language = language.or(writer.language);
            run.tokens += decoded.as_ref().map_or(0, |d| d.steps as u64);
            seek += match decoded {
                Some(decoded) => writer.write(&self.tokenizer, &decoded, seek, frames)?,
                None => frames,
            };
            let done_seconds = seek.min(features.frames) as f64 / 100.0;
            progress(Progress { done_seconds, total_seconds: audio.duration() });
        }

        let text = self.tokenizer.decode(writer.text_tokens())?;
        let counts = self.counts().since(&before);
        run.device = self.executed_by(&counts, run.fallback.is_some());
        run.precision = self.precision.clone();
        run.ort_version = self.engine.as_ref().map_or_else(String::new, |e| e.ort_version().to_owned());
        run.fused_nodes_executed = counts.fused_nodes_executed;
        run.kernel_calls = counts.kernel_calls;
        let spare_nodes = run.fallback.as_ref().and(self.taken_over.as_ref()).map_or(0, |(_, nodes)| *nodes);
        run.cpu_nodes = self.cpu_nodes.map(|nodes| (nodes + spare_nodes) as u64);
        run.realtime_factor = audio.duration() / begun.elapsed().as_secs_f64().max(1e-9);
        let language = writer.language.map_or_else(|| "en".to_owned(), |(code, _)| code);
        Ok(Transcription {
            task: options.task.to_string(),
            language,
            duration: audio.duration(),
            text,
            segments: writer.segments,
            run,
        })
    }

    fn counts(&self) -> EpCounts {
        self.engine.as_ref().map(Engine::counts).unwrap_or_default()
    }

    /// The device that did the work: for `auto` the one whose kernels were called, by the counts of the executing code.
    fn executed_by(&self, counts: &EpCounts, fell_back: bool) -> String {
        let provider = match self.device {
            Device::Auto if self.load_fallback.is_some() => return Device::Cpu.to_string(),
            Device::Auto => [Device::Npu, Device::Sim, Device::Host]
                .into_iter()
                .find(|d| counts.kernel_calls.contains_key(d.word()))
                .unwrap_or(Device::Auto),
            asked => asked,
        };
        if fell_back { format!("{provider}, then {}", Device::Cpu) } else { provider.to_string() }
    }

    /// The language token that was asked for; `None` where it is to be detected, or the model knows only English.
    fn asked_language(&self, options: &TranscribeOptions) -> Result<Option<(String, u32)>, TranscribeError> {
        let special = &self.tokenizer.special;
        let language = options.language.as_deref().map(str::to_lowercase);
        if !special.multilingual {
            if let Some(other) = language.filter(|l| l != "en") {
                return Err(TranscribeError::EnglishOnly(format!("hear '{other}'")));
            }
            if options.task == Task::Translate {
                return Err(TranscribeError::EnglishOnly("translate".to_owned()));
            }
            return Ok(None);
        }
        let Some(language) = language else { return Ok(None) };
        match special.language(&language) {
            Some(token) => Ok(Some((language, token))),
            None => {
                let known = special.languages.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
                Err(TranscribeError::Language { language, known })
            }
        }
    }

    /// Runs one window, on the CPU provider if the asked device fails and a spare is there.
    fn run(&mut self, job: &Job<'_>, run: &mut RunReport) -> Result<WindowResult, TranscribeError> {
        let special = &self.tokenizer.special;
        let fell_back_before = run.fallback.is_some() && self.load_fallback.is_none();
        if let (true, Some((spare, _))) = (fell_back_before, &mut self.taken_over) {
            return Ok(job.run(spare.as_mut(), special, run)?);
        }
        let error = match job.run(self.model.as_mut(), special, run) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let Some(load) = &mut self.spare else { return Err(error.into()) };
        tracing::debug!("the window is run again on the CPU provider: {error}");
        let (spare, _) = match &mut self.taken_over {
            Some(spare) => spare,
            none => none.insert(load()?),
        };
        run.fallback = Some(error.to_string());
        Ok(job.run(spare.as_mut(), special, run)?)
    }
}

/// The window's language, where it was to be detected, and what was decoded.
type WindowResult = (Option<(String, u32)>, Option<Decoded>);

/// One window's work, which can be done again by another model.
struct Job<'a> {
    window: &'a [f32],
    /// `None` only detects the language.
    decoding: Option<&'a Writer>,
}

impl Job<'_> {
    fn run(
        &self,
        model: &mut dyn SpeechModel,
        special: &SpecialTokens,
        run: &mut RunReport,
    ) -> Result<WindowResult, RunError> {
        let begun = Instant::now();
        let encoded = model.encode(&[self.window]);
        run.encoder_ms += milliseconds(begun);
        encoded?;
        let begun = Instant::now();
        let decoded = self.decode(model, special);
        run.decoder_ms += milliseconds(begun);
        decoded
    }

    fn decode(&self, model: &mut dyn SpeechModel, special: &SpecialTokens) -> Result<WindowResult, RunError> {
        let known = self.decoding.and_then(|w| w.language.clone());
        let mut started = None;
        let mut detected = None;
        if known.is_none() && special.multilingual {
            let start = model.start(&[&[special.sot]], 0)?;
            detected = start.first().and_then(|s| detect(&s.sot, &special.languages)).map(|d| (d.code, d.token));
            started = Some(start);
        }
        let Some(writer) = self.decoding else { return Ok((detected, None)) };
        let language = known.or_else(|| detected.clone());
        let (prompt, sot) = writer.prompt(special, language.map(|(_, token)| token));
        let decoding = Decoding {
            prompts: &[&prompt],
            sot,
            rules: &writer.rules,
            first_timestamp: writer.weighed_from(),
            eot: special.eot,
            no_speech: Some(special.nospeech),
            max_new_tokens: MAX_NEW_TOKENS.min(writer.positions / 2),
            positions: writer.positions,
        };
        let decoded = match started {
            // The detection's cache goes on: making the window's cross-attention keys again costs more than this step.
            Some(start) if sot == 0 => decoding.greedy_from(model, &start, 1)?,
            _ => decoding.greedy(model)?,
        };
        Ok((detected, decoded.into_iter().next()))
    }
}

fn window(features: &Features, seek: usize, padding: Padding) -> Vec<f32> {
    match padding {
        Padding::Zero => features.window(seek),
        Padding::Silence => features.window_with_silence(seek),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
#[path = "transcribe_tests.rs"]
mod tests;
