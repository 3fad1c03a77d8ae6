//! How fast this machine reads memory.
#![allow(unsafe_code)]

use std::{hint::black_box, time::Instant};

use undertone_boundary::words;

use crate::{Parallel, scratch::ask_for_large_pages};

/// Streams that a thread reads side by side.
const STREAMS: usize = 4;
/// Lines between the one that is read and the one that is asked for.
const AHEAD: usize = 16;
/// Parts of the memory for each thread.
const PARTS: usize = 32;
const WORDS: usize = 8;

type Line = [u64; WORDS];

words!(
    /// The order in which a thread reads.
    Pattern, "pattern", {
        /// A part of the memory from the beginning to the end.
        Forward = "forward",
        /// Four quarters of the part side by side.
        Streams = "4 streams",
        /// The same, and the lines some distance ahead are asked for before they are needed.
        Ahead = "prefetched",
    }
);

/// Memory to be read over and over.
pub struct Reader(Vec<Line>);

impl Reader {
    /// Reserves and writes so many bytes, in large pages where the system gives them.
    pub fn new(bytes: usize) -> Self {
        // Not zero: untouched zero pages may all be one page, which a cache holds.
        let lines = bytes / size_of::<Line>();
        let mut data = Vec::with_capacity(lines);
        ask_for_large_pages(data.as_mut_ptr(), lines * size_of::<Line>());
        data.extend((0..lines).map(|i| [i as u64 | 1; WORDS]));
        Self(data)
    }

    /// Bytes of the memory.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<Line>()
    }

    /// Reads everything once, on all of `pool`'s threads at once, and gives 10⁹ bytes a second. In parts of some
    /// megabytes, so that a thread that lags behind is not waited for.
    pub fn read(&self, pattern: Pattern, pool: &dyn Parallel) -> f64 {
        let start = Instant::now();
        let parts = pool.width() * PARTS;
        let length = self.0.len().div_ceil(parts);
        pool.run(parts, &|part| {
            let end = self.0.len().min((part + 1) * length);
            read(pattern, &self.0[end.min(part * length)..end]);
        });
        self.bytes() as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// Reads `part` with the widest loads that this CPU has.
fn read(pattern: Pattern, part: &[Line]) {
    // Streams of equal length; forward, they are one line after another.
    let length = part.len() / STREAMS;
    let [stream, line] = match pattern {
        Pattern::Forward => [1, STREAMS],
        Pattern::Streams | Pattern::Ahead => [length, 1],
    };
    let ahead = pattern == Pattern::Ahead;
    let walk = Walk { first: part.as_ptr(), stream, line, steps: length, ahead };
    // SAFETY: the streams lie within `part`, and a CPU gets only instructions that it has.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") {
            return x86::read_512(walk);
        } else if is_x86_feature_detected!("avx2") {
            return x86::read_256(walk);
        }
        read_words(walk);
    }
}

/// How a part is read: `steps` times one line of each stream.
struct Walk {
    first: *const Line,
    /// Lines from one stream to the next.
    stream: usize,
    /// Lines from one step to the next.
    line: usize,
    steps: usize,
    ahead: bool,
}

impl Walk {
    #[inline(always)]
    fn at(&self, step: usize, stream: usize) -> *const Line {
        let line = self.first.wrapping_add(stream * self.stream + step * self.line);
        if self.ahead {
            prefetch(line.wrapping_add(AHEAD));
        }
        line
    }
}

/// # Safety
/// The walk's lines can be read.
unsafe fn read_words(walk: Walk) {
    let mut sums = [[0; WORDS]; STREAMS];
    for step in 0..walk.steps {
        for (stream, sum) in sums.iter_mut().enumerate() {
            // SAFETY: as the caller promises.
            let line = unsafe { &*walk.at(step, stream) };
            (0..WORDS).for_each(|word| sum[word] ^= line[word]);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, hint::black_box};

    use super::{Line, STREAMS, Walk};

    macro_rules! reader {
        ($name:ident, $feature:literal, $vector:ty, $zero:ident, $load:ident, $xor:ident) => {
            /// # Safety
            /// The walk's lines can be read, and the CPU has the instructions.
            #[target_feature(enable = $feature)]
            pub unsafe fn $name(walk: Walk) {
                const VECTORS: usize = size_of::<Line>() / size_of::<$vector>();
                let mut sums = [[$zero(); VECTORS]; STREAMS];
                for step in 0..walk.steps {
                    for stream in 0..STREAMS {
                        let line = walk.at(step, stream).cast::<$vector>();
                        for vector in 0..VECTORS {
                            // SAFETY: as the caller promises.
                            let value = unsafe { $load(line.add(vector)) };
                            sums[stream][vector] = $xor(sums[stream][vector], value);
                        }
                    }
                }
                black_box(sums);
            }
        };
    }

    reader!(read_512, "avx512f", __m512i, _mm512_setzero_si512, _mm512_loadu_si512, _mm512_xor_si512);
    reader!(read_256, "avx2", __m256i, _mm256_setzero_si256, _mm256_loadu_si256, _mm256_xor_si256);
}

/// Asks for a line before it is needed.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
fn prefetch(line: *const Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that a program can see and never faults, also outside of the memory.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
}
