//! Python as a user has it: packages from PyPI in a folder of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use super::stdout_of;

/// The interpreter's name on this machine.
pub fn interpreter() -> &'static str {
    if Command::new("python3").arg("--version").output().is_ok() { "python3" } else { "python" }
}

/// Installs packages into a folder under the target directory, once.
///
/// A folder and not a virtual environment: Debian's Python comes without the latter.
pub fn packages(wanted: &[&str]) -> PathBuf {
    install(wanted, &[])
}

/// [`packages`] without what they depend on.
pub fn packages_alone(wanted: &[&str]) -> PathBuf {
    install(wanted, &["--no-deps"])
}

fn install(wanted: &[&str], options: &[&str]) -> PathBuf {
    // Two tests of one binary may want the same folder; a third that failed while it installed has left nothing in
    // place.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let tag = stdout_of(Command::new(interpreter()).args(["-c", "import sys; print(sys.implementation.cache_tag)"]));
    let name = format!("{}{}-{}", wanted.join("-").replace(['=', '>', '<'], ""), options.concat(), tag.trim());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Renamed into place when it is whole, so that its being there is the stamp.
    if !home.is_dir() {
        let partial = home.with_extension(format!("partial-{}", std::process::id()));
        let _ = fs::remove_dir_all(&partial);
        stdout_of(
            Command::new(interpreter())
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"])
                .args(options)
                .arg("--target")
                .arg(&partial)
                .args(wanted),
        );
        if fs::rename(&partial, &home).is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
    }
    home
}

/// The interpreter with these packages and nothing else, and no ONNX Runtime but theirs, in the repository.
pub fn with(packages: &Path) -> Command {
    let mut command = Command::new(interpreter());
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONNOUSERSITE", "1")
        .env_remove("ORT_DYLIB_PATH")
        .current_dir(super::root());
    command
}

/// A script of `tests/python` with these packages.
pub fn script(name: &str, packages: &Path) -> Command {
    let mut command = with(packages);
    command.arg(super::root().join("tests/python").join(name));
    command
}
