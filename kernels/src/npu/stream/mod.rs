//! Instruction streams: what the NPU's command processor is told to do for one product. It programs the shim tiles' DMA
//! channels and waits for their tokens; the cores need no instruction.
//!
//! A stream is made of [`Op`]s, as AMD's tools define them (`format`). [`write`] makes the stream of a [`Problem`] for
//! a [`Design`]; [`events`] reads one, as the hardware would, into what it makes the DMA channels do. A simulator is
//! built on the latter, so it executes the very words that a real NPU would be given.
//!
//! [`Design`]: super::Design
//! [`Problem`]: super::Problem

mod format;
mod plan;
mod registers;
mod shim;
mod tasks;
#[cfg(test)]
mod tests;
mod write;

pub use format::{decode, encode};
pub use plan::{DmaTask, Stage, stages};
pub use registers::TOKEN_CONTROLLER;
pub use shim::{Event, Shim, events};
pub use tasks::{Step, write_steps};
pub use write::write;

use super::{
    access::AccessError,
    design::{Argument, DesignError, Direction},
};

/// One operation of a stream. Addresses are those of the array's register space: `column << 25 | row << 20 | register`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a register.
    Write {
        /// Its address.
        address: u32,
        /// The new value.
        value: u32,
    },
    /// Writes some bits of a register.
    MaskWrite {
        /// Its address.
        address: u32,
        /// The new value of the bits.
        value: u32,
        /// Which bits.
        mask: u32,
    },
    /// Writes registers one after another.
    BlockWrite {
        /// Address of the first.
        address: u32,
        /// Their new values.
        words: Vec<u32>,
    },
    /// Adds the device address of a kernel argument to the address in a buffer descriptor.
    Patch {
        /// Address of the register that holds the address' lower half.
        address: u32,
        /// Which argument.
        argument: Argument,
        /// First byte in it.
        offset: u32,
    },
    /// Waits for one token of each of a rectangle of tiles, by which a DMA channel says that a task is done.
    Sync {
        /// First column.
        column: u8,
        /// First row.
        row: u8,
        /// Which way the channel moves data.
        direction: Direction,
        /// 0 or 1.
        channel: u8,
        /// Columns of the rectangle.
        columns: u8,
        /// Its rows.
        rows: u8,
    },
}

/// A stream that is malformed, that the array can't execute, or that can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It ends too early.
    #[error("the stream ends at word {words}, in {what} that begins at word {at}")]
    Truncated {
        /// Its words.
        words: usize,
        /// What was being read.
        what: &'static str,
        /// Where that begins.
        at: usize,
    },
    /// The header is another version's or target's, or does not fit what follows.
    #[error("the stream's header says {field} {found}, {expected} was expected")]
    Header {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u32,
        /// What it should be.
        expected: u32,
    },
    /// An operation that no stream for these designs has.
    #[error("operation {index} (word {at}) has the unknown code {code:#x}")]
    Opcode {
        /// Which operation.
        index: usize,
        /// Its first word.
        at: usize,
        /// Its code.
        code: u32,
    },
    /// A field of an operation has a value that it can't have.
    #[error("operation {index} (word {at}): {field} is {value:#x}")]
    Field {
        /// Which operation.
        index: usize,
        /// Its first word.
        at: usize,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A register that streams do not write, or not so.
    #[error("register {address:#x}: {reason}")]
    Register {
        /// Its address.
        address: u32,
        /// What is wrong.
        reason: String,
    },
    /// A buffer descriptor that was used says something that the designs do not use.
    #[error("buffer descriptor {descriptor} of column {column}: {reason}")]
    Descriptor {
        /// Column of the shim tile.
        column: usize,
        /// Which one.
        descriptor: usize,
        /// What is wrong.
        reason: String,
    },
    /// The problem can't be put on this design.
    #[error("no stream for {problem}: {reason}")]
    Problem {
        /// Its shape.
        problem: String,
        /// What is wrong, with the limit.
        reason: String,
    },
    /// A transfer beyond the hardware's limits.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A design that can't be.
    #[error(transparent)]
    Design(#[from] DesignError),
}
