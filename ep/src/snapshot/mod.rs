//! Reads an `OrtGraph` into a [`Graph`].
//!
//! The snapshot's names and shapes are its own; the bytes of constants stay ONNX Runtime's and are borrowed for the
//! length of the callback, as is the list of `OrtNode`s that belongs to the snapshot's nodes.

#![allow(unsafe_code, reason = "reads ONNX Runtime's graph")]

mod constant;
mod error;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::c_char,
    ptr,
};

use ort_sys::{
    OrtApi, OrtGraph, OrtNode, OrtOpAttr, OrtStatusPtr, OrtTensorTypeAndShapeInfo, OrtTypeInfo, OrtValueInfo,
};

use self::constant::borrow_constant;
pub use self::error::SnapshotError;
use crate::{
    graph::{DataType, Dim, Graph, Node, NodeId, Value, ValueId},
    runtime::{OrtError, Runtime, check, ort_call, text},
};

/// A whole graph, and ONNX Runtime's handles of its nodes.
pub struct Captured<'a> {
    pub graph: Graph<'a>,
    /// For each node ONNX Runtime's handle, valid during the callback.
    pub handles: Vec<*const OrtNode>,
    /// Whether it is a body of a control-flow node, and reads values of the graphs around it.
    pub is_body: bool,
}

/// A fused node's graph, and where its inputs and outputs are in a run.
pub struct FusedGraph<'a> {
    pub graph: Graph<'a>,
    pub name: String,
    /// For each input of the graph its place in the kernel context.
    pub input_places: Vec<usize>,
    /// For each output of the graph its place in the kernel context.
    pub output_places: Vec<usize>,
}

/// Reads a graph whose nodes may be claimed. Nodes that another EP has already are given an operator that no pattern
/// knows.
///
/// # Safety
/// `graph` is a graph of `runtime`, valid for `'a`.
pub unsafe fn capture<'a>(runtime: Runtime, graph: *const OrtGraph) -> Result<Captured<'a>, SnapshotError> {
    let mut reader = Reader::new(runtime);
    // SAFETY: as the caller promises, here and below.
    unsafe {
        let handles = reader.read_nodes(graph)?;
        for (id, handle) in handles.iter().enumerate() {
            reader.hide_if_assigned(id, *handle)?;
        }
        for value in list(runtime.api, graph, &GRAPH_INPUTS)? {
            if let Some(id) = reader.value(value)? {
                reader.input(id);
            }
        }
        reader.free_values_are_inputs();
        for value in list(runtime.api, graph, &GRAPH_OUTPUTS)? {
            if let Some(id) = reader.value(value)? {
                reader.graph.outputs.push(id);
            }
        }
        reader.graph.within = within(runtime.api, graph)?;
        Ok(Captured { graph: reader.graph, handles, is_body: reader.reads_outside })
    }
}

/// Reads the graph of a fused node; its inputs and outputs are those of the node, constants left out.
///
/// # Safety
/// `graph` and `node` are what `Compile` was given, valid for `'a`.
pub unsafe fn capture_fused<'a>(
    runtime: Runtime,
    graph: *const OrtGraph,
    node: *const OrtNode,
) -> Result<FusedGraph<'a>, SnapshotError> {
    let mut reader = Reader::new(runtime);
    let (mut input_places, mut output_places) = (Vec::new(), Vec::new());
    // SAFETY: as the caller promises, here and below.
    unsafe {
        reader.read_nodes(graph)?;
        for (place, value) in list(runtime.api, node, &NODE_INPUTS)?.into_iter().enumerate() {
            if let Some(id) = reader.value(value)?
                && reader.input(id)
            {
                input_places.push(place);
            }
        }
        for (place, value) in list(runtime.api, node, &NODE_OUTPUTS)?.into_iter().enumerate() {
            if let Some(id) = reader.value(value)? {
                reader.graph.outputs.push(id);
                output_places.push(place);
            }
        }
        let mut name = ptr::null();
        ort_call!(runtime.api, Node_GetName(node, &mut name))?;
        Ok(FusedGraph { graph: reader.graph, name: text(name), input_places, output_places })
    }
}

/// A graph under construction.
struct Reader<'a> {
    runtime: Runtime,
    graph: Graph<'a>,
    by_name: HashMap<String, ValueId>,
    /// Initializers, also those whose type this EP does not know.
    fixed: HashSet<ValueId>,
    /// Whether some value is of an outer graph.
    reads_outside: bool,
}

impl<'a> Reader<'a> {
    fn new(runtime: Runtime) -> Self {
        Self { runtime, graph: Graph::default(), by_name: HashMap::new(), fixed: HashSet::new(), reads_outside: false }
    }

    /// Reads the graph's name and nodes.
    ///
    /// # Safety
    /// `graph` is valid for `'a`.
    unsafe fn read_nodes(&mut self, graph: *const OrtGraph) -> Result<Vec<*const OrtNode>, SnapshotError> {
        let api = self.runtime.api;
        // SAFETY: as the caller promises, here and below.
        unsafe {
            let mut name = ptr::null();
            ort_call!(api, Graph_GetName(graph, &mut name))?;
            self.graph.name = text(name);
            let handles = list(api, graph, &GRAPH_NODES)?;
            let mut made = HashSet::new();
            for handle in &handles {
                let node = self.read_node(*handle)?;
                made.extend(node.outputs.iter().flatten().copied());
                self.graph.nodes.push(node);
            }
            self.check_order(made)?;
            Ok(handles)
        }
    }

    /// Every value must be made before it is used.
    fn check_order(&self, mut pending: HashSet<ValueId>) -> Result<(), SnapshotError> {
        for node in &self.graph.nodes {
            if let Some(value) = node.inputs.iter().flatten().find(|value| pending.contains(value)) {
                return Err(SnapshotError::Order {
                    graph: self.graph.name.clone(),
                    node: if node.name.is_empty() { node.op_type.clone() } else { node.name.clone() },
                    value: self.graph.values[*value].name.clone(),
                });
            }
            for value in node.outputs.iter().flatten() {
                pending.remove(value);
            }
        }
        Ok(())
    }

    /// # Safety
    /// `node` is valid for `'a`.
    unsafe fn read_node(&mut self, node: *const OrtNode) -> Result<Node<'a>, SnapshotError> {
        let api = self.runtime.api;
        // SAFETY: as the caller promises, here and below; strings are copied.
        unsafe {
            let string = |function: StringOf, name: &'static str| {
                let mut pointer = ptr::null();
                check(api, name, function(node, &mut pointer))?;
                Ok::<_, OrtError>(text(pointer))
            };
            let mut since_version = 0;
            ort_call!(api, Node_GetSinceVersion(node, &mut since_version))?;
            let mut inputs = self.values_of(node, &NODE_INPUTS)?;
            // What the bodies of a control-flow node read from outside counts as read by the node.
            inputs.extend(self.values_of(node, &NODE_IMPLICIT_INPUTS)?);
            let mut attributes = BTreeMap::new();
            for handle in list(api, node, &NODE_ATTRIBUTES)? {
                if let Some((name, attribute)) = constant::attribute(self.runtime, handle)? {
                    attributes.insert(name, attribute);
                }
            }
            Ok(Node {
                name: string(api.Node_GetName, "Node_GetName")?,
                op_type: string(api.Node_GetOperatorType, "Node_GetOperatorType")?,
                domain: domain(string(api.Node_GetDomain, "Node_GetDomain")?),
                since_version,
                inputs,
                outputs: self.values_of(node, &NODE_OUTPUTS)?,
                attributes,
                exact: false,
            })
        }
    }

    /// # Safety
    /// `node` is valid for `'a`.
    unsafe fn values_of(
        &mut self,
        node: *const OrtNode,
        which: &List<OrtNode, OrtValueInfo>,
    ) -> Result<Vec<Option<ValueId>>, SnapshotError> {
        // SAFETY: as the caller promises.
        unsafe { list(self.runtime.api, node, which)?.into_iter().map(|value| self.value(value)).collect() }
    }

    /// A node that already has an EP cannot be claimed: one such node in a group would void all groups.
    ///
    /// # Safety
    /// `node` is valid.
    unsafe fn hide_if_assigned(&mut self, id: NodeId, node: *const OrtNode) -> Result<(), SnapshotError> {
        let mut name = ptr::null();
        // SAFETY: as the caller promises.
        let ep = unsafe {
            ort_call!(self.runtime.api, Node_GetEpName(node, &mut name))?;
            text(name)
        };
        if !ep.is_empty() {
            let node = &mut self.graph.nodes[id];
            node.op_type = format!("{} assigned to {ep}", node.op_type);
        }
        Ok(())
    }

    /// The value that a handle stands for; `None` for a left-out operand or result.
    ///
    /// # Safety
    /// `info` is NULL or valid for `'a`.
    unsafe fn value(&mut self, info: *const OrtValueInfo) -> Result<Option<ValueId>, SnapshotError> {
        if info.is_null() {
            return Ok(None);
        }
        let api = self.runtime.api;
        // SAFETY: as the caller promises, here and below.
        unsafe {
            let mut name = ptr::null();
            ort_call!(api, GetValueInfoName(info, &mut name))?;
            let name = text(name);
            if name.is_empty() {
                return Ok(None);
            }
            if let Some(id) = self.by_name.get(&name) {
                return Ok(Some(*id));
            }
            let (dtype, mut shape) = declared_type(self.runtime, info)?;
            let id = self.graph.values.len();
            let (mut is_constant, mut is_outer) = (false, false);
            ort_call!(api, ValueInfo_IsFromOuterScope(info, &mut is_outer))?;
            self.reads_outside |= is_outer;
            ort_call!(api, ValueInfo_IsConstantInitializer(info, &mut is_constant))?;
            let (mut constant, mut unreadable) = (None, None);
            if is_constant {
                self.fixed.insert(id);
                let mut value = ptr::null();
                match ort_call!(api, ValueInfo_GetInitializerValue(info, &mut value)) {
                    // ONNX Runtime (1.32) does not find tensors of an outer graph that lie in a file of their own.
                    Err(error) if is_outer => unreadable = Some(error.to_string()),
                    other => other?,
                }
                if !value.is_null() {
                    constant = borrow_constant(self.runtime, &name, value)?;
                }
                if let Some(constant) = &constant {
                    shape = Some(constant.shape.iter().copied().map(Dim::Fixed).collect());
                }
            }
            self.by_name.insert(name.clone(), id);
            self.graph.values.push(Value { name, dtype, shape, constant, unreadable });
            Ok(Some(id))
        }
    }

    /// Makes a value an input of the graph unless it is one or is an initializer; says whether it did.
    fn input(&mut self, id: ValueId) -> bool {
        let new = !self.fixed.contains(&id) && !self.graph.inputs.contains(&id);
        if new {
            self.graph.inputs.push(id);
        }
        new
    }

    /// What a body reads from the graphs around it is an input of the body.
    fn free_values_are_inputs(&mut self) {
        let made: HashSet<ValueId> =
            self.graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten().copied()).collect();
        let used: Vec<ValueId> =
            self.graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten().copied()).collect();
        for id in used {
            if !made.contains(&id) {
                self.input(id);
            }
        }
    }
}

/// ONNX's own operator set has two names.
fn domain(name: String) -> String {
    if name == "ai.onnx" { String::new() } else { name }
}

/// Element type and shape that the model declares or shape inference found.
///
/// # Safety
/// `info` is valid.
unsafe fn declared_type(
    runtime: Runtime,
    info: *const OrtValueInfo,
) -> Result<(Option<DataType>, Option<Vec<Dim>>), SnapshotError> {
    const TENSOR: i32 = 1;
    let api = runtime.api;
    // SAFETY: as the caller promises. C enums are read as numbers: a later version may have values that Rust's enum
    // lacks.
    unsafe {
        let mut type_info: *const OrtTypeInfo = ptr::null();
        ort_call!(api, GetValueInfoTypeInfo(info, &mut type_info))?;
        if type_info.is_null() {
            return Ok((None, None));
        }
        let mut kind = 0_i32;
        ort_call!(api, GetOnnxTypeFromTypeInfo(type_info, (&raw mut kind).cast()))?;
        let mut tensor: *const OrtTensorTypeAndShapeInfo = ptr::null();
        if kind == TENSOR {
            ort_call!(api, CastTypeInfoToTensorInfo(type_info, &mut tensor))?;
        }
        if tensor.is_null() {
            return Ok((None, None));
        }
        let mut code = 0_i32;
        ort_call!(api, GetTensorElementType(tensor, (&raw mut code).cast()))?;
        Ok((DataType::from_onnx(code), declared_shape(runtime, tensor)?))
    }
}

/// # Safety
/// `tensor` is valid.
unsafe fn declared_shape(
    runtime: Runtime,
    tensor: *const OrtTensorTypeAndShapeInfo,
) -> Result<Option<Vec<Dim>>, SnapshotError> {
    let api = runtime.api;
    // SAFETY: as the caller promises; names live as long as the type and are copied.
    unsafe {
        let mut rank = 0;
        ort_call!(api, GetDimensionsCount(tensor, &mut rank))?;
        if rank == 0 {
            // Before 1.24 a scalar and a tensor of unknown rank look the same; unknown is the safe reading.
            let is_scalar = runtime.version >= 24 && (api.TensorTypeAndShape_HasShape)(tensor);
            return Ok(is_scalar.then(Vec::new));
        }
        let mut sizes = vec![0_i64; rank];
        ort_call!(api, GetDimensions(tensor, sizes.as_mut_ptr(), rank))?;
        let mut names: Vec<*const c_char> = vec![ptr::null(); rank];
        ort_call!(api, GetSymbolicDimensions(tensor, names.as_mut_ptr(), rank))?;
        let dim = |(size, name): (i64, *const c_char)| match usize::try_from(size) {
            Ok(size) => Dim::Fixed(size),
            Err(_) => match text(name) {
                name if name.is_empty() => Dim::Unknown,
                name => Dim::Named(name),
            },
        };
        Ok(Some(sizes.into_iter().zip(names).map(dim).collect()))
    }
}

/// `parent.attribute` of the node that a graph is a body of; empty for the main graph, and where ONNX Runtime 1.23 does
/// not tell.
///
/// # Safety
/// `graph` is valid.
unsafe fn within(api: &OrtApi, graph: *const OrtGraph) -> Result<String, SnapshotError> {
    // SAFETY: as the caller promises; strings are copied.
    unsafe {
        let mut parent = ptr::null();
        ort_call!(api, Graph_GetParentNode(graph, &mut parent))?;
        if parent.is_null() {
            return Ok(String::new());
        }
        let (mut name, mut operator) = (ptr::null(), ptr::null());
        ort_call!(api, Node_GetName(parent, &mut name))?;
        ort_call!(api, Node_GetOperatorType(parent, &mut operator))?;
        let (name, operator) = (text(name), text(operator));
        let parent_name = if name.is_empty() { operator } else { name };

        let mut count = 0;
        ort_call!(api, Node_GetNumSubgraphs(parent, &mut count))?;
        let mut bodies: Vec<*const OrtGraph> = vec![ptr::null(); count];
        let mut attributes: Vec<*const c_char> = vec![ptr::null(); count];
        if count > 0 {
            ort_call!(api, Node_GetSubgraphs(parent, bodies.as_mut_ptr(), count, attributes.as_mut_ptr()))?;
        }
        for (body, attribute) in bodies.into_iter().zip(attributes) {
            if body == graph || outline(api, body)? == outline(api, graph)? {
                return Ok(format!("{parent_name}.{}", text(attribute)));
            }
        }
        Ok(parent_name)
    }
}

/// Name and number of nodes of a graph: ONNX Runtime may show one body through different handles.
///
/// # Safety
/// `graph` is valid.
unsafe fn outline(api: &OrtApi, graph: *const OrtGraph) -> Result<(String, usize), SnapshotError> {
    let (mut name, mut nodes) = (ptr::null(), 0);
    // SAFETY: as the caller promises; the string is copied.
    unsafe {
        ort_call!(api, Graph_GetName(graph, &mut name))?;
        ort_call!(api, Graph_GetNumNodes(graph, &mut nodes))?;
        Ok((text(name), nodes))
    }
}

type StringOf = unsafe extern "system" fn(*const OrtNode, *mut *const c_char) -> OrtStatusPtr;

/// The two functions with which ONNX Runtime shows a list: how long it is, and its entries.
struct List<Of, Entry> {
    name: &'static str,
    count: fn(&OrtApi) -> unsafe extern "system" fn(*const Of, *mut usize) -> OrtStatusPtr,
    entries: fn(&OrtApi) -> unsafe extern "system" fn(*const Of, *mut *const Entry, usize) -> OrtStatusPtr,
}

macro_rules! list_of {
    ($count:ident, $entries:ident) => {
        List { name: stringify!($entries), count: |api| api.$count, entries: |api| api.$entries }
    };
}

const GRAPH_NODES: List<OrtGraph, OrtNode> = list_of!(Graph_GetNumNodes, Graph_GetNodes);
const GRAPH_INPUTS: List<OrtGraph, OrtValueInfo> = list_of!(Graph_GetNumInputs, Graph_GetInputs);
const GRAPH_OUTPUTS: List<OrtGraph, OrtValueInfo> = list_of!(Graph_GetNumOutputs, Graph_GetOutputs);
const NODE_INPUTS: List<OrtNode, OrtValueInfo> = list_of!(Node_GetNumInputs, Node_GetInputs);
const NODE_OUTPUTS: List<OrtNode, OrtValueInfo> = list_of!(Node_GetNumOutputs, Node_GetOutputs);
const NODE_IMPLICIT_INPUTS: List<OrtNode, OrtValueInfo> = list_of!(Node_GetNumImplicitInputs, Node_GetImplicitInputs);
const NODE_ATTRIBUTES: List<OrtNode, OrtOpAttr> = list_of!(Node_GetNumAttributes, Node_GetAttributes);

/// The entries of a list.
///
/// # Safety
/// `of` is valid.
unsafe fn list<Of, Entry>(api: &OrtApi, of: *const Of, which: &List<Of, Entry>) -> Result<Vec<*const Entry>, OrtError> {
    let mut count = 0;
    // SAFETY: as the caller promises, and `entries` has room for all.
    unsafe {
        check(api, which.name, (which.count)(api)(of, &mut count))?;
        let mut entries = vec![ptr::null(); count];
        if count > 0 {
            check(api, which.name, (which.entries)(api)(of, entries.as_mut_ptr(), count))?;
        }
        Ok(entries)
    }
}
