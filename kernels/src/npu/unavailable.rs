//! Why the machine's NPU can't be used, and what to do.

use std::path::PathBuf;

use super::{
    bundle::BundleError,
    probe::{Finding, Probe},
    target::Target,
};

/// Why the machine's NPU can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Something in the machine or in the build.
    #[error("{}", causes(.0))]
    Machine(Probe),
    /// XRT refuses what the machine seems to have.
    #[error("the NPU can't be opened: {words}{}", after(.probe))]
    Xrt {
        /// What XRT said.
        words: String,
        /// What the machine shows.
        probe: Probe,
    },
    /// No folder of bundles is named, and there is none where they are looked for then.
    #[error(
        "there are no compiled kernels for it (bundles): `undertone npu fetch FROM` puts those of a release{} where they are \
         found; or compile them with kernels/aie/build.sh and name its output (EP option bundle_dir)",
        default()
    )]
    NoBundles,
    /// The folder of bundles can't be used.
    #[error("the folder of bundles: {0}")]
    Bundles(#[from] BundleError),
    /// All bundles are for another NPU, or broken.
    #[error(
        "{} has no bundle for this machine's {target}: {have}; `undertone npu fetch FROM` takes them from a release",
        .folder.display()
    )]
    OtherBundles {
        /// Where was looked.
        folder: PathBuf,
        /// What this machine has.
        target: Target,
        /// What is there.
        have: String,
    },
}

/// The folder that is looked into where none is named, as a further clause.
fn default() -> String {
    undertone_boundary::bundles::folder().map_or_else(String::new, |folder| format!(" into {},", folder.display()))
}

/// What stands in the way: where the bus shows no NPU, its driver's node and the memory that it may lock are no causes.
fn causes(probe: &Probe) -> String {
    if !probe.findings.contains(&Finding::NoDevice) {
        return probe.to_string();
    }
    let first = probe.findings.iter().filter(|finding| matches!(finding, Finding::NoDevice | Finding::NotBuilt));
    first.map(Finding::to_string).collect::<Vec<_>>().join("; ")
}

/// The findings, and the versions below an NPU, as a further clause.
fn after(probe: &Probe) -> String {
    let found = (!probe.findings.is_empty()).then(|| probe.to_string());
    let software = (!probe.npus.is_empty()).then(|| probe.software.to_string()).filter(|text| !text.is_empty());
    let all: Vec<String> = [found, software].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" (the machine: {})", all.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_way_out() {
        let said = Unavailable::NoBundles.to_string();
        assert!(said.contains("kernels/aie/build.sh") && said.contains("`undertone npu fetch FROM`"), "{said}");
        let low = Finding::LockedMemory { limit: 1 << 20 };
        let probe = Probe { findings: vec![Finding::NoDevice, low.clone()], ..Probe::default() };
        assert_eq!(Unavailable::Machine(probe.clone()).to_string(), Finding::NoDevice.to_string());
        let denied = Finding::NoPermission { node: "/dev/accel/accel0".into() };
        let said = Unavailable::Machine(Probe { findings: vec![denied.clone(), low.clone()], ..Probe::default() });
        assert_eq!(said.to_string(), format!("{denied}; {low}"));
        let said = Unavailable::Xrt { words: "No such device".into(), probe }.to_string();
        assert!(said.contains("No such device") && said.contains("1022:1502"), "{said}");
        let said = Unavailable::Xrt { words: "No such device".into(), probe: Probe::default() }.to_string();
        assert_eq!(said, "the NPU can't be opened: No such device");
    }
}
