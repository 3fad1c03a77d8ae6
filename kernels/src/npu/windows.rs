//! The look at a machine with Windows: NPUs and their driver as the registry has them, and the driver's XRT. Firmware,
//! rights and limits are not looked at, and nothing is known of drivers that do not work.

#[cfg(feature = "xrt")]
use super::probe::Finding;
use super::probe::{AMD, PciNpu, target_of};
#[cfg(windows)]
use super::software::Software;

/// What Windows' registry calls a PCI device, below `PCI`: vendor, device and revision in
/// `VEN_1022&DEV_17F0&SUBSYS_17F01022&REV_10`.
fn ids(name: &str) -> Option<(u32, u32, u32)> {
    let number = |word: &str| u32::from_str_radix(name.split('&').find_map(|part| part.strip_prefix(word))?, 16).ok();
    Some((number("VEN_")?, number("DEV_")?, number("REV_").unwrap_or(0)))
}

/// The NPU that a registry's name of a PCI device means; Windows has no other sign of one than AMD's known numbers.
fn npu(name: &str, instance: &str, driver: Option<String>) -> Option<PciNpu> {
    let (vendor, device, revision) = ids(name)?;
    let target = target_of(device).filter(|_| vendor == AMD)?;
    Some(PciNpu { address: format!(r"PCI\{name}\{instance}"), device, revision, target: Some(target), driver })
}

/// The NPUs that Windows has seen, and the version of the first one's driver.
#[cfg(windows)]
pub(super) fn look() -> (Vec<PciNpu>, Software) {
    use windows_registry::{Key, LOCAL_MACHINE};

    const CONTROL: &str = r"SYSTEM\CurrentControlSet\Control\Class";
    let version = |device: &Key| {
        let class = format!(r"{CONTROL}\{}", device.get_string("Driver").ok()?);
        LOCAL_MACHINE.open(class).ok()?.get_string("DriverVersion").ok()
    };
    let (mut npus, mut driver_version) = (Vec::new(), None);
    let bus = LOCAL_MACHINE.open(r"SYSTEM\CurrentControlSet\Enum\PCI").ok();
    for name in bus.iter().filter_map(|bus| bus.keys().ok()).flatten() {
        let Some(device) = bus.as_ref().and_then(|bus| bus.open(&name).ok()) else { continue };
        for instance in device.keys().into_iter().flatten() {
            let Ok(key) = device.open(&instance) else { continue };
            if let Some(npu) = npu(&name, &instance, key.get_string("Service").ok()) {
                driver_version = driver_version.or_else(|| version(&key));
                npus.push(npu);
            }
        }
    }
    (npus, Software { driver_version, ..Software::default() })
}

/// What is wrong where the driver's XRT is not below `system`, the folder `System32`.
#[cfg(feature = "xrt")]
pub(super) fn driver(system: &std::path::Path) -> Option<Finding> {
    xrt_sys::driver_xrt(system).is_none().then(|| Finding::NoWindowsDriver { system: system.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npu::Target;

    #[test]
    fn names_of_the_registry() {
        let name = "VEN_1022&DEV_17F0&SUBSYS_17F01022&REV_10";
        let found = npu(name, "4&1a2b&0&0141", Some("IPUKMDDRV".into())).unwrap();
        assert_eq!((found.target, found.device, found.revision), (Some(Target::Npu4), 0x17f0, 0x10));
        assert_eq!(found.address, format!(r"PCI\{name}\4&1a2b&0&0141"));
        for other in ["VEN_8086&DEV_1502&REV_00", "VEN_1022&DEV_15BF&REV_C7", "VEN_1022", "VEN_&DEV_1502", ""] {
            assert_eq!(npu(other, "1", None), None, "{other}");
        }
    }

    #[cfg(feature = "xrt")]
    #[test]
    fn a_driver_that_is_missing_is_told_with_what_to_do() {
        let system = tempfile::tempdir().unwrap();
        let said = driver(system.path()).unwrap();
        assert!(said.prevents());
        for word in ["xrt_coreutil.dll", "AMD", "driver", "xrt-smi"] {
            assert!(said.to_string().contains(word), "{word}: {said}");
        }
        std::fs::write(system.path().join("xrt_coreutil.dll"), "").unwrap();
        assert_eq!(driver(system.path()), None);
    }
}
