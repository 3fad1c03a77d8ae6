//! What graphs are fed: arrays from files, an audio file's features and what the graphs before made of them, or, of
//! what is left, numbers by chance.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use undertone_runner::any_graph::{AnyGraph, Declared, Elements, NamedTensor};

use super::npy::Array;
use super::report::Input;

/// Steps that a decoder with a cache has taken before the one that is compared.
const STEPS: usize = 8;
/// Sizes of axes that a graph leaves open, where nothing else says them.
const OPEN_AXIS: usize = 128;
const OPEN_IMAGE_AXIS: usize = 224;

/// Where inputs come from.
pub struct Sources {
    /// Arrays from files.
    pub arrays: Vec<Array>,
    /// Of an audio file; none for models that are no Whisper.
    pub speech: Option<Speech>,
    /// What chance begins with.
    pub seed: u64,
}

/// What Whisper's graphs are fed.
pub struct Speech {
    /// Log-mel features `[1, bins, frames]` of the first window.
    pub features: NamedTensor,
    /// Tokens that a decoder begins with.
    pub prompt: Vec<i64>,
    /// Where the features are from, in words.
    pub what: String,
    /// What graphs have made of them, by names: a decoder's inputs.
    made: BTreeMap<String, NamedTensor>,
    /// The token that comes next.
    next: i64,
    /// Tokens in the caches.
    cached: usize,
}

/// A graph's inputs.
pub struct Inputs {
    /// The tensors.
    pub tensors: Vec<NamedTensor>,
    /// For the report.
    pub described: Vec<Input>,
}

impl Speech {
    /// Of features and a prompt.
    pub fn new(features: NamedTensor, prompt: Vec<i64>, what: String) -> Self {
        Self { features, next: prompt.last().copied().unwrap_or(0), prompt, what, made: BTreeMap::new(), cached: 0 }
    }

    /// Forgets the sequence: a graph of both a first step and others begins anew.
    fn begin(&mut self) {
        self.cached = 0;
        self.made.retain(|name, _| !name.starts_with("present"));
    }

    /// Takes what a graph made, for those after it.
    fn take(&mut self, outputs: Vec<NamedTensor>, tokens: usize) {
        for output in outputs {
            if output.name == "logits" {
                self.next = likeliest(&output).unwrap_or(self.next);
                self.cached += tokens;
            }
            // Some exports give the hidden states to the decoder by another name.
            if output.shape.len() == 3 && ENCODED.contains(&output.name.as_str()) {
                for name in ENCODED {
                    self.made.insert(name.to_owned(), NamedTensor { name: name.to_owned(), ..output.clone() });
                }
            }
            // Merged decoders give nothing in the place of what a step does not change.
            if !output.elements.is_empty() || !self.made.contains_key(&output.name) {
                self.made.insert(output.name.clone(), output);
            }
        }
    }

    /// What was made for the input of that name.
    fn for_input(&self, name: &str) -> Option<&NamedTensor> {
        let output = [("past_key_values", "present"), ("past", "present"), ("in_", "out_")]
            .into_iter()
            .find_map(|(input, output)| name.strip_prefix(input).map(|rest| format!("{output}{rest}")));
        self.made.get(name).or_else(|| self.made.get(&output?))
    }
}

/// What exports call the encoded window.
const ENCODED: [&str; 3] = ["last_hidden_state", "encoder_hidden_states", "hidden_states"];
const FEATURES: [&str; 5] = ["input_features", "audio_features", "mel", "encoder_input_ids", "x"];
const TOKENS: [&str; 3] = ["input_ids", "decoder_input_ids", "tokens"];

impl Sources {
    /// Inputs of an open graph; where it is one of a Whisper's, it is run on them, so that graphs after it have real
    /// inputs, too. A decoder with a cache goes on a few steps first.
    ///
    /// # Errors
    /// If an array from a file does not fit, or nothing can be made for an input.
    pub fn of(&mut self, graph: &mut AnyGraph) -> Result<Inputs> {
        let is_merged = graph.inputs.iter().any(|input| input.name == "use_cache_branch");
        match &mut self.speech {
            Some(speech) if is_merged => speech.begin(),
            Some(_) => {}
            None => return self.inputs(graph),
        }
        let inputs = self.inputs(graph)?;
        let has_cache =
            graph.inputs.iter().any(|input| input.name.starts_with("past") || input.name.starts_with("in_"));
        let tokens = |inputs: &Inputs| {
            let ids = inputs.tensors.iter().find(|tensor| TOKENS.contains(&tensor.name.as_str()));
            ids.map_or(0, |ids| ids.elements.len())
        };
        let outputs = graph.run(&graph.feed(&inputs.tensors)?)?;
        if let Some(speech) = &mut self.speech {
            speech.take(outputs, tokens(&inputs));
        }
        if !has_cache {
            return Ok(inputs);
        }
        for _ in 1..STEPS {
            let inputs = self.inputs(graph)?;
            let outputs = graph.run(&graph.feed(&inputs.tensors)?)?;
            if let Some(speech) = &mut self.speech {
                speech.take(outputs, tokens(&inputs));
            }
        }
        self.inputs(graph)
    }

    fn inputs(&self, graph: &AnyGraph) -> Result<Inputs> {
        let (mut tensors, mut described) = (Vec::new(), Vec::new());
        for declared in &graph.inputs {
            let (tensor, source) = self.input(declared, &graph.inputs)?;
            described.push(Input {
                name: tensor.name.clone(),
                dtype: tensor.elements.dtype().to_owned(),
                shape: tensor.shape.clone(),
                source,
            });
            tensors.push(tensor);
        }
        Ok(Inputs { tensors, described })
    }

    fn input(&self, declared: &Declared, all: &[Declared]) -> Result<(NamedTensor, String)> {
        let name = &declared.name;
        let only = all.len() == 1 && self.arrays.len() == 1;
        if let Some(array) = self.arrays.iter().find(|array| array.name == *name || only) {
            return Ok((from_array(array, declared)?, "from a file".to_owned()));
        }
        if let Some(speech) = &self.speech
            && let Some(found) = of_speech(speech, declared, all)
        {
            return Ok(found);
        }
        generated(declared, self.seed)
    }
}

fn from_array(array: &Array, declared: &Declared) -> Result<NamedTensor> {
    let fits = array.shape.len() == declared.axes.len()
        && array.shape.iter().zip(&declared.axes).all(|(size, axis)| axis.is_none_or(|axis| axis == *size));
    let (name, wanted) = (&declared.name, axes_in_words(declared));
    if !fits {
        bail!("--inputs: {name} has the shape {:?}, and the graph wants {wanted}", array.shape);
    }
    let elements = if array.elements.dtype() == declared.dtype {
        Some(array.elements.clone())
    } else {
        array.elements.numbers().and_then(|numbers| Elements::of_numbers(&declared.dtype, numbers.into_iter()))
    };
    let elements = elements.with_context(|| {
        format!("--inputs: {name} holds {}, and the graph wants {}", array.elements.dtype(), declared.dtype)
    })?;
    Ok(NamedTensor { name: name.clone(), shape: array.shape.clone(), elements })
}

fn axes_in_words(declared: &Declared) -> String {
    let axis = |(at, size): (usize, &Option<usize>)| match (size, declared.axis_names.get(at)) {
        (Some(size), _) => size.to_string(),
        (None, Some(name)) if !name.is_empty() => name.clone(),
        _ => "any".to_owned(),
    };
    let axes: Vec<String> = declared.axes.iter().enumerate().map(axis).collect();
    format!("[{}]", axes.join(", "))
}

/// An input of a Whisper's graph.
fn of_speech(speech: &Speech, declared: &Declared, all: &[Declared]) -> Option<(NamedTensor, String)> {
    let name = declared.name.as_str();
    let tensor = |shape: Vec<usize>, numbers: &mut dyn Iterator<Item = f64>| {
        let elements = Elements::of_numbers(&declared.dtype, numbers)?;
        Some(NamedTensor { name: name.to_owned(), shape, elements })
    };
    let is_first = speech.cached == 0;
    let reads_cache = all.iter().any(|input| input.name.starts_with("past") || input.name.starts_with("in_"));
    if FEATURES.contains(&name) && declared.axes.len() == 3 {
        let mut numbers = speech.features.elements.numbers()?.into_iter();
        return Some((tensor(speech.features.shape.clone(), &mut numbers)?, "log-mel features".into()));
    }
    if TOKENS.contains(&name) && declared.axes.len() == 2 {
        let tokens = if is_first || !reads_cache { speech.prompt.clone() } else { vec![speech.next] };
        let source = if is_first || !reads_cache { "the prompt" } else { "the likeliest next token" };
        let mut numbers = tokens.iter().map(|token| *token as f64);
        return Some((tensor(vec![1, tokens.len()], &mut numbers)?, source.into()));
    }
    if name == "use_cache_branch" {
        let source = if is_first { "no: the first step" } else { "yes" };
        return Some((tensor(vec![1], &mut std::iter::once(f64::from(u8::from(!is_first))))?, source.into()));
    }
    if name == "cache_position" && declared.axes.len() == 1 {
        let count = if is_first { speech.prompt.len() } else { 1 };
        let mut numbers = (speech.cached..speech.cached + count).map(|place| place as f64);
        return Some((tensor(vec![count], &mut numbers)?, "the tokens' places".into()));
    }
    if let Some(made) =
        speech.for_input(name).filter(|made| made.elements.dtype() == declared.dtype && fits(made, declared))
    {
        let source = if name.starts_with("past") || name.starts_with("in_") {
            format!("keys and values of {} tokens", speech.cached)
        } else {
            "made by the graph before".to_owned()
        };
        return Some((NamedTensor { name: name.to_owned(), ..made.clone() }, source));
    }
    if name.starts_with("past") && declared.axes.len() == 4 {
        // An empty cache: of the axes that the graph leaves open the first is the batch.
        let open = |(at, size): (usize, &Option<usize>)| size.unwrap_or(usize::from(at == 0));
        let shape: Vec<usize> = declared.axes.iter().enumerate().map(open).collect();
        return Some((tensor(shape, &mut std::iter::empty())?, "an empty cache".into()))
            .filter(|(tensor, _)| tensor.shape.contains(&0));
    }
    None
}

fn fits(made: &NamedTensor, declared: &Declared) -> bool {
    made.shape.len() == declared.axes.len()
        && made.shape.iter().zip(&declared.axes).all(|(size, axis)| axis.is_none_or(|axis| axis == *size))
}

/// Numbers by chance.
fn generated(declared: &Declared, seed: u64) -> Result<(NamedTensor, String)> {
    let name = &declared.name;
    let shape: Vec<usize> = (0..declared.axes.len()).map(|at| size(declared, at)).collect();
    let count: usize = shape.iter().product();
    // Each input has its own numbers, whatever others there are.
    let own = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = fastrand::Rng::with_seed(own);
    let (mut normal, mut bit) = (|| normal(&mut random), fastrand::Rng::with_seed(own));
    let is_real = declared.dtype.contains("float");
    let is_length = declared.dtype.contains("int") && name.to_ascii_lowercase().contains("len");
    let (elements, source) = if is_real {
        (Elements::of_numbers(&declared.dtype, (0..count).map(|_| normal())), format!("generated: normal, seed {seed}"))
    } else if is_length {
        let longest = OPEN_AXIS as f64;
        (Elements::of_numbers(&declared.dtype, (0..count).map(|_| longest)), format!("generated: {longest}"))
    } else {
        let bits = (0..count).map(|_| f64::from(u8::from(bit.bool())));
        (Elements::of_numbers(&declared.dtype, bits), format!("generated: 0 or 1, seed {seed}"))
    };
    let elements = elements.with_context(|| {
        let dtype = if declared.dtype.is_empty() { "no tensor" } else { declared.dtype.as_str() };
        format!("the graph's input {name} is {dtype}, which cannot be made up: give it with --inputs FILE.npz")
    })?;
    Ok((NamedTensor { name: name.clone(), shape, elements }, source))
}

fn size(declared: &Declared, at: usize) -> usize {
    if let Some(size) = declared.axes[at] {
        return size;
    }
    let name = declared.axis_names.get(at).map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let is_image = declared.axes.len() == 4 && at >= 2 && declared.dtype.contains("float");
    match (at, is_image) {
        _ if name.contains("batch") => 1,
        (0, _) if declared.axes.len() > 1 => 1,
        (_, true) => OPEN_IMAGE_AXIS,
        _ => OPEN_AXIS,
    }
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// The likeliest token after the last one.
fn likeliest(logits: &NamedTensor) -> Option<i64> {
    let numbers = logits.elements.numbers()?;
    let width = *logits.shape.last()?;
    let last = numbers.get(numbers.len().checked_sub(width)?..)?;
    last.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(token, _)| token as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str, dtype: &str, axes: &[Option<usize>]) -> Declared {
        let axis_names = vec![String::new(); axes.len()];
        Declared { name: name.into(), dtype: dtype.into(), axes: axes.to_vec(), axis_names }
    }

    #[test]
    fn chance_is_the_same_each_time_and_another_for_each_input() {
        let make = |name: &str, seed| generated(&declared(name, "float32", &[None, Some(3)]), seed).unwrap().0;
        assert_eq!(make("a", 1), make("a", 1));
        assert_ne!(make("a", 1).elements, make("b", 1).elements);
        assert_ne!(make("a", 1).elements, make("a", 2).elements);
        assert_eq!(make("a", 1).shape, [1, 3]);
        let many = generated(&declared("a", "float32", &[Some(20_000)]), 1).unwrap().0.elements.numbers().unwrap();
        let mean = many.iter().sum::<f64>() / many.len() as f64;
        let variance = many.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / many.len() as f64;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let (ids, source) = generated(&declared("ids", "int64", &[None, None]), 7).unwrap();
        assert_eq!((ids.shape, source.as_str()), (vec![1, 128], "generated: 0 or 1, seed 7"));
        let error = generated(&declared("words", "string", &[Some(1)]), 1).unwrap_err().to_string();
        assert!(error.contains("words") && error.contains("--inputs"), "{error}");
    }

    #[test]
    fn arrays_from_files_must_fit() {
        let array = Array { name: "x".into(), shape: vec![1, 2], elements: Elements::F64(vec![1.0, 2.0]) };
        let taken = from_array(&array, &declared("x", "float32", &[None, Some(2)])).unwrap();
        assert_eq!(taken.elements, Elements::F32(vec![1.0, 2.0]));
        let error = from_array(&array, &declared("x", "float32", &[None, Some(3)])).unwrap_err().to_string();
        assert!(error.contains("[any, 3]") && error.contains("[1, 2]"), "{error}");
    }

    #[test]
    fn a_decoder_goes_on_where_the_one_before_it_ended() {
        let floats = |name: &str, shape: &[usize], values: Vec<f32>| NamedTensor {
            name: name.into(),
            shape: shape.to_vec(),
            elements: Elements::F32(values),
        };
        let mut speech = Speech::new(floats("input_features", &[1, 1, 2], vec![0.0; 2]), vec![5, 6], "x".into());
        let all = [
            declared("input_ids", "int64", &[None, None]),
            declared("past_key_values.0.key", "float32", &[None, Some(1), None, Some(1)]),
            declared("encoder_hidden_states", "float32", &[None, None, Some(1)]),
        ];
        let of = |speech: &Speech, at: usize| of_speech(speech, &all[at], &all).map(|(tensor, _)| tensor);
        assert_eq!(of(&speech, 0).unwrap().elements, Elements::I64(vec![5, 6]));
        assert_eq!(of(&speech, 1).unwrap().shape, [1, 1, 0, 1]);
        assert_eq!(of(&speech, 2), None);
        speech.take(vec![floats("last_hidden_state", &[1, 1, 1], vec![3.0])], 0);
        let logits = floats("logits", &[1, 2, 3], vec![9.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        speech.take(vec![logits, floats("present.0.key", &[1, 1, 2, 1], vec![1.0, 2.0])], 2);
        assert_eq!(of(&speech, 0).unwrap().elements, Elements::I64(vec![2]));
        assert_eq!(of(&speech, 1).unwrap().elements, Elements::F32(vec![1.0, 2.0]));
        assert_eq!(of(&speech, 2).unwrap().elements, Elements::F32(vec![3.0]));
        assert_eq!(speech.cached, 2);
    }
}
