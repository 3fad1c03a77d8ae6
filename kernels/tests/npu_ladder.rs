//! The ladder over the simulator: whole on a sound array; with each fault it stops at the rung and the check that are
//! about it, and says what is wrong.

mod ladder;

use ladder::{STOPS, assert_stops, assert_whole};
use undertone_kernels::npu::{
    Commands, Target,
    ladder::{Check, Outcome, Rung, climb},
    sim::{Fault, Mode, SimArray},
};

#[test]
fn a_sound_array_is_climbed_whole() {
    for target in Target::ALL {
        for mode in [Mode::Fast, Mode::Exact] {
            let array = SimArray::new(target, mode);
            assert_whole(&array);
            assert_eq!(array.contexts(), 0);
        }
    }
}

#[test]
fn each_fault_stops_the_ladder_where_it_belongs() {
    for stop in &STOPS {
        for target in Target::ALL {
            assert_stops(&SimArray::new(target, Mode::Fast).with_fault(stop.fault.parse().unwrap()), stop, 0);
        }
    }
}

/// What nothing of ours depends on is told, and the ladder goes on.
#[test]
fn harmless_differences_are_facts() {
    let odd = ["sums of zeros, infinities and denormals", "products of zeros, infinities and denormals"];
    for (fault, facts) in [
        (Fault::Ties, ["halves, when 1.5 · 2^23 is added", "fp32 to bf16, in the middle of two"]),
        (Fault::Denormals, odd),
    ] {
        let mut checks = Vec::new();
        let array = SimArray::new(Target::Npu4, Mode::Fast).with_fault(fault);
        assert!(climb(&array, Rung::Core, &mut |check| checks.push(check)), "{fault:?}: {:?}", checks.last());
        for fact in facts {
            let check = checks.iter().find(|check| check.name == fact).unwrap();
            assert!(matches!(&check.outcome, Outcome::Told(said) if said.contains("differ")), "{fault:?}: {check:?}");
        }
    }
}

#[test]
fn lists_are_not_tried_where_commands_are_started_singly() {
    let array = SimArray::new(Target::Npu1, Mode::Fast).with_commands(Commands::Single).with_fault(Fault::Lists);
    let mut checks = Vec::new();
    assert!(climb(&array, Rung::PassThrough, &mut |check| checks.push(check)), "{checks:?}");
    let last = checks.pop().unwrap();
    assert!(matches!(&last.outcome, Outcome::Told(said) if said.contains("not tried")), "{last:?}");
}

#[test]
fn what_a_check_says_is_json_and_back() {
    let mut checks = Vec::new();
    let array = SimArray::new(Target::Npu1, Mode::Fast).with_fault(Fault::Product);
    climb(&array, Rung::Core, &mut |check| checks.push(check));
    let text = serde_json::to_string(&checks).unwrap();
    let ends =
        |checks: &[Check]| checks.iter().map(|check| (check.name.clone(), check.outcome.clone())).collect::<Vec<_>>();
    assert_eq!(ends(&serde_json::from_str::<Vec<Check>>(&text).unwrap()), ends(&checks));
    assert!(text.contains("largest_relative_error"), "{text}");
}

#[test]
fn words_that_are_no_fault_are_refused() {
    for words in ["", "deadcore", "dead-core 1", "dead-core 1 x", "lists 2"] {
        assert!(words.parse::<Fault>().is_err(), "{words}");
    }
}
