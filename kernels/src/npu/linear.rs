//! The linear layer on an NPU: its weights stay in the array's memory, rows are packed for each run.

use std::{sync::Arc, time::Duration};

use super::{
    array::{Array, ArrayError, Buffer},
    design::{Argument, Design, Problem},
    engine::{Engine, Engines, PackedProblem},
    layout::{self, PackMethod},
};
use crate::{
    Activation, Context, Device as _, DeviceKind, Failed, Linear, LinearSpec, Precision, Product, WeightLayout,
    host::HostDevice,
};

/// Rows of one dispatch at most: what eight windows of 30 s have. More are cut, so that buffers stay small.
const MOST_ROWS: usize = 12_288;

/// A linear layer, packed and uploaded.
pub(super) struct NpuLinear<A: Array> {
    engines: Arc<Engines<A>>,
    engine: Arc<Engine<A>>,
    spec: LinearSpec,
    weights: A::Buffer,
}

impl<A: Array> NpuLinear<A> {
    /// Packs and uploads.
    pub fn new(
        engines: &Arc<Engines<A>>,
        design: &Design,
        spec: &LinearSpec,
        weights: &[f32],
        layout: WeightLayout,
        bias: Option<&[f32]>,
    ) -> Result<Self, ArrayError> {
        let engine = engines.engine(design)?;
        let problem = Problem::Linear { rows: 1, inputs: spec.inputs, outputs: spec.outputs };
        let bytes = design.buffer_bytes(&problem, Argument::B);
        let mut buffer = engine.buffer(&engines.array, Argument::B, bytes)?;
        layout::pack_weights(PackMethod::best(), design, spec, (weights, layout), bias, buffer.bytes_mut());
        buffer.flush()?;
        Ok(Self { engines: Arc::clone(engines), engine, spec: spec.clone(), weights: buffer })
    }
}

impl<A: Array> Linear for NpuLinear<A> {
    fn device(&self) -> DeviceKind {
        self.engines.array.kind()
    }

    fn precision(&self) -> Precision {
        self.spec.precision
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes().len()
    }

    fn to_host(&self, wide_rows: bool) -> Option<Box<dyn Linear>> {
        let (weights, bias) = layout::unpack_weights(&self.engine.design, &self.spec, self.weights.bytes());
        // The spec's scale is in the weights and the bias.
        let spec = LinearSpec { scale: 1.0, wide_rows, ..self.spec.clone() };
        HostDevice::new().linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).ok()
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let products = &mut [Product { layer: self, outputs: self.spec.outputs, residual, out }];
        self.execute(context, rows, x, &[self], products)
    }
}

impl<A: Array> NpuLinear<A> {
    /// Computes layers of one design by one command, in which their rows are packed once; `None` if they are not all
    /// alike.
    pub fn together(
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        products: &mut [Product<'_>],
    ) -> Option<Result<(), Failed>> {
        let layers: Vec<&Self> = products.iter().map(|product| product.layer.as_own()).collect::<Option<_>>()?;
        let first = *layers.first()?;
        let alike = |other: &&Self| {
            Arc::ptr_eq(&first.engine, &other.engine)
                && first.spec.inputs == other.spec.inputs
                && first.spec.activation == other.spec.activation
        };
        layers.iter().all(alike).then(|| first.execute(context, rows, x, &layers, products))
    }

    /// Computes layers of one design, of the same rows.
    fn execute(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        layers: &[&Self],
        products: &mut [Product<'_>],
    ) -> Result<(), Failed> {
        let inputs = self.spec.inputs;
        assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
        for (layer, product) in layers.iter().zip(&*products) {
            let outputs = layer.spec.outputs;
            assert_eq!(product.out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        }
        let (method, design, pool) = (PackMethod::best(), &self.engine.design, context.pool);
        let gelu = self.spec.activation == Activation::Gelu;
        let mut first = 0;
        while first < rows {
            let here = (rows - first).min(MOST_ROWS);
            let of = |layer: &&'_ Self| Problem::Linear { rows: here, inputs, outputs: layer.spec.outputs };
            let work: Vec<PackedProblem<'_, A>> = layers
                .iter()
                .map(|layer| PackedProblem { problem: of(layer), b: &layer.weights, packing: Duration::ZERO })
                .collect();
            let x = &x[first * inputs..][..here * inputs];
            self.engines
                .execute(
                    &self.engine,
                    &work,
                    pool,
                    |a| layout::pack_rows(method, design, x, [here, inputs], gelu, a, pool),
                    |index, c| {
                        let Product { outputs, residual, out, .. } = &mut products[index];
                        let part = first * *outputs..(first + here) * *outputs;
                        let residual = residual.map(|residual| &residual[part.clone()]);
                        layout::unpack_rows(method, design, c, [here, *outputs], residual, &mut out[part], pool);
                    },
                )
                .map_err(|error| Failed { device: self.device(), operator: "linear", reason: error.to_string() })?;
            first += here;
        }
        layers.iter().for_each(|_| context.counters.executed(self.device()));
        Ok(())
    }
}
