//! WAV in all its forms: RIFF, its big-endian twin RIFX, RF64 and BW64 for more than 4 GiB (EBU Tech 3306), Sony's
//! W64; with `fmt ` chunks of any length and lists of odd ones.
//!
//! Sources: Microsoft's “Multimedia Programming Interface and Data Specifications 1.0” and `WAVEFORMATEXTENSIBLE`.

use symphonia::core::codecs::audio::well_known::{CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS};

use super::bytes::Bytes;
use super::demux::{Codec, Track, parameters};
use super::header::{Header, believable};
use super::mix::weights_of_mask;
use super::pcm::{Pcm, Sample};

/// Chunks of lists and notes that are looked into for a `data` chunk that their lengths hide.
const SEARCHED: u64 = 8 << 20;
/// The GUIDs of W64 end alike but for `riff`.
const W64_RIFF: &[u8; 16] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
/// What follows the format tag in the GUIDs of `WAVEFORMATEXTENSIBLE`.
const SUBFORMAT: &[u8] = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// Whether a file that begins so is one of these.
pub(super) fn begins(start: &[u8]) -> bool {
    [b"RIFF", b"RIFX", b"RF64", b"BW64"].iter().any(|tag| start.starts_with(*tag)) || start.starts_with(&W64_RIFF[..8])
}

/// What [`header`] calls the codec of a file that holds MPEG frames.
pub(super) const MPEG: &str = "MPEG audio";

/// Reads up to the first byte of the data.
pub(super) fn header(bytes: &mut Bytes) -> Result<Header, String> {
    let start: [u8; 4] = bytes.peek_array().unwrap_or_default();
    let w64 = start == *b"riff";
    let big = start == *b"RIFX";
    bytes.skip(if w64 { 40 } else { 12 });
    let (mut format, mut long_data, mut fact) = (None, None, None);
    loop {
        // What is no name of a chunk is looked through from its first byte on.
        if !bytes.peek(4).iter().all(|byte| (b' '..=b'~').contains(byte)) {
            if !search(bytes, SEARCHED) {
                return Err("no sound in a WAV file".to_owned());
            }
            continue;
        }
        let Some((id, mut size)) = chunk(bytes, w64, big) else { return Err("no sound in a WAV file".to_owned()) };
        let filling = if w64 { size.next_multiple_of(8) - size } else { size % 2 };
        match &id {
            b"fmt " if size >= 14 => {
                let body = bytes.take(size.min(1 << 12) as usize);
                size -= body.len() as u64;
                format = Some(body);
            }
            b"ds64" if size >= 16 => {
                let body = bytes.take(16);
                size -= 16;
                long_data = body[8..].try_into().ok().map(u64::from_le_bytes);
            }
            b"fact" if size >= 4 => {
                fact = bytes.array::<4>();
                size -= 4;
            }
            b"data" => {
                let Some(format) = &format else { return Err("a WAV file without a format".to_owned()) };
                let stated = match long_data {
                    Some(length) if size == 0xffff_ffff => Some(length).filter(|length| (1..1 << 60).contains(length)),
                    _ if w64 => Some(size).filter(|length| *length < 1 << 60),
                    _ => believable(size as u32),
                };
                // No length at all, or none written: unless another chunk follows, the data go up to the end.
                let stated = stated.filter(|length| *length > 0 || chunk_follows(bytes, 0) || bytes.at_end());
                tracing::trace!("WAV data of {stated:?} bytes, {fact:?} frames");
                return format_of(format, big).map(|header| Header { stated, ..header });
            }
            _ => {}
        }
        skip(bytes, size, filling, w64);
    }
}

/// The next chunk's name and length.
fn chunk(bytes: &mut Bytes, w64: bool, big: bool) -> Option<([u8; 4], u64)> {
    if w64 {
        let [a, b, c, d, ..] = bytes.array::<16>()?;
        let size = u64::from_le_bytes(bytes.array()?);
        return Some(([a, b, c, d], size.saturating_sub(24)));
    }
    let id = bytes.array()?;
    let size = bytes.array()?;
    Some((id, u64::from(if big { u32::from_be_bytes(size) } else { u32::from_le_bytes(size) })))
}

/// Goes on behind the last `size` bytes of a chunk and what fills it up, or at the `data` chunk that stands within them
/// because the length is wrong.
fn skip(bytes: &mut Bytes, size: u64, filling: u64, w64: bool) {
    if size <= SEARCHED && (bytes.peek(size as usize).len() as u64) < size && search(bytes, size) {
        return;
    }
    bytes.skip(size);
    if w64 {
        bytes.skip(filling);
    } else if filling > 0 {
        // Not every program fills up odd chunks.
        let next = bytes.peek(5);
        let named = |name: &[u8]| name.len() == 4 && [b"data", b"fmt ", b"LIST", b"fact"].iter().any(|id| name == *id);
        if !next.get(..4).is_some_and(named) {
            bytes.skip(1);
        }
    }
}

/// Goes to the next `data` chunk in the next `size` bytes, if there is one.
fn search(bytes: &mut Bytes, size: u64) -> bool {
    let found = bytes.peek(size as usize).windows(4).position(|name| name == b"data");
    if let Some(at) = found {
        tracing::debug!("a WAV chunk's length is wrong: the data come {at} bytes later");
        bytes.skip(at as u64);
    }
    found.is_some()
}

/// Whether what stands `pad` bytes on is another chunk that fits into what is left.
pub(super) fn chunk_follows(bytes: &mut Bytes, pad: usize) -> bool {
    let Some([tag @ .., a, b, c, d]) = bytes.peek(pad + 8).get(pad..).and_then(|next| <[u8; 8]>::try_from(next).ok())
    else {
        return false;
    };
    let size = u32::from_le_bytes([a, b, c, d]);
    let named = tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ' || *byte == b'_');
    named && u64::from(size) <= SEARCHED && bytes.peek(pad + 8 + size as usize).len() == pad + 8 + size as usize
}

/// Reads a `fmt ` chunk.
fn format_of(chunk: &[u8], big: bool) -> Result<Header, String> {
    let short = |at: usize| {
        let pair: [u8; 2] = chunk.get(at..at + 2).and_then(|pair| pair.try_into().ok()).unwrap_or_default();
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let long = |at: usize| {
        let (first, second) = (u32::from(short(at)), u32::from(short(at + 2)));
        if big { first << 16 | second } else { second << 16 | first }
    };
    let (mut tag, channels, rate) = (short(0), usize::from(short(2)), long(4));
    let (align, bits) = (usize::from(short(12)), usize::from(short(14)));
    let mut mask = 0;
    if tag == 0xfffe {
        mask = u64::from(long(20));
        if chunk.get(26..40).is_none_or(|guid| guid == SUBFORMAT) {
            // Without a subformat the bits decide.
            tag = if chunk.len() >= 26 { short(24) } else { 1 };
        }
    }
    if channels == 0 {
        return Err("a WAV file without channels".to_owned());
    }
    let bytes = match align / channels {
        bytes @ 1..=8 if align % channels == 0 && bytes * 8 >= bits => bytes,
        _ => bits.div_ceil(8).clamp(1, 8),
    };
    let weights = weights_of_mask(mask, channels);
    let plain = |sample| {
        let pcm = Pcm { sample, big_endian: big, rate, weights: weights.clone() };
        (pcm.frame(), 1, 0, Codec::Pcm(pcm))
    };
    let (block, block_frames, block_head, codec) = match tag {
        1 if bytes == 1 => plain(Sample::Unsigned(1)),
        1 => plain(Sample::Signed(bytes)),
        3 => plain(Sample::Float(if bytes == 8 { 8 } else { 4 })),
        6 => plain(Sample::ALaw),
        7 => plain(Sample::MuLaw),
        0x02 | 0x11 if (bits == 4 || bits == 0) && channels <= 2 => {
            let (id, head, first) = if tag == 2 { (CODEC_ID_ADPCM_MS, 7, 2) } else { (CODEC_ID_ADPCM_IMA_WAV, 4, 1) };
            let head = head * channels;
            if align <= head {
                return Err("a WAV file with ADPCM blocks of no length".to_owned());
            }
            let frames = ((align - head) * 2 / channels + first) as u64;
            let mut parameters = parameters(id, rate, Some(channels), None);
            parameters.with_max_frames_per_packet(frames).with_frames_per_block(frames);
            (align, frames, head, Codec::Symphonia(parameters))
        }
        0x50 | 0x55 => (1, 1, 0, Codec::Unknown(MPEG.to_owned())),
        other => (1, 1, 0, Codec::Unknown(name_of(other))),
    };
    // 50 ms that are missing are a header that was not brought up to date.
    let tolerance = u64::from(rate / 20);
    let track = Track { codec, rate, promised: None, tolerance, slack: 0, default: true };
    Ok(Header { track, block: block.max(1), block_frames, block_head, stated: None })
}

/// Format tags of codecs that people meet (RFC 2361).
fn name_of(tag: u16) -> String {
    match tag {
        0x02 | 0x11 => "ADPCM of many channels or few bits".to_owned(),
        0x28f | 0x64 | 0x65 => "G.722".to_owned(),
        0x45 | 0x40 | 0x14 => "G.726".to_owned(),
        0x31 | 0x32 => "GSM 6.10".to_owned(),
        0x22 => "TrueSpeech".to_owned(),
        0x42 => "G.723.1".to_owned(),
        0xff | 0x1600..=0x1602 | 0x1610 => "AAC".to_owned(),
        0x160..=0x163 => "Windows Media Audio".to_owned(),
        0x2000 | 0x92 => "AC-3".to_owned(),
        0x2001 => "DTS".to_owned(),
        0x674f..=0x6771 => "Vorbis".to_owned(),
        0xf1ac => "FLAC".to_owned(),
        0xa109 => "Speex".to_owned(),
        other => format!("WAV format {other:#06x}"),
    }
}
