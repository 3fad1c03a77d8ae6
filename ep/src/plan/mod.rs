//! A fused node's plan: a flat list of steps over numbered buffers, with weights quantised and packed once.
//!
//! A run gives inputs, and the steps are carried out one after another. A warm run allocates nothing and takes no lock:
//! its memory is a `Workspace` from a lock-free pool, so that runs may be concurrent.

pub(crate) mod arithmetic;
mod compute;
pub(crate) mod fault;
pub(crate) mod layout;
pub(crate) mod machine;
mod pack;
mod placement;
#[cfg(test)]
mod placement_tests;
pub(crate) mod prepare;
pub(crate) mod profile;
mod resident;
#[cfg(test)]
mod resident_tests;
mod sections;
mod shape_cache;
pub(crate) mod shapes;
mod shared;
mod smoothing;
pub(crate) mod tensor;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use undertone_kernels::{Context, Counters, Device, Parallel};

#[cfg(test)]
pub(crate) use self::smoothing::smooth;
pub use self::{
    arithmetic::{LayerSizes, wide_rows},
    placement::why_not_on_npu,
    prepare::attention_precision,
    shared::{Kept, Key, Made, Record, Shared, Store, WORTH_SHARING},
    tensor::MAX_RANK,
};
use self::{
    compute::Tools,
    layout::Layout,
    machine::{Machine, Workspace},
    prepare::Kernel,
    resident::Keeping,
    sections::Section,
    shape_cache::ShapeRun,
    tensor::Place,
};
use crate::{
    fusion,
    graph::{DataType, Graph},
    kv::KvState,
    lower,
    ops::{Op, Unsupported},
    options::Options,
    program::Program,
};

/// Workspaces kept for later runs; more than this many runs at one moment make their own and drop it.
const KEPT_WORKSPACES: usize = 32;

/// A compiled group of nodes.
pub struct Plan {
    layout: Layout,
    sections: Vec<Section>,
    shape_runs: Vec<Option<ShapeRun>>,
    kernels: Vec<Option<Kernel>>,
    device: Arc<dyn Device>,
    keeping: Keeping,
    workspaces: ArrayQueue<Workspace>,
}

/// An operand as ONNX Runtime hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Element type.
    pub dtype: DataType,
    /// Sizes of its axes.
    pub shape: &'a [usize],
    /// Its elements, row-major.
    pub bytes: &'a [u8],
}

/// Where results are written: memory that ONNX Runtime allocates once a shape is known.
pub trait Outputs<'io> {
    /// The memory of output `index` (its place in [`Graph::outputs`]), made for `shape`. Asked for once in a run.
    ///
    /// # Errors
    /// If the memory cannot be had.
    fn output(&mut self, index: usize, shape: &[usize]) -> Result<&'io mut [u8], RunError>;
}

/// Why a group cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A node of the group was not claimed: the group is not one that the partition made.
    #[error("node {node}: {reason}; the group given to compile is not the one that was claimed")]
    NotClaimed {
        /// Its name, or operator where it has none.
        node: String,
        /// Why.
        reason: String,
    },
    /// A constant that a kernel needs is missing or of another type or shape than its node asks.
    #[error("constant {name}: {reason}")]
    Constant {
        /// The value's name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A kernel or constant that was packed before is missing or damaged.
    #[error("{0}")]
    Kept(String),
    /// No device takes the kernel.
    #[error(transparent)]
    Unsupported(#[from] undertone_kernels::Unsupported),
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A step found operands that its operation is not defined for.
    #[error("{step}: {reason}")]
    Step {
        /// The operator and the name of the step's last node.
        step: String,
        /// What is wrong, with the shapes.
        reason: String,
    },
    /// A step was not carried out, though its operation is defined for its operands.
    #[error("{step}: {reason}")]
    Failed {
        /// The operator and the name of the step's last node.
        step: String,
        /// What its device or the memory's owner says.
        reason: String,
    },
    /// An input differs from what the graph declares.
    #[error("input {index}: {reason}")]
    Input {
        /// Its place among the fused node's inputs.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// ONNX Runtime refused memory or data.
    #[error("{0}")]
    Runtime(String),
}

impl Plan {
    /// Compiles `graph`, which is a group's own graph: all of its nodes must be supported.
    ///
    /// # Errors
    /// [`PlanError`] says which node or constant, and why.
    pub fn build(graph: &Graph<'_>, options: &Options, store: &Store<'_>) -> Result<Self, PlanError> {
        let mut program = fusion::fuse(graph, lower::lower(graph)).without_dead_steps(graph);
        let graph = &*smoothing::smooth(graph, &mut program, options);
        let (program, sections) = sections::arrange(graph, program);
        Self::from_sections(graph, program, sections, options, store)
    }

    /// Plans a program whose steps are carried out one by one: the obvious version.
    #[cfg(test)]
    pub(crate) fn from_program(
        graph: &Graph<'_>,
        program: Program,
        options: &Options,
        store: &Store<'_>,
    ) -> Result<Self, PlanError> {
        let program = program.without_dead_steps(graph);
        let sections = sections::singles(program.steps.len());
        Self::from_sections(graph, program, sections, options, store)
    }

    fn from_sections(
        graph: &Graph<'_>,
        program: Program,
        sections: Vec<Section>,
        options: &Options,
        store: &Store<'_>,
    ) -> Result<Self, PlanError> {
        for step in &program.steps {
            let reason = match &step.op {
                Op::Unsupported(Unsupported(reason)) => reason.clone(),
                Op::QuantisedPart(part) => part.reason(),
                _ => continue,
            };
            return Err(PlanError::NotClaimed { node: step_name(graph, step), reason });
        }
        let pack::Packed { kernels, constants } = pack::pack(graph, &program, options, store)?;
        let layout = Layout::new(graph, program, &sections, store)?;
        // The layout has found them by now, and holds them.
        drop(constants);
        let shape_runs =
            shape_cache::find(&layout.steps, &sections, |value| matches!(layout.homes[value], Place::Constant(_)));
        let keeping = Keeping { isa: store.host().isa(), precision: options.precision };
        let device = store.device(store.placed());
        Ok(Self {
            layout,
            sections,
            shape_runs,
            kernels,
            device,
            keeping,
            workspaces: ArrayQueue::new(KEPT_WORKSPACES),
        })
    }

    /// Carries out the plan. `inputs` are in the order of [`Graph::inputs`]. With a `state`, cached tensors are read
    /// from it and kept in it, whatever is given for them, and outputs of no length stand in their places.
    ///
    /// # Errors
    /// [`RunError`]; outputs are then unspecified.
    pub fn run<'io>(
        &self,
        inputs: &[Input<'io>],
        outputs: &mut dyn Outputs<'io>,
        pool: &dyn Parallel,
        counters: &Counters,
        state: Option<&mut KvState>,
    ) -> Result<(), RunError> {
        let mut workspace = self.workspaces.pop().unwrap_or_else(|| Workspace::new(&self.layout));
        let mut scratch = std::mem::take(&mut workspace.scratch);
        let mut machine = Machine::new(&self.layout, &mut workspace, inputs, outputs, state)?;
        let mut context = Context { pool, counters, scratch: &mut scratch };
        let parts = || {
            self.sections.iter().map(|section| {
                let steps = section.steps.clone();
                (section.kind, &self.layout.steps[steps.clone()], &self.kernels[steps])
            })
        };
        let tools = Tools { device: &*self.device, keeping: self.keeping };
        let mut recorder = profile::Recorder::new(self.sections.len());
        let mut passed = 0;
        for (at, (kind, steps, kernels)) in parts().enumerate() {
            if let Some(run) = self.shape_runs[at].as_ref().filter(|run| machine.passes_over(at, run)) {
                passed = at + run.sections;
            }
            if at < passed {
                if let Some(recorder) = &mut recorder {
                    recorder.passed_over();
                }
                continue;
            }
            compute::section(&mut machine, kind, steps, kernels, tools, &mut context)?;
            if let Some(recorder) = &mut recorder {
                recorder.carried_out();
            }
        }
        self.keeping.choose(&mut machine, &self.layout.resident, &mut context).map_err(RunError::Runtime)?;
        if let Some(mut recorder) = recorder {
            recorder.carried_out();
            recorder.finish(&machine, parts().map(|(_, steps, kernels)| (steps, kernels)));
        }
        machine.export()?;
        workspace.scratch = scratch;
        workspace.complete = true;
        // A full pool drops the workspace: that is what it is for.
        let _ = self.workspaces.push(workspace);
        Ok(())
    }
}

/// What an error message calls a step.
fn step_name(graph: &Graph<'_>, step: &crate::program::Step) -> String {
    let node = step.nodes.last().map(|id| &graph.nodes[*id]);
    match node {
        Some(node) if node.name.is_empty() => node.op_type.clone(),
        Some(node) => format!("{} {}", node.op_type, node.name),
        None => step.op.kind().to_owned(),
    }
}
