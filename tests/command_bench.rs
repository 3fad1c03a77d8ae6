//! What measures, from the outside: `undertone bench` (limits, kernels, the decoder's step, long audio, the roofline
//! figure) and `undertone partition --compare`. Speed is printed, never asserted.

use serde_json::Value;

mod common;

/// A quick run of `bench` with `arguments` on the reference model.
fn bench(arguments: &[&str]) -> Value {
    let mut command = common::undertone();
    command.args(["bench", "--runs", "1", "--json"]).args(arguments);
    common::json_of(&mut command)
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite())
}

#[test]
fn kernels_stand_beside_limits_of_the_same_run_and_in_a_figure() {
    let directory = tempfile::tempdir().unwrap();
    let figure = directory.path().join("roofline.svg");
    let svg = figure.to_str().unwrap();
    let answer =
        bench(&["--devices", "host", "--tokens", "100", "--batch", "3", "--threads", "1", "--roofline", "--svg", svg]);
    assert_eq!(answer["threads"], 1);
    for key in ["int8_gops", "bf16_gflops", "f32_gflops"] {
        let peak = &answer["limits"][key];
        assert!(peak.is_null() || positive(peak), "{key}: {peak}");
    }
    assert!(positive(&answer["limits"]["read_gbps"]));

    let kernels = answer["kernels"].as_array().unwrap();
    for kernel in kernels {
        assert!(["name", "shape", "precision"].iter().all(|key| kernel[key].is_string()), "{kernel}");
        assert!(positive(&kernel["ms"]), "{kernel}");
        assert!(kernel["share_of_limit"].is_null() || positive(&kernel["share_of_limit"]), "{kernel}");
    }
    let has = |shape: &str, precision: &str| {
        kernels.iter().any(|kernel| kernel["shape"] == shape && kernel["precision"] == precision)
    };
    // The standard ones, the reference model's own (width 192, 3 heads), and the decoder's for a batch.
    for precision in ["int8", "bf16", "f32"] {
        for shape in ["1500x512x2048", "8x1500x1500x64", "1500x192x768", "1x192x768", "3x192x768", "3x1x97x64"] {
            assert!(has(shape, precision), "{shape} {precision}");
        }
    }
    assert_eq!(answer["batched_products"].as_array().unwrap().len(), 3);

    let step = &answer["results"][0]["step"];
    assert_eq!(step["cached"], 96);
    assert!(positive(&step["ms"]) && positive(&step["profile"]["overhead_us"]), "{step}");
    let parts = step["profile"]["parts"].as_array().unwrap();
    let bytes: u64 = parts.iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    assert_eq!(step["profile"]["bytes"], bytes);
    // At least the last linear layer's weights in int8: the width by the vocabulary.
    assert!(bytes > 192 * 51_865, "{bytes}");
    assert!(parts.iter().any(|part| part["kind"] == "attention"), "{parts:?}");

    let text = std::fs::read_to_string(&figure).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    assert_eq!(text.matches("<circle").count(), kernels.len());
}

#[test]
fn long_audio_goes_through_in_batches() {
    let arguments = ["--tokens", "8", "--audio-seconds", "65", "--batch", "2", "--without-cache", "--no-kernels"];
    let answer = bench(&arguments);
    assert!(answer.get("kernels").is_none() && answer.get("limits").is_none());
    for (device, long) in ["cpu", "host"].iter().zip(answer["long_audio"].as_array().unwrap()) {
        assert_eq!(long["device"], *device);
        assert_eq!((&long["windows"], &long["batch"], &long["tokens"]), (&3.into(), &2.into(), &8.into()));
        for key in ["mel_ms", "encoder_ms", "decoder_ms", "realtime_factor"] {
            assert!(positive(&long[key]), "{key}: {long}");
        }
    }
    for gain in answer["cache_gain"].as_array().unwrap() {
        let ratio = gain["without_ms"].as_f64().unwrap() / gain["with_ms"].as_f64().unwrap();
        assert!((gain["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9, "{gain}");
    }
}

#[test]
fn starts_are_those_of_fresh_processes() {
    let answer = bench(&["--devices", "host", "--tokens", "2", "--start-up", "--no-kernels"]);
    let start = &answer["start_up"][0];
    assert_eq!(start["device"], "host");
    assert!(positive(&start["first_seconds"]) && positive(&start["second_seconds"]), "{start}");
    // At least the last linear layer's weights in int8: the width by the vocabulary.
    assert!(start["weight_bytes"].as_u64().unwrap() > 192 * 51_865, "{start}");
    if cfg!(target_os = "linux") {
        let (peak, private) = (start["peak_bytes"].as_u64().unwrap(), start["private_bytes"].as_u64().unwrap());
        assert!(peak > private && private > 0, "{start}");
    }
}

#[test]
fn what_cannot_be_measured_is_an_error_in_one_line() {
    let failed = |arguments: &[&str]| {
        let output = common::undertone().arg("bench").args(arguments).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let only_cpu = failed(&["--devices", "cpu", "--runs", "1", "--tokens", "1", "--roofline", "--svg", "roofline.svg"]);
    assert!(only_cpu.starts_with("error: there is nothing to draw") && only_cpu.lines().count() == 1, "{only_cpu}");
    for wrong in [&["--audio-seconds", "0"][..], &["--batch", "0"], &["--svg", "x.svg"], &["--roofline"]] {
        assert!(failed(wrong).contains("error: "), "{wrong:?}");
    }
}

/// `partition MODEL --compare LIST --format json`.
fn compared(model: &std::path::Path, list: &str, more: &[&str]) -> Value {
    let mut command = common::undertone();
    command.arg("partition").arg(model).args(["--compare", list, "--runs", "2", "--format", "json"]).args(more);
    common::json_of(&mut command)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key}: {value}"))
}

fn sum(values: &[Value], of: impl Fn(&Value) -> &Value) -> f64 {
    values.iter().filter_map(|value| of(value).as_f64()).sum()
}

/// What holds of every run of every graph.
fn adds_up(graph: &Value, run: &Value) {
    let id = format!("{} {}", graph["name"], run["configuration"]);
    assert!(run["failed"].is_null(), "{id}: {}", run["failed"]);
    let (operators, spans) = (list(run, "operators"), list(&run["timeline"], "spans"));
    let (whole, nodes) = (run["timeline"]["ms"].as_f64().unwrap(), list(graph, "nodes").len());
    assert!(sum(spans, |span| &span["ms"]) <= whole * (1.0 + 1e-9) + 1e-6, "{id}: longer than the run");
    assert!(
        !operators.is_empty()
            && spans.iter().all(|span| (span["operator"].as_u64().unwrap() as usize) < operators.len())
    );
    let simulated = run["configuration"].as_str().unwrap().starts_with("sim");
    for (at, operator) in operators.iter().enumerate() {
        let on_npu = operator["place"] == "sim";
        assert_eq!(operator["time"]["predicted_ms"].is_number(), on_npu, "{id}: {operator}");
        assert!(operator["time"]["measured_ms"].is_number() && (!on_npu || simulated), "{id}: {operator}");
        assert_eq!(operator["part"].is_null(), operator["place"] == "cpu provider", "{id}: {operator}");
        for node in list(operator, "nodes") {
            let by = &run["carried_out_by"][node.as_u64().unwrap() as usize];
            assert!(by.as_u64().is_some_and(|by| by as usize <= at), "{id}: {by} {operator}");
        }
    }
    assert_eq!(list(run, "carried_out_by").len(), nodes);
    let gflop = sum(operators, |operator| &operator["gflop"]);
    assert!((gflop - run["totals"]["gflop"].as_f64().unwrap()).abs() <= 1e-6 * gflop.max(1.0), "{id}");
    for (at, part) in list(run, "parts").iter().enumerate() {
        let within: Vec<Value> = operators.iter().filter(|operator| operator["part"] == at).cloned().collect();
        let inside = sum(&within, |operator| &operator["time"]["measured_ms"]);
        assert!(inside <= part["time"]["measured_ms"].as_f64().unwrap() + 1e-6, "{id}: steps longer than their node");
        assert!((sum(&within, |o| &o["gflop"]) - part["gflop"].as_f64().unwrap()).abs() < 1e-6, "{id}");
    }
    // The CPU provider beside itself, and f32 beside it.
    for tensor in list(&run["accuracy"], "outputs").iter().chain(list(&run["accuracy"], "inner")) {
        let off = tensor["relative_l2"].as_f64().unwrap_or_else(|| panic!("{id}: {tensor}"));
        match run["configuration"].as_str().unwrap() {
            "cpu" => assert_eq!((off, &tensor["cosine"]), (0.0, &1.0.into()), "{id}: {tensor}"),
            "host:f32" => assert!(off < 1e-4, "{id}: {tensor}"),
            _ => assert!(off < 0.2, "{id}: {tensor}"),
        }
    }
}

#[test]
fn a_comparison_adds_up() {
    let sound = common::root().join("speech/short/000-en.flac");
    let sound = sound.to_str().unwrap();
    let answer = compared(&common::reference(), "cpu,host:int8,host:f32,sim:npu1", &["--audio", sound]);
    let ids: Vec<&str> = list(&answer, "configurations").iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["cpu", "host:int8", "host:f32", "sim:npu1:int8"]);
    assert_eq!((&answer["format"], &answer["input"]["kind"]), (&"undertone-comparison".into(), &"audio".into()));
    for graph in list(&answer, "graphs") {
        list(graph, "runs").iter().for_each(|run| adds_up(graph, run));
        assert_eq!(list(graph, "layers").len(), 3, "{}", graph["name"]);
        assert!(list(graph, "inputs").iter().all(|input| !input["source"].as_str().unwrap().starts_with("generated")));
    }

    // The encoder's work, from the model's sizes: two convolutions, and in each layer q, k, v, out, attention, fc1, fc2.
    let encoder = &answer["graphs"][0];
    let (rows, width, bins, layers) = (1500.0, 192.0, 80.0, 3.0);
    let convolutions = 2.0 * width * 3.0 * (2.0 * rows * bins + rows * width);
    let layer = 2.0 * rows * width * width * 12.0 + 4.0 * rows * rows * width;
    let work = (convolutions + layers * layer) / 1e9;
    for run in list(encoder, "runs") {
        let found = run["totals"]["gflop"].as_f64().unwrap();
        assert!((found / work - 1.0).abs() < 1e-3, "{}: {found} GFLOP, not {work}", run["configuration"]);
    }
    let [cpu, int8, f32, sim] = list(encoder, "runs") else { panic!("four") };
    // What computes is carried out by something; shapes and constants may be folded.
    let folded = ["Cast", "Concat", "Constant", "Gather", "Mul", "Shape", "Unsqueeze"];
    for run in [cpu, int8, f32, sim] {
        for (node, by) in list(encoder, "nodes").iter().zip(list(run, "carried_out_by")) {
            assert!(by.is_number() || folded.contains(&node["op_type"].as_str().unwrap()), "{node}");
        }
    }
    // Two tensors behind convolutions, and two in each layer; int8 is farther off than f32.
    for run in [int8, f32, sim] {
        assert_eq!(list(&run["accuracy"], "inner").len(), 8, "{}", run["accuracy"]["inner"]);
    }
    let off = |run: &Value| run["accuracy"]["outputs"][0]["relative_l2"].as_f64().unwrap();
    assert!(off(int8) > 10.0 * off(f32), "{} {}", off(int8), off(f32));
    let predicted = sum(list(sim, "operators"), |operator| &operator["time"]["predicted_ms"]);
    assert!((sim["totals"]["time"]["predicted_ms"].as_f64().unwrap() - predicted).abs() < 1e-9, "{predicted}");
    assert!(sim["totals"]["gflop_npu"].as_f64().unwrap() > 0.5 * work && cpu["totals"]["bytes_in"] == 0);
    // Features in, hidden states out.
    assert_eq!((&int8["totals"]["bytes_in"], &int8["totals"]["bytes_out"]), (&960_000.into(), &1_152_000.into()));

    // A decoder's step with a cache that a real sequence has filled.
    let step = list(&answer, "graphs").iter().find(|graph| graph["name"] == "decoder_with_past_model").unwrap();
    let past = list(step, "inputs").iter().find(|input| input["name"] == "past_key_values.0.decoder.key").unwrap();
    assert!(past["shape"][2].as_u64().unwrap() > 4, "{past}");
    let transcripts = list(&answer, "transcripts");
    assert_eq!(transcripts.len(), 4);
    assert_eq!((&transcripts[0]["errors"], &transcripts[2]["errors"]), (&0.into(), &0.into()), "{transcripts:?}");
    assert!(transcripts.iter().all(|one| !one["text"].as_str().unwrap().is_empty()), "{transcripts:?}");
}

#[test]
fn graphs_that_are_no_whisper_are_compared_too() {
    let model = common::root().join("runner/assets/silero-vad/silero_vad.onnx");
    let answer = compared(&model, "cpu,host:f32", &["--claim", "all"]);
    assert_eq!((&answer["input"]["kind"], list(&answer, "transcripts").len()), (&"generated".into(), 0));
    let graph = &answer["graphs"][0];
    list(graph, "runs").iter().for_each(|run| adds_up(graph, run));
    // The same again is the same: what is made up has a seed.
    let again = compared(&model, "cpu", &[]);
    assert_eq!(again["graphs"][0]["inputs"], graph["inputs"]);

    let error = |arguments: &[&str]| {
        let mut command = common::undertone();
        command.arg("partition").arg(&model).args(arguments);
        let output = common::run(&mut command);
        assert!(!output.status.success());
        common::text(&output.stderr)
    };
    assert!(error(&["--compare", "gpu"]).contains("'gpu' is none of cpu, host, sim, npu"));
    assert!(error(&["--compare", "cpu,cpu"]).contains("names cpu twice"));
    assert!(error(&["--compare", "cpu", "--inputs", "none.npz"]).contains("none.npz"));
    assert!(error(&["--compare", "cpu", "--device", "host"]).contains("named in --compare alone"));
    let table = common::stdout_of(common::undertone().arg("partition").arg(&model).args(["--compare", "cpu,host"]));
    assert!(table.contains("whole run") && table.lines().all(|line| line.chars().count() <= 100), "{table}");
}
