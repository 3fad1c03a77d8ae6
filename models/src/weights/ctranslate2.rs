//! CTranslate2's `model.bin`, as faster-whisper uses it: a version, the name and revision of the architecture,
//! variables, aliases. All numbers are little-endian, strings have a u16 length that counts their closing NUL.
//!
//! Source: CTranslate2's `model_spec.py` (writing) and `model.cc` (reading), binary versions 2 to 6; names of
//! variables: `whisper_spec.py` and `transformer_spec.py`. Integers are divided by the variable `NAME_scale`.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use serde_json::Value;

use super::{
    Checkpoint, ConvertError, Details, Element, SourceFile, SourceKind, Tensor,
    checkpoint::{Heads, companion},
    file::Cursor,
    tensor,
};
use crate::vocabulary;

const SPEC: &str = "WhisperSpec";
/// The newest version of the file format that is known.
const NEWEST: u32 = 6;

/// Whether a file that starts so is a CTranslate2 Whisper.
pub(super) fn is_whisper(start: &[u8]) -> bool {
    let name = [SPEC.as_bytes(), &[0]].concat();
    let version = start.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    version.is_some_and(|version| (2..100).contains(&version))
        && start.get(4..6) == Some(&(name.len() as u16).to_le_bytes())
        && start.get(6..6 + name.len()) == Some(&name)
}

/// Reads `model.bin` and what lies beside it.
pub(super) fn open(path: &Path) -> Result<Checkpoint, ConvertError> {
    let variables = Variables::read(path)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut details = Details::beside(directory, &["config.json"])?;
    if let Some(config) = details.json(directory, "config.json")? {
        take_config(&mut details, &config);
    }
    // It is CTranslate2's, of other keys than a model's config.json has.
    details.files.remove("config.json");
    if !details.files.contains_key("tokenizer.json") {
        details.vocabulary = vocabulary(directory)?;
    }
    let heads =
        Heads { encoder: variables.number("encoder/num_heads"), decoder: variables.number("decoder/num_heads") };
    if variables.number("decoder/scale_embeddings").unwrap_or(0) != 0 {
        return Err(ConvertError::unsupported(path, "its embeddings are scaled, which no Whisper's are"));
    }
    if variables.number("decoder/pre_norm") == Some(0) {
        return Err(ConvertError::unsupported(path, "its norms follow the layers; a Whisper's come before them"));
    }
    Checkpoint::new(SourceKind::CTranslate2, path, variables.into_tensors()?, heads, details)
}

/// Tokens in the order of their ids, in a tokenizer's letters: one to a line, or a list in JSON.
fn vocabulary(directory: &Path) -> Result<Option<Vec<Vec<u8>>>, ConvertError> {
    let bytes = vocabulary::bytes();
    let read = |token: &str| vocabulary::bytes_of(token, &bytes);
    if let Some(json) = companion(directory, "vocabulary.json")? {
        let path = directory.join("vocabulary.json");
        let tokens: Vec<String> =
            serde_json::from_slice(&json).map_err(|e| ConvertError::damaged(&path, e.to_string()))?;
        return Ok(Some(tokens.iter().map(|token| read(token)).collect()));
    }
    let lines = companion(directory, "vocabulary.txt")?;
    Ok(lines.map(|lines| String::from_utf8_lossy(&lines).lines().map(read).collect()))
}

fn take_config(details: &mut Details, config: &Value) {
    let ids = |key: &str| serde_json::from_value::<Vec<i64>>(config.get(key)?.clone()).ok();
    let tokens = |key: &str| Some(ids(key)?.into_iter().filter_map(|id| u32::try_from(id).ok()).collect());
    details.suppress_tokens = tokens("suppress_ids");
    details.begin_suppress_tokens = tokens("suppress_ids_begin");
    details.alignment_heads =
        config.get("alignment_heads").and_then(|heads| serde_json::from_value(heads.clone()).ok());
}

/// One variable as it is stored.
struct Variable {
    shape: Vec<usize>,
    element: Option<Element>,
    offset: u64,
    bytes: u64,
}

struct Variables {
    file: Arc<SourceFile>,
    all: HashMap<String, Variable>,
    aliases: HashMap<String, String>,
}

impl Variables {
    fn read(path: &Path) -> Result<Self, ConvertError> {
        let file = Arc::new(SourceFile::open(path)?);
        let mut cursor = Cursor::new(&file)?;
        let version = cursor.u32()?;
        if !(2..=NEWEST).contains(&version) {
            let reason = format!("version {version} of CTranslate2's format; versions 2 to {NEWEST} are read");
            return Err(ConvertError::unsupported(path, reason));
        }
        let spec = string(&mut cursor)?;
        if spec != SPEC {
            return Err(ConvertError::unsupported(path, format!("it is a {spec:?}, not a {SPEC}")));
        }
        let _revision = cursor.u32()?;
        let mut all = HashMap::new();
        for _ in 0..cursor.u32()? {
            let name = string(&mut cursor)?;
            let rank = cursor.u8()?;
            let shape = (0..rank).map(|_| cursor.u32().map(|size| size as usize)).collect::<Result<Vec<_>, _>>()?;
            // Before version 4 there is a size in place of the type.
            let type_id = cursor.u8()?;
            let element = if version >= 4 { element(type_id) } else { element_of_size(type_id) };
            let count = u64::from(cursor.u32()?);
            let bytes = if version >= 4 { count } else { count * u64::from(type_id) };
            let offset = cursor.position();
            cursor.skip(bytes).map_err(|_| {
                file.damaged(format!("it ends at {}, within {name} ({bytes} bytes from {offset} on)", file.size()))
            })?;
            all.insert(name, Variable { shape, element, offset, bytes });
        }
        let mut aliases = HashMap::new();
        if version >= 3 {
            for _ in 0..cursor.u32()? {
                let alias = string(&mut cursor)?;
                aliases.insert(alias, string(&mut cursor)?);
            }
        }
        Ok(Self { file, all, aliases })
    }

    /// A variable under its name or alias; a scale's name is that of its variable.
    fn find(&self, name: &str) -> Option<(&str, &Variable)> {
        if let Some((name, variable)) = self.all.get_key_value(name) {
            return Some((name, variable));
        }
        let target = match (self.aliases.get(name), name.strip_suffix("_scale")) {
            (Some(target), _) => target.clone(),
            (None, Some(scaled)) => format!("{}_scale", self.aliases.get(scaled)?),
            (None, None) => return None,
        };
        self.all.get_key_value(&target).map(|(name, variable)| (name.as_str(), variable))
    }

    /// A number that is no weight.
    fn number(&self, name: &str) -> Option<usize> {
        let (_, variable) = self.find(name)?;
        let bytes = self.file.bytes(variable.offset, variable.bytes.min(8)).ok()?;
        let value = match (variable.element?, bytes.as_slice()) {
            (Element::I8, [byte, ..]) => i64::from(byte.cast_signed()),
            (Element::I16, [a, b, ..]) => i64::from(i16::from_le_bytes([*a, *b])),
            _ => return None,
        };
        usize::try_from(value).ok()
    }

    /// A weight, with the scale of its integers.
    fn tensor(&self, name: &str) -> Result<Option<Tensor>, ConvertError> {
        let Some((stored_as, variable)) = self.find(name) else { return Ok(None) };
        let path = self.file.path();
        let element = variable
            .element
            .ok_or_else(|| ConvertError::unsupported(path, format!("{name} is of a type that is not known")))?;
        let expected = tensor::count(&variable.shape).and_then(|count| element.bytes(count));
        if expected != Some(variable.bytes) {
            let (shape, bytes) = (&variable.shape, variable.bytes);
            return Err(self.file.damaged(format!("{name} is {shape:?} of {element:?}, but has {bytes} bytes")));
        }
        let tensor = Tensor::in_file(&self.file, name, variable.shape.clone(), element, variable.offset)?;
        if !matches!(element, Element::I8 | Element::I16) {
            return Ok(Some(tensor));
        }
        let scale = self
            .tensor(&format!("{stored_as}_scale"))?
            .ok_or_else(|| self.file.damaged(format!("{name} holds integers, but there is no {stored_as}_scale")))?;
        let scales = scale.read()?;
        if scales.iter().any(|scale| !scale.is_normal()) {
            return Err(self.file.damaged(format!("{stored_as}_scale has a number that nothing can be divided by")));
        }
        let counts = (tensor.rows(), scales.len());
        let scaled = tensor.scaled(scales);
        let wrong = || self.file.damaged(format!("{name} has {} rows, but {} scales", counts.0, counts.1));
        scaled.ok_or_else(wrong).map(Some)
    }

    /// All weights under Hugging Face's names.
    fn into_tensors(self) -> Result<BTreeMap<String, Tensor>, ConvertError> {
        let mut out = Out { variables: &self, tensors: BTreeMap::new() };
        for i in [1, 2] {
            out.linear(&format!("encoder/conv{i}"), &[&format!("model.encoder.conv{i}")])?;
        }
        for side in ["encoder", "decoder"] {
            out.norm(&format!("{side}/layer_norm"), &format!("model.{side}.layer_norm"))?;
            out.one(&format!("{side}/position_encodings/encodings"), &format!("model.{side}.embed_positions.weight"))?;
            for layer in (0..).take_while(|i| self.find(&format!("{side}/layer_{i}/ffn/linear_0/weight")).is_some()) {
                out.layer(side, &format!("{side}/layer_{layer}"), &format!("model.{side}.layers.{layer}"))?;
            }
        }
        out.one("decoder/embeddings/weight", "model.decoder.embed_tokens.weight")?;
        out.one("decoder/projection/weight", "proj_out.weight")?;
        Ok(out.tensors)
    }
}

/// Variables on their way to other names.
struct Out<'v> {
    variables: &'v Variables,
    tensors: BTreeMap<String, Tensor>,
}

impl Out<'_> {
    fn layer(&mut self, side: &str, from: &str, to: &str) -> Result<(), ConvertError> {
        let stacked = |attention: &str, parts: &[&str]| -> Vec<String> {
            parts.iter().map(|part| format!("{to}.{attention}.{part}_proj")).collect()
        };
        let mut attention = |from: &str, linears: &[&[&str]], name: &str| -> Result<(), ConvertError> {
            self.norm(&format!("{from}/layer_norm"), &format!("{to}.{name}_layer_norm"))?;
            for (i, parts) in linears.iter().enumerate() {
                let to = stacked(name, parts);
                self.linear(&format!("{from}/linear_{i}"), &to.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
            Ok(())
        };
        attention(&format!("{from}/self_attention"), &[&["q", "k", "v"], &["out"]], "self_attn")?;
        if side == "decoder" {
            attention(&format!("{from}/attention"), &[&["q"], &["k", "v"], &["out"]], "encoder_attn")?;
        }
        self.norm(&format!("{from}/ffn/layer_norm"), &format!("{to}.final_layer_norm"))?;
        self.linear(&format!("{from}/ffn/linear_0"), &[&format!("{to}.fc1")])?;
        self.linear(&format!("{from}/ffn/linear_1"), &[&format!("{to}.fc2")])
    }

    fn one(&mut self, from: &str, to: &str) -> Result<(), ConvertError> {
        if let Some(tensor) = self.variables.tensor(from)? {
            self.tensors.insert(to.to_owned(), tensor);
        }
        Ok(())
    }

    fn norm(&mut self, from: &str, to: &str) -> Result<(), ConvertError> {
        self.one(&format!("{from}/gamma"), &format!("{to}.weight"))?;
        self.one(&format!("{from}/beta"), &format!("{to}.bias"))
    }

    /// A layer that is one, or several stacked.
    fn linear(&mut self, from: &str, to: &[&str]) -> Result<(), ConvertError> {
        for part in ["weight", "bias"] {
            let name = format!("{from}/{part}");
            let Some(stacked) = self.variables.tensor(&name)? else { continue };
            let rows = stacked.rows() / to.len();
            if rows * to.len() != stacked.rows() {
                let file = &self.variables.file;
                return Err(file.damaged(format!("{name} is {:?}, not {} of a size", stacked.shape(), to.len())));
            }
            for (i, to) in to.iter().enumerate() {
                let whole = || self.variables.file.damaged(format!("{name} is {:?}", stacked.shape()));
                let tensor = stacked.slice(i * rows..(i + 1) * rows);
                self.tensors.insert(format!("{to}.{part}"), tensor.ok_or_else(whole)?);
            }
        }
        Ok(())
    }
}

fn string(cursor: &mut Cursor<'_>) -> Result<String, ConvertError> {
    let len = cursor.u16()?;
    let mut bytes = cursor.take(usize::from(len))?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// CTranslate2's `DataType`. int32 is no type of weights.
fn element(id: u8) -> Option<Element> {
    Some(match id {
        0 => Element::F32,
        1 => Element::I8,
        2 => Element::I16,
        4 => Element::F16,
        5 => Element::BF16,
        _ => return None,
    })
}

fn element_of_size(size: u8) -> Option<Element> {
    Some(match size {
        1 => Element::I8,
        2 => Element::I16,
        4 => Element::F32,
        _ => return None,
    })
}
