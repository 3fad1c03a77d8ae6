//! The answer of `undertone bench` as tables for people. Measures nothing.

use std::fmt::Write as _;

use undertone_runner::bench::{BenchResult, KernelReport, Limits, Part};

use super::Report;

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

/// All tables.
pub fn report(report: &Report, profile: bool) -> String {
    let Report { results, threads, runs, cpu, ort, .. } = report;
    let mut text = format!("{cpu}, {threads} threads, ONNX Runtime {ort}, medians of {runs} runs\n\n");
    let mut table = Table::new(&["device", "precision", "encoder ms", "decoder ms/token", "real time"]);
    for result in results {
        table.row([
            result.device.clone(),
            result.precision.clone(),
            result.encoder_ms.map_or("-".to_owned(), |ms| format!("{ms:.1}")),
            result.decoder_ms_per_token.map_or("-".to_owned(), |ms| format!("{ms:.2}")),
            result.realtime_factor.map_or("-".to_owned(), |factor| format!("{factor:.1}x")),
        ]);
    }
    text += &table.text();
    for result in results {
        text += &npu(result);
    }
    text += &steps(results, report.kernels.as_ref().map(|kernels| kernels.limits.read_gbps));
    text += &long_audio(report);
    text += &cache_gain(report);
    text += &start_up(report);
    if profile {
        for result in results {
            text += &profiles(result);
        }
    }
    if let Some(kernels) = &report.kernels {
        text += &limits(*threads, &kernels.limits, &kernels.instruction_set);
        text += &self::kernels(kernels);
    }
    text
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
        let mut cells = vec![result.device.clone(), result.precision.clone()];
        cells.extend([step.cached.to_string(), format!("{:.3}", step.ms)]);
        let of = |gbps: f64| bandwidth.map_or("-".to_owned(), |limit| format!("{:.0} %", gbps / limit * 100.0));
        match &step.profile {
            Some(profile) => cells.extend([
                format!("{:.1}", profile.bytes as f64 / 1e6),
                format!("{:.1}", profile.read_gbps),
                of(profile.read_gbps),
                format!("{:.0}", profile.overhead_us),
            ]),
            None => cells.extend(["-"; 4].map(str::to_owned)),
        }
        table.row(cells);
    }
    if table.rows.len() < 2 { String::new() } else { format!("\none decoder step\n{}", table.text()) }
}

fn long_audio(report: &Report) -> String {
    let Some(first) = report.long_audio.first() else { return String::new() };
    let mut table = Table::new(&["device", "precision", "features ms", "encoder ms", "decoder ms", "real time"]);
    for long in &report.long_audio {
        table.row([
            long.device.clone(),
            long.precision.clone(),
            format!("{:.1}", long.mel_ms),
            format!("{:.1}", long.encoder_ms),
            format!("{:.1}", long.decoder_ms),
            format!("{:.1}x", long.realtime_factor),
        ]);
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

fn cache_gain(report: &Report) -> String {
    let Some(first) = report.cache_gain.first() else { return String::new() };
    let mut table = Table::new(&["device", "precision", "with ms", "without ms", "gain"]);
    for gain in &report.cache_gain {
        table.row([
            gain.device.clone(),
            gain.precision.clone(),
            format!("{:.1}", gain.with_ms),
            format!("{:.1}", gain.without_ms),
            format!("{:.1}x", gain.ratio),
        ]);
    }
    format!("\n{} tokens with the key-value cache and without\n{}", first.tokens, table.text())
}

fn start_up(report: &Report) -> String {
    if report.start_up.is_empty() {
        return String::new();
    }
    let header =
        ["device", "first s", "second s", "weights MB", "peak MB", "peak above weights MB", "private MB", "mapped MB"];
    let mut table = Table::new(&header);
    let megabytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
    for start in &report.start_up {
        let memory = &start.memory;
        let above = memory.peak_bytes.zip(memory.weight_bytes).map(|(peak, weights)| peak.saturating_sub(weights));
        let seconds = [start.first_seconds, start.second_seconds].map(|seconds| format!("{seconds:.2}"));
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
        let (nanoseconds, megabytes) = (part.nanoseconds as f64, part.bytes as f64 / 1e6);
        let read = part.bytes > 0;
        table.row([
            part.kind.clone(),
            part.shape.clone(),
            part.calls.to_string(),
            format!("{:.1}", nanoseconds / 1e3),
            format!("{:.1} %", 100.0 * nanoseconds / all.max(1) as f64),
            if read { format!("{megabytes:.2}") } else { "-".to_owned() },
            if read { format!("{:.1}", part.bytes as f64 / nanoseconds) } else { "-".to_owned() },
        ]);
    }
    table.text()
}

fn limits(threads: usize, limits: &Limits, instruction_set: &str) -> String {
    let mut table = Table::new(&["threads", "int8 Gop/s", "bf16 Gop/s", "f32 Gop/s", "exp G/s", "read GB/s"]);
    let known = |peak: Option<f64>| peak.map_or("-".to_owned(), |peak| format!("{peak:.0}"));
    for (threads, limits) in [(threads, Some(limits)), (1, limits.one_thread.as_deref())] {
        let Some(limits) = limits else { continue };
        table.row([
            threads.to_string(),
            known(limits.int8_gops),
            known(limits.bf16_gflops),
            known(limits.f32_gflops),
            format!("{:.1}", limits.exponentials_gps),
            format!("{:.1}", limits.read_gbps),
        ]);
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
            kernel.name.clone(),
            kernel.shape.clone(),
            kernel.precision.clone(),
            format!("{:.4}", kernel.ms),
            format!("{:.4}", kernel.best_ms),
            kernel.arithmetic_ms.map_or("-".to_owned(), |ms| format!("{ms:.4}")),
            format!("{:.4}", kernel.memory_ms),
            kernel.share_of_limit.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        ]);
    }
    let mut text = format!("\n{}", table.text());
    let mut table = Table::new(&["f32 products", "count", "one call ms", "one by one ms", "gain"]);
    for products in &kernels.batched_products {
        table.row([
            products.shape.clone(),
            products.count.to_string(),
            format!("{:.3}", products.together_ms),
            format!("{:.3}", products.one_by_one_ms),
            format!("{:.2}x", products.ratio),
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
