//! What this machine is called and has, as far as a person or a report wants to know: the processor's name and its
//! cores. Chooses nothing.

/// The processor's name as its maker writes it, or the kind of processor where the system does not tell.
pub fn processor() -> String {
    let kind = || std::env::consts::ARCH.to_string();
    if cfg!(target_os = "linux") {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        return name_in(&text).unwrap_or_else(kind);
    }
    if cfg!(target_os = "macos") {
        let output = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
        let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string()).unwrap_or_default();
        return if name.is_empty() { kind() } else { name };
    }
    #[cfg(windows)]
    if let Ok(processor) = windows_registry::LOCAL_MACHINE.open(r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")
        && let Ok(name) = processor.get_string("ProcessorNameString")
    {
        return name.trim().to_owned();
    }
    kind()
}

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn name_in(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_from_linux_s_list() {
        assert_eq!(name_in("processor\t: 0\nmodel name\t: AMD  EPYC 9B14\n").as_deref(), Some("AMD EPYC 9B14"));
        assert_eq!(name_in("processor\t: 0\n"), None);
        assert!(!processor().is_empty() && cores() > 0);
    }
}
