//! Measures of a text that say whether a decoder went in circles.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Bytes of the text / bytes of it under zlib: above 2.4 it repeats itself (`compression_ratio_threshold` of Whisper).
///
/// Whisper measures the text of a whole window, without the blanks around it. The empty text has 0.
#[must_use]
pub fn compression_ratio(text: &str) -> f32 {
    // Whisper takes zlib's level 6; of this implementation's levels, 9 is the one that finds the same bytes.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing into a vector cannot fail; if it did, 0 says that nothing was found.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |bytes| text.len() as f32 / bytes.len() as f32)
}
