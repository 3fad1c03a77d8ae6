//! Attention of the host device against the slow obvious version: every instruction set, every precision, layouts,
//! masks.

use proptest::prelude::*;
use undertone_kernels::{
    AttentionArgs, AttentionSpec, Context, Device, DeviceKind, Heads, HeadsMut, Mask, Parallel, Precision,
    ScopedThreads, Serial,
    host::{HostDevice, Isa},
    reference::{self, noise::Noise},
};

/// `count` nearly normal values.
fn values(noise: &mut Noise, count: usize, deviation: f32) -> Vec<f32> {
    (0..count).map(|_| noise.normal() * deviation).collect()
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    /// `[batch, heads, length, width]`
    HeadsFirst,
    /// `[batch, length, heads · width]`
    RowsFirst,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
}

impl Shape {
    fn strides(&self, layout: Layout, length: usize) -> [usize; 3] {
        let item = self.heads * length * self.width;
        match layout {
            Layout::HeadsFirst => [item, length * self.width, self.width],
            Layout::RowsFirst => [item, self.width, self.heads * self.width],
        }
    }

    fn size(&self, length: usize) -> usize {
        self.batch * self.heads * length * self.width
    }
}

#[derive(Clone, Debug)]
enum TestMask {
    None,
    Causal(usize),
    /// `[batch, 1, queries, keys]`
    Additive(Vec<f32>),
}

impl TestMask {
    fn view(&self, shape: &Shape) -> Mask<'_> {
        match self {
            TestMask::None => Mask::None,
            TestMask::Causal(first) => Mask::Causal { first: *first },
            TestMask::Additive(data) => Mask::Additive {
                data,
                batch_stride: shape.queries * shape.keys,
                head_stride: 0,
                row_stride: shape.keys,
            },
        }
    }
}

struct Case {
    shape: Shape,
    layout: Layout,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mask: TestMask,
}

impl Case {
    fn new(shape: Shape, layout: Layout, deviation: f32, mask: TestMask, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let q = values(&mut noise, shape.size(shape.queries), deviation);
        let k = values(&mut noise, shape.size(shape.keys), deviation);
        let v = values(&mut noise, shape.size(shape.keys), 1.0);
        Self { shape, layout, q, k, v, mask }
    }

    fn args<'a>(&'a self, out: &'a mut [f32]) -> AttentionArgs<'a> {
        let Shape { batch, heads, queries, keys, .. } = self.shape;
        let view = |data: &'a [f32], length| Heads::new(data, self.shape.strides(self.layout, length));
        AttentionArgs {
            batch,
            heads,
            queries,
            keys,
            q: view(&self.q, queries),
            k: view(&self.k, keys),
            v: view(&self.v, keys),
            mask: self.mask.view(&self.shape),
            out: HeadsMut::new(out, self.shape.strides(self.layout, queries)),
        }
    }

    fn spec(&self, precision: Precision) -> AttentionSpec {
        AttentionSpec { head_width: self.shape.width, scale: 1.0 / (self.shape.width as f32).sqrt(), precision }
    }

    fn expected(&self) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.shape.size(self.shape.queries)];
        reference::attention::attention(&self.spec(Precision::F32), self.args(&mut out));
        out
    }

    fn run(&self, isa: Isa, precision: Precision, pool: &dyn Parallel) -> Vec<f32> {
        let device = HostDevice::with_isa(isa).expect("an available instruction set");
        let attention = device.attention(&self.spec(precision)).expect("the host takes every spec");
        assert_eq!(attention.precision(), precision);
        let mut out = vec![f32::NAN; self.shape.size(self.shape.queries)];
        let ((), counters) = Context::fresh(pool, |context| {
            // What was in scratch must not matter.
            context.scratch.bytes(1 << 20).fill(0xff);
            attention.run(context, self.args(&mut out)).expect("the host never fails");
        });
        assert_eq!(counters.calls(DeviceKind::Host), 1);
        out
    }

    fn check(&self, pool: &dyn Parallel) {
        let expected = self.expected();
        for isa in Isa::available() {
            for precision in Precision::ALL {
                let got = self.run(isa, precision, pool);
                let context = format!("{isa} {precision} {:?} {:?}", self.shape, self.layout);
                close(&expected, &got, precision, &context);
            }
        }
    }
}

/// Root of the mean square difference, relative to that of the expected values.
fn relative_error(expected: &[f32], got: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let difference: f64 = expected.iter().zip(got).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = expected.iter().map(|a| square(f64::from(*a))).sum();
    if difference == 0.0 { 0.0 } else { (difference / size).sqrt() }
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - ma, f64::from(y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

fn close(expected: &[f32], got: &[f32], precision: Precision, context: &str) {
    assert!(got.iter().all(|v| v.is_finite()), "{context}: not finite");
    let error = relative_error(expected, got);
    let bound = match precision {
        Precision::F32 => 1e-5,
        Precision::Bf16 => 0.02,
        Precision::Int8 => 0.06,
    };
    assert!(error <= bound, "{context}: relative error {error}");
}

#[test]
fn sizes_that_do_not_divide_by_tiles() {
    for (queries, keys, width) in [
        (1, 1, 64),
        (1, 300, 64),
        (3, 65, 64),
        (9, 1, 64),
        (9, 63, 64),
        (25, 257, 64),
        (70, 513, 64),
        (13, 70, 33),
        (9, 30, 1),
        (30, 40, 130),
    ] {
        for layout in [Layout::HeadsFirst, Layout::RowsFirst] {
            let shape = Shape { batch: 2, heads: 3, queries, keys, width };
            Case::new(shape, layout, 1.0, TestMask::None, 7).check(&Serial);
        }
    }
}

#[test]
fn nothing_to_do() {
    for (batch, heads, queries, keys) in [(0, 3, 5, 5), (1, 0, 5, 5), (1, 2, 0, 7), (1, 2, 0, 0)] {
        let shape = Shape { batch, heads, queries, keys, width: 64 };
        Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 7).check(&Serial);
    }
}

#[test]
fn without_keys_there_are_zeros() {
    for queries in [1, 20] {
        let shape = Shape { batch: 1, heads: 2, queries, keys: 0, width: 64 };
        let case = Case::new(shape, Layout::HeadsFirst, 1.0, TestMask::None, 7);
        for isa in Isa::available() {
            for precision in Precision::ALL {
                assert!(case.run(isa, precision, &Serial).iter().all(|&v| v == 0.0));
            }
        }
    }
}

#[test]
fn causal_with_and_without_a_cache() {
    for (queries, first) in [(1, 0), (1, 99), (4, 0), (4, 17), (31, 0), (31, 300)] {
        let shape = Shape { batch: 2, heads: 2, queries, keys: first + queries, width: 64 };
        Case::new(shape, Layout::RowsFirst, 1.0, TestMask::Causal(first), 11).check(&Serial);
    }
}

#[test]
fn additive_masks_and_queries_that_see_nothing() {
    for (queries, keys) in [(3, 70), (30, 300)] {
        let shape = Shape { batch: 2, heads: 2, queries, keys, width: 64 };
        let mut noise = Noise::new(3);
        let mut mask: Vec<f32> = (0..2 * queries * keys)
            .map(|_| if noise.uniform() < 0.0 { f32::NEG_INFINITY } else { noise.normal() })
            .collect();
        // The second query of the first item sees nothing; the last sees one key; another only keys of fp32's lowest
        // value.
        mask[keys..2 * keys].fill(f32::NEG_INFINITY);
        let last = mask.len() - keys;
        mask[last..].fill(f32::NEG_INFINITY);
        mask[last + 5] = 0.0;
        mask[2 * keys..3 * keys].fill(f32::MIN);
        let case = Case::new(shape, Layout::HeadsFirst, 1.0, TestMask::Additive(mask), 5);
        for isa in Isa::available() {
            for precision in Precision::ALL {
                let got = case.run(isa, precision, &Serial);
                assert!(got[64..128].iter().all(|&v| v == 0.0), "{isa} {precision}: a query that sees no key");
            }
        }
        case.check(&Serial);
    }
}

#[test]
fn scores_of_any_size() {
    // Scores of ±500 and more: exponentials must not overflow, nor all vanish.
    for queries in [2, 30] {
        let shape = Shape { batch: 1, heads: 2, queries, keys: 300, width: 64 };
        let mut case = Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 5);
        case.q.iter_mut().for_each(|q| *q *= 200.0);
        let expected = case.expected();
        for isa in Isa::available() {
            close(&expected, &case.run(isa, Precision::F32, &Serial), Precision::Bf16, &format!("{isa} large"));
            for precision in [Precision::Bf16, Precision::Int8] {
                assert!(case.run(isa, precision, &Serial).iter().all(|v| v.is_finite()), "{isa} {precision}");
            }
        }
        // All scores far below zero: the softmax does not depend on where they lie.
        let mask = TestMask::Additive(vec![-4000.0; queries * 300]);
        let shifted = Case { mask, ..Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 5) };
        let plain = Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 5).expected();
        for isa in Isa::available() {
            let got = shifted.run(isa, Precision::F32, &Serial);
            assert!(relative_error(&plain, &got) < 1e-3, "{isa}: shifted scores");
        }
    }
}

#[test]
fn what_is_not_finite_reaches_the_result() {
    for isa in Isa::available() {
        for (precision, queries) in
            [(Precision::F32, 3), (Precision::F32, 12), (Precision::Bf16, 12), (Precision::Int8, 12)]
        {
            let shape = Shape { batch: 1, heads: 2, queries, keys: 300, width: 64 };
            let visible = vec![0.0; queries * shape.keys];
            for mask in [TestMask::None, TestMask::Causal(260), TestMask::Additive(visible)] {
                for bad in [f32::NAN, f32::INFINITY] {
                    let case = || Case::new(shape, Layout::HeadsFirst, 1.0, mask.clone(), 43);
                    let head = |out: &[f32], head: usize| out[head * queries * 64..][..queries * 64].to_vec();
                    let context = format!("{isa} {precision} {queries} {bad} {mask:?}");
                    let mut query = case();
                    query.q[2 * 64 + 5] = bad;
                    let out = query.run(isa, precision, &Serial);
                    for (row, out) in out.chunks(64).enumerate() {
                        assert!(out.iter().all(|v| v.is_nan() == (row == 2)), "query: {context}, row {row}");
                    }
                    // Of the second head, and hidden from the first queries by the causal mask.
                    let key = 262;
                    let mut keys = case();
                    keys.k[(300 + key) * 64 + 7] = bad;
                    let out = keys.run(isa, precision, &Serial);
                    assert!(head(&out, 0).iter().all(|v| v.is_finite()), "key: {context}");
                    for (row, out) in head(&out, 1).chunks(64).enumerate() {
                        let seen = !matches!(mask, TestMask::Causal(first) if key > first + row);
                        // A score of minus infinity hides its key.
                        let may_hide = bad == f32::INFINITY && precision != Precision::Int8;
                        let nan = out.iter().all(|v| v.is_nan());
                        assert!(nan == seen || (seen && may_hide), "key: {context}, row {row}");
                    }
                    let mut values = case();
                    values.v[(300 + 3) * 64 + 7] = bad;
                    let out = values.run(isa, precision, &Serial);
                    assert!(head(&out, 0).iter().all(|v| v.is_finite()), "value: {context}");
                    for out in head(&out, 1).chunks(64) {
                        assert!(out.iter().enumerate().all(|(i, v)| v.is_finite() == (i != 7)), "value: {context}");
                    }
                }
            }
        }
    }
}

#[test]
fn few_queries_are_computed_in_the_precision_that_is_told() {
    for isa in Isa::available() {
        for precision in [Precision::Bf16, Precision::Int8] {
            for queries in 1..=12 {
                let shape = Shape { batch: 1, heads: 2, queries, keys: 40, width: 64 };
                let case = Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 41);
                let attention = HostDevice::with_isa(isa)
                    .and_then(|device| device.attention(&case.spec(precision)).ok())
                    .expect("the host takes every spec");
                let exact = case.run(isa, precision, &Serial) == case.run(isa, Precision::F32, &Serial);
                let told = attention.precision_for(queries);
                assert_eq!(told, if exact { Precision::F32 } else { precision }, "{isa}, {queries} queries");
            }
        }
    }
}

#[test]
fn several_threads_give_the_same_bits() {
    for (heads, queries, keys) in [(3, 200, 300), (3, 1, 1500), (1, 8, 1500), (6, 4, 700)] {
        let shape = Shape { batch: 1, heads, queries, keys, width: 64 };
        let case = Case::new(shape, Layout::RowsFirst, 1.0, TestMask::None, 13);
        for precision in Precision::ALL {
            let two = case.run(Isa::best(), precision, &ScopedThreads(2));
            close(&case.expected(), &two, precision, "two threads");
            assert_eq!(two, case.run(Isa::best(), precision, &ScopedThreads(2)), "{precision}: two runs differ");
        }
    }
}

/// The seed figures: 64 queries on 64 keys, 1500 on 1500, 1 on 1500, head width 64, with flat and with peaky
/// scores.
#[test]
fn int8_follows_f32_on_the_seed_shapes() {
    for (queries, keys) in [(64, 64), (1500, 1500), (1, 1500)] {
        // A deviation of 0.6 gives scores of about ±0.4 (nearly uniform weights), 1.8 about ±3 (a few keys take all).
        for deviation in [0.6, 1.8] {
            let shape = Shape { batch: 1, heads: 1, queries, keys, width: 64 };
            let mut case = Case::new(shape, Layout::HeadsFirst, deviation, TestMask::None, 21);
            // Real keys have a few channels that are much larger than the rest, and values a mean that is not zero.
            for row in case.k.chunks_exact_mut(64).chain(case.q.chunks_exact_mut(64)) {
                row[5] *= 3.0;
            }
            for row in case.v.chunks_exact_mut(64) {
                for (channel, value) in row.iter_mut().enumerate() {
                    *value += (channel as f32 * 0.7).sin();
                }
            }
            let expected = case.expected();
            for isa in Isa::available() {
                let got = case.run(isa, Precision::Int8, &Serial);
                let correlation = correlation(&expected, &got);
                assert!(correlation > 0.995, "{isa} {queries}x{keys} deviation {deviation}: correlation {correlation}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "rows of the output overlap")]
fn overlapping_output_rows_are_refused() {
    let shape = Shape { batch: 1, heads: 2, queries: 10, keys: 10, width: 64 };
    let case = Case::new(shape, Layout::HeadsFirst, 1.0, TestMask::None, 1);
    let mut out = vec![0.0; shape.size(10)];
    let mut args = case.args(&mut out);
    args.out.head_stride = 0;
    let attention = HostDevice::new().attention(&case.spec(Precision::F32)).expect("host");
    Context::fresh(&Serial, |context| attention.run(context, args)).0.expect("the host never fails");
}

#[test]
#[should_panic(expected = "the strides of k reach outside")]
fn short_operands_are_refused() {
    let shape = Shape { batch: 1, heads: 2, queries: 10, keys: 10, width: 64 };
    let mut case = Case::new(shape, Layout::HeadsFirst, 1.0, TestMask::None, 1);
    case.k.pop();
    case.run(Isa::best(), Precision::F32, &Serial);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_shape(
        batch in 1usize..3, heads in 1usize..4, queries in 1usize..60, keys in 1usize..400, width in 1usize..100,
        rows_first: bool, causal: bool, seed: u64,
    ) {
        let shape = Shape { batch, heads, queries, keys, width };
        let layout = if rows_first { Layout::RowsFirst } else { Layout::HeadsFirst };
        let mask = if causal { TestMask::Causal(keys.saturating_sub(queries)) } else { TestMask::None };
        Case::new(shape, layout, 0.8, mask, seed).check(&Serial);
    }
}
