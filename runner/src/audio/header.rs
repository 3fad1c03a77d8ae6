//! What the header of a container of plain samples says about its data.

use super::demux::Track;

/// Lengths from here on are placeholders: `sox` writes 0x7ffff000 and more, `ffmpeg` 0xffffffff.
const PLACEHOLDER: u64 = 0x7fff_f000;

/// What a header says about the data behind it.
pub(super) struct Header {
    pub(super) track: Track,
    /// Bytes of a block, and frames in it: a frame and 1 for plain samples.
    pub(super) block: usize,
    pub(super) block_frames: u64,
    /// Bytes at the start of a block that hold its first frame; the rest holds the others.
    pub(super) block_head: usize,
    /// Bytes of data.
    pub(super) stated: Option<u64>,
}

/// Takes `stated` for a length unless it is a placeholder of a 32-bit field.
pub(super) fn believable(stated: u32) -> Option<u64> {
    Some(u64::from(stated)).filter(|length| *length < PLACEHOLDER)
}
