//! Where each value of a program lives during a run: constants, inputs, outputs, and buffers that values share one
//! after another.

use std::sync::Arc;

use super::{
    cross,
    resident::Resident,
    sections::{self, Section},
};
use crate::{
    error::PlanError,
    graph::{Constant, DataType, Graph, NodeId, ValueId},
    memory::{Location, Shape, Store, Stored, Tensor, computed, scalar},
    ops::{Op, ProductOp},
    program::Program,
};

/// A step of a plan.
pub struct PlanStep {
    pub op: Op,
    pub inputs: Vec<Option<ValueId>>,
    pub output: ValueId,
    /// The decoder layer whose cross-attention it is.
    pub cross: Option<u32>,
    /// What an error message calls it.
    pub name: String,
    /// Names of the graph's nodes that it stands for, for whoever asks where the time goes.
    pub nodes: Box<[String]>,
    /// Its result follows from shapes alone: it is computed again only if they change from one run to the next.
    pub of_shapes: bool,
}

/// What a reader finds a node by: its name, or that of its first result.
fn node_name(graph: &Graph<'_>, node: NodeId) -> String {
    let node = &graph.nodes[node];
    let result = || node.outputs.iter().flatten().next().map(|value| graph.values[*value].name.clone());
    if node.name.is_empty() { result().unwrap_or_default() } else { node.name.clone() }
}

/// Steps and the places of their values.
pub struct ValueLayout {
    pub steps: Vec<PlanStep>,
    /// For each value of the graph its state before the first step: constants are in place, others have a type only.
    pub tensors: Vec<Tensor>,
    /// For each value where its bytes will be; [`Location::Unknown`] for values that share another's.
    pub homes: Vec<Location>,
    /// Constants that steps read as operands.
    pub constants: Vec<Arc<Stored>>,
    pub buffers: usize,
    /// The graph's inputs: value, and the buffer that an fp16 input is converted into.
    pub inputs: Vec<(ValueId, Option<u32>)>,
    /// fp16 outputs: value and output number.
    pub exports: Vec<(ValueId, usize)>,
    pub outputs: usize,
    /// The cached tensors that may stay in the EP.
    pub resident: Resident,
}

impl ValueLayout {
    /// Lays out a program for execution in `sections`: what a section's steps read and write never shares memory. An
    /// error if a constant is damaged or of a type that steps cannot read.
    pub fn new(
        graph: &Graph<'_>,
        program: Program,
        sections: &[Section],
        store: &Store<'_>,
    ) -> Result<Self, PlanError> {
        let mut layout = Self::empty(graph);
        layout.resident = Resident::find(graph, &program.steps);
        layout.place_constants(graph, &program, |constant| store.constant(constant).map(Some))?;
        layout.place_values(graph, program, sections);
        Ok(layout)
    }

    /// Lays out a program of which only shapes, and the small integers that shapes are made of, are wanted: large
    /// constants are not copied, and steps may be unsupported.
    pub fn for_shapes(graph: &Graph<'_>, program: Program) -> Result<Self, PlanError> {
        const LARGEST: usize = 4096;
        let mut layout = Self::empty(graph);
        layout.place_constants(graph, &program, |constant| {
            if constant.len() <= LARGEST { Stored::copy_of(constant).map(|c| Some(Arc::new(c))) } else { Ok(None) }
        })?;
        let sections = sections::singles(program.steps.len());
        layout.place_values(graph, program, &sections);
        Ok(layout)
    }

    fn empty(graph: &Graph<'_>) -> Self {
        let tensors = graph
            .values
            .iter()
            .map(|value| Tensor {
                dtype: computed(value.dtype.unwrap_or(DataType::F32)),
                shape: scalar(),
                location: Location::Unknown,
            })
            .collect();
        Self {
            steps: Vec::new(),
            tensors,
            homes: vec![Location::Unknown; graph.values.len()],
            constants: Vec::new(),
            buffers: 0,
            inputs: graph.inputs.iter().map(|value| (*value, None)).collect(),
            exports: Vec::new(),
            outputs: graph.outputs.len(),
            resident: Resident::none(graph),
        }
    }

    fn place_constants(
        &mut self,
        graph: &Graph<'_>,
        program: &Program,
        store: impl Fn(&Constant<'_>) -> Result<Option<Arc<Stored>>, String>,
    ) -> Result<(), PlanError> {
        for value in program.steps.iter().flat_map(|step| step.inputs.iter().flatten().copied()) {
            let Some(constant) = &graph.values[value].constant else { continue };
            if self.homes[value] != Location::Unknown {
                continue;
            }
            let error = |reason: String| PlanError::Constant { name: graph.values[value].name.clone(), reason };
            let shape = Shape::new(&constant.shape).ok_or_else(|| error("too many axes".into()))?;
            self.tensors[value].shape = shape;
            if let Some(stored) = store(constant).map_err(error)? {
                let location = Location::Constant(self.constants.len() as u32);
                self.tensors[value] = Tensor { dtype: stored.dtype, shape, location };
                self.homes[value] = location;
                self.constants.push(stored);
            }
        }
        Ok(())
    }

    /// For each step whether its result follows from shapes and constants alone, and stays in the plan.
    fn of_shapes(&self, graph: &Graph<'_>, program: &Program) -> Vec<bool> {
        let mut steady: Vec<bool> = self.homes.iter().map(|home| matches!(home, Location::Constant(_))).collect();
        let of_shapes = program.steps.iter().map(|step| {
            let [output] = step.outputs[..] else { return false };
            let packed = match step.op.product() {
                Some(ProductOp::Linear(_) | ProductOp::Attention(_) | ProductOp::Conv1d(_)) => true,
                Some(ProductOp::MatMul) | None => false,
            };
            let follows = step.op.reads_shape_only() || step.inputs.iter().flatten().all(|value| steady[*value]);
            steady[output] = follows && !packed && !graph.outputs.contains(&output);
            steady[output]
        });
        of_shapes.collect()
    }

    fn place_values(&mut self, graph: &Graph<'_>, program: Program, sections: &[Section]) {
        let of_shapes = self.of_shapes(graph, &program);
        // The time at which each step is carried out: that of its section.
        let time = || sections.iter().enumerate().flat_map(|(at, section)| section.steps.clone().map(move |_| at));
        for (index, value) in graph.inputs.iter().enumerate() {
            self.homes[*value] = Location::Input(index as u32);
        }
        for (index, value) in graph.outputs.iter().enumerate() {
            if graph.values[*value].dtype == Some(DataType::F16) {
                self.exports.push((*value, index));
            } else if self.homes[*value] == Location::Unknown {
                self.homes[*value] = Location::Output(index as u32);
            }
        }

        // A view's bytes are its root's: the root must live as long as any of its views.
        let mut root: Vec<ValueId> = (0..graph.values.len()).collect();
        let mut last_use = vec![0; graph.values.len()];
        for (at, step) in time().zip(&program.steps) {
            for value in step.inputs.iter().flatten() {
                last_use[root[*value]] = at;
            }
            let (Some(Some(source)), Some(output)) = (step.inputs.first(), step.outputs.first()) else { continue };
            let view = step.op.operator().is_view(self.tensors[*source].dtype, self.tensors[*output].dtype);
            if view && self.homes[*output] == Location::Unknown {
                root[*output] = root[*source];
            }
        }
        for (value, _) in &self.exports {
            last_use[root[*value]] = usize::MAX;
        }

        let mut free: Vec<u32> = Vec::new();
        let mut take = |free: &mut Vec<u32>| {
            free.pop().unwrap_or_else(|| {
                self.buffers += 1;
                self.buffers as u32 - 1
            })
        };
        let mut ends: Vec<(usize, u32)> = Vec::new();
        for (value, buffer) in &mut self.inputs {
            if graph.values[*value].dtype == Some(DataType::F16) {
                let taken = take(&mut free);
                *buffer = Some(taken);
                ends.push((last_use[*value], taken));
            }
        }
        for (past, value) in self.resident.inputs.iter_mut().zip(&graph.inputs) {
            if let Some(past) = past.as_mut().filter(|past| past.is_plain) {
                let taken = take(&mut free);
                past.plain = Some(taken);
                ends.push((last_use[*value], taken));
            }
        }
        if let Some(value) = self.resident.logits {
            last_use[value] = usize::MAX;
        }
        for (index, (at, step)) in time().zip(&program.steps).enumerate() {
            // Buffers whose last reader has run are free; this step's own operands are not yet.
            ends.retain(|(end, buffer)| {
                let over = *end < at;
                if over {
                    free.push(*buffer);
                }
                !over
            });
            let Some(output) = step.outputs.first().copied() else { continue };
            if root[output] == output && self.homes[output] == Location::Unknown {
                if of_shapes[index] {
                    // Nobody else's, ever: the next run finds it as it is.
                    self.homes[output] = Location::Buffer(take(&mut Vec::new()));
                    continue;
                }
                let buffer = take(&mut free);
                self.homes[output] = Location::Buffer(buffer);
                ends.push((last_use[output].max(at), buffer));
                if let Some(cached) = &mut self.resident.outputs[output] {
                    cached.buffer = buffer;
                }
            } else if let Some(cached) = &mut self.resident.outputs[output] {
                cached.buffer = take(&mut free);
                ends.push((last_use[output].max(at), cached.buffer));
            }
        }
        let cross = cross::layers(graph, &program.steps);
        self.steps = program
            .steps
            .into_iter()
            .zip(of_shapes.into_iter().zip(cross))
            .filter(|(step, _)| !step.outputs.is_empty())
            .map(|(step, (of_shapes, cross))| PlanStep {
                of_shapes,
                cross,
                name: step.name(graph),
                nodes: step.nodes.iter().map(|node| node_name(graph, *node)).collect(),
                output: step.outputs[0],
                op: step.op,
                inputs: step.inputs,
            })
            .collect();
    }
}
