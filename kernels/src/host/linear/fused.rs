//! Layers that are carried out together: several that read the same rows, or two that follow one another, after a layer
//! norm if there is one. The results are those of the layers one by one, to the bit.
#![allow(unsafe_code)]

use smallvec::SmallVec;

use super::{
    HostLinear,
    products::{self, Branch},
};
use crate::{
    Context, DeviceKind, Failed, Linear, Product, Rows,
    device::one_by_one,
    host::{HostDevice, shared::Shared},
};

/// Layers that read the same rows and are remembered without allocation.
const INLINE: usize = 8;

/// [`Device::products`]: layers that are the host's, at one precision, convert the rows once between them and are one
/// parallel section.
pub(in crate::host) fn products(
    host: &HostDevice,
    context: &mut Context<'_>,
    from: &Rows<'_>,
    products: &mut [Product<'_>],
) -> Result<(), Failed> {
    from.check();
    let mut branches: SmallVec<[Branch<'_>; INLINE]> = SmallVec::new();
    for product in products.iter_mut() {
        product.check(from.rows);
        branches.extend(own(host, product.layer, from.inputs, product.outputs).map(|layer| Branch {
            layer,
            residual: product.residual,
            out: Shared::new(product.out),
        }));
    }
    let format = |branch: &Branch<'_>| {
        let HostLinear { spec, kernel, .. } = branch.layer;
        (spec.precision, spec.wide_rows, kernel.blocks)
    };
    let alike = branches.windows(2).all(|pair| format(&pair[0]) == format(&pair[1]));
    if branches.len() == products.len() && alike {
        // SAFETY: lengths were checked, each `out` is borrowed, and the layers have one kernel.
        unsafe { products::run(context, from, &branches) };
        (0..branches.len() + usize::from(from.norm.is_some()))
            .for_each(|_| context.counters.executed(DeviceKind::Host));
        return Ok(());
    }
    host.after_norm(context, from, |context, x| one_by_one(context, from.rows, x, products))
}

/// [`Device::mlp`]: the activations between the host's layers stay in its cache if there are rows enough.
pub(in crate::host) fn mlp(
    host: &HostDevice,
    context: &mut Context<'_>,
    from: &Rows<'_>,
    first: &(dyn Linear + 'static),
    hidden: usize,
    second: Product<'_>,
) -> Result<(), Failed> {
    from.check();
    second.check(from.rows);
    let layers = [own(host, first, from.inputs, hidden), own(host, second.layer, hidden, second.outputs)];
    if let [Some(first), Some(layer)] = layers
        && first.spec.precision == layer.spec.precision
    {
        let second = Branch { layer, residual: second.residual, out: Shared::new(second.out) };
        // SAFETY: lengths were checked, and `out` is borrowed.
        unsafe { super::mlp::run(context, from, first, second) };
        (0..2 + usize::from(from.norm.is_some())).for_each(|_| context.counters.executed(DeviceKind::Host));
        return Ok(());
    }
    host.after_norm(context, from, |context, x| {
        let (between, scratch) = context.scratch.floats_and_rest(from.rows * hidden);
        let mut context = Context { pool: context.pool, counters: context.counters, scratch };
        first.run(&mut context, from.rows, x, None, between)?;
        second.layer.run(&mut context, from.rows, between, second.residual, second.out)
    })
}

/// The layer, if it is the host device's, of its instruction set and of these sizes.
fn own<'a>(
    host: &HostDevice,
    layer: &'a (dyn Linear + 'static),
    inputs: usize,
    outputs: usize,
) -> Option<&'a HostLinear> {
    let fits =
        |layer: &&HostLinear| layer.isa() == host.isa() && layer.spec.inputs == inputs && layer.spec.outputs == outputs;
    layer.as_own().filter(fits)
}

impl HostDevice {
    /// Does the work on normed rows, a step of its own.
    pub(crate) fn after_norm(
        &self,
        context: &mut Context<'_>,
        from: &Rows<'_>,
        work: impl FnOnce(&mut Context<'_>, &[f32]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Some(norm) = from.norm else { return work(context, from.x) };
        let (normed, scratch) = context.scratch.floats_and_rest(from.x.len());
        let mut context = Context { pool: context.pool, counters: context.counters, scratch };
        self.layer_norm(&mut context, from.rows, norm, from.x, normed);
        work(&mut context, normed)
    }
}
