//! The pretended device, as a test sees it: its faults and what it counts. One test at a time: there is one device in a
//! process.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// A path that `run_fake.sh` gives.
pub fn path(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: these tests are run by tests/xrt/run_fake.sh"),
    }
}

/// A fault that ends when this is dropped.
pub struct Fault(());

impl Fault {
    /// From now on the device has this fault (words of `tests/xrt/fake/src/faults.rs`).
    pub fn begin(fault: &str) -> Self {
        set(fault);
        Self(())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        set("");
    }
}

/// The device reads the file at any moment: it finds the old word or the new one, never none.
fn set(fault: &str) {
    let folder = path("UNDERTONE_FAKE_NPU");
    fs::write(folder.join("fault.new"), fault).unwrap();
    fs::rename(folder.join("fault.new"), folder.join("fault")).unwrap();
}

/// One of the device's counters.
pub fn count(name: &str) -> u64 {
    let text = fs::read(path("UNDERTONE_FAKE_NPU").join("counters")).unwrap_or_else(|_| b"{}".to_vec());
    let counters: Value = serde_json::from_slice(&text).unwrap();
    counters.get(name).map_or(0, |value| value.as_u64().unwrap())
}

/// That nothing is open that a program could have forgotten.
pub fn assert_nothing_open() {
    for name in ["clients", "contexts", "buffers", "buffer_bytes", "mappings", "mapped_bytes", "pending"] {
        assert_eq!(count(name), 0, "{name} left open");
    }
}

/// What the device refused, and why, since the last call.
pub fn log() -> String {
    let file = path("UNDERTONE_FAKE_NPU").join("log");
    let text = fs::read_to_string(&file).unwrap_or_default();
    fs::write(file, "").unwrap();
    text
}
