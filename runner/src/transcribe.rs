//! Audio to text: windows, prompts, segments, and the report of the run. The front of the crate.
//!
//! The loop over windows is openai/whisper's (`whisper/transcribe.py`): each window is decoded with the text before it
//! as prompt (if wanted), cut at its timestamps, and followed by the next where the last pair of timestamps says. Every
//! recording, or every chunk of a recording that is cut at pauses, keeps its own loop; the windows that these have next
//! run together where their prompts are of one length. `batch` runs them, with the models of `decoder`.

use crate::audio::{Audio, AudioError, AudioStream};
use crate::batch::{Batch, DecodedWindow, Window};
use crate::choice::Ask;
use crate::chunk::Chunk;
use crate::decoder::{self, LoadError, Loaded};
use crate::engine::{Engine, EngineError, EpCounts};
use crate::language::{self, UnknownLanguage};
use crate::mel::LogMel;
use crate::model::{Model, ModelConfig};
use crate::npu::NpuReport;
use crate::observer::Observer;
use crate::options::{Device, EngineOptions, OptionError, TranscribeOptions, check_within};
use crate::recording::Recording;
use crate::result::{RunReport, Transcription};
use crate::rules::Rule;
use crate::segments::Segments;
use crate::speech_model::{RunError, SpeechModel};
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::transcribing::Transcribing;
use crate::vad::VadError;
use crate::vad::detector::Detector;
use crate::writer::rules;
use asked::Asked;
use std::borrow::Cow;
use std::panic::resume_unwind;
use std::thread;
use std::time::Instant;

mod asked;

/// Why there is no transcription.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "a field is what its message says of it")]
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
    /// The features of a long recording, which lie in a file without a name.
    #[error(
        "the features of a recording cannot be read back from a temporary file ({0}); set TMPDIR to a place with room"
    )]
    Features(#[from] std::io::Error),
    /// A voice activity detector that a person named.
    #[error(transparent)]
    Vad(#[from] VadError),
    /// An option that has a value without a meaning, or one that does not fit the model or the recording.
    #[error("the option {0}")]
    Option(#[from] OptionError),
    /// A word that names no language.
    #[error(transparent)]
    UnknownLanguage(#[from] UnknownLanguage),
    /// A language that the model does not know.
    #[error("the model knows no language '{language}'; it knows: {known}")]
    Language { language: String, known: String },
    /// Something that an English-only model cannot do.
    #[error("the model is English-only and cannot {0}; use a multilingual model")]
    EnglishOnly(String),
}

impl From<EngineError> for TranscribeError {
    fn from(error: EngineError) -> Self {
        Self::Load(error.into())
    }
}

/// Makes the model that takes over when the asked device fails, and says how many nodes its sessions have.
type Spare = Box<dyn FnMut() -> Result<(Box<dyn SpeechModel>, usize), LoadError> + Send>;

/// What the counters said when a transcription began.
pub(crate) struct Start {
    pub(crate) begun: Instant,
    counts: EpCounts,
    npu: NpuReport,
}

/// A loaded model that turns audio into text: see the [crate's first example](crate).
///
/// It may be moved to another thread, and shared in a `Mutex`. Only one thread computes at a time, since a model has one
/// set of buffers and uses all cores; each step of a [`Transcribing`] can have its own lock.
pub struct Transcriber {
    tokenizer: Tokenizer,
    config: ModelConfig,
    mel: LogMel,
    detector: Detector,
    model: Box<dyn SpeechModel>,
    cpu_nodes: Option<usize>,
    spare: Option<Spare>,
    /// The spare, once it was needed.
    taken_over: Option<(Box<dyn SpeechModel>, usize)>,
    /// Heads of the cross-attention that follow the audio: layer and head.
    alignment_heads: Vec<[usize; 2]>,
    engine: Option<Engine>,
    device: Device,
    precision: String,
    /// Why the CPU provider is used though another device was asked for, if that was so from the start.
    load_fallback: Option<String>,
    /// What is to be said about the model, in words.
    warning: Option<String>,
}

impl Transcriber {
    /// Loads `model` on the device of `options`. With device `auto`, an execution provider that cannot be loaded or
    /// takes nothing is replaced by the CPU provider, and every result says so in `run.fallback`.
    ///
    /// # Errors
    /// [`TranscribeError`]: a library, a device, a graph or a tokenizer that is missing or does not fit.
    pub fn load(model: &Model, options: &EngineOptions) -> Result<Self, TranscribeError> {
        let cpu = EngineOptions { device: Device::Cpu, report: None, ..options.clone() };
        let on = |options: &EngineOptions| -> Result<(Engine, Loaded), LoadError> {
            let engine = Engine::new(options)?;
            let loaded = decoder::load(model, &engine)?;
            Ok((engine, loaded))
        };
        // The tokenizer's tables take longer to read than a packed model does: one beside the other.
        let (tokenizer, loaded) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::of(model));
            let loaded = on(options);
            (tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)), loaded)
        });
        let tokenizer = tokenizer?;
        let (engine, loaded, load_fallback) = match loaded {
            Ok((engine, loaded)) => (engine, loaded, None),
            Err(error) if options.device == Device::Auto => {
                tracing::debug!("going on with the CPU provider: {error}");
                let (engine, loaded) = on(&cpu)?;
                (engine, loaded, Some(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        };
        loaded.fits(&tokenizer.special).map_err(LoadError::from)?;
        let on_cpu = options.device == Device::Cpu || load_fallback.is_some();
        let precision = if on_cpu { model.variant().to_owned() } else { options.precision.to_string() };
        let spare: Option<Spare> = (options.device == Device::Auto && !on_cpu).then(|| {
            let model = model.clone();
            let load = move || {
                let loaded = decoder::load(&model, &Engine::new(&cpu)?)?;
                Ok((loaded.model, loaded.cpu_nodes))
            };
            Box::new(load) as Spare
        });
        let cpu_nodes = Some(loaded.cpu_nodes);
        let left = engine.left();
        Ok(Self {
            detector: Detector::new(&engine, &options.vad_model)?,
            cpu_nodes,
            spare,
            engine: Some(engine),
            device: options.device,
            precision,
            load_fallback,
            warning: match (loaded.warning, left) {
                (Some(warning), Some(left)) => Some(format!("{warning}; {left}")),
                (warning, left) => warning.or(left),
            },
            ..Self::with_model(loaded.model, tokenizer, loaded.config)
        })
    }

    /// A transcriber over any [`SpeechModel`], for example [`crate::decoder::WithoutCache`]. Its reports hold no
    /// device's counts.
    pub fn with_model(model: Box<dyn SpeechModel>, tokenizer: Tokenizer, config: ModelConfig) -> Self {
        Self {
            mel: LogMel::new(config.mel_bins),
            detector: Detector::default(),
            alignment_heads: config.heads_for_alignment(!tokenizer.special.multilingual),
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
            warning: None,
        }
    }

    /// What a person should know about the model before waiting for it: that its layout makes it slow, or that much of
    /// it is not computed by the device.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Whether `options` mean something and fit the model. [`Self::transcribe`] asks the same; this answers before audio
    /// is read.
    ///
    /// # Errors
    /// [`TranscribeError::Option`], [`TranscribeError::Language`], [`TranscribeError::EnglishOnly`].
    pub fn check(&self, options: &TranscribeOptions) -> Result<(), TranscribeError> {
        self.asked(options).map(drop)
    }

    /// Listens to a stream: what it comes to can be transcribed by this model, and takes no more memory however long it
    /// is.
    pub fn listen(&self, stream: AudioStream) -> Result<Audio, AudioError> {
        stream.listen_for(&self.mel, &self.detector)
    }

    /// Transcribes `audio`; `observer` is told whenever windows are done, and can end it early.
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
        observer: &mut dyn Observer,
    ) -> Result<Transcription, TranscribeError> {
        // There is one for each recording.
        self.transcribe_all(&[audio], options, observer).map(|mut all| all.remove(0))
    }

    /// [`Self::transcribe`] of several recordings, whose windows are decoded together, `options.batch` at a time. In
    /// f32 each one's segments are those that it gets alone.
    ///
    /// Where `observer` ends it early, the recordings that are not done have the segments so far, and their
    /// `run.stopped` says until where.
    ///
    /// # Errors
    /// As [`Self::transcribe`]; then there is no result for any but those that `observer` was told of.
    pub fn transcribe_all(
        &mut self,
        recordings: &[&Audio],
        options: &TranscribeOptions,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Transcription>, TranscribeError> {
        let mut transcribing = self.begin(recordings.iter().copied(), options)?;
        while transcribing.advance(self, observer)? {}
        transcribing.finish(self)
    }

    /// The segments of `audio`, each computed when it is asked for. A reference to audio is as good as the audio.
    ///
    /// ```
    /// # // Compiled always, run where ONNX Runtime is named; the paths are the repository's.
    /// # let Some(library) = std::env::var_os("ORT_DYLIB_PATH") else { return Ok(()) };
    /// # std::env::set_current_dir("..")?;
    /// # use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};
    /// # let model = Model::open("models/reference", None)?;
    /// # let mut transcriber = Transcriber::load(&model, &EngineOptions::new(library))?;
    /// let recording = audio::read_file("speech/short/000-en.flac".as_ref())?;
    /// let mut segments = transcriber.segments(&recording, &TranscribeOptions::default())?;
    /// for segment in &mut segments {
    ///     let segment = segment?;
    ///     println!("{:.2} to {:.2}:{}", segment.start, segment.end, segment.text);
    /// }
    /// let result = segments.finish()?;
    /// assert_eq!(result.text, " The green lion is above the red table.");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::begin`]; failures on the way are items of the iterator.
    pub fn segments<'a>(
        &'a mut self,
        audio: impl Into<Cow<'a, Audio>>,
        options: &TranscribeOptions,
    ) -> Result<Segments<'a>, TranscribeError> {
        let transcribing = self.begin([audio], options)?;
        Ok(Segments::new(self, transcribing))
    }

    /// Begins to transcribe recordings and computes nothing yet. What is returned borrows the recordings, if they are
    /// given as references, and not this transcriber.
    ///
    /// # Errors
    /// [`TranscribeError`]: options that do not fit the model, as [`Self::check`] says.
    pub fn begin<'a>(
        &self,
        recordings: impl IntoIterator<Item = impl Into<Cow<'a, Audio>>>,
        options: &TranscribeOptions,
    ) -> Result<Transcribing<'a>, TranscribeError> {
        let start = Start {
            begun: Instant::now(),
            counts: self.counts(),
            npu: self.engine.as_ref().and_then(Engine::npu).unwrap_or_default(),
        };
        let Asked { prompts, language } = self.asked(options)?;
        let audio: Vec<Cow<'a, Audio>> = recordings.into_iter().map(Into::into).collect();
        for audio in &audio {
            check_within(&options.clips, audio.duration())?;
        }
        let rules = rules(&self.tokenizer.special, &self.config, options);
        let recording = |audio| Recording::new(audio, language.clone(), prompts.clone());
        Ok(Transcribing::new(audio, options.clone(), rules, start, recording, self.load_fallback.clone()))
    }

    /// Listens to windows of a recording whose language is not known, as many as `options` say, until one is sure of it.
    /// Returns how many they were. Where one window decides, it is the first that is decoded, later.
    pub(crate) fn hear_language(
        &mut self,
        recording: &mut Recording<'_>,
        options: &TranscribeOptions,
        stop: &dyn Fn() -> bool,
        fallback: &mut Option<String>,
    ) -> Result<u64, TranscribeError> {
        let special = &self.tokenizer.special;
        let known = recording.language.is_some() || !special.multilingual;
        if known || options.language_detection_segments < 2 || recording.finished() {
            return Ok(0);
        }
        recording.open(&self.mel, special, options, self.config.decoder_positions, &self.detector)?;
        let mut heard = Vec::new();
        while heard.len() < options.language_detection_segments && !stop() {
            let Some(features) = recording.listening_window(heard.len(), options.padding)? else { break };
            let Some(chunk) = recording.chunks().first() else { break };
            let place = recording.place(0);
            let batch = Batch {
                windows: vec![Window { features, recording: 0, writer: &chunk.writer, language: None, place }],
                options,
                rules: &[],
                alignment_heads: Vec::new(),
                first_timestamp: Ask::NO_TIMESTAMPS,
                positions: self.config.decoder_positions,
                decode: false,
                stop,
            };
            let Some(detected) = self.run(&batch, fallback)?.pop().and_then(|window| window.language) else { break };
            let sure = detected.probability > options.language_detection_threshold;
            heard.push(detected);
            if sure {
                break;
            }
        }
        if let Some(detected) = language::agree(&heard, options.language_detection_threshold) {
            recording.set_language(detected);
        }
        Ok(heard.len() as u64)
    }

    /// What a finished recording came to. `session` holds what is counted for all recordings together.
    pub(crate) fn result(
        &self,
        recording: &Recording<'_>,
        options: &TranscribeOptions,
        start: &Start,
        session: &RunReport,
    ) -> Result<Transcription, TranscribeError> {
        let counts = self.counts().since(&start.counts);
        let spare_nodes = session.fallback.as_ref().and(self.taken_over.as_ref()).map_or(0, |(_, nodes)| *nodes);
        let duration = recording.audio.duration();
        let own = &recording.run;
        let missing = recording.audio.warnings.iter().map(|warning| warning.in_result(duration));
        let run = RunReport {
            audio_ms: own.audio_ms,
            mel_ms: own.mel_ms,
            encoder_ms: own.encoder_ms,
            decoder_ms: own.decoder_ms,
            tokens: own.tokens,
            device: match session.windows {
                0 => "none".to_owned(),
                _ => self.executed_by(&counts, session.fallback.is_some()),
            },
            precision: self.precision.clone(),
            ort_version: self.engine.as_ref().map_or_else(String::new, |e| e.ort_version().to_owned()),
            fused_nodes_executed: counts.fused_nodes_executed,
            kernel_calls: counts.kernel_calls,
            cpu_nodes: self.cpu_nodes.map(|nodes| (nodes + spare_nodes) as u64),
            npu: self.engine.as_ref().and_then(Engine::npu).map(|npu| npu.since(&start.npu)),
            warnings: [missing.collect(), own.warnings.clone()].concat(),
            ..session.clone()
        };
        let (segments, tokens) = recording.text();
        Ok(Transcription {
            task: options.task.to_string(),
            language: recording.language.clone().map_or_else(|| "en".to_owned(), |(code, _)| code),
            language_probability: recording.detected.as_ref().map(|detected| detected.probability),
            language_probabilities: recording.detected.as_ref().map(|d| d.probabilities.clone()).unwrap_or_default(),
            duration,
            duration_after_vad: recording.duration_after_vad,
            text: self.tokenizer.decode(tokens)?,
            segments: segments.to_vec(),
            run,
        })
    }

    /// The windows that run next: the first that is not done, and those after it that can go with it, at most
    /// `options.batch`; each as the places of its recording and its chunk.
    pub(crate) fn choose(
        &self,
        recordings: &mut [Recording<'_>],
        options: &TranscribeOptions,
    ) -> Result<Vec<(usize, usize)>, TranscribeError> {
        let special = &self.tokenizer.special;
        let mut first = None;
        let mut chosen = Vec::new();
        for (index, recording) in recordings.iter_mut().enumerate().filter(|(_, recording)| !recording.finished()) {
            let unknown = special.multilingual && (recording.language.is_none() || options.multilingual);
            let chunks = recording.open(&self.mel, special, options, self.config.decoder_positions, &self.detector)?;
            let empty = chunks.iter().all(Chunk::finished);
            for (place, chunk) in chunks.iter().enumerate().filter(|(_, chunk)| empty || !chunk.finished()) {
                // Any language makes a prompt of the same length, but where text of another one is left out.
                let alone = chunk.writer.waits_for_language();
                let length = chunk.writer.prompt(special, Some(special.eot)).0.len();
                let kind = (unknown, empty, length);
                if first.is_some() && alone {
                    continue;
                }
                if *first.get_or_insert(kind) == kind {
                    chosen.push((index, place));
                }
                if alone || chosen.len() >= options.batch.max(1) {
                    return Ok(chosen);
                }
            }
        }
        Ok(chosen)
    }

    pub(crate) fn batch<'a>(
        &self,
        recordings: &'a [Recording<'_>],
        chosen: &[(usize, usize)],
        options: &'a TranscribeOptions,
        rules: &'a [Box<dyn Rule>],
        stop: &'a dyn Fn() -> bool,
    ) -> Result<Batch<'a>, TranscribeError> {
        let window = |&(index, chunk): &(usize, usize)| {
            let recording = &recordings[index];
            Ok(Window {
                features: recording.window(chunk, options.padding)?,
                recording: index,
                writer: &recording.chunks()[chunk].writer,
                language: recording.language.as_ref().map(|(_, token)| *token).filter(|_| !options.multilingual),
                place: recording.place(chunk),
            })
        };
        let first = chosen.first().and_then(|&(index, chunk)| recordings[index].chunks().get(chunk));
        Ok(Batch {
            windows: chosen.iter().map(window).collect::<Result<_, TranscribeError>>()?,
            options,
            rules,
            alignment_heads: if options.words.word_timestamps { self.alignment_heads.clone() } else { Vec::new() },
            first_timestamp: if options.without_timestamps {
                Ask::NO_TIMESTAMPS
            } else {
                self.tokenizer.special.first_timestamp
            },
            positions: self.config.decoder_positions,
            // The language of audio that is too short for a window is still asked for.
            decode: first.is_some_and(|chunk| !chunk.finished()),
            stop,
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

    /// The model that runs next: the asked device's, or the one that has taken over from it.
    pub(crate) fn model(&mut self) -> &mut dyn SpeechModel {
        match &mut self.taken_over {
            Some((spare, _)) => spare.as_mut(),
            None => self.model.as_mut(),
        }
    }

    /// Runs windows, on the CPU provider if the asked device fails and a spare is there.
    pub(crate) fn run(
        &mut self,
        batch: &Batch<'_>,
        fallback: &mut Option<String>,
    ) -> Result<Vec<DecodedWindow>, TranscribeError> {
        let tokenizer = &self.tokenizer;
        let fell_back_before = fallback.is_some() && self.load_fallback.is_none();
        if let (true, Some((spare, _))) = (fell_back_before, &mut self.taken_over) {
            return Ok(batch.run(spare.as_mut(), tokenizer)?);
        }
        let error = match batch.run(self.model.as_mut(), tokenizer) {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let Some(load) = &mut self.spare else { return Err(error.into()) };
        tracing::debug!("the windows are run again on the CPU provider: {error}");
        let (spare, _) = match &mut self.taken_over {
            Some(spare) => spare,
            none => none.insert(load()?),
        };
        *fallback = Some(error.to_string());
        Ok(batch.run(spare.as_mut(), tokenizer)?)
    }
}

#[cfg(test)]
#[path = "transcribe_tests.rs"]
mod tests;
