//! The ladder through the real XRT, down to the pretended NPU: whole, and with each fault. Times that it measures here
//! are this machine's.

mod common;
#[path = "../../../../kernels/tests/ladder/mod.rs"]
mod ladder;

use common::{Fault, assert_nothing_open, log, path};
use ladder::{STOPS, assert_stops, assert_whole};
use undertone_kernels::npu::{
    Commands,
    ladder::{Rung, climb},
    probe,
    xrt::XrtArray,
};

fn array() -> XrtArray {
    XrtArray::open(Some(&path("UNDERTONE_TEST_BUNDLES")), probe()).unwrap()
}

#[test]
fn a_sound_array_is_climbed_whole() {
    log();
    assert_whole(&array());
    assert_nothing_open();
    assert_eq!(log(), "");
}

#[test]
fn each_fault_stops_the_ladder_where_it_belongs() {
    for stop in &STOPS {
        let fault = Fault::begin(stop.fault);
        assert_stops(&array(), stop, 1);
        drop(fault);
        assert_nothing_open();
    }
}

#[test]
fn single_commands_climb_where_lists_fail() {
    let fault = Fault::begin("lists");
    let single = array().with_commands(Commands::Single);
    for rung in [Rung::PassThrough, Rung::Stream, Rung::Core] {
        let mut checks = Vec::new();
        assert!(climb(&single, rung, &mut |check| checks.push(check)), "{checks:?}");
    }
    drop((single, fault));
    assert_nothing_open();
}
