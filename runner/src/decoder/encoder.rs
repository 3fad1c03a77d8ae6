//! The encoder's graph, whatever its exporter calls inputs and outputs.

use super::LoadError;
use super::fit::{Side, expect_dim, input_type};
use crate::engine::{Engine, OpenGraph, words};
use crate::mel::WINDOW_FRAMES;
use crate::model::{ENCODED, FEATURES, ModelConfig, ModelError};
use crate::speech_model::RunError;
use half::f16;
use ort::session::SessionOutputs;
use ort::value::{DynValue, Tensor, TensorElementType};
use std::path::Path;

/// An opened encoder.
pub(super) struct Encoder {
    pub(super) graph: OpenGraph,
    features: &'static str,
    /// What the encoded window is called, if the graph returns it: some return only what the decoder makes of it.
    encoded: Option<&'static str>,
    half: bool,
    bins: usize,
}

impl Encoder {
    /// Opens the graph and compares it with the configuration.
    pub(super) fn open(path: &Path, engine: &Engine, config: &ModelConfig) -> Result<Self, LoadError> {
        let graph = engine.open(path)?;
        let inputs = graph.session.inputs();
        let features = FEATURES.into_iter().find(|name| inputs.iter().any(|input| input.name() == *name));
        let Some(features) = features else {
            return Err(ModelError::Mismatch {
                graph: path.to_owned(),
                what: "its interface",
                found: format!("without '{}'", FEATURES[0]),
                expected: "that of an encoder of log-mel features".to_owned(),
            }
            .into());
        };
        let outputs = graph.session.outputs();
        let encoded = ENCODED.into_iter().find(|name| outputs.iter().any(|output| output.name() == *name));
        expect_dim(&graph, Side::Input, features, 1, "the number of mel bins", config.mel_bins)?;
        expect_dim(&graph, Side::Input, features, 2, "the number of frames", WINDOW_FRAMES)?;
        if let Some(encoded) = encoded {
            expect_dim(&graph, Side::Output, encoded, 2, "the width", config.width)?;
        }
        let half = input_type(&graph, features) == Some(TensorElementType::Float16);
        Ok(Self { graph, features, encoded, half, bins: config.mel_bins })
    }

    /// Encodes one window `[bins, 3000]`; the outputs are of one row.
    pub(super) fn run(&mut self, window: &[f32]) -> Result<SessionOutputs<'_>, RunError> {
        let path = self.graph.path.display();
        let failed = |e: ort::Error| RunError { stage: format!("encoder '{path}'"), reason: words(&e) };
        let shape = [1, self.bins, WINDOW_FRAMES];
        let input: DynValue = if self.half {
            let data: Vec<f16> = window.iter().map(|&x| f16::from_f32(x)).collect();
            Tensor::from_array((shape, data)).map_err(failed)?.into_dyn()
        } else {
            Tensor::from_array((shape, window.to_vec())).map_err(failed)?.into_dyn()
        };
        self.graph.session.run(ort::inputs![self.features => input]).map_err(failed)
    }

    /// The name of the encoded window among the outputs.
    pub(super) fn encoded(&self) -> Option<&'static str> {
        self.encoded
    }

    /// An error of this graph's.
    pub(super) fn error(path: &Path, reason: String) -> RunError {
        RunError { stage: format!("encoder '{}'", path.display()), reason }
    }
}
