//! Bundles of trial arrays: a folder with a `trial.json`, the container, and of a pass-through the stream that the
//! compiler made of its one transfer. `kernels/aie/build.sh --ladder` makes them beside the others.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{BundleError, File, MOST_BYTES, unreadable};
use crate::npu::{plain_file, trial::Trial};

/// The version of `trial.json` that is read and written here.
const FORMAT: u32 = 1;

/// The description's name in a bundle's folder.
const MANIFEST: &str = "trial.json";

/// What `trial.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    trial: Trial,
    xclbin: File,
    instructions: Option<File>,
    tools: BTreeMap<String, String>,
}

/// A trial array as it was compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBundle {
    /// The array, with the shim channels that the compiler gave it.
    pub trial: Trial,
    /// The container.
    pub xclbin: Vec<u8>,
    /// The compiler's own stream.
    pub made: Option<Vec<u32>>,
}

impl TrialBundle {
    /// Reads the bundle of a trial array from a folder of bundles, with its files, checked.
    ///
    /// # Errors
    /// If there is none, or it can't be used.
    pub fn find(bundles: &Path, trial: &Trial) -> Result<Self, BundleError> {
        let folder = bundles.join(trial.name());
        if !folder.join(MANIFEST).exists() {
            return Err(BundleError::NoTrial { folder: bundles.to_owned(), name: trial.name(), target: trial.target });
        }
        let found = Self::read(&folder)?;
        if (found.trial.target, found.trial.kind) != (trial.target, trial.kind) {
            let reason = format!("it is {}", found.trial);
            return Err(BundleError::Malformed { path: folder.join(MANIFEST), reason });
        }
        Ok(found)
    }

    /// The folders in a folder of bundles that have a trial array's description, by name.
    ///
    /// # Errors
    /// If the folder can't be read.
    pub fn folders(bundles: &Path) -> Result<Vec<PathBuf>, BundleError> {
        let entries = fs::read_dir(bundles).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut paths: Vec<PathBuf> =
            entries.map_err(|error| unreadable(bundles, &error))?.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.join(MANIFEST).exists());
        paths.sort();
        Ok(paths)
    }

    /// Reads a bundle's folder, with its files, checked.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let text = plain_file::text(&path, MOST_BYTES).map_err(|error| unreadable(&path, &error))?;
        let malformed = |reason: String| BundleError::Malformed { path: path.clone(), reason };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(malformed(format!("its format is {}, and this program reads {FORMAT}", manifest.format)));
        }
        let found = manifest.trial;
        found.check().map_err(malformed)?;
        for file in [Some(&manifest.xclbin), manifest.instructions.as_ref()].into_iter().flatten() {
            file.check().map_err(malformed)?;
        }
        let made = manifest.instructions.map(|file| file.read(folder)).transpose()?;
        let words = |bytes: Vec<u8>| -> Vec<u32> {
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
        };
        Ok(Self { trial: found, xclbin: manifest.xclbin.read(folder)?, made: made.map(words) })
    }

    /// Writes a bundle into a folder of bundles.
    ///
    /// # Errors
    /// If the folder can't be made or written to.
    pub fn write(&self, bundles: &Path, tools: BTreeMap<String, String>) -> Result<(), BundleError> {
        let folder = bundles.join(self.trial.name());
        fs::create_dir_all(&folder).map_err(|error| unreadable(&folder, &error))?;
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|error| unreadable(&path, &error))?;
            Ok(File::of(name, bytes))
        };
        let made =
            self.made.as_ref().map(|words| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
        let manifest = Manifest {
            format: FORMAT,
            trial: self.trial.clone(),
            xclbin: put("design.xclbin", &self.xclbin)?,
            instructions: made.map(|bytes| put("insts.bin", &bytes)).transpose()?,
            tools,
        };
        let text =
            serde_json::to_string_pretty(&manifest).expect("a manifest has no maps with other keys than strings");
        put(MANIFEST, text.as_bytes()).map(|_| ())
    }
}
