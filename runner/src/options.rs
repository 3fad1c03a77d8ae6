//! What a person chooses before anything is loaded: the device, the arithmetic, the libraries, the threads.
//! No resolving happens here; `engine` does that.

use std::path::PathBuf;

use undertone_boundary::options::DeviceChoice;
pub use undertone_boundary::options::{Claim, Precision, Simulation, Target};
use undertone_boundary::words;
pub use undertone_boundary::words::UnknownWord;

words!(
    /// What carries out the model: a device of the execution provider's, or none of it.
    Device, "device", {
        /// The best device that the execution provider finds; if it cannot be loaded or fails at run time, ONNX
        /// Runtime's CPU provider, and the report says so.
        Auto = DeviceChoice::Auto.word(),
        /// ONNX Runtime's own CPU provider without the execution provider: the reference.
        Cpu = "cpu",
        /// The execution provider's host device: the NPU kernels' arithmetic on the CPU.
        Host = DeviceChoice::Host.word(),
        /// The execution provider's simulator.
        Sim = DeviceChoice::Sim.word(),
        /// The NPU; an error where there is none.
        Npu = DeviceChoice::Npu.word(),
    }
);

words!(
    /// What to write.
    Task, "task", {
        /// The words in the language they were spoken in.
        Transcribe = "transcribe",
        /// The words in English.
        Translate = "translate",
    }
);

/// How to set up ONNX Runtime and the execution provider.
///
/// ```
/// use undertone_runner::{Device, EngineOptions, Precision};
///
/// let mut options = EngineOptions::new("/usr/lib/libonnxruntime.so");
/// options.device = Device::Host;
/// options.ep_library = Some("/usr/lib/libonnxruntime_ep_xdna.so".into());
/// options.precision = Precision::Bf16;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Path of ONNX Runtime's shared library (1.24 or newer). One library serves a process: the first one wins.
    pub ort_library: PathBuf,
    /// Path of the execution provider's shared library; needed for every device but `cpu`.
    pub ep_library: Option<PathBuf>,
    /// What carries out the model.
    pub device: Device,
    /// Which NPU; `None` is the one that is there, and on the simulator its default.
    pub target: Option<Target>,
    /// How the simulator computes.
    pub simulation: Simulation,
    /// The execution provider's arithmetic.
    pub precision: Precision,
    /// Which nodes the execution provider asks for.
    pub claim: Claim,
    /// Threads for one operator; `None` leaves the choice to ONNX Runtime (one per physical core).
    pub threads: Option<usize>,
    /// Whether idle threads of ONNX Runtime wait in a loop. On an idle machine that makes the CPU provider's decoder
    /// steps somewhat shorter and the execution provider's not; on a busy one it makes both clearly longer, so the
    /// default is not to.
    pub spinning: bool,
    /// Folder of NPU kernel bundles.
    pub bundle_dir: Option<PathBuf>,
    /// Where the execution provider writes its partition report (JSON). Graphs are then opened as they are, never
    /// packed.
    pub report: Option<PathBuf>,
    /// Folder for packed models: what the execution provider makes of a graph is kept there, and a later start takes it
    /// from there. Folders that cannot be written to are done without. `None` keeps nothing.
    pub packed: Option<PathBuf>,
}

impl EngineOptions {
    /// ONNX Runtime at `ort_library`, device `cpu`, and the defaults for the rest (int8, all nodes).
    pub fn new(ort_library: impl Into<PathBuf>) -> Self {
        Self {
            ort_library: ort_library.into(),
            ep_library: None,
            device: Device::Cpu,
            target: None,
            simulation: Simulation::Fast,
            precision: Precision::Int8,
            claim: Claim::All,
            threads: None,
            spinning: false,
            bundle_dir: None,
            report: None,
            packed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_unknown_ones_name_the_choices() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for precision in Precision::ALL {
            assert_eq!(precision.word().parse(), Ok(precision));
        }
        let error = "gpu".parse::<Device>().unwrap_err();
        assert_eq!(error.to_string(), "unknown device 'gpu': use one of auto, cpu, host, sim, npu");
        assert!("Int8".parse::<Precision>().is_err());
        assert!("".parse::<Task>().is_err());
    }
}
