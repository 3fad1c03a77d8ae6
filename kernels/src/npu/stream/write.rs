//! Stages as a stream: two sets of buffer descriptors, of which one is written while the other is in use.

use super::{
    StreamError, encode,
    plan::stages,
    tasks::{self, SET},
};
use crate::npu::{
    access::{DESCRIPTORS, QUEUE_DEPTH},
    design::{Argument, Design, Problem},
};

/// Stages in flight: the next one's tasks wait in the queues while one runs, so that no channel falls idle between
/// them.
const IN_FLIGHT: usize = 2;
const _: () = assert!(IN_FLIGHT <= QUEUE_DEPTH);
const _: () = assert!(IN_FLIGHT * SET <= DESCRIPTORS);

/// The stream for a problem: 32-bit words. It is the same for the same design and problem.
///
/// # Errors
/// If the problem is not the design's operator's, has nothing to sum, or is too large for the hardware's registers.
pub fn write(design: &Design, problem: &Problem) -> Result<Vec<u32>, StreamError> {
    let stages = stages(design, problem)?;
    let mut ops = Vec::new();
    if !stages.is_empty() {
        design.c.iter().for_each(|channel| tasks::send_tokens(&mut ops, *channel));
    }
    // Its results' tokens say that a stage is done.
    let wait = |ops: &mut _, stage: usize| stages[stage].results().for_each(|task| tasks::wait(ops, task.channel));
    for (index, stage) in stages.iter().enumerate() {
        if let Some(done) = index.checked_sub(IN_FLIGHT) {
            wait(&mut ops, done);
        }
        for task in &stage.tasks {
            let descriptor = tasks::descriptor(index % IN_FLIGHT, task.channel);
            tasks::push(&mut ops, design.target, task, descriptor, task.transfer.argument == Argument::C);
        }
    }
    (stages.len().saturating_sub(IN_FLIGHT)..stages.len()).for_each(|stage| wait(&mut ops, stage));
    Ok(encode(design.target, &ops))
}
