//! An ONNX graph being built. Values are named after the nodes that make them, so that a name says where in the model
//! it is.

use super::{
    data::{DataFile, Filed, Layout},
    proto::{
        AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
        TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
    },
};
use crate::weights::{Checkpoint, ConvertError};

/// Version of the operators, and of the file format: those of optimum's exports, which older ONNX Runtimes read too.
const OPSET: i64 = 18;
const IR_VERSION: i64 = 8;

/// An axis of an input or output.
#[derive(Clone, Debug)]
pub(super) enum Axis {
    Fixed(usize),
    Open(&'static str),
}

impl From<usize> for Axis {
    fn from(size: usize) -> Self {
        Axis::Fixed(size)
    }
}

impl From<&'static str> for Axis {
    fn from(name: &'static str) -> Self {
        Axis::Open(name)
    }
}

/// An attribute.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
}

/// A graph, the checkpoint that its weights come from, and the file that they go to.
pub(super) struct Builder<'b, 'p> {
    pub(super) checkpoint: &'b Checkpoint,
    data: &'b mut DataFile<'p>,
    graph: GraphProto,
}

impl<'b, 'p> Builder<'b, 'p> {
    pub(super) fn new(checkpoint: &'b Checkpoint, data: &'b mut DataFile<'p>) -> Self {
        Self { checkpoint, data, graph: GraphProto { name: Some("main_graph".to_owned()), ..Default::default() } }
    }

    pub(super) fn finish(self) -> ModelProto {
        ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            producer_name: Some("undertone".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(self.graph),
        }
    }

    /// An input of floats, or of int64.
    pub(super) fn input(&mut self, name: &str, kind: i32, axes: Vec<Axis>) -> String {
        self.graph.input.push(value_info(name, kind, axes));
        name.to_owned()
    }

    /// Declares a value that a node made under this name as an output of floats.
    pub(super) fn output(&mut self, name: &str, axes: Vec<Axis>) {
        self.graph.output.push(value_info(name, TensorProto::FLOAT, axes));
    }

    /// A node; the name of what it makes.
    pub(super) fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: Vec<(&str, Attribute)>) -> String {
        self.node_to(op, name, inputs, attributes, &format!("{name}_output_0"))
    }

    /// A node whose result has a name of its own.
    pub(super) fn node_to(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attribute)>,
        output: &str,
    ) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some(op.to_owned()),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        });
        output.to_owned()
    }

    /// A constant number of a kind that computes.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> String {
        self.constant(name, TensorProto::FLOAT, &[], value.to_le_bytes().to_vec())
    }

    /// A constant index.
    pub(super) fn index(&mut self, name: &str, value: i64) -> String {
        self.constant(name, TensorProto::INT64, &[], value.to_le_bytes().to_vec())
    }

    /// A constant shape, or list of axes.
    pub(super) fn sizes(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, TensorProto::INT64, &[values.len()], raw)
    }

    /// Constants of one name are one.
    fn constant(&mut self, name: &str, kind: i32, dims: &[usize], raw: Vec<u8>) -> String {
        self.initializer(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(kind),
            dims: dims.iter().map(|size| *size as i64).collect(),
            raw_data: Some(raw),
            ..Default::default()
        })
        .0
    }

    /// The name, and whether it is new.
    fn initializer(&mut self, tensor: TensorProto) -> (String, bool) {
        let name = tensor.name.clone().unwrap_or_default();
        let known = self.graph.initializer.iter().any(|known| known.name.as_deref() == Some(name.as_str()));
        if !known {
            self.graph.initializer.push(tensor);
        }
        (name, !known)
    }

    /// A weight of the checkpoint as floats, however it is stored: what is narrow is widened by nodes that read
    /// constants only, which ONNX Runtime carries out once, when it loads.
    pub(super) fn weight(&mut self, name: &str, layout: Layout) -> Result<String, ConvertError> {
        let tensor = self.checkpoint.tensor(name)?;
        let Filed { stored, scale } = self.data.file(name, tensor, layout)?;
        let narrow = stored.data_type != Some(TensorProto::FLOAT);
        let (stored, new) = self.initializer(stored);
        if !narrow {
            return Ok(stored);
        }
        let float = format!("{name}.f32");
        if new {
            let to = || vec![("to", Attribute::Int(i64::from(TensorProto::FLOAT)))];
            match scale {
                None => {
                    self.node_to("Cast", &format!("{name}/Cast"), &[&stored], to(), &float);
                }
                Some(scale) => {
                    let (scale, _) = self.initializer(scale);
                    let cast = self.node("Cast", &format!("{name}/Cast"), &[&stored], to());
                    self.node_to("Mul", &format!("{name}/Mul"), &[&cast, &scale], Vec::new(), &float);
                }
            }
        }
        Ok(float)
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    match value {
        Attribute::Int(value) => (proto.i, proto.r#type) = (Some(value), Some(AttributeProto::INT)),
        Attribute::Float(value) => (proto.f, proto.r#type) = (Some(value), Some(AttributeProto::FLOAT)),
        Attribute::Ints(values) => (proto.ints, proto.r#type) = (values, Some(AttributeProto::INTS)),
    }
    proto
}

fn value_info(name: &str, kind: i32, axes: Vec<Axis>) -> ValueInfoProto {
    let dim = axes
        .into_iter()
        .map(|axis| match axis {
            Axis::Fixed(size) => DimensionProto { dim_value: Some(size as i64), dim_param: None },
            Axis::Open(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
        })
        .collect();
    let tensor_type = TensorTypeProto { elem_type: Some(kind), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
