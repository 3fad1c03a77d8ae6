//! Samples that a program has already, here those of a WAV file with 16-bit samples.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example samples -- MODEL AUDIO.wav`

use std::error::Error;

use undertone_runner::{Audio, EngineOptions, Model, TranscribeOptions, Transcriber};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("usage: samples MODEL AUDIO.wav".into());
    };
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    let mut transcriber = Transcriber::load(&Model::open(&model, None)?, &EngineOptions::new(onnx_runtime))?;
    let bytes = std::fs::read(recording)?;
    // Enough of the format for an example: rate and channels stand at fixed places, and samples follow 44 bytes.
    let number = |at: usize| -> Result<u32, Box<dyn Error>> {
        let bytes = bytes.get(at..at + 4).ok_or("the file is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    let (rate, channels) = (number(24)?, number(22)? & 0xffff);
    let samples: Vec<i16> = bytes[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    println!("{}", text(&mut transcriber, &samples, rate, channels as usize)?);
    Ok(())
}

/// The text of interleaved 16-bit samples.
pub fn text(
    transcriber: &mut Transcriber,
    samples: &[i16],
    rate: u32,
    channels: usize,
) -> Result<String, Box<dyn Error>> {
    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32768.0).collect();
    let audio = Audio::from_interleaved(&samples, rate, channels)?;
    let result = transcriber.transcribe(&audio, &TranscribeOptions::default(), &mut ())?;
    Ok(result.text.trim().to_owned())
}
