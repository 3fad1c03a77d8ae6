//! The linear layer on an NPU: its weights stay in the array's memory, rows are packed for each run.

use std::{sync::Arc, time::Duration};

use super::{
    array::{Array, ArrayError, Buffer},
    design::{Argument, Design, Problem},
    engine::{Engine, Engines, Work},
    layout,
};
use crate::{Activation, Context, DeviceKind, Failed, Linear, LinearSpec, Precision, WeightLayout};

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
        layout::pack_weights(design, spec, weights, layout, bias, buffer.bytes_mut());
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
        let LinearSpec { inputs, outputs, .. } = self.spec;
        assert_eq!(x.len(), rows * inputs, "x is [{rows}, {inputs}]");
        assert_eq!(out.len(), rows * outputs, "out is [{rows}, {outputs}]");
        let (design, pool) = (&self.engine.design, context.pool);
        let gelu = self.spec.activation == Activation::Gelu;
        let mut first = 0;
        while first < rows {
            let here = (rows - first).min(MOST_ROWS);
            let problem = Problem::Linear { rows: here, inputs, outputs };
            let x = &x[first * inputs..][..here * inputs];
            let residual = residual.map(|residual| &residual[first * outputs..][..here * outputs]);
            let out = &mut out[first * outputs..][..here * outputs];
            self.engines
                .execute(
                    &self.engine,
                    &Work { problem, b: &self.weights, packing: Duration::ZERO },
                    pool,
                    |a| layout::pack_rows(design, x, here, inputs, gelu, a, pool),
                    |c| layout::unpack_rows(design, c, here, outputs, residual, out, pool),
                )
                .map_err(|error| Failed { device: self.device(), operator: "linear", reason: error.to_string() })?;
            first += here;
        }
        context.counters.executed(self.device());
        Ok(())
    }
}
