//! Segments as they come, written as subtitles at once.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example segments -- MODEL AUDIO`

use std::error::Error;
use std::io::Write;
use std::path::Path;

use undertone_runner::format::{Format, SubtitleOptions};
use undertone_runner::{EngineOptions, Model, TranscribeOptions, Transcriber, Transcription, audio};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("usage: segments MODEL AUDIO".into());
    };
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    let mut transcriber = Transcriber::load(&Model::open(&model, None)?, &EngineOptions::new(onnx_runtime))?;
    let result = subtitles(&mut transcriber, recording.as_ref(), &mut std::io::stdout())?;
    eprintln!("{:.1} s of {}, {:.0} times real time", result.duration, result.language, result.run.realtime_factor);
    Ok(())
}

/// Writes the subtitles of the recording at `path` while it is transcribed.
pub fn subtitles(
    transcriber: &mut Transcriber,
    path: &Path,
    out: &mut dyn Write,
) -> Result<Transcription, Box<dyn Error>> {
    let recording = audio::read_file(path)?;
    let options = SubtitleOptions { max_line_width: Some(42), ..SubtitleOptions::default() };
    let mut writer = Format::Srt.writer(&options);
    writer.begin(out)?;
    // Nothing is computed before a segment is asked for, and then a window of up to 30 s at a time. `break` would leave
    // the rest uncomputed.
    let mut segments = transcriber.segments(&recording, &TranscribeOptions::default())?;
    for segment in &mut segments {
        writer.segments(&[segment?], out)?;
        out.flush()?;
    }
    let result = segments.finish()?;
    writer.end(&result, out)?;
    Ok(result)
}
