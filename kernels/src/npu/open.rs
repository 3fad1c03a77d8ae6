//! An NPU that is open: the device, which kernels have their place on it, and what fell back to the host device.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use undertone_boundary::npu::{FallbackReport, NpuReport};

use super::{NpuDevice, Settings, cost::Machine, placement::Placement, rates::Rates};
use crate::{DeviceKind, Failed};

/// Failures one after another after which a device is left alone: each may have cost a timeout.
const MOST_FAILURES: u64 = 3;

/// An NPU that is open, for all sessions of a process.
pub struct OpenNpu {
    device: Arc<dyn NpuDevice>,
    settings: Settings,
    placement: Placement,
    fallbacks: Mutex<FallbackReport>,
    failures_in_a_row: AtomicU64,
}

impl OpenNpu {
    /// A device that was opened with these settings, beside a host of these rates.
    pub fn new(device: Arc<dyn NpuDevice>, settings: Settings, rates: Rates) -> Self {
        let machine = Machine::measured(device.target(), settings.core_costs.as_ref());
        let placement = Placement::on(machine, rates);
        Self { device, settings, placement, fallbacks: Mutex::default(), failures_in_a_row: AtomicU64::new(0) }
    }

    /// What decides which kernels have their place on it.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The device.
    pub fn device(&self) -> &dyn NpuDevice {
        &*self.device
    }

    /// What it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it is to be left alone.
    pub fn is_given_up(&self) -> bool {
        self.failures_in_a_row.load(Ordering::Relaxed) >= MOST_FAILURES
    }

    /// What the host device computed in its place.
    pub fn fallbacks(&self) -> FallbackReport {
        self.counts().clone()
    }

    /// What it did, and what the host device did in its place.
    pub fn report(&self) -> NpuReport {
        NpuReport {
            sim: (self.device.kind() == DeviceKind::Sim).then(|| self.settings.mode.to_string()),
            fallbacks: self.fallbacks(),
            rates: Some((*self.placement.rates()).into()),
            ..self.device.statistics()
        }
    }

    /// A kernel ran to its end.
    pub(super) fn succeeded(&self) {
        // Read first: nearly always there is nothing to write, and threads share the line.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// The host device takes a call over, because of `failure` or because of those before it.
    pub(super) fn fell_back(&self, failure: Option<&Failed>) {
        self.failures_in_a_row.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
        let mut fallbacks = self.counts();
        fallbacks.calls += 1;
        if fallbacks.reason.is_none() {
            fallbacks.reason = failure.map(Failed::to_string);
        }
    }

    /// A list of kernels failed; they are tried one by one.
    pub(super) fn retried(&self, failure: &Failed) {
        let mut fallbacks = self.counts();
        fallbacks.retried += 1;
        fallbacks.reason.get_or_insert_with(|| failure.to_string());
    }

    /// The host device prepares a kernel that this one does not take.
    pub(super) fn refused(&self, reason: String) {
        let mut fallbacks = self.counts();
        fallbacks.refused += 1;
        fallbacks.reason.get_or_insert(reason);
    }

    /// Whatever panicked elsewhere left the counts whole.
    fn counts(&self) -> MutexGuard<'_, FallbackReport> {
        self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
