//! Audio from anything that can be read: standard input, a socket, an archive's member, bytes in memory.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example reader -- MODEL < AUDIO`

use std::error::Error;
use std::io::Read;

use undertone_runner::audio::{self, AudioOptions};
use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber};

fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("usage: reader MODEL < AUDIO")?;
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    let mut transcriber = Transcriber::load(&Model::open(&model, None)?, &EngineOptions::new(onnx_runtime))?;
    println!("{}", text(&mut transcriber, std::io::stdin())?);
    Ok(())
}

/// The text of the recording that `reader` gives. It need not seek: a format that is read with seeking goes to a
/// temporary file first.
pub fn text(transcriber: &mut Transcriber, reader: impl Read + Send + 'static) -> Result<String, Box<dyn Error>> {
    let stream = audio::open_reader(reader, "the reader", &AudioOptions::default())?;
    // Decoded block by block into what the model needs: ten hours take no more memory than one.
    let recording = transcriber.listen(stream)?;
    let result = transcriber.transcribe(&recording, &TranscribeOptions::default(), &mut ())?;
    Ok(result.text.trim().to_owned())
}
