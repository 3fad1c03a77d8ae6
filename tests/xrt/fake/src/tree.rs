//! What the pretended device has under `/sys` and `/dev`: a small tree in the test's folder, and the rule which paths
//! lead there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use undertone_kernels::npu::Target;

/// The device's place on the bus.
const PLACE: &str = "0000:c5:00.1";
/// Its folder, and that of its driver, as a program sees them.
const DEVICE: &str = "/sys/devices/pci0000:00/0000:c5:00.1";
const DRIVER: &str = "/sys/bus/pci/drivers/amdxdna";
const ON_BUS: &str = "/sys/bus/pci/devices/0000:c5:00.1";
/// The device node.
pub const NODE: &str = "/dev/accel/accel0";

/// XRT's settings, wherever it looks for them (which is not where one likes, for root): only if there are some in the
/// tree.
const SETTINGS: &str = "/xrt.ini";

/// Paths that lead into the tree: these, and what lies below them. The bus as a whole: it is listed, and has only this
/// device then.
const MOVED: [&str; 4] = [DEVICE, "/sys/bus/pci", "/dev/accel", "/sys/module/amdxdna"];

static ROOT: OnceLock<PathBuf> = OnceLock::new();
/// XRT's settings in the tree, if there are some.
static SETTINGS_HERE: OnceLock<PathBuf> = OnceLock::new();

/// Makes the tree below `folder`; from now on paths lead there. Several processes may do so at the same time.
///
/// # Errors
/// If the folder cannot be written.
pub fn plant(folder: &Path, target: Target, incoherent: bool) -> io::Result<()> {
    let kind = if incoherent { "incoherent" } else { "coherent" };
    let root = folder.join(format!("tree-{target}-{kind}"));
    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    let device = inside(DEVICE);
    fs::create_dir_all(device.join("accel/accel0"))?;
    // The firmware is what AMD's own packages bring for each.
    let (id, name, firmware) = match target {
        Target::Npu1 => ("0x1502", "NPU Phoenix", "1.5.5.391"),
        Target::Npu4 => ("0x17f0", "NPU Strix", "1.1.2.64"),
    };
    let files = [
        ("vendor", "0x1022"),
        ("device", id),
        ("revision", "0x00"),
        ("subsystem_vendor", "0x1022"),
        ("subsystem_device", id),
        ("class", "0x118000"),
        // 0: commands go through the kernel driver's queue.
        ("device_type", "0"),
        ("vbnv", name),
        ("fw_version", firmware),
        ("link_speed", "16"),
        ("link_speed_max", "16"),
        ("link_width", "16"),
        ("link_width_max", "16"),
        ("resource", "0x0000000000000000 0x0000000000000000 0x0000000000000000"),
    ];
    for (file, text) in files {
        fs::write(device.join(file), format!("{text}\n"))?;
    }
    fs::create_dir_all(inside("/sys/module/amdxdna"))?;
    fs::write(inside("/sys/module/amdxdna/version"), "0.0.0_fake\n")?;
    fs::write(inside("/sys/module/amdxdna/taint"), "O\n")?;
    if incoherent {
        let settings = inside(SETTINGS);
        fs::write(&settings, "[Debug]\nforce_driver_sync=true\n")?;
        let _ = SETTINGS_HERE.set(settings);
    }
    let node = inside(NODE);
    fs::create_dir_all(inside("/dev/accel"))?;
    fs::OpenOptions::new().create(true).append(true).open(&node)?;
    fs::create_dir_all(inside(DRIVER))?;
    // The driver's folder leads to its devices, the bus too, and each device to its driver.
    let links =
        [(inside(DRIVER).join(PLACE), &device), (inside(ON_BUS), &device), (device.join("driver"), &inside(DRIVER))];
    for (link, target) in links {
        let parent = link.parent().unwrap_or(&root);
        fs::create_dir_all(parent)?;
        match symlink(target, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // The links' targets are compared with paths that the system made canonical.
    let _ = ROOT.set(root.canonicalize()?);
    Ok(())
}

/// Where a path leads, if it is one of the device's.
pub fn moved(path: &[u8]) -> Option<PathBuf> {
    let root = ROOT.get()?;
    if path.ends_with(SETTINGS.as_bytes()) {
        return SETTINGS_HERE.get().cloned();
    }
    let hit = |prefix: &&str| {
        path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    MOVED.iter().any(hit).then(|| root.join(OsStr::from_bytes(path[1..].as_ref())))
}

/// What a program may see of a path in the tree: the path without the tree.
pub fn seen(path: &[u8]) -> Option<&[u8]> {
    let rest = path.strip_prefix(ROOT.get()?.as_os_str().as_bytes())?;
    rest.starts_with(b"/").then_some(rest)
}
