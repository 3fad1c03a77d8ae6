//! Attention on the host.

use super::isa::Isa;
use crate::{Attention, AttentionArgs, AttentionSpec, Context, DeviceKind, Precision, reference};

struct HostAttention {
    spec: AttentionSpec,
}

/// Attention has no weights: preparing chooses the kernels.
pub(super) fn prepare(_isa: Isa, spec: &AttentionSpec) -> Box<dyn Attention> {
    Box::new(HostAttention { spec: spec.clone() })
}

impl Attention for HostAttention {
    fn device(&self) -> DeviceKind {
        DeviceKind::Host
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) {
        reference::attention::attention(&self.spec, args);
        context.counters.executed(DeviceKind::Host);
    }
}
