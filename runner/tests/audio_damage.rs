//! Audio files as they arrive when something went wrong: what is there is read and stands at its time, what is missing
//! is told, and what holds no sound gives one line that names the file and the way out. None makes the reader panic.

mod common;

use std::io::Cursor;
use std::path::Path;

use common::{root, wav};
use hound::{SampleFormat, WavSpec};
use proptest::prelude::*;
use undertone_runner::audio::{self, Audio, AudioDefect, AudioError, AudioOptions, DecoderChoice};

fn decode(bytes: impl Into<Vec<u8>>) -> Result<Audio, AudioError> {
    audio::decode_bytes(bytes.into(), "some file", &BUILTIN)
}

/// Without ffmpeg, whether it is there or not.
const BUILTIN: AudioOptions = AudioOptions { decoder: DecoderChoice::Builtin, track: None, strict: false };

/// The same is an error where nothing may be missing.
fn strict(bytes: &[u8]) {
    let options = AudioOptions { strict: true, ..BUILTIN };
    let error = audio::decode_bytes(bytes.to_vec(), "some file", &options).unwrap_err();
    assert!(matches!(error, AudioError::Strict { .. }), "{error:?}");
    check(&error, "some file");
}

fn bytes_of(file: &str) -> Vec<u8> {
    std::fs::read(root().join(file)).unwrap()
}

fn flac() -> Vec<u8> {
    bytes_of("speech/short/000-en.flac")
}

/// 16-bit mono at 16 kHz.
fn plain_wav(samples: &[i32]) -> Vec<u8> {
    wav(WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: SampleFormat::Int }, samples)
}

/// One line that names the file.
fn check(error: &AudioError, name: &str) {
    let line = error.to_string();
    assert!(line.contains(name) && !line.contains('\n'), "{line}");
}

#[test]
fn nothing_at_the_path() {
    let error = audio::read_file(Path::new("/no/such/speech.wav")).unwrap_err();
    assert!(matches!(error, AudioError::NotFound(_)), "{error:?}");
    check(&error, "/no/such/speech.wav");
}

#[test]
fn a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let error = audio::read_file(directory.path()).unwrap_err();
    assert!(matches!(error, AudioError::IsDirectory(_)), "{error:?}");
    check(&error, directory.path().to_str().unwrap());
}

#[test]
fn files_without_sound() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8]); 5] = [
        ("empty.wav", b""),
        ("text.wav", b"This is a text, and no audio.\nIt has two lines.\n"),
        ("short.flac", b"fLaC"),
        ("page.mp3", b"<!doctype html><html><body>404 Not Found</body></html>"),
        ("zeros.ogg", &[0; 5000]),
    ];
    for (name, content) in cases {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = audio::read_file(&path).unwrap_err();
        match name {
            "empty.wav" => assert!(matches!(error, AudioError::Empty(_)), "{name}: {error:?}"),
            "short.flac" => assert!(matches!(error, AudioError::Broken { .. }), "{name}: {error:?}"),
            _ => assert!(matches!(error, AudioError::NotAudio(_)), "{name}: {error:?}"),
        }
        check(&error, path.to_str().unwrap());
    }
}

#[test]
fn an_empty_stream() {
    let error = audio::read(Cursor::new([]), &BUILTIN).unwrap_err();
    assert!(matches!(error, AudioError::Empty(_)), "{error:?}");
    check(&error, "standard input");
}

#[test]
fn a_stream_that_breaks_while_reading() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the cable"))
        }
    }
    let error = audio::read(Broken, &BUILTIN).unwrap_err();
    assert!(matches!(error, AudioError::Read { .. }) && error.to_string().contains("the cable"), "{error}");
}

/// What is there is that of the whole file, but for the last `rim` seconds before the end.
fn same_up_to_the_end(whole: &Audio, part: &Audio, rim: f64) {
    let count = part.samples.len() - ((rim * 16_000.0) as usize).min(part.samples.len());
    assert_eq!(part.samples[..count], whole.samples[..count]);
}

#[test]
fn a_flac_file_cut_short() {
    let whole = flac();
    let complete = decode(whole.clone()).unwrap();
    let mut last = 0.0;
    for percent in [30, 50, 75, 99] {
        let part = &whole[..whole.len() * percent / 100];
        let audio = decode(part).unwrap();
        let [warning] = &audio.warnings[..] else { panic!("{percent} %: {:?}", audio.warnings) };
        assert_eq!(warning.kind, AudioDefect::EndsEarly);
        assert_eq!((warning.from, warning.to), (Some(audio.duration()), Some(complete.duration())));
        assert!(audio.duration() >= last && audio.duration() < complete.duration(), "{percent} %");
        same_up_to_the_end(&complete, &audio, 0.0);
        last = audio.duration();
        strict(part);
    }
    assert!(last > 0.5, "what could be decoded was not kept: {last}");
    // A single byte less costs the last frame.
    let audio = decode(&whole[..whole.len() - 1]).unwrap();
    assert_eq!(audio.warnings.len(), 1, "{:?}", audio.warnings);
}

#[test]
fn a_flac_file_with_a_wrong_bit() {
    let whole = flac();
    let complete = decode(whole.clone()).unwrap();
    for place in [whole.len() / 3, whole.len() / 2, whole.len() * 3 / 4] {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        let audio = decode(damaged.clone()).unwrap();
        let [warning] = &audio.warnings[..] else { panic!("{:?}", audio.warnings) };
        assert_eq!(warning.kind, AudioDefect::Missing);
        // Silence of the frame's length stands in its place, and all else is there and then.
        assert_eq!(audio.samples.len(), complete.samples.len());
        let [from, to] = [warning.from, warning.to].map(|at| (at.unwrap() * 16_000.0).round() as usize);
        assert!(to > from && to - from <= 4608, "{from} to {to}");
        assert!(audio.samples[from..to].iter().all(|sample| *sample == 0.0));
        assert_eq!(audio.samples[..from], complete.samples[..from]);
        assert_eq!(audio.samples[to..], complete.samples[to..]);
        strict(&damaged);
    }
}

#[test]
fn a_wav_file_cut_short() {
    let whole = plain_wav(&(0..16_000).collect::<Vec<_>>());
    let part = &whole[..whole.len() / 2];
    let audio = decode(part).unwrap();
    let [warning] = &audio.warnings[..] else { panic!("{:?}", audio.warnings) };
    assert_eq!((warning.kind, warning.from, warning.to), (AudioDefect::EndsEarly, Some(audio.duration()), Some(1.0)));
    assert!((0.49..0.5).contains(&audio.duration()), "{}", audio.duration());
    same_up_to_the_end(&decode(&whole[..]).unwrap(), &audio, 0.0);
    strict(part);
}

#[test]
fn wav_files_that_do_not_know_their_length() {
    let samples: Vec<i32> = (0..5_000).collect();
    let whole = plain_wav(&samples);
    let data = whole.windows(4).position(|tag| tag == b"data").unwrap();
    let expected = decode(whole.clone()).unwrap();
    for length in [0, 0x7fff_f000, 0x7fff_ffff, 0xffff_ffff_u32] {
        for riff in [0, 4, length.max(36), 0xffff_ffff] {
            let mut piped = whole.clone();
            piped[4..8].copy_from_slice(&u32::to_le_bytes(riff));
            piped[data + 4..data + 8].copy_from_slice(&length.to_le_bytes());
            let audio = decode(piped).unwrap_or_else(|error| panic!("{length:#x} in {riff:#x}: {error}"));
            assert_eq!(audio, expected, "{length:#x} in {riff:#x}");
        }
    }
    // But an empty one with a comment after it is empty.
    let mut empty = plain_wav(&[]);
    empty.extend_from_slice(b"LIST\x04\0\0\0INFO");
    let length = (empty.len() - 8) as u32;
    empty[4..8].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(decode(empty), Err(AudioError::NoAudio(_))));
}

#[test]
fn m4a_files_cut_short() {
    let whole = bytes_of("tests/audio/000-en.m4a");
    for percent in [10, 50, 90] {
        match decode(&whole[..whole.len() * percent / 100]) {
            // The index stands at the end, or is not whole.
            Err(error) => check(&error, "some file"),
            Ok(audio) => assert!(!audio.warnings.is_empty()),
        }
    }
}

#[test]
fn ogg_and_mp3_files_cut_short() {
    for file in ["tests/audio/000-en.ogg", "tests/audio/000-en.mp3"] {
        let whole = bytes_of(file);
        let complete = decode(whole.clone()).unwrap();
        assert!(complete.warnings.is_empty(), "{file}: {:?}", complete.warnings);
        let mut last = 0.0;
        for percent in [40, 60, 80] {
            let part = &whole[..whole.len() * percent / 100];
            let audio = decode(part).unwrap();
            let [warning] = &audio.warnings[..] else { panic!("{file}, {percent} %: {:?}", audio.warnings) };
            assert_eq!(warning.kind, AudioDefect::EndsEarly, "{file}");
            assert!(audio.duration() > last && audio.duration() < complete.duration(), "{file}, {percent} %");
            same_up_to_the_end(&complete, &audio, 0.1);
            last = audio.duration();
            strict(part);
        }
    }
}

#[test]
fn an_mp3_file_cut_at_both_ends_plays() {
    // The packets at the start refer to those that were cut off: silence, no error.
    let whole = bytes_of("tests/audio/000-en-44100-stereo.mp3");
    let audio = decode(&whole[whole.len() / 3..whole.len() * 2 / 3]).unwrap();
    assert!((0.6..1.2).contains(&audio.duration()), "{}", audio.duration());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Anything may come, behind any format's first bytes.
    #[test]
    fn any_bytes_are_an_answer(
        head in prop::sample::select(vec![
            &b""[..], b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0", b"RIFF", b"fLaC\0\0\0\x22", b"OggS\0\x02", b"ID3\x04\0\0",
            b"\xff\xfb\x90\x00", b"\xff\xf1\x60\x40", b"\0\0\0\x20ftypM4A ",
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = [head, &tail].concat();
        match audio::read(Cursor::new(bytes), &BUILTIN) {
            Ok(audio) => prop_assert!(!audio.samples.is_empty()),
            Err(error) => check(&error, "standard input"),
        }
    }

    /// Real files with a few wrong bytes or an end that is missing: an error or finite sound.
    #[test]
    fn damaged_files_are_an_answer(
        file in prop::sample::select(vec![
            "speech/short/000-en.flac", "tests/audio/000-en.mp3", "tests/audio/000-en.ogg", "tests/audio/000-en.m4a",
            "tests/audio/000-en-alac.m4a", "tests/audio/000-en.aac",
        ]),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        early in any::<bool>(),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(file);
        // Headers are where it hurts.
        let range = if early { bytes.len().min(200) } else { bytes.len() };
        for (place, value) in wrong {
            bytes[place.index(range)] = value;
        }
        let end = end.index(bytes.len()) + 1;
        bytes.truncate(if early { bytes.len() } else { end });
        match decode(bytes) {
            Ok(audio) => prop_assert!(audio.samples.iter().all(|sample| sample.is_finite())),
            Err(error) => check(&error, "some file"),
        }
    }
}
