//! Stages as a stream: two sets of buffer descriptors, of which one is written while the other is in use.

use super::{
    Op, StreamError, encode,
    plan::{Stage, stages},
    registers::{
        CONTROLLER, CONTROLLER_MASK, Push, control_address, descriptor_address, descriptor_words, patch_address,
        queue_address,
    },
};
use crate::npu::{
    access::{DESCRIPTORS, QUEUE_DEPTH},
    design::{Argument, Design, Direction, Problem},
};

/// Stages in flight: the next one's tasks wait in the queues while one runs, so that no channel falls idle between
/// them.
const IN_FLIGHT: usize = 2;
const _: () = assert!(IN_FLIGHT <= QUEUE_DEPTH);
/// Descriptors of a tile that one stage can use: one for each of its channels.
const SET: usize = 4;
const _: () = assert!(IN_FLIGHT * SET <= DESCRIPTORS);

/// The stream for a problem: 32-bit words. It is the same for the same design and problem.
///
/// # Errors
/// If the problem is not the design's operator's, has nothing to sum, or is too large for the hardware's registers.
pub fn write(design: &Design, problem: &Problem) -> Result<Vec<u32>, StreamError> {
    let stages = stages(design, problem)?;
    let mut ops = Vec::new();
    if !stages.is_empty() {
        // To whom the results' tokens go.
        ops.extend(design.c.iter().map(|channel| Op::MaskWrite {
            address: control_address(*channel),
            value: CONTROLLER,
            mask: CONTROLLER_MASK,
        }));
    }
    for (index, stage) in stages.iter().enumerate() {
        if let Some(done) = index.checked_sub(IN_FLIGHT) {
            wait(&mut ops, &stages[done]);
        }
        for task in &stage.tasks {
            let channel = task.channel;
            let descriptor =
                index % IN_FLIGHT * SET + usize::from(channel.direction == Direction::Mm2s) * 2 + channel.channel;
            let words = descriptor_words(&task.transfer, design.target).to_vec();
            ops.push(Op::BlockWrite { address: descriptor_address(channel.column, descriptor), words });
            ops.push(Op::Patch {
                address: patch_address(channel.column, descriptor),
                argument: task.transfer.argument,
                // `stages` refuses buffers beyond 4 GiB.
                offset: task.transfer.offset as u32,
            });
            let token = task.transfer.argument == Argument::C;
            let value = Push { descriptor, repeats: task.repeats, token }.word();
            ops.push(Op::Write { address: queue_address(channel), value });
        }
    }
    for stage in &stages[stages.len().saturating_sub(IN_FLIGHT)..] {
        wait(&mut ops, stage);
    }
    Ok(encode(design.target, &ops))
}

/// Waits for the end of a stage.
fn wait(ops: &mut Vec<Op>, stage: &Stage) {
    ops.extend(stage.results().map(|task| Op::Sync {
        column: task.channel.column as u8,
        row: 0,
        direction: task.channel.direction,
        channel: task.channel.channel as u8,
        columns: 1,
        rows: 1,
    }));
}
