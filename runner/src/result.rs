//! What a transcription is made of: the segments in the shape of OpenAI's `verbose_json`, and a report on the run that
//! made them.
//!
//! Plain data with serde's traits: the transcriber fills it, the writers of [`crate::format`] print it. The report
//! holds measured values and counts only; nothing here is planned or predicted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::npu::NpuReport;

/// A piece of audio as text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcription {
    /// `transcribe` or `translate`.
    pub task: String,
    /// The spoken language as Whisper's code (`en`, `de`, …).
    pub language: String,
    /// The probability of that language among those that the model knows; `None` where the language was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_probability: Option<f64>,
    /// The probability of each language that the model knows, by its code; empty where the language was asked for. JSON
    /// holds those of at least 1 %.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "likely_languages")]
    pub language_probabilities: BTreeMap<String, f64>,
    /// Length of the audio in seconds.
    pub duration: f64,
    /// Seconds of it that were taken for speech, where the rest was left out (`vad_filter`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_after_vad: Option<f64>,
    /// The text of all segments, joined.
    pub text: String,
    /// In order of time, not overlapping, inside the audio.
    pub segments: Vec<Segment>,
    /// Which device carried out what, and how long it took.
    pub run: RunReport,
}

pub(crate) fn likely_languages<S: Serializer>(all: &BTreeMap<String, f64>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(all.iter().filter(|(_, probability)| **probability >= 0.01))
}

/// What was said between two timestamps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Segment {
    /// Position among the segments, from 0.
    pub id: usize,
    /// First mel frame (10 ms each) of the window that the segment was decoded in.
    pub seek: usize,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio; never before `start`.
    pub end: f64,
    /// The text, with the blank that Whisper puts in front of a word.
    pub text: String,
    /// The tokens of the segment with its two timestamps.
    pub tokens: Vec<u32>,
    /// The sampling temperature; 0 is greedy.
    pub temperature: f32,
    /// Mean log-probability of the window's tokens: their sum / (their count + 1).
    pub avg_logprob: f32,
    /// Bytes of the window's text / bytes of it under zlib; above 2.4 it repeats itself.
    pub compression_ratio: f32,
    /// Probability of the no-speech token at the window's start-of-transcript position.
    pub no_speech_prob: f32,
    /// The language of its window, where that of each window was detected by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its words with their times, where these were asked for; together they are the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

/// A word of a segment, with the punctuation that belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as the segment's text has it: with the blank before it, where its language writes one.
    pub word: String,
    /// Seconds from the start of the audio.
    pub start: f64,
    /// Seconds from the start of the audio; never before `start`.
    pub end: f64,
    /// Mean probability of its tokens.
    pub probability: f32,
}

/// What a transcription ran on and what it cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// The device that did the work (`cpu`, `host`, `sim`, `npu`), not the one that was asked for; `none` where nothing
    /// was decoded.
    pub device: String,
    /// `f32`, `bf16` or `int8`.
    pub precision: String,
    /// The version of ONNX Runtime that was loaded.
    pub ort_version: String,
    /// Recordings that were transcribed together, this one among them: the counts and the realtime factor are of all of
    /// them, times and tokens this one's own (of what ran for several windows at once, its share).
    pub recordings: u64,
    /// Most windows that were decoded together.
    pub batch: u64,
    /// Calls of fused nodes, counted by the EP as it executed them; 0 without an EP.
    pub fused_nodes_executed: u64,
    /// Kernel calls by device, counted by the EP as it executed them.
    pub kernel_calls: BTreeMap<String, u64>,
    /// Nodes that ONNX Runtime gave to its CPU provider; `None` where that ONNX Runtime cannot tell.
    pub cpu_nodes: Option<u64>,
    /// Decoding and resampling the audio, in milliseconds.
    pub audio_ms: f64,
    /// Log-mel features, in milliseconds.
    pub mel_ms: f64,
    /// Encoder, all windows, in milliseconds.
    pub encoder_ms: f64,
    /// Decoder, all steps, in milliseconds.
    pub decoder_ms: f64,
    /// Tokens that the decoder produced.
    pub tokens: u64,
    /// Seconds of audio per second of wall clock.
    pub realtime_factor: f64,
    /// What an NPU, simulated or real, did, and what fell back from it to the host device; `None` where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub npu: Option<NpuReport>,
    /// Windows of 30 s that went through the encoder, of all recordings.
    pub windows: u64,
    /// Second up to which the recording was transcribed when it was ended early; `None` if it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<f64>,
    /// Why windows were run again on the CPU provider; `None` if none was.
    pub fallback: Option<String>,
    /// Where the result is not what the recording was meant to give, in the order in which it was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A part of a recording where something is missing or doubtful.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Seconds from the start of the audio.
    pub from: f64,
    /// Seconds from the start of the audio; never before `from`.
    pub to: f64,
    /// What there is to say, in words that go on after "from … to …: ".
    pub what: String,
}
