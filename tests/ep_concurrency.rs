//! Concurrent use: runs of one session at the same moment, sessions made and dropped at the same moment.

mod ep_host;

use std::{ffi::CString, ptr};

use ep_host::{Sizes, assert_close, counter, cpu_session, ep_session};
use ort::{AsPointer, session::Session, value::DynValue};

const SIZES: Sizes = Sizes { batch: 1, tokens: 1, past: 9, use_cache: true };

/// `Run` of ONNX Runtime, which takes concurrent calls, past `Session::run`, whose `&mut self` does not.
#[allow(unsafe_code, reason = "calls ONNX Runtime's Run, which may be called concurrently")]
fn run(session: &Session, inputs: &[(String, DynValue)]) -> Vec<f32> {
    let names: Vec<_> = inputs.iter().map(|(name, _)| CString::new(name.as_str()).unwrap()).collect();
    let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let values: Vec<_> = inputs.iter().map(|(_, value)| value.ptr()).collect();
    let output_names = [c"logits".as_ptr()];
    let mut output = ptr::null_mut();
    let api = ort::api();
    // SAFETY: the arrays have as many entries as said and live during the call; the session is alive and `Run` is
    // thread-safe; the value that it makes is a tensor of f32, read while it lives and released once.
    unsafe {
        let status = (api.Run)(
            session.ptr().cast_mut(),
            ptr::null(),
            names.as_ptr(),
            values.as_ptr(),
            values.len(),
            output_names.as_ptr(),
            1,
            &mut output,
        );
        assert!(status.0.is_null());
        let (mut data, mut bytes) = (ptr::null(), 0);
        assert!((api.GetTensorData)(output, &mut data).0.is_null());
        assert!((api.GetTensorSizeInBytes)(output, &mut bytes).0.is_null());
        let logits = std::slice::from_raw_parts(data.cast::<f32>(), bytes / size_of::<f32>()).to_vec();
        (api.ReleaseValue)(output);
        logits
    }
}

/// A shared session.
struct Shared<'a>(&'a Session, &'a [(String, DynValue)]);

#[allow(unsafe_code, reason = "shares a session between threads")]
// SAFETY: only `run` above is called through it, which ONNX Runtime allows from several threads; the inputs are only
// read.
unsafe impl Sync for Shared<'_> {}

#[test]
fn concurrent_runs_of_one_session_agree() {
    const THREADS: usize = 4;
    const RUNS: usize = 12;
    let mut cpu = cpu_session("decoder_with_past_model");
    let inputs = ep_host::inputs(&cpu, SIZES);
    let expected = ep_host::run(&mut cpu, &inputs).unwrap().swap_remove(0).2;
    for precision in ["f32", "int8"] {
        let session = ep_session("decoder_with_past_model", &[("precision", precision)]).unwrap();
        let alone = run(&session, &inputs);
        assert!(ep_host::cosine(&alone, &expected) > 0.99);
        let before = counter("fused_nodes_executed");
        let shared = Shared(&session, &inputs);
        let shared = &shared;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..RUNS {
                        assert_eq!(run(shared.0, shared.1), alone, "a run differs from the one alone");
                    }
                });
            }
        });
        assert!(counter("fused_nodes_executed") >= before + (THREADS * RUNS) as u64);
    }
}

#[test]
fn sessions_made_and_dropped_at_once_share_their_weights_safely() {
    ep_host::environment();
    std::thread::scope(|scope| {
        for (index, graph) in ["decoder_model", "decoder_with_past_model", "decoder_with_past_model"].iter().enumerate()
        {
            scope.spawn(move || {
                for _ in 0..2 {
                    let mut cpu = cpu_session(graph);
                    let mut session = ep_session(graph, &[("precision", "f32")]).unwrap();
                    let sizes = Sizes { tokens: if index == 0 { 3 } else { 1 }, ..SIZES };
                    let inputs = ep_host::inputs(&cpu, sizes);
                    let expected = ep_host::run(&mut cpu, &inputs).unwrap();
                    assert_close(&ep_host::run(&mut session, &inputs).unwrap(), &expected, 0.999_99, graph);
                }
            });
        }
    });
}
