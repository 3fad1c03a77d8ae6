//! The execution provider's kernels beside the machine's limits, as [`crate::exports::MEASURE`] is asked for them and
//! answers: JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to measure: a Whisper model's sizes, as its `config.json` has them, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Threads of the kernels.
    pub threads: usize,
    /// Measured rounds; one more before them warms up.
    pub rounds: usize,
    /// Rows that a decoder's kernels have when sequences are decoded together.
    pub batch: usize,
    /// Tokens in the decoder's cache.
    pub cached: usize,
    /// Channels between layers.
    pub width: usize,
    /// Attention heads of an encoder layer.
    pub encoder_heads: usize,
    /// Attention heads of a decoder layer.
    pub decoder_heads: usize,
    /// Channels within an encoder's feed-forward layer.
    pub encoder_inner: usize,
    /// Channels within a decoder's feed-forward layer.
    pub decoder_inner: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Mel bins of the features.
    pub mel_bins: usize,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// What was measured.
    Report(Box<KernelReport>),
    /// Nothing was measured.
    Refused {
        /// Why not.
        error: String,
    },
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelReport {
    /// The instruction set in use.
    pub instruction_set: String,
    /// Threads.
    pub threads: usize,
    /// What the machine can do.
    pub limits: Limits,
    /// Every kernel, in the model's order, the standard ones first.
    pub kernels: Vec<Kernel>,
    /// Products in a batch.
    pub batched_products: Vec<BatchedProducts>,
}

/// What the machine can do at best, measured. A peak is absent where the library knows no loop for the instruction
/// set's products.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// 10⁹ int8 operations a second (a multiply-add is two).
    pub int8_gops: Option<f64>,
    /// 10⁹ bf16 operations a second.
    pub bf16_gflops: Option<f64>,
    /// 10⁹ fp32 operations a second.
    pub f32_gflops: Option<f64>,
    /// 10⁹ bytes a second read from memory.
    pub read_gbps: f64,
    /// 10⁹ exponentials a second.
    pub exponentials_gps: f64,
    /// 10⁹ bytes a second by the order of reading; the best is `read_gbps`.
    pub read_patterns_gbps: BTreeMap<String, f64>,
    /// Bytes of the memory that was read, over and over; not said of one thread.
    pub read_from_bytes: Option<u64>,
    /// Bytes of the last-level cache, where the system tells; not said of one thread.
    pub last_level_cache_bytes: Option<u64>,
    /// The same on one thread.
    pub one_thread: Option<Box<Limits>>,
}

/// One kernel's figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// What it is in the model; `linear` and `attention` are standard sizes, the same for every model.
    pub name: String,
    /// Its sizes: rows, inputs and outputs; heads, queries, keys and head width; …
    pub shape: String,
    /// Precision of its products, or of its values where it has none.
    pub precision: String,
    /// Milliseconds of a call, median of the rounds.
    pub ms: f64,
    /// Milliseconds of a call, the best round.
    pub best_ms: f64,
    /// `limit_ms / ms`, where the limit is known.
    pub share_of_limit: Option<f64>,
    /// The larger of the two limits, milliseconds.
    pub limit_ms: Option<f64>,
    /// Milliseconds that its products and exponentials take at the peak; `None` where that peak is not known.
    pub arithmetic_ms: Option<f64>,
    /// Milliseconds that its bytes take at the read bandwidth.
    pub memory_ms: f64,
    /// Multiplications and additions.
    pub operations: f64,
    /// Bytes that cross between memory and the processor if each operand and result does so once.
    pub bytes: f64,
}

/// Some equal products of two run-time operands in one call against one call each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchedProducts {
    /// Rows, inner size, columns of each.
    pub shape: String,
    /// How many.
    pub count: usize,
    /// Milliseconds for all in one call, median.
    pub together_ms: f64,
    /// Milliseconds for all one by one, median.
    pub one_by_one_ms: f64,
    /// `one_by_one_ms / together_ms`.
    pub ratio: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_request_is_what_programs_write() {
        let text = json!({"threads": 2, "rounds": 1, "batch": 2, "cached": 3, "width": 64, "encoder_heads": 1, "decoder_heads": 1,
            "encoder_inner": 128, "decoder_inner": 128, "vocabulary": 100, "mel_bins": 16});
        let request = serde_json::from_value::<Request>(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(request).unwrap(), text);
        let mut unknown = text;
        unknown["layers"] = 4.into();
        assert!(serde_json::from_value::<Request>(unknown).is_err());
    }

    #[test]
    fn an_answer_is_what_programs_read() {
        let limits = json!({"int8_gops": 900.0, "bf16_gflops": null, "f32_gflops": 100.0, "read_gbps": 30.0, "exponentials_gps": 2.0,
            "read_patterns_gbps": {"in order": 30.0}, "read_from_bytes": null, "last_level_cache_bytes": null, "one_thread": null});
        let mut both = limits.clone();
        both["read_from_bytes"] = (64 << 20).into();
        both["one_thread"] = limits;
        let report = json!({"instruction_set": "avx2", "threads": 2, "limits": both,
            "kernels": [{"name": "linear", "shape": "1x2x3", "precision": "int8", "ms": 2.0, "best_ms": 1.5, "share_of_limit": 0.5,
                "limit_ms": 1.0, "arithmetic_ms": 1.0, "memory_ms": 0.5, "operations": 12.0, "bytes": 6.0}],
            "batched_products": [{"shape": "64x64x64", "count": 16, "together_ms": 1.0, "one_by_one_ms": 2.0, "ratio": 2.0}]});
        for text in [report, json!({"error": "not understood"})] {
            let answer: Answer = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(matches!(answer, Answer::Refused { .. }), text["error"] != Value::Null);
            assert_eq!(serde_json::to_value(answer).unwrap(), text);
        }
    }
}
