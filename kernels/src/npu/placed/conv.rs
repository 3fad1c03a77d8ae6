//! A convolution with its place on an NPU.

use std::sync::OnceLock;

use super::PlacedDevice;
use crate::{Context, Conv1d, Conv1dSpec, DeviceKind, Failed, Precision, npu::Problem};

/// The NPU's convolution, and the host's once it was wanted.
pub(super) struct PlacedConv1d {
    npu: Box<dyn Conv1d>,
    host: OnceLock<Option<Box<dyn Conv1d>>>,
    device: PlacedDevice,
    /// Values of a window: inputs of the product that it is.
    window: usize,
    outputs: usize,
}

impl PlacedConv1d {
    pub fn new(npu: Box<dyn Conv1d>, spec: &Conv1dSpec, device: PlacedDevice) -> Self {
        let window = spec.in_channels * spec.width;
        Self { npu, host: OnceLock::new(), device, window, outputs: spec.out_channels }
    }

    /// Whether results of so many values are the NPU's.
    fn pays(&self, values: usize) -> bool {
        let rows = values / self.outputs.max(1);
        let problem = Problem::Linear { rows, inputs: self.window, outputs: self.outputs };
        self.device.pays(self.npu.precision(), problem)
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

    fn run(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        length: usize,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.device.call(
            self.pays(out.len()),
            &mut (context, out),
            |(context, out)| self.npu.run(context, batch, length, x, out),
            |(context, out)| Some(self.host()?.run(context, batch, length, x, out)),
        )
    }
}
