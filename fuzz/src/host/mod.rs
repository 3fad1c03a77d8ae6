//! A pretended ONNX Runtime: as much of its interface as the EP calls, over graphs that nobody has checked. It hands the
//! EP a graph, takes its claims, has them compiled, and runs what was compiled, as ONNX Runtime does.

mod graph;
mod run;
mod table;

pub use graph::{Attribute, Content, Graph, Node, Tensor, Type, Value};
pub use run::{contents, element_size};
pub use table::base;

use std::{
    ffi::{CStr, CString},
    ptr,
    sync::Arc,
};

use onnxruntime_ep_xdna::{
    abi::{OrtEp, OrtEpFactory, OrtNodeComputeInfo},
    exports::{CreateEpFactories, ReleaseEpFactory},
};
use ort_sys::{OrtApiBase, OrtErrorCode, OrtStatusPtr, stub};

/// What the session is asked for, and what the runs are.
#[derive(Debug)]
pub struct Session {
    /// ONNX Runtime's version is 1.*this*.
    pub version: u32,
    /// Configuration entries, by their whole names.
    pub entries: Vec<(CString, CString)>,
    /// The value of the run option for a key-value cache.
    pub cache: Option<CString>,
    pub runs: usize,
}

/// What became of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Groups that were claimed.
    pub claimed: usize,
    /// Runs of fused nodes that went to their end.
    pub completed: usize,
    /// What the EP said against the session, the graph or a run.
    pub errors: Vec<String>,
}

/// The message of a status, if it is one of an error.
///
/// # Panics
/// If the EP says that it has a bug: it caught a panic.
pub fn message(status: OrtStatusPtr) -> Option<String> {
    if status.0.is_null() {
        return None;
    }
    // SAFETY: the pretended ONNX Runtime makes statuses of this kind.
    let error = unsafe { stub::Error::consume_sys(status.0) };
    let text = error.message().to_owned();
    assert!(!text.contains("this is a bug in the EP"), "{text}");
    assert!(text.starts_with("XdnaExecutionProvider: "), "a status that does not say whose it is: {text}");
    assert_ne!(error.code, OrtErrorCode::ORT_OK, "{text}");
    Some(text)
}

/// A factory of the library, as `base` describes ONNX Runtime.
pub fn factory(base: &OrtApiBase) -> Result<*mut OrtEpFactory, String> {
    let (mut factories, mut count) = ([ptr::null_mut()], 0);
    // SAFETY: the arguments are what ONNX Runtime's interface prescribes.
    let status =
        unsafe { CreateEpFactories(c"any".as_ptr(), base, ptr::null(), factories.as_mut_ptr(), 1, &mut count) };
    match message(status) {
        Some(text) => Err(text),
        None => {
            assert_eq!(count, 1);
            Ok(factories[0])
        }
    }
}

/// Ends a registration.
pub fn release(factory: *mut OrtEpFactory) {
    // SAFETY: it came from [`factory`] and is not used again.
    assert_eq!(message(unsafe { ReleaseEpFactory(factory) }), None);
}

/// Makes a session of a graph, runs it, and ends it.
///
/// # Panics
/// If the EP does what it must not: it panics, claims what it does not compile, or gives results that are no tensors.
pub fn play(session: &Session, graph: &Arc<Graph>) -> Outcome {
    let base = table::base(session.version);
    let mut outcome = Outcome::default();
    match factory(&base) {
        Ok(factory) => {
            table::with_session(session, || with_factory(session, graph, factory, &mut outcome));
            release(factory);
        }
        Err(text) => outcome.errors.push(text),
    }
    outcome
}

fn with_factory(session: &Session, graph: &Arc<Graph>, factory: *mut OrtEpFactory, outcome: &mut Outcome) {
    let mut ep: *mut OrtEp = ptr::null_mut();
    // SAFETY: the factory is alive; the pretended session options are asked for by callbacks alone.
    let status = unsafe {
        ((*factory).CreateEp)(factory, ptr::null(), ptr::null(), 0, ptr::without_provenance(8), ptr::null(), &mut ep)
    };
    if let Some(text) = message(status) {
        assert!(ep.is_null(), "an EP that was not made: {text}");
        outcome.errors.push(text);
        return;
    }
    with_ep(session, graph, ep, outcome);
    // SAFETY: the EP came from this factory and is not used again.
    unsafe { ((*factory).ReleaseEp)(factory, ep) };
}

fn with_ep(session: &Session, graph: &Arc<Graph>, ep: *mut OrtEp, outcome: &mut Outcome) {
    let mut claims = table::Claims::default();
    // SAFETY: the EP is alive; the graph outlives the call.
    let status = unsafe { ((*ep).GetCapability)(ep, Arc::as_ptr(graph).cast(), (&raw mut claims).cast()) };
    if let Some(text) = message(status) {
        outcome.errors.push(text);
        return;
    }
    let groups = claims.checked(graph);
    outcome.claimed = groups.len();
    if groups.is_empty() {
        return;
    }
    let fused: Vec<(Graph, Node)> = groups.iter().map(|group| graph.fused(group)).collect();
    let mut graphs: Vec<*const _> = fused.iter().map(|(graph, _)| (&raw const *graph).cast()).collect();
    let mut nodes: Vec<*const _> = fused.iter().map(|(_, node)| (&raw const *node).cast()).collect();
    let mut infos: Vec<*mut OrtNodeComputeInfo> = vec![ptr::null_mut(); fused.len()];
    let mut context_nodes = vec![ptr::null_mut(); fused.len()];
    // SAFETY: all arrays have an entry for each group.
    let status = unsafe {
        ((*ep).Compile)(
            ep,
            graphs.as_mut_ptr(),
            nodes.as_mut_ptr(),
            fused.len(),
            infos.as_mut_ptr(),
            context_nodes.as_mut_ptr(),
        )
    };
    match message(status) {
        // A packed model's file may be anything, and a model may not be one that can be packed.
        Some(text) => {
            let may_fail = graph.nodes.iter().any(|node| node.op_type.as_c_str() == c"EPContext")
                || session.entries.iter().any(|(key, _)| key.as_c_str() == c"ep.context_enable");
            assert!(may_fail, "claimed, and then not compiled: {text}");
            outcome.errors.push(text);
        }
        None => {
            for ((_, node), info) in fused.iter().zip(&infos) {
                for turn in 0..session.runs {
                    match run::run(ep, *info, node, turn) {
                        Ok(()) => outcome.completed += 1,
                        Err(text) => outcome.errors.push(text),
                    }
                }
            }
        }
    }
    // SAFETY: the infos are the EP's, or NULL, and are not used again.
    unsafe { ((*ep).ReleaseNodeComputeInfos)(ep, infos.as_mut_ptr(), infos.len()) };
}

/// A copy of a C string.
///
/// # Safety
/// `pointer` is a NUL-terminated string.
unsafe fn owned(pointer: *const std::ffi::c_char) -> CString {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_owned()
}
