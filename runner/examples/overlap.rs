//! Whether it pays to encode the next windows while these are decoded: both after each other and at once, in two
//! threads over ONNX Runtime's one pool. On the CPU provider, or with the execution provider's library as third
//! argument on its host device.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example overlap -- models/reference 8 [LIBRARY]`

use std::error::Error;
use std::time::Instant;
use undertone_runner::choice::Ask;
use undertone_runner::decoder::OrtModel;
use undertone_runner::mel::WINDOW_FRAMES;
use undertone_runner::speech_model::{RunError, SpeechModel};
use undertone_runner::tokenizer::{SpecialTokens, Tokenizer};
use undertone_runner::{Device, Engine, EngineOptions, Model};

const TURNS: usize = 5;
const TOKENS: usize = 100;

/// Decodes as many tokens for each of the windows that were encoded last.
fn decode(model: &mut OrtModel, special: &SpecialTokens, batch: usize) -> Result<(), RunError> {
    let prompt = [special.sot, special.transcribe, special.notimestamps];
    model.start(&vec![&prompt[..]; batch], 0)?;
    let asks = vec![Ask { forbidden: &[], first_timestamp: special.first_timestamp }; batch];
    let mut answers = Vec::new();
    for token in (0..special.eot).step_by(97).cycle().take(TOKENS) {
        model.step(&vec![token; batch], &asks, &mut answers)?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::open(&arguments.next().ok_or("give a model")?, None)?;
    let batch: usize = arguments.next().map_or(Ok(8), |n| n.parse())?;
    let mut options = EngineOptions::new(std::env::var("ORT_DYLIB_PATH")?);
    options.ep_library = arguments.next().map(Into::into);
    if options.ep_library.is_some() {
        options.device = Device::Host;
    }
    let engine = Engine::new(&options)?;
    let special = Tokenizer::load(model.directory())?.special;
    let window = vec![0.1; model.config().mel_bins * WINDOW_FRAMES];
    let windows = vec![&window[..]; batch];
    let (mut decoding, mut encoding) = (OrtModel::load(&model, &engine)?, OrtModel::load(&model, &engine)?);
    decoding.encode(&windows)?;
    let (mut in_turn, mut at_once) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TURNS {
        let begun = Instant::now();
        encoding.encode(&windows)?;
        decode(&mut decoding, &special, batch)?;
        in_turn = in_turn.min(begun.elapsed().as_secs_f64() * 1e3);

        let begun = Instant::now();
        std::thread::scope(|scope| {
            let encoder = scope.spawn(|| encoding.encode(&windows));
            let decoded = decode(&mut decoding, &special, batch);
            // A panic of the thread is this program's.
            encoder.join().expect("the encoder's thread panicked").and(decoded)
        })?;
        at_once = at_once.min(begun.elapsed().as_secs_f64() * 1e3);
    }
    println!("{batch} windows, least of {TURNS}: {in_turn:.0} ms after each other, {at_once:.0} ms at once");
    Ok(())
}
