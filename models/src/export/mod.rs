//! Writes a model folder with ONNX graphs from a checkpoint: plain operators, optimum's names of files, inputs and
//! outputs, one copy of each weight in files beside the graphs. Any ONNX Runtime loads it.

mod data;
mod files;
mod graph;
mod heads;
mod layers;
mod proto;
mod tokenizer;
mod whisper;

pub use heads::alignment_heads;
use std::path::{Path, PathBuf};

use data::DataFile;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::weights::{self, Checkpoint, ConvertError, SourceKind};

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightFormat {
    /// As f32: what is computed with. Loads fastest.
    F32,
    /// Matrices as f16, widened once when the model is loaded: half the size on disk. Exact where the source has f16.
    F16,
    /// Matrices as int8 with a scale for each output, widened once when the model is loaded: a quarter of the size on
    /// disk.
    Int8,
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WeightFormat::F32 => "f32",
            WeightFormat::F16 => "f16",
            WeightFormat::Int8 => "int8",
        })
    }
}

/// What can be chosen of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvertOptions {
    /// How weights are stored; `None`: as f16 where the source has nothing finer, else as f32.
    pub weights: Option<WeightFormat>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The folder.
    pub directory: PathBuf,
    /// What it was made from.
    pub kind: SourceKind,
    /// How its weights are stored.
    pub weights: WeightFormat,
    /// Bytes of all files in it.
    pub bytes: u64,
}

/// Reads the weights in `source` (see [`weights::recognise`]) and writes the model folder `out`, which must not exist.
/// `progress` is told of bytes done and bytes in all, which are those of the weights as f32.
///
/// The folder is written beside `out` under another name, and named `out` when it is whole: what is interrupted leaves
/// no half model.
///
/// # Errors
/// [`ConvertError`]: which file is missing, damaged or not supported, or cannot be written.
pub fn convert(
    source: &Path,
    out: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted, ConvertError> {
    refuse_what_is_there(out)?;
    let checkpoint = weights::open(source)?;
    let narrow = checkpoint.tensors().all(|(_, tensor)| tensor.shape().len() < 2 || tensor.fits_f16());
    let format = options.weights.unwrap_or(if narrow { WeightFormat::F16 } else { WeightFormat::F32 });
    let bytes = whole(out, |folder| write(&checkpoint, folder, format, progress))?;
    Ok(Converted { directory: out.to_owned(), kind: checkpoint.kind, weights: format, bytes })
}

/// Writes the folder `out`, which must not exist, of files in the folder `from`: a model that was converted before.
/// Returns their bytes.
pub(crate) fn copy(from: &Path, files: &[&str], out: &Path) -> Result<u64, ConvertError> {
    refuse_what_is_there(out)?;
    whole(out, |folder| {
        files.iter().try_for_each(|name| {
            let path = from.join(name);
            std::fs::copy(&path, folder.join(name)).map(drop).map_err(ConvertError::io("copy", &path))
        })
    })
}

fn refuse_what_is_there(out: &Path) -> Result<(), ConvertError> {
    if out.symlink_metadata().is_ok() { Err(ConvertError::Exists(out.to_owned())) } else { Ok(()) }
}

/// Makes the folder `out`, which is there whole or not at all; returns the bytes of what `write` puts into it.
fn whole(out: &Path, write: impl FnOnce(&Path) -> Result<(), ConvertError>) -> Result<u64, ConvertError> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(ConvertError::io("create", parent))?;
    let folder = new_folder(parent)?;
    write(folder.path())?;
    let bytes = size_of_files(folder.path())?;
    let made = folder.keep();
    if let Err(error) = std::fs::rename(&made, out) {
        let _ = std::fs::remove_dir_all(&made);
        return Err(ConvertError::io("name the new folder", out)(error));
    }
    Ok(bytes)
}

/// A folder beside the result, as open to others as a new folder is; it goes away with its handle.
fn new_folder(parent: &Path) -> Result<tempfile::TempDir, ConvertError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".converting-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).map_err(ConvertError::io("create a folder in", parent))
}

fn write(
    checkpoint: &Checkpoint,
    folder: &Path,
    format: WeightFormat,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ConvertError> {
    // First what is small and may be refused.
    let files = files::all(checkpoint)?;
    const F32: u64 = 4;
    let all: u64 = checkpoint.tensors().map(|(_, tensor)| (tensor.rows() * tensor.width()) as u64 * F32).sum();
    let mut done = 0;
    let mut read = |numbers: u64| {
        done += numbers * F32;
        progress(done, all);
    };
    let mut data = DataFile::create(folder, "encoder_model.onnx_data", format, &mut read)?;
    save(folder, "encoder_model.onnx", &whisper::encoder(checkpoint, &mut data)?)?;
    data.finish()?;
    let mut data = DataFile::create(folder, "decoder_model.onnx_data", format, &mut read)?;
    save(folder, "decoder_model.onnx", &whisper::decoder(checkpoint, &mut data, false)?)?;
    save(folder, "decoder_with_past_model.onnx", &whisper::decoder(checkpoint, &mut data, true)?)?;
    data.finish()?;
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(ConvertError::io("write", &path))?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, model: &proto::ModelProto) -> Result<(), ConvertError> {
    let path = folder.join(name);
    std::fs::write(&path, model.encode_to_vec()).map_err(ConvertError::io("write", &path))
}

fn size_of_files(folder: &Path) -> Result<u64, ConvertError> {
    let entries = std::fs::read_dir(folder).map_err(ConvertError::io("read", folder))?;
    entries
        .map(|entry| entry.and_then(|entry| entry.metadata()).map(|metadata| metadata.len()))
        .sum::<Result<_, _>>()
        .map_err(ConvertError::io("read", folder))
}
