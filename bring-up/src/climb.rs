//! Climbs one rung, in a process of its own, and tells what it finds as it goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use undertone_boundary::bundles;
use undertone_kernels::npu::sim::{Fault, SimArray};
use undertone_kernels::npu::xrt::{self, XrtArray};
use undertone_kernels::npu::{Array, Target, ladder, probe};
use undertone_runner::{Device, EngineOptions};

use crate::whisper::{self, Asked};
use crate::{Check, Rung, amd, compiled, installation};

/// What the process that climbs tells the one that watches: a line of JSON each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A check has ended.
    Check(Check),
    /// The rung does not apply, or there is nothing to do it with.
    Skipped(String),
    /// That was all.
    Done,
}

/// The check that needs all that is installed, and bundles.
pub const OPENED: &str = "the NPU is opened";

/// What is climbed on.
pub struct Place<'a> {
    /// `npu` or `sim`, and all that is said of it.
    pub options: &'a EngineOptions,
    /// What is wrong with the simulated array, in tests.
    pub fault: Option<Fault>,
    /// Models of the last rung.
    pub asked: &'a [Asked],
}

/// Climbs `rung`, within `limit`.
pub fn climb(rung: Rung, place: &Place<'_>, limit: Duration, tell: &mut dyn FnMut(Message)) {
    let options = place.options;
    let root = Path::new("/");
    let simulated = options.device == Device::Sim;
    let mut check = |check: Check| tell(Message::Check(check));
    match rung {
        Rung::Installation | Rung::Amd if simulated => {
            tell(Message::Skipped("the simulator needs no installation".into()));
        }
        Rung::Installation => {
            if installation::climb(root, &xrt::loaded, &mut check) {
                check(compiled::check(folder(options).as_deref(), probe().target()));
            }
        }
        // The rest is for telling that a test did not end.
        Rung::Amd => amd::climb(root, limit - limit / 10, &mut check),
        Rung::PassThrough => on_array(place, ladder::Rung::PassThrough, &mut check),
        Rung::Stream => on_array(place, ladder::Rung::Stream, &mut check),
        Rung::Core => on_array(place, ladder::Rung::Core, &mut check),
        Rung::Product => on_array(place, ladder::Rung::Product, &mut check),
        Rung::Whisper => {
            let mut failed = false;
            on_array(place, ladder::Rung::Attention, &mut |found| {
                failed |= found.is_failure();
                check(found);
            });
            if !failed {
                whisper::climb(root, options, place.asked, &mut check);
            }
        }
    }
    tell(Message::Done);
}

/// Climbs a rung of the kernels' ladder.
fn on_array(place: &Place<'_>, rung: ladder::Rung, tell: &mut dyn FnMut(Check)) {
    let options = place.options;
    if options.device == Device::Sim {
        let target = options.target.map_or(Target::Npu4, Target::from);
        let array = SimArray::new(target, options.simulation).with_commands(options.npu_commands);
        let array = place.fault.into_iter().fold(array, SimArray::with_fault);
        return climb_on(&array, rung, tell);
    }
    let name = OPENED;
    // As the execution provider, which rung 6 asks.
    match XrtArray::open(folder(options).as_deref(), probe()) {
        Err(error) => tell(Check::failed(name, error.to_string(), "")),
        Ok(array) => match options.target.map(Target::from).filter(|wanted| *wanted != array.target()) {
            Some(wanted) => {
                let found = format!("this machine's is {}, not {wanted}", array.target());
                tell(Check::failed(name, found, "leave the option --target out"));
            }
            None => climb_on(&array.with_commands(options.npu_commands), rung, tell),
        },
    }
}

/// The folder of bundles.
fn folder(options: &EngineOptions) -> Option<PathBuf> {
    options.bundle_dir.clone().or_else(bundles::folder)
}

fn climb_on<A: Array>(array: &A, rung: ladder::Rung, tell: &mut dyn FnMut(Check)) {
    ladder::climb(array, rung, &mut |check| tell(check.into()));
}
