//! Log-mel features against the reference implementations' (transformers, openai/whisper), against the definition written out
//! slowly, and at the odd sizes.

use std::path::{Path, PathBuf};

use undertone_runner::audio;
use undertone_runner::mel::LogMel;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A NumPy file of little-endian f32, row-major: its shape and values.
fn npy(name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(root().join("tests/vectors").join(name)).unwrap();
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values = bytes[10 + length..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (shape, values)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn speech(file: &str) -> Vec<f32> {
    audio::read_file(&root().join("speech/short").join(file)).unwrap().samples
}

#[test]
fn as_transformers_computes_it() {
    for (name, bins) in [("mel-short-000-en.npy", 80), ("mel-short-000-en.128.npy", 128)] {
        let (shape, expected) = npy(name);
        let features = LogMel::new(bins).hugging_face(&speech("000-en.flac"));
        assert_eq!(shape[shape.len() - 2..], [features.bins, features.frames], "{name}");
        let difference = largest_difference(&features.data, &expected);
        println!("{name}: {difference:e}");
        assert!(difference < 1e-4, "{name}: {difference}");
    }
}

#[test]
fn as_openai_computes_it() {
    // Made without the 30 s of zeros: the frames at the end that would hear them differ, all others do not.
    let (shape, expected) = npy("mel-openai-short-001-en.npy");
    let frames = shape[shape.len() - 1];
    let features = LogMel::new(80).openai(&speech("001-en.flac"));
    assert_eq!(features.frames, frames);
    let kept = frames - 2;
    let without_end =
        |data: &[f32]| -> Vec<f32> { data.chunks(frames).flat_map(|line| line[..kept].to_vec()).collect() };
    let difference = largest_difference(&without_end(&features.data), &without_end(&expected));
    println!("{difference:e}");
    assert!(difference < 1e-4, "{difference}");
}
