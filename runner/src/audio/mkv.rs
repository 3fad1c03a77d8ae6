//! Matroska and WebM (RFC 9559). The elements' names tell where they belong, so that lengths of what holds others are
//! not needed: live recordings have none, cut ones have wrong ones. What is damaged is left out up to the next cluster.

use std::collections::VecDeque;
use std::io;

use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_ALAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_VORBIS,
};

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, Item, Packet, Track, parameters};
use super::ebml::{children, float, name, unlace, unsigned, vint, xiph};
use super::pcm::{Pcm, Sample};
use super::{aac, flac, opus};

const CLUSTER: u32 = 0x1f43_b675;
/// The longest element that is read and not left out: a block, a header.
const LONGEST: u64 = 64 << 20;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Packets that are looked at before the first is given.
const AHEAD: usize = 12;

/// Opens what begins with an EBML header.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    let mut mkv = Mkv {
        bytes,
        scale: 1_000_000,
        duration: None,
        entries: Vec::new(),
        tracks: Vec::new(),
        selected: 0,
        video: false,
        cluster: 0,
        base: None,
        queue: VecDeque::new(),
    };
    while mkv.cluster_not_begun() {
        if !mkv.element() {
            break;
        }
    }
    // The first packets tell more of a codec than its header does.
    while mkv.queue.iter().filter(|(track, _)| *track == 0).count() < AHEAD && mkv.queue.len() < 50 * AHEAD {
        if mkv.entries.is_empty() || !mkv.element() {
            break;
        }
    }
    let duration = mkv.duration.map(|ticks| ticks * mkv.scale as f64 / SECOND as f64);
    for (index, entry) in mkv.entries.iter().enumerate() {
        let packets: Vec<&[u8]> = mkv
            .queue
            .iter()
            .filter_map(|(track, item)| match item {
                Item::Packet(packet) if *track == index => Some(&packet.data[..]),
                _ => None,
            })
            .collect();
        mkv.tracks.push(entry.track(&packets, duration));
    }
    if mkv.tracks.is_empty() {
        return Err(if mkv.video { "no sound in a film" } else { "no sound in a Matroska file" }.to_owned());
    }
    Ok(Box::new(mkv))
}

struct Mkv {
    bytes: Bytes,
    /// Nanoseconds of a tick.
    scale: u64,
    /// Ticks.
    duration: Option<f64>,
    entries: Vec<Entry>,
    tracks: Vec<Track>,
    selected: usize,
    video: bool,
    /// The time of the cluster, in ticks.
    cluster: u64,
    /// The time of the first cluster.
    base: Option<u64>,
    queue: VecDeque<(usize, Item)>,
}

/// An audio track as its entry describes it.
#[derive(Default)]
struct Entry {
    number: u64,
    kind: u64,
    codec: String,
    private: Vec<u8>,
    rate: f64,
    channels: usize,
    bits: usize,
    default: bool,
    /// Nanoseconds at the start that are dropped.
    delay: u64,
    /// Bytes that stand in front of every packet and are not written again.
    stripped: Vec<u8>,
    encoded: bool,
}

impl Entry {
    fn read(body: &[u8]) -> Self {
        let mut entry = Self { default: true, rate: 8000.0, channels: 1, ..Self::default() };
        entry.elements(body);
        entry
    }

    fn elements(&mut self, body: &[u8]) {
        for (id, data) in children(body) {
            match id {
                0xd7 => self.number = unsigned(data),
                0x83 => self.kind = unsigned(data),
                0x86 => self.codec = String::from_utf8_lossy(data).trim_end_matches('\0').to_owned(),
                0x63a2 => self.private = data.to_vec(),
                0x88 => self.default = unsigned(data) != 0,
                0x56aa => self.delay = unsigned(data),
                0xb5 => self.rate = float(data),
                0x9f => self.channels = unsigned(data) as usize,
                0x6264 => self.bits = unsigned(data) as usize,
                // Audio, the encodings, one of them, its compression.
                0xe1 | 0x6d80 | 0x6240 | 0x5034 => self.elements(data),
                0x4254 => self.encoded |= unsigned(data) != 3,
                0x4255 => self.stripped = data.to_vec(),
                0x5035 => self.encoded = true,
                _ => {}
            }
        }
    }

    fn rate(&self) -> u32 {
        match self.codec.as_str() {
            "A_OPUS" => opus::RATE,
            _ => self.rate as u32,
        }
    }

    fn track(&self, packets: &[&[u8]], duration: Option<f64>) -> Track {
        let rate = self.rate();
        let promised = duration.map(|seconds| (seconds * f64::from(rate)) as u64);
        Track {
            codec: self.codec(packets),
            rate,
            promised: promised.filter(|frames| *frames > 0),
            // A film's pictures may go on longer than its sound: only a cut is a loss.
            tolerance: u64::MAX,
            // Times are rounded to milliseconds, and those of live recordings are the clock's.
            slack: u64::from(rate / 10),
            default: self.default,
        }
    }

    fn codec(&self, packets: &[&[u8]]) -> Codec {
        let unknown = |name: &str| Codec::Unknown(name.to_owned());
        if self.encoded {
            return unknown("a compressed or encrypted Matroska track");
        }
        let channels = Some(self.channels).filter(|channels| *channels <= 2);
        let with = |id, extra| Codec::Symphonia(parameters(id, self.rate(), channels, extra));
        let pcm = |sample, big_endian| {
            let weights = vec![1.0; self.channels.max(1)];
            Codec::Pcm(Pcm { sample, big_endian, rate: self.rate(), weights })
        };
        let bytes = self.bits.div_ceil(8).clamp(1, 8);
        match self.codec.as_str() {
            "A_OPUS" => Codec::Opus(self.private.clone()),
            "A_VORBIS" => match laced_headers(&self.private) {
                Some(headers) => with(CODEC_ID_VORBIS, Some(headers)),
                None => unknown("Vorbis without its headers"),
            },
            "A_FLAC" => flac::codec(self.private.get(8..42).unwrap_or(&[]), self.rate()),
            "A_MPEG/L3" => with(CODEC_ID_MP3, None),
            "A_MPEG/L2" => with(CODEC_ID_MP2, None),
            "A_MPEG/L1" => with(CODEC_ID_MP1, None),
            "A_ALAC" => with(CODEC_ID_ALAC, Some(self.private.clone())),
            "A_PCM/INT/LIT" if bytes == 1 => pcm(Sample::Unsigned(1), false),
            "A_PCM/INT/LIT" => pcm(Sample::Signed(bytes), false),
            "A_PCM/INT/BIG" => pcm(Sample::Signed(bytes), true),
            "A_PCM/FLOAT/IEEE" => pcm(Sample::Float(bytes), false),
            "A_AAC" => aac::codec(&self.private, packets),
            "A_AC3" => unknown("AC-3"),
            "A_EAC3" => unknown("E-AC-3"),
            "A_DTS" => unknown("DTS"),
            "A_TRUEHD" => unknown("TrueHD"),
            name if name.starts_with("A_AAC") => unknown("AAC in an old kind of Matroska"),
            name => unknown(name),
        }
    }
}

/// The first and the last of Vorbis' three headers, which stand in one block with Xiph's lengths.
fn laced_headers(private: &[u8]) -> Option<Vec<u8>> {
    let (&2, rest) = private.split_first()? else { return None };
    let (first, rest) = xiph(rest)?;
    let (second, rest) = xiph(rest)?;
    Some([rest.get(..first)?, rest.get(first + second..)?].concat())
}

/// Elements that are known and left out, besides those that are read.
fn known(id: u32) -> bool {
    #[rustfmt::skip] // several to a line
    const KNOWN: [u32; 24] = [
        0xec, 0xbf, 0xab, 0xa7, 0xa4, 0xa6, 0x9b, 0xfb, 0xfa, 0xfd, 0x8e, 0xaf, 0x5854, 0x75a1, 0xee, 0xcc, 0xcb, 0xa2,
        0x114d_9b74, 0x1c53_bb6b, 0x1254_c367, 0x1941_a469, 0x1043_a770, 0x1b53_8667,
    ];
    KNOWN.contains(&id)
}

impl Mkv {
    fn cluster_not_begun(&self) -> bool {
        self.base.is_none()
    }

    /// Reads an element; `false` at the end.
    fn element(&mut self) -> bool {
        let head = self.bytes.peek(12);
        let available = head.len();
        if available == 0 {
            return false;
        }
        let parsed =
            name(head).and_then(|(id, length)| vint(&head[length..]).map(|(size, more)| (id, size, length + more)));
        let Some((id, size, length)) = parsed else { return self.damage(available) };
        let room = size.filter(|size| *size <= LONGEST);
        match (id, room) {
            // What holds others is gone into: the segment, a cluster, a group of blocks.
            (0x1853_8067 | CLUSTER | 0xa0, _) => {
                self.bytes.skip(length as u64);
                true
            }
            // The header of EBML, which comes again where files were joined; a cluster's time; information; the tracks.
            (0x1a45_dfa3 | 0xe7 | 0x1549_a966 | 0x1654_ae6b | 0xa3 | 0xa1 | 0x75a2, Some(size)) => {
                let whole = self.bytes.peek(length + size as usize);
                let available = whole.len();
                if available < length + size as usize {
                    return self.damage(available);
                }
                let body = whole[length..].to_vec();
                self.bytes.skip(length as u64 + size);
                self.known_element(id, &body);
                true
            }
            (id, Some(size)) if known(id) => self.leave_out(length as u64 + size),
            // Attachments may be long.
            (0x1941_a469, None) if size.is_some() => self.leave_out(length as u64 + size.unwrap_or(0)),
            _ => self.damage(available),
        }
    }

    fn leave_out(&mut self, count: u64) -> bool {
        if self.bytes.skip(count) < count {
            self.cut();
        }
        true
    }

    fn cut(&mut self) {
        let promised = self.tracks.get(self.selected).and_then(|track| track.promised);
        self.queue.push_back((self.selected, Item::Cut(promised)));
    }

    /// Goes to the next cluster; what is left out is told if there is one, and else the bytes are cut.
    fn damage(&mut self, mut available: usize) -> bool {
        loop {
            let window = self.bytes.peek(1 << 16);
            let found = window.windows(4).skip(1).position(|id| id == CLUSTER.to_be_bytes());
            let end = window.len() < 1 << 16;
            match found {
                Some(at) => {
                    self.bytes.skip(at as u64 + 1);
                    self.queue.push_back((self.selected, Item::Damage("a broken Matroska cluster".to_owned())));
                    return true;
                }
                None if end => {
                    available = available.max(window.len());
                    self.bytes.skip(available as u64);
                    self.cut();
                    return false;
                }
                None => {
                    self.bytes.skip((1 << 16) - 4);
                }
            }
        }
    }

    fn known_element(&mut self, id: u32, body: &[u8]) {
        match id {
            0xe7 => {
                self.cluster = unsigned(body);
                self.base.get_or_insert(self.cluster);
            }
            0x1549_a966 => {
                for (id, data) in children(body) {
                    match id {
                        0x2a_d7b1 => self.scale = unsigned(data).max(1),
                        0x4489 => self.duration = Some(float(data)).filter(|ticks| ticks.is_finite() && *ticks > 0.0),
                        _ => {}
                    }
                }
            }
            0x1654_ae6b if self.entries.is_empty() => {
                for (id, data) in children(body) {
                    if id == 0xae {
                        let entry = Entry::read(data);
                        self.video |= entry.kind == 1;
                        if entry.kind == 2 {
                            self.entries.push(entry);
                        }
                    }
                }
            }
            0xa3 | 0xa1 => self.block(body),
            0x75a2 => {
                // Behind the block that it speaks of.
                let Some((track, Item::Packet(packet))) = self.queue.back_mut() else { return };
                let rate = u64::from(self.entries[*track].rate());
                let bits = 64 - 8 * body.len().min(8) as u32;
                let discard = (unsigned(body) << bits).cast_signed() >> bits;
                packet.trim_end = (u64::try_from(discard).unwrap_or(0) * rate / SECOND).min(packet.frames);
            }
            _ => {}
        }
    }

    fn block(&mut self, block: &[u8]) {
        let Some((Some(number), length)) = vint(block) else { return };
        let Some(index) = self.entries.iter().position(|entry| entry.number == number) else { return };
        let Some([high, low, flags, body @ ..]) = block.get(length..) else { return };
        // Tracks that are not wanted are only looked at before the choice.
        if !self.tracks.is_empty() && index != self.selected {
            return;
        }
        let entry = &self.entries[index];
        let (rate, delay) = (u64::from(entry.rate()), entry.delay);
        let time =
            i64::from(i16::from_be_bytes([*high, *low])) + self.cluster.saturating_sub(self.base.unwrap_or(0)) as i64;
        let nanoseconds = u64::try_from(time).unwrap_or(0).saturating_mul(self.scale);
        let mut at =
            Some((u128::from(nanoseconds.saturating_sub(delay)) * u128::from(rate) / u128::from(SECOND)) as u64);
        let skip = (u128::from(delay) * u128::from(rate)).div_ceil(u128::from(SECOND)) as u64;
        let Some(packets) = unlace(flags >> 1 & 3, body) else {
            self.queue.push_back((index, Item::Damage("a broken Matroska block".to_owned())));
            return;
        };
        for packet in packets {
            let data = [&entry.stripped[..], packet].concat();
            let frames = if entry.codec == "A_OPUS" { opus::frames(&data) } else { 0 };
            // Only the first block lies before the beginning.
            let before = (u128::from(nanoseconds) * u128::from(rate) / u128::from(SECOND)) as u64;
            let trim_start = if at.is_some() { skip.saturating_sub(before).min(frames) } else { 0 };
            let item = Item::Packet(Packet { data, at: at.take(), frames, trim_start, trim_end: 0 });
            self.queue.push_back((index, item));
        }
    }
}

impl Demuxer for Mkv {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn has_video(&self) -> bool {
        self.video
    }

    fn select(&mut self, track: usize) {
        self.selected = track;
        // Damage was told to the first before there was a choice.
        self.queue.retain(|(index, item)| *index == track || matches!(item, Item::Damage(_) | Item::Cut(_)));
    }

    fn next(&mut self) -> Option<Item> {
        loop {
            // The last block waits for what may stand behind it about itself.
            if self.queue.len() > 1 {
                return self.queue.pop_front().map(|(_, item)| item);
            }
            if !self.element() {
                return self.queue.pop_front().map(|(_, item)| item);
            }
        }
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.bytes.trouble()
    }
}
