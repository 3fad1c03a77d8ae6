//! A graph as the pretended ONNX Runtime holds it. What it shows of it are pointers to these.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
    sync::Arc,
};

/// A tensor's type, as far as it is known.
#[derive(Clone, Debug)]
pub struct Type {
    /// `ONNXTensorElementDataType`; 0 where nothing is known.
    pub code: i32,
    /// −1 for an axis of unknown length; `None` for an unknown rank.
    pub dims: Option<Vec<i64>>,
    /// What axes of unknown length are called; empty for nothing.
    pub names: Vec<CString>,
}

/// Contents of a tensor.
#[derive(Debug)]
pub struct Tensor {
    pub kind: Type,
    pub bytes: Vec<u8>,
}

/// An edge of the graph.
#[derive(Debug)]
pub struct Value {
    pub name: CString,
    pub kind: Type,
    pub constant: Option<Tensor>,
    /// It is of a graph around this one.
    pub is_outer: bool,
}

/// What a node's attribute holds.
#[derive(Debug)]
pub enum Content {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<CString>),
    Tensor(Arc<Value>),
}

/// An attribute of a node.
#[derive(Debug)]
pub struct Attribute {
    pub name: CString,
    pub content: Content,
    /// It is a list, if its kind has both.
    pub is_list: bool,
}

/// One operator, or a fused node.
#[derive(Debug, Default)]
pub struct Node {
    pub name: CString,
    pub op_type: CString,
    pub domain: CString,
    pub since_version: i32,
    pub inputs: Vec<Option<Arc<Value>>>,
    pub outputs: Vec<Option<Arc<Value>>>,
    pub attributes: Vec<Attribute>,
}

/// A graph, in the order of its nodes.
#[derive(Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Arc<Node>>,
    pub inputs: Vec<Arc<Value>>,
    pub outputs: Vec<Arc<Value>>,
    /// Where its model lies.
    pub path: CString,
}

impl Graph {
    /// The graph of a group of nodes, and the node that stands for it: its operands are what the group reads, its
    /// results what is read of it elsewhere.
    pub fn fused(&self, group: &BTreeSet<usize>) -> (Graph, Node) {
        let key = |value: &Arc<Value>| Arc::as_ptr(value);
        let inside = || group.iter().map(|at| &self.nodes[*at]);
        let made: BTreeSet<_> = inside().flat_map(|node| node.outputs.iter().flatten().map(key)).collect();
        let outside = self.nodes.iter().enumerate().filter(|(at, _)| !group.contains(at));
        let read: BTreeSet<_> = outside.flat_map(|(_, node)| node.inputs.iter().flatten().map(key)).collect();
        let given: BTreeSet<_> = self.outputs.iter().map(key).collect();
        let mut operands = BTreeMap::new();
        let inputs = inside()
            .flat_map(|node| node.inputs.iter().flatten())
            .filter(|value| value.constant.is_none() && !made.contains(&key(value)))
            .filter(|value| operands.insert(key(value), ()).is_none());
        let node = Node {
            name: c"fused".to_owned(),
            inputs: inputs.map(|value| Some(Arc::clone(value))).collect(),
            outputs: inside()
                .flat_map(|node| node.outputs.iter().flatten())
                .filter(|value| read.contains(&key(value)) || given.contains(&key(value)))
                .map(|value| Some(Arc::clone(value)))
                .collect(),
            ..Node::default()
        };
        let values = |ends: &[Option<Arc<Value>>]| ends.iter().flatten().cloned().collect();
        let graph = Graph {
            nodes: inside().cloned().collect(),
            inputs: values(&node.inputs),
            outputs: values(&node.outputs),
            path: self.path.clone(),
        };
        (graph, node)
    }
}
