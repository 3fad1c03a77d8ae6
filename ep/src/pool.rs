//! ONNX Runtime's intra-op thread pool, as the kernels use it.
//!
//! A parallel section is at most *width* jobs on that pool; each job takes the next task until there is none. So the width is a
//! true limit whatever the pool's size, and a slow thread holds nobody up. With a width of one nothing leaves the calling thread.

#![allow(unsafe_code, reason = "hands a callback to ONNX Runtime's thread pool")]

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use ort_sys::{OrtApi, OrtKernelContext};
use undertone_kernels::Parallel;

use crate::status::ort_call;

/// The pool of the session whose node is being executed.
pub struct SessionPool<'a> {
    api: &'a OrtApi,
    context: *const OrtKernelContext,
    width: usize,
}

// SAFETY: ONNX Runtime's thread pool takes work from any thread, and the context is not written through.
unsafe impl Sync for SessionPool<'_> {}

impl<'a> SessionPool<'a> {
    /// The pool behind a kernel context, used by at most `threads` tasks at once.
    ///
    /// ONNX Runtime does not tell how many threads its pool has. Without a limit the width is the machine's number of
    /// processors: too many jobs for the pool cost next to nothing, for the threads that come late find no task left.
    ///
    /// # Safety
    /// `context` is the one that `Compute` was called with, and this value does not outlive the call.
    pub unsafe fn new(api: &'a OrtApi, context: *const OrtKernelContext, threads: Option<usize>) -> Self {
        static PROCESSORS: LazyLock<usize> =
            LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
        Self { api, context, width: threads.unwrap_or(*PROCESSORS).max(1) }
    }
}

impl Parallel for SessionPool<'_> {
    fn width(&self) -> usize {
        self.width
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let jobs = self.width.min(tasks);
        if jobs <= 1 {
            (0..tasks).for_each(task);
            return;
        }
        let section = Section::new(tasks, task);
        let data: *const Section<'_> = &section;
        // SAFETY: the call returns only when all jobs have ended, so `section` outlives them; it is shared, never written
        // through except for its atomics and mutex.
        let status = unsafe {
            ort_call!(self.api, KernelContext_ParallelFor(self.context, job, jobs, 0, data.cast_mut().cast::<c_void>()))
        };
        section.finish();
        if let Err(error) = status {
            // No task may be left out silently; the callback's guard turns this into an error status.
            panic!("{error}");
        }
    }
}

/// One call of [`Parallel::run`].
struct Section<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    failed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<'a> Section<'a> {
    fn new(tasks: usize, task: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { task, tasks, next: AtomicUsize::new(0), failed: AtomicBool::new(false), panic: Mutex::new(None) }
    }

    /// Takes tasks until there is none or one has panicked.
    fn work(&self) {
        while !self.failed.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.tasks {
                return;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
                self.failed.store(true, Ordering::Relaxed);
                let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                if first.is_none() {
                    *first = Some(payload);
                } else {
                    // Dropping a payload may itself panic; leaking it cannot.
                    std::mem::forget(payload);
                }
            }
        }
    }

    /// Goes on with a task's panic on the thread that asked for the section.
    fn finish(self) {
        if let Some(payload) = self.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// What ONNX Runtime's threads call.
unsafe extern "C" fn job(data: *mut c_void, _index: usize) {
    // SAFETY: `data` is the section that `run` passed, which waits for this job. `work` does not unwind.
    unsafe { &*data.cast_const().cast::<Section<'_>>() }.work();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whoever_takes_it() {
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            let task = |index: usize| {
                counts[index].fetch_add(1, Ordering::Relaxed);
            };
            let section = Section::new(tasks, &task);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| section.work());
                }
            });
            section.finish();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{tasks}");
        }
    }

    #[test]
    fn a_panic_on_a_worker_goes_on_with_the_caller() {
        let task = |index: usize| assert!(index != 2, "task {index} fails");
        let section = Section::new(5, &task);
        std::thread::scope(|scope| {
            scope.spawn(|| section.work());
        });
        let payload = catch_unwind(AssertUnwindSafe(|| section.finish())).unwrap_err();
        assert_eq!(crate::guard::panic_message(payload), "task 2 fails");
    }

    /// A table whose `KernelContext_ParallelFor` fails, so that nothing can be done through it unnoticed.
    fn failing_pool(threads: usize) -> SessionPool<'static> {
        static API: LazyLock<OrtApi> = LazyLock::new(ort_sys::stub::api);
        // SAFETY: the context is never read.
        unsafe { SessionPool::new(&API, std::ptr::null(), Some(threads)) }
    }

    #[test]
    fn one_thread_is_the_calling_thread() {
        let caller = std::thread::current().id();
        let ran = AtomicUsize::new(0);
        let pool = failing_pool(1);
        assert_eq!(pool.width(), 1);
        pool.run(5, &|_| {
            assert_eq!(std::thread::current().id(), caller);
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 5);
    }

    #[test]
    fn tasks_that_onnx_runtime_does_not_run_are_no_success() {
        let pool = failing_pool(4);
        let payload = catch_unwind(AssertUnwindSafe(|| pool.run(5, &|_| ()))).unwrap_err();
        let message = crate::guard::panic_message(payload);
        assert!(message.contains("KernelContext_ParallelFor failed"), "{message}");
        // One task needs no pool.
        pool.run(1, &|_| ());
        pool.run(0, &|_| unreachable!());
    }
}
