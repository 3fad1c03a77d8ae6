//! How long the instruction streams of Whisper's encoders are, and how long writing them takes on this machine (median
//! of many).
//!
//!   cargo run --release -p undertone-kernels --example npu_streams

use std::{error::Error, time::Instant};

use undertone_kernels::{
    npu::{Design, Kernels, Target, cost::Work, stream},
    reference::whisper,
};

const RUNS: usize = 101;

fn main() -> Result<(), Box<dyn Error>> {
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
