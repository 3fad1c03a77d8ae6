//! Attention with its place on an NPU, which by itself leaves masks and caches to the host device.

use super::PlacedDevice;
use crate::{Attention, AttentionArgs, CachedArgs, Context, DeviceKind, Failed, Precision, npu::Problem};

/// The NPU's attention, and the host's.
pub(super) struct PlacedAttention {
    npu: Box<dyn Attention>,
    host: Box<dyn Attention>,
    device: PlacedDevice,
}

impl PlacedAttention {
    pub fn new(npu: Box<dyn Attention>, host: Box<dyn Attention>, device: PlacedDevice) -> Self {
        Self { npu, host, device }
    }

    /// Whether attention of so many heads, of so many queries and keys, is the NPU's.
    pub fn pays(&self, heads: usize, [queries, keys]: [usize; 2]) -> bool {
        self.device.pays(self.npu.precision(), Problem::Attention { heads, queries, keys })
    }

    /// The NPU's kernel.
    pub fn npu(&self) -> &(dyn Attention + 'static) {
        &*self.npu
    }
}

impl Attention for PlacedAttention {
    fn device(&self) -> DeviceKind {
        self.npu.device()
    }

    fn precision(&self) -> Precision {
        self.npu.precision()
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed> {
        self.device.call(
            self.pays(args.batch * args.heads, [args.queries, args.keys]),
            &mut (context, args),
            |(context, args)| self.npu.run(context, args.reborrow()),
            |(context, args)| Some(self.host.run(context, args.reborrow())),
        )
    }

    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed> {
        self.host.run_cached(context, args)
    }
}
