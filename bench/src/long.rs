//! Long audio from the samples to the last token: mel features, encoder and decoder of all its windows.

use std::time::Instant;

use serde::Serialize;
use undertone_runner::mel::{LogMel, WINDOW_SAMPLES};
use undertone_runner::speech_model::SpeechModel as _;
use undertone_runner::{EngineOptions, Model};

use super::{BenchError, BenchOptions, Loaded, WINDOW_SECONDS, median, sound, special_tokens, step};

/// Medians over the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LongResult {
    /// The device.
    pub device: String,
    /// The arithmetic.
    pub precision: String,
    /// Seconds of audio.
    pub audio_seconds: f64,
    /// Windows of 30 s.
    pub windows: usize,
    /// Tokens decoded for each.
    pub tokens: usize,
    /// Windows decoded together.
    pub batch: usize,
    /// Milliseconds of the mel features of all windows.
    pub mel_ms: f64,
    /// Milliseconds of the encoder, all windows.
    pub encoder_ms: f64,
    /// Milliseconds of the decoder, all windows.
    pub decoder_ms: f64,
    /// Seconds of audio by second of all three.
    pub realtime_factor: f64,
}

/// Takes `seconds` of synthetic audio through mel features, encoder and decoder on one device, `batch` windows
/// together; the last window is filled up with silence. One batch warms up.
pub fn long_audio(
    model: &Model,
    configuration: &EngineOptions,
    options: &BenchOptions,
    seconds: f64,
    batch: usize,
) -> Result<LongResult, BenchError> {
    let batch = batch.max(1);
    let special = special_tokens(model, options.tokens)?;
    let samples = sound::hum(seconds);
    let mel = LogMel::new(model.config().mel_bins);
    let Loaded { model: mut session, device, precision, .. } = Loaded::new(model, configuration)?;
    let (mut stages, mut whole) = ([const { Vec::new() }; 3], Vec::new());
    for run in 0..=options.runs.max(1) {
        let mut sums = [0.0; 3];
        let begun = Instant::now();
        for together in samples.chunks(batch * WINDOW_SAMPLES) {
            let start = Instant::now();
            let features: Vec<_> = together.chunks(WINDOW_SAMPLES).map(|window| mel.hugging_face(window)).collect();
            let windows: Vec<&[f32]> = features.iter().map(Vec::as_slice).collect();
            let heard = Instant::now();
            session.encode(&windows)?;
            let encoded = Instant::now();
            step::timed(&mut session, &special, windows.len(), options.tokens)?;
            let decoded = Instant::now();
            for (sum, part) in sums.iter_mut().zip([heard - start, encoded - heard, decoded - encoded]) {
                *sum += part.as_secs_f64() * 1e3;
            }
            if run == 0 {
                break;
            }
        }
        if run > 0 {
            whole.push(begun.elapsed().as_secs_f64());
            stages.iter_mut().zip(sums).for_each(|(stage, sum)| stage.push(sum));
        }
    }
    let [mel_ms, encoder_ms, decoder_ms] = stages.map(|stage| median(&stage));
    Ok(LongResult {
        device,
        precision,
        audio_seconds: seconds,
        windows: (seconds / WINDOW_SECONDS).ceil() as usize,
        tokens: options.tokens,
        batch,
        mel_ms,
        encoder_ms,
        decoder_ms,
        realtime_factor: seconds / median(&whole),
    })
}
