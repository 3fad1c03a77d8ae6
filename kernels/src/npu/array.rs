//! Something that executes instruction streams over buffers: the simulator, or XRT with an NPU below it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    design::{Argument, Channel, Design},
    device::Commands,
    target::Target,
    trial::Trial,
};
use crate::{DeviceKind, Parallel};

/// An NPU, simulated or real.
pub trait Array: Send + Sync + 'static {
    /// A design that is loaded: a hardware context.
    type Context: Send + Sync;
    /// Memory that the array reaches.
    type Buffer: Buffer;
    /// An instruction stream, where the array reaches it.
    type Program: Send + Sync;

    /// [`DeviceKind::Sim`] or [`DeviceKind::Npu`].
    fn kind(&self) -> DeviceKind;

    /// Which silicon it is, or plays.
    fn target(&self) -> Target;

    /// Whether results are computed; an array that only counts gives zeros.
    fn computes(&self) -> bool {
        true
    }

    /// Loads a design.
    ///
    /// # Errors
    /// If there is no bundle for it, or too many contexts are open, or the device refuses.
    fn open(&self, design: &Design) -> Result<Self::Context, ArrayError>;

    /// The design as it was compiled, where that may differ from the one that was asked for in its shim channels:
    /// streams have to be written for it.
    fn compiled<'a>(&self, _context: &'a Self::Context) -> Option<&'a Design> {
        None
    }

    /// Loads a trial array.
    ///
    /// # Errors
    /// As [`Array::open`].
    fn open_trial(&self, trial: &Trial) -> Result<OpenTrial<Self::Context>, ArrayError> {
        let reason = "this device has none".to_owned();
        Err(ArrayError::NoBundle { what: trial.to_string(), reason })
    }

    /// Memory for one argument, zeroed.
    ///
    /// # Errors
    /// If there is not that much.
    fn buffer(&self, context: &Self::Context, argument: Argument, bytes: usize) -> Result<Self::Buffer, ArrayError>;

    /// Puts an instruction stream (32-bit words) where the array reaches it.
    ///
    /// # Errors
    /// If there is no memory, or the stream is refused.
    fn program(&self, context: &Self::Context, words: &[u32]) -> Result<Self::Program, ArrayError>;

    /// How commands are given to it where nothing else is said.
    fn commands(&self) -> Commands {
        Commands::default()
    }

    /// Executes jobs one after another, as [`Array::commands`] says.
    ///
    /// # Errors
    /// As [`Array::run_by`].
    fn run(
        &self,
        context: &Self::Context,
        jobs: &mut [Job<'_, Self>],
        pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError> {
        self.run_by(self.commands(), context, jobs, pool)
    }

    /// Executes jobs one after another: with one dispatch where the array can and `commands` may, or each by itself.
    /// A's are synced to the device before and C's from it after; B's must have been flushed ([`Buffer::flush`]) since
    /// they were written.
    ///
    /// # Errors
    /// A failed command or a timeout; the contents of C are then unspecified and the context may be unusable.
    fn run_by(
        &self,
        commands: Commands,
        context: &Self::Context,
        jobs: &mut [Job<'_, Self>],
        pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError>;
}

/// A trial array that is loaded.
pub struct OpenTrial<C> {
    /// Its hardware context.
    pub context: C,
    /// As it was compiled: streams have to be written for its channels.
    pub trial: Trial,
    /// The stream that the compiler made of a pass-through's one transfer ([`Trial::MADE_BYTES`]), where there is a
    /// compiler's.
    pub made: Option<Vec<u32>>,
}

/// Memory that an array reaches.
pub trait Buffer: Send + Sync {
    /// Its bytes.
    fn bytes(&self) -> &[u8];

    /// Its bytes, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Makes what was written visible to the array.
    ///
    /// # Errors
    /// If the device is gone.
    fn flush(&mut self) -> Result<(), ArrayError>;
}

/// One execution of a stream.
pub struct Job<'a, A: Array + ?Sized> {
    /// The stream.
    pub program: &'a A::Program,
    /// Rows, or queries; several jobs may read the same.
    pub a: &'a A::Buffer,
    /// Weights, or keys and values.
    pub b: &'a A::Buffer,
    /// Results.
    pub c: &'a mut A::Buffer,
}

/// What an execution did, counted by what executed it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// Commands given to the array.
    pub dispatches: u64,
    /// Another design than the one before was executed.
    pub context_switches: u64,
    /// Bytes that the shim DMAs read for A, read for B and wrote for C. 0 where that is not counted (XRT).
    pub dma_bytes: [u64; 3],
    /// The same by channel; empty where that is not counted.
    pub channel_bytes: BTreeMap<Channel, u64>,
    /// Multiply-accumulates that each core carried out, padding included; empty where that is not counted (XRT).
    pub core_macs: Vec<u64>,
    /// Wall time of the execution.
    pub wall: Duration,
    /// How much of it was spent until the array was free.
    pub waited: Duration,
}

impl RunReport {
    /// Another execution's, after this one.
    pub(super) fn add(&mut self, other: Self) {
        self.dispatches += other.dispatches;
        self.context_switches += other.context_switches;
        self.dma_bytes.iter_mut().zip(other.dma_bytes).for_each(|(sum, bytes)| *sum += bytes);
        for (channel, bytes) in other.channel_bytes {
            *self.channel_bytes.entry(channel).or_default() += bytes;
        }
        self.core_macs.resize(self.core_macs.len().max(other.core_macs.len()), 0);
        self.core_macs.iter_mut().zip(other.core_macs).for_each(|(sum, macs)| *sum += macs);
        self.wall += other.wall;
        self.waited += other.waited;
    }
}

/// Why an array did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// There is no compiled design.
    #[error("no bundle for {what}: {reason}")]
    NoBundle {
        /// Operator, target and tile.
        what: String,
        /// Where it was looked for, and what to do.
        reason: String,
    },
    /// No more hardware contexts.
    #[error(
        "{target} has {limit} hardware contexts and all are in use: close other programs that use the NPU ({reason})"
    )]
    Contexts {
        /// The silicon.
        target: Target,
        /// How many there are.
        limit: usize,
        /// What the driver said.
        reason: String,
    },
    /// No memory.
    #[error("no NPU memory for {bytes} bytes: {reason}")]
    Memory {
        /// How much was asked for.
        bytes: usize,
        /// What the driver said.
        reason: String,
    },
    /// The device did not answer in time.
    #[error("the NPU did not answer within {limit:?}: {reason}")]
    Timeout {
        /// How long it was waited for.
        limit: Duration,
        /// The command's state.
        reason: String,
    },
    /// A command failed.
    #[error("an NPU command failed: {0}")]
    Failed(String),
    /// The device is gone, or cannot be used.
    #[error("the NPU cannot be used: {0}")]
    Lost(String),
    /// The stream or the buffers are not what the design takes.
    #[error("the array refused a command: {0}")]
    Refused(String),
    /// The array's answer differs from the host device's.
    #[error("the bundle for {what} is not trusted: its answer differs from the host device's ({reason})")]
    Untrusted {
        /// Operator, target and tile.
        what: String,
        /// By how much.
        reason: String,
    },
}
