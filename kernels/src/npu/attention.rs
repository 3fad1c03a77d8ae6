//! Attention on an NPU: queries, keys and values are packed for each run. What the array does not take (a mask, a
//! cache, nothing) the host device does.

use std::sync::Arc;

use super::{
    array::{Array, ArrayError, Buffer as _},
    design::{Argument, Problem},
    engine::{Engine, Engines, PackedProblem},
    layout::{self, PackMethod},
};
use crate::{Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, DeviceKind, Failed, Mask, Precision};

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
        let (method, design, pool) = (PackMethod::best(), &self.engine.design, context.pool);
        let problem = Problem::Attention { heads: batch * heads, queries, keys };
        let array = &self.engines.array;
        let mut b = self.engine.take(array, Argument::B, design.buffer_bytes(&problem, Argument::B))?;
        let start = std::time::Instant::now();
        layout::pack_keys_and_values(method, design, [&k, &v], [batch, heads, keys], b.bytes_mut(), pool);
        let packing = start.elapsed();
        b.flush()?;
        let shape = [batch, heads, queries, keys];
        self.engines.execute(
            &self.engine,
            &[PackedProblem { problem, gelu: false, b: &b, packing }],
            pool,
            |a| layout::pack_queries(method, design, &q, shape, self.spec.scale, a, pool),
            |_, c| layout::unpack_heads(method, design, c, [batch, heads, queries], &mut out, pool),
        )?;
        self.engine.give(Argument::B, b);
        Ok(())
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
        self.execute(context, args).map_err(|error| Failed {
            device: self.device(),
            operator: "attention",
            reason: error.to_string(),
        })?;
        context.counters.executed(self.device());
        Ok(())
    }

    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed> {
        self.host.run_cached(context, args)
    }
}
