//! Where the ladder stops with each fault: one table for the simulator (`npu_ladder.rs`) and for the pretended driver
//! below the real XRT (`tests/xrt/through/tests/ladder.rs`).

use undertone_kernels::npu::{
    Array,
    ladder::{Check, Outcome, Rung, climb},
};

/// A fault, and where it is found.
pub struct Stop {
    /// Its words ([`undertone_kernels::npu::sim::Fault`]).
    pub fault: &'static str,
    /// The rung.
    pub rung: Rung,
    /// The check that fails.
    pub check: &'static str,
    /// What it says: over the simulator, and in XRT's words where the command itself fails.
    pub found: [&'static str; 2],
}

const fn stop(fault: &'static str, rung: Rung, check: &'static str, found: &'static str) -> Stop {
    Stop { fault, rung, check, found: [found, found] }
}

const STATE: &str = "ERT_CMD_STATE_";
const SINGLE: &str = "a single command";
const BITS: &str = "differ from this machine's bits";
const ONE: &str = "int8: whole numbers through one core";
const COLUMN: &str = "int8: whole numbers through a column";
const WHOLE: &str = "int8: whole numbers through the whole array";

/// All of them.
pub const STOPS: [Stop; 19] = [
    Stop { found: ["an NPU command failed", STATE], ..stop("error", Rung::PassThrough, SINGLE, "") },
    Stop { found: ["did not answer within 10s", STATE], ..stop("hang", Rung::PassThrough, SINGLE, "") },
    Stop { found: ["aborted", STATE], ..stop("lists", Rung::PassThrough, "a list of 2 commands", "") },
    stop("patches", Rung::Stream, "transfers that begin inside their buffers", "if offsets of patches are ignored"),
    Stop { found: ["the array stands still", STATE], ..stop("repeats", Rung::Stream, "a task that is repeated", "") },
    stop("strides", Rung::Stream, "rows written apart from each other", "if steps of descriptors are ignored"),
    stop("alignment", Rung::Core, "loads of 16 bytes at each offset", "wrong at offsets 16, 32, 48 of 64"),
    stop("rounding", Rung::Core, "the nearest whole number by adding 1.5 · 2^23", BITS),
    stop("product", Rung::Core, "fp32 products", BITS),
    stop("exp2", Rung::Core, "powers of two", BITS),
    stop("dead-core 0 0", Rung::Product, ONE, "each core gives zeros"),
    stop("dead-core 2 0", Rung::Product, COLUMN, "the core in row 2 of cores, column 0 gives zeros"),
    stop("dead-core 1 2", Rung::Product, WHOLE, "the core in row 1 of cores, column 2 gives zeros"),
    stop("wrong-core 0 0", Rung::Product, ONE, "each core gives wrong results"),
    stop("wrong-core 3 3", Rung::Product, WHOLE, "the core in row 3 of cores, column 3 gives wrong results"),
    stop("dead-column 0", Rung::Product, ONE, "each core gives zeros"),
    stop("dead-column 1", Rung::Product, WHOLE, "all cores of column 1 give zeros"),
    stop("long", Rung::Product, "int8: a long stream", "each core gives wrong results"),
    stop("attention", Rung::Attention, "int8: attention on the whole array", "results are off by"),
];

/// Climbs as far as it goes: the checks of each rung that was tried.
pub fn climbed<A: Array>(array: &A) -> Vec<(Rung, Vec<Check>)> {
    let mut rungs = Vec::new();
    for rung in Rung::ALL {
        let mut checks = Vec::new();
        let well = climb(array, rung, &mut |check| checks.push(check));
        assert_eq!(well, checks.iter().all(|check| check.outcome.is_well()), "{rung:?}: {checks:?}");
        rungs.push((rung, checks));
        if !well {
            break;
        }
    }
    rungs
}

/// That an array is climbed whole, and all that is told of it: one fact, that there is no compiler's stream.
pub fn assert_whole<A: Array>(array: &A) {
    let rungs = climbed(array);
    assert_eq!(rungs.len(), Rung::ALL.len(), "{:?}", rungs.last());
    let told = rungs.iter().flat_map(|(_, checks)| checks).filter(|check| check.outcome != Outcome::Passed);
    let told: Vec<&str> = told.map(|check| check.name.as_str()).collect();
    assert_eq!(told, ["whose stream it is"], "{rungs:?}");
}

/// That the ladder stops where a fault's line of the table says; `found` is which of its words are meant.
pub fn assert_stops<A: Array>(array: &A, stop: &Stop, found: usize) {
    let fault = stop.fault;
    let rungs = climbed(array);
    let (rung, check) = rungs.last().and_then(|(rung, checks)| Some((*rung, checks.last()?))).unwrap();
    let Outcome::Failed { found: said, advice } = &check.outcome else {
        panic!("{fault}: nothing failed: {check:?}");
    };
    assert_eq!((rung, check.name.as_str()), (stop.rung, stop.check), "{fault}: {said}");
    assert!(said.contains(stop.found[found]), "{fault}: {said}");
    assert!(!advice.is_empty(), "{fault}");
}
