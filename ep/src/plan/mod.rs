//! A fused node's plan: a flat list of steps over numbered buffers, with weights quantised and packed once.
//!
//! A run gives inputs, and the steps are carried out one after another. A warm run allocates nothing and takes no lock:
//! its memory is a `Workspace` from a lock-free pool, so that runs may be concurrent.

mod caches;
mod compute;
mod cross;
mod estimate;
mod expand;
mod layout;
mod load;
mod machine;
mod pack;
mod placement;
#[cfg(test)]
mod placement_tests;
pub mod profile;
mod resident;
#[cfg(test)]
mod resident_tests;
mod sections;
mod shape_cache;
mod shapes;
mod smoothing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use undertone_kernels::{Context, Counters, Device, DeviceKind, Parallel};

#[cfg(test)]
pub use self::smoothing::smooth;
use self::{
    caches::Caches, compute::Tools, layout::ValueLayout, load::Load, machine::Machine, machine::Workspace,
    sections::Section, shape_cache::ShapeRun,
};
pub use self::{
    estimate::{ASSUMED, Estimate},
    placement::why_not_on_npu,
};
use crate::{
    error::{PlanError, RunError},
    fusion,
    graph::Graph,
    kv::KvState,
    lower,
    memory::{Input, Location, Outputs, Store},
    ops::{Op, Prepared, Unsupported},
    options::Options,
    program::Program,
    trace::Traced,
};

/// Workspaces kept for later runs; more than this many runs at one moment make their own and drop it.
const KEPT_WORKSPACES: usize = 32;

/// A compiled group of nodes.
pub struct Plan {
    layout: ValueLayout,
    sections: Vec<Section>,
    shape_runs: Vec<Option<ShapeRun>>,
    prepared: Vec<Option<Prepared>>,
    device: Arc<dyn Device>,
    caches: Caches,
    load: Load,
    workspaces: ArrayQueue<Workspace>,
}

impl Plan {
    /// Compiles `graph`, which is a group's own graph: all of its nodes must be supported. The error, [`PlanError`],
    /// says which node or constant, and why.
    pub fn build(graph: &Graph<'_>, options: &Options, store: &Store<'_>) -> Result<Self, PlanError> {
        let (graph, program) = lower::lower_in_parts(graph);
        let graph = &*graph;
        let mut program = expand::expand(fusion::fuse(graph, program)).without_dead_steps(graph);
        let graph = &*smoothing::smooth(graph, &mut program, options);
        let (program, sections) = sections::arrange(graph, program, store.placed().is_some());
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
        let program = expand::expand(program).without_dead_steps(graph);
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
                Op::Unsupported(Unsupported { reason, .. }) => reason.clone(),
                Op::QuantisedPart(part) => part.reason(),
                _ => continue,
            };
            return Err(PlanError::NotClaimed { node: step.name(graph), reason });
        }
        let (prepared, constants) = pack::pack(graph, &program, options, store)?;
        let layout = ValueLayout::new(graph, program, &sections, store)?;
        // The layout has found them by now, and holds them.
        drop(constants);
        let shape_runs =
            shape_cache::find(&layout.steps, &sections, |value| matches!(layout.homes[value], Location::Constant(_)));
        let caches = Caches { host: *store.host(), precision: options.precision };
        let device = store.device(store.placed());
        Ok(Self {
            layout,
            sections,
            shape_runs,
            prepared,
            device,
            caches,
            load: Load::default(),
            workspaces: ArrayQueue::new(KEPT_WORKSPACES),
        })
    }

    /// Whether a run is so small, as far as is known before it, that a second thread would only delay it.
    pub fn is_small(&self, inputs: &[Input<'_>]) -> bool {
        self.load.is_small(inputs)
    }

    /// Carries out the plan. `inputs` are in the order of [`Graph::inputs`]. With a `state`, cached tensors are read
    /// from it and kept in it, whatever is given for them, and outputs of no length stand in their places. What is
    /// `traced` is told of the steps. The error is [`RunError`]; outputs are then unspecified.
    pub fn run<'io>(
        &self,
        inputs: &[Input<'io>],
        outputs: &mut dyn Outputs<'io>,
        pool: &dyn Parallel,
        counters: &Counters,
        state: Option<&mut KvState>,
        traced: Option<Traced<'_>>,
    ) -> Result<(), RunError> {
        let mut workspace = self.workspaces.pop().unwrap_or_else(|| Workspace::new(&self.layout));
        let mut scratch = std::mem::take(&mut workspace.scratch);
        let mut machine = Machine::new(&self.layout, &mut workspace, inputs, outputs, state)?;
        let mut context = Context { pool, counters, scratch: &mut scratch };
        let parts = || {
            self.sections.iter().map(|section| {
                let steps = section.steps.clone();
                (section.kind, &self.layout.steps[steps.clone()], &self.prepared[steps])
            })
        };
        let tools = Tools { device: &*self.device, caches: self.caches };
        let beside_npu = self.device.kind() != DeviceKind::Host;
        let mut recorder = profile::Recorder::new(traced, self.sections.len(), beside_npu);
        let mut passed = 0;
        for (at, (kind, steps, prepared)) in parts().enumerate() {
            if let Some(run) = self.shape_runs[at].as_ref().filter(|run| machine.passes_over(at, run)) {
                passed = at + run.sections;
            }
            if at < passed {
                if let Some(recorder) = &mut recorder {
                    recorder.passed_over();
                }
                continue;
            }
            compute::section(&mut machine, kind, steps, prepared, tools, &mut context)?;
            if let Some(recorder) = &mut recorder {
                recorder.carried_out();
            }
        }
        self.caches.choose(&mut machine, &self.layout.resident, &mut context).map_err(RunError::Runtime)?;
        if let Some(mut recorder) = recorder {
            recorder.carried_out();
            recorder.finish(&machine.values, parts().map(|(_, steps, prepared)| (steps, prepared)));
        }
        machine.export()?;
        self.load.learn(inputs, &self.layout, machine.values.tensors);
        workspace.scratch = scratch;
        workspace.complete = true;
        // A full pool drops the workspace: that is what it is for.
        let _ = self.workspaces.push(workspace);
        Ok(())
    }
}
