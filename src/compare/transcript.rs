//! The whole model's text under each configuration.

use std::time::Instant;

use undertone_runner::audio::Audio;
use undertone_runner::normalise::{basic, word_errors};
use undertone_runner::{Device, EngineOptions, Model, TranscribeOptions, Transcriber, Transcription};

use super::choice::Choice;
use super::report::{Time, Transcript};

/// Transcribes under every configuration; the reference is the CPU provider, among them or not.
pub fn transcripts(
    model: &Model,
    audio: &Audio,
    options: &EngineOptions,
    choices: &[Choice],
    say: &dyn Fn(&str),
) -> Vec<Transcript> {
    let cpu = Choice { device: Device::Cpu, target: None, precision: None };
    let run = |choice: &Choice| {
        say(&format!("{choice}: transcribed"));
        transcribed(model, audio, options, choice)
    };
    let reference = run(&cpu);
    let text = reference.as_ref().map(|(result, _)| basic(&result.text)).unwrap_or_default();
    let words = text.split_whitespace().count();
    let mut told = Vec::new();
    for choice in choices {
        let result = if *choice == cpu { reference.clone() } else { run(choice) };
        let configuration = choice.to_string();
        told.push(match result {
            Ok((result, time)) => {
                let (errors, _) = word_errors(&text, &basic(&result.text));
                let count = result.segments.len() as f64;
                let sum: f64 = result.segments.iter().map(|segment| f64::from(segment.avg_logprob)).sum();
                Transcript {
                    configuration,
                    text: result.text,
                    language: result.language,
                    errors,
                    words,
                    mean_logprob: (count > 0.0).then(|| sum / count),
                    time,
                    failed: None,
                }
            }
            Err(reason) => Transcript { configuration, failed: Some(reason), words, ..Transcript::default() },
        });
    }
    told
}

fn transcribed(
    model: &Model,
    audio: &Audio,
    options: &EngineOptions,
    choice: &Choice,
) -> Result<(Transcription, Time), String> {
    let mut options = options.clone();
    choice.apply(&mut options);
    let words = |error: undertone_runner::TranscribeError| crate::words(&error.into());
    let mut transcriber = Transcriber::load(model, &options).map_err(words)?;
    let greedy = TranscribeOptions::greedy();
    let begun = Instant::now();
    let result = transcriber.transcribe(audio, &greedy, &mut ()).map_err(words)?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let simulated = choice.device == Device::Sim;
    let time =
        Time { measured_ms: (!simulated).then_some(ms), predicted_ms: None, simulating_ms: simulated.then_some(ms) };
    Ok((result, time))
}
