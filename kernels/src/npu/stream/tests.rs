//! Streams as the array sees them: the bytes that their events move are those that nested loops over the problem name,
//! in the same order; no descriptor is written while it is used, and no queue overflows.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::npu::{
    access::{DESCRIPTORS, QUEUE_DEPTH},
    design::{Channel, Design, HEAD_WIDTH, Kernels, Problem, Tile},
    target::Target,
};

/// Runs of bytes, one after another; neighbours joined, so that how a walk is cut does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Walk(Vec<(u64, u64)>);

impl Walk {
    fn go(&mut self, start: u64, bytes: u64) {
        match self.0.last_mut() {
            Some((at, length)) if *at + *length == start => *length += bytes,
            _ => self.0.push((start, bytes)),
        }
    }
}

/// A task that was queued, and how many results of each channel say that it is done: of an operand all that were asked
/// for before it.
struct Queued {
    channel: Channel,
    descriptor: usize,
    confirmed_by: HashMap<Channel, usize>,
}

/// What each channel walks through in a stream; checks descriptors and queues on the way.
fn walks(design: &Design, words: &[u32]) -> HashMap<Channel, Walk> {
    let mut walks: HashMap<Channel, Walk> = HashMap::new();
    let mut open: Vec<Queued> = Vec::new();
    let (mut asked, mut come): (HashMap<Channel, usize>, HashMap<Channel, usize>) = Default::default();
    for event in events(words, design.target).unwrap() {
        match event {
            Event::Push { channel, descriptor, transfer, repeats, token } => {
                let argument = if design.c.contains(&channel) {
                    *asked.entry(channel).or_default() += 1;
                    Argument::C
                } else if design.b.contains(&channel) {
                    Argument::B
                } else {
                    assert!(design.a.contains(&channel));
                    Argument::A
                };
                assert_eq!((transfer.argument, token), (argument, argument == Argument::C));
                let queue = open.iter().filter(|task| task.channel == channel).count();
                assert!(queue < QUEUE_DEPTH && descriptor < DESCRIPTORS);
                let used =
                    open.iter().any(|task| (task.channel.column, task.descriptor) == (channel.column, descriptor));
                assert!(!used, "descriptor {descriptor} of column {} is in use", channel.column);
                let confirmed_by = match argument {
                    Argument::C => HashMap::from([(channel, asked[&channel])]),
                    _ => asked.clone(),
                };
                open.push(Queued { channel, descriptor, confirmed_by });
                let walk = walks.entry(channel).or_default();
                for iteration in 0..=repeats {
                    transfer.runs(iteration).for_each(|(start, words)| walk.go(start, 4 * u64::from(words)));
                }
            }
            Event::Wait { channel } => {
                let come_here = come.entry(channel).or_default();
                *come_here += 1;
                assert!(*come_here <= asked[&channel], "a token is waited for that never comes");
                open.retain(|task| task.confirmed_by.iter().any(|(channel, count)| come.get(channel) < Some(count)));
            }
        }
    }
    assert!(open.is_empty(), "the stream ends before the array does");
    walks
}

/// The same from the description of the dataflow. A linear layer may hold row tiles while it goes through the columns,
/// or the other way round.
fn expected(design: &Design, problem: &Problem, columns_held: bool) -> HashMap<Channel, Walk> {
    let mut walks: HashMap<Channel, Walk> = HashMap::new();
    let mut go = |channel: Channel, start: usize, bytes: usize| {
        walks.entry(channel).or_default().go(start as u64, bytes as u64);
    };
    let Tile { m, k, n } = design.tile;
    let columns = design.target.columns();
    let (a, b) = (design.a_object(), design.b_object());
    match design.padded(problem) {
        Problem::Linear { rows, inputs, outputs } => {
            let steps = inputs / k;
            let (rounds, wide) = (rows / (4 * m), outputs / (n * columns));
            let all: Vec<(usize, usize)> = if columns_held {
                (0..wide).flat_map(|wide| (0..rounds).map(move |round| (round, wide))).collect()
            } else {
                (0..rounds).flat_map(|round| (0..wide).map(move |wide| (round, wide))).collect()
            };
            for (round, wide) in all {
                for step in 0..steps {
                    for row in 0..4 {
                        go(design.a[row], ((round * 4 + row) * steps + step) * a, a);
                    }
                    for column in 0..columns {
                        go(design.b[column], ((wide * columns + column) * steps + step) * b, b);
                    }
                }
                for column in 0..columns {
                    for row in 0..4 * m {
                        let at = (round * 4 * m + row) * outputs + (wide * columns + column) * n;
                        go(design.c[column], 2 * at, 2 * n);
                    }
                }
            }
        }
        Problem::Attention { heads, queries, keys } => {
            let (groups, slices, blocks) = (queries / (4 * m), HEAD_WIDTH.div_ceil(k), keys / design.block());
            for job in 0..heads * groups {
                let (head, group, column) = (job / groups, job % groups, job % columns);
                for row in 0..4 {
                    go(design.a[row], (head * (queries / m) + group * 4 + row) * slices * a, slices * a);
                }
                for block in 0..blocks {
                    go(design.b[column], (head * blocks + block) * 2 * b, 2 * b);
                }
                let rows = head * queries + group * 4 * m;
                go(design.c[column], rows * HEAD_WIDTH * 2, 4 * m * HEAD_WIDTH * 2);
            }
        }
    }
    walks
}

fn check(design: &Design, problem: &Problem) {
    let words = write(design, problem).unwrap();
    let walks = walks(design, &words);
    let rows_held = expected(design, problem, false);
    if walks != rows_held {
        assert_eq!(walks, expected(design, problem, true), "{problem}");
    }
    // Each byte of the results is written once, and only operands that exist are read.
    let mut results: Vec<_> =
        design.c.iter().filter_map(|channel| walks.get(channel)).flat_map(|walk| walk.0.clone()).collect();
    results.sort_unstable();
    let mut end = 0;
    for (start, bytes) in results {
        assert_eq!(start, end);
        end += bytes;
    }
    assert_eq!(end as usize, design.buffer_bytes(problem, Argument::C));
    for (argument, channels) in [(Argument::A, &design.a), (Argument::B, &design.b)] {
        let bytes = design.buffer_bytes(problem, argument) as u64;
        let runs = channels.iter().filter_map(|channel| walks.get(channel)).flat_map(|walk| &walk.0);
        assert!(runs.into_iter().all(|(start, length)| start + length <= bytes));
    }
}

fn design(target: Target, kernels: Kernels, m: usize, k: usize) -> Design {
    Design::new(target, kernels, Tile { m, k, n: HEAD_WIDTH }).unwrap()
}

fn linear(rows: usize, inputs: usize, outputs: usize) -> Problem {
    Problem::Linear { rows, inputs, outputs }
}

#[test]
fn whispers_products_move_what_they_must() {
    for target in Target::ALL {
        for design in [design(target, Kernels::Int8, 48, 64), design(target, Kernels::Bf16, 48, 32)] {
            for (inputs, outputs) in [(384, 384), (384, 1536), (1536, 384), (1280, 5120), (5120, 1280)] {
                check(&design, &linear(1500, inputs, outputs));
            }
            for heads in [6, 8, 20] {
                check(&design, &Problem::Attention { heads, queries: 1500, keys: 1500 });
            }
        }
    }
}

#[test]
fn the_order_with_fewer_stages_is_taken() {
    let design = design(Target::Npu4, Kernels::Int8, 48, 64);
    let count = |rows, inputs, outputs| stages(&design, &linear(rows, inputs, outputs)).unwrap().len();
    // 8 rounds of rows by 3 of columns, and the other way round.
    assert_eq!(count(1500, 384, 1536), 3);
    assert_eq!(count(300, 384, 4096), 2);
    // 102 rounds of columns are two descriptors' work; their results' rows are too far apart for the other order.
    assert_eq!(count(200, 384, 51_865), 4);
}

/// A compiler gives B the first channel where no A comes through the column: streams name what the design says.
#[test]
fn a_bundles_own_channels_are_used() {
    let mut moved = design(Target::Npu4, Kernels::Int8, 48, 64);
    moved.b.iter_mut().for_each(|channel| channel.channel = 1 - channel.column % 2);
    moved.c.iter_mut().for_each(|channel| channel.channel = channel.column % 2);
    moved.check().unwrap();
    check(&moved, &linear(1500, 384, 1536));
    let usual = design(Target::Npu4, Kernels::Int8, 48, 64);
    assert_ne!(write(&moved, &linear(9, 9, 9)), write(&usual, &linear(9, 9, 9)));
}

/// More column tiles than a descriptor's iteration counts, and weights further apart than its step reaches.
#[test]
fn what_is_too_large_for_one_task_is_split() {
    let small = design(Target::Npu1, Kernels::Int8, 16, 16);
    check(&small, &linear(130, 40, 64 * 4 * 131 + 5));
    let far = design(Target::Npu4, Kernels::Int8, 48, 64);
    let problem = linear(300, 64 * 114, 64 * 8 * 3);
    let step = Target::Npu4.columns() * 114 * far.b_object() / 4;
    assert!(step > crate::npu::access::MOST_STEP as usize);
    check(&far, &problem);
    check(&far, &linear(300, 64 * 113, 64 * 8 * 3));
}

#[test]
fn nothing_to_do_is_an_empty_stream() {
    let int8 = design(Target::Npu1, Kernels::Int8, 48, 64);
    let heads = design(Target::Npu1, Kernels::Bf16, 48, 32);
    for problem in [linear(0, 64, 64), linear(64, 64, 0), linear(0, 0, 0)] {
        assert_eq!(write(&int8, &problem).unwrap().len(), 4);
    }
    assert_eq!(write(&heads, &Problem::Attention { heads: 0, queries: 4, keys: 4 }).unwrap().len(), 4);
    assert_eq!(write(&heads, &Problem::Attention { heads: 2, queries: 0, keys: 4 }).unwrap().len(), 4);
    // Without keys the cores still give zeros.
    check(&heads, &Problem::Attention { heads: 3, queries: 130, keys: 0 });
}

#[test]
fn what_cannot_be_is_refused() {
    let int8 = design(Target::Npu1, Kernels::Int8, 48, 64);
    let refused = |problem| write(&int8, &problem).unwrap_err().to_string();
    assert!(refused(linear(1, 0, 1)).contains("no inputs"));
    assert!(refused(linear(1 << 30, 64, 64)).contains("buffer A takes more than 4 GiB"));
    assert!(refused(linear(usize::MAX, usize::MAX, usize::MAX)).contains("4 GiB"));
    // A row of results is farther from the next than a step reaches.
    assert!(refused(linear(1, 64, (1 << 21) + 256)).contains("a step is"));
}

#[test]
fn registers_are_used_as_the_hardware_has_them() {
    let int8 = design(Target::Npu1, Kernels::Int8, 48, 64);
    let words = write(&int8, &linear(1, 64, 64)).unwrap();
    let ops = decode(&words, Target::Npu1).unwrap();
    let good = |ops: &[Op]| events(&encode(Target::Npu1, ops), Target::Npu1);
    assert_eq!(good(&ops).unwrap().len(), 4 + 4 + 4 + 4);
    let without = |skip: fn(&Op) -> bool| {
        let ops: Vec<Op> = ops.iter().filter(|op| !skip(op)).cloned().collect();
        good(&ops).unwrap_err().to_string()
    };
    assert!(without(|op| matches!(op, Op::Patch { .. })).contains("was not patched"));
    assert!(without(|op| matches!(op, Op::BlockWrite { .. })).contains("not marked as valid"));
    let wild = [Op::BlockWrite { address: u32::MAX - 3, words: vec![0; 3] }];
    assert!(good(&wild).is_err());
    let sync = Op::Sync { column: 2, row: 0, direction: Direction::S2mm, channel: 0, columns: 3, rows: 1 };
    assert!(good(&[sync]).unwrap_err().to_string().contains("columns 2..5"));
    let both = Op::Sync { column: 2, row: 0, direction: Direction::S2mm, channel: 0, columns: 2, rows: 1 };
    assert_eq!(good(&[both]).unwrap().len(), 2);
}

proptest! {
    #[test]
    fn any_product_moves_what_it_must(
        four in any::<bool>(), int8 in any::<bool>(), tile in (1usize..4, 1usize..4), rows in 1usize..300, inputs in 1usize..300, outputs in 1usize..900,
    ) {
        let kernels = if int8 { Kernels::Int8 } else { Kernels::Bf16 };
        check(&design(Target::ALL[usize::from(four)], kernels, 8 * tile.0, 16 * tile.1), &linear(rows, inputs, outputs));
    }

    #[test]
    fn any_attention_moves_what_it_must(
        four in any::<bool>(), int8 in any::<bool>(), m in 1usize..5, k in 1usize..4, heads in 1usize..12, queries in 1usize..300, keys in 0usize..300,
    ) {
        let kernels = if int8 { Kernels::Int8 } else { Kernels::Bf16 };
        check(&design(Target::ALL[usize::from(four)], kernels, 8 * m, 16 * k), &Problem::Attention { heads, queries, keys });
    }

    /// A stream with a word changed is read, or refused; never a panic.
    #[test]
    fn spoilt_streams_never_panic(at in any::<prop::sample::Index>(), value in any::<u32>(), bit in 0u32..32, flip in any::<bool>()) {
        let mut words = write(&design(Target::Npu1, Kernels::Int8, 16, 16), &linear(65, 33, 257)).unwrap();
        let at = at.index(words.len());
        words[at] = if flip { words[at] ^ 1 << bit } else { value };
        let _ = events(&words, Target::Npu1);
    }
}
