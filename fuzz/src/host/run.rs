//! A run of a fused node: operands of the declared types, and room for results.

use std::{
    ffi::{CString, c_void},
    ptr,
};

use onnxruntime_ep_xdna::abi::{OrtEp, OrtNodeComputeInfo};
use ort_sys::{OrtKernelContext, OrtStatusPtr, OrtValue};

use super::{Node, Tensor, Type, Value, message, table::error};

const OK: OrtStatusPtr = OrtStatusPtr(ptr::null_mut());
/// Most bytes of an operand or a result.
pub const MOST_BYTES: usize = 1 << 22;

/// What a run reads and writes.
struct Context {
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Option<Box<Tensor>>>,
    /// Element types of the results, as declared.
    kinds: Vec<i32>,
}

/// Bytes of an element, by `ONNXTensorElementDataType`.
pub fn element_size(code: i32) -> usize {
    match code {
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => 1,
    }
}

/// Contents for a tensor: small numbers, most of which are valid as sizes and places.
pub fn contents(code: i32, count: usize, seed: usize) -> Vec<u8> {
    let number = |at: usize| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 7) % 5;
    (0..count)
        .flat_map(|at| {
            let number = number(at);
            match code {
                1 => (number as f32 - 2.0).to_ne_bytes().to_vec(),
                11 => (number as f64 - 2.0).to_ne_bytes().to_vec(),
                6 | 12 => (number as i32).to_ne_bytes().to_vec(),
                7 | 13 => (number as i64).to_ne_bytes().to_vec(),
                9 => vec![u8::from(number > 2)],
                10 => [0_u16, 0x3c00, 0xbc00, 0x4000, 0x3800][number].to_ne_bytes().to_vec(),
                16 => [0_u16, 0x3f80, 0xbf80, 0x4000, 0x3f00][number].to_ne_bytes().to_vec(),
                4 | 5 => (number as u16).to_ne_bytes().to_vec(),
                _ => vec![number as u8],
            }
        })
        .collect()
}

/// The operand for a declared value: an axis of unknown length gets one by its name.
fn operand(value: &Value, turn: usize) -> Option<Tensor> {
    let code = if value.kind.code == 0 { 1 } else { value.kind.code };
    let named = |name: &CString| 1 + (name.as_bytes().iter().map(|byte| usize::from(*byte)).sum::<usize>() + turn) % 4;
    let dims: Vec<i64> = match &value.kind.dims {
        Some(dims) => dims
            .iter()
            .zip(&value.kind.names)
            .map(|(dim, name)| if *dim < 0 { named(name) as i64 } else { *dim })
            .collect(),
        None => vec![2, 3],
    };
    let count = dims.iter().try_fold(1_usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?))?;
    if count.checked_mul(element_size(code))? > MOST_BYTES {
        return None;
    }
    let names = vec![CString::default(); dims.len()];
    Some(Tensor { bytes: contents(code, count, turn), kind: Type { code, dims: Some(dims), names } })
}

/// Runs a fused node; the error is what the EP says.
///
/// # Panics
/// If it ends well without a result, or with one of another type or shape than the graph declares.
pub fn run(ep: *mut OrtEp, info: *mut OrtNodeComputeInfo, node: &Node, turn: usize) -> Result<(), String> {
    let inputs: Option<Vec<_>> = node.inputs.iter().flatten().map(|value| operand(value, turn).map(Some)).collect();
    let Some(inputs) = inputs else { return Ok(()) };
    let values: Vec<&Value> = node.outputs.iter().flatten().map(|value| &**value).collect();
    let kinds = values.iter().map(|value| value.kind.code).collect();
    let mut context = Context { inputs, outputs: values.iter().map(|_| None).collect(), kinds };
    let mut state = ptr::null_mut();
    // SAFETY: the EP and its compute info are alive; the context outlives the call.
    let status = unsafe {
        if let Some(start) = (*ep).OnRunStart
            && let Some(text) = message(start(ep, ptr::without_provenance(8)))
        {
            return Err(text);
        }
        assert_eq!(message(((*info).CreateState)(info, ptr::null_mut(), &mut state)), None);
        let status = ((*info).Compute)(info, state, (&raw mut context).cast());
        ((*info).ReleaseState)(info, state);
        if let Some(end) = (*ep).OnRunEnd {
            assert_eq!(message(end(ep, ptr::without_provenance(8), true)), None);
        }
        status
    };
    if let Some(text) = message(status) {
        return Err(text);
    }
    for (value, output) in values.iter().zip(&context.outputs) {
        assert!(output.is_some(), "a run ended well without its result {:?}", value.name);
    }
    Ok(())
}

/// `KernelContext_GetInput`.
pub unsafe extern "system" fn input(
    context: *const OrtKernelContext,
    index: usize,
    out: *mut *const OrtValue,
) -> OrtStatusPtr {
    // SAFETY: the context is that of `run`; room for one pointer.
    unsafe {
        let context = &*context.cast::<Context>();
        match context.inputs.get(index) {
            Some(Some(tensor)) => *out = (&raw const *tensor).cast(),
            _ => return error("there is no such operand"),
        }
    }
    OK
}

/// `KernelContext_GetOutput`.
pub unsafe extern "system" fn output(
    context: *mut OrtKernelContext,
    index: usize,
    dims: *const i64,
    rank: usize,
    out: *mut *mut OrtValue,
) -> OrtStatusPtr {
    // SAFETY: the context is that of `run`; the array has `rank` entries; room for one pointer.
    unsafe {
        let context = &mut *context.cast::<Context>();
        let Some(place) = context.outputs.get_mut(index) else { return error("there is no such result") };
        let dims = if rank == 0 { Vec::new() } else { std::slice::from_raw_parts(dims, rank).to_vec() };
        let code = if context.kinds[index] == 0 { 1 } else { context.kinds[index] };
        let bytes = dims.iter().try_fold(element_size(code), |bytes, dim| {
            bytes.checked_mul(usize::try_from(*dim).ok()?).filter(|bytes| *bytes <= MOST_BYTES)
        });
        let Some(bytes) = bytes else { return error("there is no memory for this result") };
        let names = vec![CString::default(); rank];
        let tensor = Tensor { kind: Type { code, dims: Some(dims), names }, bytes: vec![0; bytes] };
        *out = (&raw mut **place.insert(Box::new(tensor))).cast();
    }
    OK
}

/// `KernelContext_ParallelFor` of a pool without threads.
pub unsafe extern "system" fn parallel_for(
    _context: *const OrtKernelContext,
    job: unsafe extern "C" fn(*mut c_void, usize),
    total: usize,
    _batches: usize,
    data: *mut c_void,
) -> OrtStatusPtr {
    for index in 0..total {
        // SAFETY: `data` is what the EP passed for its job.
        unsafe { job(data, index) };
    }
    OK
}
