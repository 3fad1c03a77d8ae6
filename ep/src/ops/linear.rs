//! Linear layers: products of rows with a constant matrix, and what is done to them in the same kernel.

mod arithmetic;

use std::ops::Range;

use undertone_kernels::{
    Activation, BlockForm, Context, Linear as Layer, LinearSpec, Scratch, WeightLayout,
    host::{elementwise::Binary, movement::broadcast_shape},
};

pub use self::arithmetic::{FEW_ROWS, LayerSizes, wide_rows};
use super::{
    Computed, Entry, Inferred, Lowered, Lowering, Op, Operands, Operator, Prepared, Preparing, Role, StepRun, Weights,
    coded::{self, Coding},
    left, onnx,
    operator::TOO_MANY_AXES,
    quantised::real_values,
    run::NOT_PREPARED,
    weights::row,
};
use crate::{
    error::PlanError,
    graph::ValueId,
    memory::{Shape, shape_of},
};

pub const OPERATORS: &[Entry] = &[onnx("Gemm", Role::Product, gemm), left("FusedGemm", Role::Product)];

/// `x`, and `residual` if there is a second operand: `activation((x · w + bias) · scale) + residual`. If it is
/// `quantised`, `x` is uint8 or int8 and stands for `(x − zero point) · scale`, by the third operand, its scale, and
/// perhaps a fourth, its zero point.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    pub weights: Weights,
    /// Values of a row of `x`.
    pub inputs: usize,
    pub outputs: usize,
    /// A constant row.
    pub bias: Option<ValueId>,
    /// A factor of the product and its bias.
    pub scale: f32,
    /// Applied after the factor.
    pub activation: Activation,
    /// `x` is quantised.
    pub quantised: bool,
}

pub fn gemm(node: &mut Lowering<'_, '_>) -> Lowered<Op> {
    node.floats()?;
    let of = node.node;
    let plain = of.int("transA", 0) == 0 && of.float("alpha", 1.0) == 1.0 && of.float("beta", 1.0) == 1.0;
    let bias = node.input(2);
    let bias_shape = node.constant_shape(2);
    match Linear::lower(node, of.int("transB", 0) != 0).filter(|_| plain) {
        None => Err("Gemm whose matrix is not constant, or with alpha, beta or transA".into()),
        Some(linear) if bias.is_some() && bias_shape != Some(&[linear.outputs]) => {
            Err("Gemm whose bias is not a constant row".into())
        }
        Some(linear) => Ok(Op::Linear(Linear { bias, ..linear })),
    }
}

impl Linear {
    /// A product with a constant matrix, which is `transposed`: stored as `[outputs, inputs]`.
    pub fn new(weights: Weights, [rows, columns]: [usize; 2]) -> Self {
        let (inputs, outputs) = if weights.transposed { (columns, rows) } else { (rows, columns) };
        Self { weights, inputs, outputs, bias: None, scale: 1.0, activation: Activation::None, quantised: false }
    }

    /// The product of a node's first operand with its second, if that is a constant matrix.
    pub fn lower(node: &mut Lowering<'_, '_>, transposed: bool) -> Option<Self> {
        let &[rows, columns] = node.constant_shape(1)? else { return None };
        let value = node.input(1)?;
        node.reads(&[0]);
        Some(Self::new(Weights { transposed, ..Weights::plain(value) }, [rows, columns]))
    }

    /// The form of weights that are stored in blocks, which kernels know.
    pub fn form(&self) -> Option<BlockForm> {
        self.weights.coding.and_then(Coding::form)
    }

    /// The layer's sizes, with the rows of an operand of a shape, if that is known.
    pub fn sizes(&self, x: Option<Shape>) -> LayerSizes {
        LayerSizes { rows: x.map(|x| x.elements() / self.inputs.max(1)), inputs: self.inputs, outputs: self.outputs }
    }

    /// The shape of the product of `x`, without a residual. An error if rows of `x` are of another width.
    pub fn product(&self, x: &Shape) -> Inferred<Shape> {
        match x.split_last() {
            Some((last, leading)) if *last == self.inputs => {
                shape_of(leading.iter().copied().chain([self.outputs])).ok_or_else(|| TOO_MANY_AXES.into())
            }
            _ => Err(format!("{x:?} times a matrix of {} rows", self.inputs)),
        }
    }

    /// The rows that are multiplied (the first operand, or what a quantised one stands for), and the working memory
    /// that is left.
    fn rows<'r>(
        &self,
        operands: Operands<'r, '_, '_>,
        scratch: &'r mut Scratch,
    ) -> Computed<(&'r [f32], &'r mut Scratch)> {
        if !self.quantised {
            return Ok((operands.data(0)?, scratch));
        }
        const BY_ROW: &str = "an operand that is quantised row by row";
        let [scale] = operands.data::<f32>(2)? else { return Err(BY_ROW.into()) };
        let zero_point = match operands.optional::<u8>(3)? {
            None => None,
            Some([zero_point]) => Some(*zero_point),
            Some(_) => return Err(BY_ROW.into()),
        };
        let stored: &[u8] = operands.data(0)?;
        let (floats, rest) = scratch.floats_and_rest(stored.len());
        real_values(stored, operands.dtype(0)?, *scale, zero_point, floats);
        Ok((floats, rest))
    }

    /// Adds a residual of another shape than the layer's result, which no exported Whisper has.
    fn broadcast_residual(
        &self,
        kernel: &dyn Layer,
        context: &mut Context<'_>,
        x: &[f32],
        run: &mut StepRun<'_, '_, '_>,
    ) -> Computed<()> {
        let operands = run.operands;
        let rows = x.len() / self.inputs.max(1);
        let mut y = vec![0.0; rows * self.outputs];
        kernel.run(context, rows, x, None, &mut y)?;
        let (y_shape, shape) = (self.product(operands.shape(0)?)?, run.shape);
        let addends = [(&y[..], &y_shape[..]), (operands.data(1)?, &operands.shape(1)?[..])];
        let host = run.host;
        host.binary(context, Binary::Add, addends, &shape, run.elements()?);
        Ok(())
    }
}

impl Operator for Linear {
    fn class(&self) -> (&'static str, Role) {
        ("linear", Role::Product)
    }

    fn data(&self) -> Range<usize> {
        0..2
    }

    fn constants(&self) -> [Option<ValueId>; 5] {
        self.weights.constants(self.bias)
    }

    /// The product's, widened by the residual if that has more rows.
    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let product = self.product(operands.shape(0)?)?;
        let Ok(residual) = operands.shape(1) else { return Ok(product) };
        if *residual == product {
            return Ok(product);
        }
        broadcast_shape(&[&product, residual]).ok_or_else(|| format!("a residual of {residual:?} added to {product:?}"))
    }

    fn flops(&self, operands: &dyn Fn(usize) -> Option<Shape>, _: Option<Shape>) -> Option<f64> {
        // An unknown number of rows counts as one.
        let rows = operands(0).map_or(1.0, |x| x.elements() as f64 / self.inputs.max(1) as f64);
        Some(2.0 * rows * (self.inputs * self.outputs) as f64)
    }

    fn prepare(&self, preparing: &Preparing<'_>) -> Result<Option<Prepared>, PlanError> {
        let Self { weights, inputs, outputs, bias, scale, activation, .. } = *self;
        let layout = if weights.transposed { WeightLayout::OutputsByInputs } else { WeightLayout::InputsByOutputs };
        let precision = preparing.precision;
        let (wide_rows, _) = wide_rows(precision, self.sizes(preparing.shape(0)), self.form());
        let spec = LinearSpec { inputs, outputs, precision, wide_rows, activation, scale };
        let smoothing = if weights.smoothing.is_some() { " smoothed" } else { "" };
        let dtype = preparing.constant(weights.value)?.dtype;
        let coding = weights.coding.map(|coding| format!(" {coding:?}")).unwrap_or_default();
        let key = weights.key(preparing, bias, format!("{spec:?} {layout:?} {dtype}{coding}"), smoothing)?;
        let kernel = preparing.store.linear(key, &spec, self.form(), || {
            let bias = bias.map(|value| row(preparing, value, outputs)).transpose()?;
            let device = preparing.device();
            if let Some(form) = self.form() {
                let weights = coded::blocks(&weights, preparing, [inputs, outputs], form)?;
                return Ok(device.block_linear(&spec, &weights, bias.as_deref())?);
            }
            let values = weights.matrix(preparing, [inputs, outputs])?;
            Ok(device.linear(&spec, &values, layout, bias.as_deref())?)
        })?;
        Ok(Some(Prepared::Linear(kernel)))
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, context: &mut Context<'_>) -> Computed<()> {
        let operands = run.operands;
        let Some(Prepared::Linear(kernel)) = run.prepared else { return Err(NOT_PREPARED.into()) };
        let Context { pool, counters, ref mut scratch } = *context;
        let (x, scratch) = self.rows(operands, scratch)?;
        let context = &mut Context { pool, counters, scratch };
        let rows = x.len() / self.inputs.max(1);
        let residual = match operands.shape(1) {
            Err(_) => None,
            Ok(shape) if *shape != run.shape || rows * self.outputs != run.shape.elements() => {
                return self.broadcast_residual(&***kernel, context, x, run);
            }
            Ok(_) => Some(operands.data(1)?),
        };
        Ok(kernel.run(context, rows, x, residual, run.elements()?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        graph::{Attribute, DataType, Graph},
        testing::{Builder, alone, assert_close, floats, refusal},
    };

    const F: DataType = DataType::F32;

    fn gemm(attributes: &[(&str, Attribute<'static>)]) -> Graph<'static> {
        let graph = Builder::default().input("x", F, &[1, 2]).constant("w", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        graph
            .constant("b", &[3], &[0.5, 0.0, -0.5])
            .node_of("Gemm", &["x", "w", "b"], &[("y", F)], attributes)
            .build(&["y"])
    }

    #[test]
    fn a_gemm_with_a_transposed_matrix_is_a_linear_layer() {
        let graph = gemm(&[("transB", Attribute::Int(1))]);
        assert_close(&alone(&graph, &[floats(&[1, 2], &[1.0, -1.0])]).floats(), &[-0.5, -1.0, -1.5]);
    }

    #[test]
    fn a_gemm_that_is_more_than_a_layer_is_refused_with_all_of_its_operands() {
        let graph = gemm(&[("transB", Attribute::Int(1)), ("alpha", Attribute::Float(2.0))]);
        assert!(refusal(&graph).contains("alpha"));
        let step = crate::lower::lower(&graph).steps.pop().expect("a step");
        assert_eq!(step.inputs, graph.nodes[0].inputs, "what the operands come from is not forgotten");
        assert!(refusal(&gemm(&[])).contains("constant row"), "a bias of three for rows of two");
    }
}
