//! How much work a graph is, and how large its values are, for sizes that a person would recognise: an estimate for
//! reports, made by carrying out only the shapes.
//!
//! Nothing here is measured, and nothing is executed.

use super::shapes::infer_all;
use crate::{
    graph::{Dim, Graph, ValueId},
    memory::{Shape, shape_of},
    ops::{Op, work_left},
    program::{Program, Step},
};

/// Sizes assumed for axes that a graph leaves open: part of the axis' name, and the size. The first that matches
/// counts.
///
/// One sentence half decoded: a batch of one, a cache of 96 tokens, one new token, one window of 30 s.
pub const ASSUMED: [(&str, usize); 5] = [
    ("batch", 1),
    ("encoder_sequence_length", 1500),
    ("past_decoder_sequence_length + decoder_sequence_length", 97),
    ("past_decoder_sequence_length", 96),
    ("decoder_sequence_length", 1),
];

/// Estimated work and sizes.
pub struct Estimate {
    /// For each step of the program its floating-point operations (a multiplication and an addition are two), or 0 for
    /// steps that are no products.
    pub flops: Vec<f64>,
    /// For each value of the graph its shape, if it could be told.
    pub shapes: Vec<Option<Shape>>,
}

impl Estimate {
    /// Estimates every step of `program`.
    pub fn of(graph: &Graph<'_>, program: &Program) -> Self {
        let declared: Vec<Option<Shape>> = (0..graph.values.len()).map(|value| assumed(graph, value)).collect();
        let shapes = infer_all(graph, program, &declared);
        let flops = |step: &Step| {
            let input = |index: usize| shapes[step.input(index)?];
            let result = step.outputs.first().and_then(|output| shapes[*output]);
            let flops = match (&step.op, &step.nodes[..]) {
                (Op::Unsupported(_) | Op::QuantisedPart(_), [node]) => {
                    let node = &graph.nodes[*node];
                    work_left(node, &|index| shapes[node.inputs.get(index).copied().flatten()?], result)
                }
                _ => step.op.operator().flops(&input, result),
            };
            flops.unwrap_or(0.0)
        };
        let flops = program.steps.iter().map(flops).collect();
        Self { flops, shapes }
    }

    /// Bytes of a value, or 0 if its shape is not known.
    pub fn bytes(&self, graph: &Graph<'_>, value: ValueId) -> usize {
        let size = graph.values[value].dtype.map_or(0, |dtype| dtype.size());
        self.shapes[value].map_or(0, |shape| shape.elements() * size)
    }
}

/// A value's declared shape with open axes at their assumed sizes.
fn assumed(graph: &Graph<'_>, value: ValueId) -> Option<Shape> {
    let value = &graph.values[value];
    if let Some(constant) = &value.constant {
        return Shape::new(&constant.shape);
    }
    let dims = value.shape.as_ref()?.iter().map(|dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Named(name) => ASSUMED.iter().find(|(part, _)| name.contains(part)).map(|(_, size)| *size),
        Dim::Unknown => None,
    });
    shape_of(dims.collect::<Option<Vec<usize>>>()?)
}
