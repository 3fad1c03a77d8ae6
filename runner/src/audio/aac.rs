//! AAC (ISO 14496-3): the stream of ADTS frames, and what of AAC needs more than a decoder of its plain profile.

use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, parameters};
use super::frames::{Frames, Head, Syntax};

/// Hz by index.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Opens AAC in ADTS, if the bytes are that.
pub(super) fn open(bytes: Bytes) -> Option<Box<dyn Demuxer>> {
    Frames::<Adts>::open(bytes).map(|frames| Box::new(frames) as Box<dyn Demuxer>)
}

struct Adts;

impl Syntax for Adts {
    const NAME: &'static str = "AAC";
    const HEADER: usize = 7;

    fn parse(header: &[u8]) -> Option<Head> {
        let [0xff, b, c, d, e, f, g, ..] = *header else { return None };
        if b & 0xf6 != 0xf0 {
            return None;
        }
        let rate = *RATES.get(usize::from(c >> 2 & 15))?;
        let channels = c << 2 & 4 | d >> 6;
        let length = usize::from(d & 3) << 11 | usize::from(e) << 3 | usize::from(f >> 5);
        let skipped = if b & 1 == 1 { 7 } else { 9 };
        if length <= skipped {
            return None;
        }
        let samples = 1024 * (u64::from(g & 3) + 1);
        let channel_count = if channels == 7 { 8 } else { usize::from(channels) };
        Some(Head { length, skipped, samples, rate, channels: channel_count, kind: c & 0xc0 | channels })
    }

    fn codec(head: &Head, first: &[&[u8]]) -> Codec {
        let profile = head.kind >> 6;
        match head.channels {
            0 => Codec::Unknown("AAC with channels of its own".to_owned()),
            1 | 2 if profile != 1 || head.samples != 1024 => {
                Codec::Unknown("a profile of AAC other than Low Complexity".to_owned())
            }
            1 | 2 => plain(head.rate, head.channels, has_upper_band(first)),
            more => Codec::Unknown(format!("AAC with {more} channels")),
        }
    }
}

/// AAC of the plain profile, with an upper band or without.
fn plain(rate: u32, channels: usize, upper: bool) -> Codec {
    let parameters = parameters(CODEC_ID_AAC, rate, Some(channels), None);
    if upper { Codec::HighEfficiency(parameters) } else { Codec::Symphonia(parameters) }
}

/// Whether the packets carry the upper band of HE-AAC (spectral band replication) beside the plain profile's lower one:
/// the last element of a packet is then a fill element of that type.
///
/// Elements have no lengths, so the fill element is looked for from the packet's end: 111 ends it, and in front of its
/// `count` bytes stand 110 and the count.
pub(super) fn has_upper_band(packets: &[&[u8]]) -> bool {
    let found = packets.iter().filter(|packet| ends_in_upper_band(packet)).count();
    packets.len() >= 3 && found * 4 >= packets.len() * 3
}

fn ends_in_upper_band(packet: &[u8]) -> bool {
    let bits = |from: usize, count: usize| {
        (from..from + count).fold(0, |value, at| value << 1 | u32::from(packet[at / 8] >> (7 - at % 8) & 1))
    };
    let Some(last) = packet.iter().rposition(|byte| *byte != 0) else { return false };
    let end = last * 8 + 8 - packet[last].trailing_zeros() as usize;
    if end < 3 || bits(end - 3, 3) != 7 {
        return false;
    }
    (1..270).any(|count: usize| {
        let Some(payload) = (end - 3).checked_sub(count * 8) else { return false };
        let head = match count {
            ..15 => payload.checked_sub(7).is_some_and(|at| bits(at, 3) == 6 && bits(at + 3, 4) as usize == count),
            _ => payload
                .checked_sub(15)
                .is_some_and(|at| bits(at, 7) == 0b110_1111 && bits(at + 7, 8) as usize == count - 14),
        };
        head && matches!(bits(payload, 4), 0xd | 0xe)
    })
}

/// What an `AudioSpecificConfig` (ISO 14496-3, section 1.6.2.1) and the first packets behind it need.
pub(super) fn codec(config: &[u8], packets: &[&[u8]]) -> Codec {
    let bits = |from: usize, count: usize| {
        (from..from + count).fold(0u32, |value, at| {
            value << 1 | config.get(at / 8).map_or(0, |byte| u32::from(byte >> (7 - at % 8) & 1))
        })
    };
    let mut at = 5;
    let mut object = bits(0, 5);
    if object == 31 {
        object = 32 + bits(5, 6);
        at = 11;
    }
    let index = bits(at, 4);
    at += 4;
    let rate = if index == 15 { bits(at, 24) } else { RATES.get(index as usize).copied().unwrap_or(0) };
    at += if index == 15 { 24 } else { 0 };
    let channels = bits(at, 4);
    at += 4;
    // Announced: the object type of the lower band comes behind. Or announced in a way that old players do not see.
    let mut upper = matches!(object, 5 | 29);
    if upper {
        at += if bits(at, 4) == 15 { 28 } else { 4 };
        object = bits(at, 5);
    } else {
        upper = bits(at + 3, 11) == 0x2b7 && bits(at + 14, 5) == 5 && bits(at + 19, 1) == 1;
    }
    let short = !upper && bits(at, 1) == 1;
    match (object, channels) {
        (2, _) if short => return Codec::Unknown("AAC with frames of 960".to_owned()),
        (2, 1 | 2) if rate > 0 => {}
        (2, 3..) => return Codec::Unknown("AAC with more than two channels".to_owned()),
        (2, _) => return Codec::Unknown("AAC with channels of its own".to_owned()),
        _ => return Codec::Unknown(format!("AAC of object type {object}")),
    }
    plain(rate, channels as usize, upper || has_upper_band(packets))
}
