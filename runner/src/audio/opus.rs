//! Opus (RFC 6716): what its header says (RFC 7845, section 5.1), how long a packet is, and decoding by `opus-decoder`.

use opus_decoder::{OpusDecoder, OpusMultistreamDecoder};

use super::mix::weights_of_mask;

/// Opus always decodes to this rate here.
pub(super) const RATE: u32 = 48_000;
/// Frames of the longest packet: 120 ms.
const LONGEST: usize = 5760;
/// Masks of WAV for the layouts of 1 to 8 channels in Vorbis' order, and where each channel of that order stands in the mask's.
const LAYOUTS: [(u64, &[usize]); 8] = [
    (0x4, &[0]),
    (0x3, &[0, 1]),
    (0x7, &[0, 2, 1]),
    (0x33, &[0, 1, 2, 3]),
    (0x37, &[0, 2, 1, 3, 4]),
    (0x3f, &[0, 2, 1, 4, 5, 3]),
    (0x70f, &[0, 2, 1, 5, 6, 4, 3]),
    (0x63f, &[0, 2, 1, 6, 7, 4, 5, 3]),
];

/// What `OpusHead` says.
pub(super) struct Head {
    pub(super) channels: usize,
    /// Frames to drop at the start.
    pub(super) skip: u64,
    /// A factor for every sample.
    gain: f32,
    /// Streams, those of them that are pairs, and the channel of each; `None` for one stream.
    streams: Option<(usize, usize, Vec<u8>)>,
    /// The channels are places, as in Vorbis.
    placed: bool,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [_, channels, skip_low, skip_high, _, _, _, _, gain_low, gain_high, family, rest @ ..] =
            bytes.strip_prefix(b"OpusHead")?
        else {
            return None;
        };
        let channels = usize::from(*channels);
        let decibels = f32::from(i16::from_le_bytes([*gain_low, *gain_high])) / 256.0;
        let streams = match (family, rest) {
            (0, _) => None,
            (_, [streams, coupled, mapping @ ..]) if mapping.len() >= channels => {
                Some((usize::from(*streams), usize::from(*coupled), mapping[..channels].to_vec()))
            }
            _ => return None,
        };
        let fits = channels > 0 && (streams.is_some() || channels <= 2);
        fits.then(|| Self {
            channels,
            skip: u64::from(u16::from_le_bytes([*skip_low, *skip_high])),
            gain: 10f32.powf(decibels / 20.0),
            streams,
            placed: *family == 1,
        })
    }

    /// What each channel counts in the mix.
    pub(super) fn weights(&self) -> Vec<f32> {
        match LAYOUTS.get(self.channels - 1) {
            Some((mask, order)) if self.placed => {
                let weights = weights_of_mask(*mask, self.channels);
                order.iter().map(|place| weights[*place]).collect()
            }
            _ => vec![1.0; self.channels],
        }
    }
}

/// Frames that a packet decodes to, by its first bytes (RFC 6716, section 3.1); 0 for what is no packet.
pub(super) fn frames(packet: &[u8]) -> u64 {
    let Some(toc) = packet.first() else { return 0 };
    let size = match toc >> 3 {
        config @ 0..12 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..16 => [480, 960][usize::from(config & 1)],
        config => 120 << (config & 3),
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |byte| u64::from(byte & 63)),
    };
    (size * count).min(LONGEST as u64)
}

/// Decodes packets.
pub(super) struct Decoder {
    inner: Inner,
    head: Head,
    samples: Vec<f32>,
}

enum Inner {
    One(Box<OpusDecoder>),
    Several(Box<OpusMultistreamDecoder>),
}

impl Decoder {
    pub(super) fn new(head: Head) -> Result<Self, String> {
        let inner = match &head.streams {
            None => OpusDecoder::new(RATE, head.channels).map(|one| Inner::One(Box::new(one))),
            Some((streams, coupled, mapping)) => {
                OpusMultistreamDecoder::new(RATE, head.channels, *streams, *coupled, mapping)
                    .map(|several| Inner::Several(Box::new(several)))
            }
        };
        let samples = vec![0.0; LONGEST * head.channels];
        Ok(Self { inner: inner.map_err(|error| error.to_string())?, head, samples })
    }

    /// The packet's samples, interleaved.
    pub(super) fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), String> {
        let decoded = match &mut self.inner {
            Inner::One(one) => one.decode_float(packet, &mut self.samples, false),
            Inner::Several(several) => several.decode_float(packet, &mut self.samples, false),
        };
        let count = decoded.map_err(|error| error.to_string())? * self.head.channels;
        out.extend(self.samples[..count].iter().map(|sample| sample * self.head.gain));
        Ok(())
    }
}
