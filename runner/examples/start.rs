//! How long a start takes until the first token, and the memory that it then has. The first run packs the model into FOLDER, later ones
//! take it from there:
//!
//! ```text
//! cargo run --release -p undertone-runner --example start -- MODEL EP-LIBRARY FOLDER [THREADS]
//! ```
//!
//! Memory is told on Linux only.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use undertone_runner::decoder::OrtModel;
use undertone_runner::mel::LogMel;
use undertone_runner::speech_model::SpeechModel;
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{Device, Engine, EngineOptions, Model};

fn main() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, library, folder, threads @ ..] = &arguments[..] else {
        return Err("usage: start MODEL EP-LIBRARY FOLDER [THREADS]".into());
    };
    let mut options = EngineOptions::new(std::env::var("ORT_DYLIB_PATH").map_err(|_| "set ORT_DYLIB_PATH")?);
    options.device = Device::Host;
    options.ep_library = Some(library.into());
    options.packed = Some(folder.into());
    options.threads = threads.first().map(|count| count.parse()).transpose()?;

    let model = Model::open(model, None)?;
    let (tokenizer, loaded) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::load(model.directory()));
        let loaded = Engine::new(&options).map_err(Into::into).and_then(|engine| OrtModel::load(&model, &engine));
        (tokenizer.join(), loaded)
    });
    let (special, mut loaded) = (tokenizer.map_err(|_| "reading the tokenizer panicked")??.special, loaded?);
    let opened = begun.elapsed();

    let second = undertone_runner::audio::SAMPLE_RATE as usize;
    let sound: Vec<f32> = (0..5 * second).map(|at| (at as f32 * 0.05).sin() * 0.1).collect();
    let mel = LogMel::new(model.config().mel_bins);
    let features = mel.hugging_face(&sound);
    loaded.encode(&[&features.window(0)])?;
    let encoded = begun.elapsed();
    let logits = loaded.start(&[&[special.sot, special.transcribe, special.notimestamps]], 0)?;
    let token = logits[0].last.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
    println!(
        "sessions and tokenizer after {opened:.0?}, encoded after {encoded:.0?}, token {token:?} after {:.0?}",
        begun.elapsed()
    );
    for name in ["VmHWM", "VmRSS", "RssAnon", "RssFile"] {
        println!("{name}: {}", status(name).unwrap_or_else(|| "not told by this system".into()));
    }
    Ok(())
}

/// A line of Linux's account of this process.
fn status(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}
