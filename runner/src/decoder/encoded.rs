//! What the encoder gave for windows, and what the decoder's rows have of it: all of it at first, then those that go on, then some
//! again where windows are decoded anew.

use super::tensor;
use ort::value::DynValue;

/// What the encoder gave for all windows, in their order.
#[derive(Default)]
pub(super) struct Encoded {
    pub(super) windows: Option<DynValue>,
    /// What the rows have of it, where they are not all windows in their order.
    picked: Option<DynValue>,
}

impl Encoded {
    /// The rows' tensor.
    pub(super) fn rows(&self) -> Option<&DynValue> {
        self.picked.as_ref().or(self.windows.as_ref())
    }

    /// Goes on with these of the rows.
    pub(super) fn pick(&mut self, rows: &[usize]) -> Result<(), ort::Error> {
        if let Some(present) = self.rows() {
            self.picked = Some(tensor::pick(present, rows)?);
        }
        Ok(())
    }

    /// The rows become these windows.
    pub(super) fn restart(&mut self, windows: &[usize]) -> Result<(), ort::Error> {
        self.picked = None;
        self.pick(windows)
    }
}
