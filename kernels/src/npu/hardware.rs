//! The machine's NPU as a device, or why there is none. Compiled into every build: without the feature `xrt` it can
//! only say so.

use std::sync::Arc;

use super::{
    device::{NpuDevice, Settings},
    probe::{self, Finding, Probe},
    unavailable::Unavailable,
};

/// Opens the machine's NPU. Which silicon it is, it says itself: [`Settings::target`] is for the simulator.
///
/// # Errors
/// [`Unavailable`]: what is missing and what to do.
pub fn hardware(settings: &Settings) -> Result<Arc<dyn NpuDevice>, Unavailable> {
    let probe = probe::probe();
    if probe.findings.iter().any(|finding| matches!(finding, Finding::NotBuilt | Finding::OtherSystem)) {
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
    let array = super::xrt::XrtArray::open(settings.bundles().as_deref(), probe)?.with_commands(settings.commands);
    Ok(Arc::new(super::device::Npu::with_costs(array, settings.core_costs.as_ref())))
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
                // All that stands in the way by itself is in the words; without an NPU nothing else does.
                let said = Unavailable::Machine(found).to_string();
                let none = probe.findings.contains(&Finding::NoDevice);
                let causes = |finding: &&Finding| !none || matches!(finding, Finding::NoDevice | Finding::NotBuilt);
                for finding in probe.findings.iter().filter(causes) {
                    assert!(said.contains(&finding.to_string()), "{finding}: {said}");
                }
            }
            Err(other) => assert!(probe.usable(), "{other}"),
        }
    }
}
