//! The tables of functions, and what they give out of a graph.

use std::{
    cell::Cell,
    collections::BTreeSet,
    ffi::{CString, c_char, c_void},
    ptr,
    sync::{Arc, LazyLock},
};

use onnxruntime_ep_xdna::abi::{OrtEpApi, OrtEpFactory, OrtEpGraphSupportInfo, OrtNodeFusionOptions};
use ort_sys::*;

use super::{
    Graph, Node, Session, Tensor, Type, Value,
    graph::{Attribute, Content},
    owned, run,
};

const OK: OrtStatusPtr = OrtStatusPtr(ptr::null_mut());

pub fn error(what: &str) -> OrtStatusPtr {
    stub::Error::new_sys(OrtErrorCode::ORT_FAIL, what)
}

static API: LazyLock<OrtApi> = LazyLock::new(|| OrtApi {
    GetEpApi: get_ep_api,
    GetModelEditorApi: no_model_editor,
    GetSessionOptionsConfigEntries: session_entries,
    GetRunConfigEntry: run_entry,
    CreateKeyValuePairs: new_pairs,
    AddKeyValuePair: add_pair,
    GetKeyValuePairs: pairs,
    ReleaseKeyValuePairs: release_pairs,
    Graph_GetName: graph_name,
    Graph_GetModelPath: graph_path,
    Graph_GetNumNodes: graph_num_nodes,
    Graph_GetNodes: graph_nodes,
    Graph_GetNumInputs: graph_num_inputs,
    Graph_GetInputs: graph_inputs,
    Graph_GetNumOutputs: graph_num_outputs,
    Graph_GetOutputs: graph_outputs,
    Graph_GetParentNode: graph_parent,
    Node_GetName: node_name,
    Node_GetOperatorType: node_operator,
    Node_GetDomain: node_domain,
    Node_GetSinceVersion: node_since_version,
    Node_GetEpName: node_ep,
    Node_GetNumInputs: node_num_inputs,
    Node_GetInputs: node_inputs,
    Node_GetNumOutputs: node_num_outputs,
    Node_GetOutputs: node_outputs,
    Node_GetNumImplicitInputs: nothing_of_node,
    Node_GetNumAttributes: node_num_attributes,
    Node_GetAttributes: node_attributes,
    Node_GetNumSubgraphs: nothing_of_node,
    OpAttr_GetName: attribute_name,
    OpAttr_GetType: attribute_type,
    ReadOpAttr: read_attribute,
    OpAttr_GetTensorAttributeAsOrtValue: attribute_tensor,
    // What is given out as an attribute's tensor stays the attribute's.
    ReleaseValue: keep_value,
    GetValueInfoName: value_name,
    GetValueInfoTypeInfo: value_type,
    ValueInfo_IsFromOuterScope: value_is_outer,
    ValueInfo_IsConstantInitializer: value_is_constant,
    ValueInfo_GetInitializerValue: value_constant,
    GetOnnxTypeFromTypeInfo: onnx_type,
    CastTypeInfoToTensorInfo: tensor_info,
    GetTensorTypeAndShape: tensor_type,
    ReleaseTensorTypeAndShapeInfo: keep_type,
    GetTensorElementType: element_type,
    GetDimensionsCount: rank,
    GetDimensions: dims,
    GetSymbolicDimensions: axis_names,
    TensorTypeAndShape_HasShape: has_shape,
    GetTensorElementTypeAndShapeDataReference: type_and_shape,
    GetTensorData: tensor_data,
    GetTensorMutableData: tensor_mutable_data,
    GetTensorSizeInBytes: tensor_size,
    KernelContext_GetInput: run::input,
    KernelContext_GetOutput: run::output,
    KernelContext_ParallelFor: run::parallel_for,
    ..stub::api()
});

static EP_API: OrtEpApi = OrtEpApi {
    CreateEpDevice: create_ep_device,
    ReleaseEpDevice: release_ep_device,
    EpGraphSupportInfo_AddNodesToFuse: add_nodes_to_fuse,
};

thread_local! {
    static SESSION: Cell<*const Session> = const { Cell::new(ptr::null()) };
    static VERSION: Cell<u32> = const { Cell::new(0) };
}

/// ONNX Runtime 1.*version* for this thread.
pub fn base(version: u32) -> OrtApiBase {
    unsafe extern "system" fn get_api(version: u32) -> *const OrtApi {
        if (1..=VERSION.get()).contains(&version) { &*API } else { ptr::null() }
    }
    unsafe extern "system" fn get_version() -> *const c_char {
        // The EP starts with what this says and asks for older ones until it gets one.
        c"1.99.0".as_ptr()
    }
    VERSION.set(version);
    OrtApiBase { GetApi: get_api, GetVersionString: get_version }
}

/// Callbacks during `work` are of this session.
pub fn with_session(session: &Session, work: impl FnOnce()) {
    SESSION.set(session);
    work();
    SESSION.set(ptr::null());
}

/// The groups that the EP claims, as nodes' addresses.
#[derive(Default)]
pub struct Claims(Vec<Vec<*const Node>>);

impl Claims {
    /// The same as places in the graph.
    ///
    /// # Panics
    /// If a group is empty, holds a node that is not there, or shares one with another.
    pub fn checked(&self, graph: &Graph) -> Vec<BTreeSet<usize>> {
        let mut taken = BTreeSet::new();
        let place = |wanted: &*const Node| graph.nodes.iter().position(|node| Arc::as_ptr(node) == *wanted);
        let groups: Vec<BTreeSet<usize>> = self
            .0
            .iter()
            .map(|group| group.iter().map(|node| place(node).expect("a node of the graph")).collect())
            .collect();
        for (group, nodes) in groups.iter().zip(&self.0) {
            assert!(!group.is_empty() && group.len() == nodes.len(), "an empty group, or a node twice in one");
            assert!(group.iter().all(|node| taken.insert(*node)), "a node in two groups");
        }
        groups
    }
}

unsafe extern "system" fn add_nodes_to_fuse(
    support: *mut OrtEpGraphSupportInfo,
    nodes: *const *const OrtNode,
    count: usize,
    _options: *const OrtNodeFusionOptions,
) -> OrtStatusPtr {
    // SAFETY: `support` is the `Claims` that was passed to `GetCapability`; the array has `count` entries.
    unsafe {
        let nodes = std::slice::from_raw_parts(nodes, count).iter().map(|node| node.cast()).collect();
        (*support.cast::<Claims>()).0.push(nodes);
    }
    OK
}

unsafe extern "system" fn get_ep_api() -> *const ort_sys::OrtEpApi {
    (&raw const EP_API).cast()
}

unsafe extern "system" fn no_model_editor() -> *const OrtModelEditorApi {
    ptr::null()
}

unsafe extern "system" fn create_ep_device(
    _factory: *mut OrtEpFactory,
    hardware: *const OrtHardwareDevice,
    _metadata: *const OrtKeyValuePairs,
    _options: *const OrtKeyValuePairs,
    ep_device: *mut *mut OrtEpDevice,
) -> OrtStatusPtr {
    // SAFETY: room for one pointer.
    unsafe { *ep_device = hardware.cast_mut().cast() };
    OK
}

unsafe extern "system" fn release_ep_device(_device: *mut OrtEpDevice) {}

/// Pairs, and the arrays that are shown of them.
#[derive(Default)]
struct Pairs {
    strings: Vec<(CString, CString)>,
    keys: Vec<*const c_char>,
    values: Vec<*const c_char>,
}

unsafe extern "system" fn session_entries(
    _options: *const OrtSessionOptions,
    out: *mut *mut OrtKeyValuePairs,
) -> OrtStatusPtr {
    let session = SESSION.get();
    if session.is_null() {
        return error("there is no session");
    }
    // SAFETY: the session lives while it is set; room for one pointer.
    unsafe {
        let strings: Vec<_> = (*session).entries.clone();
        let keys = strings.iter().map(|(key, _)| key.as_ptr()).collect();
        let values = strings.iter().map(|(_, value)| value.as_ptr()).collect();
        *out = Box::into_raw(Box::new(Pairs { strings, keys, values })).cast();
    }
    OK
}

unsafe extern "system" fn run_entry(_options: *const OrtRunOptions, _key: *const c_char) -> *const c_char {
    // SAFETY: the session lives while it is set.
    unsafe { SESSION.get().as_ref() }
        .and_then(|session| session.cache.as_ref())
        .map_or(ptr::null(), |name| name.as_ptr())
}

unsafe extern "system" fn new_pairs(out: *mut *mut OrtKeyValuePairs) {
    // SAFETY: room for one pointer.
    unsafe { *out = Box::into_raw(Box::<Pairs>::default()).cast() };
}

unsafe extern "system" fn add_pair(pairs: *mut OrtKeyValuePairs, key: *const c_char, value: *const c_char) {
    // SAFETY: made by `new_pairs`; both are strings.
    unsafe { (*pairs.cast::<Pairs>()).strings.push((owned(key), owned(value))) };
}

unsafe extern "system" fn pairs(
    pairs: *const OrtKeyValuePairs,
    keys: *mut *const *const c_char,
    values: *mut *const *const c_char,
    count: *mut usize,
) {
    // SAFETY: made above; room for one of each.
    unsafe {
        let pairs = &*pairs.cast::<Pairs>();
        (*keys, *values, *count) = (pairs.keys.as_ptr(), pairs.values.as_ptr(), pairs.keys.len());
    }
}

unsafe extern "system" fn release_pairs(pairs: *mut OrtKeyValuePairs) {
    // SAFETY: made above, and not used again.
    drop(unsafe { Box::from_raw(pairs.cast::<Pairs>()) });
}

/// Defines getters: each writes what an expression gives of the pretended object behind its first argument.
macro_rules! getters {
    ($($name:ident: $c:ty as $of:ty => $out:ty, |$object:ident| $value:expr;)*) => {
        $(
            unsafe extern "system" fn $name(of: *const $c, out: *mut $out) -> OrtStatusPtr {
                if of.is_null() || out.is_null() {
                    return error(stringify!($name));
                }
                // SAFETY: the handle is the address of such an object, which is alive; room for one value.
                unsafe {
                    let $object = &*of.cast::<$of>();
                    out.write($value);
                }
                OK
            }
        )*
    };
}

/// Defines functions that show a list.
macro_rules! lists {
    ($($name:ident: $c:ty as $of:ty => $entry:ty, |$object:ident| $entries:expr;)*) => {
        $(
            unsafe extern "system" fn $name(of: *const $c, out: *mut *const $entry, room: usize) -> OrtStatusPtr {
                // SAFETY: the handle is the address of such an object, which is alive; there is room for `room`.
                unsafe {
                    let $object = &*of.cast::<$of>();
                    for (at, entry) in $entries.take(room).enumerate() {
                        out.add(at).write(entry);
                    }
                }
                OK
            }
        )*
    };
}

fn address<T, C>(object: &Arc<T>) -> *const C {
    Arc::as_ptr(object).cast()
}

fn optional<C>(value: &Option<Arc<Value>>) -> *const C {
    value.as_ref().map_or(ptr::null(), address)
}

/// The first of an attribute's codes is that of one element, the second that of a list.
fn codes(content: &Content) -> [i32; 2] {
    match content {
        Content::Ints(_) => [OrtOpAttrType::ORT_OP_ATTR_INT as i32, OrtOpAttrType::ORT_OP_ATTR_INTS as i32],
        Content::Floats(_) => [OrtOpAttrType::ORT_OP_ATTR_FLOAT as i32, OrtOpAttrType::ORT_OP_ATTR_FLOATS as i32],
        Content::Strings(_) => [OrtOpAttrType::ORT_OP_ATTR_STRING as i32, OrtOpAttrType::ORT_OP_ATTR_STRINGS as i32],
        Content::Tensor(_) => [OrtOpAttrType::ORT_OP_ATTR_TENSOR as i32; 2],
    }
}

getters! {
    graph_path: OrtGraph as Graph => *const os_char, |graph| graph.path.as_ptr().cast();
    graph_num_nodes: OrtGraph as Graph => usize, |graph| graph.nodes.len();
    graph_num_inputs: OrtGraph as Graph => usize, |graph| graph.inputs.len();
    graph_num_outputs: OrtGraph as Graph => usize, |graph| graph.outputs.len();
    graph_parent: OrtGraph as Graph => *const OrtNode, |_graph| ptr::null();
    graph_name: OrtGraph as Graph => *const c_char, |_graph| c"graph".as_ptr();
    node_name: OrtNode as Node => *const c_char, |node| node.name.as_ptr();
    node_operator: OrtNode as Node => *const c_char, |node| node.op_type.as_ptr();
    node_domain: OrtNode as Node => *const c_char, |node| node.domain.as_ptr();
    node_ep: OrtNode as Node => *const c_char, |_node| c"".as_ptr();
    node_since_version: OrtNode as Node => i32, |node| node.since_version;
    node_num_inputs: OrtNode as Node => usize, |node| node.inputs.len();
    node_num_outputs: OrtNode as Node => usize, |node| node.outputs.len();
    node_num_attributes: OrtNode as Node => usize, |node| node.attributes.len();
    nothing_of_node: OrtNode as Node => usize, |_node| 0;
    attribute_name: OrtOpAttr as Attribute => *const c_char, |attribute| attribute.name.as_ptr();
    attribute_tensor: OrtOpAttr as Attribute => *mut OrtValue, |attribute| match &attribute.content {
        Content::Tensor(value) => match &value.constant {
            Some(tensor) => (&raw const *tensor).cast_mut().cast(),
            None => return error("no tensor"),
        },
        _ => return error("no tensor"),
    };
    value_name: OrtValueInfo as Value => *const c_char, |value| value.name.as_ptr();
    value_type: OrtValueInfo as Value => *const OrtTypeInfo,
        |value| if value.kind.code == 0 { ptr::null() } else { (&raw const value.kind).cast() };
    value_is_outer: OrtValueInfo as Value => bool, |value| value.is_outer;
    value_is_constant: OrtValueInfo as Value => bool, |value| value.constant.is_some();
    value_constant: OrtValueInfo as Value => *const OrtValue,
        |value| value.constant.as_ref().map_or(ptr::null(), |tensor| (&raw const *tensor).cast());
    tensor_info: OrtTypeInfo as Type => *const OrtTensorTypeAndShapeInfo, |kind| (&raw const *kind).cast();
    rank: OrtTensorTypeAndShapeInfo as Type => usize, |kind| kind.dims.as_ref().map_or(0, Vec::len);
    tensor_type: OrtValue as Tensor => *mut OrtTensorTypeAndShapeInfo,
        |tensor| (&raw const tensor.kind).cast_mut().cast();
    tensor_data: OrtValue as Tensor => *const c_void, |tensor| tensor.bytes.as_ptr().cast();
    tensor_size: OrtValue as Tensor => usize, |tensor| tensor.bytes.len();
}

lists! {
    graph_nodes: OrtGraph as Graph => OrtNode, |graph| graph.nodes.iter().map(address);
    graph_inputs: OrtGraph as Graph => OrtValueInfo, |graph| graph.inputs.iter().map(address);
    graph_outputs: OrtGraph as Graph => OrtValueInfo, |graph| graph.outputs.iter().map(address);
    node_inputs: OrtNode as Node => OrtValueInfo, |node| node.inputs.iter().map(optional);
    node_outputs: OrtNode as Node => OrtValueInfo, |node| node.outputs.iter().map(optional);
    node_attributes: OrtNode as Node => OrtOpAttr, |node| node.attributes.iter().map(|one| (&raw const *one).cast());
}

unsafe extern "system" fn attribute_type(attribute: *const OrtOpAttr, out: *mut OrtOpAttrType) -> OrtStatusPtr {
    // SAFETY: the attribute is alive; a C enum is as wide as an i32.
    unsafe {
        let attribute = &*attribute.cast::<Attribute>();
        out.cast::<i32>().write(codes(&attribute.content)[usize::from(attribute.is_list)]);
    }
    OK
}

unsafe extern "system" fn read_attribute(
    attribute: *const OrtOpAttr,
    kind: OrtOpAttrType,
    data: *mut c_void,
    room: usize,
    size: *mut usize,
) -> OrtStatusPtr {
    // SAFETY: the attribute is alive; `data` has room for `room` bytes, `size` for one number.
    unsafe {
        let attribute = &*attribute.cast::<Attribute>();
        if kind as i32 != codes(&attribute.content)[usize::from(attribute.is_list)] {
            return error("the attribute is of another kind");
        }
        let bytes: Vec<u8> = match &attribute.content {
            Content::Ints(values) => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Content::Floats(values) => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Content::Strings(values) if attribute.is_list => {
                values.iter().flat_map(|value| value.as_bytes_with_nul().to_vec()).collect()
            }
            Content::Strings(values) => values.iter().take(1).flat_map(|value| value.as_bytes().to_vec()).collect(),
            Content::Tensor(_) => return error("a tensor is read in another way"),
        };
        size.write(bytes.len());
        if room < bytes.len() {
            return error("there is too little room");
        }
        data.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
    OK
}

unsafe extern "system" fn keep_value(_value: *mut OrtValue) {}

unsafe extern "system" fn keep_type(_type: *mut OrtTensorTypeAndShapeInfo) {}

unsafe extern "system" fn onnx_type(_type: *const OrtTypeInfo, out: *mut ONNXType) -> OrtStatusPtr {
    // SAFETY: room for one.
    unsafe { out.write(ONNXType::ONNX_TYPE_TENSOR) };
    OK
}

unsafe extern "system" fn element_type(
    of: *const OrtTensorTypeAndShapeInfo,
    out: *mut ONNXTensorElementDataType,
) -> OrtStatusPtr {
    // SAFETY: the type is alive; a C enum is as wide as an i32, and the EP reads it as one.
    unsafe { out.cast::<i32>().write((*of.cast::<Type>()).code) };
    OK
}

unsafe extern "system" fn dims(of: *const OrtTensorTypeAndShapeInfo, out: *mut i64, room: usize) -> OrtStatusPtr {
    // SAFETY: the type is alive; there is room for `room`.
    unsafe {
        let dims = (*of.cast::<Type>()).dims.as_deref().unwrap_or(&[]);
        out.copy_from_nonoverlapping(dims.as_ptr(), dims.len().min(room));
    }
    OK
}

unsafe extern "system" fn axis_names(
    of: *const OrtTensorTypeAndShapeInfo,
    out: *mut *const c_char,
    room: usize,
) -> OrtStatusPtr {
    // SAFETY: the type is alive; there is room for `room`.
    unsafe {
        for (at, name) in (*of.cast::<Type>()).names.iter().take(room).enumerate() {
            out.add(at).write(name.as_ptr());
        }
    }
    OK
}

unsafe extern "system" fn has_shape(of: *const OrtTensorTypeAndShapeInfo) -> bool {
    // SAFETY: the type is alive.
    unsafe { (*of.cast::<Type>()).dims.is_some() }
}

unsafe extern "system" fn type_and_shape(
    value: *const OrtValue,
    kind: *mut ONNXTensorElementDataType,
    shape: *mut *const i64,
    rank: *mut usize,
) -> OrtStatusPtr {
    // SAFETY: the tensor is alive; room for one of each.
    unsafe {
        let tensor = &*value.cast::<Tensor>();
        kind.cast::<i32>().write(tensor.kind.code);
        let dims = tensor.kind.dims.as_deref().unwrap_or(&[]);
        (*shape, *rank) = (dims.as_ptr(), dims.len());
    }
    OK
}

unsafe extern "system" fn tensor_mutable_data(value: *mut OrtValue, out: *mut *mut c_void) -> OrtStatusPtr {
    // SAFETY: the tensor is alive, and an output's: nobody else has it.
    unsafe { out.write((*value.cast::<Tensor>()).bytes.as_mut_ptr().cast()) };
    OK
}
