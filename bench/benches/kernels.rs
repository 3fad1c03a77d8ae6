//! Linear layers and attention on every instruction set, not only the best, beside what each of them can do.
//!
//! `cargo bench -p undertone-bench --bench kernels [-- THREADS [ISA…] [PRECISION…]]` prints the tables of
//! `undertone bench`, with an instruction set in the place of a kernel's name: medians and best times of interleaved
//! rounds. On a machine that others use too, the best says more about the kernel.

use undertone_bench::kernels::{Case, Weights, measure};
use undertone_kernels::host::{HostDevice, Isa};
use undertone_kernels::{Activation, Precision, team::Team};

const ROUNDS: usize = 15;
/// Rows of a decoder: one, and those of beams and batches.
const FEW: [usize; 6] = [1, 2, 4, 8, 12, 16];
/// Inputs, outputs and rows: an encoder's layers, then a decoder's. Those that widen end in GELU.
const LINEAR: [(usize, usize, &[usize]); 10] = [
    (384, 384, &[1500]),
    (384, 1536, &[1500]),
    (1536, 384, &[1500]),
    (512, 2048, &[1500]),
    (2048, 512, &[1500]),
    (384, 384, &[1]),
    (384, 1152, &[1]),
    (1536, 384, &[1]),
    (384, 1536, &FEW),
    (384, 51_865, &FEW),
];
/// Heads, queries, keys and head width of attention over a cache.
const CACHED: [[usize; 4]; 3] = [[8, 1, 1500, 64], [8, 4, 1500, 64], [8, 1, 100, 64]];

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let threads = words.next().and_then(|word| word.parse().ok()).unwrap_or(2);
    let words: Vec<String> = words.collect();
    let mut isas: Vec<Isa> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let mut precisions: Vec<Precision> = words.iter().filter_map(|word| word.parse().ok()).collect();
    if isas.is_empty() {
        isas.extend(Isa::available());
    }
    if precisions.is_empty() {
        precisions.extend(Precision::ALL);
    }
    let mut cases = Vec::new();
    for isa in isas {
        let (device, name) = (HostDevice::with_isa(isa).expect("this CPU has the instruction set"), isa.to_string());
        for &precision in &precisions {
            for (inputs, outputs, rows) in LINEAR {
                let activation = if outputs == 4 * inputs { Activation::Gelu } else { Activation::None };
                let weights = Weights::linear(device, inputs, outputs, activation, precision, rows[0] == 1);
                cases.extend(rows.iter().map(|&rows| Case::linear(&name, &weights, rows)));
            }
            cases.push(Case::attention(device, &name, precision, [8, 1500, 1500, 64]));
            cases.extend(CACHED.map(|sizes| Case::cached(device, &name, precision, sizes)));
        }
    }
    let report = Team::with_threads(threads, |pool| measure(cases, ROUNDS, pool));
    print!("{threads} threads\n{}", report.text());
}
