//! A compiled fused node: ONNX Runtime's compute callbacks, and a plan's inputs and outputs over the kernel context.
//!
//! Nothing of a run is kept: runs of one node may go on at the same moment. What a run needs to list its inputs is
//! taken from, and given back to, a lock-free store, so that a warm run allocates nothing here.

#![allow(unsafe_code, reason = "implements ONNX Runtime's compute callbacks")]

use std::{ffi::c_void, ptr, slice, sync::Arc, time::Instant};

use crossbeam_queue::ArrayQueue;
use ort_sys::{OrtKernelContext, OrtStatusPtr, OrtValue};
use undertone_kernels::Parallel;

use crate::{
    abi::{NO_LATER_MEMBERS, OrtNodeComputeContext, OrtNodeComputeInfo},
    error::RunError,
    graph::DataType,
    guard::{guard, guard_release},
    kv,
    memory::{Input, Outputs},
    plan::Plan,
    pool,
    runtime::{Runtime, ort_call},
    snapshot::FusedGraph,
    statistics,
    status::{Failure, OK, StatusMaker},
    trace::{Event, Trace, Track},
};

/// Most axes of an input or output. ONNX sets no limit; speech graphs have four.
const MOST_AXES: usize = 8;
/// Lists kept for later runs; more than this many runs at one moment make their own.
const KEPT_LISTS: usize = 32;

/// One fused node. ONNX Runtime holds it by its first member.
#[repr(C)]
pub struct FusedNode {
    table: OrtNodeComputeInfo,
    runtime: Runtime,
    name: String,
    plan: Plan,
    threads: Option<usize>,
    trace: Arc<Trace>,
    input_places: Vec<usize>,
    output_places: Vec<usize>,
    lists: ArrayQueue<Lists>,
}

/// What one run writes down about its inputs and outputs.
struct Lists {
    /// For each input the sizes of its axes.
    axes: Vec<[usize; MOST_AXES]>,
    /// Empty between runs.
    inputs: Vec<Input<'static>>,
    /// For each output whether it was handed out.
    given: Vec<bool>,
}

impl FusedNode {
    /// The compute info of a plan, for ONNX Runtime to own until [`FusedNode::release`].
    pub fn into_raw(
        runtime: Runtime,
        fused: FusedGraph<'_>,
        plan: Plan,
        threads: Option<usize>,
        trace: &Arc<Trace>,
    ) -> *mut OrtNodeComputeInfo {
        let table = OrtNodeComputeInfo {
            ort_version_supported: runtime.version,
            CreateState: create_state,
            Compute: compute,
            ReleaseState: release_state,
            later: NO_LATER_MEMBERS,
        };
        let FusedGraph { name, input_places, output_places, .. } = fused;
        let lists = ArrayQueue::new(KEPT_LISTS);
        let trace = Arc::clone(trace);
        let node = Self { table, runtime, name, plan, threads, trace, input_places, output_places, lists };
        Box::into_raw(Box::new(node)).cast()
    }

    /// Takes back what [`FusedNode::into_raw`] gave away.
    ///
    /// # Safety
    /// `info` is NULL or came from `into_raw` and is not used again.
    pub unsafe fn release(info: *mut OrtNodeComputeInfo) {
        if !info.is_null() {
            // SAFETY: as the caller promises.
            guard_release(|| drop(unsafe { Box::from_raw(info.cast::<Self>()) }));
        }
    }

    /// # Safety
    /// `context` is the one of a run of this node.
    unsafe fn run(&self, context: *mut OrtKernelContext) -> Result<(), RunError> {
        let traced = self.trace.of_this_thread().map(|traced| (traced, Instant::now()));
        let Lists { mut axes, inputs: kept, mut given } = self.lists.pop().unwrap_or_else(|| Lists {
            axes: vec![[0; MOST_AXES]; self.input_places.len()],
            inputs: Vec::with_capacity(self.input_places.len()),
            given: vec![false; self.output_places.len()],
        });
        given.fill(false);
        let mut inputs: Vec<Input<'_>> = kept;
        for (index, (place, axes)) in self.input_places.iter().zip(&mut axes).enumerate() {
            // SAFETY: as the caller promises; ONNX Runtime keeps inputs alive and unchanged during the run.
            inputs.push(unsafe { self.input(context, index, *place, axes)? });
        }
        let mut outputs = ContextOutputs { node: self, context, given: &mut given };
        let cache = kv::of_run();
        let mut cache =
            cache.as_ref().map(kv::lock).transpose().map_err(|error| RunError::Runtime(error.to_string()))?;
        let state = cache.as_deref_mut();
        let width = if self.plan.is_small(&inputs) { 1 } else { pool::width(self.threads) };
        let of_steps = traced.map(|(traced, _)| traced);
        let lead = |team: &dyn Parallel| {
            self.plan.run(&inputs, &mut outputs, team, &statistics::KERNEL_CALLS, state, of_steps)
        };
        // SAFETY: as the caller promises. Another thread may ask for outputs while this one waits: ONNX Runtime keeps
        // nothing of a kernel context by thread, and its allocators may be called from any.
        unsafe { pool::with_team(self.runtime.api, context, width, lead)? };
        statistics::fused_node_executed();
        if let Some((traced, begin)) = traced {
            let (thread, end) = (traced.thread, Instant::now());
            let event = Event { name: self.name.clone(), track: Track::Node, thread, begin, end, about: Vec::new() };
            traced.note(vec![event]);
        }
        let inputs = emptied(inputs);
        // A full store drops the lists: that is what it is for.
        let _ = self.lists.push(Lists { axes, inputs, given });
        Ok(())
    }

    /// # Safety
    /// `context` is the one of a run of this node, and the run outlives `'io`.
    unsafe fn input<'io>(
        &self,
        context: *const OrtKernelContext,
        index: usize,
        place: usize,
        axes: &'io mut [usize; MOST_AXES],
    ) -> Result<Input<'io>, RunError> {
        let api = self.runtime.api;
        let wrong = |reason: String| RunError::Input { index, reason };
        let (mut value, mut data, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: as the caller promises.
        let (code, rank) = unsafe {
            ort_call!(api, KernelContext_GetInput(context, place, &mut value))?;
            if value.is_null() {
                return Err(wrong("ONNX Runtime gave no value".to_owned()));
            }
            let type_and_rank = type_and_axes(self.runtime, value, axes)?;
            ort_call!(api, GetTensorData(value, &mut data))?;
            ort_call!(api, GetTensorSizeInBytes(value, &mut size))?;
            type_and_rank
        };
        let dtype = DataType::from_onnx(code).ok_or_else(|| wrong(format!("unknown element type {code}")))?;
        let bytes = if size == 0 || data.is_null() {
            &[]
        } else {
            // SAFETY: the tensor has `size` bytes at `data`, alive and unchanged during the run.
            unsafe { slice::from_raw_parts(data.cast::<u8>(), size) }
        };
        Ok(Input { dtype, shape: &axes[..rank], bytes })
    }
}

/// The same list, empty, for inputs of any other run; the memory stays.
fn emptied(mut inputs: Vec<Input<'_>>) -> Vec<Input<'static>> {
    inputs.clear();
    // The standard library collects in place here, which a test holds.
    inputs.into_iter().map(|_| unreachable!("the list is empty")).collect()
}

/// Element type and rank of a tensor, and its sizes written to `axes`.
///
/// # Safety
/// `value` is alive.
unsafe fn type_and_axes(
    runtime: Runtime,
    value: *const OrtValue,
    axes: &mut [usize; MOST_AXES],
) -> Result<(i32, usize), RunError> {
    let api = runtime.api;
    let (mut code, mut rank) = (0_i32, 0);
    let mut sizes = [0_i64; MOST_AXES];
    let too_many = |rank| RunError::Runtime(format!("a tensor of {rank} axes; this EP takes up to {MOST_AXES}"));
    // SAFETY: as the caller promises; what ONNX Runtime allocates is released on every way out.
    unsafe {
        if runtime.version >= 24 {
            let mut shape = ptr::null();
            ort_call!(
                api,
                GetTensorElementTypeAndShapeDataReference(value, (&raw mut code).cast(), &mut shape, &mut rank)
            )?;
            if rank > MOST_AXES {
                return Err(too_many(rank));
            }
            if rank > 0 {
                sizes[..rank].copy_from_slice(slice::from_raw_parts(shape, rank));
            }
        } else {
            let mut info = ptr::null_mut();
            ort_call!(api, GetTensorTypeAndShape(value, &mut info))?;
            let mut read = || {
                ort_call!(api, GetTensorElementType(info, (&raw mut code).cast()))?;
                ort_call!(api, GetDimensionsCount(info, &mut rank))?;
                if rank > MOST_AXES {
                    return Err(too_many(rank));
                }
                Ok(ort_call!(api, GetDimensions(info, sizes.as_mut_ptr(), rank))?)
            };
            let result = read();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            result?;
        }
    }
    for (axis, size) in axes.iter_mut().zip(&sizes[..rank]) {
        *axis = usize::try_from(*size).map_err(|_| RunError::Runtime(format!("a tensor's axis has size {size}")))?;
    }
    Ok((code, rank))
}

/// A run's outputs.
struct ContextOutputs<'a> {
    node: &'a FusedNode,
    context: *mut OrtKernelContext,
    given: &'a mut [bool],
}

impl<'io> Outputs<'io> for ContextOutputs<'io> {
    fn output(&mut self, index: usize, shape: &[usize]) -> Result<&'io mut [u8], RunError> {
        let place = *self.node.output_places.get(index).ok_or_else(|| failed(index, "there is no such output"))?;
        // Two mutable views of one output must never exist.
        if std::mem::replace(&mut self.given[index], true) {
            return Err(failed(index, "asked for twice"));
        }
        let mut sizes = [0_i64; MOST_AXES];
        let sizes = sizes.get_mut(..shape.len()).ok_or_else(|| failed(index, "more axes than this EP takes"))?;
        for (size, axis) in sizes.iter_mut().zip(shape) {
            *size = i64::try_from(*axis).map_err(|_| failed(index, "an axis is too long"))?;
        }
        let api = self.node.runtime.api;
        let (mut value, mut data, mut bytes) = (ptr::null_mut(), ptr::null_mut(), 0);
        // SAFETY: the context is that of the run that this value lives in; `sizes` has as many entries as said.
        unsafe {
            ort_call!(api, KernelContext_GetOutput(self.context, place, sizes.as_ptr(), sizes.len(), &mut value))?;
            if value.is_null() {
                return Err(failed(index, "ONNX Runtime does not want it"));
            }
            ort_call!(api, GetTensorMutableData(value, &mut data))?;
            ort_call!(api, GetTensorSizeInBytes(value, &mut bytes))?;
        }
        if bytes == 0 || data.is_null() {
            return Ok(&mut []);
        }
        // SAFETY: ONNX Runtime allocated `bytes` bytes for this output, which live beyond the run; handed out only
        // once.
        Ok(unsafe { slice::from_raw_parts_mut(data.cast::<u8>(), bytes) })
    }
}

fn failed(index: usize, reason: &str) -> RunError {
    RunError::Runtime(format!("output {index}: {reason}"))
}

/// Runs need no state: the plan has its own store of workspaces. ONNX Runtime wants something to hold, and gets the
/// node.
unsafe extern "system" fn create_state(
    this: *mut OrtNodeComputeInfo,
    _context: *mut OrtNodeComputeContext,
    state: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes room for one pointer.
    unsafe { *state = this.cast() };
    OK
}

unsafe extern "system" fn compute(
    this: *mut OrtNodeComputeInfo,
    _state: *mut c_void,
    context: *mut OrtKernelContext,
) -> OrtStatusPtr {
    // SAFETY: `this` came from `into_raw` and is not yet released.
    let node = unsafe { &*this.cast::<FusedNode>() };
    guard(StatusMaker::new(node.runtime.api), "Compute", || {
        // SAFETY: `context` is the one of this run.
        unsafe { node.run(context) }.map_err(|source| Failure::Run { node: node.name.clone(), source })
    })
}

unsafe extern "system" fn release_state(_this: *mut OrtNodeComputeInfo, _state: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_list_keeps_its_memory() {
        let mut list: Vec<Input<'_>> = Vec::with_capacity(40);
        list.push(Input { dtype: DataType::F32, shape: &[1], bytes: &[0; 4] });
        let memory = list.as_ptr() as usize;
        let list = emptied(list);
        assert!(list.is_empty() && list.capacity() == 40);
        assert_eq!(list.as_ptr() as usize, memory);
    }
}
