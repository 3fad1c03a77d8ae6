//! WAV files whose header does not know how long they are: programs that write to a pipe (`ffmpeg -f wav -`, `sox -t wav -`)
//! and recorders that were stopped hard leave 0 or a placeholder as the length.
//!
//! The real length is put in its place while reading, because symphonia drops up to one packet (1152 frames) at the end of such
//! a file, or finds no audio in it. A length that is simply wrong stays: that is a file cut short, and an error later.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Lengths from here on, past the file's end, are placeholders: `sox` writes 0x7ffff000 and more, `ffmpeg` 0xffffffff.
const PLACEHOLDER: u32 = 0x7fff_f000;
/// Chunks before `data` that are looked at; real files have a handful.
const MOST_CHUNKS: usize = 64;

/// A source with single bytes replaced.
pub(super) struct Patched<S> {
    inner: S,
    position: u64,
    patches: Vec<Patch>,
}

/// A place in the file, and what stands there instead.
type Patch = (u64, [u8; 4]);

/// Wraps a source at its start; unless it is a WAV file without a length, it reads as it is.
pub(super) fn with_real_length<S: MediaSource>(mut source: S) -> io::Result<Patched<S>> {
    let patches = match source.byte_len() {
        Some(length) if source.is_seekable() => {
            let patches = find(&mut source, length)?.unwrap_or_default();
            source.seek(SeekFrom::Start(0))?;
            patches
        }
        _ => Vec::new(),
    };
    Ok(Patched { inner: source, position: 0, patches })
}

/// The lengths to replace, or `None` if this is no WAV file or has a length.
fn find(source: &mut impl MediaSource, length: u64) -> io::Result<Option<Vec<Patch>>> {
    let Some(header) = read_array::<12>(source)? else { return Ok(None) };
    if &header[..4] != b"RIFF" || &header[8..] != b"WAVE" {
        return Ok(None);
    }
    let mut at = 12;
    for _ in 0..MOST_CHUNKS {
        source.seek(SeekFrom::Start(at))?;
        let Some(chunk) = read_array::<8>(source)? else { return Ok(None) };
        let [.., a, b, c, d] = chunk;
        let stated = u32::from_le_bytes([a, b, c, d]);
        let real = length.saturating_sub(at + 8);
        if &chunk[..4] == b"data" {
            let placeholder = stated >= PLACEHOLDER && u64::from(stated) > real;
            let unwritten = stated == 0 && real > 0 && !chunk_follows(source, real)?;
            // A file of 4 GiB has no length that could be put there: it stays open-ended.
            let (Ok(real), Ok(riff)) = (u32::try_from(real), u32::try_from(length.saturating_sub(8))) else {
                return Ok(None);
            };
            return Ok((placeholder || unwritten).then(|| vec![(4, riff.to_le_bytes()), (at + 4, real.to_le_bytes())]));
        }
        at += 8 + u64::from(stated) + u64::from(stated % 2);
        if at >= length {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether what stands here, `room` bytes to the end, is another chunk: then a `data` chunk of length 0 is meant.
fn chunk_follows(source: &mut impl MediaSource, room: u64) -> io::Result<bool> {
    let Some(chunk) = read_array::<8>(source)? else { return Ok(false) };
    let [tag @ .., a, b, c, d] = chunk;
    let stated = u64::from(u32::from_le_bytes([a, b, c, d]));
    Ok(tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b' ') && stated + 8 <= room)
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match source.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

impl<S: Read> Read for Patched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        for (at, bytes) in &self.patches {
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

impl<S: Seek> Seek for Patched<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

impl<S: MediaSource> MediaSource for Patched<S> {
    fn is_seekable(&self) -> bool {
        self.inner.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.inner.byte_len()
    }
}
