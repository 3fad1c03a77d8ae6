//! The loop over windows, prompts and chunks, with a model that plays a script. No ONNX Runtime.

use super::*;
use crate::choice::{Scores, ranks};
use crate::mel::WINDOW_FRAMES;
use crate::observer::Progress;
use crate::options::Task;
use crate::prompt::PromptOptions;
use crate::result::{Segment, Warning};
use crate::speech_model::StartLogits;
use crate::words::{Attended, WordOptions};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[path = "transcribe_doubt_tests.rs"]
mod doubt;
#[path = "transcribe_missed_tests.rs"]
mod missed;
#[path = "transcribe_search_tests.rs"]
mod search;
#[path = "transcribing_tests.rs"]
mod step_by_step;
#[path = "transcribe_words_tests.rs"]
mod timed;
#[path = "transcribe_told_tests.rs"]
mod told;

const T0: u32 = 50364;
const EOT: u32 = 50257;
const SOT: u32 = 50258;
const ENGLISH: u32 = 50259;
const GERMAN: u32 = 50261;
/// " Hello" and " world".
const HELLO: u32 = 2425;
const WORLD: u32 = 1002;

/// Start-of-transcript, languages, tasks and the like.
fn is_control(token: u32) -> bool {
    (SOT..T0).contains(&token)
}

/// What a scripted model was asked: windows, how many ran together, and the prompts with which sequences were started.
#[derive(Default)]
struct Log {
    windows: usize,
    batches: Vec<usize>,
    prompts: Vec<Vec<u32>>,
    /// The windows of a batch that were decoded again, each time.
    again: Vec<Vec<usize>>,
}

/// Writes the next of its texts for every window; German; fails where it is told to.
struct Script {
    texts: Vec<Vec<u32>>,
    /// What it writes instead when it is asked again, at the second time, the third, ….
    again: Vec<Vec<u32>>,
    /// The logit of the token that it means, and the same for when it is asked again.
    sure: [f32; 2],
    /// How often it was asked again.
    asked_again: usize,
    /// The windows that were encoded last begin here.
    encoded_from: usize,
    no_speech: f32,
    /// The language token that each window is taken for, and its logit; German is what others are.
    languages: Vec<(u32, f32)>,
    fails_at_window: Option<usize>,
    /// Whether it gives the scores of its cross-attention.
    attends: bool,
    window: usize,
    /// The rows that go on: their windows and sequences.
    rows: Vec<(usize, Vec<u32>)>,
    log: Arc<Mutex<Log>>,
}

impl Script {
    fn new(texts: &[&[u32]]) -> Self {
        let texts = texts.iter().map(|t| t.to_vec()).collect();
        let (again, languages, rows, log) = Default::default();
        let (asked_again, encoded_from, window) = (0, 0, 0);
        let (no_speech, fails_at_window, sure) = (0.0, None, [30.0; 2]);
        let attends = true;
        Self {
            texts,
            again,
            sure,
            asked_again,
            encoded_from,
            no_speech,
            languages,
            fails_at_window,
            attends,
            window,
            rows,
            log,
        }
    }

    /// What follows as many tokens as were written since start-of-transcript, control tokens not counted.
    fn next(&self, row: usize) -> Vec<f32> {
        let (window, sequence) = &self.rows[row];
        let text = match self.asked_again {
            0 => self.texts.get(*window),
            times => self.again.get(times - 1),
        };
        let text = text.map_or(&[][..], |t| t);
        let written = sequence.iter().rev().take_while(|&&t| t != SOT).filter(|&&t| !is_control(t)).count();
        let mut logits = vec![0.0; 51865];
        logits[*text.get(written).unwrap_or(&EOT) as usize] = self.sure[self.asked_again.min(1)];
        logits
    }
}

impl SpeechModel for Script {
    fn encode(&mut self, windows: &[&[f32]]) -> Result<(), RunError> {
        assert!(windows.iter().all(|w| w.len() == 80 * WINDOW_FRAMES));
        self.rows = (self.window..self.window + windows.len()).map(|window| (window, Vec::new())).collect();
        if self.rows.iter().any(|(window, _)| self.fails_at_window == Some(*window)) {
            return Err(RunError { stage: "encoder".to_owned(), reason: "the device is gone".to_owned() });
        }
        (self.encoded_from, self.asked_again) = (self.window, 0);
        self.window += windows.len();
        let mut log = self.log.lock().unwrap();
        log.windows += windows.len();
        log.batches.push(windows.len());
        Ok(())
    }

    fn start(&mut self, prompts: &[&[u32]], sot: usize) -> Result<Vec<StartLogits>, RunError> {
        assert!(prompts.len() == self.rows.len() && prompts.iter().all(|p| p.len() == prompts[0].len()));
        assert!(prompts.iter().all(|p| p[sot] == SOT));
        self.log.lock().unwrap().prompts.extend(prompts.iter().map(|p| p.to_vec()));
        for (row, prompt) in self.rows.iter_mut().zip(prompts) {
            row.1 = prompt.to_vec();
        }
        let at_sot = |window: usize| {
            let mut logits = vec![0.0; 51865];
            let (language, logit) = self.languages.get(window).copied().unwrap_or((GERMAN, 20.0));
            logits[language as usize] = logit;
            if self.no_speech > 0.5 {
                logits[50362] = 40.0;
            }
            logits
        };
        let rows = self.rows.iter().enumerate();
        Ok(rows.map(|(row, (window, _))| StartLogits { sot: at_sot(*window), last: self.next(row) }).collect())
    }

    fn step(
        &mut self,
        tokens: &[u32],
        asks: &[Ask<'_>],
        count: usize,
        answers: &mut Vec<Scores>,
    ) -> Result<(), RunError> {
        assert_eq!(asks.len(), self.rows.len());
        answers.clear();
        self.step_logits(tokens, &mut |row, logits| ranks(logits, &asks[row], count, answers))
    }

    fn step_logits(&mut self, tokens: &[u32], look: &mut dyn FnMut(usize, &[f32])) -> Result<(), RunError> {
        let mut log = self.log.lock().unwrap();
        let started = log.prompts.len() - self.rows.len().min(log.prompts.len());
        for (i, tokens) in tokens.chunks_exact(tokens.len() / self.rows.len()).enumerate() {
            self.rows[i].1.extend(tokens);
            // Control tokens come in the first step only, before any row has left; but for beams that nobody will take.
            if tokens.iter().all(|&t| is_control(t))
                && let Some(prompt) = log.prompts.get_mut(started + i)
            {
                prompt.extend(tokens);
            }
        }
        (0..self.rows.len()).for_each(|row| look(row, &self.next(row)));
        Ok(())
    }

    fn restart(&mut self, windows: &[usize]) -> Result<(), RunError> {
        self.asked_again += 1;
        self.rows = windows.iter().map(|window| (self.encoded_from + window, Vec::new())).collect();
        self.log.lock().unwrap().again.push(windows.to_vec());
        Ok(())
    }

    fn keep(&mut self, rows: &[usize]) -> Result<(), RunError> {
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }

    fn prepare_to_attend(&self) -> Result<(), RunError> {
        let fused = RunError { stage: "decoder".to_owned(), reason: "its attention is fused".to_owned() };
        if self.attends { Ok(()) } else { Err(fused) }
    }

    /// Every head follows the audio: the token at place `n` is about position `20 · n`, 0.4 s each.
    fn attend(
        &mut self,
        window: usize,
        tokens: &[u32],
        heads: &[[usize; 2]],
        look: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Attended, RunError> {
        assert!(self.encoded_from + window < self.window);
        assert_eq!((tokens[0], tokens.last()), (SOT, Some(&EOT)));
        for position in 0..tokens.len() {
            let mut logits = vec![0.0; 51865];
            if let Some(next) = tokens.get(position + 1) {
                logits[*next as usize] = 12.0;
            }
            look(position, &logits);
        }
        let positions = 1500;
        let far = |place: usize, position: usize| (20 * place).abs_diff(position) as f32 / 4.0;
        let scores = (0..heads.len() * tokens.len() * positions)
            .map(|at| -far(at / positions % tokens.len(), at % positions))
            .collect();
        Ok(Attended { tokens: tokens.len(), positions, scores })
    }
}

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/reference")
}

fn transcriber(script: Script) -> (Transcriber, Arc<Mutex<Log>>) {
    static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    let tokenizer = TOKENIZER.get_or_init(|| Tokenizer::load(&reference()).unwrap());
    let model = Model::from_directory(&reference(), None).unwrap();
    let log = script.log.clone();
    (Transcriber::with_model(Box::new(script), tokenizer.clone(), model.config().clone()), log)
}

/// Sound that changes: noise that is loud and quiet by turns.
fn seconds(seconds: f64) -> Audio {
    let mut noise = fastrand::Rng::with_seed(1);
    let loudness = |i: usize| if (i / 8000).is_multiple_of(2) { 0.1 } else { 0.001 };
    Audio::from_samples((0..(seconds * 16_000.0) as usize).map(|i| loudness(i) * (noise.f32() - 0.5)).collect())
}

fn german() -> TranscribeOptions {
    TranscribeOptions { language: Some("de".to_owned()), ..TranscribeOptions::default() }
}

/// Calls a function with the [`Progress`].
struct OnProgress<F>(F);

impl<F: FnMut(Progress)> Observer for OnProgress<F> {
    fn progress(&mut self, progress: Progress) {
        (self.0)(progress);
    }
}

fn times(result: &Transcription) -> Vec<(f64, f64, &str)> {
    result.segments.iter().map(|s| (s.start, s.end, s.text.as_str())).collect()
}

#[test]
fn the_language_is_detected_once_and_then_prompted() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 100], &[T0, WORLD, T0 + 50]]));
    let result = transcriber.transcribe(&seconds(45.0), &TranscribeOptions::default(), &mut ()).unwrap();
    assert_eq!(result.language, "de");
    assert_eq!(times(&result), [(0.0, 2.0, " Hello"), (30.0, 31.0, " world")]);
    assert_eq!(result.text, " Hello world");
    let prompts = &log.lock().unwrap().prompts;
    assert_eq!(prompts[0], [50258, 50261, 50359], "detection's sequence goes on");
    assert_eq!(prompts[1], [50361, T0, HELLO, T0 + 100, 50258, 50261, 50359]);
    assert_eq!(prompts.len(), 2);
}

#[test]
fn unconditioned_windows_and_other_tasks_have_short_prompts() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[HELLO], &[WORLD]]));
    let options = TranscribeOptions {
        prompt: PromptOptions {
            condition_on_previous_text: false,
            initial_prompt: Some(" Hello ".into()),
            ..PromptOptions::default()
        },
        without_timestamps: true,
        task: Task::Translate,
        ..german()
    };
    let result = transcriber.transcribe(&seconds(31.0), &options, &mut ()).unwrap();
    assert_eq!((result.task.as_str(), result.text.as_str()), ("translate", " Hello world"));
    assert_eq!(times(&result), [(0.0, 30.0, " Hello"), (30.0, 31.0, " world")]);
    let prompts = &log.lock().unwrap().prompts;
    assert_eq!(prompts[0], [50361, HELLO, 50258, 50261, 50358, 50363]);
    assert_eq!(prompts[1], [50258, 50261, 50358, 50363]);
}

#[test]
fn long_prompts_keep_their_end() {
    let many: Vec<u32> = [T0].into_iter().chain(std::iter::repeat_n(HELLO, 198)).chain([T0 + 1400]).collect();
    let (mut transcriber, log) = transcriber(Script::new(&[&many, &many, &many]));
    let options = TranscribeOptions { compression_ratio_threshold: None, ..german() };
    transcriber.transcribe(&seconds(90.0), &options, &mut ()).unwrap();
    let prompts = &log.lock().unwrap().prompts;
    assert_eq!(prompts[1].len(), 1 + 200 + 3);
    assert_eq!(prompts[2].len(), 1 + 223 + 3);
    assert_eq!(prompts[2][..2], [50361, HELLO], "177 tokens of the first window are left out");
}

#[test]
fn nothing_is_said_after_the_end_of_the_audio() {
    // The first segment reaches beyond the audio's 2.505 s, the second begins after it.
    let text = [T0, HELLO, T0 + 200, T0 + 200, WORLD, T0 + 300];
    let result = transcriber(Script::new(&[&text])).0.transcribe(&seconds(2.505), &german(), &mut ()).unwrap();
    assert_eq!(times(&result), [(0.0, 2.505, " Hello")]);
    assert_eq!(result.text, " Hello");
}

#[test]
fn audio_shorter_than_a_frame_has_no_text() {
    for samples in [0, 1, 159] {
        let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 1]]));
        let audio = Audio::from_samples(vec![0.1; samples]);
        let result = transcriber.transcribe(&audio, &TranscribeOptions::default(), &mut ()).unwrap();
        assert_eq!((result.text.as_str(), result.segments.len(), result.language.as_str()), ("", 0, "de"));
        assert_eq!(log.lock().unwrap().windows, 1);
    }
}

#[test]
fn progress_reaches_the_end() {
    let mut seen = Vec::new();
    let (mut transcriber, _) =
        transcriber(Script::new(&[&[T0, HELLO, T0 + 100, T0 + 100, WORLD], &[T0, WORLD, T0 + 9]]));
    transcriber
        .transcribe(
            &seconds(20.0),
            &german(),
            &mut OnProgress(|p: Progress| seen.push((p.done_seconds, p.total_seconds))),
        )
        .unwrap();
    assert_eq!(seen, [(2.0, 20.0), (20.0, 20.0)]);
}

#[test]
fn a_failed_window_is_run_again_by_the_spare_and_so_are_those_after_it() {
    let texts: [&[u32]; 3] = [&[T0, HELLO, T0 + 50], &[T0, HELLO, T0 + 60], &[T0, HELLO, T0 + 70]];
    let (mut transcriber, broken) = transcriber(Script { fails_at_window: Some(1), ..Script::new(&texts) });
    let spare = Script::new(&[&[T0, WORLD, T0 + 80], &[T0, WORLD, T0 + 90]]);
    let replacement = spare.log.clone();
    let mut spare = Some(spare);
    transcriber.device = Device::Auto;
    transcriber.spare = Some(Box::new(move || Ok((Box::new(spare.take().unwrap()) as Box<dyn SpeechModel>, 7))));
    transcriber.cpu_nodes = Some(3);
    let result = transcriber.transcribe(&seconds(90.0), &german(), &mut ()).unwrap();
    assert_eq!(times(&result), [(0.0, 1.0, " Hello"), (30.0, 31.6, " world"), (60.0, 61.8, " world")]);
    assert_eq!(result.run.fallback.as_deref(), Some("the encoder failed: the device is gone"));
    assert_eq!(result.run.cpu_nodes, Some(10));
    assert!(result.run.device.ends_with("then cpu"), "{}", result.run.device);
    assert_eq!((broken.lock().unwrap().windows, replacement.lock().unwrap().windows), (1, 2));
    // The window that was run again was prompted with the text before it.
    assert!(replacement.lock().unwrap().prompts[0].contains(&HELLO));
}

#[test]
fn without_a_spare_a_failure_is_an_error() {
    let (mut transcriber, _) = transcriber(Script { fails_at_window: Some(0), ..Script::new(&[]) });
    let error = transcriber.transcribe(&seconds(1.0), &german(), &mut ()).unwrap_err();
    assert_eq!(error.to_string(), "the encoder failed: the device is gone");
}

#[test]
fn english_only_models_are_prompted_without_language_and_task() {
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 100]]));
    transcriber.tokenizer.special.multilingual = false;
    let mut ask = |options: &TranscribeOptions| transcriber.transcribe(&seconds(1.0), options, &mut ());
    assert_eq!(ask(&TranscribeOptions::default()).unwrap().language, "en");
    assert_eq!(log.lock().unwrap().prompts, [[50258]]);
    assert!(ask(&german()).unwrap_err().to_string().contains("English-only and cannot transcribe 'de' (german)"));
    for word in ["en", "English", "en-US", "auto"] {
        let options = TranscribeOptions { language: Some(word.to_owned()), ..TranscribeOptions::default() };
        assert_eq!(ask(&options).unwrap().language, "en", "{word}");
    }
    let translate = TranscribeOptions { task: Task::Translate, ..TranscribeOptions::default() };
    assert!(ask(&translate).unwrap_err().to_string().contains("cannot translate"));
}

#[test]
fn unknown_languages_are_errors_that_name_the_known() {
    let (mut transcriber, _) = transcriber(Script::new(&[]));
    let mut ask = |language: &str| {
        let options = TranscribeOptions { language: Some(language.to_owned()), ..TranscribeOptions::default() };
        transcriber.transcribe(&seconds(1.0), &options, &mut ()).map_err(|e| e.to_string())
    };
    let error = ask("yue").unwrap_err();
    assert!(error.starts_with("the model knows no language 'yue'") && error.contains(" de "), "{error}");
    let error = ask("Germn").unwrap_err();
    assert!(error.starts_with("there is no language 'Germn'") && error.contains("german"), "{error}");
    for word in ["EN", "English", "en-US", "en_GB"] {
        assert_eq!(ask(word).unwrap().language, "en", "{word}");
    }
    assert_eq!(ask("auto").unwrap().language, "de", "what the model detects");
}

#[test]
fn recordings_together_keep_their_own_loops() {
    // The second recording's first window ends in a pair: it has a second one, with a longer prompt, alone.
    let texts: [&[u32]; 6] = [
        &[T0, HELLO, T0 + 50],
        &[T0, WORLD, T0 + 60, T0 + 60, HELLO],
        &[T0, HELLO, WORLD, T0 + 70],
        &[T0, WORLD, WORLD, T0 + 80],
        &[], // of the recording without a frame, whose language is asked for
        &[T0, HELLO, HELLO, T0 + 90],
    ];
    let (mut transcriber, log) = transcriber(Script::new(&texts));
    let (short, long, none) = (seconds(3.0), seconds(10.0), seconds(0.001));
    let options = TranscribeOptions { batch: 3, ..TranscribeOptions::default() };
    let mut seen = Vec::new();
    let results = transcriber
        .transcribe_all(
            &[&short, &long, &none, &short, &short],
            &options,
            &mut OnProgress(|p: Progress| seen.push(p.done_seconds)),
        )
        .unwrap();
    let texts: Vec<_> = results.iter().map(times).collect();
    assert_eq!(texts[0], [(0.0, 1.0, " Hello")]);
    assert_eq!(texts[1], [(0.0, 1.2, " world"), (1.2, 2.8, " world world")]);
    assert_eq!(texts[2], []);
    assert_eq!(texts[3], [(0.0, 1.4, " Hello world")]);
    assert_eq!(texts[4], [(0.0, 1.8, " Hello Hello")]);
    assert!(results.iter().all(|r| r.language == "de" && r.run.recordings == 5 && r.run.batch == 3));
    assert!(results.iter().map(|r| r.run.tokens).eq([4, 11, 0, 5, 5]));
    let log = log.lock().unwrap();
    assert_eq!(log.batches, [3, 1, 1, 1]);
    assert!(seen.is_sorted() && (seen.last().unwrap() - 19.001).abs() < 1e-3, "{seen:?}");
}

#[test]
fn chunks_of_a_cut_recording_run_together_without_the_text_before() {
    let texts: Vec<&[u32]> = vec![&[T0, HELLO, T0 + 50]; 9];
    let (mut transcriber, log) = transcriber(Script::new(&texts));
    let options = TranscribeOptions { cut_at_pauses: true, batch: 4, ..TranscribeOptions::default() };
    let result = transcriber.transcribe(&seconds(130.0), &options, &mut ()).unwrap();
    let log = log.lock().unwrap();
    assert!(log.windows == 5 && log.batches[0] == 4, "{:?}", log.batches);
    assert!(log.prompts.iter().all(|p| *p == [50258, 50261, 50359]), "{:?}", log.prompts);
    assert_eq!((result.language.as_str(), result.segments.len()), ("de", log.windows));
    for pair in result.segments.windows(2) {
        assert!(pair[0].end <= pair[1].start && pair[0].id + 1 == pair[1].id);
        assert!((1000..=3000).contains(&(pair[1].seek - pair[0].seek)));
    }
    assert_eq!(result.text, " Hello".repeat(log.windows));
}

#[test]
fn a_chunk_is_transcribed_to_its_pause_in_one_window() {
    // The model would leave all after the first second to another window.
    let texts: Vec<&[u32]> = vec![&[T0, HELLO, T0 + 50, T0 + 50]; 20];
    for (cut_at_pauses, windows) in [(true, 3..4), (false, 20..30)] {
        let (mut transcriber, log) = transcriber(Script::new(&texts));
        let options = TranscribeOptions { cut_at_pauses, ..german() };
        let result = transcriber.transcribe(&seconds(80.0), &options, &mut ()).unwrap();
        assert!(windows.contains(&log.lock().unwrap().windows), "{cut_at_pauses}: {}", log.lock().unwrap().windows);
        assert!(result.segments.iter().any(|s| s.text == " Hello" && s.end - s.start == 1.0), "{:?}", result.segments);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is written, the loop ends, and the segments are in the audio; their starts are in order.
    #[test]
    fn any_text_ends(
        texts in proptest::collection::vec(proptest::collection::vec(prop_oneof![0u32..EOT, T0..T0 + 1501], 0..12), 0..6),
        length in 0.0f64..75.0,
    ) {
        let texts: Vec<&[u32]> = texts.iter().map(|t| &t[..]).collect();
        let audio = seconds(length);
        let result = transcriber(Script::new(&texts)).0.transcribe(&audio, &german(), &mut ()).unwrap();
        prop_assert!(result.segments.iter().all(|s| s.start <= s.end && s.end <= audio.duration()));
        prop_assert!(result.segments.iter().map(|s| s.start).is_sorted());
        prop_assert!(result.segments.iter().enumerate().all(|(i, s)| s.id == i));
    }
}

/// Notes all that it is told, and stops after some windows.
#[derive(Default)]
struct Notes {
    segments: Vec<(usize, String)>,
    finished: Vec<usize>,
    windows: usize,
    stop_after: Option<usize>,
}

impl Observer for Notes {
    fn progress(&mut self, _: Progress) {
        self.windows += 1;
    }
    fn segments(&mut self, recording: usize, segments: &[Segment]) {
        self.segments.extend(segments.iter().map(|segment| (recording, segment.text.clone())));
    }
    fn finished(&mut self, recording: usize, _: &Transcription) {
        self.finished.push(recording);
    }
    fn stop(&mut self) -> bool {
        self.stop_after.is_some_and(|windows| self.windows >= windows)
    }
}

#[test]
fn segments_and_results_are_told_as_they_come() {
    let script = || Script::new(&[&[T0, HELLO, T0 + 100], &[T0, WORLD, T0 + 50], &[T0, HELLO, T0 + 9]]);
    let (mut first, _) = transcriber(script());
    let (short, long) = (seconds(10.0), seconds(50.0));
    let mut notes = Notes::default();
    let options = TranscribeOptions { batch: 1, ..german() };
    let results = first.transcribe_all(&[&short, &long], &options, &mut notes).unwrap();
    let all: Vec<(usize, String)> = (0..)
        .zip(&results)
        .flat_map(|(index, result)| result.segments.iter().map(move |segment| (index, segment.text.clone())))
        .collect();
    assert_eq!(notes.segments, all);
    assert_eq!(notes.finished, [0, 1]);
    assert!(results.iter().all(|result| result.run.stopped.is_none()));

    // Ended after the second window: the first recording is whole, the other has one of its two windows.
    let (mut second, _) = transcriber(script());
    let mut notes = Notes { stop_after: Some(2), ..Notes::default() };
    let stopped = second.transcribe_all(&[&short, &long], &options, &mut notes).unwrap();
    assert_eq!((notes.windows, notes.finished), (2, vec![0]));
    assert_eq!((stopped[0].segments.clone(), stopped[0].run.stopped), (results[0].segments.clone(), None));
    assert_eq!(stopped[1].segments, results[1].segments[..stopped[1].segments.len()]);
    let until = stopped[1].run.stopped.unwrap();
    assert!(until > 0.0 && until < 50.0 && !stopped[1].text.is_empty(), "{until}");
}

/// Stops when it has been asked so often.
struct Impatient(usize);

impl Observer for Impatient {
    fn stop(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[test]
fn a_stop_does_not_wait_for_the_window_in_work() {
    let window: Vec<u32> = [T0].into_iter().chain([HELLO, WORLD].repeat(50)).chain([T0 + 500]).collect();
    let (mut transcriber, log) = transcriber(Script::new(&[&[T0, HELLO, T0 + 50], &window]));
    let result = transcriber.transcribe(&seconds(40.0), &german(), &mut Impatient(20)).unwrap();
    assert_eq!((log.lock().unwrap().windows, times(&result)), (2, vec![(0.0, 1.0, " Hello")]));
    assert_eq!(result.run.stopped, Some(30.0));
}
