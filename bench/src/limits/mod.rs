//! What this machine can do at best, measured: products, exponentials, and reading memory.
//!
//! These are the limits that benchmarks print kernels beside. Each is measured by a loop that does nothing else, on the
//! pool that the kernels run on; none is looked up or computed from a clock. [`instructions`] has the products,
//! [`memory`] the reads.

pub mod instructions;
pub mod memory;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;
use undertone_kernels::host::{HostDevice, Isa, elementwise::Unary};
use undertone_kernels::{Context, Counters, Parallel, Precision, Scratch, Serial};

/// What the machine can do at best, measured. A peak is absent where no loop is known for the instruction set's
/// products.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// 10⁹ int8 operations a second (a multiply-add is two).
    pub int8_gops: Option<f64>,
    /// 10⁹ bf16 operations a second.
    pub bf16_gflops: Option<f64>,
    /// 10⁹ fp32 operations a second.
    pub f32_gflops: Option<f64>,
    /// 10⁹ bytes a second read from memory.
    pub read_gbps: f64,
    /// 10⁹ exponentials a second.
    pub exponentials_gps: f64,
    /// 10⁹ bytes a second by the order of reading; the best is `read_gbps`.
    pub read_patterns_gbps: BTreeMap<&'static str, f64>,
    /// Bytes of the memory that was read, over and over; not said of one thread.
    pub read_from_bytes: Option<u64>,
    /// Bytes of the last-level cache, where the system tells; not said of one thread.
    pub last_level_cache_bytes: Option<u64>,
    /// The same on one thread.
    pub one_thread: Option<Box<Limits>>,
}

/// Samples of every limit, taken in turn with what is measured beside them.
#[derive(Default)]
pub struct Samples {
    instructions: instructions::Peaks,
    exponentials: Vec<f64>,
    /// Reading memory.
    pub memory: memory::Memory,
}

impl Samples {
    /// One more sample of each limit, on all of `pool`'s threads: some 50 ms.
    pub fn sample(&mut self, pool: &dyn Parallel) {
        self.instructions.sample(pool);
        self.exponentials.push(exponentials(pool));
        self.memory.sample(pool);
    }

    /// The best sample of exponentials, in 10⁹ a second of all threads: [`Unary::Exp`] of the best instruction set,
    /// from and to the first-level cache. 0 before the first sample.
    fn gexps(&self) -> f64 {
        self.exponentials.iter().copied().fold(0.0, f64::max)
    }

    /// What was sampled, of the best instruction set.
    pub fn figures(&self) -> Limits {
        let gops = |precision| self.instructions.best(Isa::best(), precision);
        Limits {
            int8_gops: gops(Precision::Int8),
            bf16_gflops: gops(Precision::Bf16),
            f32_gflops: gops(Precision::F32),
            read_gbps: self.memory.gbps(),
            exponentials_gps: self.gexps(),
            read_patterns_gbps: self.memory.patterns().map(|(pattern, gbps)| (pattern.word(), gbps)).collect(),
            ..Limits::default()
        }
    }

    /// How long `work` must take at least with the instructions of `isa`, in milliseconds:
    /// `(by arithmetic, by memory)`; the larger binds. Arithmetic is `None` where the peak of the products is not
    /// known.
    pub fn least_ms(&self, isa: Isa, work: &Work) -> (Option<f64>, f64) {
        let exponentials = if work.exponentials > 0.0 { work.exponentials / self.gexps() } else { 0.0 };
        let products = match work.products {
            Some(precision) => self.instructions.best(isa, precision).map(|gops| work.operations / gops),
            None => Some(0.0),
        };
        (products.map(|products| (products + exponentials) / 1e6), work.bytes / self.memory.gbps() / 1e6)
    }
}

/// What a kernel has to do, whatever does it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Precision of its products' operands; `None` for a kernel whose work is moving memory.
    pub products: Option<Precision>,
    /// Multiplications and additions.
    pub operations: f64,
    /// Exponentials.
    pub exponentials: f64,
    /// Bytes that have to come from or go to memory if every operand and result crosses once.
    pub bytes: f64,
}

/// 10⁹ exponentials a second of all threads, each on its own few thousand values.
fn exponentials(pool: &dyn Parallel) -> f64 {
    const VALUES: usize = 12 * 256;
    const ROUNDS: usize = 500;
    let x: Vec<f32> = (0..VALUES).map(|i| i as f32 / VALUES as f32 * 2.0 - 1.0).collect();
    let memories: Vec<_> = (0..pool.width()).map(|_| Mutex::new(vec![0.0f32; VALUES])).collect();
    let start = Instant::now();
    pool.run(memories.len(), &|task| {
        // Each task has its own memory; a poisoned lock is as good as another.
        let mut out = memories[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (counters, mut scratch) = (Counters::new(), Scratch::default());
        let mut context = Context { pool: &Serial, counters: &counters, scratch: &mut scratch };
        for _ in 0..ROUNDS {
            HostDevice::new().unary(&mut context, Unary::Exp, &x, &mut out);
        }
    });
    (memories.len() * ROUNDS * VALUES) as f64 / start.elapsed().as_secs_f64() / 1e9
}

#[cfg(test)]
mod tests {
    use undertone_kernels::ScopedThreads;

    use super::*;

    #[test]
    fn limits_are_positive_and_a_kernel_is_bound_by_the_slower_of_two() {
        let mut limits = Samples::default();
        limits.sample(&ScopedThreads(2));
        assert!(limits.gexps() > 0.0 && limits.memory.gbps() > 0.0);
        let work = Work { products: None, operations: 0.0, exponentials: 0.0, bytes: 1e9 };
        let (arithmetic, memory) = limits.least_ms(Isa::best(), &work);
        assert_eq!(arithmetic, Some(0.0));
        assert!((memory * limits.memory.gbps() - 1e3).abs() < 1e-6);
        let Some(gops) = limits.instructions.best(Isa::best(), Precision::F32) else { return };
        let work = Work { products: Some(Precision::F32), operations: 3e9, exponentials: 1e9, bytes: 0.0 };
        let expected = (3.0 / gops + 1.0 / limits.gexps()) * 1e3;
        assert!((limits.least_ms(Isa::best(), &work).0.unwrap() - expected).abs() < 1e-9 * expected);
    }
}
