//! The machine's NPU as a device, or why there is none. Compiled into every build: without the feature `xrt` it can
//! only say so.

use std::{path::PathBuf, sync::Arc};

use super::{
    bundle::BundleError,
    device::{NpuDevice, Settings},
    probe::{self, Finding, Probe},
};

/// Why the machine's NPU can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Something in the machine or in the build.
    #[error("there is no usable NPU: {0}")]
    Machine(Probe),
    /// XRT refuses what the machine seems to have.
    #[error("the NPU can't be opened: {words}{}", after(.probe))]
    Xrt {
        /// What XRT said.
        words: String,
        /// What the machine shows.
        probe: Probe,
    },
    /// It is not said where the bundles are.
    #[error(
        "no folder of bundles is named: compile the designs with kernels/aie/build.sh and name its output (EP option bundle_dir)"
    )]
    NoBundles,
    /// The folder of bundles can't be used.
    #[error("the folder of bundles: {0}")]
    Bundles(#[from] BundleError),
    /// All bundles are for another NPU, or broken.
    #[error("{} has no bundle for this machine's {target}: {have}", .folder.display())]
    OtherBundles {
        /// Where was looked.
        folder: PathBuf,
        /// What this machine has.
        target: super::Target,
        /// What is there.
        have: String,
    },
}

/// The findings as a further clause.
fn after(probe: &Probe) -> String {
    if probe.findings.is_empty() { String::new() } else { format!(" (the machine: {probe})") }
}

/// Opens the machine's NPU. Which silicon it is, it says itself: [`Settings::target`] is for the simulator.
///
/// # Errors
/// [`Unavailable`]: what is missing and what to do.
pub fn hardware(settings: &Settings) -> Result<Arc<dyn NpuDevice>, Unavailable> {
    let probe = probe::probe();
    if probe.findings.iter().any(|finding| matches!(finding, Finding::NotBuilt | Finding::NotLinux)) {
        return Err(Unavailable::Machine(probe));
    }
    open(settings, probe)
}

#[cfg(not(feature = "xrt"))]
fn open(_settings: &Settings, probe: Probe) -> Result<Arc<dyn NpuDevice>, Unavailable> {
    Err(Unavailable::Machine(probe))
}

#[cfg(feature = "xrt")]
fn open(settings: &Settings, probe: Probe) -> Result<Arc<dyn NpuDevice>, Unavailable> {
    let array = super::xrt::XrtArray::open(settings.bundle_dir.as_deref(), probe)?;
    Ok(Arc::new(super::device::Npu::new(array)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_npu_the_error_says_what_is_missing() {
        let probe = probe::probe();
        match hardware(&Settings::default()) {
            Ok(_) => assert!(probe.usable()),
            Err(Unavailable::Machine(found)) => {
                assert!(!found.usable());
                // All that stands in the way by itself is in the words.
                let said = Unavailable::Machine(found).to_string();
                for finding in &probe.findings {
                    assert!(said.contains(&finding.to_string()), "{finding}: {said}");
                }
            }
            Err(other) => assert!(probe.usable(), "{other}"),
        }
    }

    #[test]
    fn refusals_name_the_way_out() {
        assert!(Unavailable::NoBundles.to_string().contains("kernels/aie/build.sh"));
        let probe = Probe { npus: Vec::new(), findings: vec![Finding::NoDevice] };
        let said = Unavailable::Xrt { words: "No such device".into(), probe }.to_string();
        assert!(said.contains("No such device") && said.contains("1022:1502"), "{said}");
        let said = Unavailable::Xrt { words: "No such device".into(), probe: Probe::default() }.to_string();
        assert_eq!(said, "the NPU can't be opened: No such device");
    }
}
