//! Kernels that have a place on an NPU: many rows go there, few stay on the host device, and where that was asked for (`device=auto`) the
//! host device takes over what fails.
//!
//! The host's layer is made when it is first wanted, of the weights as the NPU holds them: until then, and for ever in a model whose
//! encoder is on the NPU and whose decoder is not, no weight is in memory twice.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use smallvec::SmallVec;
use undertone_kernels::{
    Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, Conv1d, Device, DeviceKind, Failed, Linear,
    Precision,
    host::{HostDevice, linear::Product},
    npu::{Problem, Target, cost, design::HEAD_WIDTH},
};

use super::tensor::Shape;
use crate::{
    npu::OpenNpu,
    options::Options,
    program::{HeadLayout, Op, Step},
};

/// Rows that are many. Fewer are the host's unless the cost model says that they pay: a dispatch of 60 µs and more, and tiles that are mostly
/// padding, cost more than they do.
pub const LEAST_ROWS: usize = 64;

/// Whether a product of `[rows, inputs, outputs]` has its place on the NPU.
fn product_pays(target: Target, precision: Precision, [rows, inputs, outputs]: [usize; 3]) -> bool {
    rows >= LEAST_ROWS || cost::pays_here(target, precision, &Problem::Linear { rows, inputs, outputs })
}

/// Layers of one command that are remembered without allocation.
const INLINE: usize = 8;

/// The NPU that kernels may have their place on.
#[derive(Clone)]
pub struct Placing {
    /// The device.
    pub npu: Arc<OpenNpu>,
    /// Whether the host device takes over what fails.
    pub falls_back: bool,
}

/// Whether a step's kernel is to have its place on an NPU: a product of constant weights with many rows, or attention without a mask
/// of many queries. `shapes` are those of the graph's values, as far as they are known; an unknown number counts as many, for a kernel
/// decides again when it runs.
pub fn belongs_on_npu(step: &Step, options: &Options, shapes: &[Option<Shape>]) -> bool {
    if options.device == DeviceKind::Host || options.precision == Precision::F32 {
        return false;
    }
    let shape = |index: usize| shapes.get(step.inputs.get(index).copied().flatten()?).copied().flatten();
    let rows = match &step.op {
        Op::Linear { .. } => {
            let result = step.outputs.first().and_then(|value| shapes.get(*value).copied().flatten());
            let Some(x) = shape(0) else { return true };
            let inputs = x.last().copied().unwrap_or(1);
            let outputs = result.and_then(|y| y.last().copied()).unwrap_or(inputs);
            let sizes = [x.elements() / inputs.max(1), inputs, outputs];
            return product_pays(options.npu_settings().target, options.precision, sizes);
        }
        Op::Conv1d(_) => None,
        Op::Attention { head_width, q, k, .. } => {
            let masked = step.inputs.get(3).copied().flatten().is_some();
            // Keys out of a cache are the host's, in f32.
            if masked || *k == HeadLayout::HeadsFirst || head_width.is_some_and(|width| width != HEAD_WIDTH) {
                return false;
            }
            shape(0).filter(|shape| shape.len() == 4).map(|shape| match q {
                HeadLayout::HeadsFirst => shape[2],
                HeadLayout::LengthFirst => shape[1],
            })
        }
        _ => return false,
    };
    rows.is_none_or(|rows| rows >= LEAST_ROWS)
}

impl Placing {
    /// The host's kernel, where it takes over what failed.
    fn successor<T>(&self, failure: &Failed, host: impl FnOnce() -> Option<T>) -> Option<T> {
        let host = self.falls_back.then(host).flatten()?;
        self.npu.fell_back(Some(failure));
        Some(host)
    }

    /// Whether the host device is to compute without the NPU being tried.
    fn leaves(&self) -> bool {
        self.falls_back && self.npu.is_given_up()
    }
}

/// A linear layer with its place on an NPU.
pub struct PlacedLinear {
    npu: Box<dyn Linear>,
    host: OnceLock<Option<Box<dyn Linear>>>,
    placing: Placing,
}

impl PlacedLinear {
    /// Of the NPU's layer.
    pub fn new(npu: Box<dyn Linear>, placing: Placing) -> Self {
        Self { npu, host: OnceLock::new(), placing }
    }

    /// Whether `rows` rows, whose operand has `x` values and whose result `y`, are the NPU's.
    fn pays(&self, rows: usize, x: usize, y: usize) -> bool {
        let each = rows.max(1);
        product_pays(self.placing.npu.device().target(), self.npu.precision(), [rows, x / each, y / each])
    }

    fn host(&self) -> Option<&dyn Linear> {
        self.host.get_or_init(|| self.npu.to_host()).as_deref()
    }
}

impl Linear for PlacedLinear {
    fn device(&self) -> DeviceKind {
        self.npu.device()
    }

    fn precision(&self) -> Precision {
        self.npu.precision()
    }

    fn weight_bytes(&self) -> usize {
        self.npu.weight_bytes()
    }

    fn parts(&self) -> Option<Vec<&[u8]>> {
        None
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let leaves = self.placing.leaves();
        if (!self.pays(rows, x.len(), out.len()) || leaves)
            && let Some(host) = self.host()
        {
            if leaves {
                self.placing.npu.fell_back(None);
            }
            return host.run(context, rows, x, residual, out);
        }
        let Err(failure) = self.npu.run(context, rows, x, residual, out) else {
            self.placing.npu.succeeded();
            return Ok(());
        };
        match self.placing.successor(&failure, || self.host()) {
            Some(host) => host.run(context, rows, x, residual, out),
            None => Err(failure),
        }
    }

    /// One command where all layers have their place on the NPU; where it fails, they are run one by one, each with its own successor.
    fn run_together(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        products: &mut [Product<'_>],
    ) -> Option<Result<(), Failed>> {
        if rows < LEAST_ROWS || self.placing.leaves() {
            // One by one each decides for itself.
            return None;
        }
        let inner = products.iter_mut().map(|product| {
            let placed = product.layer.as_any()?.downcast_ref::<Self>()?;
            let Product { outputs, residual, .. } = *product;
            Some(Product { layer: &*placed.npu, outputs, residual, out: &mut *product.out })
        });
        let mut inner: SmallVec<[Product<'_>; INLINE]> = inner.collect::<Option<_>>()?;
        match self.npu.run_together(context, rows, x, &mut inner)? {
            Ok(()) => {
                self.placing.npu.succeeded();
                Some(Ok(()))
            }
            // Each layer tries once more, and says so if it falls back.
            Err(_) if self.placing.falls_back => None,
            Err(failure) => Some(Err(failure)),
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// A convolution with its place on an NPU.
pub struct PlacedConv1d {
    npu: Box<dyn Conv1d>,
    host: OnceLock<Option<Box<dyn Conv1d>>>,
    placing: Placing,
}

impl PlacedConv1d {
    /// Of the NPU's convolution.
    pub fn new(npu: Box<dyn Conv1d>, placing: Placing) -> Self {
        Self { npu, host: OnceLock::new(), placing }
    }

    fn host(&self) -> Option<&dyn Conv1d> {
        self.host.get_or_init(|| self.npu.to_host()).as_deref()
    }
}

impl Conv1d for PlacedConv1d {
    fn device(&self) -> DeviceKind {
        self.npu.device()
    }

    fn precision(&self) -> Precision {
        self.npu.precision()
    }

    fn weight_bytes(&self) -> usize {
        self.npu.weight_bytes()
    }

    fn parts(&self) -> Option<Vec<&[u8]>> {
        None
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        length: usize,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let leaves = self.placing.leaves();
        if (length < LEAST_ROWS || leaves)
            && let Some(host) = self.host()
        {
            if leaves {
                self.placing.npu.fell_back(None);
            }
            return host.run(context, batch, length, x, out);
        }
        let Err(failure) = self.npu.run(context, batch, length, x, out) else {
            self.placing.npu.succeeded();
            return Ok(());
        };
        match self.placing.successor(&failure, || self.host()) {
            Some(host) => host.run(context, batch, length, x, out),
            None => Err(failure),
        }
    }
}

/// Attention with its place on an NPU, which by itself leaves masks, caches and few queries to the host device.
pub struct PlacedAttention {
    npu: Box<dyn Attention>,
    host: Box<dyn Attention>,
    placing: Placing,
}

impl PlacedAttention {
    /// Of the NPU's attention; `None` if the host device does not take it, which it always does.
    pub fn new(npu: Box<dyn Attention>, spec: &AttentionSpec, placing: Placing) -> Option<Self> {
        Some(Self { npu, host: HostDevice::new().attention(spec).ok()?, placing })
    }
}

impl Attention for PlacedAttention {
    fn device(&self) -> DeviceKind {
        self.npu.device()
    }

    fn precision(&self) -> Precision {
        self.npu.precision()
    }

    fn precision_for(&self, queries: usize) -> Precision {
        self.npu.precision_for(queries)
    }

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed> {
        if self.placing.leaves() {
            self.placing.npu.fell_back(None);
            return self.host.run(context, args);
        }
        let AttentionArgs { batch, heads, queries, keys, q, k, v, mask, mut out } = args;
        let tried = AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out: out.reborrow() };
        let Err(failure) = self.npu.run(context, tried) else {
            self.placing.npu.succeeded();
            return Ok(());
        };
        match self.placing.successor(&failure, || Some(&self.host)) {
            Some(host) => host.run(context, AttentionArgs { batch, heads, queries, keys, q, k, v, mask, out }),
            None => Err(failure),
        }
    }

    fn run_cached(&self, context: &mut Context<'_>, args: CachedArgs<'_>) -> Result<(), Failed> {
        self.host.run_cached(context, args)
    }
}
