//! ONNX Runtime and the execution provider: loaded once for the process, and sessions made for the device asked for.
//! Knows nothing of Whisper; `decoder` runs the sessions.

use crate::any_graph::Opening;
use crate::ep_library::EpLibrary;
use crate::native::{assigned_nodes, ort_version, return_freed_memory};
use crate::npu::{NpuReport, report_on};
use crate::options::{Claim, Device, EngineOptions, Target};
use crate::packed::Place;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::memory::DeviceType;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use undertone_boundary::bundles::Contents;
use undertone_boundary::counters::Counter;
use undertone_boundary::description::Description;
use undertone_boundary::options::{self, DeviceKind, Key};
use undertone_boundary::partition::{MUCH_LEFT, share_left};
use undertone_boundary::profile::Profile;

pub use crate::engine_error::EngineError;
pub use undertone_boundary::EP_NAME;

pub(crate) const CPU_EP_NAME: &str = "CPUExecutionProvider";
const REGISTRATION: &str = "undertone";
/// The oldest ONNX Runtime whose interface the runner speaks.
const OLDEST_MINOR: u32 = 24;

/// A device that a registered execution provider offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpDevice {
    /// The provider's name.
    pub ep: String,
    /// The provider's maker.
    pub ep_vendor: String,
    /// `CPU`, `GPU` or `NPU`.
    pub hardware: String,
    /// The hardware's maker.
    pub hardware_vendor: String,
}

/// A graph that ONNX Runtime has opened.
#[derive(Debug)]
pub struct OpenGraph {
    /// The session.
    pub session: Session,
    /// The file.
    pub path: PathBuf,
    /// Nodes assigned to ONNX Runtime's CPU provider.
    pub cpu_nodes: usize,
    /// Nodes assigned to the execution provider.
    pub ep_nodes: usize,
    /// The fused nodes that these became.
    pub ep_parts: usize,
}

/// Counts that the execution provider made in the executing code, since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpCounts {
    /// Fused nodes executed.
    pub fused_nodes_executed: u64,
    /// Kernel calls by device; only devices with calls.
    pub kernel_calls: BTreeMap<String, u64>,
}

impl EpCounts {
    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let kernel_calls = self.kernel_calls.iter().filter_map(|(device, &calls)| {
            let new = calls - earlier.kernel_calls.get(device).copied().unwrap_or(0).min(calls);
            (new > 0).then(|| (device.clone(), new))
        });
        Self {
            fused_nodes_executed: self.fused_nodes_executed.saturating_sub(earlier.fused_nodes_executed),
            kernel_calls: kernel_calls.collect(),
        }
    }
}

struct Loaded {
    environment: Environment,
    /// The thread pool that all sessions share unless they ask for another.
    pool: ThreadPool,
    library: PathBuf,
    version: String,
    ep: Option<(PathBuf, Arc<EpLibrary>)>,
}

/// What a session asks of a thread pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ThreadPool {
    threads: Option<usize>,
    spinning: bool,
}

impl ThreadPool {
    fn of(options: &EngineOptions) -> Self {
        Self { threads: options.threads, spinning: options.spinning }
    }
}

/// ONNX Runtime allows one environment in a process and an execution provider to be registered once.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// ONNX Runtime with the execution provider, ready to open graphs for one device.
///
/// ```no_run
/// use undertone_runner::{Device, Engine, EngineOptions};
///
/// let mut options = EngineOptions::new("/usr/lib/libonnxruntime.so");
/// options.ep_library = Some("/usr/lib/libonnxruntime_ep_xdna.so".into());
/// options.device = Device::Host;
/// let engine = Engine::new(&options)?;
/// let encoder = engine.open("models/reference/encoder_model.onnx".as_ref())?;
/// println!("ONNX Runtime {}: {} nodes on the CPU provider", engine.ort_version(), encoder.cpu_nodes);
/// # Ok::<(), undertone_runner::EngineError>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    environment: Environment,
    pool: ThreadPool,
    version: String,
    options: EngineOptions,
    ep: Option<(PathBuf, Arc<EpLibrary>)>,
    /// Graphs of whose products much is left to ONNX Runtime, and the part.
    left: Arc<Mutex<Vec<(PathBuf, f64)>>>,
}

impl Engine {
    /// Loads ONNX Runtime and, unless the device is `cpu`, the execution provider. A process keeps the libraries that
    /// it loaded first.
    ///
    /// # Errors
    /// [`EngineError`]: which library is missing, too old, or not for this machine.
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let library = absolute(&options.ort_library);
        let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(load_ort(&library, ThreadPool::of(options))?);
        }
        let Some(loaded) = slot.as_mut() else {
            return Err(EngineError::NoOrt(library)); // not reached: it was filled above
        };
        if loaded.library != library {
            return Err(EngineError::Another { what: "ONNX Runtime", loaded: loaded.library.clone(), wanted: library });
        }
        let ep = if options.device == Device::Cpu {
            None
        } else {
            let path = absolute(options.ep_library.as_ref().ok_or(EngineError::NoEpPath(options.device))?);
            if loaded.ep.is_none() {
                loaded.ep = Some((path.clone(), Arc::new(register(&loaded.environment, &path)?)));
            }
            match &loaded.ep {
                Some((first, _)) if *first != path => {
                    let what = "the execution provider";
                    return Err(EngineError::Another { what, loaded: first.clone(), wanted: path });
                }
                other => other.clone(),
            }
        };
        let (environment, version) = (loaded.environment.clone(), loaded.version.clone());
        Ok(Self { environment, pool: loaded.pool, version, options: options.clone(), ep, left: Arc::default() })
    }

    /// ONNX Runtime's version, for example `1.32.0`.
    pub fn ort_version(&self) -> &str {
        &self.version
    }

    /// The execution provider's library, unless the device is `cpu`.
    pub(crate) fn ep_library(&self) -> Option<&Path> {
        self.ep.as_ref().map(|(path, _)| path.as_path())
    }

    /// The options that this engine was made with.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The devices that the registered execution providers offer, ONNX Runtime's own CPU provider among them.
    pub fn devices(&self) -> Vec<EpDevice> {
        let text = |r: Result<&str, ort::Error>| r.unwrap_or_default().to_owned();
        self.environment
            .devices()
            .map(|device| EpDevice {
                ep: text(device.ep()),
                ep_vendor: text(device.ep_vendor()),
                hardware: format!("{:?}", device.hardware_device().ty()),
                hardware_vendor: text(device.hardware_device().vendor()),
            })
            .collect()
    }

    /// The execution provider's counts until now; nothing on device `cpu`.
    pub fn counts(&self) -> EpCounts {
        let Some((_, library)) = &self.ep else { return EpCounts::default() };
        let calls = DeviceKind::ALL
            .into_iter()
            .filter_map(|device| Some((device.to_string(), library.counter(Counter::kernel_calls(device))?)))
            .filter(|&(_, calls)| calls > 0);
        EpCounts {
            fused_nodes_executed: library.counter(Counter::FusedNodesExecuted).unwrap_or(0),
            kernel_calls: calls.collect(),
        }
    }

    /// What the NPU that this engine computes on, simulated or real, has done until now; `None` where there is none.
    pub fn npu(&self) -> Option<NpuReport> {
        let (_, library) = self.ep.as_ref()?;
        let target = self.options.target.map(Target::word);
        report_on(&library.npu()?, self.options.device, target, self.options.simulation)
    }

    /// With `true`, lets the execution provider note from now on how long every step of every run of this process
    /// takes. With `false`, ends that, and gives what was noted; `None` where there is no provider, or none that notes.
    pub fn profile(&self, on: bool) -> Option<Profile> {
        self.ep.as_ref()?.1.profile(on)
    }

    /// Opens a graph for this engine's device and asks ONNX Runtime which provider got how many of its nodes.
    ///
    /// # Errors
    /// [`EngineError::Graph`] with ONNX Runtime's and the execution provider's words; [`EngineError::NoDevice`].
    pub fn open(&self, graph: &Path) -> Result<OpenGraph, EngineError> {
        let device = self.options.device;
        let refused = |e: &ort::Error| EngineError::Graph { graph: graph.to_owned(), device, reason: words(e) };
        let session = match self.packed(graph) {
            Some(session) => session,
            None => {
                let before = self.work();
                let session = self.session(graph, &[])?;
                self.note_left(graph, before);
                session
            }
        };
        let assigned = assigned_nodes(&session).map_err(|e| refused(&e))?;
        let of = |name: &str| assigned.iter().find(|assigned| assigned.provider == name);
        let nodes = |name: &str| of(name).map_or(0, |assigned| assigned.nodes);
        let (cpu_nodes, ep_nodes, ep_parts) =
            (nodes(CPU_EP_NAME), nodes(EP_NAME), of(EP_NAME).map_or(0, |assigned| assigned.parts));
        Ok(OpenGraph { session, path: graph.to_owned(), cpu_nodes, ep_nodes, ep_parts })
    }

    /// The packed form of a graph, where packed models are wanted and can be had.
    fn packed(&self, graph: &Path) -> Option<Session> {
        let (root, (_, library)) = (self.options.packed.as_ref()?, self.ep.as_ref()?);
        if self.options.report.is_some() {
            return None;
        }
        let description = library.description().ok()?;
        let device = match self.options.device {
            // Two words for the same device share what is packed.
            Device::Auto => description.auto.clone(),
            named => named.to_string(),
        };
        if device != Device::Host.word() {
            tracing::info!("not packed: '{}': packed models are of the host device's weights", graph.display());
            return None;
        }
        let words = format!("{device}-{}-{}", self.options.precision, self.options.claim);
        let everything = (description, &self.version, &words);
        let place = Place::new(root, graph, &words, &everything)
            .inspect_err(|error| tracing::info!("not packed: '{}': {error}", graph.display()))
            .ok()?;
        let pack = |path: &Path| {
            let path = path.to_str().ok_or_else(|| EngineError::Ort {
                what: "pack a graph",
                reason: format!("'{}' is not Unicode", path.display()),
            })?;
            // The session has done its work when it is made.
            let done = self.session(graph, &[("ep.context_enable", "1"), ("ep.context_file_path", path)]).map(drop);
            return_freed_memory();
            done
        };
        let open = |path: &Path| {
            let before = self.work();
            let session = self.session(path, &[])?;
            self.note_left(graph, before);
            Ok(session)
        };
        place.open(open, pack)
    }

    /// Work of products that the execution provider has claimed and left until now.
    fn work(&self) -> [u64; 2] {
        let count = |counter| self.ep.as_ref().and_then(|(_, library)| library.counter(counter)).unwrap_or(0);
        [Counter::KiloflopClaimed, Counter::KiloflopLeft].map(count)
    }

    /// Notes what was left of a graph since `before`, if it is much and nobody asked for a part alone.
    fn note_left(&self, graph: &Path, before: [u64; 2]) {
        let after = self.work();
        let since = |at: usize| after[at].saturating_sub(before[at]) as f64;
        let share = share_left(since(0), since(1));
        if self.options.claim == Claim::All && share > MUCH_LEFT {
            self.left.lock().unwrap_or_else(PoisonError::into_inner).push((graph.to_owned(), share));
        }
    }

    /// A sentence on the graphs opened until now of whose products more than a twentieth is computed by ONNX Runtime's
    /// CPU provider; `None` where there is none.
    pub fn left(&self) -> Option<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let parts: Vec<String> =
            left.iter().map(|(path, share)| format!("{:.0} % of '{}'", 100.0 * share, name(path))).collect();
        (!parts.is_empty()).then(|| {
            format!(
                "ONNX Runtime's CPU provider computes a part of this model's products, {}: 'undertone partition' says which \
                 and why",
                parts.join(" and ")
            )
        })
    }

    /// Opens a small model that is in memory on ONNX Runtime's CPU provider, whatever this engine's device is, and for
    /// the thread that runs it alone. `name` is what errors call it.
    pub(crate) fn open_on_cpu(&self, name: &Path, model: &[u8]) -> Result<Session, EngineError> {
        let refused =
            |e: ort::Error| EngineError::Graph { graph: name.to_owned(), device: Device::Cpu, reason: words(&e) };
        let cpu = self.environment.devices().filter(|d| d.ep().is_ok_and(|ep| ep == CPU_EP_NAME)).take(1);
        Session::builder(&self.environment)
            .and_then(|b| Ok(b.with_devices(cpu, None)?))
            .and_then(|b| Ok(b.with_independent_thread_pool()?))
            .and_then(|b| Ok(b.with_intra_threads(1)?))
            .and_then(|mut b| b.commit_from_memory(model))
            .map_err(refused)
    }

    fn session(&self, graph: &Path, entries: &[(&str, &str)]) -> Result<Session, EngineError> {
        let device = self.options.device;
        let refused = |e: ort::Error| EngineError::Graph { graph: graph.to_owned(), device, reason: words(&e) };
        let mut builder = self.builder(graph, Some(self.options.claim))?;
        for (key, value) in entries {
            builder = builder.with_config_entry(key, value).map_err(|e| refused(e.into()))?;
        }
        builder.commit_from_file(graph).map_err(refused)
    }

    /// A session of any graph.
    pub(crate) fn session_of_any(&self, graph: &Path, opening: &Opening<'_>) -> Result<Session, EngineError> {
        let device = self.options.device;
        let refused = |e: ort::Error| EngineError::Graph { graph: graph.to_owned(), device, reason: words(&e) };
        let mut builder = self.builder(graph, opening.claim)?;
        if let Some(path) = opening.trace {
            builder = builder.with_profiling(path).map_err(|e| refused(e.into()))?;
        }
        if let Some(path) = opening.optimised {
            builder = builder.with_optimized_model_path(path).map_err(|e| refused(e.into()))?;
        }
        let Some(model) = opening.model else { return builder.commit_from_file(graph).map_err(refused) };
        let beside = builder.with_config_entry(EXTERNAL_CONSTANTS, folder_of(graph)).map_err(|e| refused(e.into()));
        beside?.commit_from_memory(model).map_err(refused)
    }

    /// A session's options: device, provider, threads. `claim` is which nodes the provider asks for.
    fn builder(&self, graph: &Path, claim: Option<Claim>) -> Result<SessionBuilder, EngineError> {
        let device = self.options.device;
        let refused = |e: ort::Error| EngineError::Graph { graph: graph.to_owned(), device, reason: words(&e) };
        // Providers are always named: `ort` sets an automatic policy, which could give `cpu` to a registered provider.
        let name = if self.ep.is_some() { EP_NAME } else { CPU_EP_NAME };
        let all: Vec<_> = self.environment.devices().filter(|d| d.ep().is_ok_and(|ep| ep == name)).collect();
        let of = |kind: DeviceType| all.iter().position(|d| d.hardware_device().ty() == kind);
        let chosen = match device {
            Device::Cpu | Device::Host | Device::Sim => of(DeviceType::CPU),
            Device::Auto | Device::Npu => of(DeviceType::NPU).or_else(|| of(DeviceType::CPU)),
        };
        let Some(index) = chosen else {
            let path = self.ep.as_ref().map_or_else(|| self.options.ort_library.clone(), |(path, _)| path.clone());
            return Err(EngineError::NoDevice { path, device });
        };
        let ep_options = if self.ep.is_some() { self.ep_options(claim) } else { Vec::new() };
        Session::builder(&self.environment)
            .and_then(|b| Ok(b.with_devices(all.into_iter().skip(index).take(1), Some(&ep_options))?))
            .and_then(|b| Ok(b.with_config_entry("session.record_ep_graph_assignment_info", "1")?))
            .and_then(|b| with_pool(b, self.own_pool()))
            .map_err(refused)
    }

    /// The pool of a session; `None` where the process's own will do. It may have one of another kind, from the first
    /// engine.
    fn own_pool(&self) -> Option<ThreadPool> {
        Some(ThreadPool::of(&self.options)).filter(|pool| *pool != self.pool)
    }

    /// For graphs that ONNX Runtime's CPU provider is to carry out.
    pub(crate) fn cpu_sessions(&self) -> CpuSessions {
        CpuSessions { environment: self.environment.clone(), own_pool: self.own_pool() }
    }

    /// `ort` wants each key with the provider's name in front, and drops keys without it.
    fn ep_options(&self, claim: Option<Claim>) -> Vec<(String, String)> {
        let o = &self.options;
        let path = |p: &PathBuf| p.display().to_string();
        [
            (Key::Device, Some(o.device.to_string())),
            (Key::Target, o.target.map(|target| target.to_string())),
            (Key::Sim, (o.device == Device::Sim).then(|| o.simulation.to_string())),
            (Key::Precision, Some(o.precision.to_string())),
            (Key::Claim, claim.map(|claim| claim.to_string())),
            (Key::Threads, o.threads.map(|n| n.to_string())),
            (Key::BundleDir, o.bundle_dir.as_ref().map(path)),
            (Key::NpuCommands, (o.npu_commands != options::Commands::default()).then(|| o.npu_commands.to_string())),
            (Key::CoreCosts, o.core_costs.as_ref().map(path)),
            (Key::Report, o.report.as_ref().map(path)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((format!("{EP_NAME}.{key}"), value?)))
        .collect()
    }
}

/// Sessions of ONNX Runtime's CPU provider for graphs in memory, whatever the engine's own device.
#[derive(Clone)]
pub(crate) struct CpuSessions {
    environment: Environment,
    /// Wanted, where it is not the environment's.
    own_pool: Option<ThreadPool>,
}

impl CpuSessions {
    /// Opens `graph`, made from the one at `path`, beside which its weights lie.
    pub(crate) fn open(&self, graph: &[u8], path: &Path) -> Result<Session, EngineError> {
        let refused =
            |e: ort::Error| EngineError::Graph { graph: path.to_owned(), device: Device::Cpu, reason: words(&e) };
        let cpu = self.environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == CPU_EP_NAME)).take(1);
        let builder = Session::builder(&self.environment)
            .and_then(|b| Ok(b.with_devices(cpu, None)?))
            .and_then(|b| Ok(b.with_config_entry(EXTERNAL_CONSTANTS, folder_of(path))?))
            .map_err(refused)?;
        with_pool(builder, self.own_pool).and_then(|mut b| b.commit_from_memory(graph)).map_err(refused)
    }
}

/// The session's entry for the folder in which constants are looked for that lie outside of a graph in memory.
const EXTERNAL_CONSTANTS: &str = "session.model_external_initializers_file_folder_path";

fn folder_of(path: &Path) -> String {
    path.parent().map_or_else(String::new, |folder| folder.display().to_string())
}

/// Lets a session have a thread pool of its own.
fn with_pool(builder: SessionBuilder, own: Option<ThreadPool>) -> Result<SessionBuilder, ort::Error> {
    let Some(pool) = own else { return Ok(builder) };
    Ok(builder)
        .and_then(|b| Ok(b.with_independent_thread_pool()?))
        .and_then(|b| Ok(b.with_intra_threads(pool.threads.unwrap_or(0))?))
        .and_then(|b| Ok(b.with_intra_op_spinning(pool.spinning)?))
}

/// What the execution provider's library at `path` is, without registering it with ONNX Runtime.
///
/// # Errors
/// [`EngineError::BadEp`]: it does not load, or is another library.
pub fn describe(path: &Path) -> Result<Description, EngineError> {
    let bad = |reason: String| EngineError::BadEp { path: path.to_owned(), reason: one_line(&reason) };
    EpLibrary::open(path).and_then(|library| library.description()).map_err(bad)
}

/// What `folder` holds of compiled NPU kernels that the execution provider's library at `path` can use; nothing if the
/// folder can't be read.
///
/// # Errors
/// [`EngineError::BadEp`]: it does not load, is another library, or one that does not tell.
pub fn bundles(path: &Path, folder: &Path) -> Result<Option<Contents>, EngineError> {
    let bad = |reason: String| EngineError::BadEp { path: path.to_owned(), reason: one_line(&reason) };
    EpLibrary::open(path).and_then(|library| library.bundles(folder)).map_err(bad)
}

/// Absolute, because `ort` looks for relative paths beside the executable.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn load_ort(library: &Path, pool: ThreadPool) -> Result<Loaded, EngineError> {
    if !library.is_file() {
        return Err(EngineError::NoOrt(library.to_owned()));
    }
    let bad = |reason: String| EngineError::BadOrt { path: library.to_owned(), reason: one_line(&reason) };
    let version = ort_version(library).map_err(bad)?;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (1, OLDEST_MINOR) {
        return Err(EngineError::OldOrt { path: library.to_owned(), found: version });
    }
    let builder = ort::init_from(library).map_err(|e| bad(e.to_string()))?;
    // One pool for all sessions: encoder and decoder take turns, and threads of two pools would compete for the same
    // cores.
    let threads = GlobalThreadPoolOptions::default()
        .with_inter_threads(1)
        .and_then(|o| o.with_intra_threads(pool.threads.unwrap_or(0)))
        .and_then(|o| o.with_spin_control(pool.spinning))
        .map_err(|e| bad(e.to_string()))?;
    let environment = builder
        .with_global_thread_pool(threads)
        .with_name("undertone")
        // Comes after the first report of ONNX Runtime 1.29 and newer; the variable `ORT_DISABLE_TELEMETRY` comes
        // before it.
        .with_telemetry(false)
        // Errors come back as values; the log would only say them a second time. What begins with the provider's name
        // is the provider's own warning.
        .with_logger(Arc::new(|_level, category: &str, _id: &str, place: &str, message: &str| {
            match message.strip_prefix(EP_NAME).and_then(|rest| rest.strip_prefix(": ")) {
                Some(warning) => tracing::warn!("execution provider: {warning}"),
                None => tracing::debug!(target: "onnxruntime", category, place, "{message}"),
            }
        }))
        .build()
        .map_err(|e| bad(e.to_string()))?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    Ok(Loaded { environment, pool, library: library.to_owned(), version, ep: None })
}

fn register(environment: &Environment, path: &Path) -> Result<EpLibrary, EngineError> {
    if !path.is_file() {
        return Err(EngineError::NoEp(path.to_owned()));
    }
    let bad = |reason: String| EngineError::BadEp { path: path.to_owned(), reason: one_line(&reason) };
    environment.register_ep_library(REGISTRATION, path).map_err(|e| bad(words(&e)))?;
    EpLibrary::open(path).map_err(bad)
}

pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// ONNX Runtime's words on one line, without the source lines and error codes that it puts before them.
pub(crate) fn words(error: &ort::Error) -> String {
    let text = one_line(error.message());
    match text.rsplit_once("[ONNXRuntimeError] : ") {
        Some((_, rest)) => rest.splitn(3, " : ").nth(2).unwrap_or(rest).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_differences_and_hold_only_devices_that_worked() {
        let counts = |fused, calls: &[(&str, u64)]| EpCounts {
            fused_nodes_executed: fused,
            kernel_calls: calls.iter().map(|&(d, n)| (d.to_owned(), n)).collect(),
        };
        let before = counts(3, &[("host", 10), ("sim", 4)]);
        let after = counts(8, &[("host", 25), ("sim", 4), ("npu", 2)]);
        assert_eq!(after.since(&before), counts(5, &[("host", 15), ("npu", 2)]));
        assert_eq!(after.since(&after), EpCounts::default());
    }

    #[test]
    fn missing_libraries_are_named() {
        let path: PathBuf = ["no", "such", "libonnxruntime.so"].iter().collect();
        let error = Engine::new(&EngineOptions::new(&path)).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("ORT_DYLIB_PATH"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a library").unwrap();
        let error = Engine::new(&EngineOptions::new(file.path())).err().unwrap();
        assert!(matches!(error, EngineError::BadOrt { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}
