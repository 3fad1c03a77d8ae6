//! The detector of a transcriber: opened when it is first needed, asked while a recording is read or afterwards.

use super::faint::{FaintListener, HeardSpeech};
use super::{Silero, VadError, VadModel};
use crate::engine::Engine;
use crate::mel::WINDOW_SAMPLES;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

/// Blocks of samples that may wait for the detector.
const WAITING: usize = 8;

/// What tells speech from other sound, or why nothing does but loudness.
#[derive(Default)]
pub(crate) struct Detector {
    engine: Option<Engine>,
    model: VadModel,
    opened: OnceLock<Result<Mutex<Silero>, String>>,
    /// What it hears in every recording.
    #[cfg(test)]
    scripted: Option<HeardSpeech>,
}

/// What is known of the voice in a recording that was read and is not there as samples any more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReadVoice {
    /// A recording of up to a window: its samples, for which nobody may ever ask.
    Short(Vec<f32>),
    /// A longer one, and the words of a detector that failed.
    Long(Result<HeardSpeech, String>),
}

impl Detector {
    /// `model` on `engine`'s ONNX Runtime. A file that a person named is opened now.
    ///
    /// # Errors
    /// [`VadError`]: it cannot be opened.
    pub(crate) fn new(engine: &Engine, model: &VadModel) -> Result<Self, VadError> {
        let opened = OnceLock::new();
        if let VadModel::File(path) = model {
            let _ = opened.set(Ok(Mutex::new(Silero::open(engine, Some(path))?)));
        }
        Ok(Self {
            engine: Some(engine.clone()),
            model: model.clone(),
            opened,
            #[cfg(test)]
            scripted: None,
        })
    }

    /// One that hears the same in every recording.
    #[cfg(test)]
    pub(crate) fn scripted(heard: HeardSpeech) -> Self {
        Self { scripted: Some(heard), ..Self::default() }
    }

    /// Whether there is nothing but loudness, and that is as it should be.
    pub(crate) fn is_loudness(&self) -> bool {
        #[cfg(test)]
        if self.scripted.is_some() {
            return false;
        }
        self.model == VadModel::Loudness || self.engine.is_none()
    }

    fn silero(&self) -> Result<&Mutex<Silero>, String> {
        let open = || match &self.engine {
            Some(engine) => Silero::open(engine, None).map(Mutex::new).map_err(|error| error.to_string()),
            None => Err("there is no ONNX Runtime for it".to_owned()),
        };
        self.opened.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Probabilities of speech all along a recording.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn probabilities(&self, samples: &[f32]) -> Result<HeardSpeech, String> {
        #[cfg(test)]
        if let Some(heard) = &self.scripted {
            return Ok(heard.clone());
        }
        self.hear(std::iter::once(samples))
    }

    /// Begins to listen to a recording that is being read.
    pub(crate) fn listen<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>) -> Listening<'scope, 'env> {
        Listening { detector: self, scope, short: Vec::new(), long: None }
    }

    /// Takes what comes until no more does.
    fn hear(&self, blocks: impl IntoIterator<Item = impl AsRef<[f32]>>) -> Result<HeardSpeech, String> {
        let mut silero = self.silero()?.lock().unwrap_or_else(PoisonError::into_inner);
        Self::listen_to(&mut silero, blocks).map_err(|error| error.to_string())
    }

    fn listen_to(
        silero: &mut Silero,
        blocks: impl IntoIterator<Item = impl AsRef<[f32]>>,
    ) -> Result<HeardSpeech, VadError> {
        let (mut heard, mut faint) = (silero.begin(), FaintListener::default());
        for block in blocks {
            silero.push(&mut heard, block.as_ref())?;
            faint.push(silero, block.as_ref())?;
        }
        Ok(HeardSpeech { plain: silero.finish(heard)?, amplified: faint.finish(silero)? })
    }
}

/// Where the samples of a longer recording go, and who makes probabilities of them.
type Worker<'scope> = (SyncSender<Vec<f32>>, ScopedJoinHandle<'scope, Result<HeardSpeech, String>>);

/// A recording that is being read: beside the reading, on a thread of its own, from the moment on at which it is longer
/// than a window.
pub(crate) struct Listening<'scope, 'env> {
    detector: &'env Detector,
    scope: &'scope Scope<'scope, 'env>,
    short: Vec<f32>,
    long: Option<Worker<'scope>>,
}

impl Listening<'_, '_> {
    /// Takes the next samples.
    pub(crate) fn push(&mut self, samples: &[f32]) {
        if self.long.is_none() {
            self.short.extend_from_slice(samples);
            if self.short.len() <= WINDOW_SAMPLES {
                return;
            }
            let (to, from) = sync_channel(WAITING);
            let detector = self.detector;
            let worker = self.scope.spawn(move || detector.hear(from));
            self.long = Some((to, worker));
            let first = std::mem::take(&mut self.short);
            return self.push(&first);
        }
        if let Some((to, _)) = &self.long {
            // A detector that failed takes no more; the end says why.
            let _ = to.send(samples.to_vec());
        }
    }

    /// Ends the recording.
    pub(crate) fn finish(self) -> ReadVoice {
        let Some((to, worker)) = self.long else { return ReadVoice::Short(self.short) };
        drop(to);
        ReadVoice::Long(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}
