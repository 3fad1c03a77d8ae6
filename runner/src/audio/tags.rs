//! Notes that stand in front of, between or behind a stream's frames and are no sound: ID3 (with covers), APE, Lyrics3.

use super::bytes::Bytes;

/// Bytes of an ID3v1 tag.
const ID3V1: u64 = 128;

/// Whether a tag begins here.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(b"TAG") || length(bytes).is_some() || bytes.starts_with(b"LYRICSBEGIN")
}

/// Leaves out a tag that begins here; whether there was one.
pub(super) fn skip(bytes: &mut Bytes) -> bool {
    let start = bytes.peek(32).to_vec();
    if let Some(length) = length(&start) {
        return bytes.skip(length) > 0;
    }
    if start.starts_with(b"LYRICSBEGIN") {
        let text = bytes.peek(64 * 1024);
        let ends: [&[u8]; 2] = [b"LYRICSEND", b"LYRICS200"];
        if let Some(end) = text.windows(9).position(|window| ends.contains(&window)) {
            return bytes.skip(end as u64 + 9) > 0;
        }
    }
    start.starts_with(b"TAG") && {
        // At the end, or between files that were joined.
        bytes.skip(ID3V1) > 0
    }
}

/// The whole length of a tag that says it.
fn length(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [b'I', b'D', b'3', version, _, flags, a, b, c, d, ..] if *version < 0xff && (a | b | c | d) & 0x80 == 0 => {
            let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | u64::from(**byte));
            Some(10 + size + if flags & 0x10 == 0 { 0 } else { 10 })
        }
        _ if bytes.starts_with(b"APETAGEX") => {
            let size = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
            let flags = u32::from_le_bytes(bytes.get(20..24)?.try_into().ok()?);
            // The size counts the items and the footer; a header comes on top, a footer alone is 32 bytes.
            Some(if flags & 1 << 29 == 0 { 32 } else { 32 + u64::from(size) })
        }
        _ => None,
    }
}
