//! What happens while a model is fetched or converted.

/// What happens on the way, for whoever shows it.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Bytes come.
    Fetching {
        /// What comes: a file, or a package.
        what: &'a str,
        /// Where from, in words.
        from: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Weights are read and written as ONNX graphs.
    Converting {
        /// Bytes that are done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something that the user should know: another source than the usual one, for example.
    Notice(&'a str),
}
