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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npu::{
        stream::{DmaTask, Step, write_steps},
        target::Target,
    };

    const WORDS: u32 = Trial::object(TrialKind::PassThrough) as u32 / 4;

    /// What a stream of some steps over a pass-through ends in.
    fn said(steps: &[Step]) -> Result<RunReport, SimError> {
        let trial = Trial::new(Target::Npu1, TrialKind::PassThrough);
        let words = write_steps(trial.target, steps).unwrap();
        execute_trial(&trial, &words, [&[7; 4096], &[8; 4096]], &mut [0; 4096], None)
    }

    fn task(channel: Channel, argument: Argument, objects: u32, descriptor: usize) -> Step {
        let transfer = Transfer::linear(argument, 0, objects * WORDS);
        let task = DmaTask { channel, transfer, repeats: 0 };
        Step::Task { task, descriptor, token: argument == Argument::C }
    }

    #[test]
    fn what_the_hardware_would_not_do_is_refused() {
        let trial = Trial::new(Target::Npu1, TrialKind::PassThrough);
        let [first, second] = [trial.lanes()[0], trial.lanes()[1]];
        let into = |objects| task(first.to, Argument::C, objects, 0);
        let from = |objects| task(first.from, Argument::A, objects, 1);
        let report = said(&[into(2), from(2), Step::Wait(first.to)]).unwrap();
        assert_eq!(report.dma_bytes, [2048, 0, 2048]);
        let refused = |steps: &[Step]| said(steps).unwrap_err().to_string();
        assert!(refused(&[into(1), Step::Wait(first.to)]).contains("stands still"));
        assert!(refused(&[into(1), from(2), Step::Wait(first.to)]).contains("nobody takes"));
        assert!(refused(&[into(5), from(4)]).contains("reaches byte 5120 of a buffer of 4096"));
        assert!(refused(&[task(first.from, Argument::B, 1, 0)]).contains("given argument B"));
        assert!(refused(&[task(second.to, Argument::A, 1, 0)]).contains("given argument A"));
        let other = Channel { column: 1, ..first.from };
        assert!(refused(&[task(other, Argument::A, 1, 0)]).contains("does not use this channel"));
        assert!(refused(&[Step::Wait(other)]).contains("does not use this channel"));
        // A descriptor that a task still needs.
        assert!(refused(&[into(1), task(second.to, Argument::C, 2, 0)]).contains("written while a task uses it"));
    }
}
