//! A pretended AMD NPU: a library that is preloaded into a test process, below AMD's real XRT and its real NPU shim.
//!
//! It is no emulator of the driver's inside. It is what a program can see of one: the device node and its folders under
//! `/sys` (`tree`, `paths`), the calls of `drm/amdxdna_accel.h` (`ioctl`, `driver`), memory that both sides reach
//! (`memory`), command packets (`packet`) and their order (`queue`). A command's arguments are checked as strictly as
//! can be and then *executed*: by the simulator, for the design that the loaded PDI stands for (`engine`). What cannot
//! be told from below, it does not judge: which cache lines were flushed, for instance, unless XRT is told to ask the
//! driver for that (`memory`).
//!
//! Environment:
//! - `UNDERTONE_FAKE_NPU`: a folder of the test's. Without it the library does nothing. In it: `fault` (written by the
//!   test, read at each call: see [`faults`]), `log` (what was refused and why), `counters` (what is open now and what
//!   was executed, as JSON: see [`counters`]).
//! - `UNDERTONE_FAKE_NPU_TARGET`: `npu1` (default) or `npu4`.
//! - `UNDERTONE_FAKE_NPU_INCOHERENT`: `1` if the device is to see only what was synced.
//!
//! Each process has an NPU of its own.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

pub mod counters;
mod driver;
mod engine;
pub mod faults;
mod fields;
mod info;
mod interpose;
mod ioctl;
pub mod memory;
mod objects;
mod packet;
mod paths;
mod queue;
mod real;
mod timeline;
mod tree;
mod world;

/// `errno` of a refused call.
type Errno = i32;
