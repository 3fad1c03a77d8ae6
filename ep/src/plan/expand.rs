//! Steps with several results become steps with one each. A plan's steps have one; a partition's are as large as nodes.

use crate::{
    ops::{Append, Attention, Causal, Op},
    program::{Program, Step},
};

/// The same program in steps of one result.
pub fn expand(program: Program) -> Program {
    Program { steps: program.steps.into_iter().flat_map(parts).collect() }
}

/// Attention that appends to a past: the new keys, the new values, and attention over both.
fn parts(step: Step) -> Vec<Step> {
    let (&Op::Attention(attention @ Attention { appends: Some(new), .. }), &[result, keys, values]) =
        (&step.op, &step.outputs[..])
    else {
        return vec![step];
    };
    let part = |op: Op, inputs: Vec<_>, output: usize| Step {
        op,
        inputs,
        outputs: vec![output],
        nodes: step.nodes.clone(),
        exact: step.exact,
    };
    let append = |part: usize| Op::Append(Append { new, part });
    let counted = if matches!(attention.causal, Causal::New { .. }) { step.input(1) } else { None };
    vec![
        part(append(1), vec![step.input(5), step.input(1), step.input(4)], keys),
        part(append(2), vec![step.input(6), step.input(2), step.input(4)], values),
        part(
            Op::Attention(Attention { appends: None, ..attention }),
            vec![step.input(0), Some(keys), Some(values), step.input(3), step.input(4), None, None, counted],
            result,
        ),
    ]
}
