//! Layers of an NPU that come back to the host device, made of the weights as the NPU holds them.

use undertone_kernels::{
    Activation, Context, Device, DeviceKind, LinearSpec, Precision, Serial, WeightLayout,
    host::HostDevice,
    npu::{Settings, Target, simulator},
    reference::{cosine, noise::noise, whisper::convolution},
};

#[test]
fn a_linear_layer() {
    for (target, precision) in [(Target::Npu1, Precision::Int8), (Target::Npu4, Precision::Bf16)] {
        let device = simulator(&Settings { target, ..Settings::default() });
        let (inputs, outputs, rows) = (70, 130, 5);
        let product = LinearSpec::new(inputs, outputs, precision);
        let spec = LinearSpec { activation: Activation::Gelu, scale: 0.5, ..product };
        let (x, weights, bias) = (noise(rows * inputs, 1), noise(inputs * outputs, 2), noise(outputs, 3));
        let layout = WeightLayout::OutputsByInputs;
        let back =
            device.linear(&spec, &weights, layout, Some(&bias)).expect("taken").to_host(false).expect("given back");
        assert_eq!((back.device(), back.precision()), (DeviceKind::Host, precision));
        let direct = HostDevice::new().linear(&spec, &weights, layout, Some(&bias)).expect("taken");
        assert!(direct.to_host(false).is_none());
        let (mut got, mut wanted) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
        let ((), counters) = Context::fresh(&Serial, |context| {
            back.run(context, rows, &x, None, &mut got).expect("runs");
            direct.run(context, rows, &x, None, &mut wanted).expect("runs");
        });
        assert_eq!(counters.calls(DeviceKind::Host), 2);
        assert!(cosine(&got, &wanted) > 0.999_99, "{target} {precision}: {}", cosine(&got, &wanted));
    }
}

#[test]
fn a_convolution() {
    let device = simulator(&Settings::default());
    let spec = convolution(5, 9, 2, Precision::Int8);
    let (weights, bias, length) = (noise(9 * 5 * 3, 1), noise(9, 2), 601);
    let back = device.conv1d(&spec, &weights, Some(&bias)).expect("taken").to_host().expect("given back");
    assert_eq!(back.device(), DeviceKind::Host);
    let direct = HostDevice::new().conv1d(&spec, &weights, Some(&bias)).expect("taken");
    let x = noise(5 * length, 3);
    let out = 9 * spec.out_length(length);
    let (mut got, mut wanted) = (vec![f32::NAN; out], vec![f32::NAN; out]);
    let ((), counters) = Context::fresh(&Serial, |context| {
        back.run(context, 1, length, &x, &mut got).expect("runs");
        direct.run(context, 1, length, &x, &mut wanted).expect("runs");
    });
    assert_eq!(counters.calls(DeviceKind::Host), 2);
    assert!(cosine(&got, &wanted) > 0.999_99, "{}", cosine(&got, &wanted));
}
