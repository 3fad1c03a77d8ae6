//! What the product instructions of this CPU can do: each alone, on registers, on all threads of a pool at once.
#![allow(unsafe_code)]

use std::{collections::BTreeMap, time::Instant};

use undertone_kernels::{Parallel, Precision, host::Isa};

/// What was measured, in 10⁹ operations a second over all threads (a multiply-add is two).
#[derive(Default)]
pub struct Peaks {
    samples: BTreeMap<&'static str, Vec<f64>>,
}

impl Peaks {
    /// One more sample of each instruction, a millisecond or two long.
    pub fn sample(&mut self, pool: &dyn Parallel) {
        for (name, operations, run) in instructions() {
            let start = Instant::now();
            pool.run(pool.width(), &|_| run());
            let done = operations * (STEPS * SUMS * pool.width()) as f64;
            self.samples.entry(name).or_default().push(done / start.elapsed().as_secs_f64() / 1e9);
        }
    }

    /// The best sample of the instruction that carries an instruction set's products; `None` where none is measured.
    pub fn best(&self, isa: Isa, precision: Precision) -> Option<f64> {
        self.samples.get(instruction(isa, precision)?)?.iter().copied().max_by(f64::total_cmp)
    }
}

/// The instruction that carries an instruction set's products, where this module has a loop of it.
fn instruction(isa: Isa, precision: Precision) -> Option<&'static str> {
    Some(match (isa, precision) {
        (Isa::Avx512VnniBf16, Precision::Int8) => "vpdpbusd zmm",
        (Isa::Avx512VnniBf16, Precision::Bf16) => "vdpbf16ps zmm",
        (Isa::Avx512VnniBf16, Precision::F32) | (Isa::Avx512, Precision::F32 | Precision::Bf16) => "vfmadd zmm",
        (Isa::Avx512, Precision::Int8) => "vpmaddwd zmm",
        (Isa::Avx2Vnni, Precision::Int8) => "vpdpbusd ymm",
        (Isa::Avx2, Precision::Int8) => "vpmaddwd ymm",
        (Isa::Avx2 | Isa::Avx2Vnni, Precision::F32 | Precision::Bf16) => "vfmadd ymm",
        (Isa::Neon, Precision::F32 | Precision::Bf16) => "fmla",
        (Isa::Neon, Precision::Int8) => "sdot",
        (Isa::Portable, _) => return None,
    })
}

/// Independent sums: enough to hide the instruction's latency.
const SUMS: usize = 12;
/// Instructions on each of them: about a millisecond.
const STEPS: usize = 500_000;

/// Name, operations of one instruction, and a run of `STEPS · SUMS` of it.
type Instruction = (&'static str, f64, fn());

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<Instruction> {
    Vec::new()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<Instruction> {
    let mut all: Vec<Instruction> = Vec::new();
    if Isa::Neon.is_available() {
        all.push(("fmla", 8.0, aarch64::fma));
    }
    if std::arch::is_aarch64_feature_detected!("dotprod") {
        all.push(("sdot", 32.0, aarch64::dot_bytes));
    }
    all
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
        all.push(("vpmaddwd zmm", 64.0, x86::dot_words_512));
    }
    if Isa::Avx2Vnni.is_available() {
        all.push(("vpdpbusd ymm", 64.0, x86::dot_bytes_256));
    }
    if Isa::Avx2.is_available() {
        all.push(("vfmadd ymm", 16.0, x86::fma_256));
        all.push(("vpmaddwd ymm", 32.0, x86::dot_words_256));
    }
    all
}

/// A function that runs `$step` on registers only.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! peak {
    ($name:ident, $features:literal, $zero:expr, $operand:expr, |$sum:ident, $a:ident, $b:ident| $step:expr) => {
        pub fn $name() {
            #[target_feature(enable = $features)]
            fn run() {
                let mut sums = [$zero; super::SUMS];
                let ($a, $b) = (std::hint::black_box($operand), std::hint::black_box($operand));
                for _ in 0..super::STEPS {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                std::hint::black_box(sums);
            }
            // SAFETY: `instructions` lists this only where the CPU has the instructions.
            unsafe { run() }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

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
    // Without a dot product of bytes: pairs of words, and the addition to the sum. As assembly, or the compiler would
    // multiply once for all steps.
    macro_rules! words {
        ($register:ident, $sum:ident, $a:ident, $b:ident) => {{
            let mut sum = $sum;
            // SAFETY: registers only, of an instruction set that the function enables.
            unsafe {
                std::arch::asm!(
                    "vpmaddwd {products}, {a}, {b}",
                    "vpaddd {sum}, {sum}, {products}",
                    products = out($register) _, a = in($register) $a, b = in($register) $b, sum = inout($register) sum,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            sum
        }};
    }
    peak!(dot_words_512, "avx512f,avx512bw", _mm512_setzero_si512(), _mm512_set1_epi16(1), |sum, a, b| {
        words!(zmm_reg, sum, a, b)
    });
    peak!(dot_words_256, "avx2", _mm256_setzero_si256(), _mm256_set1_epi16(1), |sum, a, b| {
        words!(ymm_reg, sum, a, b)
    });

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn halves() -> __m512bh {
        _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.5))
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::*;

    peak!(fma, "neon", vdupq_n_f32(0.0), vdupq_n_f32(0.5), |sum, a, b| vfmaq_f32(sum, a, b));
    peak!(dot_bytes, "neon,dotprod", vdupq_n_s32(0), vdupq_n_s8(1), |sum, a, b| {
        let mut sum = sum;
        // SAFETY: registers only, of an instruction set that the function enables. `vdotq_s32` is not stable yet.
        unsafe {
            std::arch::asm!(
                "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    });
}
