//! The software below an NPU: kernel, driver, firmware and XRT, and which of them are known not to work together. All
//! is read from files; a version that no file shows is left out.

use std::{fmt, fs, path::Path};

use super::target::Target;

/// Versions below an NPU, as far as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Software {
    /// The kernel's release, as `6.17.0-35-generic`.
    pub kernel: Option<String>,
    /// Where the loaded `amdxdna` comes from; not told on Windows.
    pub driver: Option<Origin>,
    /// Its version, where it tells one.
    pub driver_version: Option<String>,
    /// The firmware that runs on the NPU, as `1.1.2.64`.
    pub firmware: Option<String>,
    /// Where none runs: the version of the file `npu.sbin`, which the kernel's own driver loads before Linux 7.0.
    pub firmware_file: Option<String>,
    /// The installed XRT.
    pub xrt: Option<String>,
}

/// The driver's name.
const DRIVER: &str = if cfg!(windows) { "NPU driver" } else { "amdxdna" };

/// Where a module comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built with the kernel.
    InTree,
    /// Built outside of it, as DKMS does.
    OutOfTree,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::InTree => "in-tree",
            Origin::OutOfTree => "out-of-tree (DKMS)",
        })
    }
}

/// Kernels, drivers and firmware that are known not to work together.
struct KnownBad {
    target: Target,
    /// Only with the in-tree driver of a kernel before this one.
    in_tree_before: Option<&'static [u32]>,
    /// Whether the firmware runs, or lies in the file that the driver tried to load.
    running: bool,
    /// The firmware's versions: from this one, and before that one.
    firmware: (&'static [u32], &'static [u32]),
    /// What is wrong and what to do.
    words: &'static str,
}

/// The first that fits is told.
const KNOWN_BAD: [KnownBad; 4] = [
    // amd/xdna-driver issue 1074: the driver of 6.19 takes protocol 6 only, firmware 1.1 speaks 7 ("Incompatible
    // firmware protocol major 7"), and the start fails. Issue 1257: AMD's three ways out, and the reboot. CachyOS's
    // PKGBUILDS issue 1311 (linux-firmware 58cf579b): npu.sbin is for old drivers, npu_7.sbin for those of 7.0.
    KnownBad {
        target: Target::Npu4,
        in_tree_before: Some(&[7, 0]),
        running: false,
        firmware: (&[1, 1], &[u32::MAX]),
        words: "the in-tree amdxdna before Linux 7.0 refuses firmware 1.1 or newer (\"Incompatible firmware \
                protocol\"): install Linux 7.0 or newer, or AMD's amdxdna-dkms, and reboot",
    },
    // FastFlowLM's docs/linux-getting-started.md: the driver "included in kernel 7.0+, or via amdxdna-dkms", and
    // firmware 1.1.0.0 or later; its issue 421 has 6.19 with 1.0.0.63, amd/xdna-driver issue 1469 has 6.17 with
    // 1.0.0.166.
    KnownBad {
        target: Target::Npu4,
        in_tree_before: Some(&[7, 0]),
        running: true,
        firmware: (&[0], &[1, 1]),
        words: "npu4 wants firmware 1.1 or newer, which the in-tree amdxdna before Linux 7.0 refuses: install Linux \
                7.0 or newer, or AMD's amdxdna-dkms, with its firmware, and reboot; do not change the firmware alone",
    },
    // The same, and amd/xdna-driver issue 958: an installation that left 1.0.0.63 there.
    KnownBad {
        target: Target::Npu4,
        in_tree_before: None,
        running: true,
        firmware: (&[0], &[1, 1]),
        words: "npu4 wants firmware 1.1 or newer: update linux-firmware, or reinstall the driver's package, and reboot",
    },
    // amd/xdna-driver pull request 196: "The .323 firmware of NPU1 is buggy", taken back to 1.4.2.313.
    KnownBad {
        target: Target::Npu1,
        in_tree_before: None,
        running: true,
        firmware: (&[1, 4, 2, 323], &[1, 4, 2, 324]),
        words: "AMD withdrew firmware 1.4.2.323 of npu1: update linux-firmware and reboot",
    },
];

impl Software {
    /// What is shown below `root` for an NPU, named by its PCI address and by device and revision (`17f0_10`), or for
    /// none.
    pub(super) fn below(root: &Path, npu: Option<(&str, &str)>) -> Self {
        let module = root.join("sys/module/amdxdna");
        // Linux, Documentation/ABI/testing/sysfs-module: the file `taint` has an O for a module built out of tree.
        let origin = |taint: String| if taint.contains('O') { Origin::OutOfTree } else { Origin::InTree };
        // amd/xdna-driver, amdxdna_sysfs.c: the attribute `fw_version` of the PCI device; zeros before there is one.
        let firmware = npu.and_then(|(address, _)| {
            let text = line(&root.join("sys/bus/pci/devices").join(address).join("fw_version"))?;
            numbers(&text).iter().any(|number| *number > 0).then_some(text)
        });
        let file = || firmware_file(&root.join("lib/firmware/amdnpu").join(npu?.1));
        Self {
            kernel: line(&root.join("proc/sys/kernel/osrelease")),
            driver: fs::read_to_string(module.join("taint")).ok().map(origin),
            // AMD's packages write the version, a comma, and the commit (CMake/pkg_driver_source.cmake).
            driver_version: line(&module.join("version"))
                .and_then(|text| text.split(',').next().map(str::to_owned))
                .filter(|version| !version.is_empty()),
            firmware_file: if firmware.is_none() { file() } else { None },
            firmware,
            xrt: xrt(root),
        }
    }

    /// What is known to be wrong with it under an NPU.
    pub(super) fn known_bad(&self, target: Target) -> Option<&'static str> {
        let version = |text: &Option<String>| text.as_deref().map(numbers).filter(|version| !version.is_empty());
        let kernel = version(&self.kernel);
        let in_tree_before = |limit: &[u32]| {
            self.driver == Some(Origin::InTree) && kernel.as_deref().is_some_and(|kernel| kernel < limit)
        };
        KNOWN_BAD.iter().find_map(|bad| {
            let firmware = version(if bad.running { &self.firmware } else { &self.firmware_file })?;
            let (from, before) = bad.firmware;
            let fits = bad.target == target
                && bad.in_tree_before.is_none_or(in_tree_before)
                && (from..before).contains(&firmware.as_slice());
            fits.then_some(bad.words)
        })
    }
}

impl fmt::Display for Software {
    /// What is shown, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, version: &Option<String>| version.as_ref().map(|version| format!("{name} {version}"));
        let driver = match (self.driver, &self.driver_version) {
            (None, version) => shown(DRIVER, version),
            (Some(origin), None) => Some(format!("{DRIVER} {origin}")),
            (Some(origin), Some(version)) => Some(format!("{DRIVER} {version} {origin}")),
        };
        let all = [
            shown("Linux", &self.kernel),
            driver,
            shown("firmware", &self.firmware),
            shown("firmware file npu.sbin", &self.firmware_file),
            shown("XRT", &self.xrt),
        ];
        f.write_str(&all.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The first line of a file, if there is something in it.
fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// The numbers that a version begins with; none of one that begins otherwise.
fn numbers(version: &str) -> Vec<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    version[..end].split('.').map_while(|number| number.parse().ok()).collect()
}

/// The version of `npu.sbin`: linux-firmware has it as a link to `npu.sbin.1.1.2.64`, in a folder that is named after
/// device and revision; distributions compress both.
fn firmware_file(folder: &Path) -> Option<String> {
    ["", ".zst", ".xz"].iter().find_map(|compressed| {
        let name = linked(&folder.join(format!("npu.sbin{compressed}")))?;
        let version = name.strip_suffix(compressed)?.split_once("npu.sbin.")?.1;
        (!numbers(version).is_empty()).then(|| version.to_owned())
    })
}

/// The installed XRT's version: the library that programs load is a link to one whose name ends with it (XRT,
/// `core/common/CMakeLists.txt`: `VERSION`, `SOVERSION`). In folders of distributions, and in AMD's own.
fn xrt(root: &Path) -> Option<String> {
    ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "opt/xilinx/xrt/lib"].iter().find_map(|folder| {
        let name = linked(&root.join(folder).join("libxrt_coreutil.so.2"))?;
        Some(name.strip_prefix("libxrt_coreutil.so.")?.to_owned())
    })
}

/// The name of the file that a link leads to.
fn linked(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_string_lossy().into_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NPU4: (Target, &str) = (Target::Npu4, "17f0_10");
    const NPU1: (Target, &str) = (Target::Npu1, "1502_00");
    const RELEASE: &str = "proc/sys/kernel/osrelease";
    const TAINT: &str = "sys/module/amdxdna/taint";
    const VERSION: &str = "sys/module/amdxdna/version";
    const FIRMWARE: &str = "sys/bus/pci/devices/0000:c5:00.1/fw_version";
    const FILE: &str = "lib/firmware/amdnpu/17f0_10/npu.sbin";

    /// What is read below a folder with these files and links.
    fn software(of: (Target, &str), files: &[(&str, &str)], links: &[(&str, &str)]) -> Software {
        let root = tempfile::tempdir().unwrap();
        let place = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        for (path, contents) in files {
            fs::write(place(path), contents).unwrap();
        }
        for (path, target) in links {
            symlink(target, place(path)).unwrap();
        }
        Software::below(root.path(), Some(("0000:c5:00.1", of.1)))
    }

    #[test]
    fn each_version_is_read_and_said() {
        let files = [
            (RELEASE, "7.0.4-arch1-1\n"),
            (TAINT, "OE\n"),
            (VERSION, "2.23.0_20260407,6fc926d0\n"),
            (FIRMWARE, "1.1.2.64\n"),
        ];
        let xrt = ("opt/xilinx/xrt/lib/libxrt_coreutil.so.2", "libxrt_coreutil.so.2.23.0");
        let said = software(NPU4, &files, &[xrt, (FILE, "npu.sbin.1.0.0.63")]).to_string();
        let all = "Linux 7.0.4-arch1-1, amdxdna 2.23.0_20260407 out-of-tree (DKMS), firmware 1.1.2.64, XRT 2.23.0";
        assert_eq!(said, all);
        assert_eq!(software(NPU4, &files[..1], &[]).to_string(), "Linux 7.0.4-arch1-1");
        assert_eq!(software(NPU4, &[(TAINT, "\n")], &[]).to_string(), "amdxdna in-tree");
        assert_eq!(software(NPU4, &[(VERSION, "0.1\n")], &[]).to_string(), "amdxdna 0.1");
        assert_eq!(software(NPU1, &files[3..], &[]).to_string(), "firmware 1.1.2.64");
        for (link, target) in [
            (FILE.to_owned(), "npu.sbin.1.1.2.64"),
            (format!("{FILE}.zst"), "npu.sbin.1.1.2.64.zst"),
            (format!("{FILE}.xz"), "../17f0_10/1.7_npu.sbin.1.1.2.64.xz"),
        ] {
            assert_eq!(software(NPU4, &[], &[(&link, target)]).to_string(), "firmware file npu.sbin 1.1.2.64");
        }
        // Another NPU's file.
        assert_eq!(software(NPU1, &[], &[(FILE, "npu.sbin.1.1.2.64")]), Software::default());
        for folder in ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"] {
            let library = format!("{folder}/libxrt_coreutil.so.2");
            assert_eq!(software(NPU4, &[], &[(&library, "libxrt_coreutil.so.2.25.00")]).to_string(), "XRT 2.25.00");
        }
    }

    #[test]
    fn nothing_there_and_odd_contents() {
        assert_eq!(software(NPU4, &[], &[]), Software::default());
        assert_eq!(Software::below(Path::new("/no/such/root"), None).to_string(), "");
        let empty = software(NPU4, &[(RELEASE, ""), (VERSION, "\n"), (FIRMWARE, " \n"), (FILE, "")], &[]);
        assert_eq!(empty, Software::default());
        for (firmware, shown) in [
            ("0.0.0.0\n", None),
            ("unknown\n", None),
            (".\n", None),
            ("1.1.2.64", Some("1.1.2.64")),
            ("1.1.2.64\nmore\n", Some("1.1.2.64")),
            ("99999999999.1\n", None),
        ] {
            assert_eq!(software(NPU4, &[(FIRMWARE, firmware)], &[]).firmware.as_deref(), shown, "{firmware:?}");
        }
        assert_eq!(software(NPU4, &[(VERSION, ",6fc926d0\n")], &[]).driver_version, None);
        for odd in ["npu.sbin.", "npu.sbin", "npu.sbin.new", "/"] {
            assert_eq!(software(NPU4, &[], &[(FILE, odd)]).firmware_file, None, "{odd}");
        }
        let plain = "usr/lib/libxrt_coreutil.so.2";
        assert_eq!(software(NPU4, &[(plain, "")], &[]).xrt, None);
        // No kernel that can be compared: nothing is claimed of it.
        let odd = software(NPU4, &[(RELEASE, "custom\n"), (TAINT, "\n")], &[(FILE, "npu.sbin.1.1.2.64")]);
        assert_eq!(odd.known_bad(Target::Npu4), None);
    }

    #[test]
    fn each_bad_pair_is_known_and_its_neighbours_are_not() {
        let with = |of, release, taint, firmware| {
            software(of, &[(RELEASE, release), (TAINT, taint), (FIRMWARE, firmware)], &[]).known_bad(of.0)
        };
        let file = |release, taint, target| {
            software(NPU4, &[(RELEASE, release), (TAINT, taint)], &[(FILE, target)]).known_bad(Target::Npu4)
        };
        let says = |said: Option<&str>, words: &str| assert!(said.unwrap().contains(words), "{said:?}");
        // An old in-tree driver that met new firmware and did not start.
        says(file("6.19.8-1-cachyos\n", "\n", "npu.sbin.1.1.2.64"), "refuses firmware 1.1");
        assert_eq!(file("6.19.8-1-cachyos\n", "\n", "npu.sbin.1.0.0.63"), None);
        assert_eq!(file("6.19.8-1-cachyos\n", "OE\n", "npu.sbin.1.1.2.64"), None);
        assert_eq!(file("7.0.0-rc1-00052-g27936bfca73d\n", "\n", "npu.sbin.1.1.2.64"), None);
        // Old firmware: under an old driver, and under a new one.
        says(with(NPU4, "6.17.0-35-generic\n", "\n", "1.0.0.166\n"), "do not change the firmware alone");
        says(with(NPU4, "6.17.0-35-generic\n", "OE\n", "1.0.0.63\n"), "update linux-firmware, or");
        says(with(NPU4, "7.0.0\n", "\n", "1.0.255.255\n"), "update linux-firmware, or");
        for firmware in ["1.1.0.0\n", "1.1.2.65\n", "255.0.11.69\n"] {
            assert_eq!(with(NPU4, "7.1.5\n", "\n", firmware), None, "{firmware}");
            assert_eq!(with(NPU4, "6.17.0-35-generic\n", "OE\n", firmware), None, "{firmware}");
        }
        // The firmware of npu1 that was withdrawn, and what was seen working.
        says(with(NPU1, "6.10.0\n", "OE\n", "1.4.2.323\n"), "withdrew");
        for firmware in ["1.4.2.313\n", "1.4.2.324\n", "1.5.5.391\n"] {
            assert_eq!(with(NPU1, "7.0.0\n", "\n", firmware), None, "{firmware}");
        }
        assert_eq!(with(NPU1, "6.17.0\n", "\n", "1.0.0.166\n"), None);
    }
}
