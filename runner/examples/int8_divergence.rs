//! What a narrow arithmetic costs, measured in the product itself: the decoder's distributions over the next token in a
//! precision against those in f32, on recordings, teacher-forced.
//!
//! The f32 decoder writes each recording's first window greedily, without timestamps. The same tokens are then forced
//! upon the other combinations: the encoder alone in the precision, the decoder alone, and both. For every position the
//! Kullback-Leibler divergence KL(f32 ‖ precision) in nats over the whole vocabulary is taken, and whether the
//! likeliest token is another one.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example int8_divergence -- [--precision WORD] MODEL AUDIO…`
//!
//! The execution provider's library is the one that was built beside this program (`cargo build --release`), or
//! `UNDERTONE_EP`.

use std::error::Error;
use std::path::{Path, PathBuf};

use undertone_runner::decoder::OrtModel;
use undertone_runner::features::Features;
use undertone_runner::language::detect;
use undertone_runner::mel::LogMel;
use undertone_runner::speech_model::SpeechModel;
use undertone_runner::tokenizer::{SpecialTokens, Tokenizer};
use undertone_runner::{Device, Engine, EngineOptions, Model, Precision, audio};

/// Positions of a recording, at most: a model that loops must not outweigh the others.
const MOST_TOKENS: usize = 120;

/// What is compared with f32: whether the encoder and the decoder are in the precision.
const COMPARED: [(&str, bool, bool); 3] = [("encoder", true, false), ("decoder", false, true), ("both", true, true)];

#[derive(Default)]
struct Divergence {
    kl: Vec<f64>,
    flipped: usize,
}

impl Divergence {
    fn note(&mut self, reference: &[f32], logits: &[f32]) {
        self.kl.push(divergence(reference, logits));
        self.flipped += usize::from(likeliest(reference) != likeliest(logits));
    }

    /// The mean, its standard error, and the flipped choices' share.
    fn line(&self, name: &str) -> String {
        let n = self.kl.len() as f64;
        let mean = self.kl.iter().sum::<f64>() / n;
        let variance = self.kl.iter().map(|kl| (kl - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let share = 100.0 * self.flipped as f64 / n;
        let error = (variance / n).sqrt();
        format!("{name:8} mean KL {mean:.5} (± {error:.5}), {} of {n} choices flipped ({share:.2} %)", self.flipped)
    }
}

/// KL(softmax(a) ‖ softmax(b)) in nats.
fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let log_sum = |x: &[f32]| {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        f64::from(most) + x.iter().map(|x| f64::from(x - most).exp()).sum::<f64>().ln()
    };
    let (sum_a, sum_b) = (log_sum(a), log_sum(b));
    a.iter()
        .zip(b)
        .map(|(&a, &b)| {
            let (a, b) = (f64::from(a) - sum_a, f64::from(b) - sum_b);
            if a.is_finite() { a.exp() * (a - b) } else { 0.0 }
        })
        .sum()
}

fn likeliest(logits: &[f32]) -> usize {
    logits.iter().enumerate().fold(0, |best, (at, logit)| if *logit > logits[best] { at } else { best })
}

/// The likeliest token of text, or the end of it.
fn written(logits: &[f32], special: &SpecialTokens) -> u32 {
    likeliest(&logits[..=special.eot as usize]) as u32
}

fn prompt(logits_after_sot: &[f32], special: &SpecialTokens) -> Vec<u32> {
    if !special.multilingual {
        return vec![special.sot, special.notimestamps];
    }
    let language = detect(logits_after_sot, &special.languages).map_or(special.sot, |found| found.token);
    vec![special.sot, language, special.transcribe, special.notimestamps]
}

fn library() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::var_os("UNDERTONE_EP") {
        return Ok(path.into());
    }
    let name = format!("{}onnxruntime_ep_xdna{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join(name))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut precision = Precision::Int8;
    if arguments.first().is_some_and(|word| word == "--precision") {
        precision = arguments.get(1).ok_or("--precision wants a word")?.parse()?;
        arguments.drain(..2);
    }
    let [model, recordings @ ..] = &arguments[..] else { return Err("give a model and recordings".into()) };
    let model = Model::open(model, None)?;
    let engine = |precision| -> Result<Engine, Box<dyn Error>> {
        let mut options = EngineOptions::new(std::env::var("ORT_DYLIB_PATH").map_err(|_| "ORT_DYLIB_PATH is not set")?);
        options.ep_library = Some(library()?);
        options.device = Device::Host;
        options.precision = precision;
        // Whoever measures beside other work should not wait for it in loops.
        options.spinning = false;
        Ok(Engine::new(&options)?)
    };
    let (exact, narrow) = (engine(Precision::F32)?, engine(precision)?);
    let special = Tokenizer::load(model.directory())?.special;
    let mel = LogMel::new(model.config().mel_bins);
    let (mut wide, mut small) = (OrtModel::load(&model, &exact)?, OrtModel::load(&model, &narrow)?);
    let mut results = COMPARED.map(|_| Divergence::default());
    for recording in recordings {
        let window = Features::of(&mel, &audio::read_file(Path::new(recording))?.samples).window(0)?;
        wide.encode(&[&window])?;
        small.encode(&[&window])?;
        let encoded = [wide.encoded()?, small.encoded()?];
        let start = wide.start(&[&[special.sot]], 0)?;
        let prompt = prompt(&start[0].sot, &special);

        // The reference, and what it writes.
        let mut reference = vec![wide.start(&[&prompt], 0)?.remove(0).last];
        let mut tokens = Vec::new();
        loop {
            let token = written(&reference[tokens.len()], &special);
            if token == special.eot || tokens.len() + 1 == MOST_TOKENS {
                break;
            }
            tokens.push(token);
            wide.step_logits(&[token], &mut |_, logits| reference.push(logits.to_vec()))?;
        }

        for ((_, narrow_encoder, narrow_decoder), result) in COMPARED.into_iter().zip(&mut results) {
            let decoder = if narrow_decoder { &mut small } else { &mut wide };
            decoder.set_encoded(&encoded[usize::from(narrow_encoder)])?;
            result.note(&reference[0], &decoder.start(&[&prompt], 0)?.remove(0).last);
            for (token, reference) in tokens.iter().zip(&reference[1..]) {
                decoder.step_logits(&[*token], &mut |_, logits| result.note(reference, logits))?;
            }
        }
    }
    println!("{} against f32, {} recordings, {} positions", precision, recordings.len(), results[0].kl.len());
    for ((name, ..), result) in COMPARED.iter().zip(&results) {
        println!("{}", result.line(name));
    }
    Ok(())
}
