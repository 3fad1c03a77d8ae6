//! A decoder's cache that the execution provider keeps from step to step, narrow and in place, and the choice of the
//! next token that it makes where the logits are. Possible where it has the whole decoder: what another provider
//! computes would see no cache.

use super::{Graphs, empty_cache};
use crate::choice::{Ask, Scores};
use crate::engine::{Engine, EngineError, OpenGraph, words};
use crate::kv_cache::KvCache;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};
use ort::value::DynValue;
use undertone_boundary::kv_cache::RUN_KEY;

/// A cache of the execution provider's, and what runs that use it are given.
pub(super) struct Residence {
    cache: KvCache,
    /// They name the cache, and want the logits only.
    options: RunOptions<HasSelectedOutputs>,
    /// What is fed in the place of cached tensors.
    nothing: DynValue,
}

impl Residence {
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

    /// The options of a run that uses the cache.
    pub(super) fn options(&self) -> &RunOptions<HasSelectedOutputs> {
        &self.options
    }

    /// What is fed in the place of cached tensors.
    pub(super) fn nothing(&self) -> &DynValue {
        &self.nothing
    }

    /// Whether no run has put anything into the cache.
    pub(super) fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// Rows become those that were at `rows`.
    ///
    /// # Errors
    /// If there is no such row.
    pub(super) fn select(&mut self, rows: &[usize]) -> Result<(), String> {
        self.cache.select(rows)
    }

    /// Asks the next run to choose. `false` if it cannot: its logits are then to be looked at.
    pub(super) fn ask(&mut self, asks: &[Ask<'_>]) -> bool {
        self.cache.ask(asks).is_ok()
    }

    /// What the last run chose for each of `rows` rows.
    ///
    /// # Errors
    /// If it did not.
    pub(super) fn choice(&mut self, rows: usize, scores: &mut Vec<Scores>) -> Result<(), String> {
        self.cache.choice(rows, scores)
    }
}
