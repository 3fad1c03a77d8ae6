//! A library for `LD_PRELOAD`: it stands before ONNX Runtime's one entry point, `OrtGetApiBase`, and has every session
//! that the program makes go through the execution provider. For programs that have no way to ask for it.
//!
//! Without the variable [`settings::SWITCH`] the program gets what ONNX Runtime gives, untouched. With it, what cannot be
//! done is said on standard error, and the session is made as the program asked.
//!
//! It reaches programs that are linked with ONNX Runtime's shared library (onnxruntime-node, sherpa-onnx). Those that
//! look `OrtGetApiBase` up with `dlsym`, or have ONNX Runtime inside (the Python package), never come here.

#![cfg(target_os = "linux")]

mod entry;
mod real;
mod sessions;
mod settings;
mod table;

/// One line on standard error, once for each text.
fn say(text: &str) {
    use std::{io::Write as _, sync::Mutex};
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !said.iter().any(|one| one == text) {
        // A program may have closed it.
        let _ = writeln!(std::io::stderr(), "undertone-preload: {text}");
        said.push(text.to_owned());
    }
}
