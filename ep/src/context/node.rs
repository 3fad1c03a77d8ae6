//! `EPContext` nodes: recognised in a packed model, and made for one.

#![allow(unsafe_code, reason = "makes nodes with ONNX Runtime's model editor")]

use std::{
    ffi::{CStr, CString, OsStr, c_char},
    path::{Component, Path, PathBuf},
    ptr,
};

use ort_sys::{OrtGraph, OrtNode, OrtOpAttr, OrtOpAttrType};

use super::{ContextError, Writing};
use crate::{
    fusion,
    graph::{Attribute, Graph, Node, ValueId},
    lower,
    plan::Estimate,
    runtime::{OrtError, Runtime, check, ort_call},
    snapshot::FusedGraph,
    status::Failure,
};

/// Whether a node stands for a group that this EP has packed.
pub fn is_packed(node: &Node<'_>) -> bool {
    node.op_type == "EPContext"
        && node.domain == "com.microsoft"
        && matches!(node.attributes.get("source"), Some(Attribute::String(source)) if source == crate::NAME)
}

/// Attribute of a packed node: the estimated work of its products, in 10³ floating-point operations.
const WORK: &CStr = c"kiloflop";

/// The estimated work of a packed node's products, in 10⁹ floating-point operations; 0 where it does not say.
pub fn gflop(node: &Node<'_>) -> f64 {
    WORK.to_str().map_or(0.0, |name| node.int(name, 0) as f64 / 1e6)
}

/// The only node of a graph, if it is packed.
pub fn sole_packed<'g, 'a>(graph: &'g Graph<'a>) -> Option<&'g Node<'a>> {
    match graph.nodes.as_slice() {
        [node] if is_packed(node) => Some(node),
        _ => None,
    }
}

/// The container that a packed node names, and the group's name within. The error is [`ContextError::Node`] if it names
/// none, or one that is not beside the model.
pub fn reference<'n>(node: &'n Node<'_>, model: &Path) -> Result<(PathBuf, &'n str), ContextError> {
    let wrong = |what: &str| ContextError::Node { node: node.name.clone(), what: what.to_owned() };
    let text = |name: &str| match node.attributes.get(name) {
        Some(Attribute::String(text)) => Ok(text.as_str()),
        _ => Err(wrong(&format!("has no {name}"))),
    };
    if node.int("embed_mode", 1) != 0 {
        return Err(wrong("holds its weights within (embed_mode 1), which this EP does not read"));
    }
    let file = Path::new(text("ep_cache_context")?);
    let mut parts = file.components();
    if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
        return Err(wrong("names a file that is not beside it"));
    }
    Ok((model.with_file_name(file), text("partition_name")?))
}

/// Where each input or output of a packed group is in a run. `fused` is the fused node's own graph, with the packed
/// node in it; `values` the packed node's operands or results, in the group's order. The error is [`ContextError::Node`]
/// if the fused node lacks one.
pub fn places(
    node: &Node<'_>,
    values: &[Option<ValueId>],
    ends: &[ValueId],
    places: &[usize],
    wanted: usize,
) -> Result<Vec<usize>, ContextError> {
    let wrong = || ContextError::Node {
        node: node.name.clone(),
        what: format!("has {} operands or results where the packed group has {wanted}", values.len()),
    };
    if values.len() != wanted {
        return Err(wrong());
    }
    let place = |value: &Option<ValueId>| {
        let at = ends.iter().position(|end| Some(*end) == *value)?;
        places.get(at).copied()
    };
    values.iter().map(place).collect::<Option<_>>().ok_or_else(wrong)
}

/// The packed model that a session writes, and the name of its container. The error is [`ContextError::NotPackable`] if
/// neither the session nor the model has a path, or the container is wanted within the model.
pub fn destination(writing: &Writing, model: Option<PathBuf>) -> Result<(PathBuf, String), ContextError> {
    if writing.embed {
        return Err(ContextError::NotPackable(
            "packed weights are a file of their own; leave out ep.context_embed_mode, or set it to 0",
        ));
    }
    let beside = |model: PathBuf| {
        let mut name = model.file_stem().unwrap_or_default().to_owned();
        name.push("_ctx.onnx");
        model.with_file_name(name)
    };
    let packed = writing.file_path.clone().or_else(|| model.map(beside));
    let packed = packed.ok_or(ContextError::NotPackable("the model has no path; name one in ep.context_file_path"))?;
    let container = packed.with_extension("xdna");
    let name = container.file_name().and_then(OsStr::to_str).map(str::to_owned);
    Ok((packed, name.ok_or(ContextError::NotPackable("ep.context_file_path is not Unicode"))?))
}

/// The path of the model that a graph is of, if it has one. An error if ONNX Runtime cannot tell.
///
/// # Safety
/// `graph` is valid.
pub unsafe fn model_path(runtime: Runtime, graph: *const OrtGraph) -> Result<Option<PathBuf>, OrtError> {
    let mut path = ptr::null();
    // SAFETY: as the caller promises; the path lives as long as the graph and is copied.
    unsafe {
        ort_call!(runtime.api, Graph_GetModelPath(graph, &mut path))?;
        if path.is_null() {
            return Ok(None);
        }
        #[cfg(not(windows))]
        let path = {
            use std::os::unix::ffi::OsStrExt as _;
            PathBuf::from(OsStr::from_bytes(CStr::from_ptr(path.cast()).to_bytes()))
        };
        #[cfg(windows)]
        let path = {
            use std::os::windows::ffi::OsStringExt as _;
            let len = (0..).take_while(|at| *path.add(*at) != 0).count();
            PathBuf::from(std::ffi::OsString::from_wide(std::slice::from_raw_parts(path, len)))
        };
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }
}

/// Makes the node that stands for a group in a packed model; it has the fused node's name, as ONNX Runtime wants. An
/// error if ONNX Runtime refuses.
pub fn create(
    runtime: Runtime,
    fused: &FusedGraph<'_>,
    container: &str,
    is_first: bool,
) -> Result<*mut OrtNode, Failure> {
    let c_string = |text: &str| {
        CString::new(text)
            .map_err(|_| ContextError::NotPackable("a name holds a zero character"))
            .map_err(Failure::from)
    };
    let names = |values: &[ValueId]| -> Result<Vec<CString>, Failure> {
        values.iter().map(|value| c_string(&fused.graph.values[*value].name)).collect()
    };
    let (inputs, outputs) = (names(&fused.graph.inputs)?, names(&fused.graph.outputs)?);
    let pointers = |names: &[CString]| names.iter().map(|name| name.as_ptr()).collect::<Vec<*const c_char>>();
    let (input_names, output_names) = (pointers(&inputs), pointers(&outputs));
    let name = c_string(&fused.name)?;

    let mut attributes = Attributes { runtime, handles: Vec::new() };
    attributes.integer(c"main_context", i64::from(is_first))?;
    attributes.integer(c"embed_mode", 0)?;
    attributes.text(c"ep_cache_context", container)?;
    attributes.text(c"source", crate::NAME)?;
    attributes.text(c"partition_name", &fused.name)?;
    attributes.text(c"ep_sdk_version", super::BUILD)?;
    attributes.integer(WORK, kiloflop(&fused.graph))?;

    let mut node = ptr::null_mut();
    // SAFETY: the table is static, NULL in builds without it. The strings and lists live until the call is over; ONNX
    // Runtime copies them.
    unsafe {
        let editor = (runtime.api.GetModelEditorApi)().as_ref();
        let editor = editor.ok_or(ContextError::NotPackable("this build of ONNX Runtime has no model editor"))?;
        let status = (editor.CreateNode)(
            c"EPContext".as_ptr(),
            c"com.microsoft".as_ptr(),
            name.as_ptr(),
            input_names.as_ptr(),
            input_names.len(),
            output_names.as_ptr(),
            output_names.len(),
            attributes.handles.as_mut_ptr(),
            attributes.handles.len(),
            &mut node,
        );
        check(runtime.api, "CreateNode", status)?;
    }
    Ok(node)
}

fn kiloflop(graph: &Graph<'_>) -> i64 {
    let work = Estimate::of(graph, &fusion::fuse(graph, lower::lower(graph)));
    (work.flops.iter().sum::<f64>() / 1e3) as i64
}

/// Attributes for a node. `CreateNode` takes those that it has copied, and leaves NULL in their place; the others are
/// released here.
struct Attributes {
    runtime: Runtime,
    handles: Vec<*mut OrtOpAttr>,
}

impl Attributes {
    fn integer(&mut self, name: &CStr, value: i64) -> Result<(), OrtError> {
        self.add(name, (&raw const value).cast(), 1, OrtOpAttrType::ORT_OP_ATTR_INT)
    }

    fn text(&mut self, name: &CStr, value: &str) -> Result<(), OrtError> {
        self.add(name, value.as_ptr(), value.len(), OrtOpAttrType::ORT_OP_ATTR_STRING)
    }

    fn add(&mut self, name: &CStr, data: *const u8, len: usize, kind: OrtOpAttrType) -> Result<(), OrtError> {
        let mut handle = ptr::null_mut();
        // A name or a path is never as long as that.
        let len = i32::try_from(len).unwrap_or(0);
        // SAFETY: `data` has `len` elements of this kind, which ONNX Runtime copies.
        unsafe { ort_call!(self.runtime.api, CreateOpAttr(name.as_ptr(), data.cast(), len, kind, &mut handle))? };
        self.handles.push(handle);
        Ok(())
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        for handle in self.handles.iter().filter(|handle| !handle.is_null()) {
            // SAFETY: made above and not taken by ONNX Runtime.
            unsafe { (self.runtime.api.ReleaseOpAttr)(*handle) };
        }
    }
}
