//! EP options through a real ONNX Runtime: what cannot be followed fails the session with the EP's own words, and a
//! report is written.

mod ep_host;

use ep_host::ep_session;

fn error(options: &[(&str, &str)]) -> String {
    match ep_session("encoder_model", options) {
        Ok(_) => panic!("{options:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_unknown_option_names_the_known_ones() {
    let error = error(&[("quantise", "yes")]);
    assert!(error.contains("unknown EP option \"quantise\""), "{error}");
    assert!(
        error.contains("device, target, sim, bundle_dir, core_costs, precision, claim, threads, report"),
        "{error}"
    );
}

#[test]
fn an_unknown_value_names_the_accepted_ones() {
    let error = error(&[("precision", "int4")]);
    assert!(error.contains("precision=\"int4\": use int8, bf16, f32"), "{error}");
}

#[test]
fn an_npu_that_is_not_there_fails_the_session() {
    let error = error(&[("device", "npu")]);
    assert!(error.contains("no NPU can be used") && error.contains("\"auto\""), "{error}");
}

#[test]
fn a_report_that_cannot_be_written_fails_the_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("report.json");
    let error = error(&[("report", path.to_str().unwrap())]);
    assert!(error.contains("EP option report: cannot write") && error.contains(path.to_str().unwrap()), "{error}");
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
