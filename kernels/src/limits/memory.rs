//! How fast this machine reads memory that no cache holds.
#![allow(unsafe_code)]

use std::{hint::black_box, time::Instant};

use super::median;
use crate::Parallel;

/// Bytes that are read if the last-level cache is small or its size is not known.
const LEAST_BYTES: usize = 256 << 20;
/// How many times the last-level cache the memory is: the part that a cache of that size could keep from one pass to the next is
/// small.
const CACHES: usize = 8;
/// Streams that a thread reads side by side in [`Pattern::Streams`].
const STREAMS: usize = 4;
/// Parts of the memory for each thread.
const PARTS: usize = 32;
const WORDS: usize = 8;

type Line = [u64; WORDS];

/// The order in which a thread reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Its own part from the beginning to the end.
    Forward,
    /// Four quarters of its part side by side.
    Streams,
    /// The same with the lines some hundred bytes ahead asked for before they are needed.
    Ahead,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 3] = [Pattern::Forward, Pattern::Streams, Pattern::Ahead];

    /// A word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Forward => "forward",
            Pattern::Streams => "4 streams",
            Pattern::Ahead => "prefetched",
        }
    }
}

/// Memory that is much larger than the caches, and how fast it was read.
pub struct Reader {
    data: Vec<Line>,
    cache: Option<usize>,
    samples: [Vec<f64>; Pattern::ALL.len()],
}

impl Reader {
    /// Reserves and writes the memory: eight times the last-level cache, at least 256 MiB.
    pub fn new() -> Self {
        let cache = last_level_cache();
        let bytes = LEAST_BYTES.max(CACHES * cache.unwrap_or(0));
        // Not zero: untouched zero pages may all be one page, which a cache holds.
        let data = (0..bytes / size_of::<Line>()).map(|i| [i as u64 | 1; WORDS]).collect();
        Self { data, cache, samples: Default::default() }
    }

    /// One more sample of each pattern, on all of `pool`'s threads at once.
    pub fn sample(&mut self, pool: &dyn Parallel) {
        for (at, pattern) in Pattern::ALL.into_iter().enumerate() {
            let start = Instant::now();
            self.read(pattern, pool);
            self.samples[at].push(self.working_set() as f64 / start.elapsed().as_secs_f64() / 1e9);
        }
    }

    /// Reads everything once, so that the caches hold nothing that was read before.
    pub fn drive_out(&self, pool: &dyn Parallel) {
        self.read(Pattern::Streams, pool);
    }

    /// In parts of some megabytes, so that a thread that lags behind is not waited for.
    fn read(&self, pattern: Pattern, pool: &dyn Parallel) {
        let parts = pool.width() * PARTS;
        let length = self.data.len().div_ceil(parts);
        pool.run(parts, &|part| {
            let end = self.data.len().min((part + 1) * length);
            read(pattern, &self.data[end.min(part * length)..end]);
        });
    }

    /// 10⁹ bytes a second of the pattern with the best median: what can be had again and again, not once. NaN before the first
    /// sample.
    pub fn gbps(&self) -> f64 {
        self.patterns().map(|(_, gbps)| gbps).fold(f64::NAN, f64::max)
    }

    /// The median of each pattern.
    pub fn patterns(&self) -> impl Iterator<Item = (Pattern, f64)> {
        Pattern::ALL.into_iter().zip(self.samples.iter().map(|samples| median(samples)))
    }

    /// Bytes of the memory that is read.
    pub fn working_set(&self) -> usize {
        self.data.len() * size_of::<Line>()
    }

    /// Bytes of the last-level cache, where the system tells.
    pub fn cache(&self) -> Option<usize> {
        self.cache
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of the largest cache that Linux lists for the first processor.
pub fn last_level_cache() -> Option<usize> {
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

fn read(pattern: Pattern, part: &[Line]) {
    let mut sums = [[0u64; WORDS]; STREAMS];
    let mut add = |stream: usize, line: &Line| {
        sums[stream].iter_mut().zip(line).for_each(|(sum, word)| *sum ^= word);
    };
    match pattern {
        Pattern::Forward => part.chunks(STREAMS).for_each(|lines| {
            lines.iter().enumerate().for_each(|(stream, line)| add(stream, line));
        }),
        Pattern::Streams => {
            let length = part.len() / STREAMS;
            for at in 0..length {
                (0..STREAMS).for_each(|stream| add(stream, &part[stream * length + at]));
            }
            part[length * STREAMS..].iter().for_each(|line| add(0, line));
        }
        Pattern::Ahead => part.chunks(STREAMS).for_each(|lines| {
            prefetch(lines, 32);
            lines.iter().enumerate().for_each(|(stream, line)| add(stream, line));
        }),
    }
    black_box(sums);
}

/// Asks for the lines that lie `ahead` lines after `lines`.
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch(lines: &[Line], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that a program can see and never faults, also outside of the memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(lines.as_ptr().wrapping_add(line + ahead).cast()) };
    }
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
        let reader = Reader::new();
        assert!(reader.working_set() >= LEAST_BYTES.max(4 * reader.cache().unwrap_or(0)));
    }
}
