//! Packed kernels that were kept as bytes: taken back they compute the same bits, and parts of another kernel are
//! refused.

use std::sync::Arc;

use proptest::prelude::*;
use undertone_kernels::{
    Activation, Blob, BlockForm, BlockWeights, Context, Conv1dSpec, Device, Linear, LinearSpec, Precision, Serial,
    WeightLayout,
    host::{HostDevice, Isa},
    reference::{noise::noise, whisper::convolution},
};

/// Memory whose first byte is at a multiple of 64.
struct Memory(Vec<u8>, usize);

impl undertone_kernels::Memory for Memory {
    fn bytes(&self) -> &[u8] {
        &self.0[self.1..]
    }
}

/// The parts in memory of their own, `shift` bytes behind an aligned address.
fn keep(parts: &[&[u8]], shift: usize) -> Vec<Blob> {
    let blob = |part: &&[u8]| {
        let mut memory = vec![0; part.len() + 128];
        let start = memory.as_ptr().align_offset(64) + shift;
        memory[start..start + part.len()].copy_from_slice(part);
        Blob::new(Arc::new(Memory(memory, start)), 0..part.len()).expect("as many bytes")
    };
    parts.iter().map(blob).collect()
}

fn run(layer: &dyn Linear, rows: usize, x: &[f32], outputs: usize) -> Vec<u32> {
    let mut y = vec![0.0; rows * outputs];
    Context::fresh(&Serial, |context| layer.run(context, rows, x, None, &mut y)).0.expect("the host never fails");
    y.into_iter().map(f32::to_bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_kept_layer_computes_the_same_bits(
        inputs in 0usize..70, outputs in 0usize..100, rows in 0usize..14, with_bias: bool, precision in 0usize..3, wide_rows: bool,
    ) {
        let precision = [Precision::Int8, Precision::Bf16, Precision::F32][precision];
        let spec = LinearSpec { inputs, outputs, precision, wide_rows, activation: Activation::Gelu, scale: 0.5 };
        let (weights, bias, x) = (noise(inputs * outputs, 1), noise(outputs, 2), noise(rows * inputs, 3));
        let bias = with_bias.then_some(&bias[..]);
        for device in Isa::available().filter_map(HostDevice::with_isa) {
            let made = device.linear(&spec, &weights, WeightLayout::InputsByOutputs, bias).expect("the host takes it");
            let parts = keep(&made.parts().expect("the host keeps"), 0);
            let kept = device.restore_linear(&spec, &parts).expect("its own parts");
            prop_assert_eq!(run(&*made, rows, &x, outputs), run(&*kept, rows, &x, outputs));
            prop_assert_eq!(made.weight_bytes(), kept.weight_bytes());
        }
    }
}

#[test]
fn parts_of_another_layer_are_refused() {
    let device = HostDevice::new();
    let spec = LinearSpec::new(64, 48, Precision::Int8);
    let made = device.linear(&spec, &noise(64 * 48, 1), WeightLayout::OutputsByInputs, None).expect("a layer");
    let parts = made.parts().expect("its parts");
    let refused = |spec: &LinearSpec, parts: &[Blob]| {
        device.restore_linear(spec, parts).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&spec, &keep(&parts, 0)), "");
    assert!(refused(&spec, &keep(&parts, 4)).contains("not aligned"));
    assert!(refused(&spec, &keep(&parts[..3], 0)).contains("3 parts"));
    for other in [
        LinearSpec { inputs: 65, ..spec.clone() },
        LinearSpec { outputs: 97, ..spec.clone() },
        LinearSpec { precision: Precision::F32, ..spec.clone() },
    ] {
        assert!(refused(&other, &keep(&parts, 0)).contains("bytes where"), "{other:?}");
    }
    for part in 0..parts.len() {
        let mut cut = parts.clone();
        let longer = [cut[part], &[0; 4]].concat();
        cut[part] = &longer;
        assert!(refused(&spec, &keep(&cut, 0)).contains("bytes where"), "part {part}");
    }
}

/// Weights in blocks: their parts are a layer's of the same form, and of no other.
#[test]
fn a_kept_layer_in_blocks_computes_the_same_bits() {
    let (inputs, outputs) = (70, 50);
    let (codes, scales, zeros) = (noise(50 * 3 * 32, 1), noise(50 * 3, 2), noise(50 * 3, 3));
    let codes: Vec<u8> = codes.iter().map(|value| (value.to_bits() >> 3) as u8).collect();
    for (bits, precision, wide_rows) in [2, 4, 8].into_iter().flat_map(|bits| {
        [(Precision::F32, false), (Precision::Bf16, false), (Precision::Int8, false), (Precision::Int8, true)]
            .map(|(precision, wide_rows)| (bits, precision, wide_rows))
    }) {
        let form = BlockForm { bits, block: 32, zeros: true };
        let weights = BlockWeights {
            inputs,
            outputs,
            form,
            codes: &codes[..50 * 3 * 4 * bits as usize],
            scales: (&scales[..]).into(),
            zeros: Some((&zeros[..]).into()),
        };
        let spec = LinearSpec { wide_rows, ..LinearSpec::new(inputs, outputs, precision) };
        for device in Isa::available().filter_map(HostDevice::with_isa) {
            let made = device.block_linear(&spec, &weights, Some(&noise(50, 4))).expect("the host takes it");
            let parts = keep(&made.parts().expect("the host keeps"), 0);
            let kept = device.restore_block_linear(&spec, form, &parts).expect("its own parts");
            let x = noise(3 * inputs, 5);
            assert_eq!(run(&*made, 3, &x, outputs), run(&*kept, 3, &x, outputs), "{form:?} {spec:?}");
            assert_eq!(made.weight_bytes(), kept.weight_bytes());
            if bits < 8 {
                let other = BlockForm { bits: 6 - bits, ..form };
                assert!(device.restore_block_linear(&spec, other, &parts).is_err(), "{form:?} {spec:?}");
                assert!(device.restore_linear(&spec, &parts).is_err(), "{form:?} {spec:?}");
            }
        }
    }
}

#[test]
fn a_kept_convolution_computes_the_same_bits() {
    let spec = convolution(5, 7, 2, Precision::Int8);
    let (weights, bias, x) = (noise(5 * 7 * 3, 1), noise(7, 2), noise(2 * 5 * 11, 3));
    let device = HostDevice::new();
    let made = device.conv1d(&spec, &weights, Some(&bias)).expect("a convolution");
    let parts = keep(&made.parts().expect("its parts"), 0);
    let kept = device.restore_conv1d(&spec, &parts).expect("its own parts");
    let [a, b] = [&made, &kept].map(|convolution| {
        let mut y = vec![0.0; 2 * 7 * spec.out_length(11)];
        Context::fresh(&Serial, |context| convolution.run(context, 2, 11, &x, &mut y)).0.expect("the host never fails");
        y
    });
    assert_eq!(a, b);
    assert!(device.restore_conv1d(&Conv1dSpec { width: 4, ..spec }, &parts).is_err());
}

#[test]
fn a_blob_is_within_its_memory() {
    let memory = Arc::new(Memory(vec![0u8, 1, 2, 3], 1));
    assert_eq!(Blob::new(memory.clone(), 1..3).expect("inside").bytes(), [2, 3]);
    assert!(Blob::new(memory.clone(), 1..4).is_none());
    let (from, to) = (2, 1);
    assert!(Blob::new(memory, from..to).is_none());
}
