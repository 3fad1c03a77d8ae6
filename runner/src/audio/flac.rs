//! FLAC (RFC 9639). Frames are found by their headers and believed by their checksums; the place of each in time stands
//! in it, so that what is missing between two is known to the sample.

use std::io;

use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, Item, Packet, Track, parameters};
use super::{crc, tags};

/// Bytes of a `STREAMINFO` block.
const STREAM_INFO: usize = 34;
/// Bytes of the longest frame header.
const LONGEST_HEADER: usize = 16;

/// Opens what begins with `fLaC`.
pub(super) fn open(mut bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    let info = metadata(&mut bytes).ok_or_else(|| "a FLAC file without its first block".to_owned())?;
    let mut flac = Flac { bytes, tracks: [track(&info)?], info, base: 0, damaged: false };
    flac.begin();
    Ok(Box::new(flac))
}

struct Flac {
    bytes: Bytes,
    tracks: [Track; 1],
    info: Info,
    /// Where the first frame stands by its own number: parts that were cut out go on counting.
    base: u64,
    damaged: bool,
}

/// What `STREAMINFO` says.
#[derive(Clone)]
struct Info {
    block: Vec<u8>,
    /// Frames of sound in each frame, where they all have the same.
    fixed: Option<u64>,
    rate: u32,
    channels: usize,
    bits: usize,
    total: Option<u64>,
}

/// Reads the metadata blocks.
fn metadata(bytes: &mut Bytes) -> Option<Info> {
    while tags::skip(bytes) {}
    bytes.array::<4>().filter(|magic| magic == b"fLaC")?;
    let mut info = None;
    loop {
        let [kind, a, b, c] = bytes.array()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind & 0x7f == 0 && length >= STREAM_INFO {
            info = stream_info(bytes.take(STREAM_INFO));
            bytes.skip((length - STREAM_INFO) as u64);
        } else {
            bytes.skip(length as u64);
        }
        if kind & 0x80 != 0 {
            return info;
        }
    }
}

/// Reads a `STREAMINFO` block.
fn stream_info(block: Vec<u8>) -> Option<Info> {
    let bits = u64::from_be_bytes(block.get(10..18)?.try_into().ok()?);
    let size = |at: usize| u64::from(u16::from_be_bytes([block[at], block[at + 1]]));
    let (least, most) = (size(0), size(2));
    Some(Info {
        fixed: (least == most && least >= 16).then_some(least),
        rate: (bits >> 44) as u32,
        channels: (bits >> 41 & 7) as usize + 1,
        bits: (bits >> 36 & 31) as usize + 1,
        total: Some(bits & ((1 << 36) - 1)).filter(|total| *total > 0),
        block,
    })
}

/// The decoder of frames that a `STREAMINFO` block describes; the block is mended where it would be refused for nothing.
pub(super) fn codec(block: &[u8], rate: u32) -> Codec {
    let mut block = block.to_vec();
    if block.len() == STREAM_INFO {
        // Encoders to pipes leave 0, others forget a longer frame: any length that can be is believed.
        block[..4].copy_from_slice(&[0, 16, 0xff, 0xff]);
        block[4..10].fill(0);
    }
    Codec::Symphonia(parameters(CODEC_ID_FLAC, rate, None, Some(block)))
}

fn track(info: &Info) -> Result<Track, String> {
    if info.rate == 0 {
        return Err("a FLAC file without a rate".to_owned());
    }
    let codec = codec(&info.block, info.rate);
    let tolerance = u64::from(info.rate / 20);
    Ok(Track { codec, rate: info.rate, promised: info.total, tolerance, slack: 0, default: true })
}

/// A frame's header.
struct Head {
    /// Where the frame stands, in frames of sound.
    at: u64,
    samples: u64,
}

impl Flac {
    /// Takes the first frame's place as the beginning, if nothing is lost before it.
    fn begin(&mut self) {
        while tags::skip(&mut self.bytes) {}
        self.base = head(self.bytes.peek(LONGEST_HEADER), &mut self.info).map_or(0, |head| head.at);
        if let Some(promised) = &mut self.tracks[0].promised {
            *promised = promised.saturating_sub(self.base);
        }
    }

    /// The length of the frame at `bytes`, whose checksum holds and behind which something known stands.
    fn length(&mut self, samples: u64) -> Option<usize> {
        let most = samples as usize * self.info.channels * (self.info.bits + 1) / 8 + 512;
        let window = self.bytes.peek(most + LONGEST_HEADER);
        let mut crc = 0u16;
        for (at, byte) in window.iter().enumerate() {
            let behind = &window[at..];
            if crc == 0
                && at > 8
                && (head(behind, &mut self.info).is_some() || tags::begins(behind) || behind.starts_with(b"fLaC"))
            {
                return Some(at);
            }
            crc = crc << 8 ^ CRC16[usize::from(crc.to_be_bytes()[0] ^ byte)] as u16;
        }
        (crc == 0 && window.len() > 8 && window.len() < most + LONGEST_HEADER).then_some(window.len())
    }

    /// Goes to the next byte from which a frame, a tag or another file may begin; whether there is one.
    fn seek(&mut self) -> bool {
        self.bytes.skip(1);
        loop {
            let window = self.bytes.peek(1 << 16);
            let length = window.len();
            if length < LONGEST_HEADER {
                self.bytes.skip(length as u64);
                return false;
            }
            let end = length - LONGEST_HEADER + 1;
            let found = (0..end).find(|at| {
                window[*at] == 0xff && head(&window[*at..], &mut self.info).is_some()
                    || window[*at..].starts_with(b"fLaC")
            });
            self.bytes.skip(found.unwrap_or(end) as u64);
            if found.is_some() {
                return true;
            }
        }
    }
}

impl Demuxer for Flac {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next(&mut self) -> Option<Item> {
        loop {
            if tags::skip(&mut self.bytes) {
                continue;
            }
            if self.bytes.at_end() {
                return std::mem::take(&mut self.damaged).then_some(Item::Cut(None));
            }
            if self.bytes.peek(4) == b"fLaC" {
                // Another file was joined to this one.
                let info = metadata(&mut self.bytes)?;
                self.tracks = [track(&info).ok()?];
                self.info = info;
                self.begin();
                return Some(Item::Track(Box::new(self.tracks[0].clone())));
            }
            let ahead = head(self.bytes.peek(LONGEST_HEADER), &mut self.info);
            if let Some(head) = ahead
                && let Some(length) = self.length(head.samples)
            {
                let data = self.bytes.take(length);
                self.damaged = false;
                let at = head.at.checked_sub(self.base);
                return Some(Item::Packet(Packet { data, at, frames: head.samples, ..Packet::default() }));
            }
            self.damaged = true;
            self.seek();
        }
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.bytes.trouble()
    }
}

/// Reads a frame's header, if its checksum holds; the length of the first frame tells the others' where all are alike.
fn head(bytes: &[u8], info: &mut Info) -> Option<Head> {
    let [0xff, b, c, d, ..] = *bytes else { return None };
    // 10 channel assignments, no reserved width, no reserved bit.
    if b & 0xfe != 0xf8 || c >> 4 == 0 || c & 15 == 15 || d >> 4 > 10 || d >> 1 & 7 == 3 || d & 1 == 1 {
        return None;
    }
    // The number is coded like a character of UTF-8, of up to 7 bytes.
    let first = *bytes.get(4)?;
    let length = first.leading_ones() as usize;
    let (mut number, mut at) = (u64::from(first), 5);
    if length == 1 || length > 7 {
        return None;
    }
    if length > 1 {
        number = u64::from(first) & ((1 << (7 - length)) - 1);
        for byte in bytes.get(5..4 + length)? {
            if byte >> 6 != 2 {
                return None;
            }
            number = number << 6 | u64::from(byte & 63);
        }
        at = 4 + length;
    }
    let samples = match c >> 4 {
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => {
            at += 1;
            u64::from(*bytes.get(at - 1)?) + 1
        }
        7 => {
            at += 2;
            u64::from(u16::from_be_bytes(bytes.get(at - 2..at)?.try_into().ok()?)) + 1
        }
        code => 256 << (code - 8),
    };
    at += match c & 15 {
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    let crc = bytes.get(..at)?.iter().fold(0u8, |crc, byte| CRC8[usize::from(crc ^ byte)] as u8);
    if *bytes.get(at)? != crc {
        return None;
    }
    let fixed = b & 1 == 0;
    let place = if fixed { number * *info.fixed.get_or_insert(samples) } else { number };
    Some(Head { at: place, samples })
}

const CRC8: [u32; 256] = crc::table(8, 7);
const CRC16: [u32; 256] = crc::table(16, 0x8005);
