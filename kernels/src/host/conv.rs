//! The 1-D convolution as a product: a window of the input is a row, and the prepared linear layer does the rest
//! (packing, number formats, bias, activation). The rows of one tile of output positions exist at a time.

use super::{isa::Isa, linear, split};
use crate::{
    Blob, Context, Conv1d, Conv1dSpec, Counters, DeviceKind, Failed, Linear, LinearSpec, Precision, Unfit,
    WeightLayout, host::movement::transpose,
};

/// Output positions whose windows are gathered at a time: enough rows to keep a product's inner loops and both of two
/// threads busy, few enough for the second-level cache.
const TILE: usize = 256;

/// A convolution over any device's linear layer: the windows are gathered here.
struct Windows {
    spec: Conv1dSpec,
    product: Box<dyn Linear>,
    /// Output positions of one call of the product.
    tile: usize,
    /// The product's calls are part of this kernel's, and not counted as the caller's.
    inner_calls: Counters,
}

/// Packs the weights for an instruction set.
pub(super) fn prepare(isa: Isa, spec: &Conv1dSpec, weights: &[f32], bias: Option<&[f32]>) -> Box<dyn Conv1d> {
    let host = |spec: &LinearSpec, weights: &[f32]| {
        Ok::<_, std::convert::Infallible>(linear::prepare(isa, spec, weights, WeightLayout::OutputsByInputs, bias))
    };
    match over(spec, weights, TILE, host) {
        Ok(conv) => conv,
        Err(never) => match never {},
    }
}

/// A convolution over the linear layer that `make` makes of a spec and weights `[outputs, inputs]`, with `tile` output
/// positions at a time. `weights` is `[out_channels, in_channels, width]`; windows lie `[width, in_channels]`.
pub(crate) fn over<E>(
    spec: &Conv1dSpec,
    weights: &[f32],
    tile: usize,
    make: impl FnOnce(&LinearSpec, &[f32]) -> Result<Box<dyn Linear>, E>,
) -> Result<Box<dyn Conv1d>, E> {
    let shape = [spec.out_channels, spec.in_channels, spec.width];
    let mut windows = vec![0.0; weights.len()];
    transpose(weights, &shape, &[0, 2, 1], &mut windows);
    let product = make(&product(spec), &windows)?;
    Ok(Box::new(Windows { spec: spec.clone(), product, tile, inner_calls: Counters::new() }))
}

/// A convolution from the parts of one that was prepared for the same spec.
pub(super) fn restore(isa: Isa, spec: &Conv1dSpec, parts: &[Blob]) -> Result<Box<dyn Conv1d>, Unfit> {
    let product = linear::restore(isa, &product(spec), None, parts)?;
    Ok(Box::new(Windows { spec: spec.clone(), product, tile: TILE, inner_calls: Counters::new() }))
}

/// The product that a window is put through.
fn product(spec: &Conv1dSpec) -> LinearSpec {
    let inputs = spec.width * spec.in_channels;
    LinearSpec { activation: spec.activation, ..LinearSpec::new(inputs, spec.out_channels, spec.precision) }
}

impl Conv1d for Windows {
    fn device(&self) -> DeviceKind {
        self.product.device()
    }

    fn precision(&self) -> Precision {
        self.product.precision()
    }

    fn weight_bytes(&self) -> usize {
        self.product.weight_bytes()
    }

    fn parts(&self) -> Option<Vec<&[u8]>> {
        self.product.parts()
    }

    fn to_host(&self) -> Option<Box<dyn Conv1d>> {
        let Self { spec, product, .. } = self;
        Some(Box::new(Self {
            spec: spec.clone(),
            product: product.to_host(false)?,
            tile: TILE,
            inner_calls: Counters::new(),
        }))
    }

    fn run(
        &self,
        context: &mut Context<'_>,
        batch: usize,
        length: usize,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        let spec = &self.spec;
        let (channels, out_channels, out_length) = (spec.in_channels, spec.out_channels, spec.out_length(length));
        assert!(x.len() == batch * length * channels, "convolution: {} inputs", x.len());
        assert!(out.len() == batch * out_length * out_channels, "convolution: {} outputs", out.len());
        let window = spec.width * channels;
        let tile = self.tile.min(out_length);
        // One item's input, channels last and padded; one tile's windows; one tile's outputs where they need turning.
        let padded = (length + spec.padding[0] + spec.padding[1]) * channels;
        let turned = if spec.output_channels_last { 0 } else { tile * out_channels };
        let (memory, rest) = context.scratch.floats_and_rest(padded + tile * window + turned);
        let (input, buffer) = memory.split_at_mut(padded);
        let (rows, turned) = buffer.split_at_mut(tile * window);
        let mut inner = Context { pool: context.pool, counters: &self.inner_calls, scratch: rest };
        if out_length > 0 && out_channels > 0 {
            let items = out.chunks_exact_mut(out_length * out_channels).enumerate();
            for (item, out) in items {
                let x = &x[item * length * channels..][..length * channels];
                self.pad(x, length, input);
                for first in (0..out_length).step_by(tile) {
                    let count = tile.min(out_length - first);
                    let rows = &mut rows[..count * window];
                    if window > 0 {
                        let input = &*input;
                        split::rows(inner.pool, window, rows, &|positions, rows| {
                            for (position, row) in positions.zip(rows.chunks_exact_mut(window)) {
                                let from = (first + position) * spec.stride * channels;
                                row.copy_from_slice(&input[from..from + window]);
                            }
                        });
                    }
                    if spec.output_channels_last {
                        let out = &mut out[first * out_channels..][..count * out_channels];
                        self.product.run(&mut inner, count, rows, None, out)?;
                    } else {
                        let turned = &mut turned[..count * out_channels];
                        self.product.run(&mut inner, count, rows, None, turned)?;
                        for (channel, out) in out.chunks_exact_mut(out_length).enumerate() {
                            for (value, row) in out[first..first + count].iter_mut().zip(turned.chunks(out_channels)) {
                                *value = row[channel];
                            }
                        }
                    }
                }
            }
        }
        context.counters.executed(self.device());
        Ok(())
    }
}

impl Windows {
    /// Copies one item to `[padding + length + padding, channels]`.
    fn pad(&self, x: &[f32], length: usize, input: &mut [f32]) {
        let channels = self.spec.in_channels;
        let (before, rest) = input.split_at_mut(self.spec.padding[0] * channels);
        let (middle, after) = rest.split_at_mut(length * channels);
        before.fill(0.0);
        after.fill(0.0);
        if self.spec.input_channels_last {
            middle.copy_from_slice(x);
        } else {
            transpose(x, &[channels, length], &[1, 0], middle);
        }
    }
}
