//! The 1-D convolution of the host device against the slow obvious version: every instruction set, precision and
//! layout.

use undertone_kernels::{
    Activation, Context, Conv1dSpec, Device, DeviceKind, Parallel, Precision, ScopedThreads, Serial,
    host::{HostDevice, Isa},
    reference::{self, noise::noise, whisper::convolution},
};

fn spec(in_channels: usize, out_channels: usize, width: usize, stride: usize, padding: [usize; 2]) -> Conv1dSpec {
    Conv1dSpec { width, padding, ..convolution(in_channels, out_channels, stride, Precision::F32) }
}

fn run(
    isa: Isa,
    pool: &dyn Parallel,
    spec: &Conv1dSpec,
    batch: usize,
    length: usize,
    bias: bool,
) -> (Vec<f32>, Vec<f32>) {
    let weights = noise(spec.out_channels * spec.in_channels * spec.width, 1);
    let bias_values = noise(spec.out_channels, 2);
    let bias = bias.then_some(&bias_values[..]);
    let x = noise(batch * length * spec.in_channels, 3);
    let expected = reference::conv::conv1d(spec, &weights, bias, batch, length, &x);
    let device = HostDevice::with_isa(isa).expect("an available instruction set");
    let conv = device.conv1d(spec, &weights, bias).expect("the host takes every spec");
    assert_eq!((conv.device(), conv.precision()), (DeviceKind::Host, spec.precision));
    assert!(conv.weight_bytes() >= weights.len());
    let mut out = vec![f32::NAN; expected.len()];
    let ((), counters) = Context::fresh(pool, |context| {
        context.scratch.bytes(1 << 16).fill(0xff);
        conv.run(context, batch, length, &x, &mut out).expect("the host never fails");
    });
    assert_eq!(counters.calls(DeviceKind::Host), 1, "one convolution is one kernel");
    (expected, out)
}

fn check(pool: &dyn Parallel, spec: &Conv1dSpec, batch: usize, length: usize, bias: bool) {
    for isa in Isa::available() {
        for precision in Precision::ALL {
            for (input_channels_last, output_channels_last) in
                [(false, false), (false, true), (true, false), (true, true)]
            {
                let spec = Conv1dSpec { precision, input_channels_last, output_channels_last, ..spec.clone() };
                let (expected, got) = run(isa, pool, &spec, batch, length, bias);
                let bound = match precision {
                    Precision::F32 => 2e-6,
                    Precision::Bf16 => 0.01,
                    Precision::Int8 => 0.03,
                };
                // Relative to what the sum's terms can add up to.
                let size = ((spec.in_channels * spec.width) as f32).sqrt().max(1.0);
                for (e, g) in expected.iter().zip(&got) {
                    assert!((e - g).abs() <= bound * size, "{isa} {spec:?} of {length}: {g}, not {e}");
                }
            }
        }
    }
}

#[test]
fn whispers_first_two_convolutions() {
    check(&Serial, &spec(80, 96, 3, 1, [1, 1]), 1, 300, true);
    check(&ScopedThreads(2), &spec(96, 64, 3, 2, [1, 1]), 2, 301, true);
}

#[test]
fn odd_sizes() {
    check(&Serial, &spec(1, 1, 1, 1, [0, 0]), 1, 1, false);
    check(&Serial, &spec(3, 5, 4, 3, [2, 0]), 2, 17, false);
    check(&Serial, &spec(7, 17, 5, 2, [0, 3]), 3, 6, true);
    check(&Serial, &Conv1dSpec { activation: Activation::None, ..spec(2, 3, 3, 1, [1, 1]) }, 1, 1, true);
    // Longer than one tile of output positions.
    check(&Serial, &spec(2, 3, 3, 1, [1, 1]), 1, 600, true);
}

#[test]
fn no_output() {
    check(&Serial, &spec(3, 5, 4, 1, [0, 0]), 2, 3, true);
    check(&Serial, &spec(3, 5, 4, 1, [1, 1]), 0, 30, true);
    check(&Serial, &spec(3, 5, 4, 1, [1, 1]), 1, 0, true);
}
