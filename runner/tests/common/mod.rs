//! What the tests share: where the repository is, WAV files in memory, likeness of two signals.
#![allow(dead_code)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use hound::{Sample, WavSpec, WavWriter};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A JSON file's content.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A WAV file.
pub fn wav<T: Sample + Copy>(spec: WavSpec, samples: &[T]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for sample in samples {
        writer.write_sample(*sample).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// Correlation of two signals over the length of the shorter.
pub fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let count = a.len().min(b.len());
    let (a, b) = (&a[..count], &b[..count]);
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// By how many samples `b` is later than `a`, between −`most` and `most`.
pub fn best_shift(a: &[f32], b: &[f32], most: usize) -> i64 {
    let later = (0..=most).map(|shift| (shift as i64, correlation(a, &b[shift.min(b.len())..])));
    let earlier = (1..=most).map(|shift| (-(shift as i64), correlation(&a[shift.min(a.len())..], b)));
    later.chain(earlier).filter(|(_, c)| c.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |best| best.0)
}
