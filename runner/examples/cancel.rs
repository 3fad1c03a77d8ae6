//! Ending a transcription from another thread; what was done until then is kept.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example cancel -- MODEL AUDIO [SECONDS]`

use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Duration;

use undertone_runner::{
    Cancel, EngineOptions, Model, Observer, Progress, TranscribeOptions, Transcriber, Transcription, audio,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(recording)) = (arguments.next(), arguments.next()) else {
        return Err("usage: cancel MODEL AUDIO [SECONDS]".into());
    };
    let seconds = arguments.next().map_or(Ok(2.0), |seconds| seconds.parse())?;
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    let mut transcriber = Transcriber::load(&Model::open(&model, None)?, &EngineOptions::new(onnx_runtime))?;
    let result = for_at_most(Duration::try_from_secs_f64(seconds)?, &mut transcriber, recording.as_ref())?;
    match result.run.stopped {
        Some(until) => println!("transcribed until {until:.1} s of {:.1} s:{}", result.duration, result.text),
        None => println!("all of it:{}", result.text),
    }
    Ok(())
}

/// Says how far it is.
struct Watch;

impl Observer for Watch {
    fn progress(&mut self, progress: Progress) {
        eprintln!("{:.0} s of {:.0} s", progress.done_seconds, progress.total_seconds);
    }
}

/// What can be transcribed of the recording at `path` in that time.
pub fn for_at_most(
    time: Duration,
    transcriber: &mut Transcriber,
    path: &Path,
) -> Result<Transcription, Box<dyn Error>> {
    let recording = audio::read_file(path)?;
    let cancel = Cancel::new();
    let clock = cancel.clone();
    thread::spawn(move || {
        thread::sleep(time);
        clock.cancel();
    });
    // Asked at each step of the decoder, so it ends some milliseconds after the time is up.
    Ok(transcriber.transcribe(&recording, &TranscribeOptions::default(), &mut (Watch, cancel))?)
}
