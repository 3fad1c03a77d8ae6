//! Finds XRT's headers and library, makes Rust of the constants in its C headers (bindgen), and compiles the bridge to
//! its C++ API (cxx).
//!
//! `XRT_INCLUDE_DIR`: the folder that holds `xrt/xrt_device.h`. `XRT_LIB_DIR`: the folder that holds
//! `libxrt_coreutil.so`. Without them pkg-config is asked for `xrt`; on Windows, where XRT's C++ is Microsoft's and so
//! the target has to be `x86_64-pc-windows-msvc`, `include` and `lib` of AMD's XRT SDK are taken from `C:\Xilinx\XRT`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, exit},
};

fn main() {
    for name in ["XRT_INCLUDE_DIR", "XRT_LIB_DIR", "LIBCLANG_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let (includes, libraries) = find();
    let include = |file: &str| includes.iter().map(|folder| folder.join(file)).find(|path| path.exists());
    let headers = ["xrt/detail/ert.h", "xrt/detail/xrt_mem.h", "xrt/detail/version-slim.h"].map(include);
    let (Some(device), [Some(states), Some(memory), Some(version)]) = (include("xrt/xrt_device.h"), headers) else {
        fail(&format!("XRT's headers are not in {includes:?}: XRT_INCLUDE_DIR has to hold xrt/xrt_device.h"));
    };
    println!("cargo:rerun-if-changed={}", device.display());
    constants(&includes, &[states, memory, version]);

    let mut bridge = cxx_build::bridge("src/bridge.rs");
    bridge.include("include").std("c++17").flag_if_supported("-Wno-attributes");
    let microsoft = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "msvc");
    if microsoft {
        // XRT's headers ask which C++ this is.
        bridge.flag("/Zc:__cplusplus").includes(&includes);
    } else {
        for folder in &includes {
            // As a system header: its warnings are not ours.
            bridge.flag("-isystem").flag(folder.to_str().unwrap_or_else(|| fail("XRT_INCLUDE_DIR is not UTF-8")));
        }
    }
    bridge.compile("undertone_xrt_bridge");
    println!("cargo:rerun-if-changed=src/bridge.rs");
    println!("cargo:rerun-if-changed=include/undertone_xrt.h");

    for folder in libraries {
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
    println!("cargo:rustc-link-lib=dylib=xrt_coreutil");
    if microsoft {
        return;
    }
    // XRT may be newer than the C library of the machine that builds: what XRT itself needs is looked for when it is
    // loaded.
    println!("cargo:rustc-link-arg-cdylib=-Wl,--allow-shlib-undefined");
    // The runtime of cxx is exported by every library that has one: this library means its own.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-Bsymbolic");
}

/// Folders of headers and of libraries.
fn find() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (include, library) = (folder("XRT_INCLUDE_DIR"), folder("XRT_LIB_DIR"));
    if let Some(include) = include {
        return (vec![include], library.into_iter().collect());
    }
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "windows") {
        let sdk = Path::new(r"C:\Xilinx\XRT");
        return (vec![sdk.join("include")], vec![library.unwrap_or_else(|| sdk.join("lib"))]);
    }
    match pkg_config::Config::new().atleast_version("2.18").cargo_metadata(false).probe("xrt") {
        Ok(found) => {
            // pkg-config leaves the system's own folders out.
            let mut includes = found.include_paths;
            includes.push(PathBuf::from("/usr/include"));
            (includes, library.map_or(found.link_paths, |folder| vec![folder]))
        }
        Err(error) => fail(&format!(
            "XRT was not found: install libxrt-dev, or set XRT_INCLUDE_DIR and XRT_LIB_DIR (`tests/xrt/sid.sh` makes such folders). \
             pkg-config said: {error}"
        )),
    }
}

/// `constants.rs`: the states of commands and the flags of buffers, from XRT's C headers.
fn constants(includes: &[PathBuf], headers: &[PathBuf]) {
    let mut builder = bindgen::Builder::default()
        .clang_args(includes.iter().map(|folder| format!("-I{}", folder.display())))
        .allowlist_type("ert_cmd_state")
        .allowlist_var("(XRT|XCL)_BO_FLAGS_.*|xrt_build_version")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .layout_tests(false);
    // A libclang by itself (as PyPI has it) lacks the headers of a compiler.
    if let Some(folder) = compiler_headers() {
        builder = builder.clang_arg("-isystem").clang_arg(folder);
    }
    for header in headers {
        builder = builder.header(header.to_string_lossy());
    }
    let bindings =
        builder.generate().unwrap_or_else(|error| fail(&format!("bindgen can't read XRT's headers: {error}")));
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_else(|| fail("no OUT_DIR: run by cargo only")));
    bindings.write_to_file(out.join("constants.rs")).unwrap_or_else(|error| fail(&format!("constants.rs: {error}")));
}

/// Where the C compiler keeps `stddef.h`.
fn compiler_headers() -> Option<String> {
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(compiler).arg("-print-file-name=include").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&folder).join("stddef.h").exists().then_some(folder)
}

fn fail(reason: &str) -> ! {
    eprintln!("undertone-xrt: {reason}");
    exit(1)
}
