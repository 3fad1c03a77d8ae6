//! The kernels of this library beside the machine's limits, asked for and answered in JSON: for programs that loaded
//! the library and want to know how far it is from what the machine can do. No session and no graph is involved.

use undertone_boundary::measure::{Answer, Request};
use undertone_kernels::{measure, team::Team};

/// Frames of a window.
const FRAMES: usize = 3000;
/// Most of every number in a request: far beyond any model, and small enough that no size overflows.
const MOST: usize = 1 << 20;
/// Most threads.
const MOST_THREADS: usize = 1024;

/// The answer to a [`Request`], both JSON.
pub fn answer(request: &str) -> Answer {
    let request = serde_json::from_str(request).map_err(|error| format!("the request is not understood: {error}"));
    request.and_then(|request| measured(&request)).unwrap_or_else(|error| Answer::Refused { error })
}

fn measured(request: &Request) -> Result<Answer, String> {
    let &Request { threads, rounds, batch, cached, width, encoder_heads, decoder_heads, .. } = request;
    let &Request { encoder_inner, decoder_inner, vocabulary, mel_bins, .. } = request;
    let model = [width, encoder_heads, decoder_heads, encoder_inner, decoder_inner, vocabulary, mel_bins];
    if model.iter().chain(&[batch, rounds, threads]).any(|size| !(1..=MOST).contains(size)) || cached > MOST {
        return Err(format!("a number of the request is not in 1 … {MOST}"));
    }
    if width < encoder_heads || threads > MOST_THREADS {
        return Err(format!("{width} channels in {encoder_heads} heads on {threads} threads"));
    }
    let report = Team::with_threads(threads, |pool| measure::measure(request, FRAMES, pool));
    Ok(Answer::Report(Box::new(report)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(request: &str) -> serde_json::Value {
        serde_json::to_value(answer(request)).unwrap()
    }

    const SMALL: &str = r#"{"threads":2,"rounds":1,"batch":2,"cached":3,"width":64,"encoder_heads":1,"decoder_heads":1,
        "encoder_inner":128,"decoder_inner":128,"vocabulary":100,"mel_bins":16}"#;

    #[test]
    fn an_answer_has_limits_and_kernels() {
        let answer = json(SMALL);
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
            let answer = json(request);
            assert!(answer["error"].is_string() && answer.get("kernels").is_none(), "{request}: {answer}");
        }
    }
}
