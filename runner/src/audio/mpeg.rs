//! MPEG audio, layers I to III (ISO 11172-3, 13818-3), with Xing's, LAME's and Fraunhofer's notes in the first frame:
//! how many frames follow, and what the encoder put around the sound. Files that were joined have a note for each part.

use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, parameters};
use super::frames::{Frames, Head, Info, Syntax};

/// kbit/s by index, for MPEG-1's layers and then for MPEG-2's layer I and the others.
const RATES: [[u32; 15]; 5] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// What a decoder adds to the encoder's delay (LAME's tag does not count it).
const DECODER_DELAY: u64 = 529;

/// Opens MPEG audio, if the bytes are that.
pub(super) fn open(bytes: Bytes) -> Option<Box<dyn Demuxer>> {
    Frames::<Mpeg>::open(bytes).map(|frames| Box::new(frames) as Box<dyn Demuxer>)
}

struct Mpeg;

impl Syntax for Mpeg {
    const NAME: &'static str = "MPEG audio";
    const HEADER: usize = 4;

    fn parse(header: &[u8]) -> Option<Head> {
        let [0xff, b, c, d, ..] = *header else { return None };
        // Version 3 is MPEG-1, 2 is MPEG-2, 0 its extension to low rates. Layer 3 is I.
        let (version, layer) = (b >> 3 & 3, b >> 1 & 3);
        let (rate, step) = (c >> 4, c >> 2 & 3);
        if b & 0xe0 != 0xe0 || version == 1 || layer == 0 || rate == 0 || rate == 15 || step == 3 || d & 3 == 2 {
            return None;
        }
        let hertz = [44_100, 48_000, 32_000][usize::from(step)] >> [2, 2, 1, 0][usize::from(version)];
        let row = match (version == 3, layer) {
            (true, layer) => 3 - usize::from(layer),
            (false, 3) => 3,
            (false, _) => 4,
        };
        let bits = RATES[row][usize::from(rate)] * 1000;
        let padding = u32::from(c >> 1 & 1);
        let (length, samples) = match layer {
            3 => ((12 * bits / hertz + padding) * 4, 384),
            2 => (144 * bits / hertz + padding, 1152),
            _ if version == 3 => (144 * bits / hertz + padding, 1152),
            _ => (72 * bits / hertz + padding, 576),
        };
        let channels = if d >> 6 == 3 { 1 } else { 2 };
        let kind = version << 4 | layer << 2 | channels;
        Some(Head { length: length as usize, skipped: 0, samples, rate: hertz, channels: usize::from(channels), kind })
    }

    fn info(frame: &[u8], head: &Head) -> Option<Info> {
        // Behind the side information, which is always empty in such a frame.
        let side = match (head.kind >> 4 == 3, head.channels == 1) {
            (true, false) => 32,
            (true, true) | (false, false) => 17,
            (false, true) => 9,
        };
        let word = |at: usize| Some(u32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
        if head.kind >> 2 & 3 != 1 {
            return None;
        }
        if frame.get(36..40) == Some(b"VBRI") {
            return Some(Info { frames: word(50).map(u64::from), ..Info::default() });
        }
        let tag = frame.get(4 + side..)?;
        if !tag.starts_with(b"Xing") && !tag.starts_with(b"Info") {
            return None;
        }
        let flags = word(4 + side + 4)?;
        let mut at = 4 + side + 8;
        let frames = if flags & 1 == 0 { None } else { word(at).map(u64::from) };
        at +=
            [(1, 4), (2, 4), (4, 100), (8, 4)].iter().filter(|(flag, _)| flags & flag != 0).map(|f| f.1).sum::<usize>();
        let mut info = Info { frames: frames.filter(|frames| *frames > 0), ..Info::default() };
        let encoder = frame.get(at..at + 4).unwrap_or(&[]);
        if let (true, Some([a, b, c])) =
            ([b"LAME", b"Lavf", b"Lavc"].iter().any(|name| encoder == *name), frame.get(at + 21..at + 24))
        {
            let (a, b, c) = (u64::from(*a), u64::from(*b), u64::from(*c));
            info.delay = (a << 4 | b >> 4) + DECODER_DELAY;
            info.padding = ((b & 15) << 8 | c).saturating_sub(DECODER_DELAY);
        }
        Some(info)
    }

    fn codec(head: &Head, _: &[&[u8]]) -> Codec {
        let codec = match head.kind >> 2 & 3 {
            3 => CODEC_ID_MP1,
            2 => CODEC_ID_MP2,
            _ => CODEC_ID_MP3,
        };
        Codec::Symphonia(parameters(codec, head.rate, Some(head.channels), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_layer() {
        let parse =
            |header: [u8; 4]| Mpeg::parse(&header).map(|head| (head.length, head.samples, head.rate, head.channels));
        assert_eq!(parse([0xff, 0xfb, 0x90, 0x64]), Some((417, 1152, 44_100, 2)));
        assert_eq!(parse([0xff, 0xfb, 0x92, 0xc4]), Some((418, 1152, 44_100, 1)));
        assert_eq!(parse([0xff, 0xf3, 0x48, 0xc4]), Some((144, 576, 16_000, 1)));
        assert_eq!(parse([0xff, 0xe3, 0x48, 0xc4]), Some((288, 576, 8_000, 1)));
        assert_eq!(parse([0xff, 0xfd, 0x84, 0x00]), Some((384, 1152, 48_000, 2)));
        assert_eq!(parse([0xff, 0xff, 0x44, 0x00]), Some((128, 384, 48_000, 2)));
        for broken in [[0xff, 0xfb, 0xf0, 0], [0xff, 0xfb, 0x9c, 0], [0xff, 0xeb, 0x90, 0], [0xff, 0xf9, 0x90, 0]] {
            assert_eq!(parse(broken), None, "{broken:x?}");
        }
    }
}
