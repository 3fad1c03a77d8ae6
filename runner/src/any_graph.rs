//! Any ONNX graph, Whisper or not: opened on an engine's device, fed with tensors by name, run and traced. What the
//! tensors mean is the caller's.

use crate::engine::{Engine, EngineError, one_line, words};
use crate::native::Assigned;
use crate::options::Claim;
use half::{bf16, f16};
use ort::memory::Allocator;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType, ValueType};
use std::borrow::Cow;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A tensor's elements.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the type that its elements have")]
pub enum Elements {
    F32(Vec<f32>),
    F64(Vec<f64>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// Calls a generic function, or evaluates an expression, for the elements of each type that is no text.
macro_rules! for_numbers {
    ($elements:expr, $values:ident => $do:expr, text $texts:ident => $else:expr) => {
        match $elements {
            Elements::F32($values) => $do,
            Elements::F64($values) => $do,
            Elements::F16($values) => $do,
            Elements::Bf16($values) => $do,
            Elements::I8($values) => $do,
            Elements::I16($values) => $do,
            Elements::I32($values) => $do,
            Elements::I64($values) => $do,
            Elements::U8($values) => $do,
            Elements::U16($values) => $do,
            Elements::U32($values) => $do,
            Elements::U64($values) => $do,
            Elements::Bool($values) => $do,
            Elements::Text($texts) => $else,
        }
    };
}

impl Elements {
    /// How many there are.
    pub fn len(&self) -> usize {
        for_numbers!(self, values => values.len(), text texts => texts.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type, in numpy's words: `float32`, `int64`, `bool`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
            Self::F16(_) => "float16",
            Self::Bf16(_) => "bfloat16",
            Self::I8(_) => "int8",
            Self::I16(_) => "int16",
            Self::I32(_) => "int32",
            Self::I64(_) => "int64",
            Self::U8(_) => "uint8",
            Self::U16(_) => "uint16",
            Self::U32(_) => "uint32",
            Self::U64(_) => "uint64",
            Self::Bool(_) => "bool",
            Self::Text(_) => "string",
        }
    }

    /// Bytes of one; 0 for texts.
    pub fn width(&self) -> usize {
        fn width<T>(_: &[T]) -> usize {
            size_of::<T>()
        }
        for_numbers!(self, values => width(values), text _texts => 0)
    }

    /// As 64-bit floating-point numbers: truth is 1; `None` for texts.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::F64(v) => v.clone(),
            Self::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Self::Bf16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Self::I8(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::I16(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::I64(v) => v.iter().map(|x| *x as f64).collect(),
            Self::U8(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::U16(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Self::U64(v) => v.iter().map(|x| *x as f64).collect(),
            Self::Bool(v) => v.iter().map(|x| f64::from(u8::from(*x))).collect(),
            Self::Text(_) => return None,
        })
    }

    /// Of the type that an input asks for, made of numbers; `None` for texts and types that are not listed here.
    pub fn of_numbers(dtype: &str, numbers: impl Iterator<Item = f64>) -> Option<Self> {
        Some(match dtype {
            "float32" => Self::F32(numbers.map(|x| x as f32).collect()),
            "float64" => Self::F64(numbers.collect()),
            "float16" => Self::F16(numbers.map(f16::from_f64).collect()),
            "bfloat16" => Self::Bf16(numbers.map(bf16::from_f64).collect()),
            "int8" => Self::I8(numbers.map(|x| x as i8).collect()),
            "int16" => Self::I16(numbers.map(|x| x as i16).collect()),
            "int32" => Self::I32(numbers.map(|x| x as i32).collect()),
            "int64" => Self::I64(numbers.map(|x| x as i64).collect()),
            "uint8" => Self::U8(numbers.map(|x| x as u8).collect()),
            "uint16" => Self::U16(numbers.map(|x| x as u16).collect()),
            "uint32" => Self::U32(numbers.map(|x| x as u32).collect()),
            "uint64" => Self::U64(numbers.map(|x| x as u64).collect()),
            "bool" => Self::Bool(numbers.map(|x| x != 0.0).collect()),
            _ => return None,
        })
    }
}

/// A tensor with its name in a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// What the graph calls it.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// As many as the sizes say.
    pub elements: Elements,
}

/// An input or output as a graph declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its elements' type, in numpy's words; empty for what is no tensor.
    pub dtype: String,
    /// Sizes of its axes; `None` where the graph leaves one open.
    pub axes: Vec<Option<usize>>,
    /// Names of the axes; empty where an axis has none.
    pub axis_names: Vec<String>,
}

impl Declared {
    fn of(outlet: &Outlet) -> Self {
        let mut declared =
            Self { name: outlet.name().to_owned(), dtype: String::new(), axes: Vec::new(), axis_names: Vec::new() };
        if let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() {
            declared.dtype = dtype_of(*ty).to_owned();
            declared.axes = shape.iter().map(|size| usize::try_from(*size).ok()).collect();
            declared.axis_names = dimension_symbols.iter().map(|name| name.to_string()).collect();
        }
        declared
    }
}

/// How a graph is opened, beside what the engine's options say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening<'a> {
    /// In place of what is in the file; constants outside it are still looked for beside it.
    pub model: Option<&'a [u8]>,
    /// Which nodes the execution provider is to ask for; `None` leaves the choice to it.
    pub claim: Option<Claim>,
    /// Write ONNX Runtime's trace to a file whose name begins so.
    pub trace: Option<&'a Path>,
    /// Write the graph as ONNX Runtime has optimised it to this file; not possible with an execution provider that
    /// compiles nodes.
    pub optimised: Option<&'a Path>,
}

/// Inputs of a run, as ONNX Runtime holds them.
pub struct Fed(Vec<(String, DynValue)>);

/// An open graph.
pub struct AnyGraph {
    session: Session,
    path: PathBuf,
    /// What it reads.
    pub inputs: Vec<Declared>,
    /// What it gives.
    pub outputs: Vec<Declared>,
    /// Nodes of the graph that ONNX Runtime assigned to its CPU provider.
    pub cpu_nodes: usize,
    /// Nodes of the graph that it assigned to the execution provider.
    pub ep_nodes: usize,
}

impl Engine {
    /// Opens any graph; one of which the execution provider takes nothing is no error.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_any(&self, graph: &Path, opening: &Opening<'_>) -> Result<AnyGraph, EngineError> {
        let device = self.options().device;
        let refused = |e: &ort::Error| EngineError::Graph { graph: graph.to_owned(), device, reason: words(e) };
        let session = self.session_of_any(graph, opening)?;
        let assigned: Vec<Assigned> = crate::native::assigned_nodes(&session).map_err(|e| refused(&e))?;
        let nodes = |name: &str| assigned.iter().find(|assigned| assigned.provider == name).map_or(0, |all| all.nodes);
        Ok(AnyGraph {
            path: graph.to_owned(),
            inputs: session.inputs().iter().map(Declared::of).collect(),
            outputs: session.outputs().iter().map(Declared::of).collect(),
            cpu_nodes: nodes(crate::engine::CPU_EP_NAME),
            ep_nodes: nodes(crate::engine::EP_NAME),
            session,
        })
    }
}

impl AnyGraph {
    /// Makes inputs ready, so that a run copies none of them.
    ///
    /// # Errors
    /// [`EngineError::Ort`]: a tensor whose elements are not as many as its axes say.
    pub fn feed(&self, inputs: &[NamedTensor]) -> Result<Fed, EngineError> {
        let made = inputs.iter().map(|tensor| Ok((tensor.name.clone(), made(tensor)?)));
        made.collect::<Result<_, ort::Error>>()
            .map(Fed)
            .map_err(|e| EngineError::Ort { what: "take an input", reason: one_line(&words(&e)) })
    }

    /// Runs it once and drops what comes out: how long that took.
    ///
    /// # Errors
    /// ONNX Runtime's and the execution provider's words.
    pub fn time(&mut self, fed: &Fed) -> Result<Duration, EngineError> {
        let inputs = views(fed);
        let begun = Instant::now();
        let outputs = self.session.run(inputs).map(drop);
        let taken = begun.elapsed();
        outputs.map(|()| taken).map_err(|e| refused(&self.path, &e))
    }

    /// Runs it once: its outputs, those that are tensors, in the order of the graph.
    ///
    /// # Errors
    /// As [`AnyGraph::time`].
    pub fn run(&mut self, fed: &Fed) -> Result<Vec<NamedTensor>, EngineError> {
        let path = self.path.clone();
        let outputs = self.session.run(views(fed)).map_err(|e| refused(&path, &e))?;
        let read = |(name, value): (&str, &DynValue)| read(name, value);
        let mut tensors = Vec::new();
        for (name, value) in outputs.iter() {
            tensors.extend(read((name, &value)).map_err(|e| refused(&path, &e))?);
        }
        Ok(tensors)
    }

    /// Ends ONNX Runtime's trace: the file that it is in.
    ///
    /// # Errors
    /// [`EngineError::Ort`] if none was asked for.
    pub fn end_trace(&mut self) -> Result<PathBuf, EngineError> {
        let ended = self.session.end_profiling().map(PathBuf::from);
        ended.map_err(|e| EngineError::Ort { what: "end its trace", reason: words(&e) })
    }
}

fn refused(path: &Path, error: &ort::Error) -> EngineError {
    EngineError::Run { graph: path.to_owned(), reason: words(error) }
}

fn views(fed: &Fed) -> Vec<(Cow<'_, str>, SessionInputValue<'_>)> {
    fed.0.iter().map(|(name, value)| (Cow::from(name.as_str()), SessionInputValue::from(value))).collect()
}

fn made(tensor: &NamedTensor) -> Result<DynValue, ort::Error> {
    fn number<T>(shape: &[usize], values: &[T]) -> Result<DynValue, ort::Error>
    where
        T: PrimitiveTensorElementType + Debug + Clone + 'static,
    {
        // ONNX Runtime wants a pointer to data, which nothing has none of.
        if values.is_empty() {
            return Ok(OrtTensor::<T>::new(&Allocator::default(), shape.to_vec())?.into_dyn());
        }
        Ok(OrtTensor::<T>::from_array((shape.to_vec(), values.to_vec()))?.into_dyn())
    }
    let NamedTensor { name, shape, elements } = tensor;
    if shape.iter().product::<usize>() != elements.len() {
        return Err(ort::Error::new(format!("{name}: {} elements for axes of {shape:?}", elements.len())));
    }
    for_numbers!(
        elements,
        values => number(shape, values),
        text texts => Ok(OrtTensor::from_string_array((shape.clone(), texts.as_slice()))?.into_dyn())
    )
}

/// `None` for what is no tensor.
fn read(name: &str, value: &DynValue) -> Result<Option<NamedTensor>, ort::Error> {
    let ValueType::Tensor { ty, .. } = value.dtype() else { return Ok(None) };
    macro_rules! numbers {
        ($($element:ident => $variant:ident),+ $(,)?) => {
            match ty {
                $(TensorElementType::$element => {
                    let (shape, values) = value.try_extract_tensor()?;
                    (shape.to_vec(), Elements::$variant(values.to_vec()))
                })+
                TensorElementType::String => {
                    let (shape, texts) = value.try_extract_strings()?;
                    (shape.to_vec(), Elements::Text(texts))
                }
                _ => return Ok(None),
            }
        };
    }
    let (shape, elements) = numbers!(
        Float32 => F32, Float64 => F64, Float16 => F16, Bfloat16 => Bf16, Int8 => I8, Int16 => I16, Int32 => I32,
        Int64 => I64, Uint8 => U8, Uint16 => U16, Uint32 => U32, Uint64 => U64, Bool => Bool,
    );
    let shape = shape.into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect();
    Ok(Some(NamedTensor { name: name.to_owned(), shape, elements }))
}

/// numpy's word for a type of ONNX Runtime's; empty for those that numpy does not have.
fn dtype_of(element: TensorElementType) -> &'static str {
    match element {
        TensorElementType::Float32 => "float32",
        TensorElementType::Float64 => "float64",
        TensorElementType::Float16 => "float16",
        TensorElementType::Bfloat16 => "bfloat16",
        TensorElementType::Int8 => "int8",
        TensorElementType::Int16 => "int16",
        TensorElementType::Int32 => "int32",
        TensorElementType::Int64 => "int64",
        TensorElementType::Uint8 => "uint8",
        TensorElementType::Uint16 => "uint16",
        TensorElementType::Uint32 => "uint32",
        TensorElementType::Uint64 => "uint64",
        TensorElementType::Bool => "bool",
        TensorElementType::String => "string",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_every_type() {
        for dtype in ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64"] {
            let elements = Elements::of_numbers(dtype, [-2.0, 0.0, 3.0].into_iter()).unwrap();
            assert_eq!((elements.dtype(), elements.len()), (dtype, 3));
            assert_eq!(elements.numbers().unwrap(), [-2.0, 0.0, 3.0], "{dtype}");
        }
        for (dtype, width) in [("uint8", 1), ("uint16", 2), ("uint32", 4), ("uint64", 8), ("bool", 1)] {
            let elements = Elements::of_numbers(dtype, [1.0, 0.0].into_iter()).unwrap();
            assert_eq!((elements.dtype(), elements.width()), (dtype, width));
            assert_eq!(elements.numbers().unwrap(), [1.0, 0.0], "{dtype}");
        }
        assert_eq!(Elements::of_numbers("string", std::iter::empty()), None);
        assert_eq!(Elements::Text(vec!["a".into()]).numbers(), None);
        assert!(Elements::F32(Vec::new()).is_empty());
    }
}
