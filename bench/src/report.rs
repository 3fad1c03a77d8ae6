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
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|word| (*word).to_owned()).collect()] }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let is_number = |cell: &String| cell == "-" || cell.trim_end_matches(['x', '%', ' ']).parse::<f64>().is_ok();
        let numeric = |column: usize| self.rows[1..].iter().filter_map(|row| row.get(column)).all(is_number);
        let right: Vec<bool> = (0..columns).map(numeric).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
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
        let mut table = Table::new(&["device", "precision", "encoder ms", "decoder ms/token", "real time"]);
        for result in results {
            table.row([
                result.device.clone(),
                result.precision.clone(),
                number(result.encoder_ms, 1, ""),
                number(result.decoder_ms_per_token, 2, ""),
                number(result.realtime_factor, 1, "x"),
            ]);
        }
        text += &table.text();
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
        if let Some(kernels) = &self.kernels {
            text += &limits(*threads, &kernels.limits, &kernels.instruction_set);
            text += &self::kernels(kernels);
        }
        text
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
    let mut table = Table::new(&header);
    for result in results {
        let Some(step) = &result.step else { continue };
        let profile = step.profile.as_ref();
        let gbps = profile.map(|profile| profile.read_gbps);
        table.row([
            result.device.clone(),
            result.precision.clone(),
            step.cached.to_string(),
            number(step.ms, 3, ""),
            number(profile.map(|profile| profile.bytes as f64 / 1e6), 1, ""),
            number(gbps, 1, ""),
            number(gbps.zip(bandwidth).map(|(gbps, limit)| gbps / limit * 100.0), 0, " %"),
            number(profile.map(|profile| profile.overhead_us), 0, ""),
        ]);
    }
    if table.rows.len() < 2 { String::new() } else { format!("\none decoder step\n{}", table.text()) }
}

fn long_audio(results: &[LongResult]) -> String {
    let Some(first) = results.first() else { return String::new() };
    let mut table = Table::new(&["device", "precision", "features ms", "encoder ms", "decoder ms", "real time"]);
    for long in results {
        let times = [long.mel_ms, long.encoder_ms, long.decoder_ms].map(|ms| number(ms, 1, ""));
        let names = [long.device.clone(), long.precision.clone()];
        table.row(names.into_iter().chain(times).chain([number(long.realtime_factor, 1, "x")]));
    }
    format!(
        "\n{} s of audio: {} windows, {} tokens each, {} decoded together\n{}",
        first.audio_seconds,
        first.windows,
        first.tokens,
        first.batch,
        table.text()
    )
}

fn cache_gain(gains: &[CacheGain]) -> String {
    let Some(first) = gains.first() else { return String::new() };
    let mut table = Table::new(&["device", "precision", "with ms", "without ms", "gain"]);
    for gain in gains {
        let figures = [number(gain.with_ms, 1, ""), number(gain.without_ms, 1, ""), number(gain.ratio, 1, "x")];
        table.row([gain.device.clone(), gain.precision.clone()].into_iter().chain(figures));
    }
    format!("\n{} tokens with the key-value cache and without\n{}", first.tokens, table.text())
}

fn start_up(starts: &[StartResult]) -> String {
    if starts.is_empty() {
        return String::new();
    }
    let header =
        ["device", "first s", "second s", "weights MB", "peak MB", "peak above weights MB", "private MB", "mapped MB"];
    let mut table = Table::new(&header);
    let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), 0, "");
    for start in starts {
        let memory = &start.memory;
        let above = memory.peak_bytes.zip(memory.weight_bytes).map(|(peak, weights)| peak.saturating_sub(weights));
        let seconds = [start.first_seconds, start.second_seconds].map(|seconds| number(seconds, 2, ""));
        let sizes = [memory.weight_bytes, memory.peak_bytes, above, memory.private_bytes, memory.mapped_bytes];
        table.row([start.device.clone()].into_iter().chain(seconds).chain(sizes.map(megabytes)));
    }
    format!("\nfrom the process's start to the first token, and the second start's memory\n{}", table.text())
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
    let mut table = Table::new(&["kind", "shape", "calls", "us", "share", "MB read", "GB/s"]);
    for part in parts {
        let nanoseconds = part.nanoseconds as f64;
        let bytes = (part.bytes > 0).then_some(part.bytes as f64);
        table.row([
            part.kind.clone(),
            part.shape.clone(),
            part.calls.to_string(),
            number(nanoseconds / 1e3, 1, ""),
            number(100.0 * nanoseconds / all.max(1) as f64, 1, " %"),
            number(bytes.map(|bytes| bytes / 1e6), 2, ""),
            number(bytes.map(|bytes| bytes / nanoseconds), 1, ""),
        ]);
    }
    table.text()
}

fn limits(threads: usize, limits: &Limits, instruction_set: &str) -> String {
    let mut table = Table::new(&["threads", "int8 Gop/s", "bf16 Gop/s", "f32 Gop/s", "exp G/s", "read GB/s"]);
    for (threads, limits) in [(threads, Some(limits)), (1, limits.one_thread.as_deref())] {
        let Some(limits) = limits else { continue };
        let peaks = [limits.int8_gops, limits.bf16_gflops, limits.f32_gflops].map(|peak| number(peak, 0, ""));
        let rates = [limits.exponentials_gps, limits.read_gbps].map(|rate| number(rate, 1, ""));
        table.row([threads.to_string()].into_iter().chain(peaks).chain(rates));
    }
    let mebibytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let mut text = format!("\nwhat the machine can do with {instruction_set}\n{}", table.text());
    let patterns = limits.read_patterns_gbps.iter().map(|(name, gbps)| format!("{name} {gbps:.1}"));
    let _ = writeln!(
        text,
        "read from {} (last-level cache {}), GB/s by order: {}",
        mebibytes(limits.read_from_bytes),
        mebibytes(limits.last_level_cache_bytes),
        patterns.collect::<Vec<_>>().join(", ")
    );
    text
}

fn kernels(kernels: &KernelReport) -> String {
    let header = ["kernel", "shape", "precision", "ms", "best ms", "arithmetic ms", "memory ms", "share of limit"];
    let mut table = Table::new(&header);
    for kernel in &kernels.kernels {
        table.row([
            kernel.name.to_owned(),
            kernel.shape.clone(),
            kernel.precision.to_owned(),
            number(kernel.ms, 4, ""),
            number(kernel.best_ms, 4, ""),
            number(kernel.arithmetic_ms, 4, ""),
            number(kernel.memory_ms, 4, ""),
            number(kernel.share_of_limit.map(|share| share * 100.0), 0, " %"),
        ]);
    }
    let mut text = format!("\n{}", table.text());
    let mut table = Table::new(&["f32 products", "count", "one call ms", "one by one ms", "gain"]);
    for products in &kernels.batched_products {
        table.row([
            products.shape.clone(),
            products.count.to_string(),
            number(products.together_ms, 3, ""),
            number(products.one_by_one_ms, 3, ""),
            number(products.ratio, 2, "x"),
        ]);
    }
    let _ = write!(text, "\n{}", table.text());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_on_the_right_and_words_on_the_left() {
        let mut table = Table::new(&["device", "shape", "ms", "real time"]);
        table.row(["cpu", "1x2", "9.5", "7.0x"].map(str::to_owned));
        table.row(["host", "10x20", "10.25", "-"].map(str::to_owned));
        let text = table.text();
        assert_eq!(
            text,
            "device  shape     ms  real time\ncpu     1x2      9.5       7.0x\nhost    10x20  10.25          -\n"
        );
    }
}
