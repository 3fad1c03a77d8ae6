//! What an operation sees of a plan's run: its operands, its kernel, and the memory of its result.

use bytemuck::Pod;
use undertone_kernels::host::{HostDevice, movement::broadcast_shape};

use super::prepare::Prepared;
use crate::{
    error::Fault,
    graph::{DataType, ValueId},
    memory::{Destination, Shape, Values, shape_of},
};

/// What a shape rule gives, or what the operands lack for the operation to be defined.
pub type Inferred<T> = Result<T, String>;

/// What an operation's work gives, or why it gives nothing.
pub type Computed<T> = Result<T, Fault>;

/// The operands of a step while a plan runs.
#[derive(Clone, Copy)]
pub struct Operands<'r, 'm, 'io> {
    /// Where their values are.
    pub from: &'r Values<'m, 'io>,
    /// What they are; `None` where an optional one is left out.
    pub values: &'r [Option<ValueId>],
}

impl<'r, 'm, 'io> Operands<'r, 'm, 'io> {
    /// Operand `index`, if it is given.
    pub fn get(&self, index: usize) -> Option<ValueId> {
        self.values.get(index).copied().flatten()
    }

    /// Operand `index`. An error if it is left out.
    pub fn value(&self, index: usize) -> Inferred<ValueId> {
        self.get(index).ok_or_else(|| format!("operand {index} is missing"))
    }

    /// The shape of operand `index`. An error if it is left out.
    pub fn shape(&self, index: usize) -> Inferred<&'r Shape> {
        self.value(index).map(|value| self.from.shape(value))
    }

    /// The element type of operand `index`. An error if it is left out.
    pub fn dtype(&self, index: usize) -> Inferred<DataType> {
        self.value(index).map(|value| self.from.tensor(value).dtype)
    }

    /// The elements of operand `index`. An error if it is left out, or of another element size.
    pub fn data<T: Pod>(&self, index: usize) -> Inferred<&'r [T]> {
        self.from.data(self.value(index)?)
    }

    /// The elements of operand `index`, if it is given. An error if it is of another element size.
    pub fn optional<T: Pod>(&self, index: usize) -> Inferred<Option<&'r [T]>> {
        self.get(index).map(|value| self.from.data(value)).transpose()
    }

    /// The shape that the first `count` operands broadcast to. An error if they do not.
    pub fn broadcast<const COUNT: usize>(&self) -> Inferred<Shape> {
        let mut shapes = [&[][..]; COUNT];
        for (index, shape) in shapes.iter_mut().enumerate() {
            *shape = self.shape(index)?;
        }
        broadcast_shape(&shapes).ok_or_else(|| format!("{shapes:?} do not broadcast"))
    }

    /// Operand `index`, which is a shape. An error if it is left out, or has a negative entry.
    pub fn sizes(&self, index: usize) -> Inferred<Shape> {
        let values: &[i64] = self.data(index)?;
        let shape = shape_of(values.iter().map(|value| *value as usize));
        shape.filter(|_| values.iter().all(|value| *value >= 0)).ok_or_else(|| format!("{values:?} is no shape"))
    }
}

/// A step that is carried out: what it reads, and the memory of its result.
pub struct StepRun<'r, 'm, 'io> {
    pub operands: Operands<'r, 'm, 'io>,
    pub prepared: Option<&'r Prepared>,
    /// What computes where nothing was prepared.
    pub host: HostDevice,
    pub dtype: DataType,
    pub shape: Shape,
    pub destination: &'r mut Destination<'io>,
}

impl StepRun<'_, '_, '_> {
    /// The result's elements. An error if they are not aligned.
    pub fn elements<T: Pod>(&mut self) -> Result<&mut [T], String> {
        self.destination.elements(self.shape.elements())
    }

    /// The result's rows along the last axis: how many, and how wide.
    pub fn rows(&self) -> [usize; 2] {
        let width = self.shape.last().copied().unwrap_or(1);
        [self.shape.elements().checked_div(width).unwrap_or(0), width]
    }

    /// The host device, for fp32 functions. An error if the result is not fp32.
    pub fn fp32(&self) -> Computed<HostDevice> {
        match self.dtype {
            DataType::F32 => Ok(self.host),
            other => Err(format!("it has no function for {other}").into()),
        }
    }

    /// Carries out `op` on elements of the result's size. Errors are those of `op`.
    pub fn of_any_element(&mut self, op: &impl AnyElement) -> Computed<()> {
        match self.dtype.size() {
            1 => op.run_of::<u8>(self),
            2 => op.run_of::<u16>(self),
            4 => op.run_of::<u32>(self),
            _ => op.run_of::<u64>(self),
        }
    }
}

/// Work that is the same whatever an element's bits mean.
pub trait AnyElement {
    /// Computes the result, of elements of a certain size. An error if operands do not fit.
    fn run_of<T: Pod>(&self, run: &mut StepRun<'_, '_, '_>) -> Computed<()>;
}

/// Said of a step that runs with a prepared kernel, and has none.
pub const NOT_PREPARED: &str = "it has no kernel";

/// An axis counted from the front. An error if there is no such axis.
pub fn axis(axis: i64, rank: usize) -> Inferred<usize> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(from_front).ok().filter(|axis| *axis < rank).ok_or_else(|| format!("axis {axis} of {rank} axes"))
}
