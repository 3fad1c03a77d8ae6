//! A simulated NPU: executes an instruction stream over three buffers, as a compiled [`Design`] would.
//!
//! [`execute`] reads the stream's words, follows every task of every shim channel through its descriptor's steps, gives
//! the objects to the cores in the order in which they would arrive, and writes results where the descriptors say. What
//! the hardware cannot do is an error: a transfer beyond its buffer, a full queue, a descriptor written while it is
//! used, a wait that never ends, data that is left over.
//!
//! The arithmetic is that of the cores' C++ code: [`Mode::Exact`] runs that very code, compiled for this machine, on
//! objects that were gathered word by word; [`Mode::Fast`] computes the same with this machine's vectors, and is
//! bit-equal to it.

mod array;
mod attend;
mod core;
mod error;
mod exact;
mod fast;
mod fault;
mod feed;
mod floats;
mod network;
mod product;
#[cfg(test)]
mod tests;
mod trial;

pub use array::{SimArray, SimContext};
pub use error::SimError;
pub use fault::Fault;
pub use trial::execute_trial;

use self::{
    core::CoreState,
    network::{CoreWork, Output, Schedule},
};
use super::{
    array::RunReport,
    design::{Design, HEAD_WIDTH, Tile},
    stream::{self, Event},
};
use crate::{
    Parallel,
    host::{Isa, split},
};

/// How the cores' arithmetic is carried out.
pub use undertone_boundary::options::Simulation as Mode;

/// Executes the stream `words` of `design` over the buffers A, B and C.
///
/// # Errors
/// [`SimError`]; C is then unspecified.
pub fn execute(
    design: &Design,
    words: &[u32],
    a: &[u8],
    b: &[u8],
    c: &mut [u8],
    mode: Mode,
    pool: &dyn Parallel,
) -> Result<RunReport, SimError> {
    execute_faulty(design, words, [a, b], c, mode, pool, None)
}

/// The same on an array that has a fault.
///
/// # Errors
/// As [`execute`].
pub fn execute_faulty(
    design: &Design,
    words: &[u32],
    [a, b]: [&[u8]; 2],
    c: &mut [u8],
    mode: Mode,
    pool: &dyn Parallel,
    fault: Option<Fault>,
) -> Result<RunReport, SimError> {
    let mut events = stream::events(words, design.target)?;
    if let Some(fault) = fault {
        events.iter_mut().for_each(|event| fault.spoil_event(event));
    }
    execute_events(design, &events, a, b, c, mode, pool, fault)
}

/// Executes what a stream asks for.
#[allow(clippy::too_many_arguments, reason = "a stream, its buffers, and how it is executed")]
fn execute_events(
    design: &Design,
    events: &[Event],
    a: &[u8],
    b: &[u8],
    c: &mut [u8],
    mode: Mode,
    pool: &dyn Parallel,
    fault: Option<Fault>,
) -> Result<RunReport, SimError> {
    let start = std::time::Instant::now();
    assert_eq!(design.misaligned(), None, "AIE2P's cores would read and write wrong data");
    let schedule = network::follow(design, events, [a, b, c])?;
    if mode != Mode::Count {
        let mut results = compute(design, &schedule, a, b, mode, pool)?;
        if let Some(fault) = fault {
            fault.spoil_results(design, &schedule, events.len(), &mut results);
        }
        write(design, &schedule, &results, c, mode)?;
    }
    let core_macs =
        schedule.cores.iter().map(|outputs| outputs.iter().map(|output| macs(design, output)).sum()).collect();
    Ok(RunReport {
        dispatches: 1,
        context_switches: 0,
        dma_bytes: schedule.moved,
        channel_bytes: schedule.channels,
        core_macs,
        wall: start.elapsed(),
        waited: std::time::Duration::ZERO,
    })
}

/// Multiply-accumulates of one result of a core.
fn macs(design: &Design, output: &Output) -> u64 {
    let Tile { m, k, n } = design.tile;
    let each = match output.work {
        CoreWork::Linear => m * k * n,
        CoreWork::Attention => m * HEAD_WIDTH * design.block(),
    };
    (output.b.len() * each) as u64
}

/// The results of each core, one after another.
fn compute(
    design: &Design,
    schedule: &Schedule,
    a: &[u8],
    b: &[u8],
    mode: Mode,
    pool: &dyn Parallel,
) -> Result<Vec<Vec<u8>>, SimError> {
    let bytes = design.c_object();
    let isa = Isa::best();
    let cores: Vec<std::sync::Mutex<Result<Vec<u8>, SimError>>> =
        schedule.cores.iter().map(|_| std::sync::Mutex::new(Ok(Vec::new()))).collect();
    split::tasks(pool, cores.len(), &|core| {
        let outputs = &schedule.cores[core];
        let mut results = vec![0; outputs.len() * bytes];
        let mut state = CoreState::default();
        let mut places = outputs.iter().zip(results.chunks_exact_mut(bytes));
        let made = places.try_for_each(|(output, result)| match mode {
            Mode::Fast => {
                fast::compute(isa, design, output, a, b, &mut state, result);
                Ok(())
            }
            Mode::Exact => exact::compute(design, output, a, b, &mut state, result),
            Mode::Count => Ok(()),
        });
        if let Ok(mut place) = cores[core].lock() {
            *place = made.map(|()| results);
        }
    });
    cores.into_iter().map(|core| core.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)).collect()
}

/// Joins the results of each column's cores, turns them row-major, and writes them where the shim's channels put them.
fn write(design: &Design, schedule: &Schedule, results: &[Vec<u8>], c: &mut [u8], mode: Mode) -> Result<(), SimError> {
    let (columns, bytes, width) = (design.columns(), design.c_object(), design.tile.n);
    let micro = design.micro_tile();
    let mut block = vec![0; design.rows() * bytes];
    let mut written = vec![false; if mode == Mode::Exact { c.len() } else { 0 }];
    for (column, blocks) in schedule.blocks.iter().enumerate() {
        for (index, place) in blocks.iter().enumerate() {
            for (row, block) in block.chunks_exact_mut(bytes).enumerate() {
                let result = &results[row * columns + column][index * bytes..][..bytes];
                for (y, line) in block.chunks_exact_mut(2 * width).enumerate() {
                    for (piece, x) in line.chunks_exact_mut(2 * micro.t).zip((0..width).step_by(micro.t)) {
                        piece.copy_from_slice(&result[2 * micro.result(width, y, x)..][..2 * micro.t]);
                    }
                }
            }
            let mut at = 0;
            for piece in place.pieces() {
                c[piece.offset..piece.offset + piece.bytes].copy_from_slice(&block[at..at + piece.bytes]);
                at += piece.bytes;
                if let Some(written) = written.get_mut(piece.offset..piece.offset + piece.bytes) {
                    if written.contains(&true) {
                        return Err(SimError::WrittenTwice { offset: piece.offset });
                    }
                    written.fill(true);
                }
            }
        }
    }
    Ok(())
}
