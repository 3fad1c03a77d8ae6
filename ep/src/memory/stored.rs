//! Constants as plans hold them.

use std::borrow::Cow;

use half::f16;
use undertone_kernels::Blob;

use super::tensor::Buffer;
use crate::graph::{Constant, DataType};

/// A constant as plans hold it, aligned to 64 bytes: fp16 became fp32.
pub struct Stored {
    pub dtype: DataType,
    /// Bytes of its elements.
    len: usize,
    contents: Contents,
}

/// Where a constant's bytes are.
enum Contents {
    /// Copied from the graph.
    Owned(Buffer),
    /// In a file that was written before.
    Packed(Blob),
}

/// The type in which values of a declared type are computed.
pub fn computed(dtype: DataType) -> DataType {
    if dtype == DataType::F16 { DataType::F32 } else { dtype }
}

impl Stored {
    /// A copy of a constant. An error, in words, if it is damaged.
    pub fn copy_of(constant: &Constant<'_>) -> Result<Self, String> {
        if constant.bytes.len() != constant.size() {
            return Err(format!("{} bytes for {:?} of {}", constant.bytes.len(), constant.shape, constant.dtype));
        }
        let dtype = computed(constant.dtype);
        let buffer = match constant.dtype {
            DataType::F16 => Buffer::copy_of(bytemuck::cast_slice(&floats(constant)?)),
            _ => Buffer::copy_of(&constant.bytes),
        };
        Ok(Self { dtype, len: dtype.bytes(constant.len()), contents: Contents::Owned(buffer) })
    }

    /// A constant that is used where it lies. An error, in words, if `parts` are not its bytes, aligned.
    pub fn in_place(constant: &Constant<'_>, parts: &[Blob]) -> Result<Self, String> {
        let dtype = computed(constant.dtype);
        let len = dtype.bytes(constant.len());
        match parts {
            [blob] if blob.bytes().len() == len && (blob.bytes().as_ptr() as usize).is_multiple_of(64) => {
                Ok(Self { dtype, len, contents: Contents::Packed(blob.clone()) })
            }
            _ => Err(format!("a packed constant is not {len} aligned bytes")),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.contents {
            Contents::Owned(buffer) => buffer.bytes(self.len),
            Contents::Packed(blob) => &blob.bytes()[..self.len],
        }
    }

    /// Lets go of memory of which a run uses only some.
    pub fn forget(&self) {
        if let Contents::Packed(blob) = &self.contents {
            blob.forget(0..self.len);
        }
    }
}

/// A floating-point constant's values. An error, in words, if it is of another type.
pub fn floats<'c>(constant: &'c Constant<'_>) -> Result<Cow<'c, [f32]>, String> {
    match constant.dtype {
        DataType::F32 => Ok(bytemuck::try_cast_slice(&constant.bytes)
            .map_or_else(|_| Cow::Owned(bytemuck::pod_collect_to_vec(&constant.bytes)), Cow::Borrowed)),
        DataType::F16 => {
            let halves = constant.bytes.chunks_exact(2);
            Ok(halves.map(|half| f16::from_ne_bytes([half[0], half[1]]).to_f32()).collect())
        }
        other => Err(format!("it is {other}, floating point was expected")),
    }
}
