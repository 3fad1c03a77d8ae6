//! Whether an OGG file ends in the middle of a page: symphonia ends such a stream at the last whole page without a word.
//!
//! Only the cut is looked for, not the mark of the last page: recordings of live streams rightly lack that.

use std::io::{self, Read, SeekFrom};

use symphonia::core::io::MediaSource;

/// Bytes of a page's header before its segment table (RFC 3533, section 6).
const HEADER: usize = 27;
/// The most bytes of a page: the header, 255 segments, and 255 bytes in each.
const LARGEST_PAGE: u64 = 27 + 255 + 255 * 255;

/// Reads the file's end and comes back to its start; `false` also for what is no OGG file.
pub(super) fn ends_within_page(source: &mut impl MediaSource) -> io::Result<bool> {
    let Some(length) = source.byte_len().filter(|_| source.is_seekable()) else { return Ok(false) };
    source.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    source.by_ref().take(4).read_to_end(&mut start)?;
    let mut end = Vec::new();
    if start == b"OggS" {
        source.seek(SeekFrom::Start(length.saturating_sub(LARGEST_PAGE)))?;
        source.by_ref().take(LARGEST_PAGE).read_to_end(&mut end)?;
    }
    source.seek(SeekFrom::Start(0))?;
    let Some(last) = end.windows(4).rposition(|tag| tag == b"OggS") else { return Ok(false) };
    let page = &end[last..];
    let Some(segments) = page.get(HEADER - 1).map(|count| usize::from(*count)) else { return Ok(true) };
    let Some(table) = page.get(HEADER..HEADER + segments) else { return Ok(true) };
    let body: usize = table.iter().map(|length| usize::from(*length)).sum();
    Ok(page.len() < HEADER + segments + body)
}
