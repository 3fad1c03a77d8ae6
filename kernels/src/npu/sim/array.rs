//! The simulator as an [`Array`]: contexts, buffers and programs in this process's memory, with the hardware's limits.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::{Fault, Mode, execute_faulty, execute_trial};
use crate::{
    DeviceKind, Parallel, Scratch,
    npu::{
        array::{Array, ArrayError, Buffer, Job, OpenTrial, RunReport},
        design::{Argument, Design},
        device::Commands,
        target::Target,
        trial::Trial,
    },
};

/// A simulated NPU.
pub struct SimArray {
    target: Target,
    mode: Mode,
    commands: Commands,
    fault: Option<Fault>,
    open: Arc<AtomicUsize>,
    /// Contexts that were ever made, so that each has a number.
    made: AtomicUsize,
    /// The context that was executed last: another one's array has to be loaded first.
    loaded: Mutex<Option<usize>>,
}

/// A hardware context of the simulated NPU.
pub struct SimContext {
    loaded: Loaded,
    number: usize,
    open: Arc<AtomicUsize>,
}

/// What a context has loaded.
enum Loaded {
    Design(Design),
    Trial(Trial),
}

impl Drop for SimContext {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Memory of the simulated NPU.
pub struct SimBuffer {
    memory: Scratch,
    bytes: usize,
}

/// An instruction stream.
pub struct SimProgram {
    words: Vec<u32>,
}

impl SimArray {
    /// A simulated NPU without contexts.
    pub fn new(target: Target, mode: Mode) -> Self {
        let (open, made, loaded) = (Arc::default(), AtomicUsize::new(0), Mutex::new(None));
        Self { target, mode, commands: Commands::default(), fault: None, open, made, loaded }
    }

    /// With commands given so.
    pub fn with_commands(self, commands: Commands) -> Self {
        Self { commands, ..self }
    }

    /// With a fault, for tests of what finds it.
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// A context, if there is one left.
    fn context(&self, loaded: Loaded) -> Result<SimContext, ArrayError> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let context = SimContext { loaded, number, open: self.open.clone() };
        match self.target.contexts() {
            Some(limit) if open >= limit => {
                let reason = "as the driver would say: −22".into();
                Err(ArrayError::Contexts { target: self.target, limit, reason })
            }
            _ => Ok(context),
        }
    }

    /// Contexts that are open.
    pub fn contexts(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Array for SimArray {
    type Context = SimContext;
    type Buffer = SimBuffer;
    type Program = SimProgram;

    fn kind(&self) -> DeviceKind {
        DeviceKind::Sim
    }

    fn target(&self) -> Target {
        self.target
    }

    fn computes(&self) -> bool {
        self.mode != Mode::Count
    }

    fn open(&self, design: &Design) -> Result<SimContext, ArrayError> {
        if design.target != self.target {
            return Err(ArrayError::Refused(format!("a design for {} on {}", design.target, self.target)));
        }
        design.check().map_err(|error| ArrayError::Refused(error.to_string()))?;
        self.context(Loaded::Design(design.clone()))
    }

    fn open_trial(&self, trial: &Trial) -> Result<OpenTrial<SimContext>, ArrayError> {
        if trial.target != self.target {
            return Err(ArrayError::Refused(format!("{trial} on {}", self.target)));
        }
        trial.check().map_err(ArrayError::Refused)?;
        Ok(OpenTrial { context: self.context(Loaded::Trial(trial.clone()))?, trial: trial.clone(), made: None })
    }

    fn buffer(&self, _context: &SimContext, _argument: Argument, bytes: usize) -> Result<SimBuffer, ArrayError> {
        let mut memory = Scratch::default();
        memory.bytes(bytes).fill(0);
        Ok(SimBuffer { memory, bytes })
    }

    fn program(&self, _context: &SimContext, words: &[u32]) -> Result<SimProgram, ArrayError> {
        Ok(SimProgram { words: words.to_vec() })
    }

    fn commands(&self) -> Commands {
        self.commands
    }

    fn run_by(
        &self,
        commands: Commands,
        context: &SimContext,
        jobs: &mut [Job<'_, Self>],
        pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError> {
        let start = Instant::now();
        let dispatches = commands.dispatches(jobs.len());
        let mut report = RunReport { dispatches, core_macs: vec![0; self.target.cores()], ..RunReport::default() };
        if let Some(fault) = self.fault {
            fault.strike(dispatches < jobs.len() as u64)?;
        }
        for job in jobs {
            let Job { program, a, b, c } = job;
            let (words, a, b, c) = (&program.words, a.bytes(), b.bytes(), c.bytes_mut());
            let done = match &context.loaded {
                Loaded::Design(design) => execute_faulty(design, words, [a, b], c, self.mode, pool, self.fault),
                Loaded::Trial(trial) => execute_trial(trial, words, [a, b], c, self.fault),
            }
            .map_err(|error| ArrayError::Refused(error.to_string()))?;
            report.add(RunReport { dispatches: 0, ..done });
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        report.context_switches = u64::from(loaded.is_some_and(|loaded| loaded != context.number));
        *loaded = Some(context.number);
        report.wall = start.elapsed();
        Ok(report)
    }
}

impl Buffer for SimBuffer {
    fn bytes(&self) -> &[u8] {
        self.memory.written(self.bytes)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes(self.bytes)
    }

    fn flush(&mut self) -> Result<(), ArrayError> {
        Ok(())
    }
}
