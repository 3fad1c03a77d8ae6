//! A warm run of the linear layer and of a run-time product allocates nothing.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use undertone_kernels::{
    Activation, Context, Counters, Device, LinearSpec, Precision, Scratch, Serial, WeightLayout,
    host::{HostDevice, Isa},
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting this thread's calls.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_run_does_not_allocate() {
    let (rows, inputs, outputs) = (70, 1024, 100);
    let (weights, x) = (vec![0.5; inputs * outputs], vec![0.25; rows * inputs]);
    let mut out = vec![0.0; rows * outputs];
    let (counters, mut scratch) = (Counters::new(), Scratch::default());
    let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
    for isa in Isa::available() {
        for (precision, wide_rows) in
            Precision::ALL.map(|precision| (precision, false)).into_iter().chain([(Precision::Int8, true)])
        {
            let spec = LinearSpec { inputs, outputs, precision, wide_rows, activation: Activation::Gelu, scale: 1.0 };
            let device = HostDevice::with_isa(isa).expect("an available instruction set");
            let linear =
                device.linear(&spec, &weights, WeightLayout::InputsByOutputs, None).expect("the host takes it");
            for run in 0..2 {
                let before = ALLOCATIONS.get();
                linear.run(&mut context, rows, &x, None, &mut out).expect("the host never fails");
                device.matmul(&mut context, 1, [rows, inputs, outputs], &x, &weights, &mut out);
                let allocated = ALLOCATIONS.get() - before;
                assert!(run == 0 || allocated == 0, "{isa} {precision}: {allocated} allocations");
            }
        }
    }
    assert!(ALLOCATIONS.get() > 0, "the count counts");
}
