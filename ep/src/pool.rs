//! ONNX Runtime's intra-op thread pool, as a run of a plan uses it.
//!
//! One parallel section of ONNX Runtime's is opened for the whole run: whichever of its jobs is first leads the run,
//! the others help (see [`undertone_kernels::team`]). So no second pool stands beside ONNX Runtime's, `threads` is a
//! true limit whatever the pool's size, and a job that ONNX Runtime starts late, or on the same thread after the
//! leader, finds the run over and returns.
//!
//! A pool of the EP's own, whose helpers sleep between runs, was tried in its place and gained nothing: 0.50 against
//! 0.51 ms for a step of tiny, 1.35 against 1.40 ms of base (two threads, medians of four benchmarks in turns, the own
//! pool second; they scatter by 20 %). ONNX Runtime's is the one whose size a program chooses.

#![allow(unsafe_code, reason = "hands a callback to ONNX Runtime's thread pool")]

use std::{
    any::Any,
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{LazyLock, Mutex, PoisonError},
};

use ort_sys::{OrtApi, OrtKernelContext};
use undertone_kernels::{Parallel, Serial, team::Team};

use crate::{
    error::RunError,
    runtime::{OrtError, ort_call},
};

/// How many threads carry out a run.
///
/// ONNX Runtime does not tell how many threads its pool has. Without a limit it is the machine's number of processors:
/// too many jobs for the pool cost next to nothing.
pub fn width(threads: Option<usize>) -> usize {
    static PROCESSORS: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));
    threads.unwrap_or(*PROCESSORS).max(1)
}

/// Carries out `lead` with a team of `width` threads of the pool behind a kernel context; with one, on the calling
/// thread. The error is what `lead` returns, or that ONNX Runtime refused its pool.
///
/// # Safety
/// `context` is the one that `Compute` was called with. `lead` may be carried out by another thread while the calling
/// one waits: what it holds must bear that.
pub unsafe fn with_team<F>(
    api: &OrtApi,
    context: *const OrtKernelContext,
    width: usize,
    lead: F,
) -> Result<(), RunError>
where
    F: FnOnce(&dyn Parallel) -> Result<(), RunError>,
{
    if width <= 1 {
        return lead(&Serial);
    }
    let run = LedRun { team: Team::new(width), lead: Mutex::new(Some(lead)), result: Mutex::new(None) };
    // SAFETY: the call returns only when all jobs have ended, so `run` outlives them.
    let opened = unsafe {
        let data = (&raw const run).cast_mut().cast::<c_void>();
        ort_call!(api, KernelContext_ParallelFor(context, job::<F>, width, 0, data))
    };
    finish(opened, run.result.into_inner().unwrap_or_else(PoisonError::into_inner))
}

type Led = Result<Result<(), RunError>, Box<dyn Any + Send>>;

fn finish(opened: Result<(), OrtError>, led: Option<Led>) -> Result<(), RunError> {
    match led {
        Some(Ok(result)) => opened.map_err(RunError::from).and(result),
        Some(Err(payload)) => resume_unwind(payload),
        None => {
            Err(opened.map_or_else(RunError::from, |()| RunError::Runtime("its thread pool ran no job".to_owned())))
        }
    }
}

/// One run, as its jobs see it.
struct LedRun<F> {
    team: Team,
    /// Taken by the job that leads.
    lead: Mutex<Option<F>>,
    /// Left by it.
    result: Mutex<Option<Led>>,
}

impl<F: FnOnce(&dyn Parallel) -> Result<(), RunError>> LedRun<F> {
    fn job(&self) {
        let lead = self.lead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(lead) = lead else {
            self.team.help();
            return;
        };
        let led = catch_unwind(AssertUnwindSafe(|| lead(&self.team)));
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(led);
        self.team.dismiss();
    }
}

/// What ONNX Runtime's threads call.
unsafe extern "C" fn job<F>(data: *mut c_void, _index: usize)
where
    F: FnOnce(&dyn Parallel) -> Result<(), RunError>,
{
    // SAFETY: `data` is the run that `with_team` passed, which waits for this job. `job` does not unwind.
    unsafe { &*data.cast_const().cast::<LedRun<F>>() }.job();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run_of<F>(width: usize, lead: F) -> LedRun<F>
    where
        F: FnOnce(&dyn Parallel) -> Result<(), RunError>,
    {
        LedRun { team: Team::new(width), lead: Mutex::new(Some(lead)), result: Mutex::new(None) }
    }

    #[test]
    fn jobs_that_come_after_the_run_return() {
        let done = AtomicUsize::new(0);
        let run = run_of(3, |pool: &dyn Parallel| {
            pool.run(10, &|_| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            Ok(())
        });
        // A pool without threads: one job after the other on the calling thread.
        (0..3).for_each(|_| run.job());
        assert_eq!(done.load(Ordering::Relaxed), 10);
        assert!(matches!(*run.result.lock().unwrap(), Some(Ok(Ok(())))));
    }

    #[test]
    fn an_error_and_a_panic_of_the_leader_come_out() {
        let run = run_of(2, |_: &dyn Parallel| Err(RunError::Runtime("no".to_owned())));
        run.job();
        assert_eq!(finish(Ok(()), run.result.into_inner().unwrap()).unwrap_err().to_string(), "no");

        let run = run_of(2, |_: &dyn Parallel| panic!("oh"));
        run.job();
        run.job();
        let led = run.result.into_inner().unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| finish(Ok(()), led)));
        assert_eq!(crate::guard::panic_message(caught.unwrap_err()), "oh");
    }

    /// As ONNX Runtime's pool does it: some jobs begin late, some end before others begin.
    #[test]
    fn every_run_of_many_is_led_once() {
        for round in 0..1000_usize {
            let done = AtomicUsize::new(0);
            let run = run_of(4, |pool: &dyn Parallel| {
                for _ in 0..3 {
                    pool.run(7, &|index| {
                        done.fetch_add(index + round, Ordering::Relaxed);
                    });
                }
                if round % 5 == 4 { Err(RunError::Runtime("no".to_owned())) } else { Ok(()) }
            });
            std::thread::scope(|scope| {
                for late in 0..3 {
                    let run = &run;
                    scope.spawn(move || {
                        (0..late * round % 7).for_each(|_| std::thread::yield_now());
                        run.job();
                    });
                }
                run.job();
            });
            assert_eq!(done.load(Ordering::Relaxed), 3 * (21 + 7 * round));
            let led = finish(Ok(()), run.result.into_inner().unwrap());
            assert_eq!(led.is_err(), round % 5 == 4);
        }
    }

    #[test]
    fn a_pool_that_runs_nothing_is_an_error() {
        assert!(finish(Ok(()), None).unwrap_err().to_string().contains("ran no job"));
    }
}
