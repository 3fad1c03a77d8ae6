//! Tensors whose first axis is rows: windows put together, rows picked out, logits read. Copies; the caller decides
//! when.

use crate::engine::words;
use half::f16;
use ort::memory::Allocator;
use ort::session::SessionOutputs;

use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, TensorElementType};
use std::fmt::Debug;
use std::ops::Range;

/// A tensor of `[rows, …]` whose rows are those of `parts` one after another.
pub(super) fn stack(mut parts: Vec<DynValue>) -> Result<DynValue, ort::Error> {
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    let sources: Vec<(&DynValue, usize)> = parts.iter().map(|part| (part, 0)).collect();
    collect(&sources)
}

/// The given rows of `value`, in this order.
pub(super) fn pick(value: &DynValue, rows: &[usize]) -> Result<DynValue, ort::Error> {
    let sources: Vec<(&DynValue, usize)> = rows.iter().map(|&row| (value, row)).collect();
    collect(&sources)
}

/// All values.
pub(super) fn floats(value: &DynValue) -> Result<Vec<f32>, ort::Error> {
    Ok(if is_half(value) {
        value.try_extract_tensor::<f16>()?.1.iter().map(|x| x.to_f32()).collect()
    } else {
        value.try_extract_tensor::<f32>()?.1.to_vec()
    })
}

/// Appends the values at these places to `to`.
pub(super) fn append_floats(value: &DynValue, places: Range<usize>, to: &mut Vec<f32>) -> Result<(), ort::Error> {
    let lacks = || ort::Error::new(format!("a tensor of {:?} ends before {}", value.shape(), places.end));
    if is_half(value) {
        let (_, all) = value.try_extract_tensor::<f16>()?;
        to.extend(all.get(places.clone()).ok_or_else(lacks)?.iter().map(|x| x.to_f32()));
    } else {
        let (_, all) = value.try_extract_tensor::<f32>()?;
        to.extend_from_slice(all.get(places.clone()).ok_or_else(lacks)?);
    }
    Ok(())
}

/// Copies rows of tensors that agree in everything but the number of rows.
fn collect(sources: &[(&DynValue, usize)]) -> Result<DynValue, ort::Error> {
    let half = sources.first().is_some_and(|(value, _)| is_half(value));
    if half { collect_as::<f16>(sources) } else { collect_as::<f32>(sources) }
}

fn collect_as<T>(sources: &[(&DynValue, usize)]) -> Result<DynValue, ort::Error>
where
    T: PrimitiveTensorElementType + Debug + Copy + 'static,
{
    let Some((first, _)) = sources.first() else {
        return Err(ort::Error::new("no rows to go on with"));
    };
    let mut shape = first.try_extract_tensor::<T>()?.0.to_vec();
    shape[0] = sources.len() as i64;
    let mut all = Tensor::<T>::new(&Allocator::default(), shape)?;
    let (_, target) = all.extract_tensor_mut();
    let length = target.len() / sources.len();
    for ((value, row), target) in sources.iter().zip(target.chunks_exact_mut(length.max(1))) {
        let (_, data) = value.try_extract_tensor::<T>()?;
        let source = data.get(row * length..(row + 1) * length);
        target.copy_from_slice(source.ok_or_else(|| ort::Error::new(format!("a tensor has no row {row}")))?);
    }
    Ok(all.into_dyn())
}

/// Token ids, as 64-bit or 32-bit numbers.
pub(super) fn ids(wide: bool, shape: [usize; 2], tokens: &[u32]) -> Result<DynValue, ort::Error> {
    Ok(if wide {
        Tensor::from_array((shape, tokens.iter().map(|&token| i64::from(token)).collect::<Vec<_>>()))?.into_dyn()
    } else {
        Tensor::from_array((shape, tokens.iter().map(|&token| token.cast_signed()).collect::<Vec<_>>()))?.into_dyn()
    })
}

/// A cache of no positions, `[rows, heads, 0, width]`.
pub(super) fn empty(half: bool, shape: [usize; 4]) -> Result<DynValue, ort::Error> {
    let allocator = Allocator::default();
    Ok(if half {
        Tensor::<f16>::new(&allocator, shape)?.into_dyn()
    } else {
        Tensor::<f32>::new(&allocator, shape)?.into_dyn()
    })
}

/// A decoder's logits `[rows, positions, vocabulary]`; some exports keep the last position only.
pub(super) struct Logits<'a> {
    data: Data<'a>,
    vocabulary: usize,
    /// Positions of each row that were returned.
    returned: usize,
    /// Positions that were computed.
    positions: usize,
}

enum Data<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl<'a> Logits<'a> {
    /// Finds the logits among `outputs` of a run over `rows` rows of `positions` tokens each.
    pub(super) fn of(
        outputs: &'a SessionOutputs<'_>,
        vocabulary: usize,
        rows: usize,
        positions: usize,
    ) -> Result<Self, String> {
        let logits = outputs.get("logits").ok_or("it has no output logits")?;
        let (data, length) = if is_half(logits) {
            let (_, data) = logits.try_extract_tensor::<f16>().map_err(|e| words(&e))?;
            (Data::F16(data), data.len())
        } else {
            let (_, data) = logits.try_extract_tensor::<f32>().map_err(|e| words(&e))?;
            (Data::F32(data), data.len())
        };
        let returned = length / (vocabulary * rows).max(1);
        if length != returned * vocabulary * rows || (returned != positions && returned != 1) {
            return Err(format!(
                "its logits have {length} values, not those of {rows} rows, {positions} positions and a vocabulary of \
                 {vocabulary}"
            ));
        }
        Ok(Self { data, vocabulary, returned, positions })
    }

    /// Whether logits of every position were returned, not the last's alone.
    pub(super) fn has_every_position(&self) -> bool {
        self.returned == self.positions
    }

    /// Calls `look` with the place and the logits `[vocabulary]` of each of the first row's first `count` positions.
    pub(super) fn each(&self, count: usize, look: &mut dyn FnMut(usize, &[f32])) -> Result<(), String> {
        if !self.has_every_position() {
            return Err("it gives the logits of the last token only, not those of each word's".to_owned());
        }
        (0..count).for_each(|position| self.at(0, position, |logits| look(position, logits)));
        Ok(())
    }

    /// Calls `look` with the logits `[vocabulary]` after a row's token at `position`, or after its last where no others
    /// were returned.
    pub(super) fn at<R>(&self, row: usize, position: usize, look: impl FnOnce(&[f32]) -> R) -> R {
        let position = if self.returned == self.positions { position } else { 0 };
        let from = (row * self.returned + position) * self.vocabulary;
        let range = from..from + self.vocabulary;
        match self.data {
            Data::F32(data) => look(&data[range]),
            Data::F16(data) => look(&data[range].iter().map(|x| x.to_f32()).collect::<Vec<_>>()),
        }
    }
}

fn is_half(value: &DynValue) -> bool {
    value.dtype().tensor_type() == Some(TensorElementType::Float16)
}
