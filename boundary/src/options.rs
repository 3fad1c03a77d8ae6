//! The execution provider's options for a session: their keys, and the words that they take.
//!
//! ONNX Runtime passes them on as pairs of strings. What a choice means for the provider is decided there; whether a
//! choice can be followed on this machine, too.

use crate::words;

words!(
    /// An option's key. Documents list them in this order.
    Key, "EP option", {
        /// Takes a [`DeviceChoice`].
        Device = "device",
        /// Takes a [`Target`].
        Target = "target",
        /// Takes a [`Simulation`].
        Sim = "sim",
        /// Takes a path: the folder of compiled NPU kernels.
        BundleDir = "bundle_dir",
        /// Takes [`Commands`].
        NpuCommands = "npu_commands",
        /// Takes a path: a report of `undertone npu bring-up`, whose measurements the cost model takes.
        CoreCosts = "core_costs",
        /// Takes a [`Precision`].
        Precision = "precision",
        /// Takes a [`Claim`].
        Claim = "claim",
        /// Takes a number: the tasks that may run at the same moment.
        Threads = "threads",
        /// Takes a path: the file that gets the partition ([`crate::partition`]).
        Report = "report",
        /// Takes a path: the file that gets what runs did when, in Chrome's trace format.
        Trace = "trace",
    }
);

words!(
    /// Which device a kernel runs on.
    DeviceKind, "device", {
        /// This machine's CPU, with the NPU's arithmetic.
        Host = "host",
        /// A simulated NPU.
        Sim = "sim",
        /// An AMD NPU.
        Npu = "npu",
    }
);

words!(
    /// The device that a session asks for.
    DeviceChoice, "device", {
        /// The NPU if this build and this machine have one that can be used, and the host device for what fails on it;
        /// else the host device.
        Auto = "auto",
        /// This machine's CPU, with the NPU's arithmetic.
        Host = DeviceKind::Host.word(),
        /// A simulated NPU.
        Sim = DeviceKind::Sim.word(),
        /// An AMD NPU, or an error: never anything else in its place.
        Npu = DeviceKind::Npu.word(),
    }
);

words!(
    /// Number format of a product's operands. Sums are always wider: int32 for [`Precision::Int8`], fp32 otherwise.
    Precision, "precision", {
        /// int8 operands, symmetric: weights per output channel, activations per row with a scale found at run time.
        Int8 = "int8",
        /// bf16 operands rounded to nearest even, fp32 accumulation.
        Bf16 = "bf16",
        /// fp32 operands: the reference, and the choice of CPUs without the instructions for the others.
        F32 = "f32",
    }
);

words!(
    /// Which NPU is simulated, or has to be there.
    Target, "target", {
        /// XDNA: Phoenix, Hawk Point.
        Npu1 = "npu1",
        /// XDNA2: Strix, Strix Halo, Krackan.
        Npu4 = "npu4",
    }
);

words!(
    /// How the simulator computes. The results are the same, but of [`Simulation::Count`].
    #[derive(Default)]
    Simulation, "simulation", {
        /// With this machine's vectors.
        #[default]
        Fast = "fast",
        /// By the NPU's own C++ code on a model of its instructions: a hundred times slower.
        Exact = "exact",
        /// Not at all: what would move is counted, and results are zeros. For plans.
        Count = "count",
    }
);

words!(
    /// How commands are given to an NPU.
    #[derive(Default)]
    Commands, "commands", {
        /// Those that belong together in one list.
        #[default]
        Lists = "lists",
        /// Each by itself: some driver and XRT pairs let lists time out (amd/IRON issue 43).
        Single = "single",
    }
);

words!(
    /// Which nodes of a graph the execution provider claims.
    Claim, "claim", {
        /// Every node that it can execute, in as few groups as possible.
        All = "all",
        /// Scaled-dot-product attention only.
        Attention = "attention",
        /// Matrix products with constant weights only, with the bias and activation that follow them.
        MatMul = "matmul",
    }
);

impl Commands {
    /// What that many commands, which belong together, are to an array: one dispatch, or one each.
    pub fn dispatches(self, commands: usize) -> u64 {
        match self {
            Commands::Lists => 1,
            Commands::Single => commands as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_programs_write() {
        assert_eq!(
            Key::ALL.map(Key::word),
            [
                "device",
                "target",
                "sim",
                "bundle_dir",
                "npu_commands",
                "core_costs",
                "precision",
                "claim",
                "threads",
                "report",
                "trace"
            ]
        );
        assert_eq!(DeviceKind::ALL.map(DeviceKind::word), ["host", "sim", "npu"]);
        assert_eq!(DeviceChoice::ALL.map(DeviceChoice::word), ["auto", "host", "sim", "npu"]);
        assert_eq!(Precision::ALL.map(Precision::word), ["int8", "bf16", "f32"]);
        assert_eq!(Target::ALL.map(Target::word), ["npu1", "npu4"]);
        assert_eq!(Simulation::ALL.map(Simulation::word), ["fast", "exact", "count"]);
        assert_eq!(Commands::ALL.map(Commands::word), ["lists", "single"]);
        assert_eq!(Claim::ALL.map(Claim::word), ["all", "attention", "matmul"]);
    }
}
