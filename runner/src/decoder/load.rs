//! Opens a model of any known layout as a [`SpeechModel`].

use super::encoder::Encoder;
use super::fit::{Side, fixed};
use super::fixed::{CACHE, Fixed};
use super::rows::{RowByRow, RowDecoder};
use super::uncached::Uncached;
use super::{Graphs, LoadError, OrtModel, Step, input_type, is_whole, token_input};
use crate::engine::{Engine, EngineError, OpenGraph};
use crate::model::{DecoderFiles, Model, ModelConfig, ModelError};
use crate::options::Device;
use crate::speech_model::SpeechModel;
use crate::tokenizer::SpecialTokens;
use std::path::{Path, PathBuf};

/// A model that is ready to run.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn SpeechModel>,
    /// Nodes of all graphs that ONNX Runtime assigned to its own CPU provider.
    pub cpu_nodes: usize,
    /// The configuration, with what the graphs know better.
    pub config: ModelConfig,
    /// What a person should know before using it: a layout that is slow.
    pub warning: Option<String>,
    decoder: PathBuf,
}

impl Loaded {
    /// Whether the graphs weigh all tokens that the tokenizer needs.
    ///
    /// # Errors
    /// [`ModelError::Mismatch`]: the graphs and the tokenizer are of different models.
    pub fn fits(&self, special: &SpecialTokens) -> Result<(), ModelError> {
        let needed = special.timestamps().end as usize;
        if needed <= self.config.vocabulary {
            return Ok(());
        }
        Err(ModelError::Mismatch {
            graph: self.decoder.clone(),
            what: "the vocabulary",
            found: self.config.vocabulary.to_string(),
            expected: format!("the {needed} of the tokenizer"),
        })
    }
}

/// Opens `model`'s graphs on `engine`'s device, whatever their layout.
///
/// # Errors
/// [`LoadError`]: a graph that cannot be opened, that does not match, or whose nodes the asked device took none of.
pub fn load(model: &Model, engine: &Engine) -> Result<Loaded, LoadError> {
    let DecoderFiles::Alone(path) = model.decoder() else {
        return Ok(of_cached(OrtModel::load(model, engine)?, model.config()));
    };
    let encoder = Encoder::open(model.encoder(), engine, model.config())?;
    let graph = engine.open(path)?;
    if is_whole(&graph) {
        return Ok(of_cached(OrtModel::with(model, engine, encoder, Graphs::Whole(graph))?, model.config()));
    }
    let config = model.config().clone();
    if input_type(&graph, CACHE[0].0).is_some() {
        let decoder = Fixed::open(graph, &config)?;
        let vocabulary = decoder.vocabulary();
        return of_rows(encoder, decoder, engine, ModelConfig { vocabulary, ..config }, None);
    }
    if token_input(&graph).is_none() || has_past(&graph) {
        return Err(unknown(path, &graph).into());
    }
    let decoder = Uncached::open(path, graph, &encoder, &config, engine.cpu_sessions())?;
    let length = decoder.length();
    let positions = length.map_or(config.decoder_positions, |length| length.min(config.decoder_positions));
    let config = ModelConfig { vocabulary: decoder.vocabulary(), decoder_positions: positions, ..config };
    let warning = without_cache(path, length);
    of_rows(encoder, decoder, engine, config, Some(warning))
}

/// What decoding without a cache costs, in words.
fn without_cache(path: &Path, length: Option<usize>) -> String {
    let each = match length {
        Some(length) => format!("computes all {length} positions of its fixed length"),
        None => "computes the whole text of its window again".to_owned(),
    };
    format!(
        "'{}' has no key-value cache: each token {each}, which takes many times as long as with one; for speed take an export \
         with decoder_with_past_model.onnx or decoder_model_merged.onnx",
        path.display()
    )
}

fn of_cached(model: OrtModel, config: &ModelConfig) -> Loaded {
    Loaded {
        cpu_nodes: model.cpu_nodes(),
        config: ModelConfig { vocabulary: model.vocabulary, ..config.clone() },
        warning: None,
        decoder: model.graphs.of(Step::First).path.clone(),
        model: Box::new(model),
    }
}

fn of_rows<D: RowDecoder + 'static>(
    encoder: Encoder,
    decoder: D,
    engine: &Engine,
    config: ModelConfig,
    warning: Option<String>,
) -> Result<Loaded, LoadError> {
    let graphs = [&encoder.graph, decoder.graph()];
    let device = engine.options().device;
    if device != Device::Cpu && graphs.iter().all(|graph| graph.ep_nodes == 0) {
        return Err(EngineError::NothingClaimed { device, graph: encoder.graph.path }.into());
    }
    let cpu_nodes = graphs.iter().map(|graph| graph.cpu_nodes).sum();
    let path = decoder.graph().path.clone();
    let model = Box::new(RowByRow::new(encoder, decoder));
    Ok(Loaded { model, cpu_nodes, config, warning, decoder: path })
}

/// Whether a graph wants the cache of steps before.
fn has_past(graph: &OpenGraph) -> bool {
    graph.session.inputs().iter().any(|input| input.name().starts_with("past"))
}

fn unknown(path: &Path, graph: &OpenGraph) -> ModelError {
    let names: Vec<&str> = graph.session.inputs().iter().map(|input| input.name()).take(6).collect();
    let static_tokens = token_input(graph).and_then(|name| fixed(graph, Side::Input, &name, 1));
    let found = match static_tokens {
        Some(length) if has_past(graph) => format!("with a cache for {length} tokens at a time"),
        _ => format!("with the inputs {}, …", names.join(", ")),
    };
    ModelError::Mismatch {
        graph: path.to_owned(),
        what: "its interface",
        found,
        expected: "one of a decoder that is known (optimum's, ONNX Runtime's, onnxruntime-genai's, sherpa-onnx's)"
            .to_owned(),
    }
}
