//! Threads that carry out one run together: one leads and opens parallel sections, the others wait between sections
//! without sleeping.
//!
//! A decoder step has a dozen sections of some tens of microseconds, about as long as it takes to wake a sleeping
//! thread. So threads are woken once for a run, not once for a section, and they watch for the next one while the run
//! lasts: it is over after a millisecond or so, and nothing spins between runs.

#![allow(unsafe_code, reason = "lends a section on the leader's stack to the other threads")]

use std::{
    any::Any,
    hint::spin_loop,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use crate::Parallel;

/// Looks for news so often before it offers its core to others; some ten microseconds.
const PATIENCE: usize = 1000;

/// The threads of one run.
pub struct Team {
    width: usize,
    /// The open section, or NULL.
    section: AtomicPtr<Section<'static>>,
    /// Sections opened so far.
    opened: AtomicUsize,
    /// Helpers that are looking at, or working in, the open section.
    inside: AtomicUsize,
    over: AtomicBool,
}

impl Team {
    /// A team of at most `width` threads, the leader included.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            section: AtomicPtr::new(ptr::null_mut()),
            opened: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// Leads a run with helpers on threads of their own, which end with it: for programs without a thread pool.
    pub fn with_threads<R>(width: usize, lead: impl FnOnce(&Team) -> R) -> R {
        let team = Team::new(width);
        let led = std::thread::scope(|scope| {
            for _ in 1..width {
                scope.spawn(|| team.help());
            }
            let led = catch_unwind(AssertUnwindSafe(|| lead(&team)));
            team.dismiss();
            led
        });
        led.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Works in the leader's sections until the run is over.
    pub fn help(&self) {
        let mut seen = 0;
        let mut waited = 0;
        while !self.over.load(Ordering::Acquire) {
            let opened = self.opened.load(Ordering::Acquire);
            if opened == seen {
                wait(&mut waited);
                continue;
            }
            (seen, waited) = (opened, 0);
            // First say so, then look: the leader closes the section, then waits until nobody is inside. In one total
            // order (SeqCst) either the leader sees this helper, or the helper sees that the section is closed.
            self.inside.fetch_add(1, Ordering::SeqCst);
            let section = self.section.load(Ordering::SeqCst);
            if !section.is_null() {
                // SAFETY: the leader keeps the section alive until nobody is inside.
                unsafe { &*section }.work();
            }
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The run is over: helpers go home.
    pub fn dismiss(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl Parallel for Team {
    fn width(&self) -> usize {
        self.width
    }

    /// Called by the leader only; it takes part.
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.width <= 1 {
            (0..tasks).for_each(task);
            return;
        }
        let section = Section::new(tasks, task);
        self.section.store(ptr::from_ref(&section).cast_mut().cast(), Ordering::SeqCst);
        self.opened.fetch_add(1, Ordering::Release);
        // `work` does not unwind, so the section is always closed before it goes.
        section.work();
        self.section.store(ptr::null_mut(), Ordering::SeqCst);
        let mut waited = 0;
        while self.inside.load(Ordering::SeqCst) != 0 {
            wait(&mut waited);
        }
        section.finish();
    }
}

/// Waits a moment; who has waited long offers its core.
fn wait(waited: &mut usize) {
    *waited += 1;
    if *waited < PATIENCE {
        spin_loop();
    } else {
        std::thread::yield_now();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whoever_takes_it() {
        for helpers in [0, 1, 3] {
            Team::with_threads(helpers + 1, |team| {
                for tasks in [0, 1, 2, 7, 1000] {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    team.run(tasks, &|index| {
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{tasks}");
                }
            });
        }
    }

    /// Each section lives on the leader's stack only as long as it is open: many short ones, with data of their own.
    #[test]
    fn sections_follow_one_another_closely() {
        Team::with_threads(4, |team| {
            for round in 0..20_000_usize {
                let sum = AtomicUsize::new(0);
                team.run(5, &|index| {
                    sum.fetch_add(round + index, Ordering::Relaxed);
                });
                assert_eq!(sum.load(Ordering::Relaxed), 5 * round + 10);
            }
        });
    }

    #[test]
    fn all_tasks_are_done_when_a_section_returns() {
        Team::with_threads(3, |team| {
            let done = AtomicUsize::new(0);
            team.run(3, &|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.load(Ordering::Relaxed), 3);
        });
    }

    #[test]
    fn a_panic_in_a_task_goes_on_with_the_leader() {
        let caught = catch_unwind(|| {
            Team::with_threads(3, |team| team.run(50, &|index| assert!(index != 2, "task {index} fails")));
        });
        assert_eq!(*caught.unwrap_err().downcast::<String>().expect("a formatted message"), "task 2 fails");
    }
}
