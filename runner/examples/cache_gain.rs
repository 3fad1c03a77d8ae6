//! What the KV cache saves: one window's decoding with it and without it, medians of turns. On the CPU provider, or with
//! the execution provider's library as third argument on its host device (int8).
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example cache_gain -- models/reference 200 [LIBRARY]`

use std::error::Error;
use std::time::Instant;
use undertone_runner::choice::Ask;
use undertone_runner::decoder::{OrtModel, WINDOW_FRAMES, WithoutCache};
use undertone_runner::speech_model::{RunError, SpeechModel};
use undertone_runner::tokenizer::{SpecialTokens, Tokenizer};
use undertone_runner::{Device, Engine, EngineOptions, Model};

const TURNS: usize = 3;

/// Milliseconds to decode `tokens` tokens after a window was encoded.
fn decode(model: &mut dyn SpeechModel, special: &SpecialTokens, tokens: usize) -> Result<f64, RunError> {
    let begun = Instant::now();
    model.start(&[&[special.sot, special.transcribe, special.notimestamps]], 0)?;
    let ask = Ask { forbidden: &[], first_timestamp: special.first_timestamp };
    let mut answers = Vec::new();
    for token in (0..special.eot).step_by(97).cycle().take(tokens - 1) {
        model.step(&[token], &[ask], &mut answers)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::open(&arguments.next().ok_or("give a model")?, None)?;
    let tokens: usize = arguments.next().map_or(Ok(200), |n| n.parse())?;
    let mut options = EngineOptions::new(std::env::var("ORT_DYLIB_PATH")?);
    options.ep_library = arguments.next().map(Into::into);
    if options.ep_library.is_some() {
        options.device = Device::Host;
    }
    let engine = Engine::new(&options)?;
    let special = Tokenizer::load(model.directory())?.special;
    let window = vec![0.1; model.config().mel_bins * WINDOW_FRAMES];
    let mut cached = OrtModel::load(&model, &engine)?;
    let mut slow = WithoutCache::new(OrtModel::load(&model, &engine)?);
    cached.encode(&[&window])?;
    slow.encode(&[&window])?;
    let mut times = Vec::new();
    for _ in 0..TURNS {
        let (fast, slow) = (decode(&mut cached, &special, tokens)?, decode(&mut slow, &special, tokens)?);
        times.push((slow / fast, fast, slow));
    }
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (gain, fast, slow) = times[TURNS / 2];
    println!("{tokens} tokens: {fast:.0} ms with the cache, {slow:.0} ms without: {gain:.1} times");
    Ok(())
}
