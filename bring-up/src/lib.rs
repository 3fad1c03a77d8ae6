//! A ladder of checks for a machine's NPU, from its installation up to whole models. Each rung needs what those below it
//! have shown, so the first failure names what is wrong. Each is climbed by a process of its own ([`climb`] there,
//! [`watch`] here), which is ended at a time limit: a driver may hang. [`Report`] is what a tester sends.
//!
//! Rungs 2 to 5, and attention of rung 6, are the kernels' own ladder (`undertone_kernels::npu::ladder`), over the real
//! array or the simulated one. Here are the others, and all that goes around them.

mod amd;
mod climb;
mod compiled;
mod costs;
mod energy;
mod file;
mod installation;
mod kernel_log;
mod mask;
mod program;
mod report;
mod rung;
mod scrub;
mod text;
mod watch;
mod whisper;

pub use climb::{Message, OPENED, Place, climb};
pub use costs::check_core_costs;
pub use file::is_stream;
pub use kernel_log::KernelLog;
pub use program::{end_with_parent, end_work};
pub use report::{Check, FORMAT, Machine, Outcome, Report, RungReport, Verdict, begin, not_reached};
pub use rung::Rung;
pub use scrub::Scrub;
pub use text::time;
pub use undertone_kernels::npu::sim::Fault;
pub use watch::watch;
pub use whisper::Asked;
