//! Values for tests, trials and benchmarks: the same for the same seed on every machine.

/// A linear congruential generator: nothing depends on its quality.
pub struct Noise(u64);

impl Noise {
    /// The values of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next value, in −1 … 1.
    pub fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// The next value of mean 0 and deviation 1, nearly normal.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() / 2.0
    }
}

/// `count` values in −1 … 1.
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise::new(seed);
    (0..count).map(|_| noise.uniform()).collect()
}
