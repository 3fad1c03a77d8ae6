//! The real ONNX Runtime behind the program's call.

#![allow(unsafe_code, reason = "asks the dynamic linker")]

use std::{
    ffi::{CStr, CString, c_int, c_void},
    path::{Path, PathBuf},
    ptr,
};

use libc::{Dl_info, RTLD_LAZY, RTLD_NEXT, RTLD_NOLOAD, dl_iterate_phdr, dl_phdr_info, dladdr, dlclose, dlopen, dlsym};
use ort_sys::OrtApiBase;

type GetApiBase = unsafe extern "C" fn() -> *const OrtApiBase;

/// What the program would have got, as the linker looks for it: `OrtGetApiBase` of what the program itself is linked
/// with, else of what the library with the code at `caller` is linked with. Else the first that is loaded. `own` is this
/// library's function.
pub fn base(caller: *const c_void, own: *const c_void) -> *const OrtApiBase {
    let of_caller = || file_of(caller).and_then(|file| symbol_of(&file)).filter(|symbol| !ptr::eq(*symbol, own));
    let found = symbol_in(RTLD_NEXT).or_else(of_caller).or_else(|| {
        let files = loaded().into_iter().filter(|file| is_onnxruntime(Path::new(&*file.to_string_lossy())));
        files.filter_map(|file| symbol_of(&file)).find(|symbol| !ptr::eq(*symbol, own))
    });
    let Some(found) = found else { return ptr::null() };
    // SAFETY: the symbol of this name is a function of this type in every version of ONNX Runtime.
    unsafe { std::mem::transmute::<*const c_void, GetApiBase>(found)() }
}

/// The folder of this library.
pub fn own_folder() -> Option<PathBuf> {
    let file = file_of(own_folder as *const c_void)?;
    Some(Path::new(&*file.to_string_lossy()).parent()?.to_path_buf())
}

/// A function of a library that is loaded, by the library's file.
pub fn loaded_symbol(file: &Path, name: &CStr) -> Option<*const c_void> {
    with_loaded(&CString::new(file.to_str()?).ok()?, name)
}

/// Bytes from `address` to the end of the part of a loaded file that it lies in; 0 if it lies in none.
pub fn readable_from(address: *const c_void) -> usize {
    struct Search {
        address: usize,
        left: usize,
    }
    unsafe extern "C" fn look(info: *mut dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: `data` is the search below, and the linker passes a valid description with that many headers.
        let (search, info) = unsafe { (&mut *data.cast::<Search>(), &*info) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: as above.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            let end = start.wrapping_add(header.p_memsz as usize);
            if (start..end).contains(&search.address) {
                search.left = end - search.address;
                return 1;
            }
        }
        0
    }
    let mut search = Search { address: address as usize, left: 0 };
    // SAFETY: `look` reads what the linker gives it and writes to the search, which outlives the call.
    unsafe { dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.left
}

/// `libonnxruntime.so`, with or without a version behind it.
fn is_onnxruntime(file: &Path) -> bool {
    file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("libonnxruntime.so"))
}

/// The file that the code at an address came from.
fn file_of(address: *const c_void) -> Option<CString> {
    // SAFETY: plain data, for the linker to fill.
    let mut info: Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked about; the name is a string of the linker's, copied here.
    unsafe {
        (dladdr(address, &mut info) != 0 && !info.dli_fname.is_null()).then(|| CStr::from_ptr(info.dli_fname).into())
    }
}

/// ONNX Runtime's entry point as a loaded file sees it: in itself, and in what it is linked with.
fn symbol_of(file: &CStr) -> Option<*const c_void> {
    with_loaded(file, c"OrtGetApiBase")
}

fn with_loaded(file: &CStr, name: &CStr) -> Option<*const c_void> {
    // SAFETY: the name is a string, nothing is loaded anew, and the handle is given back; what it stands for stays loaded
    // because the program holds it.
    unsafe {
        let handle = dlopen(file.as_ptr(), RTLD_LAZY | RTLD_NOLOAD);
        if handle.is_null() {
            return None;
        }
        let symbol = dlsym(handle, name.as_ptr()).cast_const();
        dlclose(handle);
        (!symbol.is_null()).then_some(symbol)
    }
}

fn symbol_in(handle: *mut c_void) -> Option<*const c_void> {
    // SAFETY: one of the linker's own handles, and a string.
    let symbol = unsafe { dlsym(handle, c"OrtGetApiBase".as_ptr()) }.cast_const();
    (!symbol.is_null()).then_some(symbol)
}

/// All files that are loaded.
fn loaded() -> Vec<CString> {
    unsafe extern "C" fn note(info: *mut dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: `data` is the list below, and the linker passes a valid description.
        let (files, info) = unsafe { (&mut *data.cast::<Vec<CString>>(), &*info) };
        if !info.dlpi_name.is_null() {
            // SAFETY: a string of the linker's.
            files.push(unsafe { CStr::from_ptr(info.dlpi_name) }.into());
        }
        0
    }
    let mut files: Vec<CString> = Vec::new();
    // SAFETY: `note` reads what the linker gives it and writes to the list, which outlives the call.
    unsafe { dl_iterate_phdr(Some(note), (&raw mut files).cast()) };
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_onnxruntime_s_own_library_is_meant() {
        for (file, is) in [
            ("/a/libonnxruntime.so", true),
            ("/a/libonnxruntime.so.1", true),
            ("libonnxruntime.so.1.32.0", true),
            ("/a/libonnxruntime_providers_shared.so", false),
            ("/a/libonnxruntime_ep_xdna.so", false),
            ("/libonnxruntime.so/other.so", false),
        ] {
            assert_eq!(is_onnxruntime(Path::new(file)), is, "{file}");
        }
    }

    #[test]
    fn what_is_loaded_can_be_read_and_nothing_else() {
        static DATA: [u64; 4] = [1; 4];
        assert!(readable_from(DATA.as_ptr().cast()) >= size_of_val(&DATA));
        let on_the_stack = 1u8;
        assert_eq!(readable_from((&raw const on_the_stack).cast()), 0);
        assert!(own_folder().is_some_and(|folder| folder.is_dir()));
    }
}
