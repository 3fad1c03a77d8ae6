//! Whether exported graphs fit the model's configuration, by the names, types and shapes of their inputs and outputs.

use super::HEAD_WIDTH;
use crate::engine::OpenGraph;
use crate::model::{ModelConfig, ModelError};
use ort::value::{TensorElementType, ValueType};
use std::path::Path;

/// Which of a graph's ends.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Input,
    Output,
}

fn type_of<'a>(graph: &'a OpenGraph, side: Side, name: &str) -> Option<&'a ValueType> {
    let outlets = match side {
        Side::Input => graph.session.inputs(),
        Side::Output => graph.session.outputs(),
    };
    outlets.iter().find(|o| o.name() == name).map(|o| o.dtype())
}

/// The element type of an input; `None` if there is no such input.
pub(super) fn input_type(graph: &OpenGraph, name: &str) -> Option<TensorElementType> {
    type_of(graph, Side::Input, name)?.tensor_type()
}

/// The name of an axis whose length is not fixed.
pub(super) fn symbol(dtype: &ValueType, axis: usize) -> Option<&str> {
    match dtype {
        ValueType::Tensor { dimension_symbols, .. } => dimension_symbols.get(axis).map(|s| s.as_ref()),
        _ => None,
    }
}

fn mismatch(graph: &Path, what: &'static str, found: impl ToString, expected: impl ToString) -> ModelError {
    ModelError::Mismatch { graph: graph.to_owned(), what, found: found.to_string(), expected: expected.to_string() }
}

/// The input or output must be there; where its axis has a fixed length, it must be `expected`.
pub(super) fn expect_dim(
    graph: &OpenGraph,
    side: Side,
    name: &str,
    axis: usize,
    what: &'static str,
    expected: usize,
) -> Result<(), ModelError> {
    let Some(dtype) = type_of(graph, side, name) else {
        return Err(mismatch(&graph.path, "its interface", format!("without '{name}'"), "that of optimum's export"));
    };
    match dtype.tensor_shape().and_then(|shape| shape.get(axis).copied()) {
        Some(found) if found > 0 && usize::try_from(found) != Ok(expected) => {
            Err(mismatch(&graph.path, what, found, expected))
        }
        _ => Ok(()),
    }
}

/// A graph must have no inputs but those of these names, and those that begin so.
pub(super) fn expect_inputs(graph: &OpenGraph, names: &[&str], beginnings: &[&str]) -> Result<(), ModelError> {
    let known = |name: &str| names.contains(&name) || beginnings.iter().any(|beginning| name.starts_with(beginning));
    match graph.session.inputs().iter().find(|input| !known(input.name())) {
        None => Ok(()),
        Some(other) => {
            let expected =
                format!("one that wants {} only; export it for the CPU", [names, beginnings].concat().join(", "));
            Err(mismatch(&graph.path, "its interface", format!("with an input '{}'", other.name()), expected))
        }
    }
}

/// Layers, by the names of the cache's keys with this prefix and suffix, and heads.
pub(super) fn check_decoder(
    graph: &OpenGraph,
    config: &ModelConfig,
    side: Side,
    prefix: &str,
    suffix: &str,
) -> Result<(), ModelError> {
    let outlets = match side {
        Side::Input => graph.session.inputs(),
        Side::Output => graph.session.outputs(),
    };
    let layers = outlets.iter().filter(|o| o.name().starts_with(prefix) && o.name().ends_with(suffix)).count();
    if layers != config.decoder_layers {
        return Err(mismatch(&graph.path, "the number of decoder layers", layers, config.decoder_layers));
    }
    let key = format!("{prefix}0{suffix}");
    expect_dim(graph, side, &key, 1, "the number of heads", config.decoder_heads)?;
    expect_dim(graph, side, &key, 3, "the width of a head", HEAD_WIDTH)
}

/// The number of tokens that a decoder weighs: what its graph says comes before what `config.json` does, which
/// fine-tunes that add tokens and exporters that pad leave as it was.
pub(super) fn vocabulary(graph: &OpenGraph, config: &ModelConfig) -> Result<usize, ModelError> {
    if type_of(graph, Side::Output, "logits").is_none() {
        return Err(mismatch(&graph.path, "its interface", "without 'logits'", "that of Whisper's decoder"));
    }
    let found = fixed(graph, Side::Output, "logits", 2).unwrap_or(config.vocabulary);
    if found != config.vocabulary {
        let (path, said) = (graph.path.display(), config.vocabulary);
        tracing::debug!(
            "'{path}' has a vocabulary of {found}, and the configuration says {said}: the graph's is taken"
        );
    }
    Ok(found)
}

/// The length of an axis, where it is fixed.
pub(super) fn fixed(graph: &OpenGraph, side: Side, name: &str, axis: usize) -> Option<usize> {
    let length = type_of(graph, side, name)?.tensor_shape()?.get(axis).copied()?;
    usize::try_from(length).ok().filter(|&length| length > 0)
}

/// Whether a graph returns logits of every position; some exports keep the last one only.
pub(super) fn returns_all_positions(graph: &OpenGraph) -> bool {
    let logits = graph.session.outputs().iter().find(|o| o.name() == "logits");
    let positions = logits.and_then(|o| o.dtype().tensor_shape()).and_then(|s| s.get(1).copied());
    positions != Some(1) && logits.is_none_or(|o| symbol(o.dtype(), 1) != Some("1"))
}

/// # Errors
/// Why there are no probabilities of words, in words, where a graph returns the last position's logits alone.
pub(super) fn expect_every_position(graph: &OpenGraph) -> Result<(), String> {
    match returns_all_positions(graph) {
        true => Ok(()),
        false => {
            Err("it gives the logits of the last token only, not those of each word's; take optimum's export, or a \
                      model that undertone has converted"
                .to_owned())
        }
    }
}
