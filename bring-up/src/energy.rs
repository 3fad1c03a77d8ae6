//! What the processor's package takes, by the counters that Linux shows of it: RAPL (`intel-rapl`, AMD's processors too),
//! or the older driver `amd_energy`. CPU, GPU and NPU are one package. Since 2020 only root may read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A counter of the package's energy.
pub(crate) struct Meter {
    file: PathBuf,
    /// After so many microjoules it begins anew.
    range: Option<u64>,
}

impl Meter {
    /// The first package's below `root`.
    ///
    /// # Errors
    /// In words: there is none, or it may not be read and what to do.
    pub(crate) fn find(root: &Path) -> Result<Self, String> {
        let zones = numbered(&root.join("sys/class/powercap"), "intel-rapl:").into_iter().filter(|zone| {
            // Zones of parts of a package have two colons.
            line(&zone.join("name")).is_some_and(|name| name.starts_with("package"))
        });
        let zone = zones.map(|zone| (zone.join("energy_uj"), number(&zone.join("max_energy_range_uj"))));
        let sensors = numbered(&root.join("sys/class/hwmon"), "hwmon");
        let sensor = sensors.into_iter().filter(|folder| line(&folder.join("name")).as_deref() == Some("amd_energy"));
        let socket = sensor
            .flat_map(|folder| numbered(&folder, "energy"))
            .filter(|label| line(label).is_some_and(|text| text.starts_with("Esocket")));
        let socket = socket.map(|label| (PathBuf::from(label.to_string_lossy().replace("_label", "_input")), None));
        let Some((file, range)) = zone.chain(socket).next() else {
            return Err(
                "Linux shows no counter of the package's energy (`sudo modprobe intel_rapl_msr` may bring it)".into()
            );
        };
        let meter = Self { file, range };
        match fs::read_to_string(&meter.file) {
            Ok(_) => Ok(meter),
            Err(error) => {
                let file = meter.file.display();
                Err(format!(
                    "{file} may not be read ({error}): `sudo chmod a+r {file}` lets it be, until the next start"
                ))
            }
        }
    }

    /// Microjoules since some time.
    pub(crate) fn read(&self) -> Option<u64> {
        number(&self.file)
    }

    /// Joules between two readings.
    pub(crate) fn joules(&self, before: u64, after: u64) -> Option<f64> {
        let microjoules = if after >= before { after - before } else { self.range?.checked_sub(before)? + after };
        Some(microjoules as f64 * 1e-6)
    }
}

/// Entries of a folder whose names begin so, in order.
fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn line(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

fn number(file: &Path) -> Option<u64> {
    line(file)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        root
    }

    #[test]
    fn the_package_s_counter_is_found_and_goes_around() {
        let rapl = machine(&[
            ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "900\n"),
            ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000\n"),
            ("sys/class/powercap/intel-rapl:0:0/name", "core\n"),
        ]);
        let meter = Meter::find(rapl.path()).ok().unwrap();
        assert_eq!(meter.read(), Some(900));
        let microjoules = |before, after| (meter.joules(before, after).unwrap() * 1e6).round();
        assert_eq!((microjoules(900, 950), microjoules(900, 100)), (50.0, 200.0));
        let sensor = machine(&[
            ("sys/class/hwmon/hwmon3/name", "amd_energy\n"),
            ("sys/class/hwmon/hwmon3/energy1_label", "Ecore000\n"),
            ("sys/class/hwmon/hwmon3/energy1_input", "1\n"),
            ("sys/class/hwmon/hwmon3/energy2_label", "Esocket0\n"),
            ("sys/class/hwmon/hwmon3/energy2_input", "2\n"),
        ]);
        let meter = Meter::find(sensor.path()).ok().unwrap();
        assert_eq!((meter.read(), meter.joules(5, 1)), (Some(2), None));
    }

    #[test]
    fn without_one_it_says_what_to_do() {
        assert!(Meter::find(machine(&[]).path()).err().unwrap().contains("modprobe"));
        let unreadable = machine(&[
            ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj/a-folder", ""),
        ]);
        assert!(Meter::find(unreadable.path()).err().unwrap().contains("sudo chmod a+r"));
    }
}
