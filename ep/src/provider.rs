//! The EP of one session: what it claims of a graph, and what it makes of the claimed groups.

#![allow(unsafe_code, reason = "implements ONNX Runtime's EP callbacks")]

use std::{
    collections::{BTreeSet, HashMap},
    ffi::c_char,
    path::PathBuf,
    ptr, slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ort_sys::{OrtGraph, OrtNode, OrtRunOptions, OrtStatusPtr};
use undertone_kernels::npu::OpenNpu;

use crate::{
    abi::{
        NO_LATER_MEMBERS, OrtEp, OrtEpGraphSupportInfo, OrtEpProfilerImpl, OrtNodeComputeInfo, OrtNodeFusionOptions,
    },
    compute::FusedNode,
    context::{
        ContextError, Origin, Writing,
        container::{self, Container},
        node,
    },
    factory::Factory,
    graph::{Dim, Graph, NodeId},
    guard::{guard, guard_release},
    kv,
    log::Log,
    memory::{Record, Store},
    options::{Claim, DeviceChoice, Options},
    partition::{self, Partition, partition},
    plan::Plan,
    report::{GraphReport, MUCH_LEFT, Reporter, Unclaimed},
    runtime::{Runtime, check, text},
    snapshot::{self, Captured, FusedGraph},
    statistics,
    status::{Failure, StatusMaker},
    trace::{Trace, file::TraceFile, profiler},
};

/// The EP of one session. ONNX Runtime holds it by its first member.
#[repr(C)]
pub struct Provider {
    table: OrtEp,
    runtime: Runtime,
    options: Options,
    writing: Writing,
    /// Stays until the last of its EPs is released.
    factory: Arc<Factory>,
    npu: Option<Arc<OpenNpu>>,
    reporter: Reporter,
    log: Log,
    /// Whoever wants to know what runs do when.
    trace: Arc<Trace>,
    /// Written when the last session that has it ends.
    _trace_file: Option<Arc<TraceFile>>,
    /// Whether any group was claimed yet.
    has_claimed: AtomicBool,
    /// For the results of products, by name, whether they may be narrow: found with the whole graph in view, for when
    /// their groups are compiled.
    narrow: Mutex<HashMap<String, bool>>,
}

/// First ONNX Runtime (1.*N*) that names the fused nodes of one model's graphs apart. Earlier ones start counting anew
/// in each graph, and a session with fused nodes in two of them, such as both branches of an `If`, cannot be created.
const NAMES_APART_VERSION: u32 = 25;

impl Provider {
    /// An EP for ONNX Runtime to own until [`Provider::release`].
    pub fn into_raw(
        factory: Arc<Factory>,
        options: Options,
        npu: Option<Arc<OpenNpu>>,
        writing: Writing,
        reporter: Reporter,
        trace_file: Option<Arc<TraceFile>>,
        log: Log,
    ) -> *mut OrtEp {
        let runtime = factory.runtime;
        let trace = Arc::<Trace>::default();
        if let Some(file) = &trace_file {
            trace.listen(&file.listener);
        }
        let table = OrtEp {
            ort_version_supported: runtime.version,
            GetName: get_name,
            GetCapability: get_capability,
            Compile: compile,
            ReleaseNodeComputeInfos: release_node_compute_infos,
            GetPreferredDataLayout: None,
            ShouldConvertDataLayoutForOp: None,
            SetDynamicOptions: None,
            OnRunStart: Some(on_run_start),
            OnRunEnd: Some(on_run_end),
            CreateAllocator: None,
            CreateSyncStreamForDevice: None,
            GetCompiledModelCompatibilityInfo: None,
            GetKernelRegistry: None,
            IsConcurrentRunSupported: None,
            Sync: None,
            CreateProfiler: Some(create_profiler),
            later: NO_LATER_MEMBERS,
        };
        Box::into_raw(Box::new(Self {
            table,
            runtime,
            options,
            writing,
            factory,
            npu,
            reporter,
            log,
            trace,
            _trace_file: trace_file,
            has_claimed: AtomicBool::new(false),
            narrow: Mutex::default(),
        }))
        .cast()
    }

    /// Takes back what [`Provider::into_raw`] gave away.
    ///
    /// # Safety
    /// `ep` is NULL or came from `into_raw` and is not used again.
    pub unsafe fn release(ep: *mut OrtEp) {
        if !ep.is_null() {
            // SAFETY: as the caller promises.
            guard_release(|| drop(unsafe { Box::from_raw(ep.cast::<Self>()) }));
        }
    }

    /// # Safety
    /// `graph` and `support` are those of a call of `GetCapability`.
    unsafe fn claim(&self, graph: *const OrtGraph, support: *mut OrtEpGraphSupportInfo) -> Result<(), Failure> {
        // SAFETY: as the caller promises.
        let captured = unsafe { snapshot::capture(self.runtime, graph)? };
        let mut partition = match partition::packed(&captured.graph) {
            Some(packed) => packed,
            None => partition(&captured.graph, &self.options, self.npu.as_ref().map(|npu| npu.placement())),
        };
        if !partition.groups.is_empty() {
            match self.obstacle(&captured) {
                Some(reason) => withhold(&mut partition, &captured.graph, reason),
                None => self.has_claimed.store(true, Ordering::Relaxed),
            }
        }
        let fusion = OrtNodeFusionOptions {
            ort_version_supported: self.runtime.version,
            // Weights are packed in Compile, so ONNX Runtime may free its own.
            drop_constant_initializers: true,
            later: NO_LATER_MEMBERS,
        };
        for group in &partition.groups {
            let nodes: Vec<*const OrtNode> = group.iter().map(|id| captured.handles[*id]).collect();
            // SAFETY: the handles belong to `graph`; ONNX Runtime copies the list and the options.
            unsafe {
                check(
                    self.runtime.api,
                    "EpGraphSupportInfo_AddNodesToFuse",
                    (self.runtime.ep_api.EpGraphSupportInfo_AddNodesToFuse)(
                        support,
                        nodes.as_ptr(),
                        nodes.len(),
                        &fusion,
                    ),
                )?;
            }
        }
        self.note_narrow(&captured.graph, &partition);
        let left = self.left(&partition.report);
        let (claimed, unclaimed) = (partition.report.gflop_claimed, partition.report.gflop_unclaimed);
        if self.reporter.record(partition.report)? {
            statistics::partitioned(claimed, unclaimed);
            left.iter().for_each(|left| self.log.warn(left));
        }
        Ok(())
    }

    /// What to say of a graph of which much is left to other providers, though nobody asked for a part of it.
    fn left(&self, report: &GraphReport) -> Option<String> {
        let part = report.share_unclaimed();
        let declined = self.options.sparing && report.claimed == 0;
        if self.options.claim != Claim::All || declined || part <= MUCH_LEFT {
            return None;
        }
        let mut operators: Vec<&str> = report.unclaimed.iter().map(|node| node.op_type.as_str()).collect();
        operators.sort_unstable();
        operators.dedup();
        let within = if report.within.is_empty() { &report.name } else { &report.within };
        Some(format!(
            "of the products in graph \"{within}\" {:.0} % are left to other providers; the option report writes why, \
             for each of the operators {}",
            100.0 * part,
            operators.join(", ")
        ))
    }

    /// Remembers which products may be narrow. Where two graphs have a product whose result has the same name, both may
    /// be narrow or neither.
    fn note_narrow(&self, graph: &Graph<'_>, partition: &Partition) {
        let mut narrow = self.narrow.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed: BTreeSet<NodeId> = partition.groups.iter().flatten().copied().collect();
        let may: BTreeSet<NodeId> = partition.narrow.iter().copied().collect();
        for node in claimed {
            for output in graph.nodes[node].outputs.iter().flatten() {
                let is_narrow = may.contains(&node);
                let known = narrow.entry(graph.values[*output].name.clone()).or_insert(is_narrow);
                *known &= is_narrow;
            }
        }
    }

    /// Why nothing may be claimed in this graph, if so. A decoder may have two branches: the one with a key-value cache
    /// is preferred, as it is run for every token but the first.
    fn obstacle(&self, captured: &Captured<'_>) -> Option<&'static str> {
        if self.writing.enable && (captured.is_body || !captured.graph.within.is_empty()) {
            return Some("ONNX Runtime writes no packed nodes into bodies of control flow (ep.context_enable)");
        }
        if self.runtime.version >= NAMES_APART_VERSION {
            return None;
        }
        if self.has_claimed.load(Ordering::Relaxed) {
            return Some(
                "ONNX Runtime before 1.25 takes fused nodes in one graph of a model only, and another has them",
            );
        }
        (captured.is_body && !reads_cache(&captured.graph)).then_some(
            "ONNX Runtime before 1.25 takes fused nodes in one graph of a model only; a branch with a key-value cache goes first",
        )
    }

    /// Compiles one graph for each of `infos`, and makes the nodes that stand for them in a packed model where one is
    /// written.
    ///
    /// # Safety
    /// All are what `Compile` was called with.
    unsafe fn compile(
        &self,
        groups: &[(*const OrtGraph, *const OrtNode)],
        infos: &mut [*mut OrtNodeComputeInfo],
        context_nodes: *mut *mut OrtNode,
    ) -> Result<(), Failure> {
        if self.writing.enable && self.npu.is_some() {
            return Err(ContextError::NotPackable(
                "packed models are of the host device's weights; leave ep.context_enable out, or use device=\"host\"",
            )
            .into());
        }
        let origin = Origin::new(&self.options);
        let record = Record::default();
        let mut open: Vec<(PathBuf, Container)> = Vec::new();
        let mut compiled = Vec::with_capacity(groups.len());
        for (graph, node) in groups {
            // SAFETY: as the caller promises.
            let mut fused = unsafe { snapshot::capture_fused(self.runtime, *graph, *node)? };
            let failed = |node: &str| {
                let node = node.to_owned();
                move |source| Failure::Plan { node, source }
            };
            let plan = if let Some(node) = node::sole_packed(&fused.graph) {
                if self.writing.enable {
                    return Err(ContextError::NotPackable("it is packed already; leave ep.context_enable out").into());
                }
                // SAFETY: as above.
                let model = unsafe { node::model_path(self.runtime, *graph)? };
                let model = model.or_else(|| self.writing.file_path.clone()).unwrap_or_default();
                let (path, partition) = node::reference(node, &model)?;
                let known = open.iter().position(|(known, _)| *known == path);
                if known.is_none() {
                    let container = Container::open(&path, &origin)?;
                    open.push((path, container));
                }
                let container = &open[known.unwrap_or(open.len() - 1)].1;
                let packed = container.graph(partition).ok_or_else(|| ContextError::Node {
                    node: node.name.clone(),
                    what: format!("names a group {partition} that is not there"),
                })?;
                let store = Store::reading(&self.factory.shared, container);
                let plan = Plan::build(packed, &self.options, &store).map_err(failed(&fused.name))?;
                let (inputs, outputs) = (packed.inputs.len(), packed.outputs.len());
                let input_places = node::places(node, &node.inputs, &fused.graph.inputs, &fused.input_places, inputs)?;
                let output_places =
                    node::places(node, &node.outputs, &fused.graph.outputs, &fused.output_places, outputs)?;
                (fused.input_places, fused.output_places) = (input_places, output_places);
                plan
            } else {
                let narrow = self.narrow.lock().unwrap_or_else(PoisonError::into_inner);
                partition::mark_exact(&mut fused.graph, |result| narrow.get(result) == Some(&true));
                drop(narrow);
                let store = match self.writing.enable {
                    true => Store::recording(&self.factory.shared, &record),
                    false => Store::new(&self.factory.shared),
                };
                let falls_back = self.options.asked == DeviceChoice::Auto;
                let store = store.on(self.npu.clone(), falls_back);
                Plan::build(&fused.graph, &self.options, &store).map_err(failed(&fused.name))?
            };
            compiled.push((fused, plan));
        }
        if self.writing.enable {
            // SAFETY: ONNX Runtime gives room for one node to each group, and releases what it finds there.
            unsafe {
                let model = node::model_path(self.runtime, groups[0].0)?;
                let nodes = slice::from_raw_parts_mut(context_nodes, groups.len());
                self.write(&origin, model, &compiled, record, nodes)?;
            }
        }
        for ((fused, plan), info) in compiled.into_iter().zip(infos) {
            *info = FusedNode::into_raw(self.runtime, fused, plan, self.options.threads, &self.trace);
        }
        Ok(())
    }

    /// Writes the container of a packed model, and makes its nodes.
    fn write(
        &self,
        origin: &Origin,
        model: Option<PathBuf>,
        compiled: &[(FusedGraph<'_>, Plan)],
        record: Record,
        nodes: &mut [*mut OrtNode],
    ) -> Result<(), Failure> {
        let (packed, container) = node::destination(&self.writing, model)?;
        let partitions = compiled.iter().map(|(fused, _)| (fused.name.clone(), fused.graph.clone())).collect();
        container::write(&packed.with_file_name(&container), origin, partitions, &record.into_weights())?;
        for (index, ((fused, _), node)) in compiled.iter().zip(nodes).enumerate() {
            *node = node::create(self.runtime, fused, &container, index == 0)?;
        }
        Ok(())
    }
}

/// Whether a graph has an input that looks like cached keys or values: floating-point `[batch, heads, length, width]`.
fn reads_cache(graph: &Graph<'_>) -> bool {
    graph.inputs.iter().map(|id| &graph.values[*id]).any(|value| {
        let axes = value.shape.as_deref().map_or(0, <[Dim]>::len);
        axes == 4 && value.dtype.is_some_and(|dtype| dtype.is_float())
    })
}

/// Takes back all claims of a partition.
fn withhold(partition: &mut Partition, graph: &Graph<'_>, reason: &str) {
    partition.groups.clear();
    let report = &mut partition.report;
    report.unclaimed = graph
        .nodes
        .iter()
        .map(|node| Unclaimed { name: node.name.clone(), op_type: node.op_type.clone(), reason: reason.to_owned() })
        .collect();
    report.fused.clear();
    report.claimed = 0;
    report.gflop_unclaimed += std::mem::take(&mut report.gflop_claimed);
}

/// # Safety
/// `ep` came from [`Provider::into_raw`] and is not yet released.
unsafe fn provider<'a>(ep: *const OrtEp) -> &'a Provider {
    // SAFETY: the table is the first member.
    unsafe { &*ep.cast::<Provider>() }
}

unsafe extern "system" fn get_name(_this: *const OrtEp) -> *const c_char {
    crate::NAME_C.as_ptr()
}

unsafe extern "system" fn get_capability(
    this: *mut OrtEp,
    graph: *const OrtGraph,
    support: *mut OrtEpGraphSupportInfo,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given, and a graph that is valid during the call.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "GetCapability", || {
        // SAFETY: as above.
        unsafe { provider.claim(graph, support) }
    })
}

unsafe extern "system" fn compile(
    this: *mut OrtEp,
    graphs: *mut *const OrtGraph,
    fused_nodes: *mut *const OrtNode,
    count: usize,
    infos: *mut *mut OrtNodeComputeInfo,
    ep_context_nodes: *mut *mut OrtNode,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "Compile", || {
        if count == 0 {
            return Ok(());
        }
        // SAFETY: the arrays have `count` entries. After an error ONNX Runtime releases the infos and nodes written so
        // far.
        unsafe {
            let groups: Vec<_> = (0..count).map(|index| (*graphs.add(index), *fused_nodes.add(index))).collect();
            provider.compile(&groups, slice::from_raw_parts_mut(infos, count), ep_context_nodes)
        }
    })
}

/// A run may name a key-value cache that its fused nodes keep from run to run.
unsafe extern "system" fn on_run_start(this: *mut OrtEp, options: *const OrtRunOptions) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "OnRunStart", || {
        let api = provider.runtime.api;
        // SAFETY: the options are those of the run; the entry, if there is one, is a string of theirs.
        let name = unsafe {
            let entry =
                if options.is_null() { ptr::null() } else { (api.GetRunConfigEntry)(options, kv::RUN_KEY_C.as_ptr()) };
            (!entry.is_null()).then(|| text(entry))
        };
        Ok(kv::begin_run(name.as_deref())?)
    })
}

unsafe extern "system" fn on_run_end(this: *mut OrtEp, _options: *const OrtRunOptions, _sync: bool) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "OnRunEnd", || {
        kv::end_run();
        Ok(())
    })
}

/// ONNX Runtime asks for one for each profile that it makes of the session.
unsafe extern "system" fn create_profiler(this: *mut OrtEp, profiler: *mut *mut OrtEpProfilerImpl) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "CreateProfiler", || {
        // SAFETY: room for one pointer.
        unsafe { *profiler = profiler::create(provider.runtime, &provider.trace) };
        Ok(())
    })
}

unsafe extern "system" fn release_node_compute_infos(
    _this: *mut OrtEp,
    infos: *mut *mut OrtNodeComputeInfo,
    count: usize,
) {
    if infos.is_null() {
        return;
    }
    // SAFETY: the array has `count` entries, each NULL or from `FusedNode::into_raw`, and is not read again.
    for info in unsafe { slice::from_raw_parts_mut(infos, count) } {
        // SAFETY: as above.
        unsafe { FusedNode::release(std::mem::replace(info, ptr::null_mut())) };
    }
}
