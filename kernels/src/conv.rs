//! The 1-D convolution at the foot of Whisper's encoder.

use crate::{Activation, Context, DeviceKind, Failed, Precision};

/// A 1-D convolution's shape and arithmetic (group 1, dilation 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv1dSpec {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Taps.
    pub width: usize,
    /// Distance between two outputs, in inputs.
    pub stride: usize,
    /// Zeros before and after the input.
    pub padding: [usize; 2],
    /// Operands' number format.
    pub precision: Precision,
    /// Applied after the bias.
    pub activation: Activation,
    /// The input is `[batch, length, in_channels]` instead of `[batch, in_channels, length]`.
    pub input_channels_last: bool,
    /// The output is `[batch, out_length, out_channels]` instead of `[batch, out_channels, out_length]`.
    pub output_channels_last: bool,
}

impl Conv1dSpec {
    /// Outputs for an input of `length`; 0 if the padded input is shorter than the taps.
    pub fn out_length(&self, length: usize) -> usize {
        let padded = length + self.padding[0] + self.padding[1];
        if padded < self.width { 0 } else { (padded - self.width) / self.stride + 1 }
    }
}

/// A prepared convolution.
pub trait Conv1d: Send + Sync {
    /// The device that will execute it.
    fn device(&self) -> DeviceKind;

    /// The precision that its products really use.
    fn precision(&self) -> Precision;

    /// Bytes that the packed weights, scales and bias take.
    fn weight_bytes(&self) -> usize;

    /// Its packed form, part by part, to be kept and given to
    /// [`HostDevice::restore_conv1d`](crate::host::HostDevice::restore_conv1d); `None` if it cannot be taken back.
    fn parts(&self) -> Option<Vec<&[u8]>> {
        None
    }

    /// The same convolution on the host device, made of the weights as this device holds them; `None` if they cannot be
    /// taken back.
    fn to_host(&self) -> Option<Box<dyn Conv1d>> {
        None
    }

    /// Convolves `batch` inputs of `length`; layouts as the spec says.
    ///
    /// # Errors
    /// If the device fails; the host device never does.
    ///
    /// # Panics
    /// If a slice's length is not what `batch` and `length` ask.
    fn run(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        length: usize,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed>;
}
