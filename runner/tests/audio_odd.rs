//! Recordings as people have them, by kind: what containers and codecs there are, and what is odd or damaged in them,
//! made here from one sentence and compared with it. What needs an encoder is made with ffmpeg and says NOT RUN where
//! there is none.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{best_shift, correlation, root};
use tempfile::TempDir;
use undertone_runner::audio::{self, Audio, AudioDefect, AudioError, AudioOptions, DecoderChoice};

const BUILTIN: AudioOptions = AudioOptions { decoder: DecoderChoice::Builtin, track: None, strict: false };

fn sentence() -> PathBuf {
    root().join("speech/short/000-en.flac")
}

fn original() -> Audio {
    audio::read_file(&sentence()).unwrap()
}

fn decode(bytes: &[u8]) -> Audio {
    audio::decode_bytes(bytes.to_vec(), "some file", &BUILTIN).unwrap_or_else(|error| panic!("{error}"))
}

/// 16-bit samples of the sentence.
fn samples() -> Vec<i16> {
    original().samples.iter().map(|sample| (sample * 32_768.0) as i16).collect()
}

fn little(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// A chunk of RIFF, filled up to an even length if that is wanted.
fn chunk(name: &[u8; 4], size: u32, body: &[u8], filled: bool) -> Vec<u8> {
    let filling: &[u8] = if filled && body.len() % 2 == 1 { &[0] } else { &[] };
    [name, &size.to_le_bytes()[..], body, filling].concat()
}

/// A `fmt ` chunk's content.
fn format(tag: u16, channels: u16, bits: u16, more: &[u8]) -> Vec<u8> {
    let align = channels * bits.div_ceil(8);
    let mut body = Vec::new();
    body.extend(tag.to_le_bytes());
    body.extend(channels.to_le_bytes());
    body.extend(16_000u32.to_le_bytes());
    body.extend((16_000 * u32::from(align)).to_le_bytes());
    body.extend(align.to_le_bytes());
    body.extend(bits.to_le_bytes());
    body.extend(more);
    body
}

fn riff(id: &[u8; 4], size: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    [id, &size.to_le_bytes()[..], b"WAVE", &chunks.concat()].concat()
}

/// A WAV file whose `data` chunk says `size`.
fn plain(size: u32) -> Vec<u8> {
    let data = little(&samples());
    let chunks = [chunk(b"fmt ", 16, &format(1, 1, 16, &[]), true), chunk(b"data", size, &data, true)];
    riff(b"RIFF", size.wrapping_add(36), &chunks)
}

fn extensible(tag: u16, valid: u16, mask: u32) -> Vec<u8> {
    let mut more = 22u16.to_le_bytes().to_vec();
    more.extend(valid.to_le_bytes());
    more.extend(mask.to_le_bytes());
    more.extend(tag.to_le_bytes());
    more.extend(b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71");
    more
}

#[test]
fn wav_headers_that_disagree_with_the_data() {
    let expected = original();
    let data = little(&samples());
    let size = data.len() as u32;
    let body = chunk(b"data", size, &data, true);
    let simple = chunk(b"fmt ", 16, &format(1, 1, 16, &[]), true);
    let list = |size: u32, body: &[u8], filled| chunk(b"LIST", size, body, filled);
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for stated in [0, 1, 1000, size - 2, size + 1, size + 44, 0x7fff_f000, 0x7fff_ffdb, 0x8000_0000, u32::MAX] {
        cases.push((format!("data of {stated:#x}"), plain(stated)));
    }
    for stated in [0, 4, 36, size, u32::MAX] {
        cases.push((format!("RIFF of {stated:#x}"), riff(b"RIFF", stated, &[simple.clone(), body.clone()])));
    }
    for length in [14, 18, 20, 40, 41] {
        let mut content = format(1, 1, 16, &[0; 30]);
        content.truncate(length);
        let file = riff(b"RIFF", size, &[chunk(b"fmt ", length as u32, &content, true), body.clone()]);
        cases.push((format!("fmt of {length}"), file));
    }
    let info = b"INFOISFT\x05\0\0\0Lavf\0";
    for (what, list) in [
        ("an odd list that is filled up", list(17, info, true)),
        ("an odd list that is not", list(17, info, false)),
        ("a list that says too little", list(6, info, true)),
        ("a list that says too much", list(1 << 30 | 7, info, true)),
    ] {
        // A list that says more than there is hides the data.
        let list = if what.ends_with("much") { chunk(b"LIST", size + 4000, info, true) } else { list };
        cases.push((what.to_owned(), riff(b"RIFF", size, &[simple.clone(), list, body.clone()])));
    }
    let wide = chunk(b"fmt ", 40, &format(0xfffe, 1, 16, &extensible(1, 16, 4)), true);
    cases.push(("extensible".to_owned(), riff(b"RIFF", size, &[wide, body.clone()])));
    let long = [&u64::from(size + 72).to_le_bytes()[..], &u64::from(size).to_le_bytes(), &[0; 12]].concat();
    let open = chunk(b"data", u32::MAX, &data, true);
    for id in [b"RF64", b"BW64"] {
        let chunks = [chunk(b"ds64", 28, &long, true), simple.clone(), open.clone()];
        cases.push((String::from_utf8_lossy(id).into_owned(), riff(id, u32::MAX, &chunks)));
    }
    for (what, bytes) in cases {
        let audio = decode(&bytes);
        let lost = if what.contains("size") { 1 } else { 0 };
        assert_eq!(audio.samples.len() + lost, expected.samples.len(), "{what}");
        assert_eq!(audio.samples, expected.samples, "{what}");
        assert_eq!(audio.warnings, [], "{what}");
    }
    // A few bytes that are missing are no loss that is worth a word; half of them are.
    let audio = decode(&plain(size)[..44 + data.len() - 22]);
    assert_eq!((audio.samples.len(), audio.warnings.len()), (expected.samples.len() - 11, 0));
    assert_eq!(decode(&plain(size)[..44 + data.len() / 2]).warnings[0].kind, AudioDefect::EndsEarly);
}

#[test]
fn wav_samples_of_every_kind() {
    let expected = original();
    let near = |what: &str, bytes: &[u8], least: f64| {
        let audio = decode(bytes);
        assert_eq!(audio.samples.len(), expected.samples.len(), "{what}");
        assert!(correlation(&audio.samples, &expected.samples) > least, "{what}");
        assert_eq!(audio.warnings, [], "{what}");
    };
    let file = |format: Vec<u8>, data: Vec<u8>| {
        let (length, size) = (format.len() as u32, data.len() as u32);
        riff(b"RIFF", size, &[chunk(b"fmt ", length, &format, true), chunk(b"data", size, &data, true)])
    };
    // 20 bits in 24, with and without the format that has a name for that.
    let twenty: Vec<u8> = samples().iter().flat_map(|s| (i32::from(*s) << 8).to_le_bytes()[..3].to_vec()).collect();
    near("20 bits, extensible", &file(format(0xfffe, 1, 24, &extensible(1, 20, 4)), twenty.clone()), 0.9999);
    near("20 bits", &file(format(1, 1, 20, &[]), twenty), 0.9999);
    let law: Vec<u8> = samples().iter().map(|sample| mu_law(*sample)).collect();
    near("mu-law", &file(format(7, 1, 8, &[]), law.clone()), 0.999);
    near("mu-law, extensible", &file(format(0xfffe, 1, 8, &extensible(7, 8, 4)), law), 0.999);
    let float: Vec<u8> = samples().iter().flat_map(|s| (f64::from(*s) / 32_768.0).to_le_bytes()).collect();
    near("64-bit floating point", &file(format(3, 1, 64, &[]), float), 0.9999);
    // Big-endian.
    let mut big = plain(samples().len() as u32 * 2);
    big[..4].copy_from_slice(b"RIFX");
    for at in [4, 16, 24, 28, 40] {
        big[at..at + 4].reverse();
    }
    for at in [20, 22, 32, 34].into_iter().chain((44..big.len() - 1).step_by(2)) {
        big[at..at + 2].reverse();
    }
    near("RIFX", &big, 0.9999);
}

/// ITU-T G.711 by its definition: the code whose value is nearest.
fn mu_law(sample: i16) -> u8 {
    let value = |code: u8| {
        let (step, exponent) = (i32::from(!code & 15), !code >> 4 & 7);
        let magnitude = ((step * 2 + 33) << exponent) - 33;
        (if code & 0x80 == 0 { -magnitude } else { magnitude }) * 4
    };
    (0..=255u8).min_by_key(|code| (value(*code) - i32::from(sample)).abs()).unwrap()
}

#[test]
fn aiff_and_au() {
    let samples = samples();
    let big: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    let chunk = |name: &[u8], body: &[u8]| [name, &(body.len() as u32).to_be_bytes(), body].concat();
    let rate = b"\x40\x0c\xfa\0\0\0\0\0\0\0";
    let count = (samples.len() as u32).to_be_bytes();
    let common = [&[0, 1][..], &count, &[0, 16], rate].concat();
    let sound = [&[0; 8][..], &big].concat();
    let aiff = [b"FORM\0\0\0\0AIFF", &chunk(b"COMM", &common)[..], &chunk(b"SSND", &sound)].concat();
    assert_eq!(decode(&aiff).samples, original().samples);
    let au = |size: u32| {
        let words = [24, size, 3, 16_000, 1].map(u32::to_be_bytes).concat();
        [&b".snd"[..], &words, &big].concat()
    };
    for size in [big.len() as u32, u32::MAX, 0] {
        assert_eq!(decode(&au(size)).samples, original().samples);
    }
}

#[test]
fn files_that_were_joined_are_read_to_the_end() {
    let size = samples().len() as u32 * 2;
    let flac = fs::read(sentence()).unwrap();
    let mp3 = fs::read(root().join("tests/audio/000-en.mp3")).unwrap();
    let ogg = fs::read(root().join("tests/audio/000-en.ogg")).unwrap();
    let aac = fs::read(root().join("tests/audio/000-en.aac")).unwrap();
    let tag = [&b"TAG"[..], &[b' '; 125]].concat();
    let cover = [&b"ID3\x04\0\0\0\0\x10\0"[..], &[0xff; 2048]].concat();
    for (what, parts) in [
        ("WAV", vec![plain(size), plain(size)]),
        ("FLAC", vec![flac.clone(), flac.clone()]),
        ("FLAC with tags", vec![cover.clone(), flac.clone(), tag.clone()]),
        ("MP3", vec![mp3.clone(), mp3.clone()]),
        ("MP3 with tags", vec![cover.clone(), mp3.clone(), tag.clone(), cover, mp3.clone(), tag]),
        ("MP3 behind zeros", vec![vec![0; 5000], mp3.clone()]),
        ("OGG", vec![ogg.clone(), ogg.clone()]),
        ("AAC", vec![aac.clone(), aac]),
    ] {
        let one = parts.iter().max_by_key(|part| part.len()).map(|part| decode(part)).unwrap();
        let times = parts.iter().filter(|part| part.len() > 10_000).count();
        let audio = decode(&parts.concat());
        let (length, expected) = (audio.samples.len(), times * one.samples.len());
        assert!(length.abs_diff(expected) <= 2048, "{what}: {length} samples, not {expected}");
        let last = &audio.samples[length - one.samples.len()..];
        assert!(correlation(last, &one.samples) > 0.9 || best(last, &one.samples) > 0.95, "{what}");
        assert_eq!(audio.warnings, [], "{what}");
    }
}

/// The correlation at the best shift, which half a second of the middle tells.
fn best(a: &[f32], b: &[f32]) -> f64 {
    let middle = a.len().min(b.len()) / 3..;
    let piece = |sound: &[f32]| sound[middle.clone()].iter().take(8000).copied().collect::<Vec<f32>>();
    let shift = best_shift(&piece(a), &piece(b), 2200);
    let (a, b) = (&a[(-shift).max(0) as usize..], &b[shift.max(0) as usize..]);
    correlation(a, b)
}

#[test]
fn flac_with_odd_numbers_in_its_header() {
    let whole = fs::read(sentence()).unwrap();
    let expected = original();
    let total = expected.samples.len() as u64;
    let with_total = |total: u64| {
        let mut file = whole.clone();
        file[21] = file[21] & 0xf0 | (total >> 32) as u8;
        file[22..26].copy_from_slice(&(total as u32).to_be_bytes());
        file
    };
    for stated in [0, 1, total - 1, total + 1, total + 100] {
        let audio = decode(&with_total(stated));
        assert_eq!((audio.samples, audio.warnings), (expected.samples.clone(), vec![]), "{stated}");
    }
    assert_eq!(decode(&with_total(total * 2)).warnings[0].kind, AudioDefect::EndsEarly);
    let mut least = whole;
    least[8..10].fill(0);
    assert_eq!(decode(&least).samples, expected.samples);
}

#[test]
fn an_ogg_stream_without_its_end_mark() {
    let mut whole = fs::read(root().join("tests/audio/000-en.ogg")).unwrap();
    let expected = decode(&whole);
    // The last page goes; the one before it has no mark.
    let last = whole.windows(4).rposition(|tag| tag == b"OggS").unwrap();
    whole.truncate(last);
    let audio = decode(&whole);
    assert_eq!(audio.warnings, []);
    assert_eq!(audio.samples[..], expected.samples[..audio.samples.len()]);
}

// ---- made with ffmpeg ----

/// A folder in which ffmpeg makes files.
struct Made(TempDir);

impl Made {
    /// None where there is no ffmpeg.
    fn new() -> Option<Self> {
        let there = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if there.is_ok_and(|status| status.success()) {
            return Some(Self(tempfile::tempdir().unwrap()));
        }
        eprintln!("NOT RUN: there is no ffmpeg; install it to test the formats that it makes");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What ffmpeg makes of these arguments.
    fn of(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut command = Command::new("ffmpeg");
        let output = command.args(["-nostdin", "-v", "error", "-y"]).args(arguments).arg(&path).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        path
    }

    /// The sentence, encoded.
    fn sentence(&self, name: &str, arguments: &[&str]) -> PathBuf {
        self.of(name, &[&["-i", sentence().to_str().unwrap()], arguments].concat())
    }
}

/// All of a file, read without ffmpeg.
fn read(path: &Path) -> Audio {
    audio::open(path, &BUILTIN).unwrap().read().unwrap()
}

/// Name, ffmpeg's arguments, and how alike the sound is: lossless 0.999, others less.
type Kind = (&'static str, &'static [&'static str], f64);

const OPUS: &[&str] = &["-c:a", "libopus"];
const OURS: &[Kind] = &[
    ("x.wav", &["-c:a", "pcm_s24le", "-ar", "44100", "-ac", "2"], 0.999),
    ("float.wav", &["-c:a", "pcm_f32le"], 0.999),
    ("ima.wav", &["-c:a", "adpcm_ima_wav"], 0.98),
    ("ms.wav", &["-c:a", "adpcm_ms"], 0.98),
    ("x.w64", &[], 0.999),
    ("rf64.wav", &["-rf64", "always"], 0.999),
    ("mp3.wav", &["-c:a", "libmp3lame"], 0.95),
    ("x.aiff", &[], 0.999),
    ("le.aiff", &["-c:a", "pcm_s16le"], 0.999),
    ("law.au", &["-c:a", "pcm_alaw"], 0.98),
    ("s16.caf", &[], 0.999),
    ("alac.caf", &["-c:a", "alac"], 0.999),
    ("x.flac", &["-ar", "48000", "-ac", "2"], 0.999),
    ("x.mp3", &[], 0.95),
    ("vbr.mp3", &["-q:a", "5", "-ar", "44100", "-ac", "2"], 0.95),
    ("noxing.mp3", &["-write_xing", "0"], 0.95),
    ("x.mp2", &[], 0.95),
    ("x.aac", &["-b:a", "64k"], 0.95),
    ("x.ogg", &["-c:a", "libvorbis"], 0.95),
    ("flac.ogg", &["-c:a", "flac"], 0.999),
    ("x.opus", OPUS, 0.95),
    ("voip.ogg", &["-c:a", "libopus", "-application", "voip", "-b:a", "16k"], 0.93),
    ("frames.opus", &["-c:a", "libopus", "-frame_duration", "60", "-b:a", "12k"], 0.85),
    ("stereo.opus", &["-c:a", "libopus", "-ac", "2"], 0.95),
    ("surround.opus", &["-c:a", "libopus", "-ac", "6", "-mapping_family", "1"], 0.9),
    ("x.webm", OPUS, 0.95),
    ("live.webm", &["-c:a", "libopus", "-live", "1"], 0.95),
    ("vorbis.webm", &["-c:a", "libvorbis"], 0.95),
    ("x.mka", &["-c:a", "flac"], 0.999),
    ("pcm.mka", &["-c:a", "pcm_s16le"], 0.999),
    ("aac.mkv", &["-c:a", "aac", "-b:a", "64k"], 0.95),
    ("mp3.mkv", &["-c:a", "libmp3lame"], 0.95),
    ("x.m4a", &["-c:a", "aac", "-b:a", "64k"], 0.95),
    ("alac.m4a", &["-c:a", "alac"], 0.999),
    ("opus.mp4", OPUS, 0.95),
    ("flac.mp4", &["-c:a", "flac", "-strict", "-2"], 0.999),
    (
        "fragments.mp4",
        &["-c:a", "aac", "-b:a", "64k", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "500000"],
        0.95,
    ),
    ("x.mov", &["-c:a", "pcm_s16le"], 0.999),
];
const THROUGH_FFMPEG: &[Kind] = &[
    ("surround.m4a", &["-c:a", "aac", "-ac", "6", "-b:a", "192k"], 0.95),
    ("x.ac3", &["-b:a", "128k"], 0.95),
    ("x.wma", &["-c:a", "wmav2", "-b:a", "64k"], 0.9),
    ("x.ts", &["-c:a", "aac", "-b:a", "64k"], 0.95),
    ("x.avi", &["-c:a", "libmp3lame"], 0.95),
    ("x.wv", &[], 0.999),
    ("x.tta", &[], 0.999),
    ("g726.wav", &["-c:a", "g726", "-ar", "8000"], 0.5),
    ("g722.wav", &["-c:a", "g722", "-ac", "1"], 0.95),
    ("ac3.mkv", &["-c:a", "ac3", "-b:a", "128k"], 0.95),
];

#[test]
fn containers_and_codecs() {
    let Some(made) = Made::new() else { return };
    let original = original();
    let check = |kinds: &[Kind], options: &AudioOptions| {
        for (name, arguments, least) in kinds {
            let path = made.sentence(name, arguments);
            let audio = audio::open(&path, options).and_then(|stream| stream.read());
            let audio = audio.unwrap_or_else(|error| panic!("{name}: {error}"));
            let likeness = best(&original.samples, &audio.samples);
            assert!(likeness > *least, "{name}: {likeness}");
            let longer = audio.samples.len() as i64 - original.samples.len() as i64;
            assert!((-1000..=4000).contains(&longer), "{name}: {longer} samples longer");
            assert_eq!(audio.warnings, [], "{name}");
            // The same from a stream.
            let streamed = audio::read(fs::File::open(&path).unwrap(), options).unwrap();
            assert_eq!(streamed.samples.len(), audio.samples.len(), "{name}");
        }
    };
    check(OURS, &BUILTIN);
    check(THROUGH_FFMPEG, &AudioOptions::default());
    // And without ffmpeg's help: what it is, and what to install.
    for (name, ..) in THROUGH_FFMPEG {
        let error = audio::open(&made.path(name), &BUILTIN).and_then(|stream| stream.read()).unwrap_err();
        assert!(matches!(error, AudioError::NoDecoder { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("ffmpeg"), "{error}");
    }
}

/// Coded kinds whose damage can be told, and how much later their sound may stand after it, in samples.
const DAMAGED: &[(&str, &[&str], usize)] = &[
    ("x.flac", &[], 0),
    ("x.mp3", &["-b:a", "32k"], 600),
    ("noxing.mp3", &["-b:a", "32k", "-write_xing", "0"], 600),
    ("x.aac", &["-c:a", "aac", "-b:a", "32k"], 4200),
    ("x.ogg", &["-c:a", "libvorbis", "-page_duration", "200000"], 0),
    ("x.opus", &["-c:a", "libopus", "-page_duration", "200000"], 0),
    ("x.webm", &["-c:a", "libopus", "-cluster_time_limit", "300"], 100),
    ("x.mka", &["-c:a", "flac", "-cluster_time_limit", "300"], 100),
    ("x.m4a", &["-c:a", "aac", "-b:a", "32k", "-movflags", "faststart"], 0),
];

#[test]
fn damage_in_the_middle_is_told_and_moves_nothing() {
    let Some(made) = Made::new() else { return };
    for (name, arguments, shift) in DAMAGED {
        let bytes = fs::read(made.sentence(name, arguments)).unwrap();
        let whole = decode(&bytes);
        for (kind, filling) in [("zeros", 0u8), ("ones", 0xff)] {
            let mut damaged = bytes.clone();
            let (from, to) = (bytes.len() * 45 / 100, bytes.len() * 53 / 100);
            damaged[from..to].fill(filling);
            let audio = decode(&damaged);
            let told = audio.warnings.first().unwrap_or_else(|| panic!("{name}, {kind}: nothing is said"));
            let at = told.from.unwrap() / whole.duration();
            assert!((0.3..0.6).contains(&at), "{name}, {kind}: {told}");
            let longer = audio.samples.len() as i64 - whole.samples.len() as i64;
            assert!(longer.unsigned_abs() as usize <= *shift, "{name}, {kind}: {longer} samples longer");
            let tail = whole.samples.len() * 7 / 10;
            let end = whole.samples.len().min(audio.samples.len());
            let found = best_shift(&whole.samples[tail..end], &audio.samples[tail..end], (*shift).max(10));
            let later = &audio.samples[(tail as i64 + found) as usize..];
            let likeness = correlation(&whole.samples[tail..end - 1000], later);
            assert!(likeness > 0.9, "{name}, {kind}: the end is like itself by {likeness} at {found}");
        }
    }
}

#[test]
fn a_missing_end_is_told() {
    let Some(made) = Made::new() else { return };
    for (name, arguments, _) in DAMAGED {
        let bytes = fs::read(made.sentence(name, arguments)).unwrap();
        let whole = decode(&bytes);
        let audio = decode(&bytes[..bytes.len() * 6 / 10]);
        let share = audio.duration() / whole.duration();
        assert!((0.3..0.8).contains(&share), "{name}: {share}");
        let count = audio.samples.len() - 2000;
        let likeness = correlation(&whole.samples[..count], &audio.samples[..count]);
        assert!(likeness > 0.99, "{name}: {likeness}");
        // Streams of nothing but frames promise nothing.
        if !matches!(*name, "x.aac" | "noxing.mp3") {
            assert_eq!(audio.warnings.last().map(|warning| warning.kind), Some(AudioDefect::EndsEarly), "{name}");
        }
    }
}

#[test]
fn parts_that_were_cut_out_without_decoding() {
    let Some(made) = Made::new() else { return };
    for (name, arguments) in [
        ("x.flac", &["-c:a", "flac", "-frame_size", "1024"][..]),
        ("x.mp3", &["-c:a", "libmp3lame"]),
        ("x.ogg", &["-c:a", "libvorbis"]),
        ("x.opus", OPUS),
        ("x.mka", &["-c:a", "flac", "-frame_size", "1024"]),
        ("x.m4a", &["-c:a", "aac", "-b:a", "64k"]),
    ] {
        let whole = made.sentence(name, arguments);
        let complete = read(&whole);
        let copy = ["-ss", "1", "-i", whole.to_str().unwrap(), "-c", "copy"];
        let audio = read(&made.of(&format!("part-{name}"), &copy));
        let expected = complete.duration() - 1.0;
        assert!((audio.duration() - expected).abs() < 0.3, "{name}: {} of {expected} s", audio.duration());
        let end = &complete.samples[complete.samples.len() - 8000..];
        let same = &audio.samples[audio.samples.len() - 10_000..];
        assert!(best(end, same) > 0.9 || best(&complete.samples[16_000..32_000], &audio.samples) > 0.9, "{name}");
    }
}

#[test]
fn films_and_their_tracks() {
    let Some(made) = Made::new() else { return };
    let original = original();
    let sentence = sentence().display().to_string();
    let picture = ["-f", "lavfi", "-i", "color=size=64x48:rate=10:duration=2"];
    let silence = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-i", &sentence];
    for extension in ["mp4", "mkv", "mov"] {
        let film = made.of(
            &format!("film.{extension}"),
            &[&picture[..], &["-i", &sentence, "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "64k"]].concat(),
        );
        assert!(best(&original.samples, &read(&film).samples) > 0.95, "{extension}");
        let silent = made.of(&format!("silent.{extension}"), &[&picture[..], &["-c:v", "mpeg4"]].concat());
        for decoder in [DecoderChoice::Auto, DecoderChoice::Builtin, DecoderChoice::Ffmpeg] {
            let error = audio::open(&silent, &AudioOptions { decoder, ..BUILTIN }).map(|_| ()).unwrap_err();
            assert!(matches!(error, AudioError::NoSound { .. }), "{extension}: {error:?}");
        }
        let two = made.of(
            &format!("two.{extension}"),
            &[&silence[..], &["-map", "0", "-map", "1", "-t", "2", "-c:a", "aac", "-b:a", "64k"]].concat(),
        );
        for decoder in [DecoderChoice::Builtin, DecoderChoice::Ffmpeg] {
            let read =
                |track| audio::open(&two, &AudioOptions { decoder, track, strict: false }).and_then(|s| s.read());
            assert!(best(&original.samples[..30_000], &read(None).unwrap().samples) > 0.9, "{extension}");
            assert_eq!(read(Some(2)).unwrap().samples, read(None).unwrap().samples, "{extension}");
            assert!(read(Some(1)).unwrap().samples.iter().all(|sample| sample.abs() < 1e-3), "{extension}");
            let error = read(Some(3)).unwrap_err();
            assert!(matches!(error, AudioError::NoTrack { asked: 3, count: 2, .. }), "{extension}: {error:?}");
        }
    }
}

/// Films whose sound begins after five seconds of picture.
const LATE: &[(&str, &[&str], DecoderChoice)] = &[
    ("late.mp4", &["-c:a", "aac"], DecoderChoice::Builtin),
    ("late.mov", &["-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2"], DecoderChoice::Builtin),
    ("fragments.mp4", &["-c:a", "aac", "-movflags", "frag_keyframe+delay_moov"], DecoderChoice::Builtin),
    ("late.mkv", &["-c:a", "aac"], DecoderChoice::Builtin),
    ("late.ts", &["-c:a", "aac"], DecoderChoice::Auto),
    ("ac3.mp4", &["-c:a", "ac3"], DecoderChoice::Auto),
];

#[test]
fn sound_that_begins_later_than_the_picture() {
    let Some(made) = Made::new() else { return };
    let original = original();
    let sentence = sentence().display().to_string();
    let film = |name: &str, late: &str, arguments: &[&str]| {
        let picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=9"];
        let sound = ["-itsoffset", late, "-i", &sentence, "-map", "0", "-map", "1", "-c:v", "mpeg4"];
        made.of(name, &[&picture, &sound[..], arguments].concat())
    };
    let check = |name: &str, audio: &Audio, late: f64| {
        assert_eq!(audio.warnings, [], "{name}");
        // An encoder's delay of up to 2112 samples may stand in front.
        let longer = audio.duration() - original.duration() - late;
        assert!((-0.1..0.25).contains(&longer), "{name}: {longer} s longer");
        let start = (late * 16_000.0) as usize;
        let (silence, sound) = audio.samples.split_at(start);
        // An encoder may sound for a moment before what it encodes.
        let before = silence[..start - start.min(1600)].iter().fold(0f32, |most, sample| most.max(sample.abs()));
        assert!(before < 1e-3, "{name}: {before} before the sound");
        let middle = 8000..16_000;
        let shift = best_shift(&original.samples[middle.clone()], &sound[middle.clone()], 2200);
        assert!((-500..=2200).contains(&shift), "{name}: {shift} samples later");
        let same = &sound[(middle.start as i64 + shift) as usize..][..middle.len()];
        assert!(correlation(&original.samples[middle], same) > 0.9, "{name}");
    };
    for (name, arguments, decoder) in LATE {
        let path = film(name, "5", arguments);
        // ffmpeg alone drops nothing either, and nothing is put in front twice.
        for decoder in [*decoder, DecoderChoice::Ffmpeg] {
            let options = AudioOptions { decoder, ..BUILTIN };
            check(name, &audio::open(&path, &options).unwrap().read().unwrap(), 5.0);
        }
        let options = AudioOptions { decoder: *decoder, ..BUILTIN };
        check(name, &audio::read(fs::File::open(&path).unwrap(), &options).unwrap(), 5.0);
        // A fifth of a second is seen on lips.
        let path = film(name, "0.2", arguments);
        check(name, &audio::open(&path, &options).unwrap().read().unwrap(), 0.2);
    }
    // A late sound without pictures is in time with nothing.
    for name in ["late.m4a", "alone.ts"] {
        let path = made.of(name, &["-itsoffset", "5", "-i", &sentence, "-c:a", "aac"]);
        check(name, &audio::read_file(&path).unwrap(), 0.0);
    }
}

#[test]
fn channels_that_cancel_each_other_are_not_lost() {
    let samples = samples();
    let data: Vec<i16> = samples.iter().flat_map(|sample| [*sample, sample.saturating_neg()]).collect();
    let data = little(&data);
    let size = data.len() as u32;
    let chunks = [chunk(b"fmt ", 16, &format(1, 2, 16, &[]), true), chunk(b"data", size, &data, true)];
    assert_eq!(decode(&riff(b"RIFF", size + 36, &chunks)).samples, original().samples);
}
