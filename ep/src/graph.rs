//! An ONNX graph as the EP sees it during one call from ONNX Runtime: nodes, values, shapes and constants.
//!
//! Everything is owned except the bytes of constants, which borrow from ONNX Runtime for the length of the call (`'a`):
//! the compiler sees to it that none of them outlives it. Nothing here calls ONNX Runtime; tests build graphs by hand.

use std::{borrow::Cow, collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Deserializer, Serialize};
use twox_hash::XxHash3_128;
use undertone_boundary::words;

/// Index of a node in [`Graph::nodes`].
pub type NodeId = usize;
/// Index of a value in [`Graph::values`].
pub type ValueId = usize;

words!(
    /// Element type of a tensor, with ONNX's word for it.
    #[derive(Serialize, Deserialize)]
    DataType, "element type", {
        F32 = "float",
        F16 = "float16",
        Bf16 = "bfloat16",
        F64 = "double",
        I8 = "int8",
        U8 = "uint8",
        I16 = "int16",
        U16 = "uint16",
        I32 = "int32",
        U32 = "uint32",
        I64 = "int64",
        U64 = "uint64",
        Bool = "bool",
        U4 = "uint4",
        I4 = "int4",
    }
);

impl DataType {
    /// Bytes of one element; one byte for the two elements of four bits that it holds.
    pub fn size(self) -> usize {
        match self {
            DataType::U4 | DataType::I4 | DataType::I8 | DataType::U8 | DataType::Bool => 1,
            DataType::F16 | DataType::Bf16 | DataType::I16 | DataType::U16 => 2,
            DataType::F32 | DataType::I32 | DataType::U32 => 4,
            DataType::F64 | DataType::I64 | DataType::U64 => 8,
        }
    }

    /// Bytes of so many elements, or the largest number if that is too small.
    pub fn bytes(self, elements: usize) -> usize {
        match self {
            DataType::U4 | DataType::I4 => elements.div_ceil(2),
            _ => elements.saturating_mul(self.size()),
        }
    }

    /// Whether it is a floating-point type that the plan computes in fp32.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::F32 | DataType::F16)
    }

    /// From `ONNXTensorElementDataType` (the same numbers as ONNX's `TensorProto.DataType`); `None` for strings,
    /// complex numbers, floating-point types of 8 and 4 bits, and 2-bit types.
    pub fn from_onnx(code: i32) -> Option<Self> {
        Some(match code {
            1 => DataType::F32,
            2 => DataType::U8,
            3 => DataType::I8,
            4 => DataType::U16,
            5 => DataType::I16,
            6 => DataType::I32,
            7 => DataType::I64,
            9 => DataType::Bool,
            10 => DataType::F16,
            11 => DataType::F64,
            12 => DataType::U32,
            13 => DataType::U64,
            16 => DataType::Bf16,
            21 => DataType::U4,
            22 => DataType::I4,
            _ => return None,
        })
    }
}

/// One axis of a value's declared shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dim {
    Fixed(usize),
    /// Known by a name, such as `past_decoder_sequence_length`.
    Named(String),
    Unknown,
}

/// A tensor whose contents are known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Constant<'a> {
    pub dtype: DataType,
    /// Sizes of its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements, row-major, in this machine's byte order. Not necessarily aligned. None in a graph from a
    /// container, if they are in packed kernels only.
    #[serde(serialize_with = "serde_bytes::serialize", deserialize_with = "owned")]
    pub bytes: Cow<'a, [u8]>,
    /// What tells its contents from others.
    pub digest: Digest,
}

/// 128 bits of a hash of some bytes, computed when first asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Option<u128>", into = "Option<u128>")]
pub struct Digest(OnceLock<u128>);

impl From<Option<u128>> for Digest {
    fn from(known: Option<u128>) -> Self {
        Self(known.map(OnceLock::from).unwrap_or_default())
    }
}

impl From<Digest> for Option<u128> {
    fn from(digest: Digest) -> Self {
        digest.0.into_inner()
    }
}

/// Bytes that do not borrow from what they are read from.
fn owned<'de, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, [u8]>, D::Error> {
    serde_bytes::deserialize::<Vec<u8>, D>(from).map(Cow::Owned)
}

impl<'a> Constant<'a> {
    /// From its parts.
    pub fn new(dtype: DataType, shape: Vec<usize>, bytes: Cow<'a, [u8]>) -> Self {
        Self { dtype, shape, bytes, digest: Digest::default() }
    }

    /// Bytes that its elements take.
    pub fn size(&self) -> usize {
        self.dtype.bytes(self.len())
    }

    /// What tells its contents from others of the same type and shape.
    pub fn digest(&self) -> u128 {
        *self.digest.0.get_or_init(|| XxHash3_128::oneshot(&self.bytes))
    }

    /// The same without its elements.
    pub fn emptied(&self) -> Constant<'static> {
        let digest = Some(self.digest()).into();
        Constant { dtype: self.dtype, shape: self.shape.clone(), bytes: Cow::Borrowed(&[]), digest }
    }

    /// How many elements it has; the largest number there is, if no number holds them.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |count, length| count.saturating_mul(*length))
    }
}

/// What a node's attribute holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Attribute<'a> {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
    Tensor(Constant<'a>),
    /// A subgraph, or a kind that this EP does not read.
    Other,
}

/// An edge of the graph: what a node makes, an input of the graph, or a constant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Value<'a> {
    /// Its name in the model.
    pub name: String,
    /// Element type, if it is a tensor of a type that this EP knows.
    pub dtype: Option<DataType>,
    /// Declared or inferred shape; `None` if the rank is unknown.
    pub shape: Option<Vec<Dim>>,
    /// Its contents, if they are fixed (an initializer that no input overrides, also of an outer graph).
    pub constant: Option<Constant<'a>>,
    /// Why the contents are not here though they are fixed: nodes that read it cannot be claimed.
    pub unreadable: Option<String>,
}

/// One operator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Node<'a> {
    /// Its name in the model; often empty.
    pub name: String,
    /// ONNX operator, such as `MatMul`.
    pub op_type: String,
    /// Operator set's domain; empty for ONNX's own.
    pub domain: String,
    /// First version of the operator set that has this definition of the operator.
    pub since_version: i32,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where an optional one is left out.
    pub outputs: Vec<Option<ValueId>>,
    pub attributes: BTreeMap<String, Attribute<'a>>,
    /// A product that the partition wants computed in fp32, whatever precision was asked for.
    pub exact: bool,
}

/// A graph, or a group of its nodes that ONNX Runtime hands back to be compiled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Graph<'a> {
    /// Its name in the model.
    pub name: String,
    /// Names of the node and attribute that it is a body of (`If.then_branch`); empty for the model's main graph.
    pub within: String,
    /// Nodes, in an order in which every value is made before it is used.
    pub nodes: Vec<Node<'a>>,
    pub values: Vec<Value<'a>>,
    /// The graph's inputs, in order; constants are not among them.
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
}

impl Node<'_> {
    /// The operands up to the last that is given.
    pub fn used_inputs(&self) -> &[Option<ValueId>] {
        &self.inputs[..self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)]
    }

    /// An integer attribute, or ONNX's default for it.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A float attribute, or ONNX's default for it.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    /// A list of integers, if the attribute is there.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }
}
