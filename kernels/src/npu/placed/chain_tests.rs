//! Groups of kernels on an array of which a command fails, at every place: what falls back, what is counted, and that
//! the results are right all the same.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    tests::{SLOW, close, counting},
    *,
};
use crate::{
    Activation, Parallel,
    npu::{
        Argument, Array, ArrayError, Commands, Design, Job, Npu, RunReport, Settings, Target,
        sim::{Mode, SimArray},
    },
    reference::noise::noise,
};

const ROWS: usize = 130;
const WIDTH: usize = 64;

/// A simulated array that fails from some command on, so many times.
struct Spoilt {
    below: SimArray,
    commands: Arc<AtomicU64>,
    fails: std::ops::Range<u64>,
}

impl Array for Spoilt {
    type Context = <SimArray as Array>::Context;
    type Buffer = <SimArray as Array>::Buffer;
    type Program = <SimArray as Array>::Program;

    fn kind(&self) -> DeviceKind {
        self.below.kind()
    }

    fn target(&self) -> Target {
        self.below.target()
    }

    fn computes(&self) -> bool {
        self.below.computes()
    }

    fn open(&self, design: &Design) -> Result<Self::Context, ArrayError> {
        self.below.open(design)
    }

    fn buffer(&self, context: &Self::Context, argument: Argument, bytes: usize) -> Result<Self::Buffer, ArrayError> {
        self.below.buffer(context, argument, bytes)
    }

    fn program(&self, context: &Self::Context, words: &[u32]) -> Result<Self::Program, ArrayError> {
        self.below.program(context, words)
    }

    fn run_by(
        &self,
        commands: Commands,
        context: &Self::Context,
        jobs: &mut [Job<'_, Self>],
        pool: &dyn Parallel,
    ) -> Result<RunReport, ArrayError> {
        if self.fails.contains(&self.commands.fetch_add(1, Ordering::Relaxed)) {
            return Err(ArrayError::Failed("the array burnt".into()));
        }
        let mut below: Vec<Job<'_, SimArray>> =
            jobs.iter_mut().map(|job| Job { program: job.program, a: job.a, b: job.b, c: &mut *job.c }).collect();
        self.below.run_by(commands, context, &mut below, pool)
    }
}

/// A device whose commands fail from number `first` of the next group on, so many of them.
fn device(first: u64, fails: u64, falls_back: bool) -> (PlacedDevice, Arc<AtomicU64>) {
    let commands = Arc::default();
    // Opening a design tries it out with a problem; the group's commands begin at a hundred.
    let fails = 100 + first..100 + first + fails;
    let array = Spoilt { below: SimArray::new(Target::Npu4, Mode::Fast), commands: Arc::clone(&commands), fails };
    let npu = Arc::new(OpenNpu::new(Arc::new(Npu::new(array)), Settings::default(), SLOW));
    (PlacedDevice::new(npu, HostDevice::new(), falls_back), commands)
}

fn layer(device: &dyn Device, [inputs, outputs]: [usize; 2], activation: Activation) -> Box<dyn Linear> {
    let spec = LinearSpec { activation, ..LinearSpec::new(inputs, outputs, Precision::Int8) };
    device.linear(&spec, &noise(inputs * outputs, 1), WeightLayout::InputsByOutputs, None).expect("taken")
}

/// What a group gives, kernels by device, and what fell back.
struct Done {
    out: Result<Vec<f32>, Failed>,
    calls: [u64; 2],
    fell_back: u64,
    retried: u64,
}

fn mlp(first: u64, fails: u64, falls_back: bool) -> Done {
    let (device, commands) = device(first, fails, falls_back);
    let first = layer(&device, [WIDTH, 3 * WIDTH], Activation::Gelu);
    let second = layer(&device, [3 * WIDTH, WIDTH], Activation::None);
    commands.store(100, Ordering::Relaxed);
    done(&device, |context, rows, out| {
        let second = Product { layer: &*second, outputs: WIDTH, residual: Some(rows.x), out };
        device.mlp(context, rows, &*first, 3 * WIDTH, second)
    })
}

fn attention(first: u64, fails: u64, falls_back: bool) -> Done {
    let (device, commands) = device(first, fails, falls_back);
    let [q, k, v, out_layer] = [(); 4].map(|()| layer(&device, [WIDTH, WIDTH], Activation::None));
    let spec = AttentionSpec { head_width: WIDTH, scale: 0.125, precision: Precision::Int8 };
    let attention = device.attention(&spec).expect("taken");
    commands.store(100, Ordering::Relaxed);
    done(&device, |context, rows, out| {
        let out = Product { layer: &*out_layer, outputs: WIDTH, residual: Some(rows.x), out };
        let (layers, attention) = ([&*q, &*k, &*v], &*attention);
        let block = SelfAttention { layers, attention, heads: 1, head_width: WIDTH, length: ROWS, out };
        device.self_attention(context, rows, block)
    })
}

fn done(
    device: &PlacedDevice,
    group: impl FnOnce(&mut Context<'_>, &Rows<'_>, &mut [f32]) -> Result<(), Failed>,
) -> Done {
    let (x, mut out) = (noise(ROWS * WIDTH, 3), vec![f32::NAN; ROWS * WIDTH]);
    let rows = Rows { x: &x, rows: ROWS, inputs: WIDTH, norm: None };
    let (done, calls) = counting(|context| group(context, &rows, &mut out));
    let fallbacks = device.npu().fallbacks();
    Done { out: done.map(|()| out), calls, fell_back: fallbacks.calls, retried: fallbacks.retried }
}

#[test]
fn a_group_whose_command_fails_is_right_all_the_same() {
    type Group = fn(u64, u64, bool) -> Done;
    for (group, commands, kernels) in [(mlp as Group, 2, 2), (attention as Group, 3, 5)] {
        let whole = group(0, 0, true);
        assert_eq!((whole.calls, whole.fell_back, whole.retried), ([0, kernels], 0, 0));
        let wanted = whole.out.expect("done");
        for first in 0..commands {
            // Once: kernel by kernel the array computes the same.
            let once = group(first, 1, true);
            assert_eq!((once.calls, once.fell_back, once.retried), ([0, kernels], 0, 1), "command {first}");
            assert!(once.out.expect("done") == wanted, "command {first}");
            // Without end: the host computes it all, and each kernel is counted.
            let always = group(first, u64::MAX / 2, true);
            assert_eq!((always.calls, always.fell_back), ([kernels, 0], kernels), "command {first}");
            assert!(close(&always.out.expect("done"), &wanted), "command {first}");
            // Where the NPU was named: an error.
            let named = group(first, 1, false);
            assert!(named.out.expect_err("it fails").to_string().contains("the array burnt"));
            assert_eq!((named.calls, named.fell_back, named.retried), ([0, 0], 0, 0), "command {first}");
        }
    }
}
