//! A start, in a process of its own: from opening the model to the first token, and the memory that this took.

use std::thread;

use serde::{Deserialize, Serialize};
use undertone_runner::speech_model::{RunError, SpeechModel as _};
use undertone_runner::tokenizer::Tokenizer;
use undertone_runner::{EngineOptions, Model};

use super::step::{Forced, noted};
use super::{BenchError, Loaded, window};

/// One device's starts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StartResult {
    /// The device.
    pub device: String,
    /// Seconds from the process's start to the first token, when nothing is packed.
    pub first_seconds: f64,
    /// The same when the model was packed by the start before; the best of a few.
    pub second_seconds: f64,
    /// Memory of the second start.
    #[serde(flatten)]
    pub memory: StartMemory,
}

/// What a process used to come to its first token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartMemory {
    /// Bytes of packed weights that the encoder and the first step of the decoder read; `None` on `cpu`.
    pub weight_bytes: Option<u64>,
    /// Most bytes that were resident at once; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// Bytes resident at the end that belong to the process alone.
    pub private_bytes: Option<u64>,
    /// Bytes resident at the end that are of mapped files.
    pub mapped_bytes: Option<u64>,
}

/// Opens `model`, and takes 30 s of synthetic sound to the first token. Call it once, in a fresh process, and time
/// that.
pub fn first_token(model: &Model, configuration: &EngineOptions) -> Result<StartMemory, BenchError> {
    // Both at once, as a transcription starts.
    let (tokenizer, loaded) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::load(model.directory()));
        let loaded = Loaded::new(model, configuration);
        (tokenizer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), loaded)
    });
    let (special, Loaded { engine, model: mut session, .. }) = (tokenizer?.special, loaded?);
    let window = window(model);
    let profile = noted(&engine, || -> Result<(), RunError> {
        session.encode(&[&window])?;
        Forced::start(&mut session, &special, 1).map(|_| ())
    })?;
    let weight_bytes = profile
        .map(|(profile, _)| profile.steps.iter().filter(|part| part.kind != "attention").map(|part| part.bytes).sum());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Ok(StartMemory {
        weight_bytes,
        peak_bytes: bytes_in(&status, "VmHWM:"),
        private_bytes: bytes_in(&status, "RssAnon:"),
        mapped_bytes: bytes_in(&status, "RssFile:"),
    })
}

/// The number of kilobytes after `key` in Linux's list, as bytes.
fn bytes_in(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_s_list_is_read() {
        let status = "Name:\tx\nVmHWM:\t   12 kB\nRssAnon:\t7 kB\nRssFile:\tmany kB\n";
        assert_eq!(bytes_in(status, "VmHWM:"), Some(12 << 10));
        assert_eq!(bytes_in(status, "RssFile:"), None);
        assert_eq!(bytes_in(status, "RssShmem:"), None);
    }
}
