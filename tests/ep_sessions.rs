//! The EP in a real ONNX Runtime: it registers, offers the CPU, claims the reference model's graphs, and computes what
//! ONNX Runtime's CPU provider computes. Every claim is checked against the EP's own counters.

mod ep_host;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ep_host::{EP, REGISTERED_AS, Sizes, assert_close, counter, cpu_session, environment, ep_builder, ep_session};
use ort::{
    memory::DeviceType,
    session::{Session, builder::AutoDevicePolicy},
};

/// Counters are the process's: tests that run sessions take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const GRAPHS: [(&str, Sizes); 5] = [
    ("encoder_model", Sizes { batch: 1, tokens: 0, past: 0, use_cache: false }),
    ("decoder_model", Sizes { batch: 1, tokens: 4, past: 0, use_cache: false }),
    ("decoder_with_past_model", Sizes { batch: 1, tokens: 1, past: 5, use_cache: true }),
    ("decoder_model_merged", Sizes { batch: 1, tokens: 4, past: 0, use_cache: false }),
    ("decoder_model_merged", Sizes { batch: 1, tokens: 1, past: 5, use_cache: true }),
];

/// Runs a graph on both sides; gives the fused nodes and kernel calls that the EP's run counted.
fn compare(graph: &str, sizes: Sizes, options: &[(&str, &str)], least: f64) -> (u64, u64) {
    let _turn = turn();
    let mut cpu = cpu_session(graph);
    let inputs = ep_host::inputs(&cpu, sizes);
    let mut expected = ep_host::run(&mut cpu, &inputs).unwrap();
    let before = (counter("fused_nodes_executed"), counter("kernel_calls.host"));
    let mut session = ep_session(graph, options).unwrap();
    assert_eq!(before, (counter("fused_nodes_executed"), counter("kernel_calls.host")), "nothing has run yet");
    let mut got = ep_host::run(&mut session, &inputs).unwrap();
    let after = (counter("fused_nodes_executed"), counter("kernel_calls.host"));
    // The merged decoder's cached branch leaves the cross-attention caches empty: there is nothing to compare in them.
    for outputs in [&mut got, &mut expected] {
        outputs.retain(|(_, _, values)| !values.is_empty());
    }
    assert!(!expected.is_empty());
    assert_close(&got, &expected, least, &format!("{graph} {options:?}"));
    assert_eq!((counter("kernel_calls.sim"), counter("kernel_calls.npu")), (0, 0));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn the_cpu_is_offered_once_under_the_eps_own_name() {
    let devices: Vec<_> = environment().devices().filter(|device| device.ep().unwrap() == EP).collect();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].ep_vendor().unwrap(), "Undertone");
    assert_eq!(devices[0].hardware_device().ty(), DeviceType::CPU);
    assert!(environment().devices().all(|device| device.ep().unwrap() != REGISTERED_AS));
}

#[test]
fn registering_twice_is_an_error_and_no_crash() {
    let error = environment().register_ep_library(REGISTERED_AS, ep_host::library()).unwrap_err().to_string();
    assert!(error.contains(REGISTERED_AS), "{error}");
    assert_eq!(environment().devices().filter(|device| device.ep().unwrap() == EP).count(), 1);
}

/// Whoever leaves the choice to a policy gets the EP, as soon as it is registered, and the CPU provider's answers.
#[test]
fn a_policy_picks_the_ep_in_f32_and_naming_the_cpu_provider_does_not() {
    let _turn = turn();
    let mut named = cpu_session("decoder_model");
    let inputs = ep_host::inputs(&named, GRAPHS[1].1);
    let before = counter("fused_nodes_executed");
    let expected = ep_host::run(&mut named, &inputs).unwrap();
    assert_eq!(counter("fused_nodes_executed"), before);

    use AutoDevicePolicy::{Default, MaxEfficiency, MaxPerformance, MinPower, PreferCPU, PreferGPU, PreferNPU};
    let policies = [Default, PreferCPU, PreferNPU, PreferGPU, MaxPerformance, MaxEfficiency, MinPower];
    for (policy, picked) in policies.into_iter().zip(1..) {
        let mut builder = Session::builder(environment()).unwrap().with_auto_device(policy).unwrap();
        let mut session = builder.commit_from_file(ep_host::reference("decoder_model")).unwrap();
        let got = ep_host::run(&mut session, &inputs).unwrap();
        assert_eq!(counter("fused_nodes_executed"), before + picked);
        for ((name, _, got), (_, _, expected)) in got.iter().zip(&expected) {
            let error = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < 1e-4, "{name} differs by {error}");
        }
    }
}

#[test]
fn every_graph_is_claimed_whole_and_computed_right() {
    for (graph, sizes) in GRAPHS {
        for (precision, least) in [("f32", 0.999_99), ("bf16", 0.999), ("int8", 0.99)] {
            let (fused, calls) = compare(graph, sizes, &[("precision", precision)], least);
            assert_eq!(fused, 1, "{graph} {precision}");
            assert!(calls > 10, "{graph} {precision}: {calls} kernel calls");
        }
    }
}

#[test]
fn attention_and_matmul_are_claimed_alone() {
    for (graph, sizes) in GRAPHS {
        let mut fused = [0; 2];
        for (index, claim) in ["attention", "matmul"].into_iter().enumerate() {
            let (nodes, calls) = compare(graph, sizes, &[("claim", claim), ("precision", "f32")], 0.999_99);
            assert!(calls >= nodes, "{graph} {claim}: {nodes} fused nodes, {calls} kernel calls");
            fused[index] = nodes;
        }
        // Six products around each attention, and the two of the feed-forward part.
        assert!(fused[0] > 0 && fused[1] > fused[0], "{graph}: {fused:?}");
    }
}

#[test]
fn nothing_of_a_claimed_graph_is_left_to_the_cpu_provider() {
    for graph in ["encoder_model", "decoder_model", "decoder_with_past_model"] {
        let mut builder = ep_builder(&[]).unwrap().with_disable_cpu_fallback().unwrap();
        builder.commit_from_file(ep_host::reference(graph)).unwrap_or_else(|error| panic!("{graph}: {error}"));
    }
    // The same request cannot be met where the EP is told to leave nodes.
    let mut builder = ep_builder(&[("claim", "attention")]).unwrap().with_disable_cpu_fallback().unwrap();
    let error = builder.commit_from_file(ep_host::reference("decoder_model")).unwrap_err().to_string();
    assert!(error.contains("CPU"), "{error}");
}

#[test]
fn one_session_takes_other_shapes_from_run_to_run() {
    let _turn = turn();
    let mut cpu = cpu_session("decoder_with_past_model");
    let mut session = ep_session("decoder_with_past_model", &[("precision", "f32")]).unwrap();
    for (batch, past) in [(1, 1), (3, 40), (1, 200), (2, 7), (1, 1)] {
        let inputs = ep_host::inputs(&cpu, Sizes { batch, tokens: 1, past, use_cache: true });
        let expected = ep_host::run(&mut cpu, &inputs).unwrap();
        let got = ep_host::run(&mut session, &inputs).unwrap();
        assert_close(&got, &expected, 0.999_99, &format!("batch {batch}, past {past}"));
    }
}

#[test]
fn one_thread_computes_the_same_as_all() {
    let _turn = turn();
    let mut cpu = cpu_session("encoder_model");
    let inputs = ep_host::inputs(&cpu, GRAPHS[0].1);
    let expected = ep_host::run(&mut cpu, &inputs).unwrap();
    for threads in ["1", "2", "3", "64"] {
        let mut session = ep_session("encoder_model", &[("precision", "f32"), ("threads", threads)]).unwrap();
        assert_close(&ep_host::run(&mut session, &inputs).unwrap(), &expected, 0.999_99, threads);
    }
}
