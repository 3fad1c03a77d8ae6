//! Kernels that have a place on an NPU: what pays goes there, by [`Placement`]'s one formula, when it is prepared and each time it runs. The rest
//! stays on the host device, which where that was asked for (`device=auto`) also takes over what fails.
//!
//! The host's layer is made when it is first wanted, of the weights as the NPU holds them: until then, and for ever in a model whose
//! encoder is on the NPU and whose decoder is not, no weight is in memory twice.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use smallvec::SmallVec;
use undertone_kernels::{
    Attention, AttentionArgs, AttentionSpec, CachedArgs, Context, Conv1d, Conv1dSpec, Device, DeviceKind, Failed,
    Linear, LinearSpec, Precision,
    host::{HostDevice, linear::Product},
    npu::{Problem, design::HEAD_WIDTH, placement::Placement},
};

use super::tensor::Shape;
use crate::{
    npu::OpenNpu,
    ops::{self, HeadLayout, ProductOp},
    options::Options,
    program::Step,
};

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

/// Why a step's kernel has its place on the host device beside an NPU; `None` if it is the NPU's: a product of constant weights, or attention without
/// a mask, that pays. `shapes` are those of the graph's values, as far as they are known; an unknown number of rows counts as many, for a kernel
/// decides again when it runs.
pub fn why_not_on_npu(
    step: &Step,
    options: &Options,
    placement: &Placement,
    shapes: &[Option<Shape>],
) -> Option<String> {
    let precision = step.precision(options.precision);
    if precision == Precision::F32 {
        return Some("it is computed in fp32, which an NPU does not have".into());
    }
    let known = |value: Option<usize>| shapes.get(value?).copied().flatten();
    let operand = |index: usize| known(step.input(index));
    let result = known(step.outputs.first().copied());
    let Some(product) = step.op.product() else { return Some("it is no product".into()) };
    let problem = match product {
        ProductOp::Linear(ops::Linear { inputs, outputs, .. }) => {
            operand(0).map(|x| linear(x.elements() / (*inputs).max(1), *inputs, *outputs))
        }
        ProductOp::Conv1d(conv) => {
            let [outputs, in_channels, width] = conv.sizes;
            result.map(|y| linear(y.elements() / outputs.max(1), in_channels * width, outputs))
        }
        ProductOp::Attention(ops::Attention { head_width, q, k, causal, .. }) => {
            if *causal || step.input(3).is_some() {
                return Some("a mask is the host's".into());
            }
            if *k == HeadLayout::HeadsFirst {
                return Some("keys out of a cache are the host's, in fp32".into());
            }
            if head_width.is_some_and(|width| width != HEAD_WIDTH) {
                return Some(format!("the NPU's heads are {HEAD_WIDTH} wide"));
            }
            operand(0).zip(operand(1)).and_then(|(queries, keys)| {
                let ([batch, heads, queries, _], [_, _, keys, _]) = (q.sizes(&queries).ok()?, k.sizes(&keys).ok()?);
                Some(Problem::Attention { heads: batch * heads, queries, keys })
            })
        }
        ProductOp::MatMul(_) => return Some("both operands are known only when it runs".into()),
    };
    let weighed = placement.weigh(precision, problem?)?;
    (!weighed.on_npu()).then(|| weighed.to_string())
}

/// A product as the NPU has it.
fn linear(rows: usize, inputs: usize, outputs: usize) -> Problem {
    Problem::Linear { rows, inputs, outputs }
}

impl Placing {
    /// Whether a kernel has its place on the NPU.
    fn pays(&self, precision: Precision, problem: Problem) -> bool {
        self.npu.placement().on_npu(precision, problem)
    }

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
    /// Inputs and outputs.
    sizes: [usize; 2],
}

impl PlacedLinear {
    /// Of the NPU's layer for a spec.
    pub fn new(npu: Box<dyn Linear>, spec: &LinearSpec, placing: Placing) -> Self {
        Self { npu, host: OnceLock::new(), placing, sizes: [spec.inputs, spec.outputs] }
    }

    /// Whether `rows` rows are the NPU's.
    fn pays(&self, rows: usize) -> bool {
        let [inputs, outputs] = self.sizes;
        self.placing.pays(self.npu.precision(), linear(rows, inputs, outputs))
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
        let pays = self.pays(rows);
        if (!pays || self.placing.leaves())
            && let Some(host) = self.host()
        {
            if pays {
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
        if self.placing.leaves() {
            return None;
        }
        let inner = products.iter_mut().map(|product| {
            let placed = product.layer.as_any()?.downcast_ref::<Self>()?;
            if !placed.pays(rows) {
                // One by one each decides for itself.
                return None;
            }
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
            Err(failure) if self.placing.falls_back => {
                self.placing.npu.retried(&failure);
                None
            }
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
    /// Values of a window, and channels of the result: inputs and outputs of the product that it is.
    sizes: [usize; 2],
}

impl PlacedConv1d {
    /// Of the NPU's convolution for a spec.
    pub fn new(npu: Box<dyn Conv1d>, spec: &Conv1dSpec, placing: Placing) -> Self {
        let sizes = [spec.in_channels * spec.width, spec.out_channels];
        Self { npu, host: OnceLock::new(), placing, sizes }
    }

    /// Whether results of so many values are the NPU's.
    fn pays(&self, values: usize) -> bool {
        let [inputs, outputs] = self.sizes;
        self.placing.pays(self.npu.precision(), linear(values / outputs.max(1), inputs, outputs))
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
        let pays = self.pays(out.len());
        if (!pays || self.placing.leaves())
            && let Some(host) = self.host()
        {
            if pays {
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

/// Attention with its place on an NPU, which by itself leaves masks and caches to the host device.
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

    fn run(&self, context: &mut Context<'_>, args: AttentionArgs<'_>) -> Result<(), Failed> {
        let AttentionArgs { batch, heads, queries, keys, .. } = args;
        let problem = Problem::Attention { heads: batch * heads, queries, keys };
        let pays = self.placing.pays(self.npu.precision(), problem);
        if !pays || self.placing.leaves() {
            if pays {
                self.placing.npu.fell_back(None);
            }
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
