//! The kernels of this library beside the machine's limits, asked for and answered in JSON: for programs that loaded the library and
//! want to know how far it is from what the machine can do. No session and no graph is involved.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use undertone_kernels::{
    Precision,
    host::Isa,
    limits::Limits,
    measure::{self, Geometry, Measured, Settings},
    team::Team,
};

/// What to measure: a Whisper model's sizes, as its `config.json` has them, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    threads: usize,
    rounds: usize,
    batch: usize,
    cached: usize,
    width: usize,
    encoder_heads: usize,
    decoder_heads: usize,
    encoder_inner: usize,
    decoder_inner: usize,
    vocabulary: usize,
    mel_bins: usize,
}

/// Frames of a window.
const FRAMES: usize = 3000;
/// Most of every number in a request: far beyond any model, and small enough that no size overflows.
const MOST: usize = 1 << 20;

/// One kernel.
#[derive(Serialize)]
struct Kernel<'a> {
    name: &'a str,
    shape: &'a str,
    precision: String,
    /// Median, milliseconds.
    ms: f64,
    best_ms: f64,
    /// `limit_ms / ms`.
    share_of_limit: Option<f64>,
    /// The larger of both limits.
    limit_ms: Option<f64>,
    arithmetic_ms: Option<f64>,
    memory_ms: f64,
    operations: f64,
    bytes: f64,
}

impl<'a> Kernel<'a> {
    fn new(measured: &'a Measured) -> Self {
        let limit_ms = measured.limit_ms();
        Self {
            name: measured.name,
            shape: &measured.shape,
            precision: measured.precision.to_string(),
            ms: measured.ms,
            best_ms: measured.best_ms,
            share_of_limit: limit_ms.map(|limit| limit / measured.ms),
            limit_ms,
            arithmetic_ms: measured.arithmetic_ms,
            memory_ms: measured.memory_ms,
            operations: measured.work.operations,
            bytes: measured.work.bytes,
        }
    }
}

/// The answer to a request, both JSON: `limits` (on all threads, and `one_thread`), `kernels`, `batched_products`; or `error`.
pub fn answer(request: &str) -> Value {
    match serde_json::from_str::<Request>(request) {
        Ok(request) => request.measured(),
        Err(error) => json!({ "error": format!("the request is not understood: {error}") }),
    }
}

impl Request {
    fn measured(self) -> Value {
        let Self { threads, rounds, batch, cached, width, encoder_heads, decoder_heads, vocabulary, mel_bins, .. } =
            self;
        let (encoder_inner, decoder_inner) = (self.encoder_inner, self.decoder_inner);
        let sizes =
            [width, encoder_heads, decoder_heads, encoder_inner, decoder_inner, vocabulary, mel_bins, batch, rounds];
        if sizes.iter().chain([&threads]).any(|size| !(1..=MOST).contains(size)) || cached > MOST {
            return json!({ "error": format!("a number of the request is not in 1 … {MOST}") });
        }
        let head_width = width / encoder_heads;
        if head_width == 0 || threads > 1024 {
            return json!({ "error": format!("{width} channels in {encoder_heads} heads on {threads} threads") });
        }
        let geometry = Geometry {
            width,
            encoder_heads,
            decoder_heads,
            encoder_inner,
            decoder_inner,
            vocabulary,
            mel_bins,
            frames: FRAMES,
            head_width,
        };
        let settings = Settings { rounds, batch, cached };
        let report = Team::with_threads(threads, |pool| measure::measure(&geometry, &settings, pool));
        let mut limits = figures(&report.limits);
        limits["one_thread"] = figures(&report.alone);
        let memory = report.limits.memory();
        limits["read_from_bytes"] = memory.working_set().into();
        limits["last_level_cache_bytes"] = memory.cache().into();
        let batched = report.batched.iter().map(|products| {
            json!({
                "shape": format!("{0}x{0}x{0}", products.size),
                "count": products.count,
                "together_ms": products.together_ms,
                "one_by_one_ms": products.apart_ms,
                "ratio": products.apart_ms / products.together_ms,
            })
        });
        json!({
            "instruction_set": Isa::best().to_string(),
            "threads": threads,
            "limits": limits,
            "kernels": report.kernels.iter().map(Kernel::new).collect::<Vec<_>>(),
            "batched_products": batched.collect::<Vec<_>>(),
        })
    }
}

fn figures(limits: &Limits) -> Value {
    let gops = |precision| limits.instructions().best(Isa::best(), precision);
    let patterns = limits.memory().patterns().map(|(pattern, gbps)| (pattern.name().to_owned(), gbps.into()));
    json!({
        "int8_gops": gops(Precision::Int8),
        "bf16_gflops": gops(Precision::Bf16),
        "f32_gflops": gops(Precision::F32),
        "read_gbps": limits.memory().gbps(),
        "exponentials_gps": limits.gexps(),
        "read_patterns_gbps": patterns.collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"threads":2,"rounds":1,"batch":2,"cached":3,"width":64,"encoder_heads":1,"decoder_heads":1,
        "encoder_inner":128,"decoder_inner":128,"vocabulary":100,"mel_bins":16}"#;

    #[test]
    fn an_answer_has_limits_and_kernels() {
        let answer = answer(SMALL);
        assert!(answer["limits"]["read_gbps"].as_f64().unwrap() > 0.0, "{answer}");
        assert!(answer["limits"]["one_thread"]["read_gbps"].as_f64().unwrap() > 0.0);
        for key in ["int8_gops", "bf16_gflops", "f32_gflops"] {
            assert!(answer["limits"].get(key).is_some(), "{key}");
        }
        let kernels = answer["kernels"].as_array().unwrap();
        for kernel in kernels {
            assert!(kernel["ms"].as_f64().unwrap() > 0.0, "{kernel}");
            for key in ["name", "shape", "precision", "share_of_limit"] {
                assert!(kernel.get(key).is_some(), "{kernel} lacks {key}");
            }
        }
        for precision in ["int8", "bf16", "f32"] {
            assert!(
                kernels.iter().any(|kernel| kernel["precision"] == precision && kernel["shape"] == "1500x512x2048")
            );
        }
        assert_eq!(answer["batched_products"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_request_that_is_none_is_answered_by_an_error() {
        let zero = SMALL.replace("\"threads\":2", "\"threads\":0");
        let huge = SMALL.replace("\"width\":64", "\"width\":99999999");
        let narrow = SMALL.replace("\"encoder_heads\":1", "\"encoder_heads\":65");
        for request in ["", "{}", "[1]", &zero, &huge, &narrow] {
            let answer = answer(request);
            assert!(answer["error"].is_string() && answer.get("kernels").is_none(), "{request}: {answer}");
        }
    }
}
