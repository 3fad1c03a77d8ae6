//! A trial array, simulated: objects go from one channel to the other, through the memory tile as they are or through
//! the core's own code.

use std::{collections::VecDeque, time::Instant};

use undertone_aie as aie;

use super::{
    error::SimError,
    fault::Fault,
    feed::{Feed, Object},
};
use crate::npu::{
    access::Transfer,
    array::RunReport,
    design::{Argument, Channel},
    stream::{self, Event},
    trial::{Lane, Trial, TrialKind},
};

/// Objects that are on their way at most: two where they come in and two where they leave.
const DEPTH: usize = 4;

/// A way through the array, with what is on it.
struct Way {
    lane: Lane,
    from: Feed,
    to: Feed,
    inside: VecDeque<Object>,
    moved: Vec<(Object, Object)>,
}

/// Executes a stream over a trial array.
///
/// # Errors
/// [`SimError`]; C is then unspecified.
pub fn execute_trial(
    trial: &Trial,
    words: &[u32],
    [a, b]: [&[u8]; 2],
    c: &mut [u8],
    fault: Option<Fault>,
) -> Result<RunReport, SimError> {
    let start = Instant::now();
    let mut events = stream::events(words, trial.target)?;
    if let Some(fault) = fault {
        events.iter_mut().for_each(|event| fault.spoil_event(event));
    }
    let ways = follow(trial, &events, [a.len(), b.len(), c.len()])?;
    let mut report = RunReport { dispatches: 1, ..RunReport::default() };
    let (mut object, mut answer) = (Vec::new(), Vec::new());
    for way in ways {
        let argument = if way.lane.argument == Argument::A { a } else { b };
        report.dma_bytes[way.lane.argument as usize] += way.from.moved;
        report.dma_bytes[Argument::C as usize] += way.to.moved;
        report.channel_bytes.extend([(way.lane.from, way.from.moved), (way.lane.to, way.to.moved)]);
        for (source, target) in way.moved {
            object.clear();
            source.pieces().iter().for_each(|piece| object.extend_from_slice(&argument[piece.offset..][..piece.bytes]));
            let said = match trial.kind {
                TrialKind::PassThrough => &object,
                TrialKind::Core => {
                    answer.clear();
                    answer.resize(object.len(), 0);
                    aie::trial_answer(&object, &mut answer)?;
                    if let Some(fault) = fault {
                        fault.spoil_answer(&object, &mut answer);
                    }
                    &answer
                }
            };
            let mut rest = &said[..];
            for piece in target.pieces() {
                let (here, behind) = rest.split_at(piece.bytes);
                c[piece.offset..][..piece.bytes].copy_from_slice(here);
                rest = behind;
            }
        }
    }
    report.wall = start.elapsed();
    Ok(report)
}

/// Follows a stream's events to their end: the ways, with what went which way.
fn follow(trial: &Trial, events: &[Event], sizes: [usize; 3]) -> Result<Vec<Way>, SimError> {
    let new = |lane: Lane| {
        let (from, to) = (Feed::new(lane.from), Feed::new(lane.to));
        Way { lane, from, to, inside: VecDeque::new(), moved: Vec::new() }
    };
    let mut ways: Vec<Way> = trial.lanes().into_iter().map(new).collect();
    let bytes = Trial::object(trial.kind);
    for event in events {
        ways.iter_mut().for_each(|way| way.settle(bytes));
        match event {
            Event::Push { channel, descriptor, transfer, repeats, token } => {
                if let Some(channel) = ways.iter().find_map(|way| way.using(channel.column, *descriptor, transfer)) {
                    return Err(SimError::DescriptorInUse { channel, descriptor: *descriptor });
                }
                let way = ways.iter_mut().find(|way| [way.lane.from, way.lane.to].contains(channel));
                let way = way.ok_or(SimError::NoChannel { channel: *channel })?;
                let reads = *channel == way.lane.from;
                let (feed, carries) =
                    if reads { (&mut way.from, way.lane.argument) } else { (&mut way.to, Argument::C) };
                if transfer.argument != carries {
                    return Err(SimError::WrongArgument { channel: *channel, argument: transfer.argument });
                }
                feed.push(*transfer, *descriptor, *repeats, *token, sizes[carries as usize])?;
            }
            Event::Wait { channel } => {
                let mut feeds =
                    ways.iter_mut().flat_map(|way| [(way.lane.from, &mut way.from), (way.lane.to, &mut way.to)]);
                let feed = feeds.find(|(other, _)| other == channel).map(|(_, feed)| feed);
                let feed = feed.ok_or(SimError::NoChannel { channel: *channel })?;
                if feed.tokens == 0 {
                    return Err(SimError::Deadlock { waits: format!("the stream for {channel}") });
                }
                feed.tokens -= 1;
            }
        }
    }
    for way in &mut ways {
        way.settle(bytes);
        let left = [way.from.leftover(), way.to.leftover()].into_iter().flatten().next();
        let left = left.or_else(|| (!way.inside.is_empty()).then(|| "objects that nobody takes".to_owned()));
        if let Some(left) = left {
            return Err(SimError::Deadlock { waits: format!("the end of the stream; {left}") });
        }
    }
    Ok(ways)
}

impl Way {
    /// The channel of a column that has a task which needs a descriptor to say something else.
    fn using(&self, column: usize, descriptor: usize, transfer: &Transfer) -> Option<Channel> {
        let feeds = [(self.lane.from, &self.from), (self.lane.to, &self.to)];
        let used =
            feeds.into_iter().find(|(channel, feed)| channel.column == column && feed.needs(descriptor, transfer));
        used.map(|(channel, _)| channel)
    }

    /// Moves whatever can move.
    fn settle(&mut self, bytes: usize) {
        loop {
            let mut moved = false;
            while self.inside.len() < DEPTH {
                let Some(object) = self.from.next(bytes) else { break };
                self.inside.push_back(object);
                moved = true;
            }
            while !self.inside.is_empty() {
                let Some(place) = self.to.next(bytes) else { break };
                self.moved.extend(self.inside.pop_front().map(|object| (object, place)));
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }
}
