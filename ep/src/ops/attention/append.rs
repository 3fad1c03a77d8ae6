//! Keys or values behind those of the calls before: what attention with a past reads, and gives back.

use std::ops::Range;

use undertone_kernels::Context;

use super::{
    super::{Computed, Inferred, Operands, Operator, Role, StepRun, elementwise::add_to, operator::TOO_MANY_AXES},
    HeadLayout,
};
use crate::memory::Shape;

/// `past, new` and perhaps `bias`: `new` as `[batch, heads, length, width]` behind `past`, if there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Append {
    /// How the new keys or values lie.
    pub new: HeadLayout,
    /// Which part of the bias, a row for queries, keys and values one after another, is added to the new ones.
    pub part: usize,
}

impl Operator for Append {
    fn class(&self) -> (&'static str, Role) {
        ("movement", Role::Movement)
    }

    fn data(&self) -> Range<usize> {
        0..2
    }

    fn shape(&self, operands: Operands<'_, '_, '_>) -> Inferred<Shape> {
        let [batch, heads, length, width] = self.new.sizes(operands.shape(1)?)?;
        let before = match operands.shape(0).map(|past| &past[..]) {
            Err(_) => 0,
            Ok([b, h, before, w]) if [*b, *h, *w] == [batch, heads, width] => *before,
            Ok(past) => return Err(format!("{:?} behind {past:?}", [batch, heads, length, width])),
        };
        Shape::new(&[batch, heads, before + length, width]).ok_or_else(|| TOO_MANY_AXES.into())
    }

    fn run(&self, run: &mut StepRun<'_, '_, '_>, _: &mut Context<'_>) -> Computed<()> {
        let (operands, total) = (run.operands, run.shape[2]);
        let sizes @ [_, heads, length, width] = self.new.sizes(operands.shape(1)?)?;
        let [item, head, row] = self.new.strides(sizes);
        let (past, bias) = (operands.optional::<f32>(0)?, operands.optional::<f32>(2)?);
        let new = self.new.own_part(sizes, operands.data::<f32>(1)?);
        let bias = bias.map(|bias| bias.get(self.part * heads * width..).filter(|bias| bias.len() >= heads * width));
        let bias = bias.map(|bias| bias.ok_or("a bias that is shorter than q, k and v")).transpose()?;
        let before = (total - length) * width;
        for (at, out) in run.elements()?.chunks_exact_mut((total * width).max(1)).enumerate() {
            let (kept, added) = out.split_at_mut(before);
            kept.copy_from_slice(&past.unwrap_or_default()[at * before..][..before]);
            let first = at / heads * item + at % heads * head;
            for (index, out) in added.chunks_exact_mut(width.max(1)).enumerate() {
                out.copy_from_slice(&new[first + index * row..][..width]);
                if let Some(bias) = bias {
                    add_to(out, &bias[at % heads * width..][..width]);
                }
            }
        }
        Ok(())
    }
}
