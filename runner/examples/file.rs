//! The text of a recording.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example file -- MODEL AUDIO`
//!
//! MODEL is a folder with a Whisper model in ONNX's format, `models/reference` for example.

use std::error::Error;
use std::path::Path;

use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, audio};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("usage: file MODEL AUDIO".into());
    };
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    // Loading takes longest; a transcriber is made once and used for many recordings.
    let model = Model::open(&model, None)?;
    let mut transcriber = Transcriber::load(&model, &EngineOptions::new(onnx_runtime))?;
    println!("{}", text(&mut transcriber, recording.as_ref())?);
    Ok(())
}

/// The text of the recording at `path`.
pub fn text(transcriber: &mut Transcriber, path: &Path) -> Result<String, Box<dyn Error>> {
    // Any common format, also the sound of a film.
    let recording = audio::read_file(path)?;
    for warning in &recording.warnings {
        eprintln!("{warning}");
    }
    // The language is detected.
    let result = transcriber.transcribe(&recording, &TranscribeOptions::default(), &mut ())?;
    Ok(result.text.trim().to_owned())
}
