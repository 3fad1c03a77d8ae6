//! Kernels of the simulated NPU that hand their results on in the array's form: what they give together is what they
//! give one by one, to the bit.

use undertone_kernels::{
    Activation, Attention, AttentionArgs, AttentionSpec, Context, Device, DeviceKind, Heads, HeadsMut, Linear,
    LinearSpec, Mask, Norm, Precision, Product, Rows, ScopedThreads, SelfAttention, WeightLayout,
    host::HostDevice,
    npu::{NpuDevice, Settings, Target, simulator},
    reference::noise::noise,
};

const HEAD_WIDTH: usize = 64;
const PRECISIONS: [Precision; 2] = [Precision::Int8, Precision::Bf16];

fn layer(device: &dyn Device, spec: &LinearSpec, seed: u64) -> Box<dyn Linear> {
    let (weights, bias) = (noise(spec.inputs * spec.outputs, seed), noise(spec.outputs, seed + 1));
    device.linear(spec, &weights, WeightLayout::InputsByOutputs, Some(&bias)).expect("taken")
}

/// Calls by device, dispatches, and seconds of packing that `work` adds.
fn counted(device: &dyn NpuDevice, work: impl FnOnce(&mut Context<'_>)) -> ([u64; 2], u64, f64) {
    let sums = || {
        let operators = device.statistics().operators;
        let dispatches = operators.values().map(|operator| operator.dispatches).sum::<u64>();
        (dispatches, operators.values().map(|operator| operator.packing_seconds).sum::<f64>())
    };
    let before = sums();
    let ((), counters) = Context::fresh(&ScopedThreads(2), work);
    let after = sums();
    let calls = [DeviceKind::Host, DeviceKind::Sim].map(|device| counters.calls(device));
    (calls, after.0 - before.0, after.1 - before.1)
}

/// Rows normed, or as they are.
fn normed(context: &mut Context<'_>, rows: &Rows<'_>) -> Vec<f32> {
    let mut x = rows.x.to_vec();
    if let Some(norm) = rows.norm {
        HostDevice::new().layer_norm(context, rows.rows, norm, rows.x, &mut x);
    }
    x
}

#[test]
fn two_layers_give_what_they_give_one_by_one() {
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| PRECISIONS.map(|it| (target, it))) {
        let device = simulator(&Settings { target, ..Settings::default() });
        for (at, (rows, inputs, hidden, outputs)) in
            [(1, 3, 5, 7), (0, 8, 8, 8), (193, 70, 300, 65), (50, 64, 512, 130)].into_iter().enumerate()
        {
            let gelu = LinearSpec { activation: Activation::Gelu, ..LinearSpec::new(inputs, hidden, precision) };
            let [first, second] = [(gelu, 1), (LinearSpec::new(hidden, outputs, precision), 3)]
                .map(|(spec, seed)| layer(&*device, &spec, seed));
            let (x, residual) = (noise(rows * inputs, 5), noise(rows * outputs, 6));
            let gain = noise(inputs, 7);
            let norm = Norm { gain: &gain, bias: None, epsilon: 1e-5 };
            let from = Rows { x: &x, rows, inputs, norm: (at % 2 == 0).then_some(&norm) };
            let residual = (at > 1).then_some(&residual[..]);
            let (mut wanted, mut got) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            let apart = counted(&*device, |context| {
                let (x, mut between) = (normed(context, &from), vec![f32::NAN; rows * hidden]);
                first.run(context, rows, &x, None, &mut between).expect("runs");
                second.run(context, rows, &between, residual, &mut wanted).expect("runs");
            });
            let together = counted(&*device, |context| {
                let second = Product { layer: &*second, outputs, residual, out: &mut got };
                device.mlp(context, &from, &*first, hidden, second).expect("runs");
            });
            assert_eq!(got, wanted, "{target} {precision} {rows}×{inputs}×{hidden}×{outputs}");
            assert_eq!((together.0, together.1), (apart.0, apart.1));
            assert!(rows == 0 || together.2 > 0.0, "packing is counted");
        }
    }
}

struct Block {
    layers: [Box<dyn Linear>; 3],
    attention: Box<dyn Attention>,
    out: Box<dyn Linear>,
    outputs: usize,
}

impl Block {
    fn new(device: &dyn Device, precision: Precision, [inputs, heads, outputs]: [usize; 3]) -> Self {
        let spec = LinearSpec { scale: 0.5, ..LinearSpec::new(inputs, heads * HEAD_WIDTH, precision) };
        let attention = AttentionSpec { head_width: HEAD_WIDTH, scale: 0.7, precision };
        Self {
            layers: [1, 3, 5].map(|seed| layer(device, &spec, seed)),
            attention: device.attention(&attention).expect("taken"),
            out: layer(device, &LinearSpec::new(heads * HEAD_WIDTH, outputs, precision), 7),
            outputs,
        }
    }

    /// The result, part by part.
    fn apart(&self, context: &mut Context<'_>, from: &Rows<'_>, heads: usize, length: usize, out: &mut [f32]) {
        let (x, rows, width) = (normed(context, from), from.rows, heads * HEAD_WIDTH);
        let [q, k, v] = [0, 1, 2].map(|at| {
            let mut made = vec![f32::NAN; rows * width];
            self.layers[at].run(context, rows, &x, None, &mut made).expect("runs");
            made
        });
        let (strides, mut mixed) = ([length * width, HEAD_WIDTH, width], vec![f32::NAN; rows * width]);
        let [q, k, v] = [&q, &k, &v].map(|data| Heads::new(&data[..], strides));
        let (batch, to) = (rows / length, HeadsMut::new(&mut mixed, strides));
        let args = AttentionArgs { batch, heads, queries: length, keys: length, q, k, v, mask: Mask::None, out: to };
        self.attention.run(context, args).expect("runs");
        self.out.run(context, rows, &mixed, Some(&from.x[..rows * self.outputs]), out).expect("runs");
    }

    /// The result of the block as one.
    fn together(
        &self,
        device: &dyn Device,
        context: &mut Context<'_>,
        from: &Rows<'_>,
        heads: usize,
        length: usize,
        out: &mut [f32],
    ) {
        let [q, k, v] = &self.layers;
        let (residual, outputs) = (Some(&from.x[..out.len()]), self.outputs);
        let block = SelfAttention {
            layers: [&**q, &**k, &**v],
            attention: &*self.attention,
            heads,
            head_width: HEAD_WIDTH,
            length,
            out: Product { layer: &*self.out, outputs, residual, out },
        };
        device.self_attention(context, from, block).expect("runs");
    }
}

#[test]
fn attention_with_its_layers_gives_what_they_give_one_by_one() {
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| PRECISIONS.map(|it| (target, it))) {
        let device = simulator(&Settings { target, ..Settings::default() });
        for (at, [batch, length, inputs, heads, outputs]) in
            [[1, 1, 64, 1, 64], [1, 200, 70, 2, 65], [3, 70, 384, 5, 320]].into_iter().enumerate()
        {
            let block = Block::new(&*device, precision, [inputs, heads, outputs]);
            let (rows, gain) = (batch * length, noise(inputs, 9));
            let (x, norm) = (noise(rows * inputs, 8), Norm { gain: &gain, bias: Some(&gain), epsilon: 1e-5 });
            let from = Rows { x: &x, rows, inputs, norm: (at > 0).then_some(&norm) };
            let (mut wanted, mut got) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            let apart = counted(&*device, |context| block.apart(context, &from, heads, length, &mut wanted));
            let together = counted(&*device, |context| {
                block.together(&*device, context, &from, heads, length, &mut got);
            });
            assert_eq!(got, wanted, "{target} {precision} {batch}×{length}×{inputs}, {heads} heads");
            // Queries, keys and values are one command.
            assert_eq!((together.0, together.1 + 2), (apart.0, apart.1));
            assert!(together.2 > 0.0, "packing is counted");
        }
    }
}

/// A device that has only some of the kernels computes them part by part.
#[test]
fn kernels_of_another_device_in_a_group_are_run_one_by_one() {
    let device = simulator(&Settings::default());
    let host = HostDevice::new();
    let (rows, inputs) = (130, 64);
    let x = noise(rows * inputs, 3);
    let from = Rows { x: &x, rows, inputs, norm: None };
    let block = Block {
        out: layer(&host, &LinearSpec::new(64, 64, Precision::Int8), 7),
        ..Block::new(&*device, Precision::Int8, [inputs, 1, 64])
    };
    let (mut wanted, mut got) = (vec![f32::NAN; rows * 64], vec![f32::NAN; rows * 64]);
    let apart = counted(&*device, |context| block.apart(context, &from, 1, rows, &mut wanted));
    let together = counted(&*device, |context| block.together(&*device, context, &from, 1, rows, &mut got));
    assert_eq!(got, wanted);
    assert_eq!((apart.0, together.0), ([1, 4], [1, 4]));
}
