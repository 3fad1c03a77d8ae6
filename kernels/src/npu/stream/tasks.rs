//! A stream of tasks as they are given, for arrays that compute no layers: what is waited for, and which descriptor a
//! task has, is the caller's.

use super::{
    Op, StreamError, encode,
    plan::DmaTask,
    registers::{
        CONTROLLER, CONTROLLER_MASK, Push, control_address, descriptor_address, descriptor_words, patch_address,
        queue_address,
    },
};
use crate::npu::{
    access::DESCRIPTORS,
    design::{Channel, Direction},
    target::Target,
};

/// A step of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Describes a task in a buffer descriptor, and queues it.
    Task {
        /// What is moved, and how often.
        task: DmaTask,
        /// Which of the tile's descriptors says so; no task that is not done may use it.
        descriptor: usize,
        /// Whether a token says that it is done.
        token: bool,
    },
    /// Waits for a channel's token.
    Wait(Channel),
}

/// The stream of some steps.
///
/// # Errors
/// A transfer beyond the hardware's limits, a descriptor or a number of repeats that there is not.
pub fn write_steps(target: Target, steps: &[Step]) -> Result<Vec<u32>, StreamError> {
    let mut ops = Vec::new();
    let mut told: Vec<Channel> = Vec::new();
    for step in steps {
        match step {
            Step::Task { task, descriptor, token } => {
                task.transfer.check()?;
                if *descriptor >= DESCRIPTORS || task.repeats > 255 || task.transfer.offset > u64::from(u32::MAX) {
                    let problem = format!("a task of {}", task.channel);
                    let reason = format!("descriptor {descriptor}, {} repeats or its offset", task.repeats);
                    return Err(StreamError::Problem { problem, reason });
                }
                if *token && !told.contains(&task.channel) {
                    send_tokens(&mut ops, task.channel);
                    told.push(task.channel);
                }
                push(&mut ops, target, task, *descriptor, *token);
            }
            Step::Wait(channel) => wait(&mut ops, *channel),
        }
    }
    Ok(encode(target, &ops))
}

/// To whom a channel's tokens go.
pub(super) fn send_tokens(ops: &mut Vec<Op>, channel: Channel) {
    ops.push(Op::MaskWrite { address: control_address(channel), value: CONTROLLER, mask: CONTROLLER_MASK });
}

/// Describes a task and queues it.
pub(super) fn push(ops: &mut Vec<Op>, target: Target, task: &DmaTask, descriptor: usize, token: bool) {
    let DmaTask { channel, transfer, repeats } = *task;
    let words = descriptor_words(&transfer, target).to_vec();
    ops.push(Op::BlockWrite { address: descriptor_address(channel.column, descriptor), words });
    ops.push(Op::Patch {
        address: patch_address(channel.column, descriptor),
        argument: transfer.argument,
        // Buffers beyond 4 GiB were refused.
        offset: transfer.offset as u32,
    });
    ops.push(Op::Write { address: queue_address(channel), value: Push { descriptor, repeats, token }.word() });
}

/// Waits for a channel's token.
pub(super) fn wait(ops: &mut Vec<Op>, channel: Channel) {
    ops.push(Op::Sync {
        column: channel.column as u8,
        row: 0,
        direction: channel.direction,
        channel: channel.channel as u8,
        columns: 1,
        rows: 1,
    });
}

/// The descriptor of a channel's task in one of the sets that take turns.
pub(super) fn descriptor(set: usize, channel: Channel) -> usize {
    SET * set + usize::from(channel.direction == Direction::Mm2s) * 2 + channel.channel
}

/// Descriptors of a tile that one stage can use: one for each of its channels.
pub(super) const SET: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npu::{access::Transfer, design::Argument};

    #[test]
    fn what_no_register_holds_is_refused() {
        let channel = Channel { column: 0, direction: Direction::Mm2s, channel: 0 };
        let words = |transfer, repeats, descriptor| {
            let task = DmaTask { channel, transfer, repeats };
            write_steps(Target::Npu1, &[Step::Task { task, descriptor, token: false }])
        };
        let sound = Transfer::linear(Argument::A, 0, 4);
        assert!(words(sound, 255, DESCRIPTORS - 1).is_ok());
        assert!(words(sound, 256, 0).is_err());
        assert!(words(sound, 0, DESCRIPTORS).is_err());
        assert!(words(Transfer { offset: 1 << 32, ..sound }, 0, 0).is_err());
        assert!(words(Transfer { length: 0, ..sound }, 0, 0).is_err());
    }
}
