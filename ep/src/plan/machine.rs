//! The state of one run of a plan: its values, and which of them are still valid from the run before.

use smallvec::SmallVec;
use undertone_kernels::Scratch;

use super::{
    layout::{PlanStep, ValueLayout},
    resident::{self, CachedOutput},
    shape_cache::{Found, ShapeRun},
};
use crate::{
    error::{Fault, RunError},
    graph::{DataType, ValueId},
    kv::{KvState, Slot},
    memory::{Buffer, Destination, Input, Location, MAX_RANK, Outputs, Shape, Tensor, Values},
    ops::Operands,
};

/// The memory of one run, kept for the next.
pub struct Workspace {
    tensors: Vec<Tensor>,
    buffers: Vec<Buffer>,
    /// For each value that follows from shapes whether it is another than in the run before.
    changed: Vec<bool>,
    /// The shapes that the sections of shapes were last carried out with.
    found: Found,
    /// A run went to its end in this memory.
    pub complete: bool,
    /// What kernels use within one call.
    pub scratch: Scratch,
}

impl Workspace {
    /// Empty buffers for a layout.
    pub fn new(layout: &ValueLayout) -> Self {
        Self {
            tensors: layout.tensors.clone(),
            buffers: (0..layout.buffers).map(|_| Buffer::default()).collect(),
            changed: vec![false; layout.tensors.len()],
            found: Found::new(layout.steps.len()),
            complete: false,
            scratch: Scratch::default(),
        }
    }
}

pub struct Machine<'m, 'io> {
    layout: &'m ValueLayout,
    pub values: Values<'m, 'io>,
    changed: &'m mut [bool],
    found: &'m mut Found,
    /// The run before went to its end.
    complete: bool,
}

impl<'m, 'io> Machine<'m, 'io> {
    /// Checks the inputs and puts them in their places. An error if an input's type is not the declared one, or its
    /// shape has too many axes.
    pub fn new(
        layout: &'m ValueLayout,
        workspace: &'m mut Workspace,
        inputs: &'m [Input<'io>],
        outputs: &'m mut dyn Outputs<'io>,
        state: Option<&'m mut KvState>,
    ) -> Result<Self, RunError> {
        if inputs.len() != layout.inputs.len() {
            let reason = format!("{} inputs were given, {} are declared", inputs.len(), layout.inputs.len());
            return Err(RunError::Input { index: inputs.len(), reason });
        }
        let mut machine = Self::with(layout, workspace);
        let Values { inputs: given, outputs: taker, written, state: cache, .. } = &mut machine.values;
        (*given, *taker, *cache) = (inputs, Some(outputs), state);
        written.resize_with(layout.outputs, || None);
        for (index, (value, buffer)) in layout.inputs.iter().enumerate() {
            let values = &mut machine.values;
            let imported = match layout.resident.inputs[index] {
                Some(past) if values.state.is_some() => values.import_cached(*value, past.slot, past.plain),
                _ => values.import(index, *value, layout.tensors[*value].dtype, *buffer),
            };
            imported.map_err(|reason| RunError::Input { index, reason })?;
        }
        Ok(machine)
    }

    /// A run of which only shapes and small integers are wanted: inputs have a shape and no data.
    pub fn for_shapes(layout: &'m ValueLayout, workspace: &'m mut Workspace, shapes: &[Shape]) -> Self {
        for ((value, _), shape) in layout.inputs.iter().zip(shapes) {
            workspace.tensors[*value].shape = *shape;
        }
        Self::with(layout, workspace)
    }

    /// A run without inputs, outputs and cache.
    fn with(layout: &'m ValueLayout, workspace: &'m mut Workspace) -> Self {
        let Workspace { tensors, buffers, changed, found, complete, .. } = workspace;
        let values = Values {
            tensors,
            buffers,
            constants: &layout.constants,
            inputs: &[],
            outputs: None,
            written: SmallVec::new(),
            state: None,
        };
        Self { layout, values, changed, found, complete: *complete }
    }

    pub fn operands<'r>(&'r self, step: &'r PlanStep) -> Operands<'r, 'm, 'io> {
        Operands { from: &self.values, values: &step.inputs }
    }

    /// An output that stays in the EP in this run.
    pub fn cached_output(&self, value: ValueId) -> Option<CachedOutput> {
        let state = self.values.state.as_ref()?;
        self.layout.resident.outputs[value].filter(|output| output.slot.is_some() || state.is_asked())
    }

    /// A value lies in a cache.
    pub fn place_cached(&mut self, value: ValueId, slot: Slot, shape: Shape) {
        self.values.tensors[value] = Tensor { dtype: DataType::F32, shape, location: Location::Cached(slot) };
    }

    /// Whether what the sections of a shape run compute, the first of them number `at`, is valid from the run before.
    pub fn passes_over(&mut self, at: usize, shape_run: &ShapeRun) -> bool {
        let same = self.found.same(at, shape_run.asked.iter().map(|value| self.values.tensors[*value].shape));
        let valid = same && self.complete && shape_run.read.iter().all(|value| !self.changed[*value]);
        if valid {
            shape_run.made.iter().for_each(|value| self.changed[*value] = false);
        }
        valid
    }

    /// Whether a step's result is valid from the run before: it follows from shapes, and what it is made of is as it
    /// was then.
    pub fn is_valid(&mut self, step: &PlanStep) -> bool {
        let as_before =
            |value: &ValueId| matches!(self.layout.homes[*value], Location::Constant(_)) || !self.changed[*value];
        let valid = step.of_shapes
            && self.complete
            && !step.op.reads_shape_only()
            && step.inputs.iter().flatten().all(as_before);
        if valid {
            self.changed[step.output] = false;
        }
        valid
    }

    /// What [`Machine::note_change`] is to compare with: the sizes that a step gave in the run before.
    pub fn former_sizes(&self, step: &PlanStep) -> Option<SmallVec<[i64; MAX_RANK]>> {
        let asked = step.op.reads_shape_only() && step.of_shapes && self.complete;
        asked.then(|| self.values.data(step.output).map(SmallVec::from_slice).unwrap_or_default())
    }

    /// A step that follows from shapes was carried out; if it gives sizes, `former` are those of the run before.
    pub fn note_change(&mut self, step: &PlanStep, former: Option<SmallVec<[i64; MAX_RANK]>>) {
        if step.of_shapes {
            let sizes = |former: SmallVec<[i64; MAX_RANK]>| {
                self.values.data(step.output).is_ok_and(|sizes: &[i64]| *sizes == former[..])
            };
            self.changed[step.output] = !former.is_some_and(sizes);
        }
    }

    /// Whether a value shares its bytes with another, and so has no place of its own.
    pub fn has_no_home(&self, value: ValueId) -> bool {
        self.layout.homes[value] == Location::Unknown
    }

    /// Memory for a result. It must be given back with [`Values::finish`]. An error if the memory cannot be had.
    pub fn begin(&mut self, output: ValueId, shape: Shape) -> Result<Destination<'io>, Fault> {
        // What stays in the EP is not given out: it lies in a buffer as long as the run reads it.
        let cached = self.cached_output(output).map(|cached| Location::Buffer(cached.buffer));
        self.values.begin(output, cached.unwrap_or(self.layout.homes[output]), shape)
    }

    /// Writes the fp16 outputs, which were computed in fp32, and gives nothing in the place of what stays in the EP. An
    /// error if the memory cannot be had.
    pub fn export(&mut self) -> Result<(), RunError> {
        for value in &self.layout.resident.values {
            let (Some(cached), Some(outputs)) = (self.cached_output(*value), &mut self.values.outputs) else {
                continue;
            };
            outputs.output(cached.output as usize, &resident::nothing_of(&self.values.tensors[*value].shape))?;
        }
        for (value, index) in &self.layout.exports {
            if self.cached_output(*value).is_none() {
                self.values.export(*value, *index)?;
            }
        }
        Ok(())
    }
}
