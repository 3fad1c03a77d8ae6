//! A context's commands: executed one after another by a thread of its own, as by the array.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Reach};
use crate::faults::Fault;
use crate::objects::Bo;
use crate::packet::{self, State};
use crate::timeline::Timeline;
use crate::world::World;

/// The driver's time-out for what makes no progress: amdxdna's `tdr_timeout_ms`, 2000 by default. The real watchdog looks
/// once in so long and strikes after two looks in a row; this one does not wait for the second.
pub const WATCHDOG: Duration = Duration::from_millis(2000);

/// A submission.
pub struct Job {
    /// What its completion reaches.
    pub point: u64,
    /// The object that holds its packet.
    pub command: Arc<Bo>,
    /// What is to be executed: packet, unit, arguments. One, or those of a chain.
    pub work: Vec<(Arc<Bo>, Arc<Engine>, Vec<u8>)>,
    /// Memory that it may touch.
    pub reach: Reach,
}

/// A context's queue.
pub struct Queue {
    jobs: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
    timeline: Arc<Timeline>,
    submitted: u64,
}

impl Queue {
    /// An empty one.
    pub fn start(world: &'static World, timeline: Arc<Timeline>) -> Self {
        let (jobs, receiver) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let worker = Worker { world, timeline: Arc::clone(&timeline), stopped: Arc::clone(&stopped) };
        let worker = std::thread::spawn(move || worker.work(receiver));
        Self { jobs: Some(jobs), worker: Some(worker), stopped, timeline, submitted: 0 }
    }

    /// Appends a job, which is told its point of the timeline; gives that point.
    pub fn push(&mut self, job: impl FnOnce(u64) -> Job) -> u64 {
        self.submitted += 1;
        if let Some(jobs) = &self.jobs {
            // The worker ends only when this side is dropped.
            let _ = jobs.send(job(self.submitted));
        }
        self.submitted
    }

    /// How far it is.
    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline)
    }

    /// Jobs so far.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

struct Worker {
    world: &'static World,
    timeline: Arc<Timeline>,
    stopped: Arc<AtomicBool>,
}

impl Worker {
    fn work(&self, jobs: Receiver<Job>) {
        for job in jobs {
            self.job(&job);
            self.world.count(|counters| counters.pending -= 1);
            self.timeline.signal(job.point);
        }
    }

    fn job(&self, job: &Job) {
        let chain = !Arc::ptr_eq(&job.command, &job.work[0].0);
        let mut seconds = 0.0;
        if chain && job.work.len() > 1 && self.world.fault(&[Fault::Lists]).is_some() {
            job.work.iter().for_each(|(command, ..)| finish(command, State::Abort));
            self.world.count(|counters| counters.failed += job.work.len() as u64);
            return finish(&job.command, State::Abort);
        }
        for (index, (command, engine, arguments)) in job.work.iter().enumerate() {
            let state = self.command(engine, arguments, &job.reach, &mut seconds);
            finish(command, state);
            self.world.count(|counters| match state {
                State::Completed => counters.executed += 1,
                _ => counters.failed += 1,
            });
            if state == State::Completed {
                self.world.done();
            }
            if chain {
                let word = |place: usize| job.command.start + packet::HEADER + 4 * place;
                job.command.memory.publish(word(1), index as u32);
                if state != State::Completed {
                    job.command.memory.publish(word(2), index as u32);
                    return finish(&job.command, state);
                }
            }
        }
        if chain {
            finish(&job.command, State::Completed);
        }
    }

    /// Executes a command; gives the state in which it ends. `seconds` is what its submission has taken on silicon at
    /// least: the watchdog sees no progress within a submission.
    fn command(&self, engine: &Engine, arguments: &[u8], reach: &Reach, seconds: &mut f64) -> State {
        if self.stopped.load(Ordering::SeqCst) {
            return State::Abort;
        }
        match self.world.fault(&[Fault::Timeout, Fault::Hang, Fault::Error, Fault::Abort]) {
            Some(Fault::Timeout) => {
                // What waits for it gives up by itself; some time after, the driver's watchdog ends it, or its context
                // does.
                while self.world.fault(&[Fault::Timeout, Fault::Lost]).is_some() {
                    if self.stopped.load(Ordering::SeqCst) {
                        return State::Abort;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                return State::Timeout;
            }
            Some(Fault::Hang) => {
                let end = Instant::now() + WATCHDOG;
                while Instant::now() < end {
                    if self.stopped.load(Ordering::SeqCst) {
                        return State::Abort;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                return State::Timeout;
            }
            Some(Fault::Abort) => return State::Abort,
            Some(_) => return State::Error,
            None => {}
        }
        let fault = self.world.array_fault();
        let run = std::panic::AssertUnwindSafe(|| engine.execute(arguments, reach, fault));
        let result = std::panic::catch_unwind(run).unwrap_or_else(|_| Err("the simulator panicked".into()));
        result.map_or_else(
            |reason| {
                self.world.log(&format!("a command fails: {reason}"));
                self.world.count(|counters| counters.wrong += 1);
                State::Error
            },
            |took| {
                *seconds += took;
                if *seconds <= WATCHDOG.as_secs_f64() {
                    return State::Completed;
                }
                self.world.log(&format!("the watchdog resets the device: a submission takes {seconds} s or more"));
                self.world.count(|counters| counters.wrong += 1);
                State::Timeout
            },
        )
    }
}

/// Writes the state into a packet's header.
fn finish(command: &Bo, state: State) {
    if let Some(header) = command.memory.read(command.start, packet::HEADER) {
        let header = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        command.memory.publish(command.start, packet::with_state(header, state));
    }
}
