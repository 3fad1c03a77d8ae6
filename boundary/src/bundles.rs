//! Compiled kernels for NPUs, *bundles*: the folder where `undertone npu fetch` puts them and the execution provider
//! finds them, and what a folder holds, as [`crate::exports::BUNDLES`] tells it: JSON.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::npu::TileReport;

/// The environment variable that names the folder.
pub const VARIABLE: &str = "UNDERTONE_BUNDLES";

/// The folder that is looked into where none is named: that of [`VARIABLE`], or `undertone/npu` in the user's cache
/// folder; none where the system has no such folder.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        Some(folder) => Some(folder.into()),
        None => Some(dirs::cache_dir()?.join("undertone").join("npu")),
    }
}

/// What a folder of bundles holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Bundles that the library can use, their files compared with their checksums.
    pub bundles: Vec<Entry>,
    /// Arrays that compute no layers, which `undertone npu bring-up` begins with; checked in the same way.
    #[serde(default)]
    pub trials: Vec<Trial>,
    /// What `undertone npu bring-up` would lack, by NPU; of each NPU that anything is there for.
    #[serde(default)]
    pub lacking: BTreeMap<String, Vec<String>>,
    /// Why others can't be used.
    pub broken: Vec<String>,
    /// The NPU of this machine.
    pub machine: Option<String>,
}

/// A bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its folder.
    pub folder: PathBuf,
    /// `npu1` or `npu4`.
    pub target: String,
    /// `int8` or `bf16`.
    pub kernels: String,
    /// What a core computes at a time.
    pub tile: TileReport,
    /// Rows and columns of cores.
    pub cores: [usize; 2],
}

/// A bundle of an array that computes no layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its folder.
    pub folder: PathBuf,
    /// `npu1` or `npu4`.
    pub target: String,
    /// `pass_through` or `core`.
    pub kind: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let text = json!({"bundles": [{"folder": "npu4-int8-48x64x64", "target": "npu4", "kernels": "int8",
            "tile": {"m": 48, "k": 64, "n": 64}, "cores": [4, 8]}],
            "trials": [{"folder": "npu4-core", "target": "npu4", "kind": "core"}],
            "lacking": {"npu4": ["pass_through"]}, "broken": ["why"], "machine": "npu4"});
        let contents: Contents = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(contents).unwrap(), text);
    }
}
