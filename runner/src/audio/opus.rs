//! Opus (RFC 6716): what its header says (RFC 7845, section 5.1), how long a packet is, and decoding by `opus-decoder`.

use opus_decoder::OpusDecoder;

use super::mix::weights_of_mask;

/// Opus always decodes to this rate here.
pub(super) const RATE: u32 = 48_000;
/// Frames of the longest packet: 120 ms.
const LONGEST: usize = 5760;
/// Masks of WAV for the layouts of 1 to 8 channels in Vorbis' order, and where each channel of that order stands in the
/// mask's.
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
    /// One for each stream, and its channels.
    streams: Vec<(OpusDecoder, usize)>,
    head: Head,
    samples: Vec<f32>,
}

impl Decoder {
    pub(super) fn new(head: Head) -> Result<Self, String> {
        let channels: Vec<usize> = match &head.streams {
            None => vec![head.channels],
            Some((streams, coupled, _)) => (0..*streams).map(|stream| if stream < *coupled { 2 } else { 1 }).collect(),
        };
        let stream =
            |channels: usize| Ok((OpusDecoder::new(RATE, channels).map_err(|error| error.to_string())?, channels));
        let streams = channels.into_iter().map(stream).collect::<Result<_, String>>()?;
        Ok(Self { streams, head, samples: vec![0.0; LONGEST * 2] })
    }

    /// The packet's samples, interleaved.
    pub(super) fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<(), String> {
        let count = self.streams.len();
        let Some((_, _, mapping)) = &self.head.streams else {
            let (decoder, channels) = &mut self.streams[0];
            let frames = decoder.decode_float(packet, &mut self.samples, false).map_err(|error| error.to_string())?;
            out.extend(self.samples[..frames * *channels].iter().map(|sample| sample * self.head.gain));
            return Ok(());
        };
        let (mut rest, mut planes, mut length) = (packet, Vec::new(), usize::MAX);
        for (index, (decoder, channels)) in self.streams.iter_mut().enumerate() {
            // All but the last say how long they are.
            let last = index + 1 == count;
            let (packet, behind) =
                if last { (rest.to_vec(), &[][..]) } else { undelimited(rest).ok_or("a broken packet")? };
            rest = behind;
            let frames = decoder.decode_float(&packet, &mut self.samples, false).map_err(|error| error.to_string())?;
            length = length.min(frames);
            for channel in 0..*channels {
                let plane = self.samples[channel..frames * *channels].iter().step_by(*channels);
                planes.push(plane.copied().collect::<Vec<f32>>());
            }
        }
        for frame in 0..length {
            // 255 is a channel of silence.
            let sample = |plane: &u8| planes.get(usize::from(*plane)).map_or(0.0, |plane| plane[frame]);
            out.extend(mapping.iter().map(|plane| sample(plane) * self.head.gain));
        }
        Ok(())
    }
}

/// A packet that says how long it is (RFC 6716, appendix B), as one that does not, and what stands behind it.
fn undelimited(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    // A length of one or two bytes.
    let length = |at: usize| match usize::from(*bytes.get(at)?) {
        short @ ..252 => Some((short, 1)),
        long => Some((long + 4 * usize::from(*bytes.get(at + 1)?), 2)),
    };
    let code = bytes.first()? & 3;
    let mut head = vec![bytes[0]];
    let mut at = 1;
    let (mut body, mut padding) = (0, 0);
    // Frames whose lengths are written in both forms, before the one that is only written in this.
    let (written, alike) = match code {
        0 => (0, 1),
        1 => (0, 2),
        2 => (1, 1),
        _ => {
            let count = *bytes.get(1)?;
            head.push(count);
            at = 2;
            let mut padded = count & 0x40 != 0;
            while padded {
                let more = *bytes.get(at)?;
                head.push(more);
                at += 1;
                padding += usize::from(more.min(254));
                padded = more == 255;
            }
            let frames = usize::from(count & 63);
            if count & 0x80 == 0 { (0, frames) } else { (frames.checked_sub(1)?, 1) }
        }
    };
    for _ in 0..written {
        let (size, used) = length(at)?;
        head.extend_from_slice(&bytes[at..at + used]);
        (body, at) = (body + size, at + used);
    }
    let (size, used) = length(at)?;
    (body, at) = (body + size * alike + padding, at + used);
    head.extend_from_slice(bytes.get(at..at + body)?);
    Some((head, &bytes[at + body..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lose_the_length_that_only_several_streams_have() {
        let undelimited = |bytes: &[u8]| undelimited(bytes).map(|(packet, rest)| (packet, rest.to_vec()));
        assert_eq!(undelimited(&[0, 2, 8, 9, 7]), Some((vec![0, 8, 9], vec![7])));
        assert_eq!(undelimited(&[1, 1, 8, 9, 7]), Some((vec![1, 8, 9], vec![7])));
        assert_eq!(undelimited(&[2, 1, 2, 7, 8, 9]), Some((vec![2, 1, 7, 8, 9], vec![])));
        // Three frames of one length and two bytes of padding; two frames of lengths of their own.
        assert_eq!(undelimited(&[3, 0x43, 2, 1, 7, 8, 9, 0, 0, 5]), Some((vec![3, 0x43, 2, 7, 8, 9, 0, 0], vec![5])));
        assert_eq!(undelimited(&[3, 0x82, 1, 2, 7, 8, 9]), Some((vec![3, 0x82, 1, 7, 8, 9], vec![])));
        let long: Vec<u8> = [&[0, 252, 1][..], &[6; 256]].concat();
        assert_eq!(undelimited(&long), Some(([&[0][..], &[6; 256]].concat(), vec![])));
        assert_eq!((undelimited(&[]), undelimited(&[0, 3, 1]), undelimited(&[3])), (None, None, None));
    }
}
