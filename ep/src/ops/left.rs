//! The work of products that are left to ONNX Runtime, so that a report tells how much of a model it is: an estimate
//! from the operator's definition and the shapes of what it reads and makes.

use std::collections::BTreeMap;

use crate::{
    graph::{Attribute, Node},
    memory::Shape,
};

/// Floating-point operations (a multiplication and an addition are two) of a node, from the shapes of its operands and
/// its result; `None` for operators that are no products, and where the shapes do not tell. An unknown number of rows
/// counts as one.
pub fn work(node: &Node<'_>, operand: &dyn Fn(usize) -> Option<Shape>, result: Option<Shape>) -> Option<f64> {
    let elements = |index: usize| operand(index).map(|shape| shape.elements() as f64);
    let made = result.map(|shape| shape.elements() as f64);
    Some(match node.op_type.as_str() {
        "MatMul"
        | "FusedMatMul"
        | "MatMulInteger"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "Gemm"
        | "FusedGemm" => matrix(operand(1)?, node.int("transB", 0) != 0, result)?,
        "QLinearMatMul" | "QGemm" => matrix(operand(3)?, node.int("transB", 0) != 0, result)?,
        // The matrix is packed: its sizes are attributes.
        "MatMulNBits" | "MatMulBnb4" | "MatMulFpQ4" => {
            2.0 * node.int("K", 0) as f64 * made.unwrap_or(node.int("N", 0) as f64)
        }
        "Conv" | "FusedConv" | "NhwcFusedConv" | "ConvInteger" => convolution(operand(1)?, result),
        "QLinearConv" => convolution(operand(3)?, result),
        // Every value that it reads meets all that its channel makes of it.
        "ConvTranspose" => {
            let weights = operand(1)?;
            2.0 * elements(0).unwrap_or(weights[0] as f64) * (weights.elements() / weights[0].max(1)) as f64
        }
        "Einsum" => einsum(node, operand)?,
        // Each step multiplies its inputs and its state with a matrix for all gates.
        "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" => {
            let rows = operand(0).map_or(1, |x| x.iter().rev().skip(1).product::<usize>());
            2.0 * rows as f64 * (elements(1)? + elements(2)?)
        }
        // Queries, keys and values are made inside, of the same rows.
        "Attention" | "QAttention" if node.domain == "com.microsoft" => {
            let (x, weights) = (operand(0)?, operand(1)?);
            let [_, length, _] = x[..] else { return None };
            let rows = (x.elements() / x.last().copied()?.max(1)) as f64;
            let width = *weights.last()? as f64 / 3.0;
            rows * (2.0 * weights.elements() as f64 + 4.0 * width * length as f64)
        }
        "Attention"
        | "MultiHeadAttention"
        | "DecoderMaskedMultiHeadAttention"
        | "GroupQueryAttention"
        | "PackedMultiHeadAttention" => {
            let keys = operand(1).or(operand(0))?;
            let length = match keys[..] {
                [_, length, _] | [_, _, length, _] => length,
                _ => return None,
            };
            4.0 * made.or(elements(0))? * length as f64
        }
        _ => return None,
    })
}

/// A product with a matrix, whose last two axes are given to `matrix`.
fn matrix(matrix: Shape, transposed: bool, result: Option<Shape>) -> Option<f64> {
    let [.., rows, columns] = matrix[..] else { return None };
    let (inputs, outputs) = if transposed { (columns, rows) } else { (rows, columns) };
    Some(2.0 * inputs as f64 * result.map_or(outputs, |result| result.elements()) as f64)
}

/// A convolution with kernels `[channels, channels of a group, …]`.
fn convolution(kernels: Shape, result: Option<Shape>) -> f64 {
    let channels = kernels.first().copied().unwrap_or(1).max(1);
    let each = kernels.elements() / channels;
    2.0 * each as f64 * result.map_or(channels, |result| result.elements()) as f64
}

/// All index sizes multiplied: each index of the equation is summed over, or is one of the result's.
fn einsum(node: &Node<'_>, operand: &dyn Fn(usize) -> Option<Shape>) -> Option<f64> {
    let Some(Attribute::String(equation)) = node.attributes.get("equation") else { return None };
    let operands = equation.split("->").next()?.split(',').map(str::trim);
    let mut sizes = BTreeMap::new();
    for (index, letters) in operands.enumerate() {
        let shape = operand(index)?;
        if letters.chars().count() != shape.len() {
            return None;
        }
        letters.chars().zip(shape.iter()).for_each(|(letter, size)| {
            let known = sizes.entry(letter).or_insert(1);
            *known = (*size).max(*known);
        });
    }
    Some(2.0 * sizes.values().map(|size| *size as f64).product::<f64>())
}

#[cfg(test)]
mod tests {
    use super::work;
    use crate::{graph::Attribute, memory::Shape, testing::Builder};

    /// The work of an operator with these operands, and this result.
    fn of(
        domain: &str,
        operator: &str,
        attributes: &[(&str, Attribute<'static>)],
        shapes: &[&[usize]],
        y: Option<&[usize]>,
    ) -> Option<f64> {
        let mut graph = Builder::default().node_of(operator, &[], &[], attributes).build(&[]);
        graph.nodes[0].domain = domain.to_owned();
        let shape = |dims: &[usize]| Shape::new(dims).expect("few axes");
        work(&graph.nodes[0], &|index| Some(shape(shapes.get(index)?)), y.map(shape))
    }

    #[test]
    fn the_work_of_products_is_that_of_their_definitions() {
        let int = |name: &'static str, value: i64| (name, Attribute::Int(value));
        let equation = |text: &str| [("equation", Attribute::String(text.to_owned()))];
        let y: Option<&[usize]> = Some(&[2, 3, 5]);
        let product = Some(2.0 * 6.0 * 4.0 * 5.0);
        assert_eq!(of("", "MatMul", &[], &[&[2, 3, 4], &[4, 5]], y), product);
        assert_eq!(of("", "MatMulInteger", &[], &[&[2, 3, 4], &[4, 5]], y), product);
        assert_eq!(of("", "Gemm", &[int("transB", 1)], &[&[6, 4], &[5, 4]], Some(&[6, 5])), product);
        assert_eq!(of("", "QLinearMatMul", &[], &[&[2, 3, 4], &[], &[], &[4, 5]], y), product);
        assert_eq!(of("com.microsoft", "MatMulNBits", &[int("K", 4), int("N", 5)], &[&[2, 3, 4], &[9]], y), product);
        assert_eq!(of("", "Einsum", &equation("bik,kj->bij"), &[&[2, 3, 4], &[4, 5]], y), product);
        // One row, where their number is not known.
        assert_eq!(of("", "MatMul", &[], &[&[2, 3, 4], &[4, 5]], None), Some(2.0 * 4.0 * 5.0));
        assert_eq!(of("com.microsoft", "MatMulNBits", &[int("K", 4), int("N", 5)], &[], None), Some(2.0 * 4.0 * 5.0));
        let image: &[usize] = &[1, 8, 9, 9];
        let conv = Some(2.0 * (8 * 81 * 3 * 9) as f64);
        assert_eq!(of("", "Conv", &[], &[&[1, 3, 9, 9], &[8, 3, 3, 3]], Some(image)), conv);
        assert_eq!(of("", "QLinearConv", &[], &[image, &[], &[], &[8, 3, 3, 3]], Some(image)), conv);
        assert_eq!(of("", "ConvTranspose", &[], &[&[1, 3, 9], &[3, 8, 2]], None), Some(2.0 * (27 * 16) as f64));
        assert_eq!(of("", "LSTM", &[], &[&[7, 1, 4], &[1, 20, 4], &[1, 20, 5]], None), Some(2.0 * 7.0 * 180.0));
        let row: &[usize] = &[1, 6, 8];
        let attention = 4.0 * 48.0 * 6.0;
        assert_eq!(of("com.microsoft", "MultiHeadAttention", &[], &[row, row, row], Some(row)), Some(attention));
        let made = of("com.microsoft", "Attention", &[], &[row, &[8, 24]], Some(row));
        assert_eq!(made, Some(attention + 2.0 * 6.0 * 8.0 * 24.0));
        for other in ["Add", "Resize", "FromAnotherWorld"] {
            assert_eq!(of("", other, &[], &[row, row], Some(row)), None);
        }
    }
}
