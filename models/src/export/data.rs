//! The file beside the graphs that holds their large weights: written once, in one pass over the checkpoint, read by
//! every graph that refers to it.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use half::f16;

use super::{
    WeightFormat,
    proto::{StringStringEntryProto, TensorProto},
};
use crate::weights::{ConvertError, Tensor};

/// Weights below this many bytes stay in the graph.
const WORTH_FILING: usize = 32 << 10;
/// What a page is at most: ONNX Runtime maps external data where it can.
const ALIGNMENT: u64 = 64 << 10;
/// Numbers that are converted at a time.
const PIECE: usize = 1 << 20;

/// A weight as graphs refer to it: the stored tensor and, for integers, the scale of its outputs.
#[derive(Clone, Debug)]
pub(super) struct Filed {
    pub(super) stored: TensorProto,
    pub(super) scale: Option<TensorProto>,
}

/// How a weight is laid out and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// `[inputs, outputs]`, of a matrix that the checkpoint has as `[outputs, inputs]`.
    Transposed,
    /// As the checkpoint has it, with outputs (or tokens) first.
    Rows,
    /// As the checkpoint has it, and never as integers.
    Plain,
}

/// A data file being written.
pub(super) struct DataFile<'p> {
    path: PathBuf,
    name: String,
    out: BufWriter<File>,
    end: u64,
    format: WeightFormat,
    filed: HashMap<(String, Layout), Filed>,
    /// Told of every number of the checkpoint that was read.
    progress: &'p mut dyn FnMut(u64),
}

impl<'p> DataFile<'p> {
    /// Begins `name` in `directory`.
    pub(super) fn create(
        directory: &Path,
        name: &str,
        format: WeightFormat,
        progress: &'p mut dyn FnMut(u64),
    ) -> Result<Self, ConvertError> {
        let path = directory.join(name);
        let file = File::create_new(&path).map_err(ConvertError::io("write", &path))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { path, name: name.to_owned(), out, end: 0, format, filed: HashMap::new(), progress })
    }

    /// All is on its way to the disk; the number of bytes.
    pub(super) fn finish(mut self) -> Result<u64, ConvertError> {
        self.out.flush().map_err(ConvertError::io("write", &self.path))?;
        Ok(self.end)
    }

    /// Writes a weight, unless it was written before.
    pub(super) fn file(&mut self, name: &str, tensor: &Tensor, layout: Layout) -> Result<Filed, ConvertError> {
        let key = (name.to_owned(), layout);
        if let Some(filed) = self.filed.get(&key) {
            return Ok(filed.clone());
        }
        let filed = match (self.format, layout) {
            (WeightFormat::Int8, Layout::Transposed | Layout::Rows) => self.integers(name, tensor, layout)?,
            (WeightFormat::F16, _) if tensor.shape().len() > 1 && in_range(tensor)? => {
                self.floats(name, tensor, layout, TensorProto::FLOAT16)?
            }
            _ => self.floats(name, tensor, layout, TensorProto::FLOAT)?,
        };
        self.filed.insert(key, filed.clone());
        Ok(filed)
    }

    fn floats(&mut self, name: &str, tensor: &Tensor, layout: Layout, kind: i32) -> Result<Filed, ConvertError> {
        let width = tensor.width();
        let size = if kind == TensorProto::FLOAT16 { 2 } else { 4 };
        let mut sink = self.begin(tensor.rows() * width * size)?;
        let (mut values, mut room, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        let encode = |values: &[f32], bytes: &mut Vec<u8>| {
            bytes.clear();
            match kind {
                TensorProto::FLOAT16 => {
                    bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()));
                }
                _ => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            }
        };
        let dims = if layout == Layout::Transposed {
            tensor.read_rows(0..tensor.rows(), &mut values, &mut room)?;
            encode(&transposed(&values, width), &mut bytes);
            self.write(&mut sink, &bytes)?;
            (self.progress)(values.len() as u64);
            vec![width, tensor.rows()]
        } else {
            for rows in pieces(tensor) {
                tensor.read_rows(rows, &mut values, &mut room)?;
                encode(&values, &mut bytes);
                self.write(&mut sink, &bytes)?;
                (self.progress)(values.len() as u64);
            }
            tensor.shape().to_vec()
        };
        Ok(Filed { stored: self.end(sink, name, kind, &dims), scale: None })
    }

    /// Each output has a scale: its largest weight is 127.
    fn integers(&mut self, name: &str, tensor: &Tensor, layout: Layout) -> Result<Filed, ConvertError> {
        let (outputs, width) = (tensor.rows(), tensor.width());
        let mut sink = self.begin(outputs * width)?;
        let mut scales = Vec::with_capacity(outputs);
        let (mut values, mut room, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for rows in pieces(tensor) {
            tensor.read_rows(rows, &mut values, &mut room)?;
            let mut bytes = Vec::with_capacity(values.len());
            for row in values.chunks_exact(width.max(1)) {
                let scale = scale_of(row);
                scales.push(scale);
                bytes.extend(row.iter().map(|value| quantised(*value, scale).cast_unsigned()));
            }
            (self.progress)(values.len() as u64);
            match layout {
                Layout::Transposed => all.append(&mut bytes),
                _ => self.write(&mut sink, &bytes)?,
            }
        }
        let (dims, scale_dims) = match layout {
            Layout::Transposed => {
                self.write(&mut sink, &transposed(&all, width))?;
                (vec![width, outputs], [1, outputs])
            }
            _ => (tensor.shape().to_vec(), [outputs, 1]),
        };
        let stored = self.end(sink, name, TensorProto::INT8, &dims);
        let mut sink = self.begin(outputs * 4)?;
        let bytes: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        self.write(&mut sink, &bytes)?;
        let scale = self.end(sink, &format!("{name}.scale"), TensorProto::FLOAT, &scale_dims);
        Ok(Filed { stored, scale: Some(scale) })
    }

    /// A tensor of `len` bytes begins, here or in the graph.
    fn begin(&mut self, len: usize) -> Result<Sink, ConvertError> {
        if len < WORTH_FILING {
            return Ok(Sink::Graph(Vec::with_capacity(len)));
        }
        let start = self.end.next_multiple_of(ALIGNMENT);
        if start != self.end {
            self.out.seek(SeekFrom::Start(start)).map_err(ConvertError::io("write", &self.path))?;
            self.end = start;
        }
        Ok(Sink::File { start })
    }

    fn write(&mut self, sink: &mut Sink, bytes: &[u8]) -> Result<(), ConvertError> {
        match sink {
            Sink::Graph(raw) => raw.extend_from_slice(bytes),
            Sink::File { .. } => {
                self.out.write_all(bytes).map_err(ConvertError::io("write", &self.path))?;
                self.end += bytes.len() as u64;
            }
        }
        Ok(())
    }

    fn end(&mut self, sink: Sink, name: &str, kind: i32, dims: &[usize]) -> TensorProto {
        let mut tensor = TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(kind),
            dims: dims.iter().map(|size| *size as i64).collect(),
            ..Default::default()
        };
        match sink {
            Sink::Graph(raw) => tensor.raw_data = Some(raw),
            Sink::File { start } => {
                let entry =
                    |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
                tensor.data_location = Some(TensorProto::EXTERNAL);
                tensor.external_data = vec![
                    entry("location", self.name.clone()),
                    entry("offset", start.to_string()),
                    entry("length", (self.end - start).to_string()),
                ];
            }
        }
        tensor
    }
}

/// Where a tensor's bytes go.
enum Sink {
    Graph(Vec<u8>),
    File { start: u64 },
}

/// Rows that are read at a time.
fn pieces(tensor: &Tensor) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let rows = tensor.rows();
    let step = (PIECE / tensor.width().max(1)).max(1);
    (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
}

/// Whether f16 has all values within its range; those of a checkpoint in f16 are, without looking.
fn in_range(tensor: &Tensor) -> Result<bool, ConvertError> {
    if tensor.fits_f16() {
        return Ok(true);
    }
    let (mut values, mut room) = (Vec::new(), Vec::new());
    for rows in pieces(tensor) {
        tensor.read_rows(rows, &mut values, &mut room)?;
        if values.iter().any(|value| value.abs() > f16::MAX.to_f32()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What one step of int8 is in a row; 1 for a row of zeros, and where there are numbers that are none.
fn scale_of(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    if scale.is_normal() { scale } else { 1.0 }
}

fn quantised(value: f32, scale: f32) -> i8 {
    // Saturates, and makes 0 of a number that is none.
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// `[rows, width]` as `[width, rows]`, in squares that fit the cache.
fn transposed<T: Copy + Default>(values: &[T], width: usize) -> Vec<T> {
    const SIDE: usize = 32;
    let rows = values.len() / width.max(1);
    let mut out = vec![T::default(); values.len()];
    for top in (0..rows).step_by(SIDE) {
        for left in (0..width).step_by(SIDE) {
            for row in top..(top + SIDE).min(rows) {
                for column in left..(left + SIDE).min(width) {
                    out[column * rows + row] = values[row * width + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn transposed_is_transposed(rows in 1_usize..70, width in 1_usize..70) {
            let values: Vec<usize> = (0..rows * width).collect();
            let out = transposed(&values, width);
            for (at, value) in out.into_iter().enumerate() {
                let (column, row) = (at / rows, at % rows);
                prop_assert_eq!(value, row * width + column);
            }
        }

        #[test]
        fn int8_is_off_by_half_a_step_at_most(row in prop::collection::vec(-1e3_f32..1e3, 1..50)) {
            let scale = scale_of(&row);
            for value in row {
                let error = (f32::from(quantised(value, scale)) * scale - value).abs();
                prop_assert!(error <= scale * 0.5001, "{value} with steps of {scale}: off by {error}");
            }
        }
    }

    #[test]
    fn a_row_of_zeros_has_a_scale() {
        assert_eq!(scale_of(&[0.0, -0.0]), 1.0);
        assert_eq!(quantised(0.0, 1.0), 0);
    }
}
