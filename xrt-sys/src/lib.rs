//! AMD's XRT as Rust sees it, loaded at run time: a program with this crate starts on machines that have no XRT.
//!
//! ```
//! match xrt_sys::Library::load() {
//!     Ok(xrt) => println!("{}: {:?} devices", xrt.path().display(), xrt.device_count()),
//!     Err(reason) => println!("no XRT: {reason}"),
//! }
//! ```
//!
//! XRT's API for hardware contexts is C++ only, and Rust links with every symbol bound at start, so a program cannot
//! link XRT and go on without it. The C++ side therefore is a shared library of its own, `libundertone_xrt.so` or
//! `undertone_xrt.dll` (the package in `shim/`, built against XRT's headers), that exports one table of C functions ([`table`]).
//! [`Library::load`] finds it; everything above is safe Rust:
//!
//! ```no_run
//! use std::time::Duration;
//! use xrt_sys::{Library, Memory};
//!
//! let library = Library::load()?;
//! let device = library.open(0)?;
//! let mut context = device.context(&std::fs::read("bundle/design.xclbin")?)?;
//! let mut words = context.buffer(Memory::Instructions, 4096)?;
//! words.bytes_mut().fill(0);
//! words.sync_to_device()?;
//! let [a, b, c] = [0, 1, 2].map(|index| context.buffer(Memory::Argument(index), 1 << 20));
//! let mut run = context.run()?;
//! run.set(&words, 1024, [&a?, &b?, &c?])?;
//! context.execute(&mut [&mut run], Duration::from_secs(2))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod handles;
mod loader;
pub mod table;

pub use error::{CommandState, Error};
pub use handles::{Buffer, Context, Device, Live, Memory, Run};
pub use loader::{LIBRARY_NAME, LIBRARY_VARIABLE, Library, LoadError, driver_xrt};
