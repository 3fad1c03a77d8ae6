//! A plugin execution provider for ONNX Runtime that runs Whisper graphs with the arithmetic of AMD NPUs.
//!
//! A stock ONNX Runtime, 1.23 or newer, loads this crate as a shared library. The way of a graph through it:
//! [`snapshot`] reads ONNX Runtime's graph into a [`graph::Graph`]; [`lower`] makes a program of its nodes, whose
//! operations are in [`ops`]; [`fusion`] joins them; [`partition`] decides what to claim; [`plan`] compiles each
//! claimed group; [`compute`] executes it in a run; [`context`] keeps what was compiled in a file. [`factory`] and
//! [`provider`] are ONNX Runtime's callbacks around that, [`exports`] the library's entry points.
//!
//! It is not a library for Rust programs: those register it with ONNX Runtime as any other program does.

pub mod abi;
pub mod compute;
pub mod context;
pub mod error;
pub mod exports;
pub mod factory;
pub mod file;
pub mod fusion;
pub mod graph;
pub mod guard;
pub mod kv;
pub mod kv_exports;
pub mod lower;
pub mod measure;
pub mod memory;
pub mod npu;
pub mod ops;
pub mod options;
pub mod partition;
pub mod plan;
pub mod pool;
pub mod program;
pub mod provider;
pub mod report;
pub mod runtime;
pub mod snapshot;
pub mod statistics;
pub mod status;
#[cfg(test)]
mod testing;

pub use options::{Claim, DeviceChoice, Options, OptionsError};

use std::ffi::CStr;

/// What the EP is called, whatever name its library is registered under.
pub const NAME: &str = "XdnaExecutionProvider";
pub(crate) const NAME_C: &CStr = c"XdnaExecutionProvider";
