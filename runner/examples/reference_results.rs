//! The runner beside openai/whisper on the same weights and recordings: how many recordings have the same tokens, times,
//! scores and words, and each difference in words.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example reference_results -- [--device WORD]
//! [--precision WORD] [--limit N] MODEL RECORDINGS RESULTS.json…`
//!
//! A results file holds openai/whisper's `call` (the options of its `transcribe`) and its `results` for files of the
//! folder `RECORDINGS`; `"language": "manifest"` in a call means each recording's own. Every file of results is run with
//! the options that its call names; an option that this program does not know is an error. Scores may differ by 1e-3,
//! times of words by 0.02 s.
//!
//! The execution provider's library is the one that was built beside this program (`cargo build --release`), or
//! `UNDERTONE_EP_LIBRARY`.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use undertone_runner::{
    Clip, Device, EngineOptions, Model, Padding, Segment, TranscribeOptions, Transcriber, Transcription, Word, audio,
};

/// Scores agree within this.
const SCORE: f32 = 1e-3;
/// Times of words agree within this; the numbers are written with two places.
const WORD_TIME: f64 = 0.02 + 1e-6;

#[derive(Deserialize)]
struct Expected {
    call: Map<String, Value>,
    results: Vec<ExpectedResult>,
}

#[derive(Deserialize)]
struct ExpectedResult {
    file: PathBuf,
    #[serde(default)]
    text: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    segments: Vec<Segment>,
    #[serde(default)]
    probabilities: std::collections::BTreeMap<String, f64>,
}

/// How many recordings agree in what.
#[derive(Default)]
struct Agreement {
    recordings: usize,
    tokens: usize,
    times: usize,
    scores: usize,
    /// Words of recordings with the same tokens, and those of them that agree.
    words: usize,
    same_words: usize,
    differences: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let ort = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no ONNX Runtime library")?;
    let mut options = EngineOptions::new(ort);
    let (mut plain, mut limit) = (Vec::new(), usize::MAX);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--device" => options.device = value()?.parse()?,
            "--precision" => options.precision = value()?.parse()?,
            "--limit" => limit = value()?.parse()?,
            _ => plain.push(argument),
        }
    }
    let [model, recordings, results @ ..] = plain.as_slice() else {
        return Err("usage: reference_results [OPTIONS] MODEL RECORDINGS RESULTS.json…".into());
    };
    if options.device != Device::Cpu {
        options.ep_library = Some(ep_library()?);
    }
    let mut transcriber = Transcriber::load(&Model::open(model, None)?, &options)?;
    for file in results {
        let expected: Expected = serde_json::from_slice(&std::fs::read(file)?)?;
        let mut agreement = Agreement::default();
        for expected_result in expected.results.iter().take(limit) {
            let audio = audio::read_file(&Path::new(recordings).join(&expected_result.file))?;
            let asked = options_of(&expected.call, &expected_result.language)?;
            let result = transcriber.transcribe(&audio, &asked, &mut ())?;
            agreement.add(expected_result, &result);
        }
        agreement.print(file);
    }
    Ok(())
}

/// The library that was built beside this program, or the one that the environment names.
fn ep_library() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::var_os("UNDERTONE_EP_LIBRARY") {
        return Ok(path.into());
    }
    let name = format!("{}onnxruntime_ep_xdna{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).ok_or("the program stands in no build folder")?.join(name))
}

/// Our options for a call of openai/whisper's; `language` is the recording's.
fn options_of(call: &Map<String, Value>, language: &str) -> Result<TranscribeOptions, Box<dyn Error>> {
    let mut options = TranscribeOptions {
        temperatures: vec![0.0],
        shortest_rest: 0.0,
        skip_steady: false,
        ..TranscribeOptions::default()
    };
    for (name, value) in call {
        let wrong = || format!("the call's {name} is {value}");
        match name.as_str() {
            "fp16" | "verbose" | "note" => {}
            // `detect_language` is given samples that are padded with zeros.
            "function" => options.padding = Padding::Silence,
            "temperature" => options.temperatures = vec![value.as_f64().ok_or_else(wrong)? as f32],
            "compression_ratio_threshold" => options.compression_ratio_threshold = value.as_f64(),
            "logprob_threshold" => options.logprob_threshold = value.as_f64(),
            "no_speech_threshold" => options.no_speech_threshold = value.as_f64(),
            "language" if value.as_str().is_some_and(|word| word.contains("manifest")) => {
                options.language = Some(language.to_owned());
            }
            "language" => options.language = value.as_str().map(str::to_owned),
            "task" => options.task = value.as_str().ok_or_else(wrong)?.parse()?,
            "without_timestamps" => options.without_timestamps = value.as_bool().ok_or_else(wrong)?,
            "condition_on_previous_text" => {
                options.prompt.condition_on_previous_text = value.as_bool().ok_or_else(wrong)?;
            }
            "initial_prompt" => options.prompt.initial_prompt = value.as_str().map(Into::into),
            "beam_size" => options.search.beam_size = value.as_u64().map(|size| size as usize),
            "patience" => options.search.patience = value.as_f64(),
            "length_penalty" => options.search.length_penalty = value.as_f64(),
            "word_timestamps" => options.words.word_timestamps = value.as_bool().ok_or_else(wrong)?,
            "clip_timestamps" => options.clips = clips(value.as_str().ok_or_else(wrong)?)?,
            _ => return Err(format!("the call has an option that this program does not know: {name}").into()),
        }
    }
    Ok(options)
}

fn clips(text: &str) -> Result<Vec<Clip>, Box<dyn Error>> {
    let times = text.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    Ok(times.chunks(2).map(|pair| Clip { start: pair[0], end: pair.get(1).copied() }).collect())
}

impl Agreement {
    fn add(&mut self, expected: &ExpectedResult, result: &Transcription) {
        self.recordings += 1;
        let file = expected.file.display();
        if !expected.probabilities.is_empty() {
            self.add_languages(expected, result);
            return;
        }
        // openai/whisper keeps segments that it has emptied.
        let theirs: Vec<&Segment> = expected.segments.iter().filter(|segment| !segment.tokens.is_empty()).collect();
        let tokens = |segments: &mut dyn Iterator<Item = &Segment>| -> Vec<Vec<u32>> {
            segments.map(|segment| segment.tokens.clone()).collect()
        };
        if tokens(&mut result.segments.iter()) != tokens(&mut theirs.iter().copied()) {
            self.differences.push(format!("{file}: tokens\n    {}\n    {}", expected.text, result.text));
            return;
        }
        self.tokens += 1;
        let pairs = || result.segments.iter().zip(theirs.iter().copied());
        let end = |time: f64| time.min(result.duration);
        for (ours, theirs) in pairs().filter(|(_, theirs)| !theirs.words.is_empty()) {
            self.add_words(&file.to_string(), &ours.words, &theirs.words);
        }
        let late = pairs().find(|(ours, theirs)| {
            (ours.start - theirs.start).abs() > 1e-6 || (ours.end - end(theirs.end)).abs() > 1e-6
        });
        match late {
            None => self.times += 1,
            Some((ours, theirs)) => self
                .differences
                .push(format!("{file}: times {}–{} instead of {}–{}", ours.start, ours.end, theirs.start, theirs.end)),
        }
        let far = |ours: f32, theirs: f32| (ours - theirs).abs() > SCORE;
        let other = pairs().find(|(ours, theirs)| {
            far(ours.avg_logprob, theirs.avg_logprob) || far(ours.no_speech_prob, theirs.no_speech_prob)
        });
        match other {
            None => self.scores += 1,
            Some((ours, theirs)) => self.differences.push(format!(
                "{file}: mean log-probability {} instead of {}, no speech {} instead of {}",
                ours.avg_logprob, theirs.avg_logprob, ours.no_speech_prob, theirs.no_speech_prob
            )),
        }
    }

    fn add_words(&mut self, file: &str, ours: &[Word], theirs: &[Word]) {
        self.words += theirs.len();
        if ours.len() != theirs.len() {
            self.differences.push(format!("{file}: {} words instead of {}", ours.len(), theirs.len()));
            return;
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let late = (ours.start - theirs.start).abs().max((ours.end - theirs.end).abs());
            let unlike = (ours.probability - theirs.probability).abs() > SCORE;
            if ours.word == theirs.word && late < WORD_TIME && !unlike {
                self.same_words += 1;
            } else {
                self.differences.push(format!("{file}: {ours:?} instead of {theirs:?}"));
            }
        }
    }

    fn add_languages(&mut self, expected: &ExpectedResult, result: &Transcription) {
        let far = expected.probabilities.iter().find(|(code, probability)| {
            let ours = result.language_probabilities.get(*code).copied().unwrap_or(0.0);
            (ours - **probability).abs() > f64::from(SCORE)
        });
        match far {
            None => self.scores += 1,
            Some((code, probability)) => self.differences.push(format!(
                "{}: {code} has {:?} instead of {probability}",
                expected.file.display(),
                result.language_probabilities.get(code)
            )),
        }
    }

    fn print(&self, file: &str) {
        let Self { recordings, tokens, times, scores, .. } = self;
        println!(
            "{file}: of {recordings} recordings {tokens} have the same tokens, {times} the same times, {scores} the same scores"
        );
        if self.words > 0 {
            println!("  of {} words {} are the same", self.words, self.same_words);
        }
        self.differences.iter().for_each(|difference| println!("  {difference}"));
    }
}
