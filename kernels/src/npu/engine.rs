//! A design at work on an array: its context, the streams for the shapes that were met, and buffers that are used
//! again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    array::{Array, ArrayError, Buffer, Job},
    design::{Argument, Design, Problem},
    statistics::Counted,
    stream, trust,
};
use crate::Parallel;

/// Streams that are kept for shapes that come again; a model has about ten.
const KEPT_PROGRAMS: usize = 64;

/// An array with the designs that are open on it.
pub(super) struct Engines<A: Array> {
    pub array: A,
    open: Mutex<HashMap<Design, Opened<A>>>,
    pub counted: Counted,
}

/// A design that is open, or why it will not be tried again.
type Opened<A> = Result<Arc<Engine<A>>, ArrayError>;

/// One design, open.
pub(super) struct Engine<A: Array> {
    pub design: Design,
    context: A::Context,
    programs: Mutex<HashMap<Problem, Arc<A::Program>>>,
    idle: Mutex<Idle<A::Buffer>>,
}

/// Buffers that nobody uses, by argument and size.
type Idle<B> = HashMap<(Argument, usize), Vec<B>>;

/// One of the problems to execute.
pub(super) struct PackedProblem<'a, A: Array> {
    /// Its shape.
    pub problem: Problem,
    /// Weights, or keys and values.
    pub b: &'a A::Buffer,
    /// What packing those took for this execution.
    pub packing: Duration,
}

/// Whoever panicked with the lock left a map of complete entries.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Array> Engines<A> {
    pub fn new(array: A) -> Self {
        let counted = Counted::new(array.target(), array.kind());
        Self { array, open: Mutex::default(), counted }
    }

    /// The engine of a design, opened at its first use. Its answer to a small problem is then compared with the host's:
    /// a bundle that computes something else is not used.
    ///
    /// A design that hung or was not trusted is not tried again: a model has hundreds of kernels, and each would wait
    /// for the limit anew.
    pub fn engine(&self, design: &Design) -> Result<Arc<Engine<A>>, ArrayError> {
        let mut open = lock(&self.open);
        if let Some(opened) = open.get(design) {
            return opened.clone();
        }
        let opened = self.open(design);
        if let Ok(_) | Err(ArrayError::Timeout { .. } | ArrayError::Untrusted { .. }) = &opened {
            open.insert(design.clone(), opened.clone());
        }
        opened
    }

    fn open(&self, design: &Design) -> Result<Arc<Engine<A>>, ArrayError> {
        let engine = Engine::unseen(&self.array, design)?;
        if self.array.computes() {
            trust::check(&engine.design, &|problem, a, b| engine.try_out(&self.array, problem, a, b))?;
        }
        Ok(Arc::new(engine))
    }

    /// Executes problems that read the same rows, in one command where the array can: `pack` fills their A, `unpack`
    /// reads the C of each.
    pub fn execute(
        &self,
        engine: &Engine<A>,
        work: &[PackedProblem<'_, A>],
        pool: &dyn Parallel,
        pack: impl FnOnce(&mut [u8]),
        mut unpack: impl FnMut(usize, &[u8]),
    ) -> Result<(), ArrayError> {
        let Some(first) = work.first() else { return Ok(()) };
        let (design, array) = (&engine.design, &self.array);
        let programs: Vec<_> =
            work.iter().map(|work| engine.program(array, &work.problem)).collect::<Result<_, ArrayError>>()?;
        let mut a = engine.take(array, Argument::A, design.buffer_bytes(&first.problem, Argument::A))?;
        let mut results: Vec<A::Buffer> = Vec::with_capacity(work.len());
        for work in work {
            results.push(engine.take(array, Argument::C, design.buffer_bytes(&work.problem, Argument::C))?);
        }
        let start = Instant::now();
        pack(a.bytes_mut());
        let mut packing = start.elapsed();
        let mut jobs: Vec<Job<'_, A>> = work
            .iter()
            .zip(&programs)
            .zip(&mut results)
            .map(|((work, program), c)| Job { program: &**program, a: &a, b: work.b, c })
            .collect();
        let report = array.run(&engine.context, &mut jobs, pool)?;
        let start = Instant::now();
        for (index, c) in results.into_iter().enumerate() {
            unpack(index, c.bytes());
            engine.give(Argument::C, c);
        }
        packing += start.elapsed();
        engine.give(Argument::A, a);
        packing += work.iter().map(|work| work.packing).sum();
        self.counted.add(design, work.iter().map(|work| work.problem), &report, packing);
        Ok(())
    }
}

impl<A: Array> Engine<A> {
    /// A design that has not shown yet that it can be trusted.
    pub fn unseen(array: &A, design: &Design) -> Result<Self, ArrayError> {
        let context = array.open(design)?;
        let design = array.compiled(&context).unwrap_or(design).clone();
        Ok(Self { design, context, programs: Mutex::default(), idle: Mutex::default() })
    }

    /// Memory for operands that stay: weights.
    pub fn buffer(&self, array: &A, argument: Argument, bytes: usize) -> Result<A::Buffer, ArrayError> {
        array.buffer(&self.context, argument, bytes)
    }

    /// The stream of a shape.
    fn program(&self, array: &A, problem: &Problem) -> Result<Arc<A::Program>, ArrayError> {
        let mut programs = lock(&self.programs);
        if let Some(program) = programs.get(problem) {
            return Ok(Arc::clone(program));
        }
        let words = stream::write(&self.design, problem).map_err(|error| ArrayError::Refused(error.to_string()))?;
        let program = Arc::new(array.program(&self.context, &words)?);
        if programs.len() >= KEPT_PROGRAMS {
            programs.clear();
        }
        programs.insert(*problem, Arc::clone(&program));
        Ok(program)
    }

    /// A buffer of exactly `bytes`: an idle one, or a new one.
    pub fn take(&self, array: &A, argument: Argument, bytes: usize) -> Result<A::Buffer, ArrayError> {
        let idle = lock(&self.idle).get_mut(&(argument, bytes)).and_then(Vec::pop);
        idle.map_or_else(|| self.buffer(array, argument, bytes), Ok)
    }

    /// Keeps a buffer for the next taker.
    pub fn give(&self, argument: Argument, buffer: A::Buffer) {
        let bytes = buffer.bytes().len();
        lock(&self.idle).entry((argument, bytes)).or_default().push(buffer);
    }

    /// Executes a problem without counting it.
    pub fn try_out(&self, array: &A, problem: &Problem, a: &[u8], b: &[u8]) -> Result<Vec<u8>, ArrayError> {
        let program = self.program(array, problem)?;
        let mut buffers = [Argument::A, Argument::B, Argument::C]
            .map(|argument| self.buffer(array, argument, self.design.buffer_bytes(problem, argument)));
        let [Ok(a_buffer), Ok(b_buffer), Ok(c_buffer)] = &mut buffers else {
            return Err(buffers.into_iter().find_map(Result::err).unwrap_or(ArrayError::Lost("no buffers".into())));
        };
        a_buffer.bytes_mut().copy_from_slice(a);
        b_buffer.bytes_mut().copy_from_slice(b);
        b_buffer.flush()?;
        let mut jobs = [Job { program: &*program, a: a_buffer, b: b_buffer, c: c_buffer }];
        array.run(&self.context, &mut jobs, &crate::Serial)?;
        Ok(c_buffer.bytes().to_vec())
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
