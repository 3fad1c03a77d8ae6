//! GELU as PyTorch's exporter writes it: `x · (erf(x / √2) + 1) · 0.5`, the products in any order.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use undertone_kernels::host::elementwise::{Binary, Unary};

use super::{Fusion, StepId, other};
use crate::ops::Op;

/// Root: the `Erf`.
pub(super) fn gelu(fusion: &mut Fusion<'_, '_>, root: StepId) -> Option<()> {
    let erf = fusion.step(root).filter(|step| step.op == Op::Unary(Unary::Erf))?;
    let (divide, quotient) = fusion.maker(erf.inputs[0]?)?;
    let (by, x) = fusion.scalar_and_other(quotient)?;
    let divides = quotient.op == Op::Binary(Binary::Div) && quotient.inputs[0] == Some(x);
    let multiplies = quotient.op == Op::Binary(Binary::Mul);
    let is_root_two = (divides && close(by, SQRT_2)) || (multiplies && close(by, FRAC_1_SQRT_2));
    let (add, sum) = fusion.sole_reader(erf.outputs[0])?;
    let (one, _) = fusion.scalar_and_other(sum).filter(|_| sum.op == Op::Binary(Binary::Add))?;
    if !is_root_two || one != 1.0 {
        return None;
    }

    // x · (1 + erf) and · 0.5 come in any order: ((1 + erf) · x) · 0.5, or (1 + erf) · (x · 0.5), or ((1 + erf) · 0.5) · x.
    let (first, product) = fusion.sole_reader(sum.outputs[0])?;
    if product.op == Op::Binary(Binary::Mul) && fusion.scalar_and_other(product) == Some((0.5, sum.outputs[0])) {
        let (second, last) = fusion.sole_reader(product.outputs[0])?;
        if last.op != Op::Binary(Binary::Mul) || other(last, product.outputs[0]) != Some(x) {
            return None;
        }
        return fusion.replace(second, &[divide, root, add, first], Op::Unary(Unary::Gelu), vec![Some(x)]);
    }
    let factor = other(product, sum.outputs[0]).filter(|_| product.op == Op::Binary(Binary::Mul))?;
    if factor == x {
        let (second, halved) = fusion.sole_reader(product.outputs[0])?;
        let (half, _) = fusion.scalar_and_other(halved).filter(|_| halved.op == Op::Binary(Binary::Mul))?;
        if half != 0.5 {
            return None;
        }
        fusion.replace(second, &[divide, root, add, first], Op::Unary(Unary::Gelu), vec![Some(x)])
    } else {
        let (halve, halved) = fusion.maker(factor)?;
        let (half, halved_x) = fusion.scalar_and_other(halved).filter(|_| halved.op == Op::Binary(Binary::Mul))?;
        if half != 0.5 || halved_x != x {
            return None;
        }
        fusion.replace(first, &[divide, root, add, halve], Op::Unary(Unary::Gelu), vec![Some(x)])
    }
}

/// Equal up to the rounding of an exporter's constant (some write f16).
fn close(a: f32, b: f32) -> bool {
    (a - b).abs() < 1e-3 * b
}
