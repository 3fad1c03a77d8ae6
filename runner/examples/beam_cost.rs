//! What beams cost: the decoder's time with a beam search beside its time without one, on recordings, one call of each
//! after the other so that both meet the machine in the same state.
//!
//! `ORT_DYLIB_PATH=… cargo run --release -p undertone-runner --example beam_cost -- [OPTION VALUE …] MODEL AUDIO…`
//!
//! Options: `--beam-size` (5), `--device` (host), `--precision` (int8), `--batch` (recordings together, 1), `--rounds`
//! (how often all recordings are transcribed, 3). The execution provider's library is the one that was built beside
//! this program (`cargo build --release`), or `UNDERTONE_EP`.

use std::error::Error;
use std::path::PathBuf;

use undertone_runner::{Audio, EngineOptions, Model, SearchOptions, TranscribeOptions, Transcriber, audio};

/// What was measured of one way to search.
#[derive(Default)]
struct Cost {
    /// Of each round, in milliseconds.
    decoder: Vec<f64>,
    tokens: u64,
}

impl Cost {
    fn best(&self) -> f64 {
        self.decoder.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.decoder.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut options, mut rest) = (std::collections::HashMap::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(name) => {
                options.insert(name.to_owned(), arguments.next().ok_or("an option without a value")?);
            }
            None => rest.push(argument),
        }
    }
    let option = |name: &str, default: &str| options.get(name).map_or(default, String::as_str).to_owned();
    let [model, files @ ..] = &rest[..] else { return Err("name a model and recordings".into()) };
    let beside =
        std::env::current_exe()?.parent().and_then(|p| p.parent()).map(|p| p.join("libonnxruntime_ep_xdna.so"));
    let mut engine = EngineOptions::new(std::env::var_os("ORT_DYLIB_PATH").ok_or("set ORT_DYLIB_PATH")?);
    engine.ep_library = std::env::var_os("UNDERTONE_EP").map(PathBuf::from).or(beside);
    engine.device = option("device", "host").parse()?;
    engine.precision = option("precision", "int8").parse()?;
    let mut transcriber = Transcriber::load(&Model::open(model, None)?, &engine)?;
    let recordings: Vec<Audio> = files.iter().map(|file| audio::read_file(file.as_ref())).collect::<Result<_, _>>()?;
    let beam_size = Some(option("beam-size", "5").parse()?);
    let batch = option("batch", "1").parse()?;
    let mut costs = [Cost::default(), Cost::default()];
    for _ in 0..option("rounds", "3").parse::<usize>()? {
        let mut of_round = [0.0; 2];
        for group in recordings.chunks(batch) {
            let group: Vec<&Audio> = group.iter().collect();
            for (way, beam_size) in [None, beam_size].into_iter().enumerate() {
                let search = SearchOptions { beam_size, ..SearchOptions::default() };
                let options =
                    TranscribeOptions { search, batch, language: Some("en".to_owned()), ..TranscribeOptions::greedy() };
                for result in transcriber.transcribe_all(&group, &options, &mut ())? {
                    of_round[way] += result.run.decoder_ms;
                    costs[way].tokens += result.run.tokens;
                }
            }
        }
        costs.iter_mut().zip(of_round).for_each(|(cost, ms)| cost.decoder.push(ms));
    }
    for (name, cost) in ["greedy", "beams"].into_iter().zip(&costs) {
        println!(
            "{name}: decoder {:.0} ms (median of rounds {:.0} ms), {} tokens",
            cost.best(),
            cost.median(),
            cost.tokens
        );
    }
    let [greedy, beams] = &costs;
    println!(
        "beams take {:.2} times as long (medians: {:.2})",
        beams.best() / greedy.best(),
        beams.median() / greedy.median()
    );
    Ok(())
}
