//! Which steps are a decoder's cross-attention, layer by layer, and their scores where a run is asked for them. At no
//! cost where it is not: the step looks at one number.

use undertone_kernels::{Context, host::HostDevice};

use super::{layout::PlanStep, machine::Machine};
use crate::{
    graph::{Graph, ValueId},
    kv::{KvState, Slot},
    ops::{Attention, Computed, Op, ProductOp},
    program::Step,
};

/// What exporters call the encoder's result.
const ENCODED: &str = "encoder_hidden_states";

/// For each step the decoder layer whose cross-attention it is: attention whose keys are made of the encoder's result,
/// or are what a cache has of it. Layers are counted in the order of the steps.
pub fn layers(graph: &Graph<'_>, steps: &[Step]) -> Vec<Option<u32>> {
    let mut next = 0;
    let layer = |step: &Step| {
        let Some(ProductOp::Attention(_)) = step.op.product() else { return None };
        let keys = step.input(1).filter(|keys| are_of_the_encoder(graph, steps, *keys));
        keys.map(|_| {
            next += 1;
            next - 1
        })
    };
    steps.iter().map(layer).collect()
}

/// Follows keys back through layers, views and transpositions.
fn are_of_the_encoder(graph: &Graph<'_>, steps: &[Step], keys: ValueId) -> bool {
    let mut value = keys;
    // Each step is met at most once.
    for _ in 0..=steps.len() {
        let name = graph.values[value].name.as_str();
        if name == ENCODED || Slot::of(name).is_some_and(Slot::is_of_encoder) {
            return true;
        }
        let Some(maker) = steps.iter().find(|step| step.outputs.contains(&value)) else { return false };
        if let Some(ProductOp::Attention(_)) = maker.op.product() {
            return false;
        }
        match maker.input(0) {
            Some(source) => value = source,
            None => return false,
        }
    }
    false
}

/// Keeps the scores of a cross-attention of `layer` that was just carried out, if its run was asked for them.
pub fn keep_scores(
    machine: &mut Machine<'_, '_>,
    step: &PlanStep,
    layer: u32,
    host: HostDevice,
    context: &mut Context<'_>,
) -> Computed<()> {
    let Op::Attention(attention) = &step.op else { return Ok(()) };
    let wanted = |state: &KvState| state.attended.wants(layer);
    let Some(mut attended) =
        machine.values.state.as_mut().filter(|s| wanted(s)).map(|s| std::mem::take(&mut s.attended))
    else {
        return Ok(());
    };
    let kept = scores(machine, step, attention, layer, &mut attended, host, context);
    if let Some(state) = &mut machine.values.state {
        state.attended = attended;
    }
    kept
}

fn scores(
    machine: &Machine<'_, '_>,
    step: &PlanStep,
    attention: &Attention,
    layer: u32,
    attended: &mut crate::attended::Attended,
    host: HostDevice,
    context: &mut Context<'_>,
) -> Computed<()> {
    let operands = machine.operands(step);
    let [batch, heads, queries, keys] = attention.score_sizes(operands)?;
    for (head, room) in attended.room(layer, batch * queries * keys) {
        if head >= heads {
            return Err(format!("scores of head {head} are asked for, and there are {heads}").into());
        }
        for (item, room) in room.chunks_exact_mut((queries * keys).max(1)).enumerate() {
            attention.scores_of(operands, [item, head], host, context, room)?;
        }
    }
    Ok(())
}
