//! Which instruction set the host device uses: found at run time, or lowered by whoever tests or compares.

use undertone_boundary::words;

words!(
    /// An instruction set that the kernels are written for, least capable first. Each includes what its kernels need; a
    /// CPU that lacks a part gets the next lower one.
    Isa, "instruction set", {
        /// Plain Rust.
        Portable = "portable",
        /// AArch64 with Advanced SIMD (and the dot-product instructions where the CPU has them).
        Neon = "neon",
        /// AVX2 and FMA.
        Avx2 = "avx2",
        /// AVX2, FMA and the 256-bit VNNI instructions.
        Avx2Vnni = "avx2-vnni",
        /// AVX-512 F, BW, DQ, VL.
        Avx512 = "avx512",
        /// AVX-512 with VNNI and BF16.
        Avx512VnniBf16 = "avx512-vnni-bf16",
    }
);

impl Isa {
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
