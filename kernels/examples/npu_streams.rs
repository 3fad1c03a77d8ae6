//! How long the instruction streams of Whisper's encoders are, and how long writing them takes on this machine (median
//! of many). Or, given a folder of bundles, a small stream for each of its designs, which
//! `kernels/aie/compare_streams.py` holds against the one that aiecc writes.
//!
//!   cargo run --release -p undertone-kernels --example npu_streams [BUNDLES STREAMS]

use std::{env, error::Error, fs, path::Path, time::Instant};

use undertone_kernels::{
    npu::{Bundles, Design, Kernels, Problem, Target, Tile, cost::Work, stream},
    reference::whisper,
};

const RUNS: usize = 101;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [] => times(),
        [bundles, streams] => write(Path::new(bundles), Path::new(streams)),
        _ => Err("usage: npu_streams [BUNDLES STREAMS]".into()),
    }
}

/// Streams of a linear layer with two tiles in each direction, so that operands are held, repeated and gone through.
fn write(bundles: &Path, streams: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(streams)?;
    let bundles = Bundles::open(bundles)?;
    if let Some(error) = bundles.broken().first() {
        return Err(error.clone().into());
    }
    for bundle in bundles.list() {
        let design = bundle.design();
        let Tile { m, k, n } = design.tile;
        let (rows, outputs) = (2 * Target::ROWS * m, 2 * n * design.target.columns());
        let words = stream::write(design, &Problem::Linear { rows, inputs: 2 * k, outputs })?;
        let name = bundle.folder().file_name().unwrap_or_default().display();
        let path = streams.join(format!("{name}.bin"));
        fs::write(&path, words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())?;
        println!("{}: {} words", path.display(), words.len());
    }
    Ok(())
}

fn times() -> Result<(), Box<dyn Error>> {
    println!("{:<16} {:<5} {:<5} {:<24} {:>7} {:>8}", "model", "npu", "", "shape", "words", "µs");
    for model in whisper::MODELS {
        for (target, kernels) in
            Target::ALL.into_iter().flat_map(|target| Kernels::ALL.map(|kernels| (target, kernels)))
        {
            let design = Design::shipped(target, kernels)?;
            for (Work { problem, .. }, _) in model.encoder() {
                let mut words = 0;
                let mut times = Vec::with_capacity(RUNS);
                for _ in 0..RUNS {
                    let start = Instant::now();
                    words = stream::write(&design, &problem)?.len();
                    times.push(start.elapsed());
                }
                times.sort_unstable();
                let micros = times[RUNS / 2].as_secs_f64() * 1e6;
                let shape = problem.to_string();
                println!("{:<16} {target:<5} {kernels:<5} {shape:<24} {words:>7} {micros:>8.1}", model.name);
            }
        }
    }
    Ok(())
}
