//! The end of rung 6: the encoders of whole models, through the runner and the execution provider, as `undertone bench`
//! runs them; beside the host device's result, time and energy, and the time that was predicted.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use undertone_bench::{BenchError, Encoder, median};
use undertone_runner::npu::OperatorReport;
use undertone_runner::{Device, EngineOptions, Model};

use crate::Check;
use crate::energy::Meter;

/// A model that was asked for by name.
pub struct Asked {
    /// Its name.
    pub name: String,
    /// The model, or why there is none and what to do.
    pub model: Result<Model, String>,
}

/// How alike both devices' results have to be. On the simulator whisper-tiny's are above 0.999.
const LEAST_COSINE: f64 = 0.99;
/// A device is measured for so long, and over so many windows, whichever is later; the counters of energy are read then.
const MEASURED: (Duration, usize) = (Duration::from_secs(3), 3);
/// The package's energy without work is measured for so long.
const IDLE: Duration = Duration::from_secs(1);

/// A device at work.
struct Measured {
    /// Milliseconds for a window, the median.
    ms: f64,
    /// Joules of the package for a window.
    joules: Option<f64>,
    /// Watts of the package meanwhile.
    watts: Option<f64>,
}

/// Runs each model's encoder on the device of `options` and on the host device.
pub(crate) fn climb(root: &Path, options: &EngineOptions, asked: &[Asked], tell: &mut dyn FnMut(Check)) {
    let measured = options.device == Device::Npu;
    let meter = if measured { Meter::find(root) } else { Err(String::new()) };
    match &meter {
        Err(words) if measured => tell(Check::warned("energy of the package", words, "")),
        Err(_) => {}
        Ok(meter) => tell(Check::told("energy of the package", "is counted").with("idle_watts", idle(meter))),
    }
    for Asked { name, model } in asked {
        let name = format!("{name}, {}", options.precision);
        let check = match model {
            Err(words) => Check::warned(name, words, ""),
            Ok(model) => encoder(&name, model, options, meter.as_ref().ok()).unwrap_or_else(|error| {
                Check::failed(&name, error.to_string(), "`undertone bench -v` on the same model says more")
            }),
        };
        let failed = check.is_failure();
        tell(check);
        if failed {
            return;
        }
    }
}

/// Watts of the package while nothing of ours runs.
fn idle(meter: &Meter) -> Option<f64> {
    let (before, begun) = (meter.read()?, Instant::now());
    thread::sleep(IDLE);
    Some(meter.joules(before, meter.read()?)? / begun.elapsed().as_secs_f64())
}

fn encoder(name: &str, model: &Model, options: &EngineOptions, meter: Option<&Meter>) -> Result<Check, BenchError> {
    let host = EngineOptions { device: Device::Host, target: None, bundle_dir: None, ..options.clone() };
    let mut host = Encoder::load(model, &host)?;
    let mut npu = Encoder::load(model, options)?;
    host.run()?;
    npu.run()?;
    let alike = cosine(&host.output()?, &npu.output()?);
    let check = |check: Check| check.with("cosine", alike);
    if alike.is_nan() || alike < LEAST_COSINE {
        let found =
            format!("the cosine of the NPU's result and the host device's is {alike:.5}, not {LEAST_COSINE} or more");
        return Ok(check(Check::failed(
            name,
            found,
            "attention and products were right by themselves: please report it",
        )));
    }
    // One window alone: what was executed for it, and what that was predicted to take.
    let before = npu.npu().ok_or(BenchError::NoNpu)?;
    npu.run()?;
    let window = npu.npu().ok_or(BenchError::NoNpu)?.since(&before);
    if window.calls() == 0 {
        let reason = window.fallbacks.reason.unwrap_or_else(|| "no reason is told".into());
        return Ok(check(Check::failed(name, format!("no kernel ran on the NPU: {reason}"), "")));
    }
    let mut found = check(Check::new(name, crate::Outcome::Passed));
    if window.fallbacks.refused > 0 {
        let words = window.fallbacks.reason.as_deref().unwrap_or("no reason is told");
        let words = format!("{} kernels stayed on the host: {words}", window.fallbacks.refused);
        found = check(Check::warned(name, words, ""));
    }
    let seconds = |of: fn(&OperatorReport) -> f64| window.operators.values().map(of).sum::<f64>();
    found = found.with("kernels", window.calls() as f64).with("predicted_array_ms", window.predicted_ms());
    if options.device != Device::Npu {
        return Ok(found);
    }
    let [on_npu, on_host] = [measure(&mut npu, meter)?, measure(&mut host, meter)?];
    Ok(found
        .with("array_ms", seconds(|operator| operator.wall_seconds) * 1e3)
        .with("packing_ms", seconds(|operator| operator.packing_seconds) * 1e3)
        .with("npu_window_ms", on_npu.ms)
        .with("host_window_ms", on_host.ms)
        .with("npu_window_joules", on_npu.joules)
        .with("host_window_joules", on_host.joules)
        .with("npu_watts", on_npu.watts)
        .with("host_watts", on_host.watts))
}

fn measure(encoder: &mut Encoder, meter: Option<&Meter>) -> Result<Measured, BenchError> {
    let (before, begun) = (meter.and_then(Meter::read), Instant::now());
    let mut times = Vec::new();
    while times.len() < MEASURED.1 || begun.elapsed() < MEASURED.0 {
        times.push(encoder.run()?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let joules = meter.zip(before).and_then(|(meter, before)| meter.joules(before, meter.read()?));
    let windows = times.len() as f64;
    Ok(Measured { ms: median(&times), joules: joules.map(|all| all / windows), watts: joules.map(|all| all / seconds) })
}

/// How alike two results are; not a number where they are of different lengths.
fn cosine(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() {
        return f64::NAN;
    }
    let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    sum(one, other) / (sum(one, one) * sum(other, other)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness() {
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-9);
        assert!(cosine(&[1.0, 0.0], &[0.0, 1.0]).abs() < 1e-9);
        assert!(cosine(&[1.0], &[1.0, 2.0]).is_nan() && cosine(&[0.0], &[0.0]).is_nan());
    }
}
