//! Attention on an NPU: queries, keys and values are packed for each run. What the array does not take (a mask, a
//! cache, nothing) the host device does.

use std::sync::Arc;

use super::{
    array::{Array, ArrayError, Buffer as _},
    design::{Argument, Problem},
    engine::{Engine, Engines, PackedProblem, Results},
    layout::{self, PackMethod, Value},
};
use crate::{
    Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, DeviceKind, Failed, Heads, Mask, Parallel, Precision,
};

/// Attention over an array, and the host's beside it.
pub(super) struct NpuAttention<A: Array> {
    pub engines: Arc<Engines<A>>,
    pub engine: Arc<Engine<A>>,
    pub spec: AttentionSpec,
    pub host: Box<dyn Attention>,
}

impl<A: Array> NpuAttention<A> {
    /// Whether the array takes a call.
    fn takes(args: &AttentionArgs<'_>) -> bool {
        matches!(args.mask, Mask::None) && args.queries > 0 && args.keys > 0 && args.batch * args.heads > 0
    }

    fn execute(&self, context: &Context<'_>, args: AttentionArgs<'_>) -> Result<(), ArrayError> {
        let AttentionArgs { batch, heads, queries, keys, q, k, v, mut out, .. } = args;
        let (design, pool) = (&self.engine.design, context.pool);
        let results = self.results([batch, heads, queries, keys], [&q, &k, &v], pool)?;
        results.unpack(|_, c| {
            layout::unpack_heads(PackMethod::best(), design, c, [batch, heads, queries], &mut out, pool);
        });
        Ok(())
    }

    /// What is said of attention that was not computed.
    pub fn failed(&self, error: &ArrayError) -> Failed {
        Failed { device: self.device(), operator: "attention", reason: error.to_string() }
    }

    /// The results of `[batch, heads, queries, keys]`.
    pub fn results<T: Value>(
        &self,
        shape: [usize; 4],
        [q, k, v]: [&Heads<'_, T>; 3],
        pool: &dyn Parallel,
    ) -> Result<Results<'_, A>, ArrayError> {
        let ([batch, heads, queries, keys], method, design) = (shape, PackMethod::best(), &self.engine.design);
        let problem = Problem::Attention { heads: batch * heads, queries, keys };
        let array = &self.engines.array;
        let mut b = self.engine.take(array, Argument::B, design.buffer_bytes(&problem, Argument::B))?;
        let start = std::time::Instant::now();
        layout::pack_keys_and_values(method, design, [k, v], [batch, heads, keys], b.bytes_mut(), pool);
        let packing = start.elapsed();
        b.flush()?;
        let work = [PackedProblem { problem, gelu: false, b: &b, packing }];
        let results = self.engines.execute(&self.engine, &work, pool, |a| {
            layout::pack_queries(method, design, q, shape, self.spec.scale, a, pool);
        })?;
        self.engine.give(Argument::B, b);
        Ok(results)
    }
}

impl<A: Array> Attention for NpuAttention<A> {
    fn device(&self) -> DeviceKind {
        self.engines.array.kind()
    }

    fn precision(&self) -> Precision {
        self.spec.precision
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed> {
        if !Self::takes(&args) {
            return self.host.run(context, args);
        }
        self.execute(context, args).map_err(|error| self.failed(&error))?;
        context.counters.executed(self.device());
        Ok(())
    }

    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed> {
        self.host.run_cached(context, args)
    }
}
