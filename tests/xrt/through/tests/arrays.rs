//! Our own device on the real XRT, down to the pretended NPU: its results are the simulated device's, bit by bit, for
//! shapes that fit no tile; its faults are errors; its designs are not believed unseen.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Fault, assert_nothing_open, count, log, path};
use undertone_kernels::ScopedThreads;
use undertone_kernels::npu::xrt::XrtArray;
use undertone_kernels::npu::{
    Argument, Array, ArrayError, Buffer, Bundle, Bundles, Job, Kernels, NpuDevice, Problem, Settings, Target, hardware,
    layout::{self, PackMethod},
    probe, simulator, stream,
};
use undertone_kernels::{
    Activation, AttentionArgs, AttentionSpec, Context, DeviceKind, Failed, Heads, HeadsMut, LinearSpec, Mask,
    Precision, WeightLayout, reference::noise::noise,
};

const WIDTH: usize = 64;

fn target() -> Target {
    std::env::var("UNDERTONE_FAKE_NPU_TARGET").unwrap().parse().unwrap()
}

fn settings(bundles: &Path) -> Settings {
    Settings { target: target(), bundle_dir: Some(bundles.to_owned()), ..Settings::default() }
}

fn npu() -> Arc<dyn NpuDevice> {
    hardware(&settings(&path("UNDERTONE_TEST_BUNDLES"))).unwrap()
}

fn simulated() -> Arc<dyn NpuDevice> {
    simulator(&settings(Path::new("")))
}

fn with_context<R>(run: impl FnOnce(&mut Context<'_>) -> R) -> R {
    Context::fresh(&ScopedThreads(2), run).0
}

/// A linear layer of seeded values.
fn linear(device: &dyn NpuDevice, precision: Precision, shape: [usize; 3]) -> Result<Vec<f32>, Failed> {
    let [rows, inputs, outputs] = shape;
    let activation = if outputs % 2 == 0 { Activation::Gelu } else { Activation::None };
    let spec = LinearSpec { activation, ..LinearSpec::new(inputs, outputs, precision) };
    let (weights, bias) = (noise(inputs * outputs, 2), noise(outputs, 3));
    let layer = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).unwrap();
    assert_eq!(layer.device(), device.kind());
    let (x, mut out) = (noise(rows * inputs, 1), vec![f32::NAN; rows * outputs]);
    with_context(|context| layer.run(context, rows, &x, None, &mut out))?;
    Ok(out)
}

/// Attention of seeded values.
fn attention(device: &dyn NpuDevice, precision: Precision, shape: [usize; 3]) -> Result<Vec<f32>, Failed> {
    let [heads, queries, keys] = shape;
    let spec = AttentionSpec { head_width: WIDTH, scale: 0.125, precision };
    let kernel = device.attention(&spec).unwrap();
    let (q, k) = (noise(heads * queries * WIDTH, 4), noise(heads * keys * WIDTH, 5));
    let v = noise(heads * keys * WIDTH, 6);
    let mut out = vec![f32::NAN; q.len()];
    let view = |data, length| Heads::new(data, [0, length * WIDTH, WIDTH]);
    let (q, k, v) = (view(&q, queries), view(&k, keys), view(&v, keys));
    let result = HeadsMut::new(&mut out, [0, queries * WIDTH, WIDTH]);
    let args = AttentionArgs { batch: 1, heads, queries, keys, q, k, v, mask: Mask::None, out: result };
    with_context(|context| kernel.run(context, args))?;
    Ok(out)
}

fn assert_same_bits(name: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{name}");
    let differs = got.iter().zip(wanted).position(|(got, wanted)| got.to_bits() != wanted.to_bits());
    assert_eq!(differs, None, "{name}: {:?}", differs.map(|index| (got[index], wanted[index])));
}

#[test]
fn the_device_is_found() {
    let found = probe();
    assert_eq!(found.npus.iter().map(|npu| npu.target).collect::<Vec<_>>(), [Some(target())], "{found}");
    // So that `auto` takes it.
    assert!(found.usable(), "{found}");
    let software = &found.software;
    assert!(software.firmware.is_some() && software.driver_version.as_deref() == Some("0.0.0_fake"), "{software}");
    let npu = npu();
    assert_eq!((npu.kind(), npu.target()), (DeviceKind::Npu, target()));
    drop(npu);
    assert_nothing_open();
}

#[test]
fn products_of_odd_shapes_are_the_simulators() {
    log();
    let (npu, simulated) = (npu(), simulated());
    for precision in [Precision::Int8, Precision::Bf16] {
        for shape in [[1, 1, 1], [3, 65, 130], [257, 100, 301], [128, 128, 128], [300, 384, 1000], [1500, 80, 384]] {
            let before = count("executed");
            let got = linear(&*npu, precision, shape).unwrap();
            assert!(count("executed") > before, "{shape:?} was not executed by the device");
            assert_same_bits(
                &format!("{precision:?} {shape:?}"),
                &got,
                &linear(&*simulated, precision, shape).unwrap(),
            );
        }
    }
    let calls: u64 = npu.statistics().operators.values().map(|operator| operator.calls).sum();
    assert_eq!(calls, 12);
    drop(npu);
    assert_nothing_open();
    assert_eq!(log(), "");
}

#[test]
fn attention_of_odd_shapes_is_the_simulators() {
    log();
    let (npu, simulated) = (npu(), simulated());
    for precision in [Precision::Int8, Precision::Bf16] {
        for shape in [[1, 64, 64], [6, 130, 131], [7, 33, 200], [9, 129, 1]] {
            let got = attention(&*npu, precision, shape).unwrap();
            let wanted = attention(&*simulated, precision, shape).unwrap();
            assert_same_bits(&format!("{precision:?} {shape:?}"), &got, &wanted);
        }
    }
    assert!(count("executed") > 0);
    drop(npu);
    assert_nothing_open();
    assert_eq!(log(), "");
}

/// As [`linear`] with int8, of a layer that was prepared before the fault began; the fault ends with the run.
fn with_fault(npu: &dyn NpuDevice, fault: &str, shape: [usize; 3]) -> Result<(), Failed> {
    let [rows, inputs, outputs] = shape;
    let spec = LinearSpec { activation: Activation::Gelu, ..LinearSpec::new(inputs, outputs, Precision::Int8) };
    let layer = npu.linear(&spec, &noise(inputs * outputs, 2), WeightLayout::InputsByOutputs, None).unwrap();
    let (x, mut out) = (noise(rows * inputs, 1), vec![f32::NAN; rows * outputs]);
    let fault = Fault::begin(fault);
    let result = with_context(|context| layer.run(context, rows, &x, None, &mut out));
    drop(fault);
    result
}

#[test]
fn faults_are_errors_in_xrts_words_and_the_device_goes_on() {
    let npu = npu();
    let shape = [100, 70, 90];
    let right = linear(&*npu, Precision::Int8, shape).unwrap();
    let faults = [("error", "ERT_CMD_STATE_ERROR"), ("abort", "ERT_CMD_STATE_ABORT"), ("refused", "EXEC_CMD")];
    for (fault, words) in faults.into_iter().chain([("lost", "No such device")]) {
        let error = with_fault(&*npu, fault, shape).unwrap_err();
        assert_eq!(error.device, DeviceKind::Npu);
        assert!(error.reason.contains(words), "{fault}: {error}");
        assert_same_bits(fault, &linear(&*npu, Precision::Int8, shape).unwrap(), &right);
    }
    // Another shape needs buffers that are not there yet.
    let error = with_fault(&*npu, "no-memory", [1000, 70, 90]).unwrap_err();
    assert!(error.reason.contains("Cannot allocate memory"), "{error}");
    assert_same_bits("no-memory", &linear(&*npu, Precision::Int8, shape).unwrap(), &right);
    drop(npu);
    assert_nothing_open();
}

/// An array below no device, with a time limit of its own.
fn array(limit: Duration) -> XrtArray {
    XrtArray::open(Some(&path("UNDERTONE_TEST_BUNDLES")), probe()).unwrap().with_limit(limit)
}

#[test]
fn as_many_contexts_as_the_silicon_has_and_no_more() {
    let array = array(Duration::from_secs(10));
    let bundles = Bundles::open(&path("UNDERTONE_TEST_BUNDLES")).unwrap();
    let design = bundles.list()[0].design();
    let most = target().contexts().unwrap_or(16);
    let mut open: Vec<_> = (0..most).map(|_| array.open(design).unwrap()).collect();
    let error = array.open(design).map(|_| ()).unwrap_err();
    match target() {
        Target::Npu1 => assert!(matches!(error, ArrayError::Contexts { limit: 6, .. }), "{error:?}"),
        Target::Npu4 => assert!(error.to_string().contains("CREATE_HWCTX"), "{error:?}"),
    }
    open.pop();
    open.push(array.open(design).unwrap());
    assert_eq!(count("contexts"), most as u64);
    drop((open, array));
    assert_nothing_open();
}

#[test]
fn a_command_that_never_ends_is_given_up_in_time_and_the_next_context_works() {
    let limit = Duration::from_millis(300);
    let array = array(limit);
    let bundles = Bundles::open(&path("UNDERTONE_TEST_BUNDLES")).unwrap();
    let bundle = bundles.list().iter().find(|bundle| bundle.design().kernels == Kernels::Int8).unwrap();
    let design = bundle.design();
    let (rows, inputs, outputs) = (5, 70, 9);
    let problem = Problem::Linear { rows, inputs, outputs };
    let words = stream::write(design, &problem).unwrap();
    let run = || {
        let context = array.open(design).unwrap();
        let program = array.program(&context, &words).unwrap();
        let [mut a, b, mut c] = Argument::ALL
            .map(|argument| array.buffer(&context, argument, design.buffer_bytes(&problem, argument)).unwrap());
        let (x, pool) = (noise(rows * inputs, 1), &ScopedThreads(1));
        layout::pack_rows(PackMethod::best(), design, &x, [rows, inputs], false, a.bytes_mut(), pool);
        let mut jobs = [Job { program: &program, a: &mut a, b: &b, c: &mut c }];
        array.run(&context, &mut jobs, pool)
    };
    run().unwrap();
    let fault = Fault::begin("timeout");
    let start = Instant::now();
    let error = run().unwrap_err();
    assert!(matches!(error, ArrayError::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < 10 * limit, "{:?}", start.elapsed());
    drop(fault);
    run().unwrap();
    assert_eq!(array.live().contexts, 0);
    drop(array);
    assert_nothing_open();
}

#[test]
fn a_container_that_computes_something_else_is_not_trusted() {
    log();
    let folder = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(&path("UNDERTONE_TEST_BUNDLES")).unwrap();
    let find = |kernels| bundles.list().iter().find(|bundle| bundle.design().kernels == kernels).unwrap();
    let (meant, other) = (find(Kernels::Bf16), find(Kernels::Int8));
    let tools = meant.manifest().tools.clone();
    Bundle::write(&folder.path().join("wrong"), meant.design(), &other.xclbin().unwrap(), tools).unwrap();
    let npu = hardware(&settings(folder.path())).unwrap();
    let spec = LinearSpec::new(10, 10, Precision::Bf16);
    let refused = npu.linear(&spec, &noise(100, 1), WeightLayout::InputsByOutputs, None).map(|_| ()).unwrap_err();
    assert_eq!(refused.device, DeviceKind::Npu, "{refused}");
    // The pretended NPU saw why: the stream moves other objects than its design has.
    assert_ne!(log(), "");
    drop(npu);
    assert_nothing_open();
}
