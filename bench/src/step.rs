//! The decoder's step: sequences that are made to go on, and what the execution provider notes of one step.

use std::ops::Range;
use std::slice::from_ref;
use std::time::Instant;

use serde::Serialize;
use undertone_boundary::profile::{Part, Profile};
use undertone_runner::Engine;
use undertone_runner::choice::{Ask, Scores, scores};
use undertone_runner::speech_model::{RunError, SpeechModel};
use undertone_runner::tokenizer::SpecialTokens;

use super::median;

/// Steps before and after the one of interest that are measured with it: a step more or less in the cache is no
/// difference.
const AROUND: usize = 4;
/// Sequences whose steps are profiled.
const PROFILED: usize = 3;

/// A decoder's step with some tokens in its cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepResult {
    /// Tokens in the cache before the step.
    pub cached: usize,
    /// Milliseconds from the token to the next token's choice, median.
    pub ms: f64,
    /// What the execution provider noted; `None` on `cpu`.
    pub profile: Option<StepProfile>,
}

/// What a step reads, and what it takes beyond its kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepProfile {
    /// Bytes that must be read: weights at their packed width, the cache's keys and values at the width in which they
    /// are kept.
    pub bytes: u64,
    /// `bytes` by `ms`, in 10⁹ bytes a second.
    pub read_gbps: f64,
    /// Microseconds of the step that are not its kernels': ONNX Runtime, shapes, copies, and the choice of the token.
    /// Median.
    pub overhead_us: f64,
    /// The kernels and other steps of the plan, of one decoder step.
    pub parts: Vec<Part>,
}

/// What the execution provider noted while `work` ran, and how many microseconds that took without the notes
/// themselves; `None` on `cpu`.
pub fn noted<E>(engine: &Engine, work: impl FnOnce() -> Result<(), E>) -> Result<Option<(Profile, f64)>, E> {
    engine.profile(true);
    let begun = Instant::now();
    let worked = work();
    let taken = begun.elapsed();
    let noted = engine.profile(false);
    worked?;
    Ok(noted.map(|profile| {
        let taken = taken.as_secs_f64() * 1e6 - profile.noting as f64 / 1e3;
        (profile, taken)
    }))
}

fn kernel_us(profile: &Profile) -> f64 {
    profile.steps.iter().filter(|part| part.kernel).map(|part| part.nanoseconds as f64 / 1e3).sum()
}

/// Sequences over all windows that were encoded last, made to go on whatever the model says.
pub struct Forced<'m> {
    model: &'m mut dyn SpeechModel,
    /// All that is no text.
    control: Range<u32>,
    answers: Vec<Scores>,
    tokens: Vec<u32>,
    /// Tokens of each sequence that the model has seen.
    pub cached: usize,
}

impl<'m> Forced<'m> {
    /// The first step, with the prompt, on `rows` windows.
    pub fn start(model: &'m mut dyn SpeechModel, special: &SpecialTokens, rows: usize) -> Result<Self, RunError> {
        let mut prompt = vec![special.sot];
        prompt.extend(special.language("en"));
        if special.multilingual {
            prompt.push(special.transcribe);
        }
        prompt.push(special.notimestamps);
        let control = special.eot..u32::MAX;
        let ask = Ask { forbidden: from_ref(&control), first_timestamp: Ask::NO_TIMESTAMPS };
        let start = model.start(&vec![prompt.as_slice(); rows], 0)?;
        let answers = start.iter().map(|logits| scores(&logits.last, &ask)).collect();
        Ok(Self { model, control, answers, tokens: Vec::with_capacity(rows), cached: prompt.len() })
    }

    /// The likeliest text token of each sequence, and the step with them.
    pub fn step(&mut self) -> Result<(), RunError> {
        let ask = Ask { forbidden: from_ref(&self.control), first_timestamp: Ask::NO_TIMESTAMPS };
        self.tokens.clear();
        self.tokens.extend(self.answers.iter().map(|answer| answer.choose().map_or(0, |choice| choice.token)));
        self.model.step(&self.tokens, &vec![ask; self.tokens.len()], 1, &mut self.answers)?;
        self.cached += 1;
        Ok(())
    }
}

/// Milliseconds of each step of `rows` sequences that go on to `tokens` tokens, with the tokens in the cache before it.
pub fn timed(
    model: &mut dyn SpeechModel,
    special: &SpecialTokens,
    rows: usize,
    tokens: usize,
) -> Result<Vec<(usize, f64)>, RunError> {
    let mut sequence = Forced::start(model, special, rows)?;
    let mut times = Vec::with_capacity(tokens);
    // The first step gives the first token.
    for _ in 1..tokens {
        let (cached, begun) = (sequence.cached, Instant::now());
        sequence.step()?;
        times.push((cached, begun.elapsed().as_secs_f64() * 1e3));
    }
    Ok(times)
}

/// The step's row, of the times of several sequences: with `wanted` tokens in the cache, or as many as there are at
/// most. `None` if no step was taken.
pub fn row(times: &[(usize, f64)], wanted: usize) -> Option<StepResult> {
    let last = times.iter().map(|(cached, _)| *cached).max()?;
    let cached = wanted.min(last);
    let near: Vec<f64> =
        times.iter().filter(|(at, _)| at.abs_diff(cached) <= AROUND).map(|(_, milliseconds)| *milliseconds).collect();
    Some(StepResult { cached, ms: median(&near), profile: None })
}

/// Profiles the steps around the one of `row`.
pub fn profiled(
    model: &mut dyn SpeechModel,
    special: &SpecialTokens,
    engine: &Engine,
    row: &StepResult,
) -> Result<Option<StepProfile>, RunError> {
    let (mut overheads, mut exact) = (Vec::new(), Vec::new());
    for _ in 0..PROFILED {
        let mut sequence = Forced::start(model, special, 1)?;
        while sequence.cached <= row.cached + AROUND {
            let cached = sequence.cached;
            if cached + AROUND < row.cached {
                sequence.step()?;
                continue;
            }
            let Some((profile, taken)) = noted(engine, || sequence.step())? else { return Ok(None) };
            overheads.push(taken - kernel_us(&profile));
            if cached == row.cached {
                exact.push((taken, profile));
            }
        }
    }
    exact.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((_, profile)) = exact.into_iter().nth(PROFILED / 2) else { return Ok(None) };
    let bytes = profile.steps.iter().map(|part| part.bytes).sum();
    let read_gbps = bytes as f64 / row.ms / 1e6;
    Ok(Some(StepProfile { bytes, read_gbps, overhead_us: median(&overheads), parts: profile.steps }))
}
