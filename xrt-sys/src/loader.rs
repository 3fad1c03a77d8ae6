//! Finds and loads the shim library, and with it XRT.
#![allow(unsafe_code, reason = "loading a library and calling its first function")]

use std::{
    env,
    ffi::CStr,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::table::{self, Table, TableFunction};

/// File name of the shim library.
pub const LIBRARY_NAME: &str = if cfg!(windows) { "undertone_xrt.dll" } else { "libundertone_xrt.so" };

/// What XRT comes in.
const PACKAGES: &str = if cfg!(windows) {
    "AMD's NPU driver, which brings xrt_coreutil.dll"
} else {
    "XRT (libxrt2 and libxrt-npu2, or AMD's xrt and xrt-npu packages)"
};

/// Environment variable with the shim library's path; where it is set, no other place is looked at.
pub const LIBRARY_VARIABLE: &str = "UNDERTONE_XRT_LIBRARY";

/// Why XRT could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No library, or one that needs something that is not there.
    #[error(
        "{LIBRARY_NAME} did not load ({}): install {PACKAGES}, and build the library with \
         `cargo build --release --manifest-path xrt-sys/shim/Cargo.toml`, put it beside the provider or the program, or name it in {LIBRARY_VARIABLE}",
        .tried.join("; ")
    )]
    NotFound {
        /// Each place with the loader's words.
        tried: Vec<String>,
    },
    /// A library of another version.
    #[error("{} is no shim for this build ({reason}): build it again from the same sources", .path.display())]
    Mismatch {
        /// Where it lies.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}

/// The shim library and XRT, loaded. Cheap to clone; stays loaded while anything made from it lives.
#[derive(Clone)]
pub struct Library {
    pub(crate) loaded: Arc<Loaded>,
}

pub(crate) struct Loaded {
    pub(crate) table: &'static Table,
    path: PathBuf,
}

impl Library {
    /// Loads the library that [`LIBRARY_VARIABLE`] names; else the one beside the shared library that this code is in,
    /// or beside the program; else the system's.
    ///
    /// # Errors
    /// If there is none, if XRT's own libraries are missing, or if it was built from other sources than this.
    pub fn load() -> Result<Self, LoadError> {
        #[cfg(windows)]
        load_driver_xrt();
        let places = match env::var_os(LIBRARY_VARIABLE) {
            Some(path) if !path.is_empty() => vec![PathBuf::from(path)],
            _ => {
                let beside = |file: PathBuf| Some(file.parent()?.join(LIBRARY_NAME));
                let mut places: Vec<_> =
                    [own_file(), env::current_exe().ok()].into_iter().flatten().filter_map(beside).collect();
                places.dedup();
                places.push(PathBuf::from(LIBRARY_NAME));
                places
            }
        };
        let mut tried = Vec::new();
        for place in places {
            match Self::load_from(&place) {
                Err(LoadError::NotFound { tried: words }) => tried.extend(words),
                done => return done,
            }
        }
        Err(LoadError::NotFound { tried })
    }

    /// Loads the library at a path (or, of a bare name, the system's).
    ///
    /// # Errors
    /// As [`Library::load`].
    pub fn load_from(path: &Path) -> Result<Self, LoadError> {
        // The words name the library that is missing, which may be one that this one needs, or the function; those of
        // Windows name neither.
        let failed = |words: String| {
            let path = path.display().to_string();
            let words = if words.contains(&path) { words } else { format!("{path}: {words}") };
            LoadError::NotFound { tried: vec![words] }
        };
        // SAFETY: the library's initialisers are those of XRT, which expect to be run once in a process; loading it
        // again only counts.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| failed(innermost(&error)))?;
        // SAFETY: whoever exports this name gives it this type.
        let function = unsafe { library.get::<TableFunction>(table::SYMBOL) }
            .map_err(|error| failed(format!("{}: {}", table::SYMBOL, innermost(&error))))?;
        // SAFETY: it takes nothing and gives a constant.
        let table = unsafe { function().as_ref() };
        // XRT starts threads and registers exit handlers: once loaded it stays, as it would in a program that links it.
        std::mem::forget(library);
        let mismatch = |reason: String| LoadError::Mismatch { path: path.to_path_buf(), reason };
        let table = table.ok_or_else(|| mismatch("it gives no table".into()))?;
        // The version comes first in every version of the table: only then is the rest looked at.
        if (table.version, table.bytes as usize) != (table::VERSION, size_of::<Table>()) {
            let theirs = table.version;
            return Err(mismatch(format!("version {theirs} of the table, here {}", table::VERSION)));
        }
        Ok(Self { loaded: Arc::new(Loaded { table, path: path.to_path_buf() }) })
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.loaded.path
    }

    /// XRT's version that the shim was built against.
    pub fn built_against(&self) -> String {
        // SAFETY: a constant string that ends with NUL.
        unsafe { CStr::from_ptr(self.loaded.table.built_against) }.to_string_lossy().into_owned()
    }
}

/// The loader's own words without what they are wrapped in.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// XRT as AMD's driver for Windows puts it below `system`, the folder `System32`: there or, by older drivers, in its
/// folder `AMD`.
pub fn driver_xrt(system: &Path) -> Option<PathBuf> {
    let name = "xrt_coreutil.dll";
    [system.join(name), system.join("AMD").join(name)].into_iter().find(|path| path.is_file())
}

/// Loads the driver's XRT for the shim. Windows itself does not look into the folder `AMD`, but takes a library of the
/// right name that is loaded already.
#[cfg(windows)]
fn load_driver_xrt() {
    let path = env::var_os("SystemRoot").and_then(|windows| driver_xrt(&Path::new(&windows).join("System32")));
    // SAFETY: as of the shim, which would load it otherwise.
    if let Some(Ok(library)) = path.map(|path| unsafe { libloading::Library::new(path) }) {
        std::mem::forget(library);
    }
}

/// The file that holds this code: the EP's shared library, or the program.
#[cfg(windows)]
fn own_file() -> Option<PathBuf> {
    use std::os::windows::ffi::OsStringExt as _;
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
        GetModuleHandleExW,
    };

    let here = own_file as fn() -> Option<PathBuf> as *const u16;
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let mut module = std::ptr::null_mut();
    // Windows has no longer paths.
    let mut path = vec![0; 1 << 15];
    // SAFETY: with these flags `here` is any address within the module, and `module` is written and not counted; the
    // name is written into the buffer, whose length goes with it.
    let length = unsafe {
        if GetModuleHandleExW(flags, here, &mut module) == 0 {
            return None;
        }
        GetModuleFileNameW(module, path.as_mut_ptr(), path.len() as u32)
    };
    (length > 0).then(|| std::ffi::OsString::from_wide(&path[..length as usize]).into())
}

/// The file that holds this code: the EP's shared library, or the program.
#[cfg(not(windows))]
fn own_file() -> Option<PathBuf> {
    let here = own_file as fn() -> Option<PathBuf> as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| mapped_file(line, here))
}

/// The file of a line of `/proc/self/maps`, if the address lies in its range.
#[cfg(any(not(windows), test))]
fn mapped_file(line: &str, address: usize) -> Option<PathBuf> {
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let file = &rest[rest.find('/')?..];
    (number(from)?..number(to)?).contains(&address).then(|| PathBuf::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_file_is_this_test() {
        if cfg!(any(target_os = "linux", windows)) {
            let file = own_file().unwrap();
            assert_eq!(file.file_name(), env::current_exe().unwrap().file_name());
        }
    }

    #[test]
    fn lines_of_maps() {
        let line = "7f00-7f10 r-xp 00000000 fe:00 12  /a folder/lib.so";
        assert_eq!(mapped_file(line, 0x7f00), Some(PathBuf::from("/a folder/lib.so")));
        assert_eq!(mapped_file(line, 0x7f10), None);
        assert_eq!(mapped_file("7f00-7f10 r-xp 00000000 00:00 0 [stack]", 0x7f00), None);
        assert_eq!(mapped_file("", 0), None);
    }

    #[test]
    fn the_driver_s_xrt_is_found_where_old_and_new_drivers_put_it() {
        let system = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = system.path().join(name);
            std::fs::write(&path, "").unwrap();
            Some(path)
        };
        std::fs::create_dir(system.path().join("AMD")).unwrap();
        assert_eq!(driver_xrt(system.path()), None);
        assert_eq!(place("AMD/xrt_coreutil.dll"), driver_xrt(system.path()));
        assert_eq!(place("xrt_coreutil.dll"), driver_xrt(system.path()));
    }

    #[test]
    fn a_missing_library_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LIBRARY_NAME);
        let said = Library::load_from(&path).err().unwrap().to_string();
        let package = if cfg!(windows) { "NPU driver" } else { "libxrt2" };
        for word in [path.to_str().unwrap(), package, "xrt-sys/shim", LIBRARY_VARIABLE] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn a_file_that_is_no_library_and_a_library_that_is_no_shim() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LIBRARY_NAME);
        std::fs::write(&path, b"not a library").unwrap();
        assert!(matches!(Library::load_from(&path), Err(LoadError::NotFound { .. })));
        let other = if cfg!(windows) { "kernel32.dll" } else { "libm.so.6" };
        if cfg!(any(target_os = "linux", windows)) {
            let said = Library::load_from(Path::new(other)).err().unwrap().to_string();
            assert!(said.contains("undertone_xrt_table"), "{said}");
        }
    }
}
