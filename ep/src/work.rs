//! How much work a graph is, and how large its values are, for sizes that a person would recognise: an estimate for reports, made
//! by carrying out only the shapes.
//!
//! Nothing here is measured, and nothing is executed.

use crate::{
    graph::{Dim, Graph, ValueId},
    plan::{
        shapes::infer_all,
        tensor::{Shape, shape_of},
    },
    program::{HeadLayout, Op, Program, Step},
};

/// Sizes assumed for axes that a graph leaves open: part of the axis' name, and the size. The first that matches counts.
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
pub struct Work {
    /// For each step of the program its floating-point operations (a multiplication and an addition are two), or 0 for steps
    /// that are no products.
    pub flops: Vec<f64>,
    /// For each value of the graph its shape, if it could be told.
    pub shapes: Vec<Option<Shape>>,
}

impl Work {
    /// Estimates every step of `program`.
    pub fn estimate(graph: &Graph<'_>, program: &Program) -> Self {
        let declared: Vec<Option<Shape>> = (0..graph.values.len()).map(|value| assumed(graph, value)).collect();
        let shapes = infer_all(graph, program, &declared);
        let flops = program.steps.iter().map(|step| products(graph, step, &shapes).unwrap_or(0.0)).collect();
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

/// Floating-point operations of a product.
fn products(graph: &Graph<'_>, step: &Step, shapes: &[Option<Shape>]) -> Option<f64> {
    let input = |index: usize| shapes[step.inputs.get(index).copied().flatten()?];
    let weights = |value: ValueId| graph.values[value].constant.as_ref().map(|constant| constant.len() as f64);
    Some(match &step.op {
        Op::Linear { weights: matrix, .. } => {
            let x = input(0)?;
            let rows = x.elements() as f64 / (*x.last()?).max(1) as f64;
            2.0 * rows * weights(matrix.value)?
        }
        Op::MatMul => {
            let (a, out) = (input(0)?, shapes[step.outputs[0]]?);
            2.0 * out.elements() as f64 * *a.last()? as f64
        }
        Op::Attention { k, .. } => {
            let (queries, keys) = (input(0)?, input(1)?);
            let length = match k {
                HeadLayout::HeadsFirst => *keys.get(2)?,
                HeadLayout::LengthFirst => *keys.get(1)?,
            };
            // Both products: every element of q meets every key, and every score each element of a value.
            4.0 * queries.elements() as f64 * length as f64
        }
        Op::Conv1d(conv) => {
            let out = shapes[step.outputs[0]]?;
            let per_output =
                weights(conv.weights.value)? / graph.values[conv.weights.value].constant.as_ref()?.shape[0] as f64;
            2.0 * out.elements() as f64 * per_output
        }
        _ => return None,
    })
}
