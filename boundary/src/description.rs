//! What the execution provider's library is, as [`crate::exports::DESCRIBE`] tells it: JSON.

use serde::{Deserialize, Serialize};

/// The library, on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Description {
    /// The execution provider's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What differs from build to build: packed models of another build are packed anew.
    pub build: String,
    /// The devices that can be used here: `host`, `sim`, `npu`.
    pub devices: Vec<String>,
    /// The NPU that is here, or what is in its way.
    pub npu: String,
    /// The software below the NPU.
    #[serde(default)]
    pub npu_software: NpuSoftware,
    /// The NPUs that it knows, and simulates: `npu1`, `npu4`.
    pub targets: Vec<String>,
    /// The device that `device=auto` is, or why there is none.
    pub auto: String,
    /// The instruction set in use on the CPU.
    pub instruction_set: String,
    /// All that this CPU has and the library knows.
    pub instruction_sets: Vec<String>,
    /// The options' keys.
    pub options: Vec<String>,
    /// The ONNX Runtimes that it works with.
    pub onnxruntime: OnnxRuntimes,
}

/// Versions below the NPU; those that nothing shows are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NpuSoftware {
    /// The kernel's release: `7.0.4-arch1-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Where the loaded driver `amdxdna` comes from: `in-tree`, `out-of-tree (DKMS)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The driver's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The firmware that runs on the NPU: `1.1.2.64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Where none runs: the firmware in the file `npu.sbin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_file: Option<String>,
    /// The installed XRT: `2.23.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xrt: Option<String>,
}

/// Versions of ONNX Runtime: `1.23`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OnnxRuntimes {
    /// The oldest that it works with.
    pub oldest: String,
    /// The newest that it was tested with.
    pub newest_tested: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_what_programs_read() {
        let text = json!({"name": "XdnaExecutionProvider", "version": "0.1.0", "build": "1", "devices": ["host", "sim"],
            "npu": "none", "npu_software": {"kernel": "7.0.4", "driver": "in-tree", "driver_version": "0.1",
            "firmware": "1.1.2.64", "firmware_file": "1.0.0.63", "xrt": "2.23.0"},
            "targets": ["npu1", "npu4"], "auto": "host", "instruction_set": "avx2", "instruction_sets": ["avx2"],
            "options": ["device"], "onnxruntime": {"oldest": "1.23", "newest_tested": "1.32"}});
        let description: Description = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(description).unwrap(), text);
    }

    #[test]
    fn a_library_that_tells_no_software_is_read_too() {
        let software: NpuSoftware = serde_json::from_value(json!({})).unwrap();
        assert_eq!(software, NpuSoftware::default());
        assert_eq!(serde_json::to_value(software).unwrap(), json!({}));
    }
}
