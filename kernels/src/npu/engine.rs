//! A design at work on an array: its context, the streams for the shapes that were met, and buffers that are used
//! again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use undertone_boundary::npu::CoreCosts;

use super::{
    array::{Array, ArrayError, Buffer, Job, RunReport},
    cost::{Machine, Work},
    design::{Argument, Design, Operator, Problem},
    statistics::Counted,
    stream, trust,
};
use crate::{
    Parallel,
    trace::{self, Span, Stage},
};

/// Streams that are kept for shapes that come again; a model has about ten.
const KEPT_PROGRAMS: usize = 64;

/// Predicted seconds of a list of commands, or of one by itself, at most: the driver resets an NPU on which nothing is
/// completed for 2 s (its `tdr_timeout_ms`).
pub(super) const LONGEST_LIST: f64 = 1.0;

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
    /// Whether its epilogue has a GELU.
    pub gelu: bool,
    /// Weights, or keys and values.
    pub b: &'a A::Buffer,
    /// What packing those took for this execution.
    pub packing: Duration,
}

/// What problems gave, as the array left it. Its memory goes back to the engine with it.
pub(super) struct Results<'e, A: Array> {
    engines: &'e Engines<A>,
    engine: &'e Engine<A>,
    operator: Operator,
    buffers: Vec<A::Buffer>,
}

impl<A: Array> Results<'_, A> {
    /// The C of a problem.
    pub fn of(&self, index: usize) -> &[u8] {
        self.buffers[index].bytes()
    }

    /// Unpacks the C of each problem; the time that it takes is counted.
    pub fn unpack(self, mut unpack: impl FnMut(usize, &[u8])) {
        let start = Instant::now();
        (0..self.buffers.len()).for_each(|index| unpack(index, self.of(index)));
        self.engines.counted.packed(self.operator, start.elapsed());
        trace::note(|| {
            let (device, what) = (self.engines.array.kind(), format!("{}, results", self.operator));
            let (commands, bytes, end) = (0, 0, Instant::now());
            [Span { stage: Stage::Packing, what, device, commands, bytes, begin: start, end }]
        });
    }
}

impl<A: Array> Drop for Results<'_, A> {
    fn drop(&mut self) {
        self.buffers.drain(..).for_each(|buffer| self.engine.give(Argument::C, buffer));
    }
}

/// Whoever panicked with the lock left a map of complete entries.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Array> Engines<A> {
    /// Over an array of which these costs were measured.
    pub fn new(array: A, costs: Option<&CoreCosts>) -> Self {
        let counted = Counted::new(Machine::measured(array.target(), costs), array.kind());
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

    /// Executes problems of one operator that read the same rows, in one list where the array can and none becomes too
    /// long: `pack` fills their A.
    ///
    /// # Panics
    /// If there are no problems.
    pub fn execute<'e>(
        &'e self,
        engine: &'e Engine<A>,
        work: &[PackedProblem<'_, A>],
        pool: &dyn Parallel,
        pack: impl FnOnce(&mut [u8]),
    ) -> Result<Results<'e, A>, ArrayError> {
        let first = &work[0];
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
        let packed = Instant::now();
        let mut packing = packed - start;
        let mut jobs: Vec<Job<'_, A>> = work
            .iter()
            .zip(&programs)
            .zip(&mut results)
            .map(|((work, program), c)| Job { program: &**program, a: &a, b: work.b, c })
            .collect();
        let executed = work.iter().map(|work| Work { problem: work.problem, gelu: work.gelu });
        let seconds: Vec<f64> = executed.clone().map(|work| self.counted.predicted(design, work)).collect();
        let (mut report, mut rest) = (RunReport::default(), &mut jobs[..]);
        for commands in lists(&seconds) {
            let (list, others) = rest.split_at_mut(commands);
            report.add(array.run(&engine.context, list, pool)?);
            rest = others;
        }
        engine.give(Argument::A, a);
        packing += work.iter().map(|work| work.packing).sum();
        let operator = Operator::of(design.kernels, &first.problem);
        trace::note(|| {
            let problems: Vec<String> = work.iter().map(|work| work.problem.to_string()).collect();
            let what = format!("{operator} {}", problems.join(", "));
            let (device, moved, free) = (array.kind(), report.dma_bytes.iter().sum(), packed + report.waited);
            let span = |stage, commands, bytes, begin, end| Span {
                stage,
                what: what.clone(),
                device,
                commands,
                bytes,
                begin,
                end,
            };
            [
                span(Stage::Packing, 0, 0, start, packed),
                span(Stage::Queue, work.len(), 0, packed, free),
                span(Stage::Dispatch, work.len(), moved, free, Instant::now()),
            ]
        });
        self.counted.add(design, operator, executed, &report, packing);
        Ok(Results { engines: self, engine, operator, buffers: results })
    }
}

/// How many commands go into each list, one after another, by what each is predicted to take.
fn lists(seconds: &[f64]) -> Vec<usize> {
    let (mut lists, mut sum) = (Vec::new(), f64::INFINITY);
    for seconds in seconds {
        sum += seconds;
        match lists.last_mut() {
            Some(commands) if sum <= LONGEST_LIST => *commands += 1,
            _ => {
                lists.push(1);
                sum = *seconds;
            }
        }
    }
    lists
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
