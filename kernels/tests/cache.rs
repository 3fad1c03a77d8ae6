//! The key-value cache against the slow obvious version: what it keeps, and attention over it, on every instruction
//! set.

use proptest::prelude::*;
use undertone_kernels::{
    AttentionArgs, AttentionSpec, CachedArgs, Context, Device, Heads, HeadsMut, Mask, Parallel, Precision,
    ScopedThreads, Serial,
    host::{HostDevice, Isa, KvCache, Side},
    reference::{self, noise::noise},
};

/// What scores are multiplied by.
const SCALE: f32 = 0.02;

/// Values in −2 … 2.
fn values(count: usize, seed: u64) -> Vec<f32> {
    noise(count, seed).iter().map(|x| 2.0 * x).collect()
}

/// `[batch, heads, length, width]`, row-major.
fn dense(data: &[f32], [_, heads, length, width]: [usize; 4]) -> Heads<'_> {
    Heads::new(data, [heads * length * width, length * width, width])
}

/// Entries `from .. to` of `[batch, heads, length, width]`, seen in place.
fn part(data: &[f32], shape: [usize; 4], from: usize) -> Heads<'_> {
    let whole = dense(data, shape);
    Heads { data: &data[(from * shape[3]).min(data.len())..], ..whole }
}

/// A cache to which `data` was appended in parts of the given lengths, over and over.
fn filled(isa: Isa, side: Side, precision: Precision, shape: [usize; 4], data: &[f32], parts: &[usize]) -> KvCache {
    let [batch, heads, length, width] = shape;
    let mut cache = KvCache::new(isa, side, precision, heads, width);
    let (mut at, mut sizes) = (0, parts.iter().cycle());
    while at < length {
        let size = (*sizes.next().unwrap()).clamp(1, length - at);
        Context::fresh(&Serial, |context| cache.append(context, batch, size, part(data, shape, at)));
        at += size;
    }
    if length == 0 {
        Context::fresh(&Serial, |context| cache.append(context, batch, 0, dense(data, shape)));
    }
    cache
}

fn read(cache: &KvCache) -> Vec<f32> {
    let mut out = vec![f32::NAN; cache.shape().iter().product()];
    cache.read(&mut out);
    let [batch, heads, length, width] = cache.shape();
    for (at, head) in out.chunks((length * width).max(1)).enumerate().take(batch * heads) {
        let mut alone = vec![f32::NAN; length * width];
        cache.read_head(at / heads, at % heads, &mut alone);
        // What is no number is kept, too, and equals nothing.
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(head), "head {at}");
    }
    out
}

/// The largest distance from what was appended, in units of what the precision can hold.
fn kept_badly(precision: Precision, width: usize, given: &[f32], kept: &[f32]) -> Option<String> {
    for (given, kept) in given.chunks(width).zip(kept.chunks(width)) {
        let largest = given.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        for (g, k) in given.iter().zip(kept) {
            let allowed = match precision {
                Precision::F32 => 0.0,
                Precision::Bf16 => g.abs() / 256.0,
                Precision::Int8 => largest / 127.0 * 0.5001,
            };
            if (g - k).abs() > allowed {
                return Some(format!("{precision}: {g} is kept as {k}"));
            }
        }
    }
    None
}

#[derive(Clone, Debug)]
enum TestMask {
    None,
    Causal(usize),
    PerKey(Vec<f32>),
}

impl TestMask {
    fn view(&self) -> Mask<'_> {
        match self {
            TestMask::None => Mask::None,
            TestMask::Causal(first) => Mask::Causal { first: *first },
            TestMask::PerKey(data) => Mask::Additive { data, batch_stride: 0, head_stride: 0, row_stride: 0 },
        }
    }
}

struct Case {
    /// Of keys and values.
    shape: [usize; 4],
    queries: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mask: TestMask,
}

impl Case {
    fn new(shape: [usize; 4], queries: usize, mask: TestMask, seed: u64) -> Self {
        let [batch, heads, _, width] = shape;
        // Whole numbers with a largest magnitude of 127: rounding to any of the precisions leaves these queries as they
        // are.
        let mut q = values(batch * heads * queries * width, seed);
        for row in q.chunks_mut(width) {
            row.iter_mut().for_each(|x| *x = (*x * 60.0).round());
            row[0] = 127.0;
        }
        let size = shape.iter().product();
        Self { shape, queries, q, k: values(size, seed ^ 1), v: values(size, seed ^ 2), mask }
    }

    fn spec(&self, precision: Precision) -> AttentionSpec {
        AttentionSpec { head_width: self.shape[3], scale: SCALE, precision }
    }

    fn run(&self, isa: Isa, precision: Precision, pool: &dyn Parallel, parts: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let [batch, heads, keys, width] = self.shape;
        let k = filled(isa, Side::Keys, precision, self.shape, &self.k, parts);
        let v = filled(isa, Side::Values, precision, self.shape, &self.v, parts);
        let q_shape = [batch, heads, self.queries, width];
        let out_of = |data| HeadsMut::new(data, [heads * self.queries * width, width, heads * width]);
        let mut out = vec![f32::NAN; self.q.len()];
        let kernel = HostDevice::with_isa(isa).unwrap().attention(&self.spec(precision)).unwrap();
        Context::fresh(pool, |context| {
            let args = CachedArgs {
                queries: self.queries,
                q: dense(&self.q, q_shape),
                keys: &k,
                values: &v,
                mask: self.mask.view(),
                out: out_of(&mut out),
            };
            kernel.run_cached(context, args).expect("the host never fails");
            assert_eq!(context.counters.calls(kernel.device()), 1);
        });
        let (kept_k, kept_v) = (read(&k), read(&v));
        let mut expected = vec![f32::NAN; self.q.len()];
        let args = AttentionArgs {
            batch,
            heads,
            queries: self.queries,
            keys,
            q: dense(&self.q, q_shape),
            k: dense(&kept_k, self.shape),
            v: dense(&kept_v, self.shape),
            mask: self.mask.view(),
            out: out_of(&mut expected),
        };
        reference::attention::attention(&self.spec(Precision::F32), args);
        (out, expected)
    }

    /// How far a result may be from the oracle's, which sums in f64. Scores are sums of fp32 products, so that rounding
    /// moves each by a few times epsilon of what it adds up, and that moves the weights by as much in proportion.
    fn bound(&self) -> f32 {
        let width = self.shape[3];
        let row_size = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let largest = |rows: &[f32]| rows.chunks(width).map(row_size).fold(0.0, f32::max);
        (4.0 * f32::EPSILON * largest(&self.q) * largest(&self.k) * SCALE).max(2e-5)
    }

    fn check(&self, pool: &dyn Parallel, parts: &[usize]) {
        let bound = self.bound();
        for isa in Isa::available() {
            for precision in Precision::ALL {
                let (got, expected) = self.run(isa, precision, pool, parts);
                for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    let near = (got - expected).abs() <= bound * (1.0 + expected.abs());
                    assert!(near, "{isa} {precision} {:?}: {got} for {expected} at {at}", self.shape);
                }
            }
        }
    }
}

#[test]
fn attention_over_a_cache_is_that_over_what_it_keeps() {
    for (shape, queries) in [
        ([1, 6, 96, 64], 1),
        ([1, 6, 1500, 64], 1),
        ([3, 2, 200, 64], 1),
        ([1, 1, 1, 64], 1),
        ([2, 3, 64, 64], 5),
        ([1, 2, 65, 64], 8),
        ([1, 2, 130, 64], 19),
        ([1, 2, 33, 80], 2),
        ([2, 1, 15, 5], 3),
        ([1, 1, 17, 1], 1),
    ] {
        Case::new(shape, queries, TestMask::None, 7).check(&Serial, &[1000]);
        Case::new(shape, queries, TestMask::None, 8).check(&ScopedThreads(3), &[4, 1, 1, 27]);
    }
}

#[test]
fn masks_hide_keys() {
    Case::new([1, 2, 70, 64], 3, TestMask::Causal(67), 3).check(&Serial, &[70]);
    Case::new([1, 2, 70, 64], 3, TestMask::Causal(2), 4).check(&Serial, &[70]);
    let hidden = (0..70).map(|key| if key % 3 == 0 { f32::NEG_INFINITY } else { key as f32 * 0.1 }).collect();
    Case::new([2, 2, 70, 64], 2, TestMask::PerKey(hidden), 5).check(&Serial, &[9]);
    // A query that sees nothing gets zeros.
    let all = vec![f32::NEG_INFINITY; 20];
    let (got, _) =
        Case::new([1, 1, 20, 64], 1, TestMask::PerKey(all), 6).run(Isa::best(), Precision::Int8, &Serial, &[20]);
    assert_eq!(got, vec![0.0; 64]);
}

#[test]
fn no_keys_give_zeros() {
    for isa in Isa::available() {
        for precision in Precision::ALL {
            let (got, _) = Case::new([1, 2, 0, 64], 1, TestMask::None, 6).run(isa, precision, &Serial, &[1]);
            assert_eq!(got, vec![0.0; 128]);
        }
    }
}

#[test]
fn what_is_not_finite_reaches_the_result() {
    for precision in Precision::ALL {
        for in_keys in [true, false] {
            let mut case = Case::new([1, 1, 40, 64], 1, TestMask::None, 9);
            let side = if in_keys { &mut case.k } else { &mut case.v };
            side[20 * 64 + 3] = f32::NAN;
            let (got, _) = case.run(Isa::best(), precision, &Serial, &[40]);
            let reached = if in_keys { got.iter().all(|x| x.is_nan()) } else { got[3].is_nan() };
            assert!(reached, "{precision}, in keys: {in_keys}: {got:?}");
        }
    }
}

#[test]
fn what_is_hidden_before_the_first_key_may_be_anything() {
    let hidden: Vec<f32> = (0..130).map(|key| if key < 64 { f32::NEG_INFINITY } else { 0.0 }).collect();
    for isa in Isa::available() {
        for precision in Precision::ALL {
            for queries in [1, 3, 5, 8] {
                let mut case = Case::new([1, 1, 130, 64], queries, TestMask::PerKey(hidden.clone()), 10);
                case.v[..64 * 64].fill(f32::NAN);
                let (got, _) = case.run(isa, precision, &Serial, &[130]);
                assert!(got.iter().all(|x| x.is_finite()), "{isa} {precision}, {queries} queries");
            }
        }
    }
}

#[test]
fn rows_leave_are_repeated_and_change_places() {
    let shape = [4, 2, 37, 8];
    let data = values(shape.iter().product(), 1);
    let item = shape[1] * shape[2] * shape[3];
    let mut cache = filled(Isa::best(), Side::Keys, Precision::F32, shape, &data, &[10, 3]);
    cache.select(&[3, 0, 3]);
    let expected: Vec<f32> = [3, 0, 3].iter().flat_map(|row| &data[row * item..][..item]).copied().collect();
    assert_eq!(cache.shape(), [3, 2, 37, 8]);
    assert_eq!(read(&cache), expected);
    // They go on apart.
    let more = values(3 * 2 * 8, 2);
    Context::fresh(&Serial, |context| cache.append(context, 3, 1, dense(&more, [3, 2, 1, 8])));
    let now = read(&cache);
    assert_eq!(now[37 * 8..][..8], more[..8]);
    assert_eq!(now[2 * 2 * 38 * 8 + 37 * 8..][..8], more[2 * 2 * 8..][..8]);
    cache.select(&[]);
    assert_eq!(cache.shape()[0], 0);
    cache.clear();
    Context::fresh(&Serial, |context| cache.append(context, 1, 1, dense(&more[..16], [1, 2, 1, 8])));
    assert_eq!(read(&cache), more[..16]);
}

/// What attention over a cache of `k` and `v` gives, one query after another's place.
fn attention(k: &KvCache, v: &KvCache, queries: usize, q: &[f32], mask: Mask<'_>, pool: &dyn Parallel) -> Vec<f32> {
    let [_, heads, _, width] = k.shape();
    let spec = AttentionSpec { head_width: width, scale: SCALE, precision: k.precision() };
    let kernel = HostDevice::with_isa(Isa::best()).unwrap().attention(&spec).unwrap();
    let strides = [heads * queries * width, queries * width, width];
    let mut out = vec![f32::NAN; q.len()];
    Context::fresh(pool, |context| {
        let out = HeadsMut::new(&mut out, strides);
        let args = CachedArgs { queries, q: Heads::new(q, strides), keys: k, values: v, mask, out };
        kernel.run_cached(context, args).expect("the host never fails");
    });
    out
}

#[test]
fn items_that_share_their_memory_attend_as_if_apart() {
    let shape @ [batch, heads, length, width] = [2, 3, 200, 64];
    let (k, v) = (values(shape.iter().product(), 1), values(shape.iter().product(), 2));
    let rows = [0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let repeated = |data: &[f32]| -> Vec<f32> {
        rows.iter().flat_map(|row| &data[row * data.len() / batch..][..data.len() / batch]).copied().collect()
    };
    let apart = [rows.len(), heads, length, width];
    let per_item: Vec<f32> = (0..rows.len() * length).map(|at| -((at % 7) as f32)).collect();
    for precision in Precision::ALL {
        let filled = |side, shape, data: &[f32]| filled(Isa::best(), side, precision, shape, data, &[150, 50]);
        let (mut keys, mut values) = (filled(Side::Keys, shape, &k), filled(Side::Values, shape, &v));
        let whole = keys.bytes();
        keys.select(&rows);
        values.select(&rows);
        assert_eq!(keys.bytes(), whole / 2 * 4, "0 0 0, 1, 0, 1 … are read once each");
        let (keys_apart, values_apart) =
            (filled(Side::Keys, apart, &repeated(&k)), filled(Side::Values, apart, &repeated(&v)));
        assert_eq!(keys_apart.bytes(), whole / 2 * rows.len());
        for queries in [1, 3, 9] {
            let q = self::values(rows.len() * heads * queries * width, 3);
            for mask in [
                Mask::None,
                Mask::Causal { first: length - queries },
                Mask::Additive { data: &per_item, batch_stride: length, head_stride: 0, row_stride: 0 },
            ] {
                let got = attention(&keys, &values, queries, &q, mask, &Serial);
                assert!(got == attention(&keys_apart, &values_apart, queries, &q, mask, &Serial), "{queries} {mask:?}");
                let got = attention(&keys, &values, queries, &q, mask, &ScopedThreads(3));
                let expected = attention(&keys_apart, &values_apart, queries, &q, mask, &ScopedThreads(3));
                assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{queries} {mask:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Beams: items are repeated, leave, and go on apart.
    #[test]
    fn whatever_is_selected_items_go_on_alone(
        steps in proptest::collection::vec((proptest::collection::vec(any::<usize>(), 1..6), 0usize..70), 1..8),
        clears in any::<bool>(), seed in any::<u64>(),
    ) {
        const HEADS: usize = 2;
        const WIDTH: usize = 5;
        let mut cache = KvCache::new(Isa::best(), Side::Values, Precision::F32, HEADS, WIDTH);
        for round in 0..=u64::from(clears) {
            // For each item its entries, `[length, heads, width]`.
            let mut items: Vec<Vec<f32>> = vec![Vec::new(); steps[0].0.len()];
            cache.clear();
            for (step, (rows, length)) in (0..).zip(&steps) {
                if step > 0 {
                    let rows: Vec<usize> = rows.iter().map(|row| row % items.len()).collect();
                    cache.select(&rows);
                    items = rows.iter().map(|&row| items[row].clone()).collect();
                }
                // The first may not be empty: a cache of no length takes any number of items.
                let length = length + usize::from(step == 0);
                let of_item = length * HEADS * WIDTH;
                let new = values(items.len() * of_item, seed ^ (step + 100 * round));
                let strides = [of_item, WIDTH, HEADS * WIDTH];
                Context::fresh(&Serial, |context| cache.append(context, items.len(), length, Heads::new(&new, strides)));
                items.iter_mut().enumerate().for_each(|(at, item)| item.extend(&new[at * of_item..][..of_item]));
                let length = items[0].len() / (HEADS * WIDTH);
                prop_assert_eq!(cache.shape(), [items.len(), HEADS, length, WIDTH]);
                let expected: Vec<f32> = items.iter().flat_map(|item| {
                    (0..HEADS).flat_map(move |head| {
                        (0..length).flat_map(move |at| item[(at * HEADS + head) * WIDTH..][..WIDTH].iter().copied())
                    })
                }).collect();
                prop_assert!(read(&cache) == expected);
            }
        }
    }

    #[test]
    fn entries_are_kept_however_they_come(
        batch in 1usize..4, heads in 1usize..4, length in 0usize..200, width in 1usize..100,
        parts in proptest::collection::vec(1usize..70, 1..4), seed in any::<u64>(),
    ) {
        let shape = [batch, heads, length, width];
        let data = values(shape.iter().product(), seed);
        for isa in Isa::available() {
            for precision in Precision::ALL {
                for side in [Side::Keys, Side::Values] {
                    let cache = filled(isa, side, precision, shape, &data, &parts);
                    prop_assert_eq!(cache.shape(), shape);
                    prop_assert_eq!(kept_badly(precision, width, &data, &read(&cache)), None);
                }
            }
        }
    }

    #[test]
    fn any_shape_attends(
        batch in 1usize..3, heads in 1usize..4, length in 1usize..300, width in 1usize..100, queries in 1usize..12, seed in any::<u64>(),
    ) {
        Case::new([batch, heads, length, width], queries, TestMask::None, seed).check(&Serial, &[13, 64]);
    }
}
