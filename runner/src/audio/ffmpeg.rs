//! Everything that has no decoder here, through the system's `ffmpeg`: its output is read as it comes. No shell is
//! between; the name of a file is only ever a file's name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use super::bytes::{Bytes, Stream};
use super::demux::{Demuxer, Item, Track};
use super::plain;
use super::stream::ROUNDING;

/// Lines of ffmpeg's complaints that are kept.
const MOST_LINES: usize = 200;
/// Gaps become silence, as in a player; times that go back, as in files that were joined, do not drop anything.
const IN_TIME: &str = "asetpts=if(isnan(PTS)\\,NAN\\,if(isnan(PREV_OUTPTS)\\,PTS\\,max(PTS\\,PREV_OUTPTS+NB_SAMPLES))),\
                       aresample=async=1:min_hard_comp=0.1:first_pts=0";

/// What ffmpeg calls its standard input where that is a file, which it can go back in. Windows has no such name; its
/// ffmpeg has to be of version 6 or newer.
const STANDARD_INPUT: &str = if cfg!(windows) { "fd:" } else { "file:/dev/fd/0" };

/// The program's name, or its path from `UNDERTONE_FFMPEG`.
fn program() -> OsString {
    std::env::var_os("UNDERTONE_FFMPEG").filter(|path| !path.is_empty()).unwrap_or_else(|| "ffmpeg".into())
}

/// Whether there is an `ffmpeg` that runs.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let mut command = Command::new(program());
        command.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Where ffmpeg reads.
pub(super) enum Place<'a> {
    Path(&'a Path),
    /// A file without a name.
    File(&'a File),
}

/// What ffmpeg finds in a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The codec of each audio track, and whether the file says that it is the one to play.
    pub(super) tracks: Vec<(String, bool)>,
    pub(super) video: bool,
    /// It is not sure that the file is what it took it for.
    pub(super) doubtful: bool,
    /// Its last complaint.
    pub(super) error: String,
}

/// Asks ffmpeg what is in a file.
pub(super) fn look(place: &Place<'_>) -> io::Result<Found> {
    let mut command = command(place, "info")?;
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    Ok(found(&String::from_utf8_lossy(&output.stderr)))
}

fn found(text: &str) -> Found {
    let mut found = Found::default();
    for line in text.lines() {
        let line = line.trim();
        if let Some((_, codec)) = line.strip_prefix("Stream #").and_then(|line| line.split_once(": Audio: ")) {
            let name: String = codec.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            found.tracks.push((name, codec.contains("(default)")));
        } else if line.starts_with("Stream #") && line.contains(": Video: ") {
            // A cover is no film, and text that ffmpeg would draw is none either.
            found.video |= !line.contains("(attached pic)") && !line.contains(": Video: ansi");
        } else if line.contains("with low score") {
            found.doubtful = true;
        } else if !line.is_empty() && !line.starts_with("At least one output") {
            found.error = complaint(line);
        }
    }
    found
}

/// A line without the part of ffmpeg that wrote it, and without where this machine keeps the file.
fn complaint(line: &str) -> String {
    let line = line.trim();
    let text = if line.starts_with('[') { line.split_once("] ").map_or(line, |(_, text)| text) } else { line };
    let text = text.rsplit_once("/dev/fd/0: ").map_or(text, |(_, text)| text);
    let text = if text.starts_with("file:") { text.rsplit_once(": ").map_or(text, |(_, text)| text) } else { text };
    text.to_owned()
}

fn command(place: &Place<'_>, loglevel: &str) -> io::Result<Command> {
    let mut command = Command::new(program());
    command.args([
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        loglevel,
        "-protocol_whitelist",
        "file,pipe,fd,crypto,data",
    ]);
    command.arg("-i");
    match place {
        Place::Path(path) => {
            let mut name = OsString::from("file:");
            name.push(path);
            command.arg(name).stdin(Stdio::null());
        }
        Place::File(file) => {
            let mut file = file.try_clone()?;
            io::Seek::rewind(&mut file)?;
            command.arg(STANDARD_INPUT).stdin(file);
        }
    }
    Ok(command)
}

/// ffmpeg at work.
pub(super) struct Running {
    inner: Box<dyn Demuxer>,
    tracks: Vec<Track>,
    /// Microseconds by which the first packet begins later than the film.
    late: Option<u64>,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<()>>,
    told: bool,
}

/// Microseconds of pictures before the first sound that ffmpeg drops, because only the sound is asked for. It does so
/// where a format's times may begin anywhere, as in MPEG transport streams; in others the silence is in its output.
fn dropped(place: &Place<'_>, track: usize) -> io::Result<Option<u64>> {
    let mut command = command(place, "verbose")?;
    command.args(["-map", &format!("0:a:{track}"), "-c", "copy", "-t", "0", "-f", "null", "-"]);
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    Ok(correction(&String::from_utf8_lossy(&output.stderr)))
}

/// “Correcting start time by 4989978”, or “Correcting start time of Input #0 by 4989978 us.”
fn correction(text: &str) -> Option<u64> {
    let (_, text) = text.split_once("Correcting start time")?;
    let (_, text) = text.lines().next()?.split_once(" by ")?;
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Decodes an audio track, counted from 0; in a film it is kept in time with the picture.
pub(super) fn open(place: &Place<'_>, track: usize, film: bool) -> Result<Running, String> {
    let failed = |error: io::Error| error.to_string();
    let late = if film { dropped(place, track).map_err(failed)? } else { None };
    let mut command = command(place, "error").map_err(failed)?;
    command.args(["-map", &format!("0:a:{track}"), "-af", IN_TIME, "-f", "wav", "-c:a", "pcm_f32le", "-bitexact", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let listener = child.stderr.take().map(|stderr| {
        let lines = lines.clone();
        std::thread::spawn(move || listen(stderr, &lines))
    });
    let output: Option<ChildStdout> = child.stdout.take();
    let mut bytes = match output {
        Some(output) => Bytes::new(Box::new(Stream(output))),
        None => return Err("no output".to_owned()),
    };
    let opened = if bytes.at_end() { Err("no sound came out".to_owned()) } else { plain::wav(bytes) };
    match opened {
        Ok(inner) => {
            let mut tracks = inner.tracks().to_vec();
            // The silence before the sound is a part of the film, and nothing that is missing.
            tracks.iter_mut().for_each(|track| track.slack = u64::from(track.rate) / ROUNDING);
            Ok(Running { inner, tracks, late, child, lines, listener, told: false })
        }
        Err(error) => {
            // It has closed its output: it ends by itself.
            let _ = child.wait();
            if let Some(listener) = listener {
                let _ = listener.join();
            }
            let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            Err(lines.last().cloned().unwrap_or(error))
        }
    }
}

fn listen(stderr: impl Read, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = complaint(&String::from_utf8_lossy(&line));
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !line.is_empty() && lines.len() < MOST_LINES {
            lines.push(line);
        }
    }
}

impl Running {
    /// What ffmpeg complained about, once it has ended: the first line, and how many there were.
    pub(super) fn complaints(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let status = self.child.wait();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let more = if lines.len() > 1 { format!(", and {} more", lines.len() - 1) } else { String::new() };
        match (lines.first(), status) {
            (Some(first), _) => Some(format!("ffmpeg: {first}{more}")),
            (None, Ok(status)) if !status.success() => Some(format!("ffmpeg ended with {status}")),
            _ => None,
        }
    }
}

impl Demuxer for Running {
    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next(&mut self) -> Option<Item> {
        let mut item = self.inner.next();
        if let Some(Item::Packet(packet)) = &mut item
            && let Some(late) = self.late.take()
        {
            let rate = self.tracks.first().map_or(0, |track| track.rate);
            packet.at = Some((u128::from(late) * u128::from(rate) / 1_000_000) as u64);
        }
        item.or_else(|| self.complaints().map(Item::Complaint))
    }

    fn trouble(&mut self) -> Option<io::Error> {
        self.inner.trouble()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, if it has ended: nothing to be done then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_from_what_ffmpeg_prints() {
        let found = found(
            "Input #0, mpegts, from 'file:x.ts':\n  Stream #0:0[0x100]: Video: h264 (High), yuv420p\n\
             Stream #0:1[0x101](deu): Audio: aac (LC) ([15][0][0][0]), 16000 Hz, mono, fltp, 69 kb/s\n\
             Stream #0:2(eng): Audio: ac3, 48000 Hz, 5.1(side), fltp, 448 kb/s (default)\n\
             At least one output file must be specified\n",
        );
        assert_eq!(found.tracks, [("aac".to_owned(), false), ("ac3".to_owned(), true)]);
        assert!(found.video && !found.doubtful);
    }

    #[test]
    fn what_ffmpeg_drops_is_read_in_both_of_its_words() {
        assert_eq!(correction("Duration: 1\n[mpegts @ 0x55] Correcting start time by 4989978\nby 3"), Some(4_989_978));
        assert_eq!(correction("[in#0] Correcting start time of Input #0 by 4989978 us.\n"), Some(4_989_978));
        assert_eq!(correction("Correcting start time of Input #0 by 1433us.\n"), Some(1433));
        assert_eq!(correction("Correcting start time by -20\nDuration: 1 by 3"), None);
    }

    #[test]
    fn complaints_lose_who_wrote_them() {
        assert_eq!(complaint("[aac @ 0x55] Input buffer exhausted"), "Input buffer exhausted");
        assert_eq!(complaint("file:/a/b: Invalid data found"), "Invalid data found");
    }
}
