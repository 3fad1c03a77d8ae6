//! Arrays that compute no layers: what a new NPU is tried with before anything is asked of it ([`super::ladder`]). One
//! passes bytes on, so that a transfer is seen without a core; the other is one core with a program of questions
//! (`kernels/aie/src/trial.h`), whose answers are held against this machine's.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    design::{Argument, Channel, Direction},
    target::Target,
};

/// What a trial array does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// A column's memory tile gives back what comes, A through the first channel and B through the second; both go
    /// into C.
    PassThrough,
    /// A core answers a question, an object of A, with an object of C.
    Core,
}

impl TrialKind {
    /// All of them.
    pub const ALL: [TrialKind; 2] = [TrialKind::PassThrough, TrialKind::Core];
}

impl fmt::Display for TrialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrialKind::PassThrough => "pass_through",
            TrialKind::Core => "core",
        })
    }
}

/// A trial array as it is compiled. All of it is in column 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// For which silicon.
    pub target: Target,
    /// What it does.
    pub kind: TrialKind,
    /// The shim channel by which A comes.
    pub a: Channel,
    /// The one by which B comes, of a pass-through.
    pub b: Option<Channel>,
    /// Those by which C leaves: what came from A, and of a pass-through what came from B.
    pub c: Vec<Channel>,
}

/// A way through a trial array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The argument that is read.
    pub argument: Argument,
    /// The channel that reads.
    pub from: Channel,
    /// The channel that writes C.
    pub to: Channel,
}

impl Trial {
    /// Bytes of the one transfer, from A to C, that a pass-through's bundle has the compiler's own stream of.
    pub const MADE_BYTES: usize = 16 * 1024;

    /// Bytes of what a trial array takes, and gives, at once: of a pass-through an object, of a core a question or its
    /// answer with 64 bytes of control before 4 KB.
    pub const fn object(kind: TrialKind) -> usize {
        match kind {
            TrialKind::PassThrough => 1024,
            TrialKind::Core => 64 + 4096,
        }
    }

    /// A trial array with the channels in their usual places.
    pub fn new(target: Target, kind: TrialKind) -> Self {
        let channel = |direction, channel| Channel { column: 0, direction, channel };
        let lanes = if kind == TrialKind::PassThrough { 2 } else { 1 };
        Self {
            target,
            kind,
            a: channel(Direction::Mm2s, 0),
            b: (lanes > 1).then(|| channel(Direction::Mm2s, 1)),
            c: (0..lanes).map(|lane| channel(Direction::S2mm, lane)).collect(),
        }
    }

    /// Its ways from A, or B, to C.
    pub fn lanes(&self) -> Vec<Lane> {
        let inputs = [(Argument::A, Some(self.a)), (Argument::B, self.b)];
        let inputs = inputs.into_iter().filter_map(|(argument, channel)| Some((argument, channel?)));
        inputs.zip(&self.c).map(|((argument, from), to)| Lane { argument, from, to: *to }).collect()
    }

    /// The name of its bundle's folder.
    pub fn name(&self) -> String {
        format!("{}-{}", self.target, self.kind)
    }

    /// Checks that it is what [`Trial::new`] makes, but for which channels of column 0 the compiler gave it.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn check(&self) -> Result<(), String> {
        let Self { b, c, kind, .. } = Self::new(self.target, self.kind);
        if self.b.is_some() != b.is_some() || self.c.len() != c.len() {
            return Err(format!("it names other streams than a {kind} array has"));
        }
        let (inputs, outputs) = ([Some(self.a), self.b], [self.c.first().copied(), self.c.get(1).copied()]);
        let at = |channels: [Option<Channel>; 2], direction| {
            let [first, second] = channels;
            let sound = |channel: Channel| channel.column == 0 && channel.direction == direction && channel.channel < 2;
            channels.into_iter().flatten().all(sound) && first != second
        };
        if !at(inputs, Direction::Mm2s) || !at(outputs, Direction::S2mm) {
            return Err("it names a shim channel that does not exist, or one twice".into());
        }
        Ok(())
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TrialKind::PassThrough => "the array that passes bytes on",
            TrialKind::Core => "the array with one core that answers questions",
        };
        write!(f, "{what}, on {}", self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_go_from_a_and_b_to_c() {
        for target in Target::ALL {
            let ways = |kind| Trial::new(target, kind).lanes().iter().map(|lane| lane.argument).collect::<Vec<_>>();
            assert_eq!(ways(TrialKind::PassThrough), [Argument::A, Argument::B]);
            assert_eq!(ways(TrialKind::Core), [Argument::A]);
        }
    }

    #[test]
    fn other_streams_than_it_has_are_refused() {
        let sound = Trial::new(Target::Npu1, TrialKind::PassThrough);
        assert_eq!(sound.check(), Ok(()));
        let spoilt = |change: &dyn Fn(&mut Trial)| {
            let mut trial = sound.clone();
            change(&mut trial);
            trial.check().unwrap_err()
        };
        assert!(spoilt(&|trial| trial.b = None).contains("other streams"));
        assert!(spoilt(&|trial| trial.c.truncate(1)).contains("other streams"));
        assert!(spoilt(&|trial| trial.kind = TrialKind::Core).contains("other streams"));
        assert!(spoilt(&|trial| trial.a.column = 1).contains("does not exist"));
        assert!(spoilt(&|trial| trial.a.channel = 2).contains("does not exist"));
        assert!(spoilt(&|trial| trial.b = Some(trial.a)).contains("twice"));
        assert!(spoilt(&|trial| trial.c[0] = trial.a).contains("does not exist"));
    }
}
