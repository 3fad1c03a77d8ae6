//! Attention on the host: [`streamed`] for the few queries of a decoder step, [`blocked`] for all others.
//!
//! Both are written once over `host::simd`, which has one file per instruction set.

mod blocked;
mod operand;
mod streamed;
mod tile;
mod view;
mod workers;

use self::{
    operand::{Bf16, F32, Int8},
    view::Call,
};
use super::isa::Isa;
use crate::{Attention, AttentionArgs, AttentionSpec, Context, DeviceKind, Precision};

struct HostAttention {
    isa: Isa,
    spec: AttentionSpec,
}

/// Attention has no weights: preparing only chooses.
pub(super) fn prepare(isa: Isa, spec: &AttentionSpec) -> Box<dyn Attention> {
    Box::new(HostAttention { isa, spec: spec.clone() })
}

impl Attention for HostAttention {
    fn device(&self) -> DeviceKind {
        DeviceKind::Host
    }

    /// Calls of at most eight queries use fp32 products whatever this says.
    fn precision(&self) -> Precision {
        self.spec.precision
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) {
        let call = Call::new(&self.spec, args);
        if call.batch * call.heads * call.queries * call.width > 0 {
            match self.spec.precision {
                _ if call.queries <= streamed::MAX_QUERIES => streamed::run(self.isa, &call, context),
                Precision::F32 => blocked::run::<F32>(self.isa, &call, context),
                Precision::Bf16 => blocked::run::<Bf16>(self.isa, &call, context),
                Precision::Int8 => blocked::run::<Int8>(self.isa, &call, context),
            }
        }
        context.counters.executed(DeviceKind::Host);
    }
}
