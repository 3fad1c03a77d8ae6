//! What the `ep_*` tests share: a real ONNX Runtime with the built EP registered, sessions on either side, inputs and
//! comparisons.
#![allow(dead_code, reason = "each test binary uses its share")]

use std::{
    ffi::{CStr, CString, c_char},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use fastrand::Rng;
use ort::{
    environment::Environment,
    session::{Session, builder::SessionBuilder},
    value::{DynValue, Tensor},
};

/// The name under which the tests register the library; the EP's own name is another.
pub const REGISTERED_AS: &str = "under-test";
/// The EP's name.
pub const EP: &str = "XdnaExecutionProvider";

/// The built EP: cargo leaves it beside the test binaries, being a dev-dependency.
pub fn library() -> PathBuf {
    let name = format!("{}onnxruntime_ep_xdna{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let directory = Path::new(env!("CARGO_BIN_EXE_undertone")).parent().unwrap();
    directory.join("deps").join(name)
}

/// ONNX Runtime with the EP registered; one for each test process.
pub fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let environment = ort::init_from(env!("UNDERTONE_ORT_DYLIB")).unwrap().build().unwrap();
        environment.register_ep_library(REGISTERED_AS, library()).unwrap();
        environment
    })
}

/// A graph of the reference model.
pub fn reference(graph: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference").join(format!("{graph}.onnx"))
}

/// A session builder with the EP chosen by device and given these options.
pub fn ep_builder(options: &[(&str, &str)]) -> ort::Result<SessionBuilder> {
    let options: Vec<_> = options.iter().map(|(key, value)| (format!("{EP}.{key}"), (*value).to_owned())).collect();
    builder_for(EP, &options)
}

/// A session builder with a provider chosen by device. Without a choice `ort` lets ONNX Runtime's policy choose.
fn builder_for(provider: &str, options: &[(String, String)]) -> ort::Result<SessionBuilder> {
    let environment = environment();
    let devices = environment.devices().filter(|device| device.ep().unwrap() == provider);
    Ok(Session::builder(environment)?.with_devices(devices, Some(options))?)
}

/// A session with the EP, of a graph of the reference model.
pub fn ep_session(graph: &str, options: &[(&str, &str)]) -> ort::Result<Session> {
    ep_builder(options)?.commit_from_file(reference(graph))
}

/// A session on ONNX Runtime's CPU provider alone, of a graph of the reference model: the reference.
pub fn cpu_session(graph: &str) -> Session {
    cpu_session_of(&reference(graph))
}

/// The same of any file.
pub fn cpu_session_of(path: &Path) -> Session {
    builder_for("CPUExecutionProvider", &[]).unwrap().commit_from_file(path).unwrap()
}

/// Sizes of the open axes of the reference model's inputs.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub tokens: usize,
    pub past: usize,
    pub use_cache: bool,
}

/// Inputs for a session, always the same for the same sizes.
pub fn inputs(session: &Session, sizes: Sizes) -> Vec<(String, DynValue)> {
    let mut random = Rng::with_seed(7);
    session.inputs().iter().map(|input| (input.name().to_owned(), value(input, sizes, &mut random))).collect()
}

fn value(input: &ort::value::Outlet, sizes: Sizes, random: &mut Rng) -> DynValue {
    let name = input.name();
    let declared = input.dtype().tensor_shape().unwrap();
    let last = declared.len() - 1;
    let shape: Vec<usize> = declared
        .iter()
        .enumerate()
        .map(|(axis, size)| match axis {
            _ if *size >= 0 => *size as usize,
            0 => sizes.batch,
            _ if name == "input_ids" => sizes.tokens,
            _ if name.contains(".decoder.") => sizes.past,
            _ if name.contains(".encoder.") || name == "encoder_hidden_states" => 1500,
            _ => panic!("axis {axis} of {last} of {name} is open"),
        })
        .collect();
    let count: usize = shape.iter().product();
    match name {
        "use_cache_branch" => Tensor::from_array((shape, vec![sizes.use_cache; count])).unwrap().into_dyn(),
        "input_ids" => {
            let ids: Vec<i64> = (0..count).map(|_| random.i64(0..50_000)).collect();
            Tensor::from_array((shape, ids)).unwrap().into_dyn()
        }
        _ => {
            let values: Vec<f32> = (0..count).map(|_| 2.0 * random.f32() - 1.0).collect();
            Tensor::from_array((shape, values)).unwrap().into_dyn()
        }
    }
}

/// Outputs by name: shape and values.
pub type Outputs = Vec<(String, Vec<i64>, Vec<f32>)>;

/// Runs a session.
pub fn run(session: &mut Session, inputs: &[(String, DynValue)]) -> ort::Result<Outputs> {
    let inputs: Vec<_> = inputs.iter().map(|(name, value)| (name.as_str(), value.view())).collect();
    let outputs = session.run(inputs)?;
    Ok(outputs
        .iter()
        .map(|(name, value)| {
            let (shape, values) = value.try_extract_tensor::<f32>().unwrap();
            (name.to_owned(), shape.to_vec(), values.to_vec())
        })
        .collect())
}

/// Cosine of the angle between two vectors; 1 for two empty or equal ones.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    if a == b {
        return 1.0;
    }
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Asserts the same names and shapes, and values that point the same way.
pub fn assert_close(got: &Outputs, expected: &Outputs, least: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for ((name, shape, values), (expected_name, expected_shape, expected_values)) in got.iter().zip(expected) {
        assert_eq!((name, shape), (expected_name, expected_shape), "{what}");
        let cosine = cosine(values, expected_values);
        assert!(cosine > least, "{what}: {name} has cosine {cosine}");
        let (norm, expected_norm) = (norm(values), norm(expected_values));
        assert!(
            (norm - expected_norm).abs() <= 0.05 * expected_norm,
            "{what}: {name} has norm {norm}, not {expected_norm}"
        );
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

/// A counter that the EP exports.
#[allow(unsafe_code, reason = "calls a C function of the EP's library")]
pub fn counter(name: &str) -> u64 {
    static EXPORTS: OnceLock<libloading::Library> = OnceLock::new();
    environment();
    let name = CString::new(name).unwrap();
    // SAFETY: the library is loaded already and stays; the function has this signature and reads the string only.
    unsafe {
        let library = EXPORTS.get_or_init(|| libloading::Library::new(library()).unwrap());
        let counter: libloading::Symbol<'_, unsafe extern "C" fn(*const c_char) -> u64> =
            library.get(c"onnxruntime_ep_xdna_counter".to_bytes_with_nul()).unwrap();
        counter(CStr::as_ptr(&name))
    }
}
