//! The runner's examples, on the reference model: each does what it says.

#![allow(dead_code, reason = "an example's main function is not called")]

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use undertone_runner::{EngineOptions, Model, Transcriber, audio};

mod common;

#[path = "../runner/examples/cancel.rs"]
mod cancel;
#[path = "../runner/examples/file.rs"]
mod file;
#[path = "../runner/examples/reader.rs"]
mod reader;
#[path = "../runner/examples/samples.rs"]
mod samples;
#[path = "../runner/examples/segments.rs"]
mod segments;
#[path = "../runner/examples/several.rs"]
mod several;

const SAID: &str = "The green lion is above the red table.";

fn clip(name: &str) -> PathBuf {
    common::root().join("speech/short").join(name)
}

/// One model for all tests of this file.
fn shared() -> &'static Mutex<Transcriber> {
    static SHARED: OnceLock<Mutex<Transcriber>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let model = Model::from_directory(&common::reference(), None).unwrap();
        Mutex::new(Transcriber::load(&model, &EngineOptions::new(env!("UNDERTONE_ORT_DYLIB"))).unwrap())
    })
}

fn transcriber() -> MutexGuard<'static, Transcriber> {
    shared().lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_file_a_reader_and_samples_give_the_same_text() {
    let path = clip("000-en.flac");
    assert_eq!(file::text(&mut transcriber(), &path).unwrap(), SAID);
    assert_eq!(reader::text(&mut transcriber(), File::open(&path).unwrap()).unwrap(), SAID);
    let audio = audio::read_file(&path).unwrap();
    // As 16-bit stereo.
    let stereo: Vec<i16> = audio.samples.iter().flat_map(|sample| [(sample * 32767.0) as i16; 2]).collect();
    assert_eq!(samples::text(&mut transcriber(), &stereo, 16_000, 2).unwrap(), SAID);
}

#[test]
fn segments_are_written_as_they_come() {
    let mut out = Vec::new();
    let result = segments::subtitles(&mut transcriber(), &clip("000-en.flac"), &mut out).unwrap();
    assert_eq!(result.text.trim(), SAID);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("1\n00:00:00,") && out.ends_with(&format!("\n{SAID}\n\n")), "{out}");
}

#[test]
fn time_that_is_up_ends_it_and_what_was_done_is_kept() {
    let long = common::root().join("speech/long/pauses-4min.flac");
    let result = cancel::for_at_most(Duration::ZERO, &mut transcriber(), &long).unwrap();
    assert!(result.run.stopped.is_some_and(|until| until < result.duration), "{:?}", result.run.stopped);
    let whole = cancel::for_at_most(Duration::from_secs(600), &mut transcriber(), &clip("000-en.flac")).unwrap();
    assert_eq!((whole.text.trim(), whole.run.stopped), (SAID, None));
}

#[test]
fn several_recordings_together_and_in_turns() {
    let recordings: Vec<_> = ["000-en.flac", "006-de.flac"].map(|name| audio::read_file(&clip(name)).unwrap()).into();
    let together = several::together(&mut transcriber(), &recordings).unwrap();
    assert_eq!(together[0], SAID);
    assert_eq!(several::in_turns(shared(), &recordings).unwrap(), together);
}
