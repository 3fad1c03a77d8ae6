//! Streams that are nothing but frames, each with a header that says how long it is: MPEG audio and AAC in ADTS. Found
//! again after whatever stands between them: tags, pictures, zeros, damage.

use std::io;

use super::demux::{Codec, Demuxer, Item, Packet, Track};
use super::{bytes::Bytes, tags};

/// Bytes in which the first frame is looked for, after tags.
const SEARCH: usize = 256 * 1024;
/// Frames in a row that make a stream, unless it ends before.
const CONFIRMED: usize = 3;
/// Frames that a promise may be missed by: delay and padding are counted differently by different encoders.
pub(super) const LOSSY_TOLERANCE: u64 = 4608;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the whole frame.
    pub(super) length: usize,
    /// Bytes before what the decoder wants.
    pub(super) skipped: usize,
    /// Frames of sound that come out.
    pub(super) samples: u64,
    pub(super) rate: u32,
    pub(super) channels: usize,
    /// Differs between streams that need different decoders.
    pub(super) kind: u8,
}

impl Head {
    fn fits(&self, other: &Self) -> bool {
        (self.rate, self.kind, self.samples) == (other.rate, other.kind, other.samples)
    }
}

/// What the first frame of an encoder's run may say about all of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Info {
    /// Frames of the stream, without this one.
    pub(super) frames: Option<u64>,
    /// Frames of sound that the encoder put in front …
    pub(super) delay: u64,
    /// … and behind.
    pub(super) padding: u64,
}

/// A kind of such streams.
pub(super) trait Syntax: Send {
    const NAME: &'static str;
    /// Bytes that [`Self::parse`] needs.
    const HEADER: usize;
    fn parse(header: &[u8]) -> Option<Head>;
    /// What the frame says if it holds no sound but a note about the stream.
    fn info(_frame: &[u8], _head: &Head) -> Option<Info> {
        None
    }
    /// The codec of a stream; `first` are some of its frames.
    fn codec(head: &Head, first: &[&[u8]]) -> Codec;
}

/// A stream of frames.
pub(super) struct Frames<S> {
    bytes: Bytes,
    tracks: [Track; 1],
    head: Head,
    info: Info,
    /// Frames since the last info.
    index: u64,
    /// Frames of sound so far, in this track.
    position: u64,
    /// Mean bytes of a frame.
    mean: f64,
    syntax: std::marker::PhantomData<S>,
}

impl<S: Syntax> Frames<S> {
    /// Opens a stream whose first frame is near.
    pub(super) fn open(mut bytes: Bytes) -> Option<Self> {
        while tags::skip(&mut bytes) {}
        let at = find::<S>(bytes.peek(SEARCH), None)?;
        bytes.skip(at as u64);
        // In front of the frames there may be tags that were not seen, behind zeros.
        let head = S::parse(bytes.peek(S::HEADER))?;
        let (info, track) = begin::<S>(&mut bytes, &head);
        Some(Self {
            bytes,
            tracks: [track],
            head,
            info,
            index: 0,
            position: 0,
            mean: 0.0,
            syntax: std::marker::PhantomData,
        })
    }

    /// Whether the stream, or this encoder's part of it, ends `frames` frames from here.
    fn ends_after(&mut self, frames: u64) -> bool {
        let mut at = 0;
        for _ in 0..frames {
            match S::parse(self.bytes.peek(at + S::HEADER).get(at..).unwrap_or(&[])) {
                Some(head) => at += head.length,
                None => return false,
            }
        }
        let next = self.bytes.peek(at + SEARCH / 32).get(at..).unwrap_or(&[]);
        match S::parse(next) {
            Some(head) => next.get(..head.length).is_none_or(|frame| S::info(frame, &head).is_some()),
            None => true,
        }
    }

    fn packet(&mut self, head: Head) -> Option<Item> {
        let frame = self.bytes.peek(head.length);
        if frame.len() < head.length {
            tracing::debug!("the last {} frame is not whole", S::NAME);
            self.bytes.skip(head.length as u64);
            return None;
        }
        let data = frame[head.skipped..].to_vec();
        self.bytes.skip(head.length as u64);
        self.mean = if self.mean == 0.0 { head.length as f64 } else { self.mean * 0.9 + head.length as f64 * 0.1 };
        let before = self.index * head.samples;
        let trim_start = self.info.delay.saturating_sub(before).min(head.samples);
        let mut trim_end = 0;
        self.index += 1;
        if let Some(left) = self.info.frames.and_then(|frames| frames.checked_sub(self.index)) {
            trim_end = self.info.padding.saturating_sub(left * head.samples).min(head.samples - trim_start);
            if trim_end > 0 && !self.ends_after(left) {
                trim_end = 0;
            }
        }
        self.position += head.samples - trim_start - trim_end;
        Some(Item::Packet(Packet { data, at: None, frames: head.samples, trim_start, trim_end }))
    }
}

/// Reads the info at the start of a stream, if there is one, and makes its track.
fn begin<S: Syntax>(bytes: &mut Bytes, head: &Head) -> (Info, Track) {
    let info = S::info(bytes.peek(head.length), head);
    if info.is_some() {
        bytes.skip(head.length as u64);
    }
    let info = info.unwrap_or_default();
    let ahead = bytes.peek(SEARCH / 16);
    let (mut first, mut at) = (Vec::new(), 0);
    while let Some(frame) = ahead.get(at..)
        && let Some(head) = S::parse(frame)
        && let Some(frame) = frame.get(head.skipped..head.length)
        && first.len() < 16
    {
        first.push(frame);
        at += head.length;
    }
    let promised = info.frames.map(|frames| (frames * head.samples).saturating_sub(info.delay + info.padding));
    let track = Track {
        codec: S::codec(head, &first),
        rate: head.rate,
        promised,
        tolerance: LOSSY_TOLERANCE,
        slack: 0,
        default: true,
    };
    (info, track)
}

/// Where the next frame is that others follow, or that ends with the bytes.
fn find<S: Syntax>(bytes: &[u8], like: Option<&Head>) -> Option<usize> {
    (0..bytes.len()).find(|&start| {
        let mut at = start;
        let mut first = None;
        for count in 0..CONFIRMED {
            let Some(head) = S::parse(bytes.get(at..).unwrap_or(&[])) else {
                // The bytes end with a whole frame, or a tag follows.
                return count > 0 && (at == bytes.len() || bytes.get(at..).is_some_and(tags::begins));
            };
            if like.is_some_and(|like| count == 0 && !like.fits(&head)) && count == 0 {
                // A different stream is only believed if it goes on.
                if !follows::<S>(bytes, at, &head, CONFIRMED + 2) {
                    return false;
                }
            }
            if first.get_or_insert(head).rate != head.rate {
                return false;
            }
            at += head.length;
        }
        true
    })
}

/// Whether `count` frames like `head` stand in a row.
fn follows<S: Syntax>(bytes: &[u8], mut at: usize, head: &Head, count: usize) -> bool {
    (0..count).all(|_| {
        let next = S::parse(bytes.get(at..).unwrap_or(&[]));
        at += next.map_or(0, |next| next.length);
        next.is_some_and(|next| next.fits(head))
    })
}

impl<S: Syntax> Demuxer for Frames<S> {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next(&mut self) -> Option<Item> {
        if tags::skip(&mut self.bytes) {
            return self.next();
        }
        let here = S::parse(self.bytes.peek(S::HEADER));
        let here = here.filter(|head| {
            let window = self.bytes.peek(2 * head.length + SEARCH / 16);
            // A frame that looks like another stream's may be an accident.
            head.fits(&self.head) || follows::<S>(window, 0, head, CONFIRMED)
        });
        if let Some(head) = here {
            let info = S::info(self.bytes.peek(head.length), &head);
            if info.is_some() || !head.fits(&self.head) {
                let (info, track) = begin::<S>(&mut self.bytes, &head);
                (self.info, self.head, self.index, self.position) = (info, head, 0, 0);
                return Some(Item::Track(Box::new(track)));
            }
            return self.packet(head);
        }
        // No frame here. Zeros, up to the end, are filling.
        let mut left_out = 0;
        let mut zeros = true;
        loop {
            let ahead = self.bytes.peek(SEARCH);
            if ahead.is_empty() {
                return (!zeros && left_out as f64 > self.mean)
                    .then(|| Item::Damage(format!("{left_out} bytes at the end that are no {}", S::NAME)));
            }
            let found = find::<S>(ahead, Some(&self.head));
            // The last bytes may be the beginning of a frame that is only seen with more.
            let count = found.unwrap_or(if ahead.len() < SEARCH { ahead.len() } else { SEARCH / 2 });
            zeros &= ahead[..count].iter().all(|byte| *byte == 0);
            left_out += count;
            self.bytes.skip(count as u64);
            if found.is_some() {
                break;
            }
        }
        let lost = (left_out as f64 / self.mean.max(1.0)).round() as u64;
        if lost == 0 || self.mean == 0.0 {
            return self.next();
        }
        // What stood here were frames of about the usual length.
        let at = self.position + lost * self.head.samples;
        self.index += lost;
        match self.next() {
            Some(Item::Packet(packet)) => {
                self.position = at + packet.frames - packet.trim_start - packet.trim_end;
                Some(Item::Packet(Packet { at: Some(at), ..packet }))
            }
            other => other,
        }
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.bytes.trouble()
    }
}
