//! One tensor of a checkpoint: where it lies and how it is stored. Its values are read when they are asked for, row by
//! row.

use std::{ops::Range, sync::Arc};

use super::{ConvertError, Element, SourceFile};

/// A tensor whose rows (entries of its first axis) are stored one after another.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    stored: Stored,
}

#[derive(Clone, Debug)]
enum Stored {
    File { file: Arc<SourceFile>, offset: u64, element: Element, strides: Option<Vec<u64>>, scale: Option<Scale> },
    Values(Arc<Vec<f32>>),
}

/// What integers are divided by: one number, or one for each row.
#[derive(Clone, Debug)]
pub struct Scale(pub Arc<Vec<f32>>);

impl Tensor {
    /// A tensor that lies in `file` from `offset` on, densely.
    ///
    /// # Errors
    /// [`ConvertError::Damaged`] if the file does not have it whole, or a row is no whole number of blocks.
    pub fn in_file(
        file: &Arc<SourceFile>,
        name: &str,
        shape: Vec<usize>,
        element: Element,
        offset: u64,
    ) -> Result<Self, ConvertError> {
        let numbers = count(&shape).ok_or_else(|| file.damaged(format!("{name} would be {shape:?}")))?;
        let width = numbers / (shape.first().copied().unwrap_or(1).max(1) as u64);
        let bytes = element.bytes(width).and_then(|_| element.bytes(numbers));
        let bytes = bytes.ok_or_else(|| {
            file.damaged(format!("{name} {shape:?} is no whole number of {element:?} blocks in each row"))
        })?;
        file.within(offset, bytes).map_err(|_| {
            let len = file.size();
            file.damaged(format!("{name} should have {bytes} bytes at {offset}, but the file ends at {len}"))
        })?;
        let file = Arc::clone(file);
        Ok(Self { shape, stored: Stored::File { file, offset, element, strides: None, scale: None } })
    }

    /// As [`Self::in_file`], where a step along each axis is a number of elements.
    pub fn strided(
        file: &Arc<SourceFile>,
        name: &str,
        shape: Vec<usize>,
        strides: Vec<u64>,
        element: Element,
        offset: u64,
    ) -> Result<Self, ConvertError> {
        if strides == dense_strides(&shape) {
            return Self::in_file(file, name, shape, element, offset);
        }
        let too_large = || file.damaged(format!("{name} would be {shape:?} with strides {strides:?}"));
        if strides.len() != shape.len() || element.block().0 != 1 {
            return Err(too_large());
        }
        let numbers = count(&shape).ok_or_else(too_large)?;
        let last = shape.iter().zip(&strides).try_fold(0_u64, |last, (size, stride)| {
            (*size as u64).saturating_sub(1).checked_mul(*stride).and_then(|span| last.checked_add(span))
        });
        let span = last.and_then(|last| last.checked_add(1)).ok_or_else(too_large)?;
        // Numbers that repeat (a stride of zero) would take more memory than the file has.
        if numbers == 0 || numbers > span {
            return Err(too_large());
        }
        file.within(offset, element.bytes(span).ok_or_else(too_large)?)?;
        let file = Arc::clone(file);
        Ok(Self { shape, stored: Stored::File { file, offset, element, strides: Some(strides), scale: None } })
    }

    /// A tensor of values that are known.
    pub fn of(shape: Vec<usize>, values: Vec<f32>) -> Self {
        debug_assert_eq!(count(&shape), Some(values.len() as u64));
        Self { shape, stored: Stored::Values(Arc::new(values)) }
    }

    /// The integers of this tensor, divided by a scale of one entry, or one for each row. `None` if it has another
    /// number.
    pub fn scaled(mut self, by: Vec<f32>) -> Option<Self> {
        let rows = self.rows();
        match &mut self.stored {
            Stored::File { scale, .. } if by.len() == 1 || by.len() == rows => *scale = Some(Scale(Arc::new(by))),
            _ => return None,
        }
        Some(self)
    }

    /// Some of the rows, as a tensor; `None` if there are not so many.
    pub fn slice(&self, rows: Range<usize>) -> Option<Self> {
        if rows.start > rows.end || rows.end > self.rows() || self.shape.is_empty() {
            return None;
        }
        let width = self.width();
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let stored = match &self.stored {
            Stored::File { strides: Some(_), .. } => return None,
            Stored::File { file, offset, element, strides: None, scale } => Stored::File {
                file: Arc::clone(file),
                offset: offset + element.bytes((rows.start * width) as u64)?,
                element: *element,
                strides: None,
                scale: scale.as_ref().map(|Scale(all)| {
                    Scale(if all.len() == 1 { Arc::clone(all) } else { Arc::new(all[rows].to_vec()) })
                }),
            },
            Stored::Values(values) => Stored::Values(Arc::new(values[rows.start * width..rows.end * width].to_vec())),
        };
        Some(Self { shape, stored })
    }

    /// The same numbers in another shape; `None` if it has not as many, or other rows where those matter.
    pub fn reshaped(mut self, shape: Vec<usize>) -> Option<Self> {
        if count(&shape) != count(&self.shape) {
            return None;
        }
        let other_rows = shape.first() != self.shape.first();
        if let Stored::File { strides, scale, .. } = &self.stored
            && (strides.is_some() || (other_rows && scale.is_some()))
        {
            return None;
        }
        self.shape = shape;
        Some(self)
    }

    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Entries of the first axis; 1 for a single number.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Bytes that it takes in its file, densely.
    pub fn stored_bytes(&self) -> u64 {
        match &self.stored {
            Stored::File { element, .. } => count(&self.shape).and_then(|count| element.bytes(count)).unwrap_or(0),
            Stored::Values(values) => 4 * values.len() as u64,
        }
    }

    /// Whether f16 holds every value.
    pub fn fits_f16(&self) -> bool {
        matches!(&self.stored, Stored::File { element, scale: None, .. } if element.fits_f16())
    }

    /// Whether it is the very same stored numbers.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.stored, &other.stored) {
            (Stored::File { file: a, offset: at_a, .. }, Stored::File { file: b, offset: at_b, .. }) => {
                Arc::ptr_eq(a, b) && at_a == at_b && self.shape == other.shape
            }
            (Stored::Values(a), Stored::Values(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Reads rows into `out`, which becomes as long as they are; `room` is reused from call to call.
    pub fn read_rows(&self, rows: Range<usize>, out: &mut Vec<f32>, room: &mut Vec<u8>) -> Result<(), ConvertError> {
        let width = self.width();
        let (first, numbers) = (rows.start * width, rows.len() * width);
        out.clear();
        out.resize(numbers, 0.0);
        match &self.stored {
            Stored::Values(values) => out.copy_from_slice(&values[first..first + numbers]),
            Stored::File { file, offset, element, strides: None, scale } => {
                let size = |numbers: usize| element.bytes(numbers as u64).unwrap_or(0);
                room.clear();
                room.resize(size(numbers) as usize, 0);
                file.read_at(offset + size(first), room)?;
                element.decode(room, out);
                if let Some(Scale(scale)) = scale {
                    for (row, values) in rows.zip(out.chunks_exact_mut(width.max(1))) {
                        let scale = if scale.len() == 1 { scale[0] } else { scale[row] };
                        values.iter_mut().for_each(|value| *value /= scale);
                    }
                }
            }
            Stored::File { file, offset, element, strides: Some(strides), .. } => {
                gather(file, *offset, *element, &self.shape, strides, rows, out, room)?;
            }
        }
        Ok(())
    }

    /// All values.
    pub fn read(&self) -> Result<Vec<f32>, ConvertError> {
        let mut values = Vec::new();
        self.read_rows(0..self.rows(), &mut values, &mut Vec::new())?;
        Ok(values)
    }
}

/// Number of entries, if it can be counted.
pub(super) fn count(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |count, size| count.checked_mul(*size as u64))
}

fn dense_strides(shape: &[usize]) -> Vec<u64> {
    let mut strides = vec![1_u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis] as u64);
    }
    strides
}

/// Reads numbers that do not lie one after another: the span of all of them at once, then picks.
#[allow(clippy::too_many_arguments, reason = "the parts of one tensor")]
fn gather(
    file: &SourceFile,
    offset: u64,
    element: Element,
    shape: &[usize],
    strides: &[u64],
    rows: Range<usize>,
    out: &mut [f32],
    room: &mut Vec<u8>,
) -> Result<(), ConvertError> {
    if out.is_empty() {
        return Ok(());
    }
    let (_, size) = element.block();
    let inner = || shape.iter().zip(strides).skip(1);
    let span = inner().map(|(size, stride)| (*size as u64 - 1) * stride).sum::<u64>()
        + (rows.len() as u64 - 1) * strides[0]
        + 1;
    *room = file.bytes(offset + rows.start as u64 * strides[0] * size as u64, span * size as u64)?;
    let mut index = vec![0_usize; shape.len()];
    for value in out {
        let at = index.iter().zip(strides).map(|(i, stride)| *i as u64 * stride).sum::<u64>() as usize * size;
        element.decode(&room[at..at + size], std::slice::from_mut(value));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if axis == 0 || index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(())
}
