//! Which instruction set the host device uses: found at run time, or lowered by whoever tests or compares.

use std::{fmt, str::FromStr};

/// An instruction set that the kernels are written for, least capable first. Each includes what its kernels need; a CPU
/// that lacks a part gets the next lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AArch64 with Advanced SIMD (and the dot-product instructions where the CPU has them).
    Neon,
    /// AVX2 and FMA.
    Avx2,
    /// AVX2, FMA and the 256-bit VNNI instructions.
    Avx2Vnni,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX-512 with VNNI and BF16.
    Avx512VnniBf16,
}

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 6] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx2Vnni, Isa::Avx512, Isa::Avx512VnniBf16];

    /// Whether this CPU can execute it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2Vnni => Isa::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512VnniBf16 => {
                Isa::Avx512.is_available()
                    && is_x86_feature_detected!("avx512vnni")
                    && is_x86_feature_detected!("avx512bf16")
            }
            #[allow(unreachable_patterns, reason = "instruction sets of the other architectures")]
            _ => false,
        }
    }

    /// Those that this CPU can execute, least capable first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The most capable one that this CPU can execute.
    pub fn best() -> Isa {
        Isa::available().last().unwrap_or(Isa::Portable)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx2Vnni => "avx2-vnni",
            Isa::Avx512 => "avx512",
            Isa::Avx512VnniBf16 => "avx512-vnni-bf16",
        })
    }
}

/// A word that names no instruction set.
#[derive(Debug, thiserror::Error)]
#[error("unknown instruction set \"{0}\": use one of portable, neon, avx2, avx2-vnni, avx512, avx512-vnni-bf16")]
pub struct UnknownIsa(String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Isa::ALL.into_iter().find(|isa| isa.to_string() == word).ok_or_else(|| UnknownIsa(word.to_owned()))
    }
}
