//! What is tried with the EP's library: odd options, odd calls of its C functions, odd graphs, and odd files of packed
//! weights. Each function takes bytes, and panics if the library does what it must not.
//!
//! `run.sh` has a fuzzer make up the bytes; a test of the EP (`ep/tests/fuzz_corpus.rs`) takes those that are kept in
//! `corpus`.

#![allow(unsafe_code, reason = "plays the part of ONNX Runtime")]

mod calls;
mod container;
mod host;
mod text;

use std::ffi::CString;

use onnxruntime_ep_xdna::{
    Options,
    kv_exports::{onnxruntime_ep_xdna_kv_cache_free, onnxruntime_ep_xdna_kv_cache_new},
};

pub use calls::calls;
pub use container::container;
pub use host::Outcome;

/// EP options: a line is a key, `=`, and a value.
pub fn options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    // What it prints of what it was given is one line.
    if let Err(error) = Options::parse(pairs.take(32)) {
        let (said, shown) = (error.to_string(), text.chars().filter(|letter| letter.is_control()).count());
        assert!(!said.is_empty() && (shown > 1 || said.lines().count() == 1), "{said}");
    }
}

/// A graph and a session, as text (`text.rs`).
pub fn graph(data: &[u8]) -> Outcome {
    let (mut session, graph) = text::read(&String::from_utf8_lossy(data));
    let cache = session.cache.is_some().then(|| onnxruntime_ep_xdna_kv_cache_new());
    session.cache = cache.map(|number| CString::new(number.to_string()).unwrap_or_default());
    let outcome = host::play(&session, &graph);
    if let Some(cache) = cache {
        assert_eq!(onnxruntime_ep_xdna_kv_cache_free(cache), 0);
    }
    outcome
}
