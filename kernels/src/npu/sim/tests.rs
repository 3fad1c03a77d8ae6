//! What the simulated array refuses, and that it moves what the descriptors say: streams made by hand, and streams
//! spoilt.

use super::*;
use crate::{
    Serial,
    npu::{
        Argument, Channel, Direction, Kernels, Problem, Target,
        access::{QUEUE_DEPTH, Transfer},
        layout::control::{FIRST, LAST, QUERIES, SLICE},
        stream,
    },
};

/// The smallest design: one micro-tile of rows.
fn design() -> Design {
    Design::new(Target::Npu1, Kernels::Int8, Tile { m: 4, k: 16, n: 64 }).unwrap()
}

/// Where an object's control block begins: behind 64 bytes of rows and 16 of their scales, at a multiple of 64.
const CONTROL: usize = 128;

/// One round of one step: every core gets one object of A and one of B, and gives one of C.
struct Case {
    design: Design,
    events: Vec<Event>,
    a: Vec<u8>,
    b: Vec<u8>,
    c: Vec<u8>,
}

impl Case {
    /// The first task of results, and where it stands.
    fn first_push_of_results(&self) -> (usize, Event) {
        let of_results =
            |event: &Event| matches!(event, Event::Push { transfer, .. } if transfer.argument == Argument::C);
        let index = self.events.iter().position(of_results).unwrap();
        (index, self.events[index].clone())
    }

    fn new() -> Self {
        let design = design();
        let problem = Problem::Linear { rows: 16, inputs: 16, outputs: 256 };
        let words = stream::write(&design, &problem).unwrap();
        let events = stream::events(&words, design.target).unwrap();
        let [a, b, c] = Argument::ALL.map(|argument| vec![0; design.buffer_bytes(&problem, argument)]);
        let mut case = Self { design, events, a, b, c };
        let object = case.design.a_object();
        for (row, a) in case.a.chunks_exact_mut(object).enumerate() {
            a[..64].fill(row as u8 + 1);
            (0..4).for_each(|row| a[64 + 4 * row..][..4].copy_from_slice(&1f32.to_le_bytes()));
            a[CONTROL..][..4].copy_from_slice(&(FIRST | LAST).to_le_bytes());
        }
        for b in case.b.chunks_exact_mut(case.design.b_object()) {
            b[..1024].fill(1);
            (0..64).for_each(|column| b[1024 + 4 * column..][..4].copy_from_slice(&1f32.to_le_bytes()));
        }
        case
    }

    fn run(&mut self) -> Result<RunReport, SimError> {
        let Self { design, events, a, b, c } = self;
        execute_events(design, events, a, b, c, Mode::Fast, &Serial, None)
    }

    /// The tasks of an argument.
    fn tasks(&mut self, of: Argument) -> impl Iterator<Item = (&mut Channel, &mut Transfer)> {
        self.events.iter_mut().filter_map(move |event| match event {
            Event::Push { channel, transfer, .. } if transfer.argument == of => Some((channel, transfer)),
            _ => None,
        })
    }

    fn error(mut self) -> String {
        self.run().unwrap_err().to_string()
    }
}

#[test]
fn a_whole_stream_runs() {
    let mut case = Case::new();
    let report = case.run().unwrap();
    // Sixteen products of row + 1 and 1.
    for (row, line) in case.c.chunks_exact(512).enumerate() {
        let value = half::bf16::from_f32(16.0 * (row / 4 + 1) as f32).to_le_bytes();
        assert!(line.chunks_exact(2).all(|c| c == value), "row {row}");
    }
    assert_eq!(report.dma_bytes, [case.a.len() as u64, case.b.len() as u64, case.c.len() as u64]);
    // A for each row of cores; B and C for each column.
    let of = |channels: &[Channel], bytes: usize| {
        channels.iter().map(|channel| (*channel, bytes as u64 / 4)).collect::<Vec<_>>()
    };
    let Design { a, b, c, .. } = &case.design;
    let expected = [of(a, case.a.len()), of(b, case.b.len()), of(c, case.c.len())].concat();
    assert_eq!(report.channel_bytes, expected.into_iter().collect());
    assert_eq!(report.core_macs, vec![4 * 16 * 64; 16]);
}

#[test]
fn transfers_beyond_a_buffer_are_refused() {
    for argument in Argument::ALL {
        let mut case = Case::new();
        let last = case.tasks(argument).last().unwrap().1;
        last.offset += 4;
        let bytes = [&case.a, &case.b, &case.c][argument as usize].len();
        let end = bytes + 4;
        assert!(case.error().contains(&format!("reaches byte {end} of a buffer of {bytes}")), "{argument:?}");
    }
}

#[test]
fn a_wait_without_end_is_an_error() {
    // Weights that never come.
    let mut case = Case::new();
    let lacking = case
        .events
        .iter()
        .rposition(|event| matches!(event, Event::Push { transfer, .. } if transfer.argument == Argument::B));
    case.events.remove(lacking.unwrap());
    let error = case.error();
    assert!(error.contains("stands still") && error.contains("s2mm"), "{error}");
    // A wait for nothing.
    let mut case = Case::new();
    let channel = Channel { column: 0, direction: Direction::S2mm, channel: 0 };
    case.events.push(Event::Wait { channel });
    assert!(case.error().contains("the stream for shim column 0 s2mm 0"));
}

#[test]
fn what_is_left_over_is_an_error() {
    let mut case = Case::new();
    // Half an object too much.
    let (a, _) = case.tasks(Argument::A).next().map(|(channel, transfer)| (*channel, *transfer)).unwrap();
    let transfer = Transfer::linear(Argument::A, 0, 5);
    case.events.push(Event::Push { channel: a, descriptor: 9, transfer, repeats: 0, token: false });
    assert!(case.error().contains("the end of the stream; shim column 0 mm2s 0 holds 20 bytes"));
    // A core that waits for its last step.
    let mut case = Case::new();
    let object = case.design.a_object();
    case.a.chunks_exact_mut(object).for_each(|a| a[CONTROL..][..4].copy_from_slice(&FIRST.to_le_bytes()));
    assert!(case.error().contains("within a result"));
}

#[test]
fn wrong_channels_are_refused() {
    let mut case = Case::new();
    case.tasks(Argument::A).next().unwrap().0.channel = 1;
    let error = case.error();
    assert!(error.contains("is given argument A"), "{error}");
    let mut case = Case::new();
    case.tasks(Argument::C).next().unwrap().0.channel = 1;
    assert!(case.error().contains("does not use this channel"));
}

#[test]
fn a_full_queue_is_an_error() {
    let mut case = Case::new();
    let (index, push) = case.first_push_of_results();
    case.events.splice(index..index, std::iter::repeat_n(push, QUEUE_DEPTH + 1));
    assert!(case.error().contains("full queue"));
}

#[test]
fn a_descriptor_in_use_may_not_change() {
    let mut case = Case::new();
    // Results wait for operands; their descriptor is used for another place meanwhile.
    let (index, mut push) = case.first_push_of_results();
    if let Event::Push { transfer, .. } = &mut push {
        transfer.offset += 16;
    }
    case.events.insert(index + 1, push);
    assert!(case.error().contains("is written while a task uses it"));
}

#[test]
fn words_that_are_no_stream_are_refused() {
    let design = design();
    let error = execute(&design, &[1, 2, 3], &[], &[], &mut [], Mode::Fast, &Serial).unwrap_err();
    assert!(matches!(error, SimError::Stream(_)), "{error}");
}

#[test]
fn scattered_objects_are_gathered() {
    // A's objects, two words here and two words there.
    let mut case = Case::new();
    case.run().unwrap();
    let whole = case.c.clone();
    let mut case = Case::new();
    let words: Vec<[u8; 4]> = case.a.as_chunks::<4>().0.to_vec();
    let mut scattered = vec![0; 2 * case.a.len()];
    for (index, word) in words.iter().enumerate() {
        scattered[16 * (index / 2) + 4 * (index % 2)..][..4].copy_from_slice(word);
    }
    case.a = scattered;
    case.tasks(Argument::A).for_each(|(_, transfer)| {
        *transfer = Transfer { offset: 2 * transfer.offset, wraps: [2, 0], steps: [1, 4, 1], ..*transfer };
    });
    case.run().unwrap();
    assert_eq!(case.c, whole);
}

/// Control words that no packing writes, as a spoilt buffer has them.
#[test]
fn control_words_that_cannot_be_are_refused() {
    let queries = |slice: u32| {
        let mut case = Case::new();
        let object = case.design.a_object();
        for a in case.a.chunks_exact_mut(object) {
            a[CONTROL..][..4].copy_from_slice(&(QUERIES | FIRST | LAST).to_le_bytes());
            a[CONTROL + 4 * SLICE..][..4].copy_from_slice(&slice.to_le_bytes());
        }
        case.error()
    };
    // Objects of 16 of a head's 64 columns.
    assert!(queries(4).contains("slice 4 of 4"), "{}", queries(4));
    assert!(queries(u32::MAX).contains("slice 4294967295 of 4"));
    // Queries and a linear layer's rows by turns: of two steps the first, and the last.
    let turns = |flags: [u32; 2]| {
        let mut case = Case::new();
        let problem = Problem::Linear { rows: 16, inputs: 32, outputs: 256 };
        let words = stream::write(&case.design, &problem).unwrap();
        case.events = stream::events(&words, case.design.target).unwrap();
        let design = &case.design;
        [case.a, case.b, case.c] = Argument::ALL.map(|argument| vec![0; design.buffer_bytes(&problem, argument)]);
        for (index, a) in case.a.chunks_exact_mut(case.design.a_object()).enumerate() {
            a[CONTROL..][..4].copy_from_slice(&flags[index % 2].to_le_bytes());
        }
        case.error()
    };
    assert!(turns([QUERIES | FIRST, LAST]).contains("among a stage's queries"));
    assert!(turns([FIRST, QUERIES | LAST]).contains("before a linear layer's last step"));
}
