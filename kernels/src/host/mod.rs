//! The host device: the NPU's arithmetic on this machine's CPU.
//!
//! | where | what |
//! |---|---|
//! | `linear`, `matmul`, `conv` | products with weights, of two run-time operands, and of windows: one tile kernel |
//! | `attention` | soft-max of products, block by block; the key-value cache |
//! | `norm`, [`elementwise`], [`movement`] | everything else of a graph |
//! | `simd`, `vecmath` | vectors of each instruction set, one file to each, and functions on them |
//! | `isa` | which instruction set is used |
//! | [`choice`] | the next token |
//! | `split`, `shared` | cutting work into tasks, and the memory that those write |
//!
//! Every kernel is written once, generic over `simd::Simd`; nothing outside `simd` names an instruction set's
//! instructions.

mod attention;
pub mod choice;
pub(crate) mod conv;
pub mod elementwise;
mod isa;
pub(crate) mod linear;
mod matmul;
pub mod movement;
mod norm;
pub(crate) mod shared;
pub(crate) mod simd;
pub(crate) mod split;
pub(crate) mod vecmath;
mod workers;

pub use attention::cache::{KvCache, Side};
pub use isa::Isa;

use crate::{
    Attention, AttentionSpec, Blob, BlockForm, BlockWeights, Context, Conv1d, Conv1dSpec, Device, DeviceKind, Failed,
    Linear, LinearSpec, Precision, Product, Rows, Unfit, Unsupported, WeightLayout,
};

/// The CPU as a device. It takes every spec.
#[derive(Clone, Copy, Debug)]
pub struct HostDevice {
    isa: Isa,
}

impl HostDevice {
    /// With the most capable instruction set of this CPU.
    pub fn new() -> Self {
        Self { isa: Isa::best() }
    }

    /// With a given instruction set, or `None` if this CPU does not have it.
    pub fn with_isa(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self { isa })
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// A linear layer from the [`Linear::parts`] of one that was prepared for the same spec and instruction set. Large
    /// parts are used where they lie.
    ///
    /// # Errors
    /// [`Unfit`] if the parts' number, sizes or alignment are not those of this spec.
    pub fn restore_linear(&self, spec: &LinearSpec, parts: &[Blob]) -> Result<Box<dyn Linear>, Unfit> {
        linear::restore(self.isa, spec, None, parts)
    }

    /// The same of a layer that was prepared of weights in blocks ([`Device::block_linear`]) of a form.
    ///
    /// # Errors
    /// As [`HostDevice::restore_linear`].
    pub fn restore_block_linear(
        &self,
        spec: &LinearSpec,
        form: BlockForm,
        parts: &[Blob],
    ) -> Result<Box<dyn Linear>, Unfit> {
        linear::restore(self.isa, spec, Some(form), parts)
    }

    /// A convolution likewise, from its [`Conv1d::parts`].
    pub fn restore_conv1d(&self, spec: &Conv1dSpec, parts: &[Blob]) -> Result<Box<dyn Conv1d>, Unfit> {
        conv::restore(self.isa, spec, parts)
    }

    /// An empty key-value cache for attention on this device.
    pub fn cache(&self, side: Side, precision: Precision, heads: usize, width: usize) -> KvCache {
        KvCache::new(self.isa, side, precision, heads, width)
    }
}

impl Default for HostDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for HostDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Host
    }

    fn linear(
        &self,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        Ok(linear::prepare(self.isa, spec, weights, layout, bias))
    }

    fn block_linear(
        &self,
        spec: &LinearSpec,
        weights: &BlockWeights<'_>,
        bias: Option<&[f32]>,
    ) -> Result<Box<dyn Linear>, Unsupported> {
        Ok(linear::prepare_blocks(self.isa, spec, weights, bias))
    }

    fn attention(&self, spec: &AttentionSpec) -> Result<Box<dyn Attention>, Unsupported> {
        Ok(attention::prepare(self.isa, spec))
    }

    fn conv1d(&self, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<Box<dyn Conv1d>, Unsupported> {
        Ok(conv::prepare(self.isa, spec, weights, bias))
    }

    fn products(&self, context: &mut Context<'_>, rows: &Rows<'_>, products: &mut [Product<'_>]) -> Result<(), Failed> {
        linear::fused::products(self, context, rows, products)
    }

    fn mlp(
        &self,
        context: &mut Context<'_>,
        rows: &Rows<'_>,
        first: &(dyn Linear + 'static),
        hidden: usize,
        second: Product<'_>,
    ) -> Result<(), Failed> {
        linear::fused::mlp(self, context, rows, first, hidden, second)
    }
}
