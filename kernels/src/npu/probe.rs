//! Whether this machine has an NPU that can be used, and if not, why not and what to do. It only reads what the kernel
//! shows (`/sys`, `/dev`, `/proc`): no XRT is needed, and nothing is opened for longer than the look takes. On Windows it
//! reads what `windows.rs` says.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::{software::Software, target::Target};

/// PCI vendor number of AMD.
pub(super) const AMD: u32 = 0x1022;

/// PCI device numbers of AMD's NPUs that there are designs for, and the processors that have them.
const KNOWN: [(u32, Target, &str); 2] =
    [(0x1502, Target::Npu1, "Phoenix and Hawk Point"), (0x17f0, Target::Npu4, "Strix and Krackan")];

/// PCI class of NPUs ("signal processing controller"), without the programming interface's byte.
const SIGNAL_PROCESSOR: u32 = 0x1180;

/// Locked memory below which a model's weights and buffers may not all fit: the encoder of whisper-large in int8 and
/// its activations.
const LOCKED_MEMORY_WANTED: u64 = 1 << 30;

/// An NPU that the PCI bus shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciNpu {
    /// Its place on the bus, as `0000:c5:00.1`.
    pub address: String,
    /// PCI device number, as `0x1502`.
    pub device: u32,
    /// PCI revision.
    pub revision: u32,
    /// What it is, where it is one that there are designs for.
    pub target: Option<Target>,
    /// The driver bound to it.
    pub driver: Option<String>,
}

/// Something in the way of using the NPU (or likely to be): what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Neither Linux nor Windows.
    #[error("NPUs are reached through AMD's drivers for Linux and Windows; this system has neither")]
    OtherSystem,
    /// The build leaves XRT out.
    #[error(
        "this build has no XRT device: build with the feature `xrt`, which is on unless it was turned off (it needs nothing of XRT before it runs)"
    )]
    NotBuilt,
    /// The PCI bus shows none.
    #[error(
        "no AMD NPU on the PCI bus (ids {}): \
         if the processor is a Ryzen AI, enable the NPU (\"IPU\") in the firmware's settings",
        known(", ", |id, _, processors| format!("{id} {processors}"))
    )]
    NoDevice,
    /// One that no design was made for.
    #[error(
        "the NPU at {address} has the id 1022:{device:04x} revision {revision:#x}, for which there are no designs \
         (known: {})",
        known("; ", |id, target, _| format!("{id} as {target}"))
    )]
    UnknownId {
        /// Where on the bus.
        address: String,
        /// PCI device number.
        device: u32,
        /// PCI revision.
        revision: u32,
    },
    /// The driver is not bound to it.
    #[error(
        "the NPU at {address} has no driver ({}): load it with `sudo modprobe amdxdna` (in Linux since 6.14; \
         npu4 wants that of 7.0 or newer, or AMD's amdxdna-dkms; \
         it also needs AMD's firmware, packages linux-firmware or firmware-amd-graphics)",
        .bound.as_deref().map_or_else(|| "none is bound".to_owned(), |name| format!("{name} is bound, not amdxdna"))
    )]
    NoDriver {
        /// Where on the bus.
        address: String,
        /// The driver that is bound instead.
        bound: Option<String>,
    },
    /// On Windows: the driver has left no XRT.
    #[error(
        "there is no xrt_coreutil.dll in {system} or its folder AMD, where AMD's NPU driver puts it: install the driver \
         (AMD's Adrenalin software or that of Ryzen AI has it); System32\\AMD\\xrt-smi.exe examine then shows the NPU"
    )]
    NoWindowsDriver {
        /// The folder `System32`.
        system: PathBuf,
    },
    /// The driver's node is missing.
    #[error(
        "there is no {node}: the driver amdxdna is not loaded or its start failed; see `sudo dmesg | grep amdxdna`"
    )]
    NoNode {
        /// The node of the first NPU.
        node: PathBuf,
    },
    /// The node can't be opened for want of rights.
    #[error(
        "no permission to open {node}: add yourself to its group with `sudo usermod -aG render $USER` and log in again \
         (in a container: give it the device and the group)"
    )]
    NoPermission {
        /// The node.
        node: PathBuf,
    },
    /// The node can't be opened for another reason.
    #[error("{node} can't be opened: {reason}; see `sudo dmesg | grep amdxdna`")]
    NodeBroken {
        /// The node.
        node: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The limit of locked memory is low. Not in the way by itself.
    #[error(
        "only {} of memory may be locked, which the driver's buffers count against: raise it (`* - memlock unlimited` in \
         /etc/security/limits.d/, or LimitMEMLOCK=infinity of the service) and log in again",
        MebiBytes(*.limit)
    )]
    LockedMemory {
        /// The soft limit in bytes.
        limit: u64,
    },
    /// Kernel, driver and firmware that are known not to work together. Not in the way by itself.
    #[error("{0}")]
    KnownBad(&'static str),
    /// XRT, or the library that binds it, does not load.
    #[error("{0}")]
    Library(String),
}

impl Finding {
    /// Whether the NPU cannot be used because of it; else it is a warning.
    pub fn prevents(&self) -> bool {
        !matches!(self, Finding::LockedMemory { .. } | Finding::KnownBad(_))
    }
}

/// What a look at the machine found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// NPUs on the PCI bus.
    pub npus: Vec<PciNpu>,
    /// The software below the first NPU. Boxed, since errors carry what was found.
    pub software: Box<Software>,
    /// What is in the way, the first cause first.
    pub findings: Vec<Finding>,
}

impl Probe {
    /// The first NPU that there are designs for.
    pub fn target(&self) -> Option<Target> {
        self.npus.iter().find_map(|npu| npu.target)
    }

    /// Whether nothing stands in the way.
    pub fn usable(&self) -> bool {
        !self.findings.iter().any(Finding::prevents)
    }
}

impl fmt::Display for Probe {
    /// The NPUs and the findings, separated by "; ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let npus = self.npus.iter().map(ToString::to_string);
        let all: Vec<String> = npus.chain(self.findings.iter().map(ToString::to_string)).collect();
        f.write_str(&all.join("; "))
    }
}

impl fmt::Display for PciNpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, device, .. } = self;
        match self.target {
            Some(target) => write!(f, "{target} at {address} (1022:{device:04x})"),
            None => write!(f, "an NPU at {address} (1022:{device:04x})"),
        }
    }
}

/// Looks at this machine.
pub fn probe() -> Probe {
    if !cfg!(any(target_os = "linux", windows)) {
        return Probe { findings: vec![Finding::OtherSystem], ..Probe::default() };
    }
    let mut probe = look();
    if !cfg!(feature = "xrt") {
        probe.findings.insert(0, Finding::NotBuilt);
    }
    probe
}

#[cfg(not(windows))]
fn look() -> Probe {
    probe_below(Path::new("/"))
}

#[cfg(windows)]
fn look() -> Probe {
    let (npus, software) = super::windows::look();
    let mut findings = Vec::from_iter(npus.is_empty().then_some(Finding::NoDevice));
    #[cfg(feature = "xrt")]
    if let Some(windows) = std::env::var_os("SystemRoot") {
        findings.extend(super::windows::driver(&Path::new(&windows).join("System32")));
    }
    Probe { npus, software: Box::new(software), findings }
}

/// Looks at the machine whose `/sys`, `/dev` and `/proc` lie below `root`.
pub fn probe_below(root: &Path) -> Probe {
    let npus = pci_npus(&root.join("sys/bus/pci/devices"));
    let mut findings = Vec::new();
    if npus.is_empty() {
        findings.push(Finding::NoDevice);
    } else if npus.iter().all(|npu| npu.target.is_none()) {
        let PciNpu { address, device, revision, .. } = npus[0].clone();
        findings.push(Finding::UnknownId { address, device, revision });
    }
    let first = npus.iter().find(|npu| npu.target.is_some()).or(npus.first());
    let id = first.map(|npu| format!("{:04x}_{:02x}", npu.device, npu.revision));
    let software = Box::new(Software::below(root, first.map(|npu| npu.address.as_str()).zip(id.as_deref())));
    let bad = first.and_then(|npu| software.known_bad(npu.target?));
    findings.extend(bad.map(Finding::KnownBad));
    for npu in npus.iter().filter(|npu| npu.driver.as_deref() != Some("amdxdna")) {
        findings.push(Finding::NoDriver { address: npu.address.clone(), bound: npu.driver.clone() });
    }
    findings.extend(node(root));
    if let Some(limit) = locked_memory(&root.join("proc/self/limits"))
        && limit < LOCKED_MEMORY_WANTED
    {
        findings.push(Finding::LockedMemory { limit });
    }
    Probe { npus, software, findings }
}

/// AMD's NPUs in a folder of PCI devices; those of unknown ids too, where class or driver tell what they are.
fn pci_npus(devices: &Path) -> Vec<PciNpu> {
    let mut npus: Vec<PciNpu> = fs::read_dir(devices)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = |name: &str| hexadecimal(&fs::read_to_string(entry.path().join(name)).ok()?);
            let (vendor, device) = (number("vendor")?, number("device")?);
            let driver = fs::read_link(entry.path().join("driver")).ok();
            let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
            let target = target_of(device);
            let is_npu = target.is_some()
                || driver.as_deref() == Some("amdxdna")
                || number("class").is_some_and(|class| class >> 8 == SIGNAL_PROCESSOR && device & 0xfff0 == 0x17f0);
            (vendor == AMD && is_npu).then(|| PciNpu {
                address: entry.file_name().to_string_lossy().into_owned(),
                device,
                revision: number("revision").unwrap_or(0),
                target,
                driver,
            })
        })
        .collect();
    npus.sort_by(|one, other| one.address.cmp(&other.address));
    npus
}

/// Which silicon a PCI device number of AMD's means.
pub(super) fn target_of(device: u32) -> Option<Target> {
    KNOWN.iter().find(|(known, ..)| *known == device).map(|(_, target, _)| *target)
}

/// [`KNOWN`] in words, each as `1022:1502`, its target and its processors.
fn known(separator: &str, words: impl Fn(String, Target, &str) -> String) -> String {
    let one = |&(device, target, processors): &_| words(format!("{AMD:04x}:{device:04x}"), target, processors);
    KNOWN.iter().map(one).collect::<Vec<_>>().join(separator)
}

/// What is wrong with the driver's node.
fn node(root: &Path) -> Option<Finding> {
    // Another accelerator may have come first: any node will do.
    let mut nodes: Vec<PathBuf> = fs::read_dir(root.join("dev/accel"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("accel")))
        .collect();
    nodes.sort();
    if nodes.is_empty() {
        nodes.push(root.join("dev/accel/accel0"));
    }
    let mut first = None;
    for node in nodes {
        match fs::OpenOptions::new().read(true).write(true).open(&node) {
            Ok(_) => return None,
            Err(error) => first = first.or(Some(refusal(node, &error))),
        }
    }
    first
}

/// Why a node did not open.
fn refusal(node: PathBuf, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => Finding::NoNode { node },
        io::ErrorKind::PermissionDenied => Finding::NoPermission { node },
        _ => Finding::NodeBroken { node, reason: error.to_string() },
    }
}

/// The soft limit of locked memory in bytes; none where there is no limit or it is not told.
fn locked_memory(limits: &Path) -> Option<u64> {
    let limits = fs::read_to_string(limits).ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max locked memory")?.split_whitespace().next()?.parse().ok())
}

/// `0x1022` and a line's end.
fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Bytes, written in MiB or, below one, in KiB.
struct MebiBytes(u64);

impl fmt::Display for MebiBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            0 => write!(f, "{} KiB", self.0 >> 10),
            mib => write!(f, "{mib} MiB"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "0000:c5:00.1";

    /// A folder with the files of a machine: `(path, contents)`.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(files: &[(&str, &str)]) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for (path, contents) in files {
                let path = machine.0.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, contents).unwrap();
            }
            machine
        }

        /// With a PCI device, and a driver bound to it.
        fn with_npu(device: &str, driver: Option<&str>, files: &[(&str, &str)]) -> Self {
            let machine = Self::new(files);
            let folder = machine.0.path().join("sys/bus/pci/devices").join(ADDRESS);
            fs::create_dir_all(&folder).unwrap();
            for (name, contents) in
                [("vendor", "0x1022\n"), ("device", device), ("class", "0x118000\n"), ("revision", "0x10\n")]
            {
                fs::write(folder.join(name), contents).unwrap();
            }
            if let Some(driver) = driver {
                let target = machine.0.path().join("sys/bus/pci/drivers").join(driver);
                fs::create_dir_all(&target).unwrap();
                #[cfg(unix)]
                std::os::unix::fs::symlink(target, folder.join("driver")).unwrap();
            }
            machine
        }

        fn probe(&self) -> Probe {
            probe_below(self.0.path())
        }
    }

    const NODE: (&str, &str) = ("dev/accel/accel0", "");
    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max processes             100                  100                  processes \n";

    #[test]
    fn a_machine_without_an_npu() {
        let probe = Machine::new(&[("sys/bus/pci/devices/0000:00:00.0/vendor", "0x1022\n")]).probe();
        assert!(probe.npus.is_empty() && !probe.usable() && probe.target().is_none());
        let said = probe.to_string();
        for word in ["1022:1502", "1022:17f0", "firmware", "accel0", "dmesg"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_that_can_be_used() {
        for (device, target) in [("0x1502\n", Target::Npu1), ("0x17f0\n", Target::Npu4)] {
            let limits = format!("{LIMITS}Max locked memory         unlimited            unlimited            bytes\n");
            let probe = Machine::with_npu(device, Some("amdxdna"), &[NODE, ("proc/self/limits", &limits)]).probe();
            assert_eq!((probe.target(), probe.usable(), probe.findings.len()), (Some(target), true, 0));
        }
    }

    #[cfg(unix)]
    #[test]
    fn little_locked_memory_is_a_warning() {
        let limits = format!("{LIMITS}Max locked memory         8388608              8388608              bytes\n");
        let probe = Machine::with_npu("0x1502\n", Some("amdxdna"), &[NODE, ("proc/self/limits", &limits)]).probe();
        assert_eq!(probe.findings, [Finding::LockedMemory { limit: 8 << 20 }]);
        assert!(probe.usable() && probe.to_string().contains("only 8 MiB"));
        assert!(Finding::LockedMemory { limit: 65536 }.to_string().contains("64 KiB"));
    }

    #[cfg(unix)]
    #[test]
    fn a_missing_driver_and_another_one() {
        let none = Machine::with_npu("0x17f0\n", None, &[]).probe();
        assert_eq!(none.findings[0], Finding::NoDriver { address: ADDRESS.into(), bound: None });
        assert!(matches!(none.findings[1], Finding::NoNode { .. }));
        assert!(none.to_string().contains("modprobe amdxdna"));
        let other = Machine::with_npu("0x17f0\n", Some("vfio-pci"), &[NODE]).probe();
        assert!(other.to_string().contains("vfio-pci is bound"));
    }

    #[cfg(unix)]
    #[test]
    fn an_npu_of_an_unknown_id() {
        let probe = Machine::with_npu("0x17f1\n", Some("amdxdna"), &[NODE]).probe();
        assert_eq!((probe.target(), probe.usable()), (None, false));
        assert!(probe.to_string().contains("1022:17f1 revision 0x10"), "{probe}");
        for target in Target::ALL {
            assert!(probe.to_string().contains(&format!(" as {target}")), "{target} has no PCI id: {probe}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn software_that_does_not_work_together_is_a_warning() {
        let fw_version = format!("sys/bus/pci/devices/{ADDRESS}/fw_version");
        let files = [NODE, ("proc/sys/kernel/osrelease", "6.17.0-35-generic\n"), ("sys/module/amdxdna/taint", "\n")];
        let old =
            Machine::with_npu("0x17f0\n", Some("amdxdna"), &[&files[..], &[(&fw_version, "1.0.0.166\n")]].concat());
        let probe = old.probe();
        assert!(matches!(probe.findings[..], [Finding::KnownBad(_)]) && probe.usable(), "{probe}");
        assert_eq!(probe.software.to_string(), "Linux 6.17.0-35-generic, amdxdna in-tree, firmware 1.0.0.166");
        assert!(probe.to_string().contains("amdxdna-dkms"), "{probe}");
        // The driver that refused its firmware: the cause comes before what it led to.
        let refused = Machine::with_npu("0x17f0\n", None, &files);
        let folder = refused.0.path().join("lib/firmware/amdnpu/17f0_10");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("npu.sbin.1.1.2.64.zst", folder.join("npu.sbin.zst")).unwrap();
        let probe = refused.probe();
        assert!(matches!(probe.findings[..], [Finding::KnownBad(_), Finding::NoDriver { .. }]), "{probe}");
        assert!(!probe.usable());
    }

    #[test]
    fn a_node_that_does_not_open() {
        let node = PathBuf::from("/dev/accel/accel0");
        let said = |kind| refusal(node.clone(), &io::Error::from(kind)).to_string();
        assert!(said(io::ErrorKind::PermissionDenied).contains("usermod -aG render"));
        assert!(said(io::ErrorKind::NotFound).contains("there is no /dev/accel/accel0"));
        assert!(said(io::ErrorKind::ResourceBusy).contains("can't be opened"));
    }

    #[test]
    fn this_machine_is_looked_at_without_harm() {
        let probe = probe();
        assert_eq!(probe.usable(), !probe.findings.iter().any(Finding::prevents));
        let can_have = cfg!(any(target_os = "linux", windows));
        assert_eq!(probe.findings.contains(&Finding::NotBuilt), can_have && !cfg!(feature = "xrt"));
    }
}
