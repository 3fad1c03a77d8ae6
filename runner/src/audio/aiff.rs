//! AIFF and AIFF-C (Apple, 1991), and AU of Sun and NeXT.

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, Track};
use super::header::{Header, believable};
use super::pcm::{Pcm, Sample};
use super::plain::Plain;

/// Opens what begins with `FORM`.
pub(super) fn open(mut bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    bytes.skip(12);
    let mut codec = None;
    while let Some(id) = bytes.array::<4>() {
        let Some(size) = bytes.array().map(u32::from_be_bytes) else { break };
        if id == *b"COMM" {
            codec = common(&bytes.take(size.next_multiple_of(2).min(1 << 12) as usize));
            if codec.is_none() {
                break;
            }
            continue;
        }
        if id == *b"SSND" {
            let Some((codec, rate, channels)) = codec else {
                return Err("an AIFF file whose format stands behind its sound".to_owned());
            };
            let offset = bytes.array().map_or(0, u32::from_be_bytes);
            bytes.skip(4 + u64::from(offset));
            let stated =
                believable(size).map(|size| size.saturating_sub(8 + u64::from(offset))).filter(|size| *size > 0);
            return Ok(Box::new(Plain::new(bytes, "AIFF", plain(codec, rate, channels, stated))));
        }
        bytes.skip(u64::from(size.next_multiple_of(2)));
    }
    Err("no sound in an AIFF file".to_owned())
}

/// Opens what begins with `.snd`.
pub(super) fn open_au(mut bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    let words: Vec<u32> =
        bytes.peek(24).chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]])).collect();
    let [_, offset, size, encoding, rate, channels] = words[..] else {
        return Err("an AU file without sound".to_owned());
    };
    bytes.skip(u64::from(offset.max(24)));
    let sample = match encoding {
        1 => Some(Sample::MuLaw),
        2..=5 => Some(Sample::Signed(encoding as usize - 1)),
        6 => Some(Sample::Float(4)),
        7 => Some(Sample::Float(8)),
        27 => Some(Sample::ALaw),
        _ => None,
    };
    let codec = match sample {
        Some(sample) if (1..=256).contains(&channels) => pcm(sample, true, rate, channels as usize),
        _ => Codec::Unknown(if encoding == 24 { "G.722".to_owned() } else { format!("AU encoding {encoding}") }),
    };
    let stated = believable(size).filter(|size| *size > 0);
    Ok(Box::new(Plain::new(bytes, "AU", plain(codec, rate, channels as usize, stated))))
}

fn pcm(sample: Sample, big_endian: bool, rate: u32, channels: usize) -> Codec {
    Codec::Pcm(Pcm { sample, big_endian, rate, weights: vec![1.0; channels] })
}

fn plain(codec: Codec, rate: u32, channels: usize, stated: Option<u64>) -> Header {
    let block = match &codec {
        Codec::Pcm(pcm) => pcm.frame(),
        _ => channels.max(1),
    };
    let track = Track { codec, rate, promised: None, tolerance: u64::from(rate / 20), slack: 0, default: true };
    Header { track, block, block_frames: 1, block_head: 0, stated }
}

/// Reads a `COMM` chunk: codec, rate, channels.
fn common(chunk: &[u8]) -> Option<(Codec, u32, usize)> {
    let channels = usize::from(u16::from_be_bytes([*chunk.first()?, *chunk.get(1)?]));
    let bits = usize::from(u16::from_be_bytes([*chunk.get(6)?, *chunk.get(7)?]));
    let rate = extended(chunk.get(8..18)?)?;
    if channels == 0 {
        return None;
    }
    let bytes = bits.div_ceil(8).clamp(1, 8);
    let (sample, big) = match chunk.get(18..22).unwrap_or(b"NONE") {
        b"NONE" | b"twos" | b"in24" | b"in32" => (Sample::Signed(bytes), true),
        b"sowt" => (Sample::Signed(bytes), false),
        b"raw " => (Sample::Unsigned(bytes), true),
        b"fl32" | b"FL32" => (Sample::Float(4), true),
        b"fl64" | b"FL64" => (Sample::Float(8), true),
        b"alaw" | b"ALAW" => (Sample::ALaw, true),
        b"ulaw" | b"ULAW" => (Sample::MuLaw, true),
        other => return Some((Codec::Unknown(format!("{:?}", String::from_utf8_lossy(other))), rate, channels)),
    };
    Some((pcm(sample, big, rate, channels), rate, channels))
}

/// A whole number in the 80 bits of IEEE 754's extended precision.
fn extended(bytes: &[u8]) -> Option<u32> {
    let exponent = i32::from(u16::from_be_bytes([bytes[0] & 0x7f, bytes[1]])) - 16_383;
    let mantissa = u64::from_be_bytes(bytes[2..10].try_into().ok()?);
    // The point stands behind the first of 64 bits.
    let value = (0..=62).contains(&exponent).then(|| mantissa >> (63 - exponent))?;
    u32::try_from(value).ok()
}
