//! What the runner computes itself, around the sessions: the features of a window, and a step's choice among the
//! logits. Prints the median and the least time of each.
//!
//! `cargo bench -p undertone-runner --bench around`

use std::hint::black_box;
use std::time::Instant;
use undertone_runner::choice::{Ask, scores};
use undertone_runner::mel::{LogMel, WINDOW_SAMPLES};

fn measure<T>(name: &str, runs: usize, mut work: impl FnMut() -> T) {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let begun = Instant::now();
            black_box(work());
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name}: {:.4} ms (least {:.4})", times[runs / 2], times[0]);
}

fn main() {
    let samples: Vec<f32> = (0..WINDOW_SAMPLES).map(|i| (i as f32 * 0.07).sin() * (i as f32 * 0.0011).sin()).collect();
    for bins in [80, 128] {
        let mel = LogMel::new(bins);
        measure(&format!("mel, 3000 frames, {bins} bins"), 50, || mel.hugging_face(&samples));
    }
    let logits: Vec<f32> = (0..51_865u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 * 1e-6).collect();
    let forbidden: Vec<_> = (0..90).map(|i| i * 400..i * 400 + 1).chain(std::iter::once(50_257..50_400)).collect();
    let ask = Ask { forbidden: &forbidden, first_timestamp: 50_364 };
    measure("choice among 51865 logits", 1000, || scores(&logits, &ask).choose());
}
