//! Several recordings: together on one transcriber, which is the fastest way, or from several threads that take turns.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example several -- MODEL AUDIO…`

use std::error::Error;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use undertone_runner::{Audio, EngineOptions, Model, TranscribeError, TranscribeOptions, Transcriber, audio};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: several MODEL AUDIO…")?;
    let onnx_runtime = std::env::var_os("ORT_DYLIB_PATH").ok_or("ORT_DYLIB_PATH names no libonnxruntime.so")?;
    let mut transcriber = Transcriber::load(&Model::open(&model, None)?, &EngineOptions::new(onnx_runtime))?;
    let read = |path: String| audio::read_file(Path::new(&path));
    let recordings = arguments.map(read).collect::<Result<Vec<Audio>, _>>()?;
    for text in together(&mut transcriber, &recordings)? {
        println!("{text}");
    }
    for text in in_turns(&Mutex::new(transcriber), &recordings)? {
        println!("{text}");
    }
    Ok(())
}

/// Windows of all recordings are decoded together, up to eight at a time.
pub fn together(transcriber: &mut Transcriber, recordings: &[Audio]) -> Result<Vec<String>, TranscribeError> {
    let recordings: Vec<&Audio> = recordings.iter().collect();
    let results = transcriber.transcribe_all(&recordings, &TranscribeOptions::default(), &mut ())?;
    Ok(results.into_iter().map(|result| result.text.trim().to_owned()).collect())
}

/// A thread for each recording. The transcriber is locked for a window at a time, so that a short recording does not
/// wait for the end of a long one. The windows are computed one after another: each uses all cores.
pub fn in_turns(transcriber: &Mutex<Transcriber>, recordings: &[Audio]) -> Result<Vec<String>, TranscribeError> {
    let locked = || transcriber.lock().unwrap_or_else(PoisonError::into_inner);
    let text = |recording: &Audio| {
        let mut transcribing = locked().begin([recording], &TranscribeOptions::default())?;
        loop {
            let next = transcribing.next_segment(&mut locked());
            match next {
                Some(Ok((_, segment))) => tracing::debug!("{}", segment.text),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        let results = transcribing.finish(&locked())?;
        Ok(results.iter().map(|result| result.text.trim()).collect())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = recordings.iter().map(|recording| scope.spawn(|| text(recording))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
