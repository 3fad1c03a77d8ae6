//! Tries this machine's NPU: for every bundle of a folder, layers and attention of odd shapes, compared with the
//! simulator of the same silicon; prints how far they are apart, and what the device counted.
//!
//! `cargo run --release -p undertone-kernels --features xrt --example npu -- FOLDER`
//!
//! Beside the NPU it needs XRT and the shim library (`xrt-sys/shim`). Ends with 1 if a result is further off than the
//! simulator and silicon may differ in the order of fp32 sums.

use std::{env, error::Error, fmt::Debug, path::PathBuf, process::ExitCode};

use undertone_kernels::{
    Activation, AttentionArgs, AttentionSpec, Context, Heads, HeadsMut, LinearSpec, Mask, Precision, Serial,
    WeightLayout,
    npu::{Bundles, Kernels, NpuDevice, Settings, hardware, simulator},
    reference::noise::noise,
};

/// Largest distance, beside the largest magnitude.
const TOLERANCE: f32 = 0.01;

/// Rows, inputs, outputs.
const PRODUCTS: [(usize, usize, usize); 6] =
    [(1, 1, 1), (3, 65, 7), (257, 100, 130), (64, 512, 512), (1500, 384, 384), (1500, 384, 1536)];

/// Heads, queries, keys.
const ATTENTIONS: [(usize, usize, usize); 5] = [(1, 1, 1), (2, 5, 70), (3, 129, 64), (1, 300, 1), (6, 1500, 1500)];

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1) else {
        eprintln!("usage: npu FOLDER (of bundles, from kernels/aie/build.sh)");
        return ExitCode::from(2);
    };
    match try_out(PathBuf::from(folder)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn try_out(folder: PathBuf) -> Result<bool, Box<dyn Error>> {
    let mut settings = Settings { bundle_dir: Some(folder.clone()), ..Settings::default() };
    let npu = hardware(&settings)?;
    settings.target = npu.target();
    let sim = simulator(&settings);
    println!("{}, bundles in {}", npu.target(), folder.display());
    let mut well = true;
    let bundles = Bundles::open(&folder)?;
    for bundle in bundles.list().iter().filter(|bundle| bundle.design().target == npu.target()) {
        let kernels = bundle.design().kernels;
        let precision = kernels.precision();
        let mut compare = Compare { npu: &*npu, sim: &*sim, kernels, well: &mut well };
        compare.all("linear", &PRODUCTS, |device, shape| product(device, precision, shape))?;
        compare.all("attention", &ATTENTIONS, |device, shape| attention(device, precision, shape))?;
    }
    for (operator, counted) in npu.statistics().operators {
        println!(
            "{operator}: {} calls, {} dispatches, {:.3} s",
            counted.calls, counted.dispatches, counted.wall_seconds
        );
    }
    Ok(well)
}

/// The NPU and what it is compared with.
struct Compare<'a> {
    npu: &'a dyn NpuDevice,
    sim: &'a dyn NpuDevice,
    kernels: Kernels,
    /// Becomes false where they differ.
    well: &'a mut bool,
}

impl Compare<'_> {
    /// Computes problems of all shapes on both.
    fn all<T: Copy + Debug>(
        &mut self,
        what: &str,
        shapes: &[T],
        of: impl Fn(&dyn NpuDevice, T) -> Answer,
    ) -> Result<(), Box<dyn Error>> {
        let kernels = self.kernels;
        let mut tried = false;
        for &shape in shapes {
            let ((got, by_npu), (wanted, _)) = (of(self.npu, shape)?, of(self.sim, shape)?);
            let distance = distance(&got, &wanted);
            *self.well &= distance <= TOLERANCE;
            tried |= by_npu;
            let apart = if got == wanted { "equal".into() } else { format!("{distance:.5} apart") };
            println!("{what} {kernels} {shape:?}: {apart}{}", if by_npu { "" } else { ", by the host" });
        }
        if !tried {
            println!("{what} {kernels}: nothing was executed by the NPU");
            *self.well = false;
        }
        Ok(())
    }
}

/// Largest difference, beside the largest magnitude; infinite if one is not finite.
fn distance(got: &[f32], wanted: &[f32]) -> f32 {
    let largest = wanted.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
    let worst = got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).abs());
    let finite = got.iter().all(|value| value.is_finite());
    if finite { worst.fold(0.0, f32::max) / largest } else { f32::INFINITY }
}

/// Values, and whether the device itself computed them: what is too small for it, its host does.
type Answer = Result<(Vec<f32>, bool), Box<dyn Error>>;

fn product(device: &dyn NpuDevice, precision: Precision, (rows, inputs, outputs): (usize, usize, usize)) -> Answer {
    let spec = LinearSpec { activation: Activation::Gelu, ..LinearSpec::new(inputs, outputs, precision) };
    let (x, weights, bias) = (noise(rows * inputs, 1), noise(inputs * outputs, 2), noise(outputs, 3));
    let layer = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, Some(&bias))?;
    let mut out = vec![0.0; rows * outputs];
    let (done, counters) = Context::fresh(&Serial, |context| layer.run(context, rows, &x, None, &mut out));
    done?;
    Ok((out, counters.calls(device.kind()) > 0))
}

fn attention(device: &dyn NpuDevice, precision: Precision, (heads, queries, keys): (usize, usize, usize)) -> Answer {
    let spec = AttentionSpec { head_width: 64, scale: 0.125, precision };
    let (q, k, v) = (noise(heads * queries * 64, 4), noise(heads * keys * 64, 5), noise(heads * keys * 64, 6));
    let kernel = device.attention(&spec)?;
    let mut out = vec![0.0; heads * queries * 64];
    let args = AttentionArgs {
        batch: 1,
        heads,
        queries,
        keys,
        q: Heads::new(&q, [0, queries * 64, 64]),
        k: Heads::new(&k, [0, keys * 64, 64]),
        v: Heads::new(&v, [0, keys * 64, 64]),
        mask: Mask::None,
        out: HeadsMut::new(&mut out, [0, queries * 64, 64]),
    };
    let (done, counters) = Context::fresh(&Serial, |context| kernel.run(context, args));
    done?;
    Ok((out, counters.calls(device.kind()) > 0))
}
