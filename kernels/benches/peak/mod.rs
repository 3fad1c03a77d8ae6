//! What the product instructions of this CPU can do: each alone, on registers, on some threads at once.
#![allow(unsafe_code)]

use std::{collections::BTreeMap, fmt};

use undertone_kernels::{Precision, host::Isa};

/// What was measured, in Gop/s over all threads.
#[derive(Default)]
pub struct Peaks {
    samples: BTreeMap<&'static str, Vec<f64>>,
}

impl Peaks {
    /// One more sample of each instruction.
    pub fn measure(&mut self, threads: usize) {
        for (name, operations, run) in instructions() {
            let start = std::time::Instant::now();
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(run);
                }
                run();
            });
            let done = operations * STEPS as f64 * SUMS as f64 * threads as f64;
            self.samples.entry(name).or_default().push(done / start.elapsed().as_secs_f64() / 1e9);
        }
    }

    /// The best peak of the instruction that carries an instruction set's products; `None` where none is measured.
    pub fn best(&self, isa: Isa, precision: Precision) -> Option<f64> {
        self.best_of(instruction(isa, precision)?)
    }

    fn best_of(&self, name: &str) -> Option<f64> {
        self.samples.get(name)?.iter().copied().max_by(f64::total_cmp)
    }
}

/// The instruction that carries an instruction set's products.
fn instruction(isa: Isa, precision: Precision) -> Option<&'static str> {
    Some(match (isa, precision) {
        (Isa::Avx512VnniBf16, Precision::Int8) => "vpdpbusd zmm",
        (Isa::Avx512VnniBf16, Precision::Bf16) => "vdpbf16ps zmm",
        (Isa::Avx512VnniBf16, Precision::F32) | (Isa::Avx512, Precision::F32 | Precision::Bf16) => "vfmadd zmm",
        (Isa::Avx2Vnni, Precision::Int8) => "vpdpbusd ymm",
        (Isa::Avx2 | Isa::Avx2Vnni, Precision::F32 | Precision::Bf16) => "vfmadd ymm",
        _ => return None,
    })
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.samples.keys().enumerate() {
            let best = self.best_of(name).unwrap_or_default();
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {best:.0}")?;
        }
        Ok(())
    }
}

/// Independent sums: enough to hide the instruction's latency.
const SUMS: usize = 12;
/// Instructions on each of them: about a millisecond.
const STEPS: usize = 500_000;

/// Name, operations of one instruction, and a run of `STEPS · SUMS` of it.
type Instruction = (&'static str, f64, fn());

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> Vec<Instruction> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<Instruction> {
    let mut all: Vec<Instruction> = Vec::new();
    if Isa::Avx512VnniBf16.is_available() {
        all.push(("vpdpbusd zmm", 128.0, x86::dot_bytes_512));
        all.push(("vdpbf16ps zmm", 64.0, x86::dot_bf16_512));
    }
    if Isa::Avx512.is_available() {
        all.push(("vfmadd zmm", 32.0, x86::fma_512));
    }
    if Isa::Avx2Vnni.is_available() {
        all.push(("vpdpbusd ymm", 64.0, x86::dot_bytes_256));
    }
    if Isa::Avx2.is_available() {
        all.push(("vfmadd ymm", 16.0, x86::fma_256));
    }
    all
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{STEPS, SUMS};
    use std::{arch::x86_64::*, hint::black_box};

    macro_rules! peak {
        ($name:ident, $features:literal, $zero:expr, $operand:expr, |$sum:ident, $a:ident, $b:ident| $step:expr) => {
            pub fn $name() {
                #[target_feature(enable = $features)]
                fn run() {
                    let mut sums = [$zero; SUMS];
                    let ($a, $b) = (black_box($operand), black_box($operand));
                    for _ in 0..STEPS {
                        for sum in &mut sums {
                            let $sum = *sum;
                            *sum = $step;
                        }
                    }
                    black_box(sums);
                }
                // SAFETY: `instructions` lists this only where the CPU has the instructions.
                unsafe { run() }
            }
        };
    }

    peak!(dot_bytes_512, "avx512f,avx512vnni", _mm512_setzero_si512(), _mm512_set1_epi8(1), |sum, a, b| {
        _mm512_dpbusd_epi32(sum, a, b)
    });
    peak!(dot_bf16_512, "avx512f,avx512bf16", _mm512_setzero_ps(), halves(), |sum, a, b| {
        _mm512_dpbf16_ps(sum, a, b)
    });
    peak!(fma_512, "avx512f", _mm512_setzero_ps(), _mm512_set1_ps(0.5), |sum, a, b| _mm512_fmadd_ps(a, b, sum));
    peak!(dot_bytes_256, "avx2,avxvnni", _mm256_setzero_si256(), _mm256_set1_epi8(1), |sum, a, b| {
        _mm256_dpbusd_avx_epi32(sum, a, b)
    });
    peak!(fma_256, "avx2,fma", _mm256_setzero_ps(), _mm256_set1_ps(0.5), |sum, a, b| _mm256_fmadd_ps(a, b, sum));

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn halves() -> __m512bh {
        _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.5))
    }
}
