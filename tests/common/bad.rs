//! Bad input: how a failure must look, and WAV bytes.

use std::path::Path;
use std::process::Command;

use super::{run, text};

/// Runs a command that has to fail: exit code 1, nothing on stdout, one line on stderr that begins with `error: `, no
/// panic.
pub fn error_line(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{command:?}\nstdout: {out}\nstderr: {err}");
    assert_eq!(out, "", "{command:?}");
    assert!(!err.contains("panicked"), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines.len(), 1, "more than one line, or none: {err}");
    assert!(lines[0].starts_with("error: "), "{err}");
    lines[0].to_string()
}

/// Entries of a directory; 0 if there is none.
pub fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// A 16-bit PCM WAV file; `samples` are interleaved.
pub fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let data = u32::try_from(samples.len() * 2).expect("a test's file is small");
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + data).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend_from_slice(&channels.to_le_bytes());
    bytes.extend_from_slice(&rate.to_le_bytes());
    bytes.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
    bytes.extend_from_slice(&(channels * 2).to_le_bytes());
    bytes.extend_from_slice(&16u16.to_le_bytes());
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&data.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}
