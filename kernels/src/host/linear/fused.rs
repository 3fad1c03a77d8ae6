//! Layers that are carried out together: several that read the same rows, or two that follow one another, after a layer norm if
//! there is one. The results are those of the layers one by one, to the bit.
#![allow(unsafe_code)]

use smallvec::SmallVec;

use super::{
    HostLinear, mlp,
    products::{self, Branch},
    rows::Rows,
};
use crate::{
    Context, DeviceKind, Failed, Linear,
    host::{HostDevice, norm::layer_norm, shared::Shared},
};

/// Layers that read the same rows and are remembered without allocation.
const INLINE: usize = 8;

/// A layer and its operands except the rows that it reads.
pub struct Product<'a> {
    /// The layer.
    pub layer: &'a dyn Linear,
    /// Outputs of the layer.
    pub outputs: usize,
    /// `[rows, outputs]`, added last.
    pub residual: Option<&'a [f32]>,
    /// `[rows, outputs]`.
    pub out: &'a mut [f32],
}

impl Product<'_> {
    fn check(&self, rows: usize) {
        let outputs = self.outputs;
        assert_eq!(self.out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        assert!(
            self.residual.is_none_or(|residual| residual.len() == self.out.len()),
            "residual is [{rows}, {outputs}]"
        );
    }
}

impl HostDevice {
    /// Computes several layers of the same rows. Counts as one
    /// call for each layer, and one for the norm.
    ///
    /// Layers that are this device's, at one precision, convert the rows once between them and are one parallel section.
    ///
    /// # Errors
    /// If a layer is another device's, and that fails.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` and the layers ask.
    pub fn products(
        &self,
        context: &mut Context<'_>,
        from: &Rows<'_>,
        products: &mut [Product<'_>],
    ) -> Result<(), Failed> {
        from.check();
        let mut branches: SmallVec<[Branch<'_>; INLINE]> = SmallVec::new();
        for product in products.iter_mut() {
            product.check(from.rows);
            branches.extend(self.own(product.layer, from.inputs, product.outputs).map(|layer| Branch {
                layer,
                residual: product.residual,
                out: Shared::new(product.out),
            }));
        }
        let format = |branch: &Branch<'_>| (branch.layer.spec.precision, branch.layer.spec.wide_rows);
        let alike = branches.windows(2).all(|pair| format(&pair[0]) == format(&pair[1]));
        if branches.len() == products.len() && alike {
            // SAFETY: lengths were checked, each `out` is borrowed, and the layers have one kernel.
            unsafe { products::run(context, from, &branches) };
            (0..branches.len() + usize::from(from.norm.is_some()))
                .for_each(|_| context.counters.executed(DeviceKind::Host));
            return Ok(());
        }
        self.after_norm(context, from, |context, x| {
            let first = products.first().map(|product| product.layer);
            if let Some(made) = first.and_then(|layer| layer.run_together(context, from.rows, x, products)) {
                return made;
            }
            for product in products {
                product.layer.run(context, from.rows, x, product.residual, product.out)?;
            }
            Ok(())
        })
    }

    /// Computes `second` of `first` of the rows. Counts as one call for
    /// each layer, and one for the norm.
    ///
    /// The activations between this device's layers stay in its cache if there are rows enough.
    ///
    /// # Errors
    /// If a layer is another device's, and that fails.
    ///
    /// # Panics
    /// If a slice's length is not what `rows` and the layers ask.
    pub fn mlp(
        &self,
        context: &mut Context<'_>,
        from: &Rows<'_>,
        first: &dyn Linear,
        hidden: usize,
        second: Product<'_>,
    ) -> Result<(), Failed> {
        from.check();
        second.check(from.rows);
        let own = [self.own(first, from.inputs, hidden), self.own(second.layer, hidden, second.outputs)];
        if let [Some(first), Some(layer)] = own
            && first.spec.precision == layer.spec.precision
        {
            let second = Branch { layer, residual: second.residual, out: Shared::new(second.out) };
            // SAFETY: lengths were checked, and `out` is borrowed.
            unsafe { mlp::run(context, from, first, second) };
            (0..2 + usize::from(from.norm.is_some())).for_each(|_| context.counters.executed(DeviceKind::Host));
            return Ok(());
        }
        self.after_norm(context, from, |context, x| {
            let (between, scratch) = context.scratch.floats_and_rest(from.rows * hidden);
            let mut context = Context { pool: context.pool, counters: context.counters, scratch };
            first.run(&mut context, from.rows, x, None, between)?;
            second.layer.run(&mut context, from.rows, between, second.residual, second.out)
        })
    }

    /// The layer, if it is this device's and of these sizes.
    fn own<'a>(&self, layer: &'a dyn Linear, inputs: usize, outputs: usize) -> Option<&'a HostLinear> {
        let sizes = |layer: &&HostLinear| layer.spec.inputs == inputs && layer.spec.outputs == outputs;
        layer.as_host().filter(|layer| layer.isa() == self.isa()).filter(sizes)
    }

    /// Does the work on normed rows, a step of its own.
    fn after_norm(
        &self,
        context: &mut Context<'_>,
        from: &Rows<'_>,
        work: impl FnOnce(&mut Context<'_>, &[f32]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let Some(norm) = from.norm else { return work(context, from.x) };
        let (normed, scratch) = context.scratch.floats_and_rest(from.x.len());
        let mut context = Context { pool: context.pool, counters: context.counters, scratch };
        layer_norm(self.isa(), &mut context, from.rows, norm, from.x, normed);
        work(&mut context, normed)
    }
}
