//! The scores of the cross-attention where ONNX Runtime's CPU provider computes: a decoder's graph is opened once more,
//! with the scores as outputs, when they are first asked for.

use super::tensor;
use crate::engine::{CpuSessions, words};
use crate::words::Attended;
use ort::session::{OutputSelector, RunOptions, Session, SessionInputValue, SessionOutputs};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use undertone_models::scores::{WithScores, with_scores};

/// A session, and its outputs with the scores of each layer.
type Opened = (Session, Vec<String>);

/// A decoder's graph that gives scores.
pub(super) struct ScoreGraph {
    path: PathBuf,
    layers: usize,
    sessions: CpuSessions,
    /// Once it is, or why it is not.
    opened: OnceLock<Result<Mutex<Opened>, String>>,
}

impl ScoreGraph {
    /// Of the graph at `path`, which feeds sequences from their start; it is not opened yet.
    pub(super) fn new(path: &Path, layers: usize, sessions: CpuSessions) -> Self {
        Self { path: path.to_owned(), layers, sessions, opened: OnceLock::new() }
    }

    /// Opens the graph, if that was not done.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn open(&self) -> Result<(), String> {
        let open = || open(&self.path, self.layers, &self.sessions).map(Mutex::new);
        self.opened.get_or_init(open).as_ref().map(drop).map_err(Clone::clone)
    }

    fn opened(&mut self) -> Result<&mut Opened, String> {
        self.open()?;
        match self.opened.get_mut() {
            Some(Ok(opened)) => Ok(opened.get_mut().unwrap_or_else(PoisonError::into_inner)),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("it was not opened".to_owned()),
        }
    }

    /// Runs the graph over `inputs`, a sequence of one row; `read` gets its outputs, and the scores of `heads`.
    ///
    /// # Errors
    /// Why the graph gives no scores, or ONNX Runtime's words.
    pub(super) fn run<R>(
        &mut self,
        inputs: Vec<(Cow<'_, str>, SessionInputValue<'_>)>,
        heads: &[[usize; 2]],
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<R, String>,
    ) -> Result<(Attended, R), String> {
        let layers = self.layers;
        if let Some(head) = heads.iter().find(|[layer, _]| *layer >= layers) {
            return Err(format!("it has {layers} layers, and head {head:?} is asked for"));
        }
        let (session, names) = self.opened()?;
        let mut wanted = OutputSelector::no_default().with("logits");
        for (_, name) in names.iter().enumerate().filter(|(layer, _)| heads.iter().any(|[of, _]| of == layer)) {
            wanted = wanted.with(name);
        }
        let options = RunOptions::new().map_err(|e| words(&e))?.with_outputs(wanted);
        let outputs = session.run_with_options(inputs, &options).map_err(|e| words(&e))?;
        let mut attended = Attended::default();
        for &[layer, head] in heads {
            let scores = outputs.get(&names[layer]).ok_or_else(|| format!("it has no output {}", names[layer]))?;
            let [batch, all, tokens, positions] = scores.shape()[..] else {
                return Err(format!("scores of {:?}", scores.shape()));
            };
            let (all, tokens, positions) = (all as usize, tokens as usize, positions as usize);
            if batch != 1 || head >= all {
                return Err(format!("scores of {:?}, and head {head} is asked for", scores.shape()));
            }
            (attended.tokens, attended.positions) = (tokens, positions);
            let of_head = tokens * positions;
            tensor::append_floats(scores, head * of_head..(head + 1) * of_head, &mut attended.scores)
                .map_err(|e| words(&e))?;
        }
        Ok((attended, read(&outputs)?))
    }
}

fn open(path: &Path, layers: usize, sessions: &CpuSessions) -> Result<Opened, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let WithScores { graph, outputs } = with_scores(&bytes, layers).map_err(|error| error.to_string())?;
    drop(bytes);
    tracing::debug!("'{}' is opened once more, with scores of its cross-attention as outputs", path.display());
    let session = sessions.open(&graph, path).map_err(|error| error.to_string())?;
    Ok((session, outputs))
}
