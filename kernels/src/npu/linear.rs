//! The linear layer on an NPU: its weights stay in the array's memory, rows are packed for each run.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{
    array::{Array, ArrayError, Buffer},
    cost::Work,
    design::{Argument, Design, Problem},
    engine::{Engine, Engines, LONGEST_LIST, PackedProblem, Results},
    layout::{self, PackMethod},
};
use crate::{
    Activation, Context, Device as _, DeviceKind, Failed, Linear, LinearSpec, Parallel, Precision, Product,
    WeightLayout, host::HostDevice,
};

/// Rows of one dispatch at most: what eight windows of 30 s have. More are cut, so that buffers stay small.
const MOST_ROWS: usize = 12_288;

/// Rows of one dispatch below which nothing is gained by cutting: about what one round of the array computes.
const LEAST_ROWS: usize = 192;

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
    /// What it computes of so many rows.
    pub fn spec(&self) -> &LinearSpec {
        &self.spec
    }

    /// The engine that computes it.
    pub fn engine(&self) -> &Arc<Engine<A>> {
        &self.engine
    }

    /// Whether results go through GELU.
    pub fn gelu(&self) -> bool {
        self.spec.activation == Activation::Gelu
    }

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
        layers.iter().all(|layer| first.reads_as(layer)).then(|| first.execute(context, rows, x, &layers, products))
    }

    /// Rows of one dispatch at most: [`MOST_ROWS`], or fewer where a layer's command would be predicted to take too long.
    pub fn most_rows(layers: &[&Self]) -> usize {
        let too_long = |layer: &&Self, rows: usize| {
            let LinearSpec { inputs, outputs, .. } = layer.spec;
            let work = Work { problem: Problem::Linear { rows, inputs, outputs }, gelu: layer.gelu() };
            layer.engines.counted.predicted(&layer.engine.design, work) > LONGEST_LIST
        };
        let mut most = MOST_ROWS;
        while most > LEAST_ROWS && layers.iter().any(|layer| too_long(layer, most)) {
            most /= 2;
        }
        most
    }

    /// Whether another layer reads the same packed rows.
    pub fn reads_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
            && self.spec.inputs == other.spec.inputs
            && self.spec.activation == other.spec.activation
    }

    /// The results of layers that read the same packed rows.
    pub fn results<'e>(
        layers: &[&'e Self],
        rows: usize,
        pool: &dyn Parallel,
        pack: impl FnOnce(&Design, &mut [u8]),
    ) -> Result<Results<'e, A>, ArrayError> {
        let Self { engines, engine, spec: LinearSpec { inputs, .. }, .. } = layers[0];
        let problem = |layer: &Self| Problem::Linear { rows, inputs: *inputs, outputs: layer.spec.outputs };
        let packed = |layer: &&'e Self| PackedProblem {
            problem: problem(layer),
            gelu: layer.gelu(),
            b: &layer.weights,
            packing: Duration::ZERO,
        };
        let work: Vec<PackedProblem<'e, A>> = layers.iter().map(packed).collect();
        engines.execute(engine, &work, pool, |a| pack(&engine.design, a))
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
        let (inputs, pool) = (self.spec.inputs, context.pool);
        assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
        for (layer, product) in layers.iter().zip(&*products) {
            let outputs = layer.spec.outputs;
            assert_eq!(product.out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        }
        in_parts(rows, 1, Self::most_rows(layers), |part| {
            let (x, shape) = (&x[part.start * inputs..part.end * inputs], [part.len(), inputs]);
            let done = Self::results(layers, part.len(), pool, |design, a| {
                layout::pack_rows(PackMethod::best(), design, x, shape, self.gelu(), a, pool);
            })?;
            done.unpack(|index, c| self.unpack(c, part.clone(), &mut products[index], pool));
            Ok(())
        })
        .map_err(|error| self.failed(&error))?;
        layers.iter().for_each(|_| context.counters.executed(self.device()));
        Ok(())
    }

    /// Takes a part of a layer's rows from its results.
    pub fn unpack(&self, c: &[u8], rows: Range<usize>, product: &mut Product<'_>, pool: &dyn Parallel) {
        let Product { outputs, residual, out, .. } = product;
        let (shape, values) = ([rows.len(), *outputs], rows.start * *outputs..rows.end * *outputs);
        let residual = residual.map(|residual| &residual[values.clone()]);
        layout::unpack_rows(PackMethod::best(), &self.engine.design, c, shape, residual, &mut out[values], pool);
    }

    /// What is said of a layer that was not computed.
    pub fn failed(&self, error: &ArrayError) -> Failed {
        Failed { device: self.device(), operator: "linear", reason: error.to_string() }
    }
}

/// Calls `work` for rows in parts of `most` at most, of whole items of so many rows.
pub(super) fn in_parts<E>(
    rows: usize,
    item: usize,
    most: usize,
    work: impl FnMut(Range<usize>) -> Result<(), E>,
) -> Result<(), E> {
    let part = (most / item.max(1)).max(1) * item.max(1);
    (0..rows).step_by(part).map(|first| first..rows.min(first + part)).try_for_each(work)
}
