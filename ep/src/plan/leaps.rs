//! Runs of sections that compute nothing but shapes, and may be passed over as a whole: a decoder's step works out some
//! hundred small integers, nearly all of which are as they were in the step before. To look at each of them costs more
//! than the integers do.

use super::{
    layout::PlanStep,
    sections::{Kind, Section},
    tensor::Shape,
};
use crate::graph::ValueId;

/// Sections that follow one another and only compute what follows from shapes.
#[derive(Debug, Default)]
pub struct Leap {
    /// How many sections.
    pub sections: usize,
    /// Values whose shapes are asked for.
    pub asked: Vec<ValueId>,
    /// Results of earlier sections that follow from shapes and are read here.
    pub read: Vec<ValueId>,
    /// What is computed here.
    pub made: Vec<ValueId>,
}

/// For each section the leap that begins with it.
pub fn find(steps: &[PlanStep], sections: &[Section], is_constant: impl Fn(ValueId) -> bool) -> Vec<Option<Leap>> {
    let of_shapes = |section: &Section| section.kind == Kind::Single && steps[section.steps.start].of_shapes;
    let mut leaps: Vec<Option<Leap>> = Vec::with_capacity(sections.len());
    for run in sections.chunk_by(|a, b| of_shapes(a) && of_shapes(b)) {
        let mut leap = Leap { sections: run.len(), ..Leap::default() };
        if of_shapes(&run[0]) {
            for step in run.iter().map(|section| &steps[section.steps.start]) {
                for value in step.inputs.iter().flatten() {
                    let values = if step.op.reads_shape_only() { &mut leap.asked } else { &mut leap.read };
                    if !values.contains(value) && !leap.made.contains(value) && !is_constant(*value) {
                        values.push(*value);
                    }
                }
                leap.made.push(step.output);
            }
        }
        leaps.push((run.len() > 1 && !leap.made.is_empty()).then_some(leap));
        leaps.extend((1..run.len()).map(|_| None));
    }
    leaps
}

/// The shapes that the last run found, leap by leap.
#[derive(Clone, Debug, Default)]
pub struct Found(Vec<Vec<Shape>>);

impl Found {
    /// For a plan's leaps; nothing was found yet.
    pub fn new(leaps: usize) -> Self {
        Self(vec![Vec::new(); leaps])
    }

    /// Whether the shapes of leap `at` are `now` what they were, and from now on what they are.
    pub fn same(&mut self, at: usize, now: impl Iterator<Item = Shape> + Clone) -> bool {
        let before = &mut self.0[at];
        let same = now.clone().eq(before.iter().copied());
        if !same {
            before.clear();
            before.extend(now);
        }
        same
    }
}
