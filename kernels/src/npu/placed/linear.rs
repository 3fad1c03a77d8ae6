//! A linear layer with its place on an NPU.

use std::sync::OnceLock;

use super::PlacedDevice;
use crate::{Context, DeviceKind, Failed, Linear, LinearSpec, Precision, npu::Problem};

/// The NPU's layer, and the host's once it was wanted.
pub(super) struct PlacedLinear {
    npu: Box<dyn Linear>,
    host: OnceLock<Option<Box<dyn Linear>>>,
    device: PlacedDevice,
    inputs: usize,
    outputs: usize,
    /// Of the host's layer; the NPU's rows have 8 bits.
    wide_rows: bool,
}

impl PlacedLinear {
    pub fn new(npu: Box<dyn Linear>, spec: &LinearSpec, device: PlacedDevice) -> Self {
        let LinearSpec { inputs, outputs, wide_rows, .. } = *spec;
        Self { npu, host: OnceLock::new(), device, inputs, outputs, wide_rows }
    }

    /// Whether `rows` rows are the NPU's.
    pub fn pays(&self, rows: usize) -> bool {
        let problem = Problem::Linear { rows, inputs: self.inputs, outputs: self.outputs };
        self.device.pays(self.npu.precision(), problem)
    }

    /// The NPU's layer.
    pub fn npu(&self) -> &(dyn Linear + 'static) {
        &*self.npu
    }

    /// The host's; `None` if the NPU does not give its weights back.
    pub fn host(&self) -> Option<&(dyn Linear + 'static)> {
        self.host.get_or_init(|| self.npu.to_host(self.wide_rows)).as_deref()
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

    fn run(
        &self,
        context: &mut Context<'_>,
        rows: usize,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.device.call(
            self.pays(rows),
            &mut (context, out),
            |(context, out)| self.npu.run(context, rows, x, residual, out),
            |(context, out)| Some(self.host()?.run(context, rows, x, residual, out)),
        )
    }
}
