//! The ladder over the simulator: whole on a sound array; with each fault it stops at the rung and the check that are
//! about it, and says what is wrong.

use undertone_kernels::npu::{
    Commands, Target,
    ladder::{Check, Outcome, Rung, climb},
    sim::{Fault, Mode, SimArray},
};

/// Climbs as far as it goes: the checks of each rung that was tried.
fn climbed(array: &SimArray) -> Vec<(Rung, Vec<Check>)> {
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

#[test]
fn a_sound_array_is_climbed_whole() {
    for (target, mode) in [(Target::Npu1, Mode::Fast), (Target::Npu4, Mode::Fast), (Target::Npu1, Mode::Exact)] {
        let array = SimArray::new(target, mode);
        let rungs = climbed(&array);
        assert_eq!(rungs.len(), Rung::ALL.len(), "{target}: {:?}", rungs.last());
        let told: Vec<&Check> =
            rungs.iter().flat_map(|(_, checks)| checks).filter(|check| check.outcome != Outcome::Passed).collect();
        // Only that the simulator has no compiler's stream.
        let names: Vec<&str> = told.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["whose stream it is"], "{told:?}");
        assert!(rungs.iter().all(|(_, checks)| checks.len() >= 2), "{rungs:?}");
        assert_eq!(array.contexts(), 0);
    }
}

#[test]
fn lists_are_not_tried_where_commands_are_started_singly() {
    let array = SimArray::new(Target::Npu1, Mode::Fast).with_commands(Commands::Single).with_fault(Fault::Lists);
    let mut names = Vec::new();
    assert!(climb(&array, Rung::PassThrough, &mut |check| names.push((check.name, check.outcome))));
    let (name, outcome) = names.pop().unwrap();
    assert!(name == "lists of commands" && matches!(outcome, Outcome::Told(said) if said.contains("not tried")));
}

/// The fault; then the rung, the check and the words with which the ladder stops.
const FAULTS: [(&str, Rung, &str, &str); 19] = [
    ("error", Rung::PassThrough, "a single command", "an NPU command failed"),
    ("hang", Rung::PassThrough, "a single command", "did not answer within 10s"),
    ("lists", Rung::PassThrough, "a list of 2 commands", "aborted"),
    ("patches", Rung::Stream, "transfers that begin inside their buffers", "offsets of patches are ignored"),
    ("repeats", Rung::Stream, "a task that is repeated", "the array stands still"),
    ("strides", Rung::Stream, "rows written apart from each other", "steps of descriptors are ignored"),
    ("alignment", Rung::Core, "loads of 16 bytes at each offset", "wrong at offsets 16, 32, 48 of 64"),
    ("rounding", Rung::Core, "the nearest whole number by adding 1.5 · 2^23", "differ from this machine's bits"),
    ("product", Rung::Core, "fp32 products", "differ from this machine's bits"),
    ("exp2", Rung::Core, "powers of two", "differ from this machine's bits"),
    ("dead-core 0 0", Rung::Product, "int8: whole numbers through one core", "each core gives zeros"),
    ("dead-core 2 0", Rung::Product, "int8: whole numbers through a column", "row 2 of cores, column 0 gives zeros"),
    (
        "dead-core 1 2",
        Rung::Product,
        "int8: whole numbers through the whole array",
        "row 1 of cores, column 2 gives zeros",
    ),
    ("wrong-core 0 0", Rung::Product, "int8: whole numbers through one core", "each core gives wrong results"),
    (
        "wrong-core 3 3",
        Rung::Product,
        "int8: whole numbers through the whole array",
        "row 3 of cores, column 3 gives wrong",
    ),
    ("dead-column 0", Rung::Product, "int8: whole numbers through one core", "each core gives zeros"),
    ("dead-column 1", Rung::Product, "int8: whole numbers through the whole array", "all cores of column 1 give zeros"),
    ("long", Rung::Product, "int8: a long stream", "each core gives wrong results"),
    ("attention", Rung::Attention, "int8: attention on the whole array", "results are off by"),
];

#[test]
fn each_fault_stops_the_ladder_where_it_belongs() {
    for (words, rung, name, found) in FAULTS {
        for target in Target::ALL {
            let array = SimArray::new(target, Mode::Fast).with_fault(words.parse().unwrap());
            let rungs = climbed(&array);
            let (last, checks) = rungs.last().unwrap();
            let check = checks.last().unwrap();
            let Outcome::Failed { found: said, advice } = &check.outcome else {
                panic!("{target}, {words}: nothing failed: {check:?}");
            };
            assert_eq!((*last, check.name.as_str()), (rung, name), "{target}, {words}: {said}");
            assert!(said.contains(found), "{target}, {words}: {said}");
            assert!(!advice.is_empty(), "{target}, {words}");
        }
    }
}

#[test]
fn what_a_check_says_is_json_and_back() {
    let mut checks = Vec::new();
    let array = SimArray::new(Target::Npu1, Mode::Fast).with_fault(Fault::Product);
    climb(&array, Rung::Core, &mut |check| checks.push(check));
    let text = serde_json::to_string(&checks).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Check>>(&text).unwrap(), checks);
    assert!(text.contains("largest_relative_error"), "{text}");
}

#[test]
fn words_that_are_no_fault_are_refused() {
    for words in ["", "deadcore", "dead-core 1", "dead-core 1 x", "lists 2", "bf16"] {
        assert!(words.parse::<Fault>().is_err(), "{words}");
    }
}
