//! Prepares all kernels and large constants of a program, on several threads, the largest first.

use std::{
    cmp::Reverse,
    num::NonZero,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{estimate::Estimate, placement};
use crate::{
    error::PlanError,
    graph::{Graph, ValueId},
    memory::{Store, Stored, WORTH_SHARING},
    ops::{Prepared, Preparing},
    options::Options,
    program::Program,
};

/// Bytes of constants up to which one thread does it all.
const WORTH_THREADS: usize = 1 << 20;

/// What each step runs with, and the large constants that steps read.
type Packed = (Vec<Option<Prepared>>, Vec<Arc<Stored>>);

#[derive(Clone, Copy)]
enum Job {
    Step(usize),
    Constant(ValueId),
}

enum Done {
    Step(Option<Prepared>),
    Constant(Arc<Stored>),
}

/// Prepares what the steps of `program` need. The error is that of the first step that cannot be prepared.
pub fn pack(graph: &Graph<'_>, program: &Program, options: &Options, store: &Store<'_>) -> Result<Packed, PlanError> {
    let size = |value: ValueId| graph.values[value].constant.as_ref().map_or(0, |constant| constant.size());
    let mut read: Vec<ValueId> = program.steps.iter().flat_map(|step| step.inputs.iter().flatten().copied()).collect();
    read.sort_unstable();
    read.dedup();
    let large = read.into_iter().filter(|value| size(*value) >= WORTH_SHARING).map(Job::Constant);
    let jobs: Vec<Job> = (0..program.steps.len()).map(Job::Step).chain(large).collect();
    let cost = |job: &Job| match job {
        Job::Step(step) => program.steps[*step].operands().map(size).sum(),
        Job::Constant(value) => size(*value),
    };
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_cached_key(|job| Reverse::<usize>(cost(&jobs[*job])));

    // What is known of rows decides where kernels go, and how they compute.
    let shapes = Estimate::of(graph, program).shapes;
    let place = |step: usize| {
        let reason = |placement| placement::why_not_on_npu(&program.steps[step], options, placement, &shapes);
        store.placed().filter(|device| reason(device.npu().placement()).is_none())
    };

    let carry_out = |job: Job| match job {
        Job::Step(step) => {
            let (shapes, placed, step) = (&*shapes, place(step), &program.steps[step]);
            let (inputs, precision) = (&*step.inputs, step.precision(options.precision));
            let preparing = Preparing { graph, inputs, precision, shapes, placed, store };
            step.op.operator().prepare(&preparing).map(Done::Step)
        }
        Job::Constant(value) => {
            let value = &graph.values[value];
            let constant = value.constant.as_ref().map_or_else(|| Err("it is none".into()), |c| store.constant(c));
            constant.map(Done::Constant).map_err(|reason| PlanError::Constant { name: value.name.clone(), reason })
        }
    };
    let results: Vec<OnceLock<Result<Done, PlanError>>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            // Each job is taken once, so the cell is empty.
            let _ = results[*job].set(carry_out(jobs[*job]));
        }
    };
    let total: usize = jobs.iter().map(cost).sum();
    let threads = match options.threads {
        _ if total < WORTH_THREADS => 1,
        Some(threads) => threads,
        None => thread::available_parallelism().map_or(1, NonZero::get),
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(jobs.len()) {
            scope.spawn(work);
        }
        work();
    });

    let (mut prepared, mut constants) = (Vec::with_capacity(program.steps.len()), Vec::new());
    for result in results.into_iter().filter_map(OnceLock::into_inner) {
        match result? {
            Done::Step(step) => prepared.push(step),
            Done::Constant(stored) => constants.push(stored),
        }
    }
    Ok((prepared, constants))
}
