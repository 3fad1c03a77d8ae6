//! How a kernel spreads its work: through whatever pool its caller has.
//!
//! Inside ONNX Runtime that is ONNX Runtime's own intra-op pool, so that no second pool spins beside it. A kernel never
//! starts threads itself.

/// A pool of threads that runs numbered tasks.
pub trait Parallel: Sync {
    /// How many tasks can run at the same moment, the calling thread included; at least 1.
    fn width(&self) -> usize;

    /// Runs `task(0)` … `task(tasks - 1)`, each exactly once, in any order, and returns when all are done.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn width(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// Fresh scoped threads for each call: for tests and benchmarks outside ONNX Runtime, where starting a thread does not
/// matter.
#[derive(Clone, Copy, Debug)]
pub struct ScopedThreads(pub usize);

impl Parallel for ScopedThreads {
    fn width(&self) -> usize {
        self.0.max(1)
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    return;
                }
                task(index);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.width().min(tasks) {
                scope.spawn(work);
            }
            work();
        });
    }
}
