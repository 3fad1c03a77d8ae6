//! Measures of a text that say whether a decoder went in circles.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Bytes of the text / bytes of it under zlib: above 2.4 it repeats itself (`compression_ratio_threshold` of Whisper).
///
/// Whisper measures the text of a whole window, without the blanks around it. The empty text has 0.
pub fn compression_ratio(text: &str) -> f32 {
    // Whisper takes zlib's level 6; of this implementation's levels, 9 is the one that finds the same bytes.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing into a vector cannot fail; if it did, 0 says that nothing was found.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |bytes| text.len() as f32 / bytes.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn read(name: &str) -> Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/transcripts/");
        serde_json::from_slice(&std::fs::read(format!("{folder}{name}")).unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn ratio_is_finite(text in "\\PC{0,200}") {
            prop_assert!(compression_ratio(&text).is_finite());
        }
    }

    #[test]
    fn compression_ratio_as_python_computes_it() {
        // len(s.encode()) / len(zlib.compress(s.encode()))
        assert_eq!(compression_ratio(""), 0.0);
        let (mut compared, mut equal) = (0, 0);
        for name in ["greedy-short.json", "greedy-short-without-timestamps.json", "translate-short.json"] {
            let transcripts = read(name);
            for result in transcripts["results"].as_array().unwrap() {
                let segments = result["segments"].as_array().unwrap();
                // The ratio is that of a window: only where there was one is its text the whole text.
                if segments.iter().any(|segment| segment["seek"] != 0) {
                    continue;
                }
                let ratio = compression_ratio(result["text"].as_str().unwrap().trim());
                for segment in segments {
                    let expected = segment["compression_ratio"].as_f64().unwrap() as f32;
                    assert!((ratio / expected - 1.0).abs() < 0.05, "{segment}: {ratio}");
                    equal += usize::from((ratio - expected).abs() < 1e-5);
                    compared += 1;
                }
            }
        }
        println!("{equal} of {compared} equal");
        assert!(compared >= 80 && equal * 20 >= compared * 19, "{equal} of {compared}");
        assert!(compression_ratio(&" The same again.".repeat(20)) > 2.4);
    }
}
