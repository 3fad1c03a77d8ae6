//! What a value is during a run: an element type, a shape, and the location of its bytes.

pub use undertone_kernels::{
    Buffer,
    host::movement::{MAX_RANK, Shape},
};

use crate::{graph::DataType, kv::Slot};

/// A shape from its axes' lengths one by one; `None` if there are more than [`MAX_RANK`].
pub fn shape_of(dims: impl IntoIterator<Item = usize>) -> Option<Shape> {
    let mut held = [0; MAX_RANK];
    let mut rank = 0;
    for dim in dims {
        *held.get_mut(rank)? = dim;
        rank += 1;
    }
    Shape::new(&held[..rank])
}

/// The shape of a scalar.
pub fn scalar() -> Shape {
    shape_of([]).unwrap_or_else(|| unreachable!("no axes are not too many"))
}

/// Where a value's bytes lie during a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: not made yet, or only its shape is of interest.
    #[default]
    Unknown,
    /// The plan's constant of this number.
    Constant(u32),
    /// The fused node's input of this number.
    Input(u32),
    /// The fused node's output of this number.
    Output(u32),
    /// The workspace's buffer of this number.
    Buffer(u32),
    /// A key-value cache that stays in the EP.
    Cached(Slot),
}

/// A value during a run.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Element type as computed: fp16 values are fp32 here.
    pub dtype: DataType,
    pub shape: Shape,
    pub location: Location,
}
