//! The data part of containers that hold samples, or blocks of a fixed length, one after another: WAV, AIFF, AU.
//!
//! The length in the header is only believed where what stands behind it is another chunk: writers to pipes leave 0 or
//! a placeholder, recorders that were stopped leave what they had at the last save, copies lose their ends.

use std::io;

use super::bytes::Bytes;
use super::demux::{Codec, Demuxer, Item, Packet, Track};
use super::header::Header;
use super::{mpeg, riff};

/// Frames in a packet, about.
const FRAMES: usize = 4096;

/// Opens a WAV file of any form; `Err` says what it holds that is no sound of ours.
pub(super) fn wav(mut bytes: Bytes) -> Result<Box<dyn Demuxer>, String> {
    let header = riff::header(&mut bytes)?;
    if let Codec::Unknown(name) = &header.track.codec
        && name == riff::MPEG
    {
        return mpeg::open(bytes).ok_or_else(|| "no MPEG audio in a WAV file that promises it".to_owned());
    }
    Ok(Box::new(Plain::new(bytes, "WAV", header)))
}

/// A container's data.
pub(super) struct Plain {
    bytes: Bytes,
    container: &'static str,
    tracks: [Track; 1],
    header: Header,
    /// Bytes of data that are still to come by the header; `None`: up to the end.
    left: Option<u64>,
}

impl Plain {
    /// `bytes` stand at the data's first.
    pub(super) fn new(bytes: Bytes, container: &'static str, mut header: Header) -> Self {
        let left = header.stated;
        promise(&mut header);
        Self { bytes, container, tracks: [header.track.clone()], header, left }
    }

    /// What stands behind the last byte that the header promises, `rest` bytes from here, which make no block: more of
    /// the data, another file, or nothing that is sound.
    fn behind(&mut self, rest: usize) -> Option<Item> {
        let padded = self.header.stated.is_some_and(|stated| stated % 2 == 1);
        for pad in [rest, rest + usize::from(padded)] {
            let next = self.bytes.peek(pad + 8);
            let next = next.get(pad..)?;
            if next.is_empty() {
                return None;
            }
            if riff::begins(next) {
                self.bytes.skip(pad as u64);
                let mut header = riff::header(&mut self.bytes).ok()?;
                self.left = header.stated;
                promise(&mut header);
                let track = header.track.clone();
                self.header = header;
                return Some(Item::Track(Box::new(track)));
            }
            if riff::chunk_follows(&mut self.bytes, pad) {
                return None;
            }
        }
        tracing::debug!("the {} header's length is too small: the data go on", self.container);
        self.left = None;
        self.header.track.promised = None;
        self.next()
    }
}

/// The frames that the stated length makes, for the track.
fn promise(header: &mut Header) {
    let stated = header.stated.filter(|stated| *stated > 0);
    header.track.promised = stated.map(|stated| stated / header.block.max(1) as u64 * header.block_frames);
}

impl Demuxer for Plain {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next(&mut self) -> Option<Item> {
        let Header { block, block_frames, block_head, .. } = self.header;
        let blocks = (FRAMES / block_frames as usize).max(1).min(if block_frames > 1 { 1 } else { FRAMES });
        let most = usize::try_from(self.left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        // A last block that is not whole has its frames too, where a block has several.
        let ended = if block_frames > 1 { most == 0 } else { most < block };
        if ended {
            return self.behind(most);
        }
        let wanted = (blocks * block).min(if block_frames > 1 { most } else { most - most % block });
        let mut data = self.bytes.take(wanted);
        if let Some(left) = &mut self.left {
            *left -= data.len() as u64;
        }
        if data.is_empty() {
            return None;
        }
        let whole = data.len() / block;
        let (mut frames, mut trim_end) = (whole as u64 * block_frames, 0);
        let rest = data.len() - whole * block;
        if rest > block_head && block_frames > 1 {
            // The last block is not whole: its frames lie evenly behind the head.
            frames += block_frames;
            trim_end =
                (block - block_head - (rest - block_head)) as u64 * (block_frames - 1) / (block - block_head) as u64;
            data.resize((whole + 1) * block, 0);
        } else {
            data.truncate(whole * block);
        }
        Some(Item::Packet(Packet { data, frames, trim_end, ..Packet::default() }))
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.bytes.trouble()
    }
}
