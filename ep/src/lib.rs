//! A plugin execution provider for ONNX Runtime that runs Whisper graphs with the arithmetic of AMD NPUs.
//!
//! A stock ONNX Runtime, 1.23 or newer, loads this crate as a shared library. In Python:
//!
//! ```text
//! onnxruntime.register_execution_provider_library("undertone", "/absolute/path/libonnxruntime_ep_xdna.so")
//! devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == "XdnaExecutionProvider"]
//! options = onnxruntime.SessionOptions()
//! options.add_provider_for_devices(devices[:1], {"device": "host", "precision": "int8"})
//! session = onnxruntime.InferenceSession("encoder_model.onnx", sess_options=options)
//! ```
//!
//! Programs in Rust register it in the same way; this crate is no library for them. What a session makes of its
//! options:
//!
//! ```
//! use onnxruntime_ep_xdna::Options;
//!
//! let options = Options::parse([("device", "host"), ("precision", "int8")])?;
//! assert_eq!(options.precision.to_string(), "int8");
//! assert!(Options::parse([("precision", "int3")]).unwrap_err().to_string().contains("use "));
//! # Ok::<(), onnxruntime_ep_xdna::OptionsError>(())
//! ```
//!
//! The way of a graph through it: `snapshot` reads ONNX Runtime's graph into a `Graph`; `lower` makes a program of its
//! nodes, whose operations are in `ops`; `fusion` joins them; `partition` decides what to claim; `plan` compiles each
//! claimed group; `compute` executes it in a run, whose values are in `memory`; `context` keeps what was compiled in a
//! file. `factory` and `provider` are ONNX Runtime's callbacks around that, [`exports`] the library's entry points.

pub mod abi;
mod attended;
mod compute;
mod context;
mod error;
pub mod exports;
mod factory;
mod file;
mod fusion;
mod graph;
pub mod guard;
mod kv;
pub mod kv_exports;
mod log;
mod lower;
mod memory;
mod npu;
mod ops;
pub mod options;
mod partition;
mod plan;
mod pool;
mod program;
mod provider;
mod report;
mod runtime;
#[cfg(test)]
mod shared_tests;
mod snapshot;
mod statistics;
pub mod status;
#[cfg(test)]
mod testing;
mod trace;

pub use options::{Claim, DeviceChoice, Options, OptionsError};

use std::ffi::CStr;

/// What the EP is called, whatever name its library is registered under.
pub const NAME: &str = "XdnaExecutionProvider";
pub(crate) const NAME_C: &CStr = c"XdnaExecutionProvider";
