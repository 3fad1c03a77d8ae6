//! The NPUs that sessions compute on, simulated or real: opened once for the process.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};

use undertone_boundary::{npu::Statistics, profile::NpuTime};
use undertone_kernels::{
    DeviceKind,
    npu::{OpenNpu, Rates, hardware, simulator},
};

use crate::options::{DeviceChoice, Options, OptionsError};

/// The process's NPUs; sessions keep them open.
static OPEN: Mutex<Vec<Weak<OpenNpu>>> = Mutex::new(Vec::new());
static NOT_OPENED: Mutex<Option<String>> = Mutex::new(None);

/// Whatever panicked elsewhere left the contents whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The NPU that the options ask for; `None` for the host device. With `auto`, an NPU that does not open leaves the host
/// device in its place, in the options too, and what it said is told to whoever asks ([`statistics`]).
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
    let same = |npu: &Arc<OpenNpu>| npu.device().kind() == options.device && *npu.settings() == settings;
    if let Some(npu) = open.iter().filter_map(Weak::upgrade).find(same) {
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
    let npu = Arc::new(OpenNpu::new(device, settings, Rates::measured(threads)));
    open.retain(|npu| npu.strong_count() > 0);
    open.push(Arc::downgrade(&npu));
    Ok(npu)
}

/// All NPUs that are open, and what they did.
pub fn statistics() -> Statistics {
    let open: Vec<Arc<OpenNpu>> = lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    let devices = open.iter().map(|npu| npu.report());
    Statistics { devices: devices.collect(), not_opened: lock(&NOT_OPENED).clone() }
}

/// What the NPUs that are open have taken so far, together.
pub fn time() -> NpuTime {
    let open: Vec<Arc<OpenNpu>> = lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    let mut sum = NpuTime::default();
    for operator in open.iter().flat_map(|npu| npu.device().statistics().operators.into_values()) {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        sum.predicted += nanoseconds(operator.predicted_seconds);
        sum.commands += nanoseconds(operator.wall_seconds);
        sum.packing += nanoseconds(operator.packing_seconds);
    }
    sum
}
