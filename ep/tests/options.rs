//! The EP's options: every accepted word, and what a person reads who gives another.

use std::path::PathBuf;

use onnxruntime_ep_xdna::{
    Claim, DeviceChoice, Options, OptionsError,
    options::{Commands, Key},
};
use proptest::prelude::*;
use undertone_kernels::{
    DeviceKind, Precision,
    npu::{self, Settings, Target, sim::Mode},
};

fn parse(pairs: &[(&str, &str)]) -> Result<Options, OptionsError> {
    Options::parse(pairs.iter().copied())
}

fn error(key: &str, value: &str) -> String {
    let message = parse(&[(key, value)]).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn what_is_not_given_has_its_default() {
    let options = parse(&[("device", "auto")]).unwrap();
    assert_eq!(options, Options { sparing: true, ..Options::default() });
    assert_eq!(parse(&[("device", "auto"), ("claim", "all")]).unwrap(), Options::default());
    assert_eq!((options.device, options.precision, options.claim), (DeviceKind::Host, Precision::Int8, Claim::All));
    assert_eq!((options.threads, options.bundle_dir, options.report), (None, None, None));
}

/// As in a session whose provider was chosen by a policy.
#[test]
fn without_a_device_and_a_precision_nothing_is_rounded() {
    for pairs in [&[][..], &[("threads", "2")], &[("claim", "all"), ("report", "r.json")], &[("target", "npu1")]] {
        let options = parse(pairs).unwrap();
        assert_eq!((options.device, options.precision), (DeviceKind::Host, Precision::F32), "{pairs:?}");
    }
    for (pairs, precision) in [
        (&[("device", "host")][..], Precision::Int8),
        (&[("device", "sim")], Precision::Int8),
        (&[("precision", "int8")], Precision::Int8),
        (&[("precision", "bf16")], Precision::Bf16),
        (&[("device", "host"), ("precision", "f32")], Precision::F32),
    ] {
        assert_eq!(parse(pairs).unwrap().precision, precision, "{pairs:?}");
    }
}

#[test]
fn every_word_is_understood() {
    for (word, asked) in [("auto", DeviceChoice::Auto), ("host", DeviceChoice::Host)] {
        let options = parse(&[("device", word)]).unwrap();
        assert_eq!((options.asked, options.device), (asked, DeviceKind::Host));
    }
    for (word, precision) in [("int8", Precision::Int8), ("bf16", Precision::Bf16), ("f32", Precision::F32)] {
        assert_eq!(parse(&[("precision", word)]).unwrap().precision, precision);
    }
    for (word, claim) in [("all", Claim::All), ("attention", Claim::Attention), ("matmul", Claim::MatMul)] {
        assert_eq!(parse(&[("claim", word)]).unwrap().claim, claim);
        assert_eq!((word.parse(), claim.to_string()), (Ok(claim), word.to_owned()));
    }
    for threads in [1, 2, 4096] {
        assert_eq!(parse(&[("threads", &threads.to_string())]).unwrap().threads, Some(threads));
    }
    let options = parse(&[("bundle_dir", "some/where"), ("report", "a b.json")]).unwrap();
    assert_eq!(options.bundle_dir, Some(PathBuf::from("some/where")));
    assert_eq!(options.report, Some(PathBuf::from("a b.json")));
}

#[test]
fn a_later_pair_overrides_an_earlier_one() {
    assert_eq!(parse(&[("claim", "matmul"), ("claim", "attention")]).unwrap().claim, Claim::Attention);
    // Only the device that is asked for in the end has to exist.
    assert_eq!(parse(&[("device", "npu"), ("device", "host")]).unwrap().device, DeviceKind::Host);
}

#[test]
fn an_npu_that_is_not_there_is_an_error_that_says_what_is_missing() {
    if cfg!(feature = "xrt") {
        // Whether there is one is found when it is opened: `tests/bad_input_setup.rs` reads what is said then.
        assert_eq!(parse(&[("device", "npu")]).unwrap().device, DeviceKind::Npu);
        return;
    }
    let message = error("device", "npu");
    for word in ["no NPU can be used", "host", "sim", "auto", &npu::probe().to_string()] {
        assert!(message.contains(word), "{word}: {message}");
    }
}

#[test]
fn a_simulated_npu_is_chosen_in_words() {
    let sim = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = [("device", "sim")].iter().chain(pairs).copied().collect();
        let options = parse(&pairs).unwrap();
        assert_eq!((options.asked, options.device), (DeviceChoice::Sim, DeviceKind::Sim));
        options.npu_settings()
    };
    assert_eq!(sim(&[]), Settings { target: Target::Npu4, ..Settings::default() });
    assert_eq!((Settings::default().mode, Settings::default().commands), (Mode::Fast, Commands::Lists));
    assert_eq!(sim(&[("target", "npu1"), ("sim", "exact")]).target, Target::Npu1);
    assert_eq!(sim(&[("sim", "exact")]).mode, Mode::Exact);
    assert_eq!(sim(&[("npu_commands", "single")]).commands, Commands::Single);
    // The simulator needs no bundles; it says whether there are.
    assert_eq!(sim(&[("bundle_dir", "some/where")]).bundle_dir.unwrap(), std::path::Path::new("some/where"));
}

#[test]
fn measured_costs_are_read_from_a_report_of_this_npu() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/core_costs.json");
    let named = |text: &str, target: &str| {
        std::fs::write(file, text).unwrap();
        parse(&[("device", "sim"), ("target", target), ("core_costs", file)])
    };
    let report = r#"{"core_costs": {"target": "npu1", "product": 1.5}}"#;
    let settings = named(report, "npu1").unwrap().npu_settings();
    assert_eq!(settings.core_costs.unwrap().product, Some(1.5));
    let message = named(report, "npu4").unwrap_err().to_string();
    assert!(message.contains("measured on npu1, and this NPU is npu4"), "{message}");
    let message = named("{}", "npu1").unwrap_err().to_string();
    assert!(message.contains("EP option core_costs: cannot use") && message.contains("core_costs"), "{message}");
    let message = parse(&[("core_costs", "there/is/none")]).unwrap_err().to_string();
    assert!(message.contains("there/is/none"), "{message}");
}

#[test]
fn an_npu_has_no_f32() {
    let message = parse(&[("device", "sim"), ("precision", "f32")]).unwrap_err().to_string();
    for word in ["precision=\"f32\"", "device=\"sim\"", "int8", "bf16", "host"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(parse(&[("device", "auto"), ("precision", "f32")]).unwrap().device, DeviceKind::Host);
}

#[test]
fn other_values_are_errors_that_name_the_accepted_ones() {
    for (key, value, accepted) in [
        ("device", "gpu", "auto, host, sim, npu"),
        ("device", "HOST", "auto, host, sim, npu"),
        ("device", "", "auto, host, sim, npu"),
        ("precision", "fp16", "int8, bf16, f32"),
        ("claim", "everything", "all, attention, matmul"),
        ("target", "npu2", "npu1, npu4"),
        ("sim", "slow", "fast, exact"),
        ("threads", "0", "from 1 to 4096"),
        ("threads", "4097", "from 1 to 4096"),
        ("threads", "-1", "from 1 to 4096"),
        ("threads", "two", "from 1 to 4096"),
        ("threads", "99999999999999999999999", "from 1 to 4096"),
        ("report", "", "a path"),
        ("trace", "", "a path"),
        ("bundle_dir", "", "a path"),
        ("core_costs", "", "a path"),
    ] {
        let message = error(key, value);
        assert!(message.contains(&format!("{key}=\"{value}\"")) && message.contains(accepted), "{message}");
    }
}

#[test]
fn other_keys_are_errors_that_name_the_options() {
    for key in ["devices", "Device", "", "device "] {
        let message = error(key, "host");
        assert!(message.contains(&format!("\"{key}\"")), "{message}");
        assert!(Key::ALL.iter().all(|known| message.contains(known.word())), "{message}");
    }
}

proptest! {
    #[test]
    fn no_pair_of_strings_panics_or_is_ignored(key in ".{0,12}", value in ".{0,12}") {
        match parse(&[(&key, &value)]) {
            Ok(_) => prop_assert!(key.parse::<Key>().is_ok()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn every_number_of_threads_in_range_is_taken(threads in 1_usize..=4096) {
        prop_assert_eq!(parse(&[("threads", &threads.to_string())]).unwrap().threads, Some(threads));
    }
}
