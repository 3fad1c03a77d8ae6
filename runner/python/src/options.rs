//! From keyword arguments to the runner's options: the one place where faster-whisper's names meet Undertone's.
//!
//! Python hands over every option that its signature has. One that the runner does not carry out is an error here
//! unless it has the value that changes nothing.

use pyo3::exceptions::{PyNotImplementedError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use undertone_runner::{Clip, Prompt, PromptOptions, SearchOptions, TokenOptions, TranscribeOptions, WordOptions};

/// Keyword arguments, each of which has to be asked for.
struct Arguments<'a, 'py> {
    given: &'a Bound<'py, PyDict>,
    known: Vec<&'static str>,
}

impl<'py> Arguments<'_, 'py> {
    /// The value of one, which has to be there.
    fn get<T: for<'a> FromPyObject<'a, 'py>>(&mut self, name: &'static str) -> PyResult<T> {
        self.known.push(name);
        let value = self.given.get_item(name)?.ok_or_else(|| PyTypeError::new_err(format!("{name} is missing")))?;
        let shown = value.repr()?;
        value.extract().map_err(|_| PyTypeError::new_err(format!("{name}={shown} is of the wrong type")))
    }

    /// One that is not carried out: an error where it would change something.
    fn without<T: for<'a> FromPyObject<'a, 'py>>(
        &mut self,
        name: &'static str,
        changes_nothing: impl FnOnce(&T) -> bool,
    ) -> PyResult<()> {
        if changes_nothing(&self.get(name)?) {
            return Ok(());
        }
        let shown = self.given.get_item(name)?.map_or(String::new(), |value| value.to_string());
        Err(PyNotImplementedError::new_err(format!("{name}={shown}: undertone does not carry this option out")))
    }

    /// An option that nobody asked for is a defect of the Python side.
    fn finish(self) -> PyResult<()> {
        for key in self.given.keys() {
            let key: String = key.extract()?;
            if !self.known.contains(&key.as_str()) {
                return Err(PyTypeError::new_err(format!("undertone knows no option {key}")));
            }
        }
        Ok(())
    }
}

/// Text, or tokens.
#[derive(FromPyObject)]
enum Words {
    Text(String),
    Tokens(Vec<u32>),
}

impl From<Words> for Prompt {
    fn from(words: Words) -> Self {
        match words {
            Words::Text(text) => Self::Text(text),
            Words::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

/// The runner's options for the keyword arguments of `transcribe`.
///
/// # Errors
/// `TypeError`, `ValueError` for values that mean nothing, `NotImplementedError` for options that are not carried out.
pub fn transcribe_options(given: &Bound<'_, PyDict>) -> PyResult<TranscribeOptions> {
    let mut arguments = Arguments { given, known: Vec::new() };
    let task: String = arguments.get("task")?;
    let options = TranscribeOptions {
        language: arguments.get("language")?,
        multilingual: arguments.get("multilingual")?,
        task: task.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?,
        without_timestamps: arguments.get("without_timestamps")?,
        prompt: prompts(&mut arguments)?,
        clips: clips(&arguments.get::<Vec<f64>>("clip_timestamps")?),
        temperatures: arguments.get("temperatures")?,
        best_of: arguments.get("best_of")?,
        compression_ratio_threshold: arguments.get("compression_ratio_threshold")?,
        no_speech_threshold: arguments.get("no_speech_threshold")?,
        logprob_threshold: arguments.get("log_prob_threshold")?,
        search: search(&mut arguments)?,
        tokens: tokens(&mut arguments)?,
        words: words(&mut arguments)?,
        batch: arguments.get("batch")?,
        ..TranscribeOptions::default()
    };
    arguments.finish()?;
    Ok(options)
}

/// What windows are told.
fn prompts(arguments: &mut Arguments<'_, '_>) -> PyResult<PromptOptions> {
    let mut words = |name| Ok::<_, PyErr>(arguments.get::<Option<Words>>(name)?.map(Prompt::from));
    Ok(PromptOptions {
        initial_prompt: words("initial_prompt")?,
        prefix: words("prefix")?,
        hotwords: words("hotwords")?,
        condition_on_previous_text: arguments.get("condition_on_previous_text")?,
        prompt_reset_on_temperature: arguments.get("prompt_reset_on_temperature")?,
        ..PromptOptions::default()
    })
}

/// How tokens are searched for.
fn search(arguments: &mut Arguments<'_, '_>) -> PyResult<SearchOptions> {
    let beam_size: usize = arguments.get("beam_size")?;
    let patience = arguments.get("patience")?;
    // CTranslate2 divides by the length to this power: 1 is the mean, and 0 the sum. Others are not carried out.
    arguments.without::<f64>("length_penalty", |value| *value == 1.0 || *value == 0.0)?;
    let length_penalty: f64 = arguments.get("length_penalty")?;
    // A beam of one is greedy, which needs no beam.
    let beam = beam_size != 1;
    Ok(SearchOptions {
        beam_size: beam.then_some(beam_size),
        patience: beam.then_some(patience),
        length_penalty: (length_penalty == 0.0).then_some(0.0),
    })
}

/// Which tokens may be written.
fn tokens(arguments: &mut Arguments<'_, '_>) -> PyResult<TokenOptions> {
    Ok(TokenOptions {
        suppress_tokens: arguments.get::<Option<Vec<i64>>>("suppress_tokens")?.unwrap_or_default(),
        suppress_blank: arguments.get("suppress_blank")?,
        max_initial_timestamp: Some(arguments.get("max_initial_timestamp")?),
        repetition_penalty: arguments.get("repetition_penalty")?,
        no_repeat_ngram_size: arguments.get("no_repeat_ngram_size")?,
        max_new_tokens: arguments.get("max_new_tokens")?,
    })
}

/// Words with their times.
fn words(arguments: &mut Arguments<'_, '_>) -> PyResult<WordOptions> {
    let word_timestamps = arguments.get("word_timestamps")?;
    let threshold: Option<f64> = arguments.get("hallucination_silence_threshold")?;
    Ok(WordOptions {
        word_timestamps,
        prepend_punctuations: arguments.get("prepend_punctuations")?,
        append_punctuations: arguments.get("append_punctuations")?,
        // As in faster-whisper it has an effect only where there are words.
        hallucination_silence_threshold: threshold.filter(|_| word_timestamps),
    })
}

/// Times in pairs; the last end may be missing. From the beginning to the end is no clip.
fn clips(times: &[f64]) -> Vec<Clip> {
    match times {
        [0.0] => Vec::new(),
        times => times.chunks(2).map(|pair| Clip { start: pair[0], end: pair.get(1).copied() }).collect(),
    }
}
