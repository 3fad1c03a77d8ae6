//! `undertone npu plan`: kernels, bundles and predictions for a model, without an NPU.

mod common;

use serde_json::Value;

fn plan(arguments: &[&str]) -> String {
    common::stdout_of(common::undertone().args(["npu", "plan"]).args(arguments))
}

fn answer(arguments: &[&str]) -> Value {
    serde_json::from_str(&plan(&[arguments, &["--json", "--no-measure"]].concat())).unwrap()
}

#[test]
fn the_encoder_s_kernels_are_planned_for_both_npus() {
    for (target, operators) in
        [("npu1", ["attention_int8", "linear_int8"]), ("npu4", ["attention_bf16", "linear_bf16"])]
    {
        let precision = operators[0].rsplit('_').next().unwrap();
        // So small a model's kernels stay with a fast host: this NPU takes no time but for its products.
        let costs = tempfile::NamedTempFile::new().unwrap();
        let none = ["dispatch", "listed", "product", "mac", "add", "compare", "convert"].map(|cost| (cost, 1e-9));
        let mut object: serde_json::Map<_, _> =
            none.into_iter().chain([("memory", 1e13)]).map(|(cost, value)| (cost.to_owned(), value.into())).collect();
        object.insert("target".into(), target.into());
        serde_json::to_writer(&costs, &object).unwrap();
        let costs = costs.path().to_str().unwrap();
        let answer = answer(&["--target", target, "--precision", precision, "--core-costs", costs]);
        assert_eq!((&answer["target"], &answer["precision"]), (&target.into(), &precision.into()));
        let planned = answer["npu"]["operators"].as_object().unwrap();
        assert_eq!(planned.keys().collect::<Vec<_>>(), operators);
        // Three layers of width 192: four projections and two of the MLP each, and two convolutions.
        let linear = &planned[operators[1]];
        assert_eq!(linear["calls"], 3 * 6 + 2);
        assert_eq!(linear["problems"]["1500×192×768"]["calls"], 3);
        assert_eq!(planned[operators[0]]["problems"]["3 heads, 1500×1500"]["calls"], 3);
        let number = |value: &Value| value.as_f64().unwrap();
        let parts: f64 = planned.values().map(|operator| number(&operator["predicted_seconds"]) * 1e3).sum();
        let whole = number(&answer["predicted_ms"]);
        let measured = number(&answer["packing_ms"]) + number(&answer["host_ms"]);
        assert!(parts > 0.0 && (parts + measured - whole).abs() < 1e-6 * whole, "{answer}");
        assert!((number(&answer["predicted_realtime_factor"]) - 30_000.0 / whole).abs() < 1e-3, "{answer}");
        assert_eq!(answer["measured_host_ms"], Value::Null);
        let utilisation = linear["utilisation"].as_array().unwrap();
        assert_eq!(utilisation.len(), if target == "npu1" { 16 } else { 32 });
        assert!(utilisation.iter().all(|core| (0.0..1.0).contains(&number(core))), "{utilisation:?}");
    }
}

#[test]
fn what_is_predicted_is_called_so_and_missing_bundles_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let text = plan(&["--target", "npu4", "--bundle-dir", folder]);
    for words in [
        "Nothing ran on an NPU",
        "predicted ms",
        "tiles 48×64×64: missing",
        &format!("kernels/aie/build.sh --target npu4 --kernels int8 --tile 48,64,64 --out {folder}"),
        "this CPU alone, measured",
        "times real time (encoder only)",
        "times real time (encoder only, device host)",
        "single tokens stay on the CPU",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
}

#[test]
fn what_cannot_be_planned_is_an_error_in_words() {
    let failed = |arguments: &[&str]| {
        let output = common::run(common::undertone().args(["npu", "plan"]).args(arguments));
        (output.status.code(), common::text(&output.stderr))
    };
    let (code, error) = failed(&["--target", "npu1", "no/such/model"]);
    assert!(code == Some(1) && error.contains("error:") && error.contains("no/such/model"), "{error}");
    let (code, error) = failed(&["--target", "npu4", "-p", "f32"]);
    assert!(code == Some(1) && error.starts_with("error: --precision f32: "), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("npu.json");
    let report = report.to_str().unwrap();
    for (text, words) in [
        (r#"{"device": "sim", "rungs": []}"#, "this report measured no costs: rungs 2 and 4"),
        (r#"{"core_costs": {"target": "npu4", "gelus": 1}}"#, "core_costs: unknown field `gelus`"),
        (r#"{"core_costs": {"target": "npu1"}}"#, "measured on npu1, and this NPU is npu4"),
    ] {
        std::fs::write(report, text).unwrap();
        let (code, error) = failed(&["--target", "npu4", "--core-costs", report]);
        let named = format!("error: --core-costs {report}: ");
        assert!(code == Some(1) && error.starts_with(&named) && error.contains(words), "{error}");
    }
    let (code, error) = failed(&[]);
    assert!(code == Some(2) && error.contains("--target"), "{error}");
}
