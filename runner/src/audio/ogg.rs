//! OGG (RFC 3533) with Opus, Vorbis or FLAC. Pages are believed by their checksums; each says where its last packet
//! ends, so that a lost page becomes silence of its length. A stream need not have an end mark: recordings of live
//! streams lack it.

use std::collections::VecDeque;
use std::io;

use symphonia::core::codecs::audio::well_known::CODEC_ID_VORBIS;

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, Item, Packet, Track, parameters};
use super::vorbis::Modes;
use super::{crc, flac, opus};

/// Bytes of a page's header before its segment table.
const HEADER: usize = 27;
/// The most bytes of a page: the header, 255 segments, and 255 bytes in each.
const LARGEST: usize = 27 + 255 + 255 * 255;
/// Packets that are not whole are given up beyond this.
const LONGEST_PACKET: usize = 32 << 20;
/// Pages that are read for the headers of all streams.
const MOST_HEADERS: usize = 4096;

/// Opens what begins with `OggS`.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    let mut ogg =
        Ogg { bytes, streams: Vec::new(), tracks: Vec::new(), selected: 0, queue: VecDeque::new(), video: false };
    for _ in 0..MOST_HEADERS {
        if ogg.streams.iter().any(|stream| stream.track.is_some()) && ogg.streams.iter().all(Stream::opened) {
            break;
        }
        let Some(page) = ogg.page() else { break };
        ogg.take(page);
    }
    ogg.tracks = ogg.streams.iter().filter_map(|stream| stream.track.clone()).collect();
    ogg.streams.retain(|stream| stream.track.is_some());
    match (ogg.tracks.is_empty(), ogg.video) {
        (true, true) => Err("no sound in an OGG film".to_owned()),
        (true, false) => Err("no sound in an OGG file".to_owned()),
        _ => Ok(Box::new(ogg)),
    }
}

struct Ogg {
    bytes: Bytes,
    streams: Vec<Stream>,
    tracks: Vec<Track>,
    selected: usize,
    queue: VecDeque<Item>,
    video: bool,
}

/// One page, whose checksum holds.
struct Page {
    flags: u8,
    /// Where the last packet that ends here ends; `None` if none does.
    granule: Option<u64>,
    serial: u32,
    sequence: u32,
    /// Lengths, and whether the last goes on in the next page.
    packets: Vec<usize>,
    open: bool,
    body: Vec<u8>,
}

impl Page {
    fn continues(&self) -> bool {
        self.flags & 1 != 0
    }
    fn begins(&self) -> bool {
        self.flags & 2 != 0
    }
    fn ends(&self) -> bool {
        self.flags & 4 != 0
    }
}

/// A logical stream.
struct Stream {
    serial: u32,
    kind: Kind,
    /// Header packets that are still to come.
    headers: usize,
    ident: Vec<u8>,
    track: Option<Track>,
    /// The packet that is not whole yet.
    partial: Vec<u8>,
    sequence: Option<u32>,
    clock: Clock,
}

enum Kind {
    Vorbis(Option<Modes>),
    Opus,
    Flac,
    Other,
}

/// Places in time, in frames.
#[derive(Default)]
struct Clock {
    /// What the stream's own count says at its beginning, once a page has told it.
    base: Option<u64>,
    /// Frames since then.
    position: u64,
    /// Frames at the start that are dropped.
    skip: u64,
    /// A page before this one is lost.
    lost: bool,
}

impl Stream {
    /// From the first packet of a stream.
    fn new(serial: u32, first: &[u8]) -> Self {
        let rate =
            |at: usize| first.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        let track = |codec, rate| Track { codec, rate, promised: None, tolerance: 0, slack: 0, default: true };
        let unknown = |name: &str| (Kind::Other, 0, Some(track(Codec::Unknown(name.to_owned()), 1)));
        let (kind, headers, track) = match first {
            _ if first.starts_with(b"OpusHead") => {
                (Kind::Opus, 1, Some(track(Codec::Opus(first.to_vec()), opus::RATE)))
            }
            _ if first.starts_with(b"\x01vorbis") && first.len() >= 30 => {
                let codec = Codec::Symphonia(parameters(CODEC_ID_VORBIS, rate(12), None, None));
                (Kind::Vorbis(None), 2, Some(track(codec, rate(12))))
            }
            [0x7f, b'F', b'L', b'A', b'C', _, _, high, low, rest @ ..] => {
                let info = rest.get(8..42).unwrap_or(&[]);
                let rate =
                    info.get(10..13).map_or(0, |r| u32::from(r[0]) << 12 | u32::from(r[1]) << 4 | u32::from(r[2]) >> 4);
                let headers = usize::from(u16::from_be_bytes([*high, *low]));
                (Kind::Flac, headers, Some(track(flac::codec(info, rate), rate)))
            }
            _ if first.starts_with(b"Speex   ") => unknown("Speex"),
            _ if first.starts_with(b"fLaC") => unknown("FLAC in an old kind of OGG"),
            _ if first.starts_with(b"PCM     ") => unknown("PCM in OGG"),
            _ if first.starts_with(b"CELT    ") => unknown("CELT"),
            _ => (Kind::Other, 0, None),
        };
        let clock = Clock { skip: opus::Head::read(first).map_or(0, |head| head.skip), ..Clock::default() };
        Self { serial, kind, headers, ident: first.to_vec(), track, partial: Vec::new(), sequence: None, clock }
    }

    fn opened(&self) -> bool {
        self.headers == 0
    }

    /// Takes a header packet.
    fn header(&mut self, packet: &[u8]) {
        self.headers -= 1;
        if let (Kind::Vorbis(modes), 0, Some(track)) = (&mut self.kind, self.headers, &mut self.track) {
            *modes = Modes::read(&self.ident, packet);
            if let Codec::Symphonia(parameters) = &mut track.codec {
                parameters.extra_data = Some([&self.ident[..], packet].concat().into_boxed_slice());
            }
        }
    }

    /// Takes a page; what is whole goes to the end of `queue`.
    fn page(&mut self, page: &Page, queue: &mut VecDeque<Item>) {
        let follows = self.sequence.is_none_or(|last| last.wrapping_add(1) == page.sequence);
        self.sequence = Some(page.sequence);
        if !follows {
            self.partial.clear();
            self.clock.lost = true;
            if let Kind::Vorbis(Some(modes)) = &mut self.kind {
                modes.reset();
            }
        }
        let mut drop_first = page.continues() && self.partial.is_empty();
        if !page.continues() {
            self.partial.clear();
        }
        let mut packets: Vec<(Vec<u8>, u64)> = Vec::new();
        let mut at = 0;
        for (index, length) in page.packets.iter().enumerate() {
            let piece = &page.body[at..at + length];
            at += length;
            if std::mem::take(&mut drop_first) {
                continue;
            }
            if self.partial.len() < LONGEST_PACKET {
                self.partial.extend_from_slice(piece);
            }
            if page.open && index + 1 == page.packets.len() {
                break;
            }
            let packet = std::mem::take(&mut self.partial);
            if self.headers > 0 {
                self.header(&packet);
            } else if !(packet.is_empty() || matches!(self.kind, Kind::Flac) && packet[0] != 0xff) {
                let frames = match &mut self.kind {
                    Kind::Vorbis(modes) => modes.as_mut().map_or(0, |modes| modes.frames(&packet)),
                    Kind::Opus => opus::frames(&packet),
                    Kind::Flac => flac_frames(&packet),
                    Kind::Other => 0,
                };
                packets.push((packet, frames));
            }
        }
        if !packets.is_empty() {
            self.clock.place(packets, page, queue);
        }
    }
}

impl Clock {
    /// Gives a page's packets their places: its count is where the last of them ends.
    fn place(&mut self, packets: Vec<(Vec<u8>, u64)>, page: &Page, queue: &mut VecDeque<Item>) {
        let sum: u64 = packets.iter().map(|(_, frames)| frames).sum();
        let first = self.base.is_none();
        let mut trim_end = 0;
        let mut at = None;
        if let Some(granule) = page.granule {
            let end = self.position + sum;
            // A part that was cut out of a longer stream goes on counting.
            let base = *self.base.get_or_insert(granule.saturating_sub(end));
            let stated = granule.saturating_sub(base);
            if first && granule < end && !page.ends() {
                // The first packets reach back before the beginning.
                self.skip = self.skip.max(end - granule);
            }
            if page.ends() {
                trim_end = end.saturating_sub(if first { granule } else { stated });
            }
            // Without a lost page less than a second is sloppiness.
            if stated > end && !first && (self.lost || stated - end > 48_000) {
                if self.lost {
                    queue.push_back(Item::Damage(String::new()));
                }
                at = Some(stated - sum);
                self.position = stated - sum;
            }
            self.lost = false;
        }
        let count = packets.len();
        let mut left = trim_end;
        let ends: Vec<u64> = {
            // Trimmed from the back, over as many packets as it takes.
            let mut trims = vec![0; count];
            for (trim, (_, frames)) in trims.iter_mut().zip(&packets).rev() {
                *trim = left.min(*frames);
                left -= *trim;
            }
            trims
        };
        for ((data, frames), trim_end) in packets.into_iter().zip(ends) {
            let trim_start = self.skip.saturating_sub(self.position).min(frames - trim_end);
            // Places count what is kept.
            let kept = at.take().map(|at: u64| at.saturating_sub(self.skip));
            self.position += frames;
            queue.push_back(Item::Packet(Packet { data, at: kept, frames, trim_start, trim_end }));
        }
    }
}

/// Frames of sound in a FLAC frame, by its header.
fn flac_frames(packet: &[u8]) -> u64 {
    let (Some(code), Some(first)) = (packet.get(2).map(|byte| byte >> 4), packet.get(4)) else { return 0 };
    let at = 4 + (first.leading_ones() as usize).max(1);
    let byte = |at: usize| packet.get(at).copied().map_or(0, u64::from);
    match code {
        1 => 192,
        2..=5 => 576 << (code - 2),
        6 => byte(at) + 1,
        7 => (byte(at) << 8 | byte(at + 1)) + 1,
        8.. => 256 << (code - 8),
        0 => 0,
    }
}

impl Ogg {
    /// The next page whose checksum holds.
    fn page(&mut self) -> Option<Page> {
        let mut damaged = false;
        loop {
            let window = self.bytes.peek(LARGEST);
            if window.len() < 4 {
                return None;
            }
            match page(window) {
                Ok((page, length)) => {
                    self.bytes.skip(length as u64);
                    return Some(page);
                }
                Err(Broken::Cut) => {
                    // No page reaches beyond what was seen: this is the end, unless the length is what is wrong.
                    let next = window[1..].windows(4).position(|tag| tag == b"OggS");
                    let left_out = next.map_or(window.len(), |next| next + 1);
                    let begun = if next.is_none() { begun(window) } else { None };
                    self.bytes.skip(left_out as u64);
                    if next.is_none() {
                        // What is there of the last page is sound all the same.
                        if let Some(page) = begun {
                            self.take(page);
                        }
                        self.queue.push_back(Item::Cut(None));
                        return None;
                    }
                }
                Err(Broken::Damaged) => {
                    let next = window[1..].windows(4).position(|tag| tag == b"OggS");
                    let left_out = next.map_or(window.len() - 3, |next| next + 1);
                    let padding = window[..left_out].iter().all(|byte| *byte == 0);
                    self.bytes.skip(left_out as u64);
                    if !padding && !std::mem::replace(&mut damaged, true) {
                        for stream in &mut self.streams {
                            stream.clock.lost = true;
                        }
                    }
                }
            }
        }
    }

    fn take(&mut self, page: Page) {
        if page.begins() {
            let first = page.packets.first().map_or(&[][..], |length| &page.body[..*length]);
            let mut stream = Stream::new(page.serial, first);
            stream.sequence = Some(page.sequence);
            self.video |= first.starts_with(b"\x80theora") || first.starts_with(b"BBCD") || first.starts_with(b"OVP80");
            // Streams that begin after others have begun to play are another file's, joined to this one.
            let joined = !self.tracks.is_empty();
            if joined && stream.track.is_some() && self.streams.iter().all(|stream| stream.opened()) {
                self.streams.clear();
            }
            self.streams.push(stream);
            return;
        }
        let Some(index) = self.streams.iter().position(|stream| stream.serial == page.serial) else { return };
        let audio = self.streams[..index].iter().filter(|stream| stream.track.is_some()).count();
        let stream = &mut self.streams[index];
        let was_open = stream.opened();
        if stream.track.is_some() && (audio == self.selected || !was_open) {
            stream.page(&page, &mut self.queue);
        }
        if let (false, true, false, Some(track)) = (was_open, stream.opened(), self.tracks.is_empty(), &stream.track)
            && audio == self.selected
        {
            self.queue.push_back(Item::Track(Box::new(track.clone())));
        }
    }
}

/// Why there is no page.
enum Broken {
    /// The bytes end within it.
    Cut,
    Damaged,
}

/// Reads the page at the start of `bytes`, and its length.
fn page(bytes: &[u8]) -> Result<(Page, usize), Broken> {
    if !bytes.starts_with(b"OggS") {
        return Err(Broken::Damaged);
    }
    let segments = *bytes.get(HEADER - 1).ok_or(Broken::Cut)?;
    let table = bytes.get(HEADER..HEADER + usize::from(segments)).ok_or(Broken::Cut)?;
    let begin = HEADER + table.len();
    let body: usize = table.iter().map(|length| usize::from(*length)).sum();
    let whole = bytes.get(..begin + body).ok_or(Broken::Cut)?;
    let word = |at: usize| u32::from_le_bytes([whole[at], whole[at + 1], whole[at + 2], whole[at + 3]]);
    // The checksum counts itself as 0.
    let crc = |crc: u32, byte: u8| crc << 8 ^ CRC[usize::from(crc.to_be_bytes()[0] ^ byte)];
    let sum = whole[..22].iter().chain(&[0; 4]).chain(&whole[26..]).fold(0, |sum, byte| crc(sum, *byte));
    if sum != word(22) {
        return Err(Broken::Damaged);
    }
    let mut packets = vec![0];
    for length in table {
        // A vector that is never empty.
        if let Some(last) = packets.last_mut() {
            *last += usize::from(*length);
        }
        if *length < 255 {
            packets.push(0);
        }
    }
    let open = table.last() == Some(&255);
    if !open {
        packets.pop();
    }
    let granule = Some(u64::from(word(6)) | u64::from(word(10)) << 32).filter(|granule| *granule < 1 << 62);
    let page = Page {
        flags: whole[5],
        granule,
        serial: word(14),
        sequence: word(18),
        packets,
        open,
        body: whole[begin..].to_vec(),
    };
    Ok((page, begin + body))
}

/// The page that the bytes end within, with the packets that are whole, and without a place in time.
fn begun(bytes: &[u8]) -> Option<Page> {
    let head = bytes.get(..HEADER).filter(|head| head.starts_with(b"OggS"))?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let body = bytes.get(HEADER + usize::from(head[HEADER - 1])..)?;
    let (mut packets, mut length, mut end) = (Vec::new(), 0, 0);
    for segment in &bytes[HEADER..HEADER + usize::from(head[HEADER - 1])] {
        length += usize::from(*segment);
        if *segment < 255 {
            end += length;
            if end > body.len() {
                break;
            }
            packets.push(std::mem::take(&mut length));
        }
    }
    // Nothing follows that could go on with the last packet.
    let (serial, sequence) = (word(14), word(18));
    Some(Page { flags: head[5] & 3, granule: None, serial, sequence, packets, open: false, body: body.to_vec() })
}

const CRC: [u32; 256] = crc::table(32, 0x04c1_1db7);

impl Demuxer for Ogg {
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
            if let Some(item) = self.queue.pop_front() {
                return Some(item);
            }
            match self.page() {
                Some(page) => self.take(page),
                None => return self.queue.pop_front(),
            }
        }
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.bytes.trouble()
    }
}
