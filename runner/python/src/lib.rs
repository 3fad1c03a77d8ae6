//! The extension module `undertone._native`: models, segments and sound for the Python files beside it, which have
//! faster-whisper's interface. Here are no defaults and no decisions: options come as keyword arguments that
//! [`options`] turns into the runner's, and results go as tuples that Python makes its own classes of.
//!
//! Whatever computes does so without Python's lock, and looks at every step whether Ctrl-C was pressed.

mod audio;
mod error;
mod interrupt;
mod model;
mod options;
mod pool;
mod provide;
mod segments;
mod tokenizer;
mod vad;

use pyo3::prelude::*;

/// What Python imports.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::audio::decode_audio;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::provide::{available_models, convert, language_codes, packed_folder, provide};
    #[pymodule_export]
    use crate::segments::Segments;
    #[pymodule_export]
    use crate::tokenizer::Tokenizer;
    #[pymodule_export]
    use crate::vad::speech_segments;
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
