//! whisper.cpp's `ggml-*.bin`: sizes, mel filters, the vocabulary, tensors under OpenAI's names. All numbers are
//! little-endian.
//!
//! Source: whisper.cpp, `models/convert-pt-to-ggml.py` (writing), `src/whisper.cpp` (reading), `examples/quantize`
//! (which kinds of tensors there are).

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    Checkpoint, ConvertError, Details, Element, GGML_MAGIC, SourceFile, SourceKind, Tensor, checkpoint::Heads,
    file::Cursor, names,
};

/// The version of quantised blocks that is read; others lay them out differently.
const QUANTISATION_VERSION: u32 = 2;
/// `ftype` holds the version of quantised blocks in steps of this.
const VERSION_STEP: u32 = 1000;

/// Reads one file.
pub(super) fn open(path: &Path) -> Result<Checkpoint, ConvertError> {
    let file = Arc::new(SourceFile::open(path)?);
    let mut cursor = Cursor::new(&file)?;
    if cursor.u32()? != GGML_MAGIC {
        return Err(file.damaged("it does not begin as a ggml file"));
    }
    let mut sizes = [0_u32; 11];
    for size in &mut sizes {
        *size = cursor.u32()?;
    }
    let [_, _, _, audio_heads, _, _, _, text_heads, _, _, kind] = sizes;
    let filters = (u64::from(cursor.u32()?), u64::from(cursor.u32()?));
    cursor.skip(filters.0.saturating_mul(filters.1).saturating_mul(4))?;
    let mut vocabulary = Vec::new();
    for _ in 0..cursor.u32()? {
        let length = cursor.u32()?;
        vocabulary.push(cursor.take(length as usize)?);
    }
    let mut tensors = BTreeMap::new();
    while cursor.position() < file.size() {
        let (name, tensor) = tensor(&file, &mut cursor, kind / VERSION_STEP)?;
        match names::canonical(&name) {
            Some(name) => _ = tensors.insert(name, tensor),
            None => tracing::debug!(%name, "not a tensor of a Whisper: left out"),
        }
    }
    let heads = Heads { encoder: Some(audio_heads as usize), decoder: Some(text_heads as usize) };
    let details = Details { vocabulary: Some(vocabulary), ..Default::default() };
    Checkpoint::new(SourceKind::Ggml, path, tensors, heads, details)
}

fn tensor(file: &Arc<SourceFile>, cursor: &mut Cursor<'_>, version: u32) -> Result<(String, Tensor), ConvertError> {
    let start = cursor.position();
    let (axes, length, kind) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    if axes > 4 {
        return Err(file.damaged(format!("the tensor at {start} would have {axes} axes")));
    }
    // The innermost axis comes first.
    let mut shape = (0..axes).map(|_| cursor.u32().map(|size| size as usize)).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let name = String::from_utf8_lossy(&cursor.take(length as usize)?).into_owned();
    let element = element(kind).ok_or_else(|| {
        let reason =
            format!("{name} is of ggml's type {kind}; f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 and q8_0 are read");
        ConvertError::unsupported(file.path(), reason)
    })?;
    if element.block().0 > 1 && version != QUANTISATION_VERSION {
        let reason = format!("its blocks are of version {version}, not {QUANTISATION_VERSION}: quantise it anew");
        return Err(ConvertError::unsupported(file.path(), reason));
    }
    let tensor = Tensor::in_file(file, &name, shape, element, cursor.position())?;
    cursor.skip(tensor.stored_bytes())?;
    Ok((name, tensor))
}

/// Of `ggml_type`.
fn element(kind: u32) -> Option<Element> {
    Some(match kind {
        0 => Element::F32,
        1 => Element::F16,
        2 => Element::Q4_0,
        3 => Element::Q4_1,
        6 => Element::Q5_0,
        7 => Element::Q5_1,
        8 => Element::Q8_0,
        30 => Element::BF16,
        _ => return None,
    })
}
