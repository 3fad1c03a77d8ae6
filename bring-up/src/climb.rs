//! Climbs one rung, in a process of its own, and tells what it finds as it goes.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use undertone_kernels::npu::sim::SimArray;
use undertone_kernels::npu::xrt::{self, XrtArray};
use undertone_kernels::npu::{Array, Target, ladder, probe};
use undertone_runner::{Device, EngineOptions};

use crate::whisper::{self, Asked};
use crate::{Check, Rung, amd, installation};

/// So much of a rung's limit is left for telling what did not end.
const FOR_WORDS: Duration = Duration::from_secs(5);

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

/// Climbs `rung` on the device of `options`, `npu` or `sim`, with these models on the last one.
pub fn climb(rung: Rung, options: &EngineOptions, asked: &[Asked], limit: Duration, tell: &mut dyn FnMut(Message)) {
    let root = Path::new("/");
    let simulated = options.device == Device::Sim;
    let mut check = |check: Check| tell(Message::Check(check));
    match rung {
        Rung::Installation | Rung::Amd if simulated => {
            tell(Message::Skipped("the simulator needs no installation".into()));
        }
        Rung::Installation => installation::climb(root, &xrt::loaded, &mut check),
        Rung::Amd => amd::climb(root, limit.saturating_sub(FOR_WORDS), &mut check),
        Rung::PassThrough => on_array(options, ladder::Rung::PassThrough, &mut check),
        Rung::Stream => on_array(options, ladder::Rung::Stream, &mut check),
        Rung::Core => on_array(options, ladder::Rung::Core, &mut check),
        Rung::Product => on_array(options, ladder::Rung::Product, &mut check),
        Rung::Whisper => {
            let mut failed = false;
            on_array(options, ladder::Rung::Attention, &mut |found| {
                failed |= found.is_failure();
                check(found);
            });
            if !failed {
                whisper::climb(root, options, asked, &mut check);
            }
        }
    }
    tell(Message::Done);
}

/// Climbs a rung of the kernels' ladder.
fn on_array(options: &EngineOptions, rung: ladder::Rung, tell: &mut dyn FnMut(Check)) {
    if options.device == Device::Sim {
        let target = options.target.map_or(Target::Npu4, Target::from);
        return climb_on(&SimArray::new(target, options.simulation), rung, tell);
    }
    let name = "opening the NPU";
    match XrtArray::open(options.bundle_dir.as_deref(), probe()) {
        Err(error) => tell(Check::failed(name, error.to_string(), "")),
        Ok(array) => match options.target.map(Target::from).filter(|wanted| *wanted != array.target()) {
            Some(wanted) => {
                let found = format!("this machine's is {}, not {wanted}", array.target());
                tell(Check::failed(name, found, "leave the option --target out"));
            }
            None => climb_on(&array, rung, tell),
        },
    }
}

fn climb_on<A: Array>(array: &A, rung: ladder::Rung, tell: &mut dyn FnMut(Check)) {
    ladder::climb(array, rung, &mut |check| tell(check.into()));
}
