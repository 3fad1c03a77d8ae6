//! A decoder's cache that the execution provider keeps from step to step, narrow and in place, and the choice of the
//! next token that it makes where the logits are. Possible where it has the whole decoder: what another provider
//! computes would see no cache.

use super::{Graphs, empty_cache};
use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::kv_cache::KvCache;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};
use ort::value::DynValue;
use undertone_boundary::kv_cache::RUN_KEY;

/// A cache of the execution provider's, and what runs that use it are given.
pub(super) struct ResidentCache {
    pub(super) cache: KvCache,
    /// Options of a run that uses the cache: they name it, and want the logits only.
    pub(super) options: RunOptions<HasSelectedOutputs>,
    /// What is fed in the place of cached tensors.
    pub(super) nothing: DynValue,
}

impl ResidentCache {
    /// For a decoder of `heads` heads; `None` where the execution provider does not have all of it.
    ///
    /// # Errors
    /// If ONNX Runtime refuses an empty tensor or a run's options.
    pub(super) fn of(graphs: &Graphs, heads: usize, engine: &Engine) -> Result<Option<Self>, EngineError> {
        let whole = |graph: &OpenGraph| graph.cpu_nodes == 0 && graph.ep_parts == 1;
        let reads_cache = match graphs {
            Graphs::Split { first, with_past } if whole(first) && whole(with_past) => with_past,
            // Each branch is a part; what chooses between them is ONNX Runtime's.
            Graphs::Merged(graph) if graph.cpu_nodes <= 1 && graph.ep_parts == 2 => graph,
            _ => return Ok(None),
        };
        let Some(cache) = engine.ep_library().and_then(KvCache::new) else { return Ok(None) };
        let made = || -> Result<_, ort::Error> {
            let mut options = RunOptions::new()?.with_outputs(OutputSelector::no_default().with("logits"));
            options.set(RUN_KEY, cache.number().to_string())?;
            Ok((options, empty_cache(reads_cache, 1, heads)?))
        };
        let refused = |e: ort::Error| EngineError::Ort { what: "prepare a decoder's runs", reason: words(&e) };
        let (options, nothing) = made().map_err(refused)?;
        Ok(Some(Self { cache, options, nothing }))
    }
}
