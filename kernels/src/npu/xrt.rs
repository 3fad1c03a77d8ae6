//! A real NPU, through XRT: hardware contexts with the bundles' designs, buffers that the array's DMA reaches,
//! instruction streams in run lists. Every wait has a limit.
//!
//! XRT is loaded when the array is opened; a failed command is an error with XRT's own words. After a time limit has
//! passed a context takes no more commands, for the old ones may still be executing; closing it makes the driver end
//! them.

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use xrt_sys::{Context, Device, Library, Live, Memory, Run};

use super::{
    array::{Array, ArrayError, Buffer, Job, OpenTrial, RunReport},
    bundle::{BundleError, Bundles, TrialBundle},
    design::{Argument, Design},
    device::Commands,
    probe::{Finding, Probe},
    target::Target,
    trial::Trial,
    unavailable::Unavailable,
};
use crate::{DeviceKind, Parallel};

/// How long a list of commands may take. The driver itself resets an NPU on which no submission is completed for 2 to 4 s
/// (`tdr_timeout_ms`), and a list of ours is predicted to stay under 1 s (`cost::tests`): this limit is for a driver
/// that does not.
const LIMIT: Duration = Duration::from_secs(10);

/// No context was executed yet.
const NONE: u64 = u64::MAX;

/// This machine's NPU.
pub struct XrtArray {
    library: Library,
    device: Device,
    target: Target,
    bundles: Bundles,
    limit: Duration,
    commands: Commands,
    /// Contexts that were ever made, so that each has a number.
    made: AtomicU64,
    /// The context that was executed last.
    loaded: AtomicU64,
}

/// A hardware context with a bundle's design, or with a trial array.
pub struct XrtContext {
    number: u64,
    design: Option<Design>,
    queue: Mutex<Queue>,
}

/// What executes: one list at a time.
struct Queue {
    // Before the context that they belong to.
    idle: Vec<Run>,
    context: Context,
}

/// Memory that the array reaches.
pub struct XrtBuffer(xrt_sys::Buffer);

/// An instruction stream, where the array reaches it.
pub struct XrtProgram {
    buffer: xrt_sys::Buffer,
    words: u32,
}

/// Loads XRT and the library that binds it: where that lies, and the XRT that it was built against.
///
/// # Errors
/// In words: what is missing and what to do.
pub fn loaded() -> Result<String, String> {
    let library = Library::load().map_err(|error| error.to_string())?;
    Ok(format!("{}, built against XRT {}", library.path().display(), library.built_against()))
}

impl XrtArray {
    /// Loads XRT and opens the first NPU that there are designs for.
    ///
    /// # Errors
    /// [`Unavailable`]: XRT does not load or shows no NPU (with what `probe` found in the machine), or there are no
    /// bundles for it.
    pub fn open(bundle_dir: Option<&Path>, mut probe: Probe) -> Result<Self, Unavailable> {
        let library = match Library::load() {
            Ok(library) => library,
            Err(error) => {
                // What is wrong below is the first cause: XRT without a device is of no use, and where there is none,
                // nobody is sent to install it.
                if !probe.npus.is_empty() {
                    probe.findings.push(Finding::Library(error.to_string()));
                }
                return Err(Unavailable::Machine(probe));
            }
        };
        let refuse = |words: String| Unavailable::Xrt { words, probe: probe.clone() };
        let count = library.device_count().map_err(|error| refuse(error.to_string()))?;
        // What opening says is the better answer than a count of 0.
        let mut other = None;
        for index in 0..count.max(1) {
            let device = library.open(index).map_err(|error| refuse(error.to_string()))?;
            let target = target_of(&device, &probe).map_err(|error| refuse(error.to_string()))?;
            if let Some(target) = target {
                return Self::with_device(library, device, target, bundle_dir);
            }
            other = device.name().ok();
        }
        let name = other.unwrap_or_default();
        let words = Target::ALL.map(|target| target.to_string());
        Err(refuse(format!("XRT shows \"{name}\", for which there are no designs (known: {})", words.join(", "))))
    }

    fn with_device(
        library: Library,
        device: Device,
        target: Target,
        bundle_dir: Option<&Path>,
    ) -> Result<Self, Unavailable> {
        let bundles = Bundles::open(bundle_dir.ok_or(Unavailable::NoBundles)?)?;
        if !bundles.list().iter().any(|bundle| bundle.design().target == target) {
            let other = bundles.list().iter().map(|bundle| bundle.design().target.to_string());
            let broken = bundles.broken().iter().map(BundleError::to_string);
            let mut have: Vec<String> = other.chain(broken).collect();
            have.dedup();
            let have =
                if have.is_empty() { "it holds none at all".into() } else { format!("it holds {}", have.join("; ")) };
            return Err(Unavailable::OtherBundles { folder: bundles.folder().to_path_buf(), target, have });
        }
        let (made, loaded) = (AtomicU64::new(0), AtomicU64::new(NONE));
        let (limit, commands) = (LIMIT, Commands::default());
        Ok(Self { library, device, target, bundles, limit, commands, made, loaded })
    }

    /// With another time limit for each list of commands, or each that is started by itself.
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// With commands given so.
    pub fn with_commands(self, commands: Commands) -> Self {
        Self { commands, ..self }
    }

    /// Devices, contexts, buffers and runs of this process that exist now.
    pub fn live(&self) -> Live {
        self.library.live()
    }
}

/// Which silicon a device is: by its place on the bus, else by XRT's name for it.
fn target_of(device: &Device, probe: &Probe) -> Result<Option<Target>, xrt_sys::Error> {
    let address = device.address()?;
    let found = probe.npus.iter().find(|npu| npu.address == address).and_then(|npu| npu.target);
    Ok(found.or(named(&device.name()?)))
}

/// Which silicon XRT's name of a device means.
fn named(name: &str) -> Option<Target> {
    let name = name.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| name.contains(word));
    // "npu1" at the end: there is an npu10, too.
    if any(&["phoenix", "hawk"]) || name.ends_with("npu1") {
        Some(Target::Npu1)
    } else if any(&["strix", "krackan", "npu4", "npu5", "npu6"]) {
        Some(Target::Npu4)
    } else {
        None
    }
}

/// An error of XRT as one of an array.
fn array_error(error: xrt_sys::Error) -> ArrayError {
    let reason = error.to_string();
    match error {
        xrt_sys::Error::Timeout { limit, .. } => {
            let reset = "and the driver, which resets an NPU without progress after 2 s (tdr_timeout_ms), did not";
            ArrayError::Timeout { limit, reason: format!("{reason}; {reset}") }
        }
        xrt_sys::Error::Command { state: xrt_sys::CommandState::TIMEOUT, .. } => ArrayError::Failed(format!(
            "{reason}; the driver reset the NPU, on which nothing was completed for 2 s or more (its tdr_timeout_ms): \
             dmesg says what amdxdna found"
        )),
        xrt_sys::Error::Command { .. } => ArrayError::Failed(reason),
        _ => ArrayError::Lost(reason),
    }
}

/// The same where memory was asked for.
fn memory_error(bytes: usize) -> impl Fn(xrt_sys::Error) -> ArrayError {
    move |error| match error.is_out_of_memory() {
        true => ArrayError::Memory { bytes, reason: error.to_string() },
        false => array_error(error),
    }
}

impl Array for XrtArray {
    type Context = XrtContext;
    type Buffer = XrtBuffer;
    type Program = XrtProgram;

    fn kind(&self) -> DeviceKind {
        DeviceKind::Npu
    }

    fn target(&self) -> Target {
        self.target
    }

    fn open(&self, design: &Design) -> Result<XrtContext, ArrayError> {
        let no_bundle =
            |error: BundleError| ArrayError::NoBundle { what: design.to_string(), reason: error.to_string() };
        let bundle = self.bundles.find(design).map_err(no_bundle)?;
        let xclbin = bundle.xclbin().map_err(no_bundle)?;
        self.context(&xclbin, Some(bundle.design().clone()))
    }

    fn compiled<'a>(&self, context: &'a XrtContext) -> Option<&'a Design> {
        context.design.as_ref()
    }

    fn open_trial(&self, trial: &Trial) -> Result<OpenTrial<XrtContext>, ArrayError> {
        let bundle = TrialBundle::find(self.bundles.folder(), trial)
            .map_err(|error| ArrayError::NoBundle { what: trial.to_string(), reason: error.to_string() })?;
        Ok(OpenTrial { context: self.context(&bundle.xclbin, None)?, trial: bundle.trial, made: bundle.made })
    }

    fn buffer(&self, context: &XrtContext, argument: Argument, bytes: usize) -> Result<XrtBuffer, ArrayError> {
        let index = match argument {
            Argument::A => 0,
            Argument::B => 1,
            Argument::C => 2,
        };
        let buffer = context.queue().context.buffer(Memory::Argument(index), bytes).map_err(memory_error(bytes))?;
        Ok(XrtBuffer(buffer))
    }

    fn program(&self, context: &XrtContext, words: &[u32]) -> Result<XrtProgram, ArrayError> {
        let count = u32::try_from(words.len()).ok().filter(|&count| count > 0);
        let count = count.ok_or_else(|| ArrayError::Refused(format!("a stream of {} words", words.len())))?;
        let bytes = size_of_val(words);
        let mut buffer = context.queue().context.buffer(Memory::Instructions, bytes).map_err(memory_error(bytes))?;
        for (place, word) in buffer.bytes_mut().chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        buffer.sync_to_device().map_err(array_error)?;
        Ok(XrtProgram { buffer, words: count })
    }

    fn commands(&self) -> Commands {
        self.commands
    }

    fn run_by(
        &self,
        commands: Commands,
        context: &XrtContext,
        jobs: &mut [Job<'_, Self>],
        _pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError> {
        let start = Instant::now();
        for job in jobs.iter() {
            job.a.0.sync_to_device().map_err(array_error)?;
        }
        let asked = Instant::now();
        let mut queue = context.queue();
        let waited = asked.elapsed();
        while queue.idle.len() < jobs.len() {
            let run = queue.context.run().map_err(memory_error(0))?;
            queue.idle.push(run);
        }
        let Queue { idle, context: hardware } = &mut *queue;
        let mut runs: Vec<&mut Run> = idle.iter_mut().take(jobs.len()).collect();
        for (run, job) in runs.iter_mut().zip(jobs.iter()) {
            run.set(&job.program.buffer, job.program.words, [&job.a.0, &job.b.0, &job.c.0]).map_err(array_error)?;
        }
        match commands {
            Commands::Lists => hardware.execute(&mut runs, self.limit).map_err(array_error)?,
            Commands::Single => {
                for run in runs {
                    hardware.execute_alone(run, self.limit).map_err(array_error)?;
                }
            }
        }
        // Still under the lock: lists of two contexts end in the order in which they are counted.
        let before = self.loaded.swap(context.number, Ordering::Relaxed);
        drop(queue);
        for job in jobs.iter_mut() {
            job.c.0.sync_from_device().map_err(array_error)?;
        }
        let context_switches = u64::from(before != NONE && before != context.number);
        let dispatches = commands.dispatches(jobs.len());
        Ok(RunReport { dispatches, context_switches, wall: start.elapsed(), waited, ..RunReport::default() })
    }
}

impl XrtArray {
    /// A hardware context with a container.
    fn context(&self, xclbin: &[u8], design: Option<Design>) -> Result<XrtContext, ArrayError> {
        let context = self.device.context(xclbin).map_err(|error| self.open_error(error))?;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Ok(XrtContext { number, design, queue: Mutex::new(Queue { idle: Vec::new(), context }) })
    }

    /// A context that did not open: because there are no more of them, where that is what the driver refuses.
    fn open_error(&self, error: xrt_sys::Error) -> ArrayError {
        let reason = error.to_string();
        match self.target.contexts() {
            Some(limit) if reason.contains("CREATE_HWCTX") && !error.is_lost_device() && !error.is_out_of_memory() => {
                ArrayError::Contexts { target: self.target, limit, reason }
            }
            _ => memory_error(0)(error),
        }
    }
}

impl XrtContext {
    /// Whoever panicked with the lock left the list between two commands.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer for XrtBuffer {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }

    fn flush(&mut self) -> Result<(), ArrayError> {
        self.0.sync_to_device().map_err(array_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        for (name, target) in [
            ("NPU Phoenix", Some(Target::Npu1)),
            ("RyzenAI-npu1", Some(Target::Npu1)),
            ("NPU Strix", Some(Target::Npu4)),
            ("NPU Strix Halo", Some(Target::Npu4)),
            ("RyzenAI-npu6", Some(Target::Npu4)),
            ("RyzenAI-npu10", None),
            ("xilinx_u250", None),
            ("", None),
        ] {
            assert_eq!(named(name), target, "{name}");
        }
        for target in Target::ALL {
            assert_eq!(named(&format!("RyzenAI-{target}")), Some(target), "`named` does not know {target}");
        }
    }

    #[test]
    fn errors_keep_xrts_words() {
        let words = || "DRM_IOCTL_AMDXDNA_EXEC_CMD IOCTL failed".to_owned();
        let lost = array_error(xrt_sys::Error::Xrt { doing: "executing", code: Some(19), words: words() });
        assert!(matches!(&lost, ArrayError::Lost(said) if said.contains(&words())));
        let failed = xrt_sys::Error::Command { state: xrt_sys::CommandState(6), words: words() };
        assert!(matches!(array_error(failed), ArrayError::Failed(said) if said.contains("ERT_CMD_STATE_ABORT")));
        let full = xrt_sys::Error::Xrt { doing: "taking memory", code: Some(12), words: words() };
        assert!(matches!(memory_error(7)(full), ArrayError::Memory { bytes: 7, .. }));
        let late = xrt_sys::Error::Timeout { limit: LIMIT, words: words() };
        let late = array_error(late);
        assert!(matches!(&late, ArrayError::Timeout { limit: LIMIT, reason } if reason.contains(&words())));
        assert!(late.to_string().contains("tdr_timeout_ms"), "{late}");
        let reset = xrt_sys::Error::Command { state: xrt_sys::CommandState::TIMEOUT, words: words() };
        let reset = array_error(reset).to_string();
        assert!(reset.contains("ERT_CMD_STATE_TIMEOUT") && reset.contains("the driver reset the NPU"), "{reset}");
    }
}
