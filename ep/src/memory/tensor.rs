//! What a value is during a run: an element type, a shape, and the location of its bytes.

use bytemuck::{Pod, Zeroable};
pub use undertone_kernels::host::movement::{MAX_RANK, Shape};

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

/// Sixteen floats: what keeps buffers aligned for the widest vector loads.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

/// Bytes aligned to 64 that grow to their largest use and then stay.
#[derive(Default)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(bytes.len());
        buffer.bytes_mut(bytes.len()).copy_from_slice(bytes);
        buffer
    }

    /// Makes room for `len` bytes; contents are kept, new ones are zero.
    pub fn reserve(&mut self, len: usize) {
        let lines = len.div_ceil(size_of::<Line>());
        if self.0.len() < lines {
            self.0.resize(lines, Line::zeroed());
        }
    }

    /// The first `len` bytes.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }

    /// The first `len` fp32 values, to be written; there is room for them after this.
    pub fn floats_mut(&mut self, len: usize) -> &mut [f32] {
        self.reserve(len * size_of::<f32>());
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }

    /// The first `len` bytes, to be written.
    ///
    /// # Panics
    /// If the buffer is shorter.
    pub fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }
}
