//! How fast this machine reads memory that no cache holds.

use undertone_kernels::{
    Parallel,
    reader::{Pattern, Reader},
};

use crate::median;

/// Bytes that are read if the last-level cache is small or its size is not known.
const LEAST_BYTES: usize = 256 << 20;
/// How many times the last-level cache the memory is: the part that a cache of that size could keep from one pass to
/// the next is small.
const CACHES: usize = 8;

/// Memory that is much larger than the caches, and how fast it was read.
pub struct Memory {
    /// To be read, so that the caches hold nothing that was read before.
    pub reader: Reader,
    /// Bytes of the last-level cache, where the system tells.
    pub cache: Option<usize>,
    samples: [Vec<f64>; Pattern::ALL.len()],
}

impl Default for Memory {
    /// Reserves and writes the memory: eight times the last-level cache, at least 256 MiB.
    fn default() -> Self {
        let cache = last_level_cache();
        let reader = Reader::new(LEAST_BYTES.max(CACHES * cache.unwrap_or(0)));
        Self { reader, cache, samples: Default::default() }
    }
}

impl Memory {
    /// One more sample of each pattern, on all of `pool`'s threads at once.
    pub fn sample(&mut self, pool: &dyn Parallel) {
        for (samples, pattern) in self.samples.iter_mut().zip(Pattern::ALL) {
            samples.push(self.reader.read(pattern, pool));
        }
    }

    /// 10⁹ bytes a second of the pattern with the best median: what can be had again and again, not once. NaN before
    /// the first sample.
    pub fn gbps(&self) -> f64 {
        self.patterns().map(|(_, gbps)| gbps).fold(f64::NAN, f64::max)
    }

    /// The median of each pattern.
    pub fn patterns(&self) -> impl Iterator<Item = (Pattern, f64)> {
        Pattern::ALL.into_iter().zip(self.samples.iter().map(|samples| median(samples)))
    }
}

/// Bytes of the largest cache that Linux lists for the first processor.
fn last_level_cache() -> Option<usize> {
    let entries = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let sizes = entries.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("size")).ok()?;
        cache_size(text.trim())
    });
    sizes.max()
}

/// `32768K` or `32M` in bytes.
fn cache_size(text: &str) -> Option<usize> {
    let (number, unit) = match text.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => match text.strip_suffix('M') {
            Some(number) => (number, 1 << 20),
            None => (text, 1),
        },
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(cache_size("32768K"), Some(32 << 20));
        assert_eq!(cache_size("32M"), Some(32 << 20));
        assert_eq!(cache_size("512"), Some(512));
        assert_eq!(cache_size("much"), None);
    }

    #[test]
    fn the_memory_is_larger_than_the_caches() {
        let memory = Memory::default();
        assert!(memory.reader.bytes() >= LEAST_BYTES.max(4 * memory.cache.unwrap_or(0)));
    }
}
