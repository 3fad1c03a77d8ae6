//! What a kernel needs beside its operands, and how it fails.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Parallel, Scratch};

pub use undertone_boundary::options::DeviceKind;

/// Kernel calls, counted by the code that executed them.
#[derive(Debug, Default)]
pub struct Counters {
    calls: [AtomicU64; DeviceKind::ALL.len()],
}

impl Counters {
    /// Counters at zero.
    pub const fn new() -> Self {
        Self { calls: [const { AtomicU64::new(0) }; DeviceKind::ALL.len()] }
    }

    /// One kernel was executed on `device`. Called at the end of a kernel's run, by the kernel.
    pub fn executed(&self, device: DeviceKind) {
        self.calls[device as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Kernels executed on `device` so far.
    pub fn calls(&self, device: DeviceKind) -> u64 {
        self.calls[device as usize].load(Ordering::Relaxed)
    }
}

/// What a kernel needs beside its operands.
pub struct Context<'a> {
    /// Where its tasks run.
    pub pool: &'a dyn Parallel,
    /// Where it says that it ran.
    pub counters: &'a Counters,
    /// Its working memory.
    pub scratch: &'a mut Scratch,
}

impl Context<'_> {
    /// Calls `work` with counters and working memory of its own; gives its result, and what was counted.
    pub fn fresh<T>(pool: &dyn Parallel, work: impl FnOnce(&mut Context<'_>) -> T) -> (T, Counters) {
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let done = work(&mut Context { pool, counters: &counters, scratch: &mut scratch });
        (done, counters)
    }
}

/// A device does not carry out a spec; the caller gives it to the host device.
#[derive(Debug, thiserror::Error)]
#[error("the {device} device does not take this {operator}: {reason}")]
pub struct Unsupported {
    /// The device that was asked.
    pub device: DeviceKind,
    /// `linear`, `attention`, `convolution`.
    pub operator: &'static str,
    /// What it lacks.
    pub reason: String,
}

/// A device did not carry out a kernel that it had taken. The results are unspecified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operator} failed on the {device} device: {reason}")]
pub struct Failed {
    /// The device.
    pub device: DeviceKind,
    /// `linear`, `attention`, `convolution`.
    pub operator: &'static str,
    /// Why, in the device's own words.
    pub reason: String,
}
