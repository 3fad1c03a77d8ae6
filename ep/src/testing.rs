//! For tests: graphs built by hand, and plans run on them outside ONNX Runtime.

use std::{borrow::Cow, collections::HashMap};

pub use undertone_kernels::reference::noise::noise;
use undertone_kernels::{Counters, Precision, Serial};

use crate::{
    error::RunError,
    graph::{Attribute, Constant, DataType, Dim, Graph, Node, Value, ValueId},
    kv::KvState,
    memory::{Input, Outputs, Shared, Store},
    ops::{Op, Unsupported},
    options::Options,
    plan::{Plan, smooth},
};

/// Builds a graph node by node; values are named.
#[derive(Clone, Default)]
pub struct Builder {
    graph: Graph<'static>,
    names: HashMap<String, ValueId>,
}

impl Builder {
    pub fn value(&mut self, name: &str) -> ValueId {
        *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.graph.values.push(Value { name: name.to_owned(), ..Value::default() });
            self.graph.values.len() - 1
        })
    }

    fn typed(&mut self, name: &str, dtype: DataType, shape: Option<&[usize]>) -> ValueId {
        let id = self.value(name);
        self.graph.values[id].dtype = Some(dtype);
        self.graph.values[id].shape = shape.map(|shape| shape.iter().map(|dim| Dim::Fixed(*dim)).collect());
        id
    }

    pub fn input(mut self, name: &str, dtype: DataType, shape: &[usize]) -> Self {
        let id = self.typed(name, dtype, Some(shape));
        self.graph.inputs.push(id);
        self
    }

    pub fn constant(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let id = self.typed(name, DataType::F32, Some(shape));
        let bytes = Cow::Owned(bytemuck::cast_slice(values).to_vec());
        self.graph.values[id].constant = Some(Constant::new(DataType::F32, shape.to_vec(), bytes));
        self
    }

    pub fn bytes(mut self, name: &str, dtype: DataType, shape: &[usize], bytes: &[u8]) -> Self {
        let id = self.typed(name, dtype, Some(shape));
        let bytes = Cow::Owned(bytes.to_vec());
        self.graph.values[id].constant = Some(Constant::new(dtype, shape.to_vec(), bytes));
        self
    }

    pub fn integers(self, name: &str, values: &[i64]) -> Self {
        self.bytes(name, DataType::I64, &[values.len()], bytemuck::cast_slice(values))
    }

    /// A node with one fp32 result of unknown shape.
    pub fn node(self, op_type: &str, inputs: &[&str], output: &str) -> Self {
        self.node_of(op_type, inputs, &[(output, DataType::F32)], &[])
    }

    pub fn node_of(
        mut self,
        op_type: &str,
        inputs: &[&str],
        outputs: &[(&str, DataType)],
        attributes: &[(&str, Attribute<'static>)],
    ) -> Self {
        let inputs = inputs.iter().map(|name| (!name.is_empty()).then(|| self.value(name))).collect();
        let outputs = outputs.iter().map(|(name, dtype)| Some(self.typed(name, *dtype, None))).collect();
        self.graph.nodes.push(Node {
            name: format!("{op_type}_{}", self.graph.nodes.len()),
            op_type: op_type.to_owned(),
            domain: String::new(),
            since_version: 17,
            inputs,
            outputs,
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            exact: false,
        });
        self
    }

    pub fn transpose(self, x: &str, perm: &[i64], y: &str) -> Self {
        self.node_of("Transpose", &[x], &[(y, DataType::F32)], &[("perm", Attribute::Ints(perm.to_vec()))])
    }

    /// Attention of `q`, `k` and `v`, in two heads.
    pub fn two_heads(self, out: &'static str) -> Self {
        let heads = [("num_heads", Attribute::Int(2))];
        self.node_of("MultiHeadAttention", &["q", "k", "v"], &[(out, DataType::F32)], &heads).of_microsoft()
    }

    /// The last node's operator is one of ONNX Runtime's own.
    pub fn of_microsoft(mut self) -> Self {
        self.graph.nodes.last_mut().expect("a node").domain = "com.microsoft".to_owned();
        self
    }

    /// Declares a value's shape, as inference would.
    pub fn shape(mut self, name: &str, shape: &[usize]) -> Self {
        let id = self.value(name);
        self.graph.values[id].shape = Some(shape.iter().map(|dim| Dim::Fixed(*dim)).collect());
        self
    }

    pub fn build(mut self, outputs: &[&str]) -> Graph<'static> {
        self.graph.outputs = outputs.iter().map(|name| self.names[*name]).collect();
        self.graph
    }
}

/// A result: its shape and its bytes.
pub struct Output {
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Output {
    pub fn floats(&self) -> Vec<f32> {
        bytemuck::pod_collect_to_vec(&self.bytes)
    }
}

/// Room that outputs are cut from, as ONNX Runtime's allocator would give it.
struct Room<'io> {
    free: Vec<Option<&'io mut [u8]>>,
    shapes: Vec<(Vec<usize>, usize)>,
    sizes: Vec<usize>,
}

impl<'io> Outputs<'io> for Room<'io> {
    fn output(&mut self, index: usize, shape: &[usize]) -> Result<&'io mut [u8], RunError> {
        let len = shape.iter().product::<usize>() * self.sizes[index];
        self.shapes[index] = (shape.to_vec(), len);
        let room = self.free[index].take().ok_or_else(|| RunError::Runtime("asked for twice".into()))?;
        room.get_mut(..len).ok_or_else(|| RunError::Runtime("more than the test has room for".into()))
    }
}

/// Runs a plan on the calling thread; `room` is the most bytes of an output.
pub fn run(plan: &Plan, graph: &Graph<'_>, inputs: &[Input<'_>], room: usize) -> Result<Vec<Output>, RunError> {
    run_with(plan, graph, inputs, room, None)
}

/// As [`run`], with a cache that stays in the EP.
pub fn run_with(
    plan: &Plan,
    graph: &Graph<'_>,
    inputs: &[Input<'_>],
    room: usize,
    state: Option<&mut KvState>,
) -> Result<Vec<Output>, RunError> {
    // As words, so that the bytes are aligned as ONNX Runtime's are.
    let mut buffers = vec![vec![0u64; room.div_ceil(8)]; graph.outputs.len()];
    let mut outputs = Room {
        free: buffers.iter_mut().map(|buffer| Some(bytemuck::cast_slice_mut(buffer))).collect(),
        shapes: vec![(Vec::new(), 0); graph.outputs.len()],
        sizes: graph.outputs.iter().map(|id| graph.values[*id].dtype.map_or(0, DataType::size)).collect(),
    };
    plan.run(inputs, &mut outputs, &Serial, &Counters::new(), state, None)?;
    let shapes = std::mem::take(&mut outputs.shapes);
    drop(outputs);
    Ok(shapes
        .into_iter()
        .zip(&buffers)
        .map(|((shape, len), buffer)| Output { shape, bytes: bytemuck::cast_slice(buffer)[..len].to_vec() })
        .collect())
}

/// An fp32 operand.
pub fn floats<'a>(shape: &'a [usize], values: &'a [f32]) -> Input<'a> {
    Input { dtype: DataType::F32, shape, bytes: bytemuck::cast_slice(values) }
}

/// An int64 operand.
pub fn integers<'a>(shape: &'a [usize], values: &'a [i64]) -> Input<'a> {
    Input { dtype: DataType::I64, shape, bytes: bytemuck::cast_slice(values) }
}

/// The plan of a graph without fusion: each node by itself, the obvious version.
pub fn unfused(graph: &Graph<'_>, options: &Options) -> Plan {
    let (graph, program) = crate::lower::lower_in_parts(graph);
    Plan::from_program(&graph, program, options, &Store::new(&Shared::default())).expect("a plan of single steps")
}

/// The plan of a graph with fusion, each fused step carried out by itself.
pub fn fused_singly(graph: &Graph<'_>, options: &Options) -> Plan {
    let (graph, program) = crate::lower::lower_in_parts(graph);
    let mut program = crate::fusion::fuse(&graph, program);
    let graph = smooth(&graph, &mut program, options);
    Plan::from_program(&graph, program, options, &Store::new(&Shared::default())).expect("a plan of fused steps")
}

/// The plan of a graph as the EP makes it.
pub fn fused(graph: &Graph<'_>, options: &Options) -> Plan {
    Plan::build(graph, options, &Store::new(&Shared::default())).expect("a plan")
}

/// What the last node of a graph gives, carried out by itself.
pub fn alone(graph: &Graph<'_>, inputs: &[Input<'_>]) -> Output {
    let mut made = run(&unfused(graph, &exact()), graph, inputs, 1 << 16).expect("a run");
    made.pop().expect("a result")
}

/// Why the last node of a graph is not claimed.
pub fn refusal(graph: &Graph<'_>) -> String {
    match crate::lower::lower_in_parts(graph).1.steps.pop().map(|step| step.op) {
        Some(Op::Unsupported(Unsupported { reason, .. })) => reason,
        op => panic!("it is lowered to {op:?}"),
    }
}

/// fp32, so that fused and unfused agree up to rounding.
pub fn exact() -> Options {
    Options { precision: Precision::F32, ..Options::default() }
}

/// Fails unless both are equal up to fp32 rounding.
pub fn assert_close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 2e-5 * want.abs().max(1.0), "at {at}: {got} instead of {want}");
    }
}
