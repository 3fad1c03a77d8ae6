//! Plans as a whole: shapes that change from run to run, runs at the same moment, bad operands, fp16 at the border,
//! weights shared between plans.

use undertone_kernels::{Counters, DeviceKind, Serial};

use super::Plan;
use crate::{
    error::RunError,
    graph::{Attribute, DataType, Graph},
    memory::{Input, Outputs, Shared, Store},
    options::Options,
    testing::{Builder, exact, floats, fused, integers, noise, run},
};

const F: DataType = DataType::F32;

/// `Concat(past, x · w) → Reshape(…, [-1, 2]) → Slice(from 1)`: a cache in small.
fn cache_graph() -> Graph<'static> {
    Builder::default()
        .input("past", F, &[1, 0, 4])
        .input("x", F, &[1, 1, 4])
        .constant("w", &[4, 4], &noise(16, 1))
        .integers("flat", &[-1, 2])
        .integers("from", &[1])
        .integers("to", &[i64::MAX])
        .integers("axes", &[0])
        .node("MatMul", &["x", "w"], "new")
        .node_of("Concat", &["past", "new"], &[("present", F)], &[("axis", Attribute::Int(-2))])
        .node("Reshape", &["present", "flat"], "pairs")
        .node("Slice", &["pairs", "from", "to", "axes"], "tail")
        .build(&["present", "tail"])
}

#[test]
fn a_cache_grows_from_run_to_run() {
    let graph = cache_graph();
    let plan = fused(&graph, &exact());
    let mut past: Vec<f32> = Vec::new();
    for length in 0..5 {
        let x = noise(4, length as u64 + 10);
        let made =
            run(&plan, &graph, &[floats(&[1, length, 4], &past), floats(&[1, 1, 4], &x)], 1 << 10).expect("a run");
        assert_eq!((made[0].shape.clone(), made[1].shape.clone()), (vec![1, length + 1, 4], vec![2 * length + 1, 2]));
        let present = made[0].floats();
        assert_eq!(present[..length * 4], past[..]);
        assert_eq!(made[1].floats(), present[2..]);
        past = present;
    }
}

#[test]
fn runs_are_small_until_one_of_their_size_was_not() {
    let graph = Builder::default()
        .input("x", F, &[0, 64])
        .constant("w", &[64, 64], &noise(64 * 64, 1))
        .node("MatMul", &["x", "w"], "a")
        .node("Abs", &["a"], "y")
        .build(&["y"]);
    let plan = fused(&graph, &exact());
    let values = noise(1000 * 64, 2);
    let shapes = [1, 30, 1000].map(|rows| [rows, 64]);
    let [one, some, many] = shapes.each_ref().map(|shape| [floats(shape, &values[..shape[0] * 64])]);
    let small = || [&one, &some, &many].map(|inputs| plan.is_small(inputs));
    assert_eq!(small(), [false, false, false], "nothing is known");
    for (inputs, found) in [
        (&one, [true, false, false]),
        (&many, [true, false, false]),
        (&some, [true, true, false]),
        (&one, [true, true, false]),
    ] {
        run(&plan, &graph, inputs, 1 << 20).expect("a run");
        assert_eq!(small(), found);
    }
}

#[test]
fn runs_at_the_same_moment_do_not_disturb_each_other() {
    let graph = cache_graph();
    let plan = fused(&graph, &exact());
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (plan, graph) = (&plan, &graph);
            scope.spawn(move || {
                let length = thread as usize * 3;
                let (past, x) = (noise(length * 4, thread + 1), noise(4, thread + 20));
                let shape = [1, length, 4];
                let inputs = [floats(&shape, &past), floats(&[1, 1, 4], &x)];
                let first = run(plan, graph, &inputs, 1 << 12).expect("a run")[0].floats();
                for _ in 0..200 {
                    assert_eq!(run(plan, graph, &inputs, 1 << 12).expect("a run")[0].floats(), first);
                }
            });
        }
    });
}

#[test]
fn operands_that_do_not_fit_are_errors_that_name_the_step() {
    let graph = cache_graph();
    let plan = fused(&graph, &exact());
    let (past, x) = (noise(8, 1), noise(6, 2));
    let fails = |inputs: &[Input<'_>]| match run(&plan, &graph, inputs, 1 << 10) {
        Ok(_) => panic!("it ran"),
        Err(error) => error.to_string(),
    };
    assert!(fails(&[floats(&[1, 2, 4], &past), floats(&[1, 1, 6], &x)]).contains("MatMul_0"));
    assert!(fails(&[floats(&[1, 4, 2], &past), floats(&[1, 1, 4], &x[..4])]).contains("Concat_1"));
    assert!(fails(&[floats(&[1, 2, 4], &past)]).starts_with("input 1"));
    let wrong = Input { dtype: DataType::I64, shape: &[1, 1, 4], bytes: bytemuck::cast_slice(&past) };
    assert!(fails(&[floats(&[1, 2, 4], &past), wrong]).starts_with("input 1"));
    // The operands are to blame, and whoever chose them is told so.
    let refused = run(&plan, &graph, &[floats(&[1, 2, 4], &past), floats(&[1, 1, 6], &x)], 1 << 10);
    assert!(matches!(refused, Err(RunError::Step { .. })));
    let without_room = run(&plan, &graph, &[floats(&[1, 2, 4], &past), floats(&[1, 1, 4], &x[..4])], 8);
    assert!(matches!(without_room, Err(RunError::Failed { .. })), "memory is no matter of operands");
    // A failed run leaves the plan fit for the next.
    assert!(run(&plan, &graph, &[floats(&[1, 2, 4], &past), floats(&[1, 1, 4], &x[..4])], 1 << 10).is_ok());
}

/// An allocation that fails would end the process. What the sizes ask for is the program's doing.
#[test]
fn results_larger_than_memory_are_errors() {
    let graph = Builder::default()
        .input("x", F, &[1])
        .input("sizes", DataType::I64, &[2])
        .node("Expand", &["x", "sizes"], "large")
        .node("Neg", &["large"], "y")
        .build(&["y"]);
    let plan = fused(&graph, &exact());
    let of = |sizes: [i64; 2]| run(&plan, &graph, &[floats(&[1], &[2.0]), integers(&[2], &sizes)], 1 << 10);
    for sizes in [[1 << 40, 1 << 20], [1 << 32, 1 << 32], [i64::MAX, i64::MAX], [1 << 62, 4]] {
        let refused = of(sizes);
        assert!(matches!(refused, Err(RunError::Step { .. })), "{sizes:?}");
        assert!(refused.err().unwrap().to_string().contains("larger than memory"));
    }
    assert_eq!(of([3, 0]).unwrap()[0].shape, [3, 0]);
    assert_eq!(of([2, 2]).unwrap()[0].floats(), [-2.0; 4]);
}

#[test]
fn fp16_is_computed_in_fp32_and_converted_at_the_border() {
    let graph = Builder::default()
        .input("x", DataType::F16, &[2, 2])
        .bytes("half", DataType::F16, &[], &half::f16::from_f32(0.5).to_bits().to_ne_bytes())
        .node_of("Mul", &["x", "half"], &[("y", DataType::F16)], &[])
        .build(&["y"]);
    let x: Vec<u16> = [1.0f32, -3.0, 65504.0, 1e-7].iter().map(|v| half::f16::from_f32(*v).to_bits()).collect();
    let input = Input { dtype: DataType::F16, shape: &[2, 2], bytes: bytemuck::cast_slice(&x) };
    let made = run(&fused(&graph, &exact()), &graph, &[input], 64).expect("a run");
    let y: Vec<f32> = made[0].bytes.chunks(2).map(|b| half::f16::from_ne_bytes([b[0], b[1]]).to_f32()).collect();
    assert_eq!(y, [0.5, -1.5, 32752.0, half::f16::from_f32(half::f16::from_f32(1e-7).to_f32() * 0.5).to_f32()]);
}

#[test]
fn equal_weights_are_packed_once() {
    let graph = |name: &str| {
        Builder::default()
            .input("x", F, &[1, 64])
            .constant(name, &[64, 300], &noise(64 * 300, 7))
            .node("MatMul", &["x", name], "y")
            .build(&["y"])
    };
    let shared = Shared::default();
    let (a, b) = (graph("first"), graph("second"));
    let options = Options::default();
    let plans = [&a, &b].map(|graph| Plan::build(graph, &options, &Store::new(&shared)).expect("a plan"));
    assert_eq!(shared.packed_linears(), 1);
    drop(plans);
    let _other = Plan::build(&a, &exact(), &Store::new(&shared)).expect("a plan");
    assert_eq!(shared.packed_linears(), 1, "the int8 form went with its plans; the f32 form is another");
}

#[test]
fn kernels_are_counted_where_they_ran() {
    struct Nowhere;
    impl<'io> Outputs<'io> for Nowhere {
        fn output(&mut self, _: usize, _: &[usize]) -> Result<&'io mut [u8], RunError> {
            Err(RunError::Runtime("no memory".into()))
        }
    }
    let graph = cache_graph();
    let plan = fused(&graph, &exact());
    let counters = Counters::new();
    let (past, x) = (noise(4, 1), noise(4, 2));
    let inputs = [floats(&[1, 1, 4], &past), floats(&[1, 1, 4], &x)];
    assert!(plan.run(&inputs, &mut Nowhere, &Serial, &counters, None, None).is_err());
    assert_eq!(counters.calls(DeviceKind::Host), 1, "the product ran, then there was no memory for an output");
}

#[test]
fn a_profile_tells_the_steps_and_what_they_read() {
    // Sizes that no other test has: the profile is of the whole process.
    let (inputs, outputs) = (37, 53);
    let graph = Builder::default()
        .input("x", F, &[1, 0, inputs])
        .constant("w", &[inputs, outputs], &noise(inputs * outputs, 1))
        .node("MatMul", &["x", "w"], "y")
        .build(&["y"]);
    let plan = fused(&graph, &exact());
    let go = |rows: usize| {
        run(&plan, &graph, &[floats(&[1, rows, inputs], &noise(rows * inputs, 2))], 1 << 12).expect("a run");
    };
    go(2);
    super::profile::start();
    go(3);
    go(3);
    let profile = super::profile::end().expect("it was asked for");
    let of_this = |event: &&undertone_boundary::profile::Event| event.shape == "3x37x53";
    let events: Vec<_> = profile.events.iter().filter(of_this).collect();
    assert_eq!(events.len(), 2, "{:?}", profile.events);
    assert!(events[0].start + events[0].nanoseconds <= events[1].start, "{events:?}");
    let event = events[1];
    assert_eq!((event.device.as_str(), event.precision.as_str(), event.npu), ("host", "f32", None));
    assert_eq!((&event.kinds[..], event.nodes.len()), (&["linear".to_owned()][..], 1));
    assert_eq!(event.flops, 2.0 * 3.0 * (inputs * outputs) as f64);
    assert_eq!((event.bytes_in, event.bytes_out), (4 * 3 * inputs as u64, 4 * 3 * outputs as u64));
    let profile = serde_json::to_value(profile).unwrap();
    go(5);
    assert!(super::profile::end().is_none());
    let steps: Vec<_> = profile["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["shape"].as_str().unwrap().ends_with("x37x53"))
        .collect();
    assert_eq!(steps.len(), 1, "{profile}");
    let step = steps[0];
    assert_eq!((&step["shape"], &step["kind"], &step["kernel"]), (&"3x37x53".into(), &"linear".into(), &true.into()));
    assert_eq!(step["calls"], 2);
    let bytes = step["bytes"].as_u64().unwrap();
    assert!(bytes >= 2 * 4 * (inputs * outputs) as u64, "{bytes}");
    assert!(step["nanoseconds"].as_u64().unwrap() <= profile["nanoseconds"].as_u64().unwrap());
    assert!(profile["runs"].as_u64().unwrap() >= 2);
}
