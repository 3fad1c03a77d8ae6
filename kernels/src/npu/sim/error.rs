//! What a simulated array refuses.

use crate::npu::{
    access::AccessError,
    design::{Argument, Channel},
    stream::StreamError,
};

/// What the hardware would not do, or would not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// The words are no stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A descriptor's fields.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A transfer leaves its buffer.
    #[error("a transfer of argument {argument:?} reaches byte {end} of a buffer of {bytes}")]
    OutOfBounds {
        /// The kernel's argument.
        argument: Argument,
        /// Where it ends.
        end: u64,
        /// How large the buffer is.
        bytes: usize,
    },
    /// Too many tasks wait in a channel's queue.
    #[error("{channel}: a task is pushed into a full queue")]
    QueueFull {
        /// The channel.
        channel: Channel,
    },
    /// A descriptor is written while a task that needs it is not done.
    #[error("{channel}: descriptor {descriptor} is written while a task uses it")]
    DescriptorInUse {
        /// The channel of that task.
        channel: Channel,
        /// The descriptor.
        descriptor: usize,
    },
    /// The design has nothing at that channel.
    #[error("{channel}: the design does not use this channel")]
    NoChannel {
        /// The channel.
        channel: Channel,
    },
    /// A channel is given another argument than the design has there.
    #[error("{channel}: it is given argument {argument:?}, which the design does not have there")]
    WrongArgument {
        /// The channel.
        channel: Channel,
        /// The kernel's argument.
        argument: Argument,
    },
    /// A wait that never ends, or data that nobody takes.
    #[error("the array stands still: {waits}")]
    Deadlock {
        /// Who waits for what.
        waits: String,
    },
    /// A word of C is written twice.
    #[error("byte {offset} of C is written twice")]
    WrittenTwice {
        /// Where.
        offset: usize,
    },
    /// What an object of A says cannot be.
    #[error("a control block: {0}")]
    Control(String),
    /// The cores' code does not take the design's tiles.
    #[error("the design's tiles cannot be simulated exactly: {0}")]
    Tile(#[from] undertone_aie::KernelError),
}
