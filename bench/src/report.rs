//! The answer of `undertone bench`, and its tables for people. Measures nothing.

use std::fmt::Write as _;

use serde::Serialize;
use undertone_boundary::profile::Part;

use crate::limits::Limits;
use crate::{BenchResult, CacheGain, KernelReport, LongResult, StartResult};

/// Everything that was measured.
#[derive(Serialize)]
pub struct Report {
    /// By device.
    pub results: Vec<BenchResult>,
    /// Threads that computed.
    pub threads: usize,
    /// Runs on each device.
    pub runs: u16,
    /// The processor's name.
    pub cpu: String,
    /// ONNX Runtime's version.
    pub ort: String,
    /// By device, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub long_audio: Vec<LongResult>,
    /// By device, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_gain: Vec<CacheGain>,
    /// By device, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_up: Vec<StartResult>,
    /// The execution provider's kernels, on as many `threads`.
    #[serde(flatten)]
    pub kernels: Option<KernelReport>,
}

/// A table whose columns are as wide as their widest entry; columns of numbers are aligned on the right.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let is_number = |cell: &str| cell == "-" || cell.trim_end_matches(['x', '%', ' ']).parse::<f64>().is_ok();
    let columns: [(usize, bool); N] = std::array::from_fn(|column| {
        let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (width, rows[1..].iter().all(|row| is_number(&row[column])))
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row
            .iter()
            .zip(columns)
            .map(|(cell, (width, right))| if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A number with so many digits and a unit; a dash for none.
fn number(value: impl Into<Option<f64>>, digits: usize, unit: &str) -> String {
    value.into().map_or("-".to_owned(), |value| format!("{value:.digits$}{unit}"))
}

impl Report {
    /// All tables; with `profile` also those of the kernels and other steps within the encoder and a decoder step.
    pub fn text(&self, profile: bool) -> String {
        let Self { results, threads, runs, cpu, ort, .. } = self;
        let mut text = format!("{cpu}, {threads} threads, ONNX Runtime {ort}, medians of {runs} runs\n\n");
        let header = ["device", "precision", "encoder ms", "decoder ms/token", "real time"];
        let rows = results.iter().map(|result| {
            let (device, precision) = (result.device.clone(), result.precision.clone());
            let (encoder, decoder) = (result.encoder_ms, result.decoder_ms_per_token);
            let factor = number(result.realtime_factor, 1, "x");
            [device, precision, number(encoder, 1, ""), number(decoder, 2, ""), factor]
        });
        text += &table(header, rows);
        for result in results {
            text += &npu(result);
        }
        text += &steps(results, self.kernels.as_ref().map(|kernels| kernels.limits.read_gbps));
        text += &long_audio(&self.long_audio);
        text += &cache_gain(&self.cache_gain);
        text += &start_up(&self.start_up);
        for result in results.iter().filter(|_| profile) {
            text += &profiles(result);
        }
        text + &self.kernels.as_ref().map_or(String::new(), KernelReport::text)
    }
}

/// What an NPU did for one window; of a simulated one, what simulating cost.
fn npu(result: &BenchResult) -> String {
    let Some(npu) = &result.npu else { return String::new() };
    let mut text = format!("\none window through the encoder on {npu}\n");
    if let Some(ms) = result.simulating_encoder_ms {
        let _ = writeln!(text, "simulating it took {:.1} s, which says nothing of the hardware's speed", ms / 1e3);
    }
    text
}

fn steps(results: &[BenchResult], bandwidth: Option<f64>) -> String {
    let header = ["device", "precision", "cached", "ms", "must read MB", "GB/s", "of read limit", "beyond kernels us"];
    let rows = results.iter().filter_map(|result| {
        let step = result.step.as_ref()?;
        let profile = step.profile.as_ref();
        let gbps = profile.map(|profile| profile.read_gbps);
        Some([
            result.device.clone(),
            result.precision.clone(),
            step.cached.to_string(),
            number(step.ms, 3, ""),
            number(profile.map(|profile| profile.bytes as f64 / 1e6), 1, ""),
            number(gbps, 1, ""),
            number(gbps.zip(bandwidth).map(|(gbps, limit)| gbps / limit * 100.0), 0, " %"),
            number(profile.map(|profile| profile.overhead_us), 0, ""),
        ])
    });
    let text = format!("\none decoder step\n{}", table(header, rows));
    if results.iter().any(|result| result.step.is_some()) { text } else { String::new() }
}

fn long_audio(results: &[LongResult]) -> String {
    let Some(LongResult { audio_seconds, windows, tokens, batch, .. }) = results.first() else { return String::new() };
    let header = ["device", "precision", "features ms", "encoder ms", "decoder ms", "real time"];
    let rows = results.iter().map(|long| {
        let [mel, encoder, decoder] = [long.mel_ms, long.encoder_ms, long.decoder_ms].map(|ms| number(ms, 1, ""));
        [long.device.clone(), long.precision.clone(), mel, encoder, decoder, number(long.realtime_factor, 1, "x")]
    });
    let rows = table(header, rows);
    format!("\n{audio_seconds} s of audio: {windows} windows, {tokens} tokens each, {batch} decoded together\n{rows}")
}

fn cache_gain(gains: &[CacheGain]) -> String {
    let Some(first) = gains.first() else { return String::new() };
    let rows = gains.iter().map(|gain| {
        let [with, without] = [gain.with_ms, gain.without_ms].map(|ms| number(ms, 1, ""));
        [gain.device.clone(), gain.precision.clone(), with, without, number(gain.ratio, 1, "x")]
    });
    let rows = table(["device", "precision", "with ms", "without ms", "gain"], rows);
    format!("\n{} tokens with the key-value cache and without\n{rows}", first.tokens)
}

fn start_up(starts: &[StartResult]) -> String {
    if starts.is_empty() {
        return String::new();
    }
    let header =
        ["device", "first s", "second s", "weights MB", "peak MB", "peak above weights MB", "private MB", "mapped MB"];
    let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), 0, "");
    let rows = starts.iter().map(|start| {
        let memory = &start.memory;
        let above = memory.peak_bytes.zip(memory.weight_bytes).map(|(peak, weights)| peak.saturating_sub(weights));
        let [first, second] = [start.first_seconds, start.second_seconds].map(|seconds| number(seconds, 2, ""));
        let sizes = [memory.weight_bytes, memory.peak_bytes, above, memory.private_bytes, memory.mapped_bytes];
        let [weights, peak, above, private, mapped] = sizes.map(megabytes);
        [start.device.clone(), first, second, weights, peak, above, private, mapped]
    });
    let rows = table(header, rows);
    format!("\nfrom the process's start to the first token, and the second start's memory\n{rows}")
}

fn profiles(result: &BenchResult) -> String {
    let step = result.step.as_ref().and_then(|step| step.profile.as_ref());
    let of = |parts: Option<&Vec<Part>>, what: &str| {
        parts.map_or_else(String::new, |parts| {
            format!("\n{what} on {}, {}\n{}", result.device, result.precision, self::parts(parts))
        })
    };
    of(result.encoder_parts.as_ref(), "the encoder") + &of(step.map(|step| &step.parts), "one decoder step")
}

fn parts(parts: &[Part]) -> String {
    let mut parts: Vec<&Part> = parts.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.nanoseconds));
    let all: u64 = parts.iter().map(|part| part.nanoseconds).sum();
    let rows = parts.iter().map(|part| {
        let nanoseconds = part.nanoseconds as f64;
        let bytes = (part.bytes > 0).then_some(part.bytes as f64);
        [
            part.kind.clone(),
            part.shape.clone(),
            part.calls.to_string(),
            number(nanoseconds / 1e3, 1, ""),
            number(100.0 * nanoseconds / all.max(1) as f64, 1, " %"),
            number(bytes.map(|bytes| bytes / 1e6), 2, ""),
            number(bytes.map(|bytes| bytes / nanoseconds), 1, ""),
        ]
    });
    table(["kind", "shape", "calls", "us", "share", "MB read", "GB/s"], rows)
}

impl KernelReport {
    /// Tables of limits, of kernels, and of batched products.
    pub fn text(&self) -> String {
        let Self { instruction_set, threads, limits, kernels, batched_products } = self;
        let header = ["threads", "int8 Gop/s", "bf16 Gop/s", "f32 Gop/s", "exp G/s", "read GB/s"];
        let both = [(*threads, Some(limits)), (1, limits.one_thread.as_deref())];
        let rows = both.into_iter().filter_map(|(threads, limits)| {
            let Limits { int8_gops, bf16_gflops, f32_gflops, .. } = *limits?;
            let [int8, bf16, f32] = [int8_gops, bf16_gflops, f32_gflops].map(|peak| number(peak, 0, ""));
            let [exp, read] = [limits?.exponentials_gps, limits?.read_gbps].map(|rate| number(rate, 1, ""));
            Some([threads.to_string(), int8, bf16, f32, exp, read])
        });
        let mut text = format!("\nwhat the machine can do with {instruction_set}\n{}", table(header, rows));
        let [memory, cache] = [limits.read_from_bytes, limits.last_level_cache_bytes]
            .map(|bytes| bytes.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20)));
        let patterns = limits.read_patterns_gbps.iter().map(|(name, gbps)| format!("{name} {gbps:.1}"));
        let patterns = patterns.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "read from {memory} (last-level cache {cache}), GB/s by order: {patterns}");

        let header = ["kernel", "shape", "precision", "ms", "best ms", "arithmetic ms", "memory ms", "share of limit"];
        let rows = kernels.iter().map(|kernel| {
            let share = number(kernel.share_of_limit.map(|share| share * 100.0), 0, " %");
            let times = [Some(kernel.ms), Some(kernel.best_ms), kernel.arithmetic_ms, Some(kernel.memory_ms)];
            let [ms, best, arithmetic, memory] = times.map(|ms| number(ms, 4, ""));
            let (name, shape) = (kernel.name.clone(), kernel.shape.clone());
            [name, shape, kernel.precision.to_owned(), ms, best, arithmetic, memory, share]
        });
        let _ = writeln!(text, "\n{}", table(header, rows));

        let header = ["f32 products", "count", "one call ms", "one by one ms", "gain"];
        let rows = batched_products.iter().map(|products| {
            let times = [products.together_ms, products.one_by_one_ms];
            let [together, apart] = times.map(|ms| number(ms, 3, ""));
            let (shape, count) = (products.shape.clone(), products.count.to_string());
            [shape, count, together, apart, number(products.ratio, 2, "x")]
        });
        text + &table(header, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_on_the_right_and_words_on_the_left() {
        let rows = [["cpu", "1x2", "9.5", "7.0x"], ["host", "10x20", "10.25", "-"]];
        let text = table(["device", "shape", "ms", "real time"], rows.map(|row| row.map(str::to_owned)).into_iter());
        assert_eq!(
            text,
            "device  shape     ms  real time\ncpu     1x2      9.5       7.0x\nhost    10x20  10.25          -\n"
        );
    }
}
