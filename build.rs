//! Finds ONNX Runtime's shared library for the command and the tests, or fetches it, and hands its path to them as
//! `UNDERTONE_ORT_DYLIB`.
//!
//! In order: the file that `ORT_DYLIB_PATH` names; one in the system's library path that is new enough for plugin
//! execution providers; the one in the pinned PyPI wheel, unpacked once beside the build's own output. Nothing is
//! linked: the library is opened at run time, and an installed copy of the command may find another one
//! (`src/locate.rs`).
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The wheel that is fetched where no library is found.
const PINNED: &str = "1.32.0";
/// The oldest release (minor version of 1.x) that the command works with; the execution provider alone takes 1.23 too.
const OLDEST_MINOR: u32 = 24;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ORT_DYLIB_PATH");
    match find() {
        Ok((path, how)) => {
            println!("cargo::rerun-if-changed={}", path.display());
            println!("cargo::rustc-env=UNDERTONE_ORT_DYLIB={}", path.display());
            println!("cargo::warning=ONNX Runtime: {} ({how})", path.display());
        }
        Err(reason) => {
            println!(
                "cargo::error=no ONNX Runtime library: {reason}. Set ORT_DYLIB_PATH to a libonnxruntime of version \
                 1.{OLDEST_MINOR} or newer (the wheel `onnxruntime` on PyPI holds one in onnxruntime/capi/)"
            );
            std::process::exit(1);
        }
    }
}

/// The library's path and one phrase on where it comes from.
fn find() -> Result<(PathBuf, String), String> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        return match std::path::absolute(&path) {
            Ok(path) if path.is_file() => Ok((path, "named by ORT_DYLIB_PATH".into())),
            _ => Err(format!("ORT_DYLIB_PATH names {}, which is not a file", path.display())),
        };
    }
    let mut skipped = String::new();
    // A library of the target cannot be asked for its version when the build machine is of another kind.
    if env::var_os("TARGET") == env::var_os("HOST") {
        for path in system_libraries() {
            match version_of(&path) {
                Ok(version) if new_enough(&version) => return Ok((path, format!("{version}, the system's"))),
                Ok(version) => skipped = format!("; the system's {} is {version}, too old", path.display()),
                Err(reason) => skipped = format!("; the system's {} does not load: {reason}", path.display()),
            }
        }
    }
    fetch().map(|(path, how)| (path, how + &skipped))
}

/// The file names that ONNX Runtime's library has on the target: exact, or followed by a version.
fn is_library_name(name: &str) -> bool {
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("windows") => name.eq_ignore_ascii_case("onnxruntime.dll"),
        Ok("macos") => name.starts_with("libonnxruntime.") && name.ends_with(".dylib"),
        _ => name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so."),
    }
}

/// ONNX Runtime libraries in the places where the system's loader looks, each real file once.
fn system_libraries() -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    let variables = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"].into_iter().filter_map(env::var_os);
    let named = variables.flat_map(|value| env::split_paths(&value).collect::<Vec<_>>());
    let usual = ["/usr/local/lib", "/usr/local/lib64", "/opt/homebrew/lib", "/usr/lib", "/usr/lib64"];
    for directory in named.chain(usual.map(PathBuf::from)).filter(|directory| directory.is_absolute()) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        candidates.extend(entries.flatten().map(|entry| entry.path()));
    }
    // Linux's loader keeps a list of its own: lines like "name (kind) => path".
    if let Ok(output) = Command::new("/sbin/ldconfig").arg("-p").output() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        candidates.extend(text.lines().filter_map(|line| line.split(" => ").nth(1)).map(PathBuf::from));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for path in candidates {
        let named_so = path.file_name().and_then(|name| name.to_str()).is_some_and(is_library_name);
        if let Some(path) = path.canonicalize().ok().filter(|real| named_so && !found.contains(real)) {
            found.push(path);
        }
    }
    found
}

/// What `OrtGetApiBase()->GetVersionString()` answers.
fn version_of(path: &Path) -> Result<String, String> {
    /// The head of ONNX Runtime's `OrtApiBase`.
    #[repr(C)]
    struct ApiBase {
        get_api: *const (),
        get_version_string: Option<unsafe extern "C" fn() -> *const c_char>,
    }
    // SAFETY: the file is called libonnxruntime and stands in a system directory; its initialisers run as they do in
    // any program that links it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| error.to_string())?;
    // SAFETY: every ONNX Runtime exports this symbol with this signature; the table is static.
    let version = unsafe {
        let get_base: libloading::Symbol<unsafe extern "C" fn() -> *const ApiBase> =
            library.get(b"OrtGetApiBase\0").map_err(|error| error.to_string())?;
        let base = get_base().as_ref().ok_or("OrtGetApiBase gives nothing")?;
        let get_version = base.get_version_string.ok_or("no version function")?;
        CStr::from_ptr(get_version()).to_string_lossy().into_owned()
    };
    Ok(version)
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (major, minor) >= (1, OLDEST_MINOR)
}

/// Downloads the pinned wheel with pip and unpacks the library, unless an earlier build did.
fn fetch() -> Result<(PathBuf, String), String> {
    let home = shared_directory()?.join(format!("onnxruntime-{PINNED}"));
    if let Some(path) = library_in(&home) {
        return Ok((path, format!("{PINNED}, fetched from PyPI by an earlier build")));
    }
    // Everything happens under a name of this process and is renamed at the end: a build that is interrupted, or a
    // second one beside it, never sees half a library.
    let partial = home.with_extension(format!("partial-{}", std::process::id()));
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial).map_err(|error| format!("cannot create {}: {error}", partial.display()))?;
    let result = download_and_unpack(&partial).and_then(|()| {
        // On Windows and where another build was faster the rename fails, and the other's library is as good.
        match fs::rename(partial.join("capi"), &home) {
            Err(error) if library_in(&home).is_none() => Err(format!("cannot create {}: {error}", home.display())),
            _ => library_in(&home).ok_or_else(|| format!("no library in the wheel of onnxruntime {PINNED}")),
        }
    });
    let _ = fs::remove_dir_all(&partial);
    result.map(|path| (path, format!("{PINNED}, fetched from PyPI")))
}

/// The directory above the profile's: debug and release builds share what is fetched, `cargo clean` removes it.
fn shared_directory() -> Result<PathBuf, String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo set no OUT_DIR")?);
    let profile = out.ancestors().find(|path| path.file_name().is_some_and(|name| name == "build"));
    Ok(profile.and_then(|path| path.parent()?.parent()).unwrap_or(&out).to_path_buf())
}

fn library_in(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    entries.flatten().find(|entry| entry.file_name().to_str().is_some_and(is_library_name)).map(|entry| entry.path())
}

/// Leaves the wheel's libraries in `directory/capi`.
fn download_and_unpack(directory: &Path) -> Result<(), String> {
    let python = python()?;
    let requirement = format!("onnxruntime=={PINNED}");
    let common =
        ["-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet", "--only-binary=:all:"];
    // The library is the same in the wheel of every Python: one that this Python takes, else a fixed one. For another
    // kind of machine pip has to be told of both.
    let fixed: &[&str] = &["--python-version", "3.12", "--implementation", "cp"];
    let foreign = foreign_platform()?;
    let of_target: Vec<&str> =
        foreign.iter().flat_map(|tag| ["--platform", tag]).chain(fixed.iter().copied()).collect();
    let attempts: &[&[&str]] = if foreign.is_some() { &[&of_target] } else { &[&[], fixed] };
    let mut failure = String::new();
    for &extra in attempts {
        match checked(Command::new(python).args(common).args(extra).arg("--dest").arg(directory).arg(&requirement)) {
            Ok(()) => {
                failure.clear();
                break;
            }
            Err(reason) => failure = reason,
        }
    }
    if !failure.is_empty() {
        return Err(format!("`{python} -m pip download {requirement}` failed: {failure}"));
    }
    let entries = fs::read_dir(directory).map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let wheel = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("pip left no wheel of {requirement}"))?;
    let unpacked = directory.join("unpacked");
    checked(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))
        .map_err(|reason| format!("cannot unpack {}: {reason}", wheel.display()))?;
    let capi = directory.join("capi");
    fs::create_dir_all(&capi).map_err(|error| format!("cannot create {}: {error}", capi.display()))?;
    let library = library_in(&unpacked.join("onnxruntime").join("capi"))
        .ok_or_else(|| format!("{} holds no library for this target", wheel.display()))?;
    let name = library.file_name().ok_or("the library has no name")?;
    fs::rename(&library, capi.join(name)).map_err(|error| format!("cannot move {}: {error}", library.display()))
}

/// What PyPI calls the target where pip, which knows the machine that it runs on, has to be told.
fn foreign_platform() -> Result<Option<&'static str>, String> {
    if env::var_os("TARGET") == env::var_os("HOST") {
        return Ok(None);
    }
    let of_target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    match (of_target("OS").as_str(), of_target("ARCH").as_str()) {
        ("windows", "x86_64") => Ok(Some("win_amd64")),
        ("windows", "aarch64") => Ok(Some("win_arm64")),
        ("linux", "x86_64") => Ok(Some("manylinux_2_28_x86_64")),
        ("linux", "aarch64") => Ok(Some("manylinux_2_28_aarch64")),
        (system, processor) => Err(format!("no wheel is known for {system} on {processor}")),
    }
}

/// A Python 3 that starts.
fn python() -> Result<&'static str, String> {
    ["python3", "python", "py"]
        .into_iter()
        .find(|name| checked(Command::new(name).args(["-c", "import sys; assert sys.version_info >= (3, 8)"])).is_ok())
        .ok_or_else(|| "none is installed, and fetching the wheel takes Python 3 with pip, which is not there".into())
}

/// Runs a command; a failure is the last line that it wrote.
fn checked(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no message").to_string();
    Err(format!("{last} ({})", output.status))
}
