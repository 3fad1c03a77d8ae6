//! The movement of objects: which core gets which operands in which order, and where its results go.
//!
//! The array is a network of processes that wait for one another: shim channels, memory tiles and cores. What moves
//! where depends on counts and control words only, so it is found first, and the arithmetic is done afterwards, for all
//! cores at the same moment.

use std::collections::BTreeMap;

use super::{
    core::word,
    error::SimError,
    feed::{Feed, Object},
};
use crate::npu::{
    access::Transfer,
    design::{Argument, CONTROL_BYTES, Channel, Design, Direction},
    layout::control::{COLUMN, KEYS, LAST, QUERIES, SLICE},
    stream::Event,
};

/// Objects that a stream holds before its slowest core: two in the memory tile and two in the core.
const DEPTH: usize = 4;

/// What a core does for an object of C.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum CoreWork {
    /// A tile of a linear layer.
    #[default]
    Linear,
    /// Attention of a tile of queries.
    Attention,
}

/// What one core is to do for one object of C.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What it is.
    pub work: CoreWork,
    /// Objects of A: of a linear layer one for each step, of attention the slices of the core's queries.
    pub a: Vec<Object>,
    /// Objects of B: of a linear layer one for each step, of attention keys and values in turn.
    pub b: Vec<Object>,
}

/// What is to be computed, and where results go.
pub(super) struct Schedule {
    /// For each core, row by row, its results in order.
    pub cores: Vec<Vec<Output>>,
    /// For each column, where its blocks go: the results of its cores as `[rows · m, n]`, row-major.
    pub blocks: Vec<Vec<Object>>,
    /// Bytes that the shim moved: of each argument, and by each channel.
    pub moved: [u64; 3],
    pub channels: BTreeMap<Channel, u64>,
}

/// A stream of operands with the objects that are still wanted.
struct Line {
    feed: usize,
    objects: Vec<Object>,
    /// Bytes of an object as the shim moves it.
    bytes: usize,
}

/// A core's progress.
#[derive(Default)]
struct Core {
    /// Objects of A and of B that it is done with.
    taken: [usize; 2],
    /// What it is at.
    current: Output,
    /// Whether the queries of an attention stage are complete.
    begun: bool,
    /// Objects of B that the result still needs.
    wanted: usize,
    done: Vec<Output>,
}

struct Network<'a> {
    design: &'a Design,
    /// A's bytes, for the control words.
    a: &'a [u8],
    feeds: Vec<Feed>,
    /// A of each row of cores; then B of each column.
    lines: [Vec<Line>; 2],
    /// For each column the feed of its results.
    outputs: Vec<usize>,
    cores: Vec<Core>,
    blocks: Vec<Vec<Object>>,
}

/// Follows a stream's events to their end.
///
/// # Errors
/// What the array could not do, or would wait for without end.
pub(super) fn follow(design: &Design, events: &[Event], buffers: [&[u8]; 3]) -> Result<Schedule, SimError> {
    let sizes = buffers.map(<[u8]>::len);
    let mut network = Network::new(design, buffers[0]);
    for event in events {
        match event {
            Event::Push { channel, descriptor, transfer, repeats, token } => {
                // Whoever is done by now has left the queue.
                network.settle()?;
                network.described(channel.column, *descriptor, transfer)?;
                let feed = network.feed(*channel)?;
                let wanted = network.carries(*channel);
                if wanted != Some(transfer.argument) {
                    return Err(SimError::WrongArgument { channel: *channel, argument: transfer.argument });
                }
                let bytes = sizes[transfer.argument as usize];
                network.feeds[feed].push(*transfer, *descriptor, *repeats, *token, bytes)?;
            }
            Event::Wait { channel } => {
                network.settle()?;
                let feed = network.feed(*channel)?;
                if network.feeds[feed].tokens == 0 {
                    return Err(SimError::Deadlock { waits: format!("the stream for {channel}; {}", network.state()) });
                }
                network.feeds[feed].tokens -= 1;
            }
        }
    }
    network.settle()?;
    network.finish()
}

impl<'a> Network<'a> {
    fn new(design: &'a Design, a: &'a [u8]) -> Self {
        let mut feeds: Vec<Feed> = Vec::new();
        let mut feed = |channel: &Channel| {
            feeds.push(Feed::new(*channel));
            feeds.len() - 1
        };
        let mut lines = |channels: &[Channel], bytes: usize| {
            channels.iter().map(|channel| Line { feed: feed(channel), objects: Vec::new(), bytes }).collect::<Vec<_>>()
        };
        let lines = [lines(&design.a, design.a_object()), lines(&design.b, design.b_object())];
        let outputs = design.c.iter().map(feed).collect();
        Self {
            design,
            a,
            feeds,
            lines,
            outputs,
            cores: (0..design.rows() * design.columns()).map(|_| Core::default()).collect(),
            blocks: vec![Vec::new(); design.columns()],
        }
    }

    fn channels(&self) -> impl Iterator<Item = (Argument, Channel)> {
        let Design { a, b, c, .. } = self.design;
        let of = |argument: Argument, channels: &'a [Channel]| channels.iter().map(move |channel| (argument, *channel));
        of(Argument::A, a).chain(of(Argument::B, b)).chain(of(Argument::C, c))
    }

    fn feed(&self, channel: Channel) -> Result<usize, SimError> {
        self.channels().position(|(_, known)| known == channel).ok_or(SimError::NoChannel { channel })
    }

    fn carries(&self, channel: Channel) -> Option<Argument> {
        self.channels().find(|(_, known)| *known == channel).map(|(argument, _)| argument)
    }

    /// The stream by which A (0) or B (1) reaches a core.
    fn line(&self, operand: usize, core: usize) -> usize {
        let columns = self.design.columns();
        if operand == 0 { core / columns } else { core % columns }
    }

    /// A descriptor is used: no task that is not done may need it with other contents.
    fn described(&self, column: usize, descriptor: usize, transfer: &Transfer) -> Result<(), SimError> {
        let mut feeds = self.channels().zip(&self.feeds);
        let used = feeds.find(|((_, channel), feed)| channel.column == column && feed.needs(descriptor, transfer));
        match used {
            Some(((_, channel), _)) => Err(SimError::DescriptorInUse { channel, descriptor }),
            None => Ok(()),
        }
    }

    /// Moves whatever can move.
    fn settle(&mut self) -> Result<(), SimError> {
        while self.fetch() | self.compute()? | self.give() {}
        Ok(())
    }

    /// The shim's channels bring objects for which there is room.
    fn fetch(&mut self) -> bool {
        let mut moved = false;
        for operand in 0..2 {
            for index in 0..self.lines[operand].len() {
                let readers = (0..self.cores.len()).filter(|core| self.line(operand, *core) == index);
                let slowest = readers.map(|core| self.cores[core].taken[operand]).min().unwrap_or(0);
                let line = &mut self.lines[operand][index];
                while line.objects.len() < slowest + DEPTH {
                    let Some(object) = self.feeds[line.feed].next(line.bytes) else { break };
                    line.objects.push(object);
                    moved = true;
                }
            }
        }
        moved
    }

    /// Cores take the operands that are there.
    fn compute(&mut self) -> Result<bool, SimError> {
        let mut moved = false;
        for core in 0..self.cores.len() {
            while self.step(core)? {
                moved = true;
            }
        }
        Ok(moved)
    }

    /// One step of one core; `false` if it has to wait.
    fn step(&mut self, index: usize) -> Result<bool, SimError> {
        let column = index % self.design.columns();
        let core = &self.cores[index];
        // Results wait in the core and in the memory tile, two in each.
        let has_room = core.done.len() < self.blocks[column].len() + DEPTH;
        let b = self.lines[1][column].objects.get(core.taken[1]);
        if core.begun {
            return Ok(self.go_on(index, b.cloned(), has_room));
        }
        let a = self.lines[0][self.line(0, index)].objects.get(core.taken[0]);
        let Some(a) = a.cloned() else { return Ok(false) };
        let flags = self.control(&a, 0);
        let last = flags & LAST != 0;
        if flags & QUERIES != 0 {
            return self.take_queries(index, a, last);
        }
        if core.current.work == CoreWork::Attention {
            return Err(SimError::Control("rows of a linear layer stand among a stage's queries".into()));
        }
        let Some(b) = b.cloned() else { return Ok(false) };
        if last && !has_room {
            return Ok(false);
        }
        let core = &mut self.cores[index];
        core.current.a.push(a);
        core.current.b.push(b);
        core.taken = core.taken.map(|taken| taken + 1);
        if last {
            core.done.push(std::mem::take(&mut core.current));
        }
        Ok(true)
    }

    /// A core sees the queries of its row, and takes those that are its own. With the last of a stage it knows what it
    /// is at.
    fn take_queries(&mut self, index: usize, a: Object, last: bool) -> Result<bool, SimError> {
        let (column, slices) = (index % self.design.columns(), self.design.slices());
        let [whose, keys, slice] = [COLUMN, KEYS, SLICE].map(|word| self.control(&a, word) as usize);
        if slice >= slices {
            return Err(SimError::Control(format!("queries say that they are slice {slice} of {slices}")));
        }
        let block = self.design.block();
        let core = &mut self.cores[index];
        if core.current.work == CoreWork::Linear && !core.current.a.is_empty() {
            return Err(SimError::Control("queries come before a linear layer's last step".into()));
        }
        core.taken[0] += 1;
        if whose == column {
            core.current.work = CoreWork::Attention;
            core.current.a.push(a);
            core.wanted = 2 * keys.div_ceil(block);
        }
        core.begun = last && core.current.work == CoreWork::Attention;
        Ok(true)
    }

    /// A step of a core that knows what it is at: an object of B (a block's keys or values), or the result.
    fn go_on(&mut self, index: usize, b: Option<Object>, has_room: bool) -> bool {
        let core = &mut self.cores[index];
        if core.wanted == 0 {
            if has_room {
                core.begun = false;
                core.done.push(std::mem::take(&mut core.current));
            }
            return has_room;
        }
        let Some(b) = b else { return false };
        core.current.b.push(b);
        core.taken[1] += 1;
        core.wanted -= 1;
        true
    }

    /// A word of an A object's control block.
    fn control(&self, object: &Object, index: usize) -> u32 {
        let first = self.design.a_object() - CONTROL_BYTES + 4 * index;
        let at = object.part(first..first + 4).pieces()[0].offset;
        word(&self.a[at..], 0)
    }

    /// The shim's channels take the results of columns whose cores all have one.
    fn give(&mut self) -> bool {
        let columns = self.design.columns();
        let bytes = self.design.rows() * self.design.c_object();
        let mut moved = false;
        for column in 0..columns {
            let ready =
                (0..self.design.rows()).map(|row| self.cores[row * columns + column].done.len()).min().unwrap_or(0);
            while self.blocks[column].len() < ready {
                let Some(block) = self.feeds[self.outputs[column]].next(bytes) else { break };
                self.blocks[column].push(block);
                moved = true;
            }
        }
        moved
    }

    /// What everyone waits for, in words.
    fn state(&self) -> String {
        let mut waits: Vec<String> = self.feeds.iter().filter_map(Feed::leftover).collect();
        let begun = self.cores.iter().filter(|core| !core.current.a.is_empty()).count();
        if begun > 0 {
            waits.push(format!("{begun} cores are within a result"));
        }
        let columns = self.design.columns();
        let held = (0..self.cores.len())
            .filter(|core| self.cores[*core].done.len() > self.blocks[core % columns].len())
            .count();
        if held > 0 {
            waits.push(format!("{held} cores hold results that nobody takes"));
        }
        let untaken = self.lines.iter().flatten().map(|line| line.objects.len()).sum::<usize>();
        if waits.is_empty() { format!("nothing moves, {untaken} objects were moved") } else { waits.join(", ") }
    }

    /// The stream is at its end: nothing may be left anywhere.
    fn finish(self) -> Result<Schedule, SimError> {
        let columns = self.design.columns();
        let untaken = self.cores.iter().enumerate().any(|(index, core)| {
            let left =
                |operand: usize| core.taken[operand] < self.lines[operand][self.line(operand, index)].objects.len();
            left(0) || left(1)
        });
        let held =
            self.cores.iter().enumerate().any(|(index, core)| {
                !core.current.a.is_empty() || core.done.len() != self.blocks[index % columns].len()
            });
        if untaken || held || self.feeds.iter().any(|feed| feed.leftover().is_some()) {
            return Err(SimError::Deadlock { waits: format!("the end of the stream; {}", self.state()) });
        }
        let mut moved = [0; 3];
        let mut channels = BTreeMap::new();
        for ((argument, channel), feed) in self.channels().zip(&self.feeds) {
            debug_assert_eq!(channel.direction == Direction::S2mm, argument == Argument::C);
            moved[argument as usize] += feed.moved;
            channels.insert(channel, feed.moved);
        }
        let cores = self.cores.into_iter().map(|core| core.done).collect();
        Ok(Schedule { cores, blocks: self.blocks, moved, channels })
    }
}
