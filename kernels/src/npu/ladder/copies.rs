//! Rung 3: our own streams over the array that passes bytes on. Each check uses one more of what the streams of layers
//! are made of; the bytes say whether the hardware understands a descriptor, a patch, a queue and a token as we do.

use super::{
    Climber, Wrong,
    bench::{Bench, Operands, UNWRITTEN, bytes},
};
use crate::npu::{
    access::{QUEUE_DEPTH, Transfer},
    array::Array,
    design::{Argument, Channel},
    stream::{DmaTask, Step},
    trial::{Trial, TrialKind},
};

const OBJECT: u32 = Trial::object(TrialKind::PassThrough) as u32;
/// Words of an object.
const WORDS: u32 = OBJECT / 4;

/// One check: a stream, and what to do if it fails.
struct Copy {
    name: &'static str,
    advice: &'static str,
    steps: Vec<Step>,
}

pub(super) fn climb<A: Array>(climber: &mut Climber<'_, A>) -> Option<()> {
    let array = climber.array;
    let bench = climber.check("the array that passes bytes on is loaded", "Rung 2 could load it.", |_| {
        Ok((Bench::open(array, TrialKind::PassThrough)?, None))
    })?;
    for (index, copy) in copies(bench.trial()).into_iter().enumerate() {
        climber.check(copy.name, copy.advice, |_| {
            let size = |argument| extent(&copy.steps, argument);
            let seed = 2 * index as u32 + 1;
            let a = bytes(size(Argument::A), seed);
            let operands = Operands { a, b: bytes(size(Argument::B), seed + 1), c: size(Argument::C) };
            let words = bench.stream(&copy.steps)?;
            let (results, _) = bench.run(&words, &operands, (1, array.commands()), 1)?;
            let meant = moved(bench.trial(), &copy.steps, &operands, |_| ());
            let guesses = [
                ("offsets of patches are ignored", ignore_offset as fn(&mut DmaTask)),
                ("steps of descriptors are ignored", ignore_steps),
                ("repeats of tasks are ignored", |task| task.repeats = 0),
                ("the iteration of descriptors is ignored", |task| task.transfer.iterations = 1),
            ]
            .map(|(name, spoil)| (name, moved(bench.trial(), &copy.steps, &operands, spoil)));
            for result in &results {
                compare(&meant, result, String::new, &guesses)?;
            }
            Ok(((), None))
        })?;
    }
    Some(())
}

fn ignore_offset(task: &mut DmaTask) {
    task.transfer.offset = 0;
}

fn ignore_steps(task: &mut DmaTask) {
    let Transfer { argument, offset, length, iterations, iteration_step, .. } = task.transfer;
    task.transfer = Transfer { iterations, iteration_step, ..Transfer::linear(argument, offset, length) };
}

/// A task, waited for by a token if it writes.
fn task(channel: Channel, transfer: Transfer, repeats: u32, descriptor: usize) -> Step {
    let token = transfer.argument == Argument::C;
    Step::Task { task: DmaTask { channel, transfer, repeats }, descriptor, token }
}

/// `bytes` from the start of A to the start of C.
pub(super) fn linear(trial: &Trial, bytes: usize) -> Vec<Step> {
    let (from, to) = (trial.a, trial.lanes()[0].to);
    let words = bytes as u32 / 4;
    vec![
        task(to, Transfer::linear(Argument::C, 0, words), 0, 0),
        task(from, Transfer::linear(Argument::A, 0, words), 0, 1),
        Step::Wait(to),
    ]
}

fn copies(trial: &Trial) -> Vec<Copy> {
    let lanes = trial.lanes();
    let object = |index: u32| u64::from(index * OBJECT);
    // Into lane `at`, described from `descriptor` on: what C gets, then what is read; and the wait for it.
    let into = |at: usize, descriptor: usize, to: Transfer, from: Transfer, repeats: u32| {
        let from = Transfer { argument: lanes[at].argument, ..from };
        [task(lanes[at].to, to, 0, descriptor), task(lanes[at].from, from, repeats, descriptor + 1)]
    };
    let wait = |at: usize| Step::Wait(lanes[at].to);
    let c = |offset, words| Transfer::linear(Argument::C, offset, words);
    let a = |offset, words| Transfer::linear(Argument::A, offset, words);
    let copy = |name, advice, steps: Vec<Step>| Copy { name, advice, steps };

    let offsets = [(64, 4096), (5120, 192), (2112, 8192)];
    let offset = |(index, (from, to)): (usize, (u64, u64))| into(0, 2 * index, c(to, WORDS), a(from, WORDS), 0);
    let both = |index: u32| {
        let (first, second) = (object(2 * index), object(2 * index + 1));
        let set = 4 * index as usize;
        [into(0, set, c(first, WORDS), a(second, WORDS), 0), into(1, set + 2, c(second, WORDS), a(first, WORDS), 0)]
    };
    // As streams of layers do: two stages in flight, each with its descriptors.
    let mut waits = Vec::new();
    for stage in 0..24 {
        if stage >= 2 {
            waits.push(wait(0));
        }
        waits.extend(into(0, stage % 2 * 4, c(object(stage as u32), WORDS), a(object(23 - stage as u32), WORDS), 0));
    }
    waits.extend([wait(0), wait(0)]);
    let iterated = Transfer { iterations: 4, iteration_step: 2 * WORDS, ..a(0, WORDS) };
    let strided = |argument, steps, wraps, words| Transfer { steps, wraps, ..Transfer::linear(argument, 128, words) };
    let results = strided(Argument::C, [1, 96, 2048], [32, 8], 2 * WORDS);
    let operands = strided(Argument::A, [1, 40, 1000], [16, 8], 2 * WORDS);
    let with_waits = |tasks: Vec<Step>, waits: &[usize]| {
        tasks.into_iter().chain(waits.iter().map(|at| wait(*at))).collect::<Vec<_>>()
    };
    vec![
        copy(
            "our stream of that transfer",
            "Its words are written in kernels/src/npu/stream: compare them with the compiler's (insts.bin in the \
             bundle), and report both.",
            linear(trial, Trial::MADE_BYTES),
        ),
        copy(
            "transfers that begin inside their buffers",
            "The firmware does not add a patch's offset as stream/format.rs has it: report versions and bytes.",
            with_waits(offsets.into_iter().enumerate().flat_map(offset).collect(), &[0, 0, 0]),
        ),
        copy(
            "two buffers at once, by both channels",
            "Arguments or channels are not those of stream/registers.rs: report it.",
            with_waits(both(0).concat(), &[0, 1]),
        ),
        copy(
            "waits for tokens: descriptors are written again when their tasks are done",
            "A wait ends before its task does, or never: tokens are not as docs/npu-streams.md has them. Report it.",
            waits,
        ),
        copy(
            "several tasks in each channel's queue",
            "Queues are shorter than four tasks, or lose some: report it.",
            with_waits((0..QUEUE_DEPTH as u32).flat_map(|index| both(index).concat()).collect(), &[0, 1].repeat(4)),
        ),
        copy(
            "a task that is repeated",
            "The queue's number of repeats is not in the bits that stream/registers.rs writes: report it.",
            with_waits(into(0, 0, c(0, 4 * WORDS), a(object(1), WORDS), 3).to_vec(), &[0]),
        ),
        copy(
            "a task that is repeated and goes on each time",
            "The descriptor's iteration is not in the bits that stream/registers.rs writes: report it.",
            with_waits(into(0, 0, c(0, 4 * WORDS), iterated, 3).to_vec(), &[0]),
        ),
        copy(
            "rows written apart from each other",
            "The descriptor's steps are not in the bits that stream/registers.rs writes: report it.",
            with_waits(into(0, 0, results, a(0, 2 * WORDS), 0).to_vec(), &[0]),
        ),
        copy(
            "rows read apart from each other",
            "The descriptor's steps are not in the bits that stream/registers.rs writes: report it.",
            with_waits(into(0, 0, c(0, 2 * WORDS), operands, 0).to_vec(), &[0]),
        ),
    ]
}

/// Byte offsets of the words that a task moves, in order.
fn places(task: &DmaTask) -> impl Iterator<Item = usize> + '_ {
    let words = |(start, words): (u64, u32)| (0..words).map(move |word| start as usize + 4 * word as usize);
    (0..=task.repeats).flat_map(move |use_| task.transfer.runs(use_).flat_map(words))
}

/// Bytes of an argument that a stream reaches.
fn extent(steps: &[Step], argument: Argument) -> usize {
    let tasks = steps.iter().filter_map(|step| match step {
        Step::Task { task, .. } if task.transfer.argument == argument => Some(task),
        _ => None,
    });
    tasks.flat_map(places).map(|place| place + 4).max().unwrap_or(0)
}

/// C after a stream whose tasks are `spoil`ed, word for word.
fn moved(trial: &Trial, steps: &[Step], operands: &Operands, spoil: impl Fn(&mut DmaTask)) -> Vec<u8> {
    let mut c = vec![UNWRITTEN; operands.c];
    let tasks = |channel: Channel| {
        let spoil = &spoil;
        steps.iter().filter_map(move |step| match step {
            Step::Task { task, .. } if task.channel == channel => {
                let mut task = *task;
                spoil(&mut task);
                Some(task)
            }
            _ => None,
        })
    };
    for lane in trial.lanes() {
        let argument = if lane.argument == Argument::A { &operands.a } else { &operands.b };
        let sources: Vec<usize> = tasks(lane.from).flat_map(|task| places(&task).collect::<Vec<_>>()).collect();
        let targets: Vec<usize> = tasks(lane.to).flat_map(|task| places(&task).collect::<Vec<_>>()).collect();
        for (from, to) in sources.into_iter().zip(targets) {
            if let (Some(word), Some(place)) = (argument.get(from..from + 4), c.get_mut(to..to + 4)) {
                place.copy_from_slice(word);
            }
        }
    }
    c
}

/// Holds C against what it has to be; says which of some guesses explains what it is instead.
pub(super) fn compare(
    meant: &[u8],
    got: &[u8],
    of: impl Fn() -> String,
    guesses: &[(&str, Vec<u8>)],
) -> Result<(), Wrong> {
    let wrong = meant.iter().zip(got).filter(|(meant, got)| meant != got).count();
    let Some(first) = meant.iter().zip(got).position(|(meant, got)| meant != got) else { return Ok(()) };
    let unwritten = got[first..].iter().take(4).all(|byte| *byte == UNWRITTEN);
    let word =
        |bytes: &[u8]| bytes[first / 4 * 4..].iter().take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let what = match guesses.iter().find(|(_, guess)| guess == got) {
        Some((guess, _)) => format!("; the bytes are what they would be if {guess}"),
        None if unwritten => "; nothing was written there".to_owned(),
        None => format!("; the word there is {:#010x}, not {:#010x}", word(got), word(meant)),
    };
    Err(Wrong::Found(format!("{wrong} of {} bytes {}are wrong, the first at {first}{what}", meant.len(), of())))
}
