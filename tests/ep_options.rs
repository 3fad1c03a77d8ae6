//! EP options through a real ONNX Runtime: what cannot be followed fails the session with the EP's own words, and a
//! report is written.

mod ep_host;

use ep_host::ep_session;

#[test]
fn options_that_cannot_be_followed_fail_the_session_and_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("missing").join("report.json");
    let nowhere = nowhere.to_str().unwrap();
    let known = "device, target, sim, bundle_dir, precision, claim, threads, report";
    for (option, words) in [
        (("quantise", "yes"), &["unknown EP option \"quantise\"", known][..]),
        (("precision", "int4"), &["precision=\"int4\": use int8, bf16, f32"]),
        (("device", "npu"), &["no NPU can be used", "\"auto\""]),
        (("report", nowhere), &["EP option report: cannot write", nowhere]),
    ] {
        let Err(error) = ep_session("encoder_model", &[option]) else { panic!("{option:?} is accepted") };
        let error = error.to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{option:?}: {error}");
    }
}

#[test]
fn the_report_lists_every_graph_of_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a report.json");
    ep_session("decoder_model_merged", &[("report", path.to_str().unwrap()), ("precision", "bf16")]).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((&report["ep"], &report["precision"]), (&"XdnaExecutionProvider".into(), &"bf16".into()));
    let graphs = report["graphs"].as_array().unwrap();
    let within: Vec<_> = graphs.iter().map(|graph| graph["within"].as_str().unwrap()).collect();
    assert_eq!(within, ["optimum::if.else_branch", "optimum::if.then_branch", ""]);
    for graph in graphs {
        let (nodes, claimed) = (graph["nodes"].as_u64().unwrap(), graph["claimed"].as_u64().unwrap());
        let unclaimed = graph["unclaimed"].as_array().unwrap();
        assert_eq!(nodes, claimed + unclaimed.len() as u64);
        assert!(unclaimed.iter().all(|node| !node["reason"].as_str().unwrap().is_empty()));
    }
    // All that is left is the If itself, which ONNX Runtime runs.
    assert_eq!(graphs[2]["unclaimed"][0]["op_type"], "If");
    assert_eq!(directory.path().read_dir().unwrap().count(), 1, "no unfinished file is left");
}
