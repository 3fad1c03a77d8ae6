//! Whisper in Rust with the crate `ort`: features, greedy decoding with a cache of keys and values, text.
//!
//!     export ORT_DYLIB_PATH=/path/libonnxruntime.so UNDERTONE_EP_LIBRARY=/path/libonnxruntime_ep_xdna.so
//!     cargo run --release --example pipeline MODEL PRECISION RECORDING.wav...
//!
//! Takes `ort` with the features `load-dynamic` and `api-24`, and `libloading` for the counters. MODEL is a folder as
//! `undertone model convert` writes it, and a file vocabulary.txt with each token's bytes in hexadecimal. PRECISION is
//! f32, bf16 or int8 in Undertone's execution provider, or cpu: without it. English, 30 seconds at most. Prints for each
//! recording its file, the seconds that it took, those in ONNX Runtime, and its text; then the provider's counters.

use std::collections::HashMap;
use std::error::Error;
use std::ffi::{CStr, c_char};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

mod sound;

type Failure = Box<dyn Error>;

const EP: &str = "XdnaExecutionProvider";
const MOST_TOKENS: usize = 224;
const COUNTERS: [&CStr; 2] = [c"fused_nodes_executed", c"kernel_calls.host"];

fn session(environment: &Environment, precision: &str, path: &str) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?;
    if precision != "cpu" {
        let devices = environment.devices().filter(|device| device.ep().is_ok_and(|ep| ep == EP)).take(1);
        let options = [("device", "host"), ("precision", precision)]
            .map(|(key, value)| (format!("{EP}.{key}"), value.to_owned()));
        builder = builder.with_devices(devices, Some(&options))?;
    }
    builder.commit_from_file(path)
}

struct Whisper {
    encoder: Session,
    first: Session,
    later: Session,
    /// Each token's bytes.
    vocabulary: Vec<Vec<u8>>,
    /// Time in ONNX Runtime.
    inside: Duration,
}

/// A session's outputs, by name.
fn run(
    session: &mut Session,
    inside: &mut Duration,
    inputs: Vec<(String, SessionInputValue<'_>)>,
) -> ort::Result<HashMap<String, DynValue>> {
    let begin = Instant::now();
    let outputs = session.run(inputs)?;
    *inside += begin.elapsed();
    Ok(outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Puts a decoder's results into the cache, under the names of the inputs that take them; gives the likeliest token.
fn keep(mut results: HashMap<String, DynValue>, cache: &mut HashMap<String, DynValue>) -> Result<usize, Failure> {
    let logits = results.remove("logits").ok_or("the decoder gives no logits")?;
    cache.extend(results.into_iter().map(|(name, value)| (name.replace("present", "past_key_values"), value)));
    let (shape, values) = logits.try_extract_tensor::<f32>()?;
    let last = &values[values.len() - shape[2] as usize..];
    Ok((0..last.len()).fold(0, |best, token| if last[token] > last[best] { token } else { best }))
}

impl Whisper {
    fn token(&self, text: &str) -> Result<usize, Failure> {
        Ok(self
            .vocabulary
            .iter()
            .rposition(|token| token == text.as_bytes())
            .ok_or_else(|| format!("no token {text}"))?)
    }

    fn transcribe(&mut self, samples: &[f32]) -> Result<String, Failure> {
        let features = Tensor::from_array(([1, sound::MELS, sound::FRAMES], sound::log_mel(samples)))?;
        let mut encoded = run(&mut self.encoder, &mut self.inside, vec![("input_features".into(), features.into())])?;
        let hidden = encoded.remove("last_hidden_state").ok_or("the encoder gives no last_hidden_state")?;

        let (start, end) = (self.token("<|startoftranscript|>")?, self.token("<|endoftext|>")?);
        // Models of English alone have fewer tokens before this one, and are told neither language nor task.
        let words: &[&str] =
            if start > 50257 { &["<|en|>", "<|transcribe|>", "<|notimestamps|>"] } else { &["<|notimestamps|>"] };
        let told = words.iter().map(|word| self.token(word)).collect::<Result<Vec<_>, _>>()?;
        let prompt: Vec<i64> = std::iter::once(start).chain(told).map(|token| token as i64).collect();
        let ids = Tensor::from_array(([1, prompt.len()], prompt))?;
        let inputs = vec![("input_ids".into(), ids.into()), ("encoder_hidden_states".into(), hidden.into())];
        let mut cache = HashMap::new();
        let mut token = keep(run(&mut self.first, &mut self.inside, inputs)?, &mut cache)?;
        let mut text = Vec::new();
        for _ in 0..MOST_TOKENS {
            if token == end {
                break;
            }
            if token < end {
                text.extend(&self.vocabulary[token]);
            }
            let ids = Tensor::from_array(([1, 1], vec![token as i64]))?;
            let past = cache.iter().map(|(name, value)| (name.clone(), value.into()));
            let inputs = past.chain([("input_ids".to_owned(), ids.into())]).collect();
            token = keep(run(&mut self.later, &mut self.inside, inputs)?, &mut cache)?;
        }
        Ok(String::from_utf8_lossy(&text).split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// What the provider's library has counted in this process.
#[allow(unsafe_code, reason = "calls into the library")]
fn counted(library: &str) -> Result<[u64; 2], Failure> {
    // SAFETY: the library is Undertone's, whose counter takes a string that ends with a zero and gives a number.
    unsafe {
        let library = libloading::Library::new(library)?;
        let counter: libloading::Symbol<'_, unsafe extern "C" fn(*const c_char) -> u64> =
            library.get(b"onnxruntime_ep_xdna_counter")?;
        Ok(COUNTERS.map(|name| counter(name.as_ptr())))
    }
}

fn bytes(line: &str) -> Vec<u8> {
    let digit =
        |at: usize| line.as_bytes().get(at).and_then(|digit| char::from(*digit).to_digit(16)).unwrap_or(0) as u8;
    (0..line.len() / 2).map(|at| digit(2 * at) << 4 | digit(2 * at + 1)).collect()
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, precision, recordings @ ..] = &arguments[..] else {
        return Err("usage: pipeline MODEL cpu|f32|bf16|int8 RECORDING.wav...".into());
    };
    let first = recordings.first().ok_or("no recording is given")?;
    let library = std::env::var("UNDERTONE_EP_LIBRARY")?;
    let environment = ort::init_from(std::env::var("ORT_DYLIB_PATH")?)?.build()?;
    if precision != "cpu" {
        environment.register_ep_library("undertone", &library)?;
    }
    let open = |name: &str| session(&environment, precision, &format!("{model}/{name}.onnx"));
    let mut whisper = Whisper {
        encoder: open("encoder_model")?,
        first: open("decoder_model")?,
        later: open("decoder_with_past_model")?,
        vocabulary: std::fs::read_to_string(format!("{model}/vocabulary.txt"))?.lines().map(bytes).collect(),
        inside: Duration::ZERO,
    };
    // The first run of a session also lays out its memory.
    whisper.transcribe(&sound::read_wav(first)?)?;
    let before = counted(&library)?;
    for recording in recordings {
        whisper.inside = Duration::ZERO;
        let samples = sound::read_wav(recording)?;
        let begin = Instant::now();
        let text = whisper.transcribe(&samples)?;
        println!(
            "text\t{recording}\t{:.4}\t{:.4}\t{text}",
            begin.elapsed().as_secs_f64(),
            whisper.inside.as_secs_f64()
        );
    }
    for (name, (before, after)) in COUNTERS.iter().zip(before.into_iter().zip(counted(&library)?)) {
        println!("counter\t{}\t{before}\t{after}", name.to_str()?);
    }
    Ok(())
}
