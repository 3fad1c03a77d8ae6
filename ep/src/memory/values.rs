//! The values of one run: what each is, where its bytes are, and the bytes. Operations read and write through it.

use std::sync::Arc;

use bytemuck::Pod;
use smallvec::SmallVec;
use undertone_kernels::host::KvCache;

use super::{
    stored::{Stored, computed},
    tensor::{Buffer, Location, Shape, Tensor},
};
use crate::{
    error::{Fault, RunError},
    graph::{DataType, ValueId},
    kv::{KvState, Slot},
};

/// Outputs that are remembered without allocation; the decoders of tiny, base and small have at most 49.
const INLINE_OUTPUTS: usize = 64;

/// An operand as ONNX Runtime hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub dtype: DataType,
    pub shape: &'a [usize],
    /// Its elements, row-major.
    pub bytes: &'a [u8],
}

/// Where results are written: memory that ONNX Runtime allocates once a shape is known.
pub trait Outputs<'io> {
    /// The memory of output `index` (its place in [`Graph::outputs`](crate::graph::Graph::outputs)), made for `shape`.
    /// Asked for once in a run. An error if the memory cannot be had.
    fn output(&mut self, index: usize, shape: &[usize]) -> Result<&'io mut [u8], RunError>;
}

/// One run's values.
pub struct Values<'m, 'io> {
    /// Of each value of the graph.
    pub tensors: &'m mut [Tensor],
    /// The run's own memory.
    pub buffers: &'m mut [Buffer],
    /// The plan's.
    pub constants: &'m [Arc<Stored>],
    /// What ONNX Runtime gave.
    pub inputs: &'m [Input<'io>],
    /// Where it takes results; nowhere in a run of which only shapes are wanted.
    pub outputs: Option<&'m mut dyn Outputs<'io>>,
    /// Outputs that were written.
    pub written: SmallVec<[Option<&'io mut [u8]>; INLINE_OUTPUTS]>,
    /// The run's key-value cache, if it stays in the EP.
    pub state: Option<&'m mut KvState>,
}

/// Memory of a result while it is being written, outside of [`Values`] so that operands can be read.
pub enum Destination<'io> {
    /// A buffer of the run.
    Buffer(u32, Buffer),
    /// An output of the fused node.
    Output(u32, &'io mut [u8]),
}

impl<'m, 'io> Values<'m, 'io> {
    /// Puts input `index` in its place. An fp16 one is converted into `buffer`. An error, in words, if it is not what
    /// was declared: of type `dtype`.
    pub fn import(&mut self, index: usize, value: ValueId, dtype: DataType, buffer: Option<u32>) -> Result<(), String> {
        let input = &self.inputs[index];
        let shape = Shape::new(input.shape).ok_or_else(|| format!("{} axes", input.shape.len()))?;
        if computed(input.dtype) != dtype {
            return Err(format!("it is {}, declared as {dtype}", input.dtype));
        }
        if input.bytes.len() != shape.elements() * input.dtype.size() {
            return Err(format!("{} bytes for {shape:?} of {}", input.bytes.len(), input.dtype));
        }
        let mut location = Location::Input(index as u32);
        if let Some(buffer) = buffer.filter(|_| input.dtype == DataType::F16) {
            let halves: &[u16] = bytemuck::try_cast_slice(input.bytes).map_err(|error| error.to_string())?;
            let floats = self.buffers[buffer as usize].floats_mut(shape.elements());
            for (float, half) in floats.iter_mut().zip(halves) {
                *float = half::f16::from_bits(*half).to_f32();
            }
            location = Location::Buffer(buffer);
        }
        self.tensors[value] = Tensor { dtype, shape, location };
        Ok(())
    }

    /// Takes an input from the run's cache; what the program feeds in its place is not looked at. With a `buffer` it is
    /// written there as a plain tensor. An error, in words, if the cache is empty.
    pub fn import_cached(&mut self, value: ValueId, slot: Slot, buffer: Option<u32>) -> Result<(), String> {
        let cache = self.state.as_ref().and_then(|state| state.get(slot));
        let cache = cache.ok_or("its cache is empty: begin a sequence with the first step's graph")?;
        let shape = Shape::new(&cache.shape()).ok_or("four axes are too many")?;
        let mut location = Location::Cached(slot);
        if let Some(buffer) = buffer {
            cache.read(self.buffers[buffer as usize].floats_mut(shape.elements()));
            location = Location::Buffer(buffer);
        }
        self.tensors[value] = Tensor { dtype: DataType::F32, shape, location };
        Ok(())
    }

    /// The run's cache, if there is one and it is wanted; to be given back with [`Values::give_state`].
    pub fn take_state_if(&mut self, wanted: impl FnOnce(&KvState) -> bool) -> Option<&'m mut KvState> {
        self.state.take_if(|state| wanted(state))
    }

    /// Gives back what [`Values::take_state_if`] took.
    pub fn give_state(&mut self, state: &'m mut KvState) {
        self.state = Some(state);
    }

    /// The cache that a value lies in.
    pub fn cached(&self, value: ValueId) -> Option<&KvCache> {
        match (self.tensors[value].location, &self.state) {
            (Location::Cached(slot), Some(state)) => state.get(slot),
            _ => None,
        }
    }

    /// Type, shape and location of a value.
    pub fn tensor(&self, value: ValueId) -> &Tensor {
        &self.tensors[value]
    }

    pub fn shape(&self, value: ValueId) -> &Shape {
        &self.tensors[value].shape
    }

    /// Elements of a value. An error if the value is of another element size or not aligned.
    pub fn data<T: Pod>(&self, value: ValueId) -> Result<&[T], String> {
        let tensor = &self.tensors[value];
        let bytes = match tensor.location {
            Location::Unknown => return Err("an operand has no data".into()),
            Location::Cached(_) => return Err("an operand stays in the key-value cache".into()),
            Location::Constant(index) => self.constants[index as usize].bytes(),
            Location::Input(index) => self.inputs[index as usize].bytes,
            Location::Output(index) => {
                self.written[index as usize].as_deref().ok_or("an output is read before it is made")?
            }
            Location::Buffer(index) => {
                self.buffers[index as usize].bytes(tensor.shape.elements() * tensor.dtype.size())
            }
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

    /// Gives `output` another shape of `source`'s bytes.
    pub fn view(&mut self, output: ValueId, source: ValueId, shape: Shape) {
        self.tensors[output] = Tensor { shape, ..self.tensors[source] };
    }

    /// Notes a result's shape without making it.
    pub fn note(&mut self, output: ValueId, shape: Shape) {
        self.tensors[output].shape = shape;
        self.tensors[output].location = Location::Unknown;
    }

    /// Memory for a result. It must be given back with [`Values::finish`]. An error if the memory cannot be had.
    pub fn begin(&mut self, output: ValueId, location: Location, shape: Shape) -> Result<Destination<'io>, Fault> {
        let tensor = &mut self.tensors[output];
        *tensor = Tensor { dtype: tensor.dtype, shape, location };
        let len = shape.elements().saturating_mul(tensor.dtype.size());
        match (location, &mut self.outputs) {
            (Location::Buffer(index), _) => {
                let mut buffer = std::mem::take(&mut self.buffers[index as usize]);
                if !buffer.try_reserve(len) {
                    self.buffers[index as usize] = buffer;
                    return Err(Fault::Operands(format!("its result {shape:?} is larger than memory")));
                }
                Ok(Destination::Buffer(index, buffer))
            }
            (Location::Output(index), Some(outputs)) => {
                let memory = outputs.output(index as usize, &shape)?;
                if memory.len() != len {
                    return Err(Fault::Failed(format!("output {index} has {} bytes for {shape:?}", memory.len())));
                }
                Ok(Destination::Output(index, memory))
            }
            _ => Err(Fault::Failed("a result has no place".into())),
        }
    }

    /// Gives back the memory of a result that was written.
    pub fn finish(&mut self, destination: Destination<'io>) {
        match destination {
            Destination::Buffer(index, buffer) => self.buffers[index as usize] = buffer,
            Destination::Output(index, memory) => self.written[index as usize] = Some(memory),
        }
    }

    /// Writes output `index`, an fp16 one, which was computed in fp32. An error if the memory cannot be had.
    pub fn export(&mut self, value: ValueId, index: usize) -> Result<(), RunError> {
        let Some(outputs) = &mut self.outputs else { return Ok(()) };
        let memory = outputs.output(index, &self.tensors[value].shape)?;
        let halves: &mut [u16] =
            bytemuck::try_cast_slice_mut(memory).map_err(|error| RunError::Runtime(error.to_string()))?;
        let floats = self.data::<f32>(value).map_err(RunError::Runtime)?;
        for (half, float) in halves.iter_mut().zip(floats) {
            *half = half::f16::from_f32(*float).to_bits();
        }
        Ok(())
    }
}

impl Destination<'_> {
    /// The result's elements. An error if they are not aligned.
    pub fn elements<T: Pod>(&mut self, len: usize) -> Result<&mut [T], String> {
        let bytes = match self {
            Destination::Buffer(_, buffer) => buffer.bytes_mut(len * size_of::<T>()),
            Destination::Output(_, memory) => memory,
        };
        if bytes.is_empty() {
            return Ok(&mut []);
        }
        bytemuck::try_cast_slice_mut(bytes).map_err(|error| format!("a result cannot be written: {error}"))
    }
}
