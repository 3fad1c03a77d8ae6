//! Compiles the kernels for the host, against the header in `host/` that stands in for the AIE API.

fn main() {
    cxx_build::bridge("bridge/ffi.rs")
        .files(["bridge/bridge.cc", "bridge/counted.cc", "bridge/split.cc"])
        .include("host")
        .include("src")
        .std("c++20")
        // A fused multiply-add rounds less often than the arithmetic that the header promises.
        .flag("-ffp-contract=off")
        .flag("-fno-exceptions")
        .flag("-fno-rtti")
        .flag_if_supported("-Wno-unknown-pragmas")
        // Also in a debug build: without, the vectors of the header are loops.
        .opt_level(3)
        .compile("undertone_aie");
    for folder in ["bridge", "host", "src"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
