//! The EP of one session: what it claims of a graph, and what it makes of the claimed groups.

#![allow(unsafe_code, reason = "implements ONNX Runtime's EP callbacks")]

use std::{
    ffi::c_char,
    ptr, slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ort_sys::{OrtGraph, OrtNode, OrtRunOptions, OrtStatusPtr};

use crate::{
    abi::{NO_LATER_MEMBERS, OrtEp, OrtEpGraphSupportInfo, OrtNodeComputeInfo, OrtNodeFusionOptions},
    compute::FusedNode,
    graph::{Dim, Graph},
    guard::{guard, guard_release},
    kv,
    options::Options,
    partition::{Partition, partition},
    plan::{Plan, Shared, Store},
    report::{Reporter, Unclaimed},
    runtime::Runtime,
    snapshot::{self, Captured},
    status::{Failure, StatusMaker, check, text},
};

/// The EP of one session. ONNX Runtime holds it by its first member.
#[repr(C)]
pub struct Provider {
    table: OrtEp,
    runtime: Runtime,
    options: Options,
    shared: Arc<Shared>,
    reporter: Reporter,
    /// Whether any group was claimed yet.
    has_claimed: AtomicBool,
}

/// First ONNX Runtime (1.*N*) that names the fused nodes of one model's graphs apart. Earlier ones start counting anew in each
/// graph, and a session with fused nodes in two of them, such as both branches of an `If`, cannot be created.
const NAMES_APART_VERSION: u32 = 25;

impl Provider {
    /// An EP for ONNX Runtime to own until [`Provider::release`].
    pub fn into_raw(runtime: Runtime, options: Options, shared: Arc<Shared>) -> *mut OrtEp {
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
            later: NO_LATER_MEMBERS,
        };
        let reporter = Reporter::new(&options);
        Box::into_raw(Box::new(Self { table, runtime, options, shared, reporter, has_claimed: AtomicBool::new(false) }))
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
        let mut partition = partition(&captured.graph, &self.options);
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
        self.reporter.record(partition.report)?;
        Ok(())
    }

    /// Why nothing may be claimed in this graph, if so. Of a decoder's two branches the one with a key-value cache is preferred:
    /// it is run for every token but the first.
    fn obstacle(&self, captured: &Captured<'_>) -> Option<&'static str> {
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

    /// # Safety
    /// `graph` and `node` are a pair that `Compile` was called with.
    unsafe fn compile(&self, graph: *const OrtGraph, node: *const OrtNode) -> Result<*mut OrtNodeComputeInfo, Failure> {
        // SAFETY: as the caller promises.
        let fused = unsafe { snapshot::capture_fused(self.runtime, graph, node)? };
        let plan = Plan::build(&fused.graph, &self.options, &Store::new(&self.shared))
            .map_err(|source| Failure::Plan { node: fused.name.clone(), source })?;
        Ok(FusedNode::into_raw(self.runtime, fused, plan, self.options.threads))
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
    _ep_context_nodes: *mut *mut OrtNode,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "Compile", || {
        for index in 0..count {
            // SAFETY: the three arrays have `count` entries. After an error ONNX Runtime releases the infos written so far.
            unsafe { *infos.add(index) = provider.compile(*graphs.add(index), *fused_nodes.add(index))? };
        }
        Ok(())
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
                if options.is_null() { ptr::null() } else { (api.GetRunConfigEntry)(options, kv::RUN_KEY.as_ptr()) };
            (!entry.is_null()).then(|| text(entry))
        };
        Ok(kv::begin_run(name.as_deref())?)
    })
}

unsafe extern "system" fn on_run_end(this: *mut OrtEp, _options: *const OrtRunOptions, _sync: bool) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the EP that it was given.
    let provider = unsafe { provider(this) };
    guard(StatusMaker::new(provider.runtime.api), "OnRunEnd", || Ok(kv::begin_run(None)?))
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
