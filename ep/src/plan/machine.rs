//! The state of one run: where each value is, and its bytes. Steps read and write through it.

use bytemuck::Pod;
use smallvec::SmallVec;
use undertone_kernels::Scratch;

use super::{
    Input, Outputs, RunError,
    fault::Fault,
    layout::{Layout, PlanStep, computed},
    resident::{self, Kept, Past},
    shape_cache::{Found, ShapeRun},
    tensor::{Buffer, MAX_RANK, Place, Shape, Tensor},
};
use crate::{
    graph::{DataType, ValueId},
    kv::{KvState, Slot},
};
use undertone_kernels::host::KvCache;

/// Outputs that are remembered without allocation; the decoders of tiny, base and small have at most 49.
const INLINE_OUTPUTS: usize = 64;

/// The memory of one run, kept for the next.
pub struct Workspace {
    tensors: Vec<Tensor>,
    slots: Vec<Buffer>,
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
    pub fn new(layout: &Layout) -> Self {
        let slots = (0..layout.slots).map(|_| Buffer::default()).collect();
        let changed = vec![false; layout.tensors.len()];
        Self {
            tensors: layout.tensors.clone(),
            slots,
            changed,
            found: Found::new(layout.steps.len()),
            complete: false,
            scratch: Scratch::default(),
        }
    }
}

/// One run.
pub struct Machine<'m, 'io> {
    layout: &'m Layout,
    workspace: &'m mut Workspace,
    inputs: &'m [Input<'io>],
    outputs: Option<&'m mut dyn Outputs<'io>>,
    /// The run's key-value cache, if it stays in the EP.
    state: Option<&'m mut KvState>,
    taken: SmallVec<[Option<&'io mut [u8]>; INLINE_OUTPUTS]>,
}

/// Memory of a result while it is being written, outside the machine so that operands can be read.
pub enum Target<'io> {
    /// A buffer of the workspace.
    Slot(u32, Buffer),
    /// An output of the fused node.
    Output(u32, &'io mut [u8]),
}

type Stepped<T> = Result<T, String>;

impl<'m, 'io> Machine<'m, 'io> {
    /// Checks the inputs and puts them in their places.
    ///
    /// # Errors
    /// If an input's type is not the declared one, or its shape has too many axes.
    pub fn new(
        layout: &'m Layout,
        workspace: &'m mut Workspace,
        inputs: &'m [Input<'io>],
        outputs: &'m mut dyn Outputs<'io>,
        state: Option<&'m mut KvState>,
    ) -> Result<Self, RunError> {
        let mut taken = SmallVec::new();
        taken.resize_with(layout.outputs, || None);
        let mut machine = Self { layout, workspace, inputs, outputs: Some(outputs), state, taken };
        if inputs.len() != layout.inputs.len() {
            let reason = format!("{} inputs were given, {} are declared", inputs.len(), layout.inputs.len());
            return Err(RunError::Input { index: inputs.len(), reason });
        }
        for (index, input) in inputs.iter().enumerate() {
            machine.import(index, input).map_err(|reason| RunError::Input { index, reason })?;
        }
        Ok(machine)
    }

    /// A run of which only shapes and small integers are wanted: inputs have a shape and no data.
    pub fn for_shapes(layout: &'m Layout, workspace: &'m mut Workspace, shapes: &[Shape]) -> Self {
        for ((value, _), shape) in layout.inputs.iter().zip(shapes) {
            workspace.tensors[*value].shape = *shape;
        }
        Self { layout, workspace, inputs: &[], outputs: None, state: None, taken: SmallVec::new() }
    }

    fn import(&mut self, index: usize, input: &Input<'io>) -> Stepped<()> {
        let (value, slot) = self.layout.inputs[index];
        if let (Some(past), Some(_)) = (self.layout.resident.inputs[index], &self.state) {
            return self.import_cached(value, past);
        }
        let shape = Shape::new(input.shape).ok_or_else(|| format!("{} axes", input.shape.len()))?;
        let declared = self.layout.tensors[value].dtype;
        if computed(input.dtype) != declared {
            return Err(format!("it is {}, declared as {declared}", input.dtype));
        }
        if input.bytes.len() != shape.elements() * input.dtype.size() {
            return Err(format!("{} bytes for {shape:?} of {}", input.bytes.len(), input.dtype));
        }
        let mut place = Place::Input(index as u32);
        if let Some(slot) = slot.filter(|_| input.dtype == DataType::F16) {
            let buffer = &mut self.workspace.slots[slot as usize];
            buffer.reserve(shape.elements() * size_of::<f32>());
            let halves: &[u16] = bytemuck::try_cast_slice(input.bytes).map_err(|error| error.to_string())?;
            let floats: &mut [f32] = bytemuck::cast_slice_mut(buffer.bytes_mut(shape.elements() * size_of::<f32>()));
            for (float, half) in floats.iter_mut().zip(halves) {
                *float = half::f16::from_bits(*half).to_f32();
            }
            place = Place::Slot(slot);
        }
        self.workspace.tensors[value] = Tensor { dtype: declared, shape, place };
        Ok(())
    }

    /// Takes an input from the run's cache; what the program feeds in its place is not looked at.
    fn import_cached(&mut self, value: ValueId, past: Past) -> Stepped<()> {
        let cache = self.state.as_ref().and_then(|state| state.get(past.slot));
        let cache = cache.ok_or("its cache is empty: begin a sequence with the first step's graph")?;
        let shape = Shape::new(&cache.shape()).ok_or("four axes are too many")?;
        let mut place = Place::Cached(past.slot);
        if let Some(buffer) = past.plain {
            let len = shape.elements() * size_of::<f32>();
            let memory = &mut self.workspace.slots[buffer as usize];
            memory.reserve(len);
            cache.read(bytemuck::cast_slice_mut(memory.bytes_mut(len)));
            place = Place::Slot(buffer);
        }
        self.workspace.tensors[value] = Tensor { dtype: DataType::F32, shape, place };
        Ok(())
    }

    /// The run's cache, if there is one and it is wanted; to be given back with [`Machine::give_state`].
    pub fn take_state_if(&mut self, wanted: impl FnOnce(&KvState) -> bool) -> Option<&'m mut KvState> {
        self.state.take_if(|state| wanted(state))
    }

    /// Gives back what [`Machine::take_state_if`] took.
    pub fn give_state(&mut self, state: &'m mut KvState) {
        self.state = Some(state);
    }

    /// What is kept of a value in this run.
    pub fn kept(&self, value: ValueId) -> Option<Kept> {
        let state = self.state.as_ref()?;
        self.layout.resident.kept[value].filter(|kept| kept.slot.is_some() || state.is_asked())
    }

    /// The cache that a value lies in.
    pub fn cached(&self, value: ValueId) -> Option<&KvCache> {
        match (self.workspace.tensors[value].place, &self.state) {
            (Place::Cached(slot), Some(state)) => state.get(slot),
            _ => None,
        }
    }

    /// A value lies in a cache.
    pub fn place_cached(&mut self, value: ValueId, slot: Slot, shape: Shape) {
        self.workspace.tensors[value] = Tensor { dtype: DataType::F32, shape, place: Place::Cached(slot) };
    }

    /// Type, shape and place of a value.
    pub fn tensor(&self, value: ValueId) -> &Tensor {
        &self.workspace.tensors[value]
    }

    /// Shape of a value.
    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.workspace.tensors[value].shape
    }

    /// Elements of a value.
    ///
    /// # Errors
    /// If the value is of another element size or not aligned.
    pub fn data<T: Pod>(&self, value: ValueId) -> Stepped<&[T]> {
        let tensor = &self.workspace.tensors[value];
        let len = tensor.shape.elements() * tensor.dtype.size();
        let bytes = match tensor.place {
            Place::Unknown => return Err("an operand has no data".into()),
            Place::Cached(_) => return Err("an operand stays in the key-value cache".into()),
            Place::Constant(index) => self.layout.constants[index as usize].contents.bytes(len),
            Place::Input(index) => self.inputs[index as usize].bytes,
            Place::Output(index) => {
                self.taken[index as usize].as_deref().ok_or("an output is read before it is made")?
            }
            Place::Slot(index) => self.workspace.slots[index as usize].bytes(len),
        };
        if tensor.dtype.size() != size_of::<T>() {
            return Err(format!("an operand of {} is read as elements of {} bytes", tensor.dtype, size_of::<T>()));
        }
        if bytes.is_empty() {
            // Empty tensors may lie anywhere, aligned or not.
            return Ok(&[]);
        }
        bytemuck::try_cast_slice(bytes).map_err(|error| format!("an operand cannot be read: {error}"))
    }

    /// Whether what the sections of a shape run compute, the first of them number `at`, stands from the run before.
    pub fn passes_over(&mut self, at: usize, shape_run: &ShapeRun) -> bool {
        let Workspace { tensors, changed, found, complete, .. } = &mut *self.workspace;
        let same = found.same(at, shape_run.asked.iter().map(|value| tensors[*value].shape));
        let stands = same && *complete && shape_run.read.iter().all(|value| !changed[*value]);
        if stands {
            shape_run.made.iter().for_each(|value| changed[*value] = false);
        }
        stands
    }

    /// Whether a step's result stands from the run before: it follows from shapes, and what it is made of is as it was
    /// then.
    pub fn stands(&mut self, step: &PlanStep) -> bool {
        let Workspace { changed, complete, .. } = &*self.workspace;
        let as_before = |value: &ValueId| matches!(self.layout.homes[*value], Place::Constant(_)) || !changed[*value];
        let stands =
            step.of_shapes && *complete && !step.op.reads_shape_only() && step.inputs.iter().flatten().all(as_before);
        if stands {
            self.workspace.changed[step.output] = false;
        }
        stands
    }

    /// What [`Machine::note_change`] is to compare with: the sizes that a step gave in the run before.
    pub fn former_sizes(&self, step: &PlanStep) -> Option<SmallVec<[i64; MAX_RANK]>> {
        let asked = step.op.reads_shape_only() && step.of_shapes && self.workspace.complete;
        asked.then(|| self.data(step.output).map(SmallVec::from_slice).unwrap_or_default())
    }

    /// A step that follows from shapes was carried out; if it gives sizes, `former` are those of the run before.
    pub fn note_change(&mut self, step: &PlanStep, former: Option<SmallVec<[i64; MAX_RANK]>>) {
        if step.of_shapes {
            let same =
                former.is_some_and(|former| self.data(step.output).is_ok_and(|sizes: &[i64]| *sizes == former[..]));
            self.workspace.changed[step.output] = !same;
        }
    }

    /// Gives `output` another shape of `source`'s bytes.
    pub fn view(&mut self, output: ValueId, source: ValueId, shape: Shape) {
        let Tensor { dtype, place, .. } = self.workspace.tensors[source];
        self.workspace.tensors[output] = Tensor { dtype, shape, place };
    }

    /// Notes a result's shape without making it.
    pub fn note(&mut self, output: ValueId, shape: Shape) {
        self.workspace.tensors[output].shape = shape;
        self.workspace.tensors[output].place = Place::Unknown;
    }

    /// Whether a value shares its bytes with another, and so has no place of its own.
    pub fn has_no_home(&self, value: ValueId) -> bool {
        self.layout.homes[value] == Place::Unknown
    }

    /// Memory for a result. It must be given back with [`Machine::finish`].
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn begin(&mut self, output: ValueId, shape: Shape) -> Result<Target<'io>, Fault> {
        // What is kept is not given out: it lies in a buffer as long as the run reads it.
        let place = self.kept(output).map_or(self.layout.homes[output], |kept| Place::Slot(kept.buffer));
        let tensor = &mut self.workspace.tensors[output];
        tensor.shape = shape;
        tensor.place = place;
        let len = shape.elements() * tensor.dtype.size();
        match (tensor.place, &mut self.outputs) {
            (Place::Slot(index), _) => {
                let mut buffer = std::mem::take(&mut self.workspace.slots[index as usize]);
                buffer.reserve(len);
                Ok(Target::Slot(index, buffer))
            }
            (Place::Output(index), Some(outputs)) => {
                let memory = outputs.output(index as usize, &shape)?;
                if memory.len() != len {
                    return Err(Fault::Failed(format!("output {index} has {} bytes for {shape:?}", memory.len())));
                }
                Ok(Target::Output(index, memory))
            }
            _ => Err(Fault::Failed("a result has no place".into())),
        }
    }

    /// Gives back the memory of a result that was written.
    pub fn finish(&mut self, target: Target<'io>) {
        match target {
            Target::Slot(index, buffer) => self.workspace.slots[index as usize] = buffer,
            Target::Output(index, memory) => self.taken[index as usize] = Some(memory),
        }
    }

    /// Writes the fp16 outputs, which were computed in fp32, and gives nothing in the place of what is kept.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn export(&mut self) -> Result<(), RunError> {
        for value in &self.layout.resident.outputs {
            let (Some(kept), Some(outputs)) = (self.kept(*value), &mut self.outputs) else { continue };
            let nothing = resident::nothing_of(&self.workspace.tensors[*value].shape);
            outputs.output(kept.output as usize, &nothing)?;
        }
        for (value, index) in &self.layout.exports {
            if self.kept(*value).is_some() {
                continue;
            }
            let shape = *self.shape(*value);
            let Some(outputs) = &mut self.outputs else { return Ok(()) };
            let memory = outputs.output(*index, &shape)?;
            let halves: &mut [u16] =
                bytemuck::try_cast_slice_mut(memory).map_err(|error| RunError::Runtime(error.to_string()))?;
            let floats = self.data::<f32>(*value).map_err(RunError::Runtime)?;
            for (half, float) in halves.iter_mut().zip(floats) {
                *half = half::f16::from_f32(*float).to_bits();
            }
        }
        Ok(())
    }
}

impl Target<'_> {
    /// The result's elements.
    ///
    /// # Errors
    /// If they are not aligned.
    pub fn elements<T: Pod>(&mut self, len: usize) -> Stepped<&mut [T]> {
        let bytes = match self {
            Target::Slot(_, buffer) => buffer.bytes_mut(len * size_of::<T>()),
            Target::Output(_, memory) => memory,
        };
        if bytes.is_empty() {
            return Ok(&mut []);
        }
        bytemuck::try_cast_slice_mut(bytes).map_err(|error| format!("a result cannot be written: {error}"))
    }
}
