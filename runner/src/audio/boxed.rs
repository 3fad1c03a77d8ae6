//! Containers that symphonia reads: MP4 and its kin (M4A, MOV, 3GP), CAF. They keep an index apart from the sound, so
//! that they are read with seeking.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::{CODEC_ID_NULL_AUDIO, well_known as codec};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{self, FormatOptions, FormatReader, TrackFlags, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;

use super::aac;
use super::demux::{Codec, Demuxer, Item, Packet, Track};
use super::edits;
use super::frames::LOSSY_TOLERANCE;

/// Packets that are looked at before the first is given.
const AHEAD: usize = 12;

/// Opens what symphonia knows as a container.
pub(super) fn open(source: Box<dyn MediaSource>) -> Result<Box<dyn Demuxer>, Error> {
    let mut source = Whole::new(source)?;
    let late = edits::late(&mut source);
    source.seek(SeekFrom::Start(0))?;
    let stream = MediaSourceStream::new(Box::new(source), Default::default());
    let probe = symphonia::default::get_probe();
    let reader = probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())?;
    let is_audio = |track: &&formats::Track| {
        matches!(track.codec_params, Some(CodecParameters::Audio(_))) || track.codec_params.is_none()
    };
    let ids: Vec<u32> = reader.tracks().iter().filter(is_audio).map(|track| track.id).collect();
    let video = reader.first_track(TrackType::Video).is_some();
    let late = ids.iter().map(|id| late.get(id).copied().unwrap_or(0)).collect();
    let (tracks, queue) = (Vec::new(), VecDeque::new());
    let mut boxed = Boxed { reader, ids, tracks, late, selected: 0, video, queue, base: None, ended: None };
    // Tracks of an unknown kind come without anything.
    boxed.look_ahead();
    for (index, id) in boxed.ids.iter().enumerate() {
        let packets: Vec<&[u8]> =
            boxed.queue.iter().filter(|(track, _)| *track == index).map(|(_, packet)| &packet.data[..]).collect();
        let track = boxed.reader.tracks().iter().find(|track| track.id == *id);
        boxed.tracks.extend(track.map(|track| make_track(track, &packets, boxed.late[index])));
    }
    Ok(Box::new(boxed))
}

struct Boxed {
    reader: Box<dyn FormatReader>,
    ids: Vec<u32>,
    tracks: Vec<Track>,
    /// Nanoseconds by which each track begins later than the film.
    late: Vec<u64>,
    selected: usize,
    video: bool,
    queue: VecDeque<(usize, Packet)>,
    /// Where the first packet stands: parts of live streams go on counting.
    base: Option<u64>,
    /// What ended the packets.
    ended: Option<Option<Error>>,
}

fn make_track(track: &formats::Track, packets: &[&[u8]], late: u64) -> Track {
    let default = track.flags.contains(TrackFlags::DEFAULT);
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        let codec = Codec::Unknown("an unknown audio codec".to_owned());
        return Track { codec, rate: 1, promised: None, tolerance: 0, slack: 0, default };
    };
    let codec = codec_of(parameters, packets);
    let rate = match &codec {
        Codec::Symphonia(parameters) | Codec::HighEfficiency(parameters) => parameters.sample_rate,
        Codec::Opus(_) => Some(super::opus::RATE),
        _ => parameters.sample_rate,
    };
    let rate = rate.unwrap_or(super::SAMPLE_RATE).max(1);
    // Lengths are in ticks of the track.
    let in_frames = |ticks: u64| match track.time_base {
        Some(base) => {
            (u128::from(ticks) * u128::from(base.numer.get()) * u128::from(rate) / u128::from(base.denom.get())) as u64
        }
        None => ticks,
    };
    let promised = track.duration.map(|ticks| in_frames(ticks.get())).or(track.num_frames);
    let promised = promised.map(|frames| frames.saturating_add(frames_of(u128::from(late), rate)));
    // Lengths in packets count what fills up the last of them.
    let tolerance = LOSSY_TOLERANCE.max(u64::from(rate / 10));
    Track { codec, rate, promised, tolerance, slack: u64::from(rate / 4), default }
}

/// Frames of `nanoseconds` at `rate`.
fn frames_of(nanoseconds: u128, rate: u32) -> u64 {
    (nanoseconds * u128::from(rate) / 1_000_000_000) as u64
}

fn codec_of(parameters: &AudioCodecParameters, packets: &[&[u8]]) -> Codec {
    let extra = parameters.extra_data.as_deref();
    match parameters.codec {
        codec::CODEC_ID_AAC => aac::codec(extra.unwrap_or_default(), packets),
        codec::CODEC_ID_OPUS => Codec::Opus(extra.unwrap_or_default().to_vec()),
        codec::CODEC_ID_AC3 => Codec::Unknown("AC-3".to_owned()),
        codec::CODEC_ID_EAC3 => Codec::Unknown("E-AC-3".to_owned()),
        codec::CODEC_ID_DCA => Codec::Unknown("DTS".to_owned()),
        CODEC_ID_NULL_AUDIO => Codec::Unknown("an unknown audio codec".to_owned()),
        _ => {
            let mut parameters = parameters.clone();
            if matches!(parameters.channels, Some(Channels::None)) {
                parameters.channels = None;
            }
            Codec::Symphonia(Box::new(parameters))
        }
    }
}

/// A file whose last box has the length that is there: symphonia reads nothing of one that promises more.
struct Whole {
    inner: Box<dyn MediaSource>,
    position: u64,
    /// Where a length stands, and what it is in truth.
    patch: Option<(u64, [u8; 4])>,
}

impl Whole {
    fn new(mut inner: Box<dyn MediaSource>) -> io::Result<Self> {
        let length = inner.byte_len().unwrap_or(u64::MAX);
        let (mut at, mut patch) = (0u64, None);
        let mut header = [0; 16];
        while at + 16 <= length {
            inner.seek(SeekFrom::Start(at))?;
            if inner.read_exact(&mut header).is_err() {
                break;
            }
            let [a, b, c, d, kind @ .., e, f, g, h, i, j, k, l] = header;
            let short = u32::from_be_bytes([a, b, c, d]);
            let size = if short == 1 { u64::from_be_bytes([e, f, g, h, i, j, k, l]) } else { u64::from(short) };
            if size < 8 || !kind.iter().all(u8::is_ascii_graphic) {
                break;
            }
            if size > length - at {
                // 0 says: up to the end. A long length keeps its place behind the name, and is then the box's first
                // bytes.
                let real = u32::try_from(length - at).ok().filter(|_| short != 1);
                patch = real.map(|real| (at, real.to_be_bytes()));
                break;
            }
            at += size;
        }
        inner.seek(SeekFrom::Start(0))?;
        Ok(Self { inner, position: 0, patch })
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some((at, bytes)) = &self.patch {
            for (offset, byte) in (*at..).zip(bytes) {
                if (self.position..self.position + count as u64).contains(&offset) {
                    buffer[(offset - self.position) as usize] = *byte;
                }
            }
        }
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Whole {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

impl MediaSource for Whole {
    fn is_seekable(&self) -> bool {
        self.inner.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.inner.byte_len()
    }
}

impl Boxed {
    fn look_ahead(&mut self) {
        let mut packets = 0;
        while packets < AHEAD && self.queue.len() < 50 * AHEAD && self.read() {
            packets = self.queue.iter().filter(|(track, _)| *track == 0).count();
        }
    }

    /// Reads a packet into the queue; `false` at the end.
    fn read(&mut self) -> bool {
        if self.ended.is_some() || self.ids.is_empty() {
            return false;
        }
        match self.reader.next_packet() {
            Ok(Some(packet)) => {
                if let Some(index) = self.ids.iter().position(|id| *id == packet.track_id) {
                    let base = self.reader.tracks().iter().find(|track| track.id == packet.track_id);
                    let base = base.and_then(|track| track.time_base);
                    // Ticks for now; the rate of the codec is known later.
                    let ticks = u64::try_from(packet.pts.get()).ok();
                    let nanoseconds = ticks.zip(base).map(|(ticks, base)| {
                        (u128::from(ticks) * 1_000_000_000 * u128::from(base.numer.get())
                            / u128::from(base.denom.get())) as u64
                    });
                    let packet = Packet {
                        data: packet.data.into_vec(),
                        at: nanoseconds,
                        frames: packet.dur.get() + packet.trim_start.get() + packet.trim_end.get(),
                        trim_start: packet.trim_start.get(),
                        trim_end: packet.trim_end.get(),
                    };
                    self.queue.push_back((index, packet));
                }
                true
            }
            Ok(None) => {
                self.ended = Some(None);
                false
            }
            Err(Error::ResetRequired) => {
                self.ended = Some(None);
                false
            }
            Err(error) => {
                self.ended = Some(Some(error));
                false
            }
        }
    }
}

impl Demuxer for Boxed {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn has_video(&self) -> bool {
        self.video
    }

    fn select(&mut self, track: usize) {
        self.selected = track;
    }

    fn next(&mut self) -> Option<Item> {
        loop {
            let Some((index, mut packet)) = self.queue.pop_front() else {
                if self.read() {
                    continue;
                }
                let promised = self.tracks.get(self.selected).and_then(|track| track.promised);
                return match self.ended.as_mut().and_then(Option::take) {
                    Some(Error::IoError(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                        self.ended = Some(Some(Error::IoError(error)));
                        None
                    }
                    Some(Error::IoError(_)) => Some(Item::Cut(promised)),
                    Some(error) => Some(Item::Damage(error.to_string())),
                    None => None,
                };
            };
            if index != self.selected {
                continue;
            }
            let rate = self.tracks.get(index).map_or(1, |track| track.rate);
            let base = *self.base.get_or_insert(packet.at.unwrap_or(0));
            packet.at = packet
                .at
                .and_then(|at| at.checked_sub(base))
                .map(|at| frames_of(u128::from(at) + u128::from(self.late[index]), rate));
            return Some(Item::Packet(packet));
        }
    }

    fn trouble(&mut self) -> Option<io::Error> {
        match self.ended.take() {
            Some(Some(Error::IoError(error))) => Some(error),
            other => {
                self.ended = other;
                None
            }
        }
    }
}
