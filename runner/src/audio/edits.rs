//! Where the sound of an MP4 or MOV film begins: edit lists may let it begin later than the picture, and symphonia does
//! not read them.
//!
//! Only what stands before the first sample is read: empty edits, which are a pause, and the media time of the first
//! real edit, which is where the media are entered. What edits cut out further on is left alone.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use super::stream::LONGEST_GAP;

/// Boxes that are looked at: a file that has more before its tracks are read is damaged.
const MOST_BOXES: usize = 1 << 16;
/// Entries of an edit list that are looked at: real ones have one empty edit in front.
const MOST_EDITS: u32 = 16;
const SECOND: u64 = 1_000_000_000;

/// By track, the nanoseconds by which its sound begins later than the film. Nothing without pictures: there is nothing
/// to be in time with.
pub(super) fn late(source: &mut (impl Read + Seek)) -> HashMap<u32, u64> {
    let mut boxes = Boxes { source, left: MOST_BOXES };
    let tracks = boxes.tracks().unwrap_or_default();
    if !tracks.iter().any(|track| track.kind == Kind::Picture) {
        return HashMap::new();
    }
    let first = tracks.iter().map(|track| track.start).min().unwrap_or(0);
    let sound = tracks.iter().filter(|track| track.kind == Kind::Sound);
    sound
        .map(|track| (track.id, track.start - first))
        .filter(|(_, late)| (1..=LONGEST_GAP * SECOND).contains(late))
        .collect()
}

#[derive(PartialEq, Eq)]
enum Kind {
    Sound,
    Picture,
}

struct Track {
    id: u32,
    kind: Kind,
    /// Where the first sample stands in the film, in nanoseconds.
    start: u64,
}

/// Reads boxes in place. Damage and errors are `None`: the reader of the samples meets and tells them.
struct Boxes<'a, S> {
    source: &'a mut S,
    /// Boxes that may still be looked at.
    left: usize,
}

impl<S: Read + Seek> Boxes<'_, S> {
    fn tracks(&mut self) -> Option<Vec<Track>> {
        let length = self.source.seek(SeekFrom::End(0)).ok()?;
        let movie = self.find(0..length, *b"moov")?;
        let header = self.find(movie.clone(), *b"mvhd")?;
        let scale = self.number(&header)?;
        let (mut tracks, mut rest) = (Vec::new(), movie);
        while let Some((name, body)) = self.next(&mut rest) {
            if name == *b"trak" {
                tracks.extend(self.track(body, scale));
            }
        }
        Some(tracks)
    }

    fn track(&mut self, body: Range<u64>, movie_scale: u32) -> Option<Track> {
        let header = self.find(body.clone(), *b"tkhd")?;
        let id = self.number(&header)?;
        let media = self.find(body.clone(), *b"mdia")?;
        let handler = self.find(media.clone(), *b"hdlr")?;
        let kind = match &self.bytes::<4>(&handler, 8)? {
            b"soun" => Kind::Sound,
            b"vide" => Kind::Picture,
            _ => return None,
        };
        let header = self.find(media, *b"mdhd")?;
        let media_scale = self.number(&header)?;
        let (pause, entry) = self.edits(body).unwrap_or((0, 0));
        // An encoder's delay is entered behind its first samples, which then stand that much earlier.
        let start = nanoseconds(pause, movie_scale).saturating_sub(nanoseconds(entry, media_scale));
        Some(Track { id, kind, start })
    }

    /// The empty edits in front, in ticks of the movie, and where the media are entered, in ticks of the media.
    fn edits(&mut self, track: Range<u64>) -> Option<(u64, u64)> {
        let edits = self.find(track, *b"edts")?;
        let list = self.find(edits, *b"elst")?;
        let [version] = self.bytes(&list, 0)?;
        let count = u32::from_be_bytes(self.bytes(&list, 4)?);
        let mut pause = 0u64;
        for index in 0..count.min(MOST_EDITS) {
            let (duration, time) = if version == 1 {
                let at = 8 + 20 * u64::from(index);
                (u64::from_be_bytes(self.bytes(&list, at)?), i64::from_be_bytes(self.bytes(&list, at + 8)?))
            } else {
                let at = 8 + 12 * u64::from(index);
                let duration = u32::from_be_bytes(self.bytes(&list, at)?);
                (u64::from(duration), i64::from(i32::from_be_bytes(self.bytes(&list, at + 4)?)))
            };
            match u64::try_from(time) {
                Ok(entry) => return Some((pause, entry)),
                Err(_) => pause = pause.saturating_add(duration),
            }
        }
        Some((pause, 0))
    }

    /// The body of the first box of this name.
    fn find(&mut self, mut inside: Range<u64>, wanted: [u8; 4]) -> Option<Range<u64>> {
        loop {
            let (name, body) = self.next(&mut inside)?;
            if name == wanted {
                return Some(body);
            }
        }
    }

    /// The first box of `rest`, which then begins behind it. No box reaches out of the one that it stands in.
    fn next(&mut self, rest: &mut Range<u64>) -> Option<([u8; 4], Range<u64>)> {
        self.left = self.left.checked_sub(1)?;
        let [a, b, c, d, name @ ..] = self.bytes::<8>(rest, 0)?;
        let (size, header) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (rest.end - rest.start, 8),
            1 => (u64::from_be_bytes(self.bytes(rest, 8)?), 16),
            size => (u64::from(size), 8),
        };
        if size < header {
            return None;
        }
        let end = rest.start.saturating_add(size).min(rest.end);
        let body = rest.start + header..end;
        rest.start = end;
        Some((name, body))
    }

    /// What stands behind the two dates at the front of a header: its timescale, or a track's number.
    fn number(&mut self, header: &Range<u64>) -> Option<u32> {
        let [version] = self.bytes(header, 0)?;
        let number = self.bytes(header, if version == 1 { 20 } else { 12 })?;
        Some(u32::from_be_bytes(number)).filter(|number| *number > 0)
    }

    fn bytes<const N: usize>(&mut self, inside: &Range<u64>, offset: u64) -> Option<[u8; N]> {
        let at = inside.start.checked_add(offset)?;
        if at.checked_add(N as u64)? > inside.end {
            return None;
        }
        let mut bytes = [0; N];
        self.source.seek(SeekFrom::Start(at)).ok()?;
        self.source.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

fn nanoseconds(ticks: u64, scale: u32) -> u64 {
    let nanoseconds = u128::from(ticks) * u128::from(SECOND) / u128::from(scale.max(1));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn put(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32 + 8).to_be_bytes()[..], name, &body].concat()
    }

    /// A header of version 0 with a number behind its dates.
    fn header(name: &[u8; 4], number: u32) -> Vec<u8> {
        put(name, &[&[0; 12], &number.to_be_bytes(), &[0; 8]])
    }

    /// An edit list of version 0, in ticks of milliseconds.
    fn edits(count: u32, edits: &[(u32, i32)]) -> Vec<u8> {
        let entry = |(duration, time): &(u32, i32)| [duration.to_be_bytes(), time.to_be_bytes(), [0, 1, 0, 0]].concat();
        let entries: Vec<u8> = edits.iter().flat_map(entry).collect();
        put(b"edts", &[&put(b"elst", &[&[0; 4], &count.to_be_bytes(), &entries])])
    }

    fn track(id: u32, kind: &[u8; 4], edits: &[u8]) -> Vec<u8> {
        let media = put(b"mdia", &[&header(b"mdhd", 48_000), &put(b"hdlr", &[&[0; 8], kind, &[0; 13]])]);
        put(b"trak", &[&header(b"tkhd", id), edits, &media])
    }

    fn film(tracks: &[Vec<u8>]) -> Vec<u8> {
        let movie = put(b"moov", &[&header(b"mvhd", 1000), &tracks.concat()]);
        [put(b"ftyp", &[b"isom"]), put(b"mdat", &[&[0; 99]]), movie].concat()
    }

    fn late_of(film: &[u8]) -> Vec<(u32, u64)> {
        let mut late: Vec<_> = late(&mut Cursor::new(film)).into_iter().collect();
        late.sort_unstable();
        late
    }

    #[test]
    fn sound_is_late_by_its_empty_edits() {
        let picture = track(1, b"vide", &edits(1, &[(9000, 1024)]));
        let late = track(2, b"soun", &edits(2, &[(5000, -1), (4000, 0)]));
        // 1024 samples of an encoder's delay before five seconds, in two edits.
        let delayed = track(7, b"soun", &edits(3, &[(3000, -1), (2000, -1), (4000, 1024)]));
        let usual = track(4, b"soun", &edits(1, &[(9000, 1024)]));
        let none = track(5, b"soun", &[]);
        let film = film(&[picture, late.clone(), delayed, usual, none]);
        assert_eq!(late_of(&film), [(2, 5_000_000_000), (7, 5_000_000_000 - 21_333_333)]);
        // Pictures that begin as late are no earlier than the sound, and without pictures there is no film.
        assert_eq!(late_of(&self::film(&[track(1, b"vide", &edits(1, &[(5000, -1)])), late.clone()])), []);
        assert_eq!(late_of(&self::film(&[late, track(3, b"text", &[])])), []);
    }

    #[test]
    fn long_numbers() {
        let entries = [&5000u64.to_be_bytes()[..], &[0xff; 8], &[0, 1, 0, 0], &[0; 16], &[0, 1, 0, 0]].concat();
        let list = put(b"elst", &[&[1, 0, 0, 0], &2u32.to_be_bytes(), &entries]);
        let wide = [&1u32.to_be_bytes()[..], b"edts", &(list.len() as u64 + 16).to_be_bytes(), &list].concat();
        let film = film(&[track(2, b"soun", &wide), track(1, b"vide", &[])]);
        assert_eq!(late_of(&film), [(2, 5_000_000_000)]);
    }

    #[test]
    fn damage_is_no_pause() {
        let picture = track(1, b"vide", &[]);
        let with = |edits: &[u8]| film(&[picture.clone(), track(2, b"soun", edits)]);
        // Counts and durations that cannot be.
        assert_eq!(late_of(&with(&edits(u32::MAX, &[(5000, -1)]))), []);
        assert_eq!(late_of(&with(&edits(2, &[(u32::MAX, -1), (1, 0)]))), []);
        let whole = with(&edits(2, &[(5000, -1), (4000, 0)]));
        assert_eq!(late_of(&whole), [(2, 5_000_000_000)]);
        // Every byte wrong, and every end: whatever comes of it, it comes soon and is no more than a gap may be.
        for at in 0..whole.len() {
            for wrong in [0, 1, 0x7f, 0xff] {
                let mut film = whole.clone();
                film[at] = wrong;
                assert!(late_of(&film).iter().all(|(_, late)| *late <= LONGEST_GAP * SECOND), "{at}: {wrong}");
            }
            assert!(late_of(&whole[..at]).iter().all(|late| *late == (2, 5_000_000_000)), "{at}");
        }
        assert_eq!(late_of(&[put(b"free", &[]).repeat(MOST_BOXES), whole].concat()), []);
    }
}
