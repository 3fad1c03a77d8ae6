//! 1-D convolutions with constant kernels.

use undertone_kernels::{Activation, Context, Conv1dSpec};

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Prepared, Preparing, Role, StepRun, Weights,
    left, onnx,
    operator::TOO_MANY_AXES,
    run::NOT_PREPARED,
    weights::{Axis, row},
};
use crate::{
    error::PlanError,
    graph::{Attribute, Node, ValueId},
    memory::Shape,
};

pub const OPERATORS: &[Entry] =
    &[onnx("Conv", Role::Product, conv), left("FusedConv", Role::Product), left("ConvTranspose", Role::Product)];

/// `x`, convolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    pub weights: Weights,
    /// Their shape: `[out_channels, in_channels, width]`.
    pub sizes: [usize; 3],
    /// `[out_channels]`.
    pub bias: Option<ValueId>,
    /// Distance between two outputs.
    pub stride: usize,
    /// Zeros before and after.
    pub padding: [usize; 2],
    /// Applied after the bias.
    pub activation: Activation,
    /// The operand is `[batch, length, channels]`.
    pub input_channels_last: bool,
    /// The result is `[batch, length, channels]`.
    pub output_channels_last: bool,
}

pub fn conv(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    let kernels = node.input(1).zip(node.constant_shape(1).and_then(|shape| shape.try_into().ok()));
    let (value, sizes): (_, [usize; 3]) = kernels.ok_or("Conv whose kernel is not a constant of rank 3")?;
    let bias = node.input(2);
    let conv = Conv::of(node.node, Weights::plain(value), sizes, bias)?;
    if bias.is_some() && node.constant_shape(2) != Some(&sizes[..1]) {
        return Err("Conv whose bias is not constant".into());
    }
    node.reads(&[0]);
    Ok(Op::Conv1d(conv))
}

impl Conv {
    /// What a Conv or ConvInteger computes with kernels of a shape, or what a 1-D convolution of this EP does not do.
    /// An error if its attributes ask for more than a stride and padding.
    pub fn of(node: &Node<'_>, weights: Weights, sizes: [usize; 3], bias: Option<ValueId>) -> Lowered<Self> {
        if node.int("group", 1) != 1 || node.ints("dilations").is_some_and(|d| d.iter().any(|d| *d != 1)) {
            return Err("Conv with groups or dilation".into());
        }
        if let Some(Attribute::String(pad)) = node.attributes.get("auto_pad")
            && pad != "NOTSET"
        {
            return Err(format!("Conv with auto_pad={pad}"));
        }
        let stride = match node.ints("strides") {
            None => 1,
            Some([stride]) if *stride > 0 => *stride as usize,
            Some(_) => return Err("Conv that is not 1-D".into()),
        };
        if sizes.contains(&0) {
            return Err(format!("Conv with kernels of {sizes:?}"));
        }
        let padding = match node.ints("pads") {
            None => [0, 0],
            Some([before, after]) if *before >= 0 && *after >= 0 => [*before as usize, *after as usize],
            Some(_) => return Err("Conv that is not 1-D".into()),
        };
        let activation = Activation::None;
        let (input_channels_last, output_channels_last) = (false, false);
        Ok(Self { weights, sizes, bias, stride, padding, activation, input_channels_last, output_channels_last })
    }

    /// The batch and length of an operand, and the result's shape.
    fn resolve(&self, x: &Shape) -> Inferred<([usize; 2], Shape)> {
        let [out_channels, in_channels, width] = self.sizes;
        let [batch, a, b] = x[..] else { return Err(format!("a convolution of {x:?}")) };
        let (channels, length) = if self.input_channels_last { (b, a) } else { (a, b) };
        let padded = length.saturating_add(self.padding[0]).saturating_add(self.padding[1]);
        if channels != in_channels || padded < width {
            return Err(format!("{x:?} convolved by kernels of {in_channels} channels and width {width}"));
        }
        let out_length = (padded - width) / self.stride + 1;
        let out = if self.output_channels_last {
            [batch, out_length, out_channels]
        } else {
            [batch, out_channels, out_length]
        };
        Ok(([batch, length], Shape::new(&out).ok_or(TOO_MANY_AXES)?))
    }
}

impl Operator for Conv {
    fn class(&self) -> (&'static str, Role) {
        ("convolution", Role::Product)
    }

    fn constants(&self) -> [Option<ValueId>; 5] {
        self.weights.constants(self.bias)
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        self.resolve(operands.shape(0)?).map(|(_, shape)| shape)
    }

    fn flops(&self, _: &dyn Fn(usize) -> Option<Shape>, result: Option<Shape>) -> Option<f64> {
        let [out_channels, in_channels, width] = self.sizes;
        // An unknown length counts as one.
        let made = result.map_or(out_channels, |result| result.elements());
        Some(2.0 * made as f64 * (in_channels * width) as f64)
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Prepared>, PlanError> {
        let [out_channels, in_channels, width] = self.sizes;
        let spec = Conv1dSpec {
            in_channels,
            out_channels,
            width,
            stride: self.stride,
            padding: self.padding,
            precision: preparing.precision,
            activation: self.activation,
            input_channels_last: self.input_channels_last,
            output_channels_last: self.output_channels_last,
        };
        let dtype = preparing.constant(self.weights.value)?.dtype;
        let key = self.weights.key(preparing, self.bias, format!("{spec:?} {dtype}"), "")?;
        let kernel = preparing.store.convolution(key, &spec, || {
            let values = self.weights.real(preparing, out_channels, Axis::First)?;
            let bias = self.bias.map(|value| row(preparing, value, out_channels)).transpose()?;
            Ok(preparing.device().conv1d(&spec, &values, bias.as_deref())?)
        })?;
        Ok(Some(Prepared::Conv1d(kernel)))
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let Some(Prepared::Conv1d(kernel)) = run.prepared else { return Err(NOT_PREPARED.into()) };
        let ([batch, length], _) = self.resolve(operands.shape(0)?)?;
        Ok(kernel.run(context, batch, length, operands.data(0)?, run.elements()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::DataType,
        testing::{Builder, alone, assert_close, floats, refusal},
    };

    const F: DataType = DataType::F32;

    fn graph(attributes: &[(&str, Attribute<'static>)]) -> crate::graph::Graph<'static> {
        let graph = Builder::default().input("x", F, &[1, 1, 4]).constant("w", &[2, 1, 2], &[1.0, 10.0, -1.0, 1.0]);
        graph.constant("b", &[2], &[0.5, 0.0]).node_of("Conv", &["x", "w", "b"], &[("y", F)], attributes).build(&["y"])
    }

    #[test]
    fn a_convolution_with_stride_and_padding() {
        let attributes = [("strides", Attribute::Ints(vec![2])), ("pads", Attribute::Ints(vec![1, 0]))];
        let made = alone(&graph(&attributes), &[floats(&[1, 1, 4], &[1.0, 2.0, 3.0, 4.0])]);
        assert_eq!(made.shape, [1, 2, 2]);
        assert_close(&made.floats(), &[10.5, 32.5, 1.0, 1.0]);
    }

    #[test]
    fn what_no_kernel_does_is_refused() {
        for (name, value, reason) in [
            ("group", Attribute::Int(2), "groups"),
            ("dilations", Attribute::Ints(vec![2]), "dilation"),
            ("auto_pad", Attribute::String("SAME_UPPER".to_owned()), "SAME_UPPER"),
            ("pads", Attribute::Ints(vec![1, 1, 1, 1]), "1-D"),
        ] {
            assert!(refusal(&graph(&[(name, value)])).contains(reason), "{name}");
        }
    }
}
