//! From a file or a stream to the reader, the track and the decoder that fit it.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::bytes::{Bytes, Recorded, Stream};
use super::codec::Decoder;
use super::demux::{Codec, Demuxer, Track};
use super::ffmpeg::{self, Place};
use super::stream::AudioStream;
use super::{AudioError, AudioOptions, DecoderChoice, aac, aiff, boxed, flac, mkv, mpeg, ogg, plain, riff, tags};

/// Bytes that a container of a stream may take to open before the whole stream goes to a file.
const OPENING: usize = 16 << 20;
/// Samples that are no louder than this are silence: -70 dB.
const SILENT: f32 = 3e-4;

/// A source that can be read more than once, though not at the same time.
pub(super) enum Input {
    Path(PathBuf),
    /// A file without a name.
    Spooled(File),
    Memory(Arc<[u8]>),
}

/// Kinds of containers, by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wav,
    Aiff,
    Au,
    Flac,
    Ogg,
    Matroska,
    /// MP4, CAF: symphonia's.
    Boxed,
    /// Nothing of ours, but a name for it.
    Foreign(&'static str),
    /// MPEG audio, AAC in ADTS, or nothing.
    Frames,
}

impl Input {
    fn bytes(&self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Path(path) => Bytes::new(Box::new(File::open(path)?)),
            Self::Spooled(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Bytes::new(Box::new(file))
            }
            Self::Memory(bytes) => Bytes::new(Box::new(Stream(Cursor::new(bytes.clone())))),
        })
    }

    fn media(&self) -> io::Result<Box<dyn symphonia::core::io::MediaSource>> {
        Ok(match self {
            Self::Path(path) => Box::new(File::open(path)?),
            Self::Spooled(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Box::new(file)
            }
            Self::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        })
    }

    /// Calls `run` with a place that another program can read.
    fn place<T>(&self, run: impl FnOnce(&Place<'_>) -> T) -> io::Result<T> {
        Ok(match self {
            Self::Path(path) => run(&Place::Path(path)),
            Self::Spooled(file) => run(&Place::File(file)),
            Self::Memory(bytes) => {
                let mut file = crate::scratch::file()?;
                file.write_all(bytes)?;
                run(&Place::File(&file))
            }
        })
    }
}

/// Looks at the first bytes, behind tags.
fn kind(bytes: &mut Bytes) -> Kind {
    let mut start = bytes.peek(16).to_vec();
    if tags::begins(&start) && !start.starts_with(b"TAG") {
        // Behind a tag stands what it speaks of; readers leave it out themselves.
        let ahead = bytes.peek(OPENING).to_vec();
        let mut behind = Bytes::new(Box::new(Stream(Cursor::new(ahead))));
        while tags::skip(&mut behind) {}
        start = behind.peek(16).to_vec();
    }
    let at = |offset: usize, tag: &[u8]| start.get(offset..offset + tag.len()) == Some(tag);
    let packets = |bytes: &mut Bytes, step: usize, first: usize| {
        let window = bytes.peek(first + 4 * step + 1);
        (0..5).all(|i| window.get(first + i * step) == Some(&0x47))
    };
    match () {
        () if at(0, b"RIFF") && at(8, b"AVI ") => Kind::Foreign("AVI"),
        () if riff::begins(&start) && !at(0, b"RIFF") || at(0, b"RIFF") && (at(8, b"WAVE") || start.len() < 12) => {
            Kind::Wav
        }
        () if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) => Kind::Aiff,
        () if at(0, b".snd") => Kind::Au,
        () if at(0, b"fLaC") => Kind::Flac,
        () if at(0, b"OggS") => Kind::Ogg,
        () if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) => Kind::Matroska,
        () if at(0, b"caff") => Kind::Boxed,
        () if [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp"]
            .iter()
            .any(|t| at(4, *t)) =>
        {
            Kind::Boxed
        }
        () if at(0, b"#!AMR") => Kind::Foreign("AMR"),
        () if at(0, &[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]) => Kind::Foreign("Windows Media"),
        () if at(0, b"wvpk") => Kind::Foreign("WavPack"),
        () if at(0, b"TTA1") => Kind::Foreign("TTA"),
        () if at(0, b"MAC ") => Kind::Foreign("Monkey's Audio"),
        () if at(0, b"FLV") => Kind::Foreign("Flash video"),
        () if at(0, b".RMF") => Kind::Foreign("RealMedia"),
        () if at(0, &[0, 0, 1, 0xba]) => Kind::Foreign("an MPEG program stream"),
        () if at(0, &[0x0b, 0x77]) => Kind::Foreign("AC-3"),
        () if packets(bytes, 188, 0) || packets(bytes, 192, 4) => Kind::Foreign("an MPEG transport stream"),
        () => Kind::Frames,
    }
}

/// Why our own readers do not open something.
enum Refusal {
    /// Not known as audio.
    Unknown,
    /// Known, and without a decoder: its name.
    NoDecoder(String),
    /// A film without sound.
    Silent,
    /// The index is missing, or the like: what is known can only be said.
    Broken(String),
    Read(io::Error),
}

/// The reader for `bytes`, of a kind that is read from front to back.
fn demuxer(kind: Kind, mut bytes: Bytes) -> Result<Box<dyn Demuxer>, Refusal> {
    while tags::skip(&mut bytes) {}
    match kind {
        Kind::Wav => plain::wav(bytes),
        Kind::Aiff => aiff::open(bytes),
        Kind::Au => aiff::open_au(bytes),
        Kind::Flac => flac::open(bytes),
        Kind::Ogg => ogg::open(bytes),
        Kind::Matroska => mkv::open(bytes),
        Kind::Foreign(name) => return Err(Refusal::NoDecoder(name.to_owned())),
        Kind::Boxed | Kind::Frames => return Err(Refusal::Unknown),
    }
    .map_err(|what| if what.contains("film") { Refusal::Silent } else { Refusal::Broken(what) })
}

impl Input {
    /// Opens with our own readers.
    fn demuxer(&self) -> Result<Box<dyn Demuxer>, Refusal> {
        let mut bytes = self.bytes().map_err(Refusal::Read)?;
        let kind = kind(&mut bytes);
        if let Some(error) = bytes.trouble() {
            return Err(Refusal::Read(error));
        }
        match kind {
            Kind::Boxed => {
                let opened = boxed::open(self.media().map_err(Refusal::Read)?);
                match opened.map_err(|error| Refusal::Broken(error.to_string()))? {
                    silent if silent.tracks().is_empty() && silent.has_video() => Err(Refusal::Silent),
                    opened => Ok(opened),
                }
            }
            Kind::Frames => frames(self.bytes().map_err(Refusal::Read)?, || self.bytes().map_err(Refusal::Read)),
            kind => demuxer(kind, bytes),
        }
    }
}

/// MPEG audio or AAC, whichever begins first.
fn frames(bytes: Bytes, again: impl FnOnce() -> Result<Bytes, Refusal>) -> Result<Box<dyn Demuxer>, Refusal> {
    if let Some(opened) = aac::open(bytes) {
        return Ok(opened);
    }
    mpeg::open(again()?).ok_or(Refusal::Unknown)
}

/// Opens a source with what `options` allow.
pub(super) fn open(input: &Input, name: &str, options: &AudioOptions) -> Result<AudioStream, AudioError> {
    if options.decoder == DecoderChoice::Ffmpeg {
        if !ffmpeg::available() {
            return Err(AudioError::NoFfmpeg { name: name.to_owned() });
        }
        return through_ffmpeg(input, name, options).map_err(|error| match error {
            AudioError::NotAudio(_) if matches!(input.demuxer(), Err(Refusal::Silent)) => {
                AudioError::NoSound { name: name.to_owned() }
            }
            error => error,
        });
    }
    let refusal = match input.demuxer() {
        Ok(opened) => match choose(opened, || input.demuxer().ok(), name, options) {
            Ok(stream) => return Ok(stream),
            Err(Choice::Error(error)) => return Err(error),
            Err(Choice::NoDecoder(what, spare)) => {
                // Without ffmpeg, of high-efficiency AAC only the lower band is decoded.
                if let Some(stream) =
                    spare.filter(|_| options.decoder == DecoderChoice::Builtin || !ffmpeg::available())
                {
                    return Ok(*stream);
                }
                Refusal::NoDecoder(what)
            }
        },
        Err(refusal) => refusal,
    };
    let tried = options.decoder == DecoderChoice::Auto && ffmpeg::available();
    let tried = if tried && !matches!(refusal, Refusal::Read(_) | Refusal::Silent) {
        match through_ffmpeg(input, name, options) {
            Ok(stream) => return Ok(stream),
            Err(error) => Some(error),
        }
    } else {
        None
    };
    Err(match (refusal, tried) {
        (_, Some(error @ (AudioError::NoSound { .. } | AudioError::NoTrack { .. }))) => error,
        (Refusal::NoDecoder(_), Some(error)) => error,
        (Refusal::NoDecoder(what), None) => {
            AudioError::NoDecoder { name: name.to_owned(), what, ffmpeg: ffmpeg::available() }
        }
        (Refusal::Silent, _) => AudioError::NoSound { name: name.to_owned() },
        (Refusal::Broken(what), _) => AudioError::Broken { name: name.to_owned(), what },
        (Refusal::Read(source), _) => AudioError::Read { name: name.to_owned(), source },
        (Refusal::Unknown, _) => AudioError::NotAudio(name.to_owned()),
    })
}

/// Why no track is played.
enum Choice {
    Error(AudioError),
    /// The codec, and what plays without its upper band.
    NoDecoder(String, Option<Box<AudioStream>>),
}

/// Chooses the track that was asked for, or the default one, or the first that is not silent.
fn choose(
    opened: Box<dyn Demuxer>,
    again: impl Fn() -> Option<Box<dyn Demuxer>>,
    name: &str,
    options: &AudioOptions,
) -> Result<AudioStream, Choice> {
    let tracks = opened.tracks().to_vec();
    if tracks.is_empty() {
        return Err(Choice::NoDecoder("no known audio codec".to_owned(), None));
    }
    let silent = |index: usize| {
        let stream = again().and_then(|opened| start(opened, &tracks[index], index, name, options).ok());
        stream.is_some_and(is_silent)
    };
    let defaults: Vec<bool> = tracks.iter().map(|track| track.default).collect();
    let index = wanted(&defaults, name, options, silent).map_err(Choice::Error)?;
    let high = matches!(tracks[index].codec, Codec::HighEfficiency(_));
    match start(opened, &tracks[index], index, name, options) {
        Ok(stream) if high => Err(Choice::NoDecoder("HE-AAC".to_owned(), Some(Box::new(stream)))),
        Ok(stream) => Ok(stream),
        Err(what) => Err(Choice::NoDecoder(what, None)),
    }
}

/// The place of the track that was asked for; else of the default one or the first, or if that is silent of the first
/// that is not.
fn wanted(
    defaults: &[bool],
    name: &str,
    options: &AudioOptions,
    silent: impl Fn(usize) -> bool,
) -> Result<usize, AudioError> {
    let count = defaults.len();
    if let Some(asked) = options.track {
        let index = asked.checked_sub(1).filter(|index| *index < count);
        return index.ok_or_else(|| AudioError::NoTrack { name: name.to_owned(), asked, count });
    }
    let first = defaults.iter().position(|default| *default).unwrap_or(0);
    if count == 1 {
        return Ok(first);
    }
    let mut order = std::iter::once(first).chain((0..count).filter(|other| *other != first));
    let found = order.find(|index| !silent(*index)).unwrap_or(first);
    if found != first {
        tracing::info!("audio track {} is silent: track {} is read", first + 1, found + 1);
    }
    Ok(found)
}

fn start(
    mut opened: Box<dyn Demuxer>,
    track: &Track,
    index: usize,
    name: &str,
    options: &AudioOptions,
) -> Result<AudioStream, String> {
    opened.select(index);
    let decoder = Decoder::new(&track.codec)?;
    Ok(AudioStream::new(name, options.strict, opened, track.clone(), decoder))
}

/// Reads until there is sound.
fn is_silent(mut stream: AudioStream) -> bool {
    loop {
        match stream.next_block() {
            Ok(Some(block)) if block.iter().all(|sample| sample.abs() <= SILENT) => {}
            Ok(None) => return true,
            // Sound, or an error that is told when the track is read.
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

fn through_ffmpeg(input: &Input, name: &str, options: &AudioOptions) -> Result<AudioStream, AudioError> {
    let unreadable = |source| AudioError::Read { name: name.to_owned(), source };
    let failed = |what: String| AudioError::Ffmpeg { name: name.to_owned(), what };
    let found = input.place(ffmpeg::look).map_err(unreadable)?.map_err(|error| failed(error.to_string()))?;
    if found.tracks.is_empty() {
        return Err(if found.video {
            AudioError::NoSound { name: name.to_owned() }
        } else {
            AudioError::NotAudio(name.to_owned())
        });
    }
    if found.doubtful {
        return Err(AudioError::NotAudio(name.to_owned()));
    }
    let run = |index: usize| -> Result<AudioStream, AudioError> {
        let running = input.place(|place| ffmpeg::open(place, index, found.video)).map_err(unreadable)?;
        let running = running.map_err(|what| failed(format!("{}: {what}", found.tracks[index].0)))?;
        let Some(track) = running.tracks().first().cloned() else { return Err(failed("no sound".to_owned())) };
        let decoder = Decoder::new(&track.codec).map_err(failed)?;
        Ok(AudioStream::new(name, options.strict, Box::new(running), track, decoder))
    };
    let defaults: Vec<bool> = found.tracks.iter().map(|(_, default)| *default).collect();
    let index = wanted(&defaults, name, options, |index| run(index).is_ok_and(is_silent))?;
    run(index)
}

/// Opens a stream: as it comes where its container can be read from front to back, else through a file without a name.
pub(super) fn open_reader(
    reader: impl Read + Send + 'static,
    name: &str,
    options: &AudioOptions,
) -> Result<AudioStream, AudioError> {
    let unreadable = |source| AudioError::Read { name: name.to_owned(), source };
    // The reader comes back when what was opened is dropped.
    let (lender, back) = std::sync::mpsc::channel();
    let (recorded, log) = Recorded::new(Lent { reader: Some(reader), lender });
    let mut bytes = Bytes::new(Box::new(Stream(recorded)));
    if bytes.at_end() {
        return Err(bytes.trouble().map_or_else(|| AudioError::Empty(name.to_owned()), unreadable));
    }
    let kind = kind(&mut bytes);
    let mut opened = match kind {
        _ if options.decoder == DecoderChoice::Ffmpeg => None,
        Kind::Frames => {
            // Two looks at the same bytes.
            let ahead: Arc<[u8]> = bytes.peek(OPENING / 16).into();
            let is_aac = aac::open(Bytes::new(Box::new(Stream(Cursor::new(ahead))))).is_some();
            if is_aac { aac::open(bytes) } else { mpeg::open(bytes) }
        }
        kind => demuxer(kind, bytes).ok(),
    };
    if opened.as_ref().is_some_and(|opened| opened.tracks().len() == 1) {
        // Another look is not possible, and not needed for one track.
        if let Some(Ok(stream)) = opened.take().map(|opened| choose(opened, || None, name, options)) {
            *log.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Ok(stream);
        }
    }
    drop(opened);
    let log = log.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let rest = back.try_recv().ok();
    let mut file = crate::scratch::file().map_err(unreadable)?;
    let spool = |file: &mut File| -> io::Result<u64> {
        file.write_all(&log)?;
        rest.map_or(Ok(0), |mut rest| io::copy(&mut rest, file))
    };
    spool(&mut file).map_err(unreadable)?;
    open(&Input::Spooled(file), name, options)
}

/// A reader that goes back to who lent it.
struct Lent<R> {
    reader: Option<R>,
    lender: std::sync::mpsc::Sender<R>,
}

impl<R: Read> Read for Lent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.as_mut().map_or(Ok(0), |reader| reader.read(buffer))
    }
}

impl<R> Drop for Lent<R> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            // Nobody waits for it any more: then it is dropped here.
            let _ = self.lender.send(reader);
        }
    }
}

/// Whether there is something at the path that can be read.
pub(super) fn check(path: &Path) -> Result<std::fs::Metadata, AudioError> {
    let name = path.display().to_string();
    let metadata = std::fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AudioError::NotFound(path.to_owned()),
        _ => AudioError::Read { name, source },
    })?;
    if metadata.is_dir() {
        return Err(AudioError::IsDirectory(path.to_owned()));
    }
    Ok(metadata)
}
