//! The NPUs that sessions compute on, simulated or real: opened once for the process, with what they did and what fell back to the
//! host device.

use std::{
    num::NonZero,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use undertone_boundary::npu::{FallbackReport, NpuReport, Statistics};
use undertone_kernels::{
    DeviceKind, Failed,
    npu::{NpuDevice, Settings, device::simulator, hardware, placement::Placement, rates::Rates},
};

use crate::options::{DeviceChoice, Options, OptionsError};

/// Failures one after another after which a device is left alone: each may have cost a timeout.
const MOST_FAILURES: u64 = 3;

/// An NPU that is open.
pub struct OpenNpu {
    device: Arc<dyn NpuDevice>,
    kind: DeviceKind,
    settings: Settings,
    placement: Placement,
    fallbacks: Mutex<FallbackReport>,
    failures_in_a_row: AtomicU64,
}

/// The process's NPUs; sessions keep them open.
static OPEN: Mutex<Vec<Weak<OpenNpu>>> = Mutex::new(Vec::new());
static NOT_OPENED: Mutex<Option<String>> = Mutex::new(None);

/// Whatever panicked elsewhere left the contents whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The NPU that the options ask for; `None` for the host device. With `auto`, an NPU that does not open leaves the host device in
/// its place, in the options too, and what it said is told to whoever asks ([`statistics`]).
///
/// # Errors
/// `device=npu`, and it does not open.
pub fn open(options: &mut Options) -> Result<Option<Arc<OpenNpu>>, OptionsError> {
    if options.device == DeviceKind::Host {
        return Ok(None);
    }
    match open_named(options) {
        Ok(npu) => Ok(Some(npu)),
        Err(reason) if options.asked == DeviceChoice::Auto => {
            *lock(&NOT_OPENED) = Some(reason);
            options.device = DeviceKind::Host;
            Ok(None)
        }
        Err(reason) => Err(OptionsError::NoNpu { reason }),
    }
}

fn open_named(options: &Options) -> Result<Arc<OpenNpu>, String> {
    let settings = options.npu_settings();
    let mut open = lock(&OPEN);
    let known =
        open.iter().filter_map(Weak::upgrade).find(|npu| npu.kind == options.device && npu.settings == settings);
    if let Some(npu) = known {
        return Ok(npu);
    }
    let device = match options.device {
        DeviceKind::Npu => hardware(&settings).map_err(|error| error.to_string())?,
        DeviceKind::Sim | DeviceKind::Host => simulator(&settings),
    };
    if let Some(wanted) = options.target.filter(|wanted| *wanted != device.target()) {
        return Err(format!("this machine's is {}, not {wanted}: leave the option target out", device.target()));
    }
    let threads = options.threads.or_else(|| thread::available_parallelism().ok().map(NonZero::get)).unwrap_or(1);
    let npu = Arc::new(OpenNpu::new(device, settings).beside(Rates::measured(threads)));
    open.retain(|npu| npu.strong_count() > 0);
    open.push(Arc::downgrade(&npu));
    Ok(npu)
}

/// All NPUs that are open, and what they did.
pub fn statistics() -> Statistics {
    let open: Vec<Arc<OpenNpu>> = lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    let devices = open.iter().map(|npu| NpuReport {
        sim: (npu.kind == DeviceKind::Sim).then(|| npu.settings.mode.to_string()),
        fallbacks: npu.fallbacks(),
        rates: Some((*npu.placement.rates()).into()),
        ..npu.device.statistics()
    });
    Statistics { devices: devices.collect(), not_opened: lock(&NOT_OPENED).clone() }
}

impl OpenNpu {
    /// A device that was opened with these settings, beside a host that is as fast as is assumed.
    pub fn new(device: Arc<dyn NpuDevice>, settings: Settings) -> Self {
        let (kind, placement) = (device.kind(), Placement::new(device.target(), Rates::ASSUMED));
        Self { device, kind, settings, placement, fallbacks: Mutex::default(), failures_in_a_row: AtomicU64::new(0) }
    }

    /// The same, beside a host of these rates.
    pub fn beside(self, rates: Rates) -> Self {
        Self { placement: Placement::new(self.device.target(), rates), ..self }
    }

    /// What decides which kernels have their place on it.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The device.
    pub fn device(&self) -> &dyn NpuDevice {
        &*self.device
    }

    /// What makes its packed weights differ from another device's, in words.
    pub fn form(&self) -> String {
        format!("{} {:?}", self.kind, self.settings)
    }

    /// Whether it is to be left alone.
    pub fn is_given_up(&self) -> bool {
        self.failures_in_a_row.load(Ordering::Relaxed) >= MOST_FAILURES
    }

    /// A kernel ran to its end.
    pub fn succeeded(&self) {
        // Read first: nearly always there is nothing to write, and threads share the line.
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    /// The host device takes a call over, because of `failure` or because of those before it.
    pub fn fell_back(&self, failure: Option<&Failed>) {
        self.failures_in_a_row.fetch_add(u64::from(failure.is_some()), Ordering::Relaxed);
        let mut fallbacks = lock(&self.fallbacks);
        fallbacks.calls += 1;
        if fallbacks.reason.is_none() {
            fallbacks.reason = failure.map(Failed::to_string);
        }
    }

    /// A list of kernels failed; they are tried one by one.
    pub fn retried(&self, failure: &Failed) {
        let mut fallbacks = lock(&self.fallbacks);
        fallbacks.retried += 1;
        fallbacks.reason.get_or_insert_with(|| failure.to_string());
    }

    /// The host device prepares a kernel that this one does not take.
    pub fn refused(&self, reason: String) {
        let mut fallbacks = lock(&self.fallbacks);
        fallbacks.refused += 1;
        fallbacks.reason.get_or_insert(reason);
    }

    /// What the host device computed in its place.
    pub fn fallbacks(&self) -> FallbackReport {
        lock(&self.fallbacks).clone()
    }
}
