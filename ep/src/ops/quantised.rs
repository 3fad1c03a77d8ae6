//! Quantised tensors: what they stand for, and the parts of quantised products, which fusion turns back into products.

use std::ops::Range;

use undertone_kernels::Context;

use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Role, StepRun, left, node::name, onnx,
    operator::NOT_CARRIED_OUT,
};
use crate::{graph::DataType, memory::Shape};

pub const OPERATORS: &[Entry] = &[
    onnx("DequantizeLinear", Role::Movement, dequantize),
    onnx("DynamicQuantizeLinear", Role::Movement, |_| Ok(Op::QuantisedPart(QuantisedPart::DynamicQuantizeLinear))),
    onnx("MatMulInteger", Role::Product, |_| Ok(Op::QuantisedPart(QuantisedPart::MatMulInteger))),
    onnx("ConvInteger", Role::Product, |_| Ok(Op::QuantisedPart(QuantisedPart::ConvInteger))),
    left("QuantizeLinear", Role::Movement),
    left("MatMulIntegerToFloat", Role::Product),
    left("DynamicQuantizeMatMul", Role::Product),
    left("QLinearMatMul", Role::Product),
    left("QLinearConv", Role::Product),
];

/// `x, scale` and perhaps `zero_point`, both with a single entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dequantize;

/// Part of a quantised product, which is claimed only as a whole. Never executed; an error unless fusion takes it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantisedPart {
    DynamicQuantizeLinear,
    MatMulInteger,
    ConvInteger,
}

pub fn dequantize(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    match (node.dtype(0), node.constant_shape(1)) {
        (Some(DataType::U8 | DataType::I8), Some(scale)) if scale.iter().product::<usize>() == 1 => {
            Ok(Op::Dequantize(Dequantize))
        }
        (dtype, _) => Err(format!("DequantizeLinear of {} other than by one constant scale", name(dtype))),
    }
}

/// Writes the real values that bytes of a tensor stand for: `(stored − zero point) · scale`. The zero point is a byte
/// of the same type.
pub fn real_values(stored: &[u8], dtype: DataType, scale: f32, zero_point: Option<u8>, out: &mut [f32]) {
    let real = |byte: u8| if dtype == DataType::I8 { f32::from(byte as i8) } else { f32::from(byte) };
    let zero = zero_point.map_or(0.0, real);
    for (out, byte) in out.iter_mut().zip(stored) {
        *out = (real(*byte) - zero) * scale;
    }
}

impl Operator for Dequantize {
    fn class(&self) -> (&'static str, Role) {
        ("element-wise", Role::Movement)
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let (stored, scale) = (operands.data(0)?, operands.data::<f32>(1)?[0]);
        let zero_point = operands.optional::<u8>(2)?.map(|zero_point| zero_point[0]);
        real_values(stored, operands.dtype(0)?, scale, zero_point, run.elements()?);
        Ok(())
    }
}

impl QuantisedPart {
    /// Why it is not claimed by itself.
    pub fn reason(self) -> String {
        format!("{self:?} outside a quantised product that the EP knows")
    }
}

impl Operator for QuantisedPart {
    fn class(&self) -> (&'static str, Role) {
        let role = match self {
            QuantisedPart::DynamicQuantizeLinear => Role::Movement,
            QuantisedPart::MatMulInteger | QuantisedPart::ConvInteger => Role::Product,
        };
        ("not claimed", role)
    }

    fn data(&self) -> Range<usize> {
        0..usize::MAX
    }

    fn shape(&self, _: Operands<'_, '_, '_>) -> Inferred<Shape> {
        Err(NOT_CARRIED_OUT.into())
    }

    fn run(&self, _: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        Err(NOT_CARRIED_OUT.into())
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::DataType,
        memory::Input,
        testing::{Builder, alone, refusal},
    };

    #[test]
    fn bytes_stand_for_their_distance_from_the_zero_point() {
        for (dtype, zero_point, want) in
            [(DataType::U8, 128, [0.0, 63.5, -64.0]), (DataType::I8, 255, [-63.5, 0.0, 0.5])]
        {
            let graph = Builder::default()
                .input("x", dtype, &[3])
                .constant("scale", &[], &[0.5])
                .bytes("zero", dtype, &[], &[zero_point])
                .node("DequantizeLinear", &["x", "scale", "zero"], "y")
                .build(&["y"]);
            let made = alone(&graph, &[Input { dtype, shape: &[3], bytes: &[128, 255, 0] }]);
            assert_eq!(made.floats(), want);
        }
    }

    #[test]
    fn a_scale_for_each_row_is_refused() {
        let graph = Builder::default().input("x", DataType::U8, &[2, 3]).constant("scale", &[2], &[0.5, 1.0]);
        assert!(
            refusal(&graph.node("DequantizeLinear", &["x", "scale"], "y").build(&["y"])).contains("one constant scale")
        );
    }
}
