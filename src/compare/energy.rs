//! What the processor takes of energy, where Linux tells: the counters of its packages.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows them.
const FOLDER: &str = "/sys/class/powercap";

/// The counters of all packages.
pub struct Meter {
    packages: Vec<Package>,
}

struct Package {
    counter: PathBuf,
    /// Microjoules at which it begins anew.
    range: u64,
    last: u64,
}

impl Meter {
    /// Finds the counters. The error says why there are none.
    pub fn find() -> Result<Self, String> {
        Self::find_in(Path::new(FOLDER))
    }

    fn find_in(folder: &Path) -> Result<Self, String> {
        let entries = fs::read_dir(folder).map_err(|_| format!("there is no {}", folder.display()))?;
        let mut packages = Vec::new();
        let mut refused = None;
        for entry in entries.flatten().map(|entry| entry.path()) {
            // Parts of a package (cores, memory) are zones of their own, and are counted in it.
            let name = fs::read_to_string(entry.join("name")).unwrap_or_default();
            if !name.starts_with("package-") {
                continue;
            }
            let counter = entry.join("energy_uj");
            let range = number(&entry.join("max_energy_range_uj")).unwrap_or(u64::MAX);
            match number(&counter) {
                Ok(last) => packages.push(Package { counter, range, last }),
                Err(error) => refused = Some(format!("{}: {error}", counter.display())),
            }
        }
        match refused {
            Some(reason) => Err(reason),
            None if packages.is_empty() => Err(format!("{} shows no processor package", folder.display())),
            None => Ok(Self { packages }),
        }
    }

    /// Joules since it was found, or asked last; `None` if a counter can't be read any more.
    pub fn joules(&mut self) -> Option<f64> {
        let mut sum = 0;
        for package in &mut self.packages {
            let now = number(&package.counter).ok()?;
            sum += if now >= package.last { now - package.last } else { now + (package.range - package.last) };
            package.last = now;
        }
        Some(sum as f64 / 1e6)
    }
}

fn number(path: &Path) -> std::io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_added_and_begin_anew_at_their_range() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Meter::find_in(&folder.path().join("none")).err().unwrap().starts_with("there is no "));
        assert!(Meter::find_in(folder.path()).err().unwrap().ends_with("shows no processor package"));
        let zone = |zone: &str, name: &str, energy: &str| {
            let zone = folder.path().join(zone);
            fs::create_dir_all(&zone).unwrap();
            for (file, text) in [("name", name), ("energy_uj", energy), ("max_energy_range_uj", "9000000\n")] {
                fs::write(zone.join(file), text).unwrap();
            }
        };
        zone("intel-rapl:0", "package-0\n", "1000000\n");
        zone("intel-rapl:0:0", "core\n", "500000\n");
        zone("intel-rapl:1", "package-1\n", "8000000\n");
        let mut meter = Meter::find_in(folder.path()).unwrap();
        zone("intel-rapl:0", "package-0\n", "1500000\n");
        zone("intel-rapl:1", "package-1\n", "1000000\n");
        assert_eq!(meter.joules(), Some(2.5));
        assert_eq!(meter.joules(), Some(0.0));
        zone("intel-rapl:1", "package-1\n", "no number");
        assert_eq!(meter.joules(), None);
    }
}
