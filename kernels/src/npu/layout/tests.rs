//! Layouts as they are documented, and fast packing beside the obvious, byte by byte.

use proptest::prelude::*;

use super::*;
use crate::{
    Heads, HeadsMut, LinearSpec, Serial, WeightLayout,
    host::Isa,
    npu::{Argument, Kernels, Problem, Target, design::HEAD_WIDTH},
    parallel::ScopedThreads,
};

#[test]
fn micro_tiles_cover_a_tile_once() {
    for target in Target::ALL {
        for micro in [target.int8_micro_tile(), target.bf16_micro_tile()] {
            let (rows, columns) = (micro.r * 3, micro.s * micro.t);
            let all = |index: &dyn Fn(usize, usize) -> usize, rows: usize, columns: usize| {
                let mut seen: Vec<usize> = (0..rows)
                    .flat_map(|row| (0..columns).map(move |column| (row, column)))
                    .map(|(row, column)| index(row, column))
                    .collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..rows * columns).collect::<Vec<_>>());
            };
            all(&|row, column| micro.left(columns, row, column), rows, columns);
            all(&|row, column| micro.right(columns, row, column), columns, micro.t * 3);
            all(&|row, column| micro.result(columns, row, column), rows, columns);
        }
    }
}

#[test]
fn rows_lie_as_documented() {
    let design = Design::new(Target::Npu1, Kernels::Int8, Tile { m: 8, k: 16, n: 64 }).unwrap();
    let (rows, inputs) = (33, 20);
    let x: Vec<f32> = (0..rows * inputs).map(|at| ((at * 37) % 255) as f32 - 127.0).collect();
    let problem = crate::npu::Problem::Linear { rows, inputs, outputs: 1 };
    let mut a = vec![1; design.buffer_bytes(&problem, crate::npu::Argument::A)];
    pack_rows(PackMethod::best(), &design, &x, [rows, inputs], true, &mut a, &Serial);
    let object = |tile: usize, step: usize| &a[(tile * 2 + step) * design.a_object()..][..design.a_object()];
    let micro = design.micro_tile();
    for (row, input) in [(0, 0), (5, 7), (32, 19), (20, 16), (7, 15)] {
        let object = object(row / 8, input / 16);
        let scale = f32::from_le_bytes(object[128 + 4 * (row % 8)..][..4].try_into().unwrap());
        let value = object[micro.left(16, row % 8, input % 16)] as i8;
        assert!((f32::from(value) * scale - x[row * inputs + input]).abs() <= scale * 0.5001, "{row} {input}");
    }
    assert_eq!(object(4, 1)[micro.left(16, 0, 5)], 0, "beyond the inputs");
    let flags = |object: &[u8]| u32::from_le_bytes(object[192..196].try_into().unwrap());
    assert_eq!((flags(object(0, 0)), flags(object(7, 1))), (FIRST | GELU, LAST | GELU));
}

#[test]
fn no_rows_and_no_inputs_pack() {
    let design = Design::new(Target::Npu4, Kernels::Bf16, Tile { m: 8, k: 16, n: 64 }).unwrap();
    pack_rows(PackMethod::best(), &design, &[], [0, 5], false, &mut [], &Serial);
    pack_rows(PackMethod::best(), &design, &[], [3, 0], false, &mut [], &Serial);
    unpack_rows(PackMethod::best(), &design, &[], [0, 5], None, &mut [], &Serial);
}

/// Values of every kind: small and large, subnormal, zeros of both signs; halfway between two integers, and between two
/// bf16.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    };
    (0..count)
        .map(|_| match next() % 12 {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(next() as u32 & 0x7f_ffff),
            3 => (next() % 255) as f32 / 2.0 - 63.5,
            4 => f32::from_bits((next() as u32 & 0x3fff_0000) | 0x8000),
            _ => (next() % (1 << 24)) as f32 / (1 << 23) as f32 - 1.0,
        })
        .collect()
}

/// What a C buffer holds: bf16 values.
fn results(design: &Design, problem: &Problem, seed: u64) -> Vec<u8> {
    let values = values(design.buffer_bytes(problem, Argument::C) / 2, seed);
    values.iter().flat_map(|value| crate::numbers::bf16_bits(*value).to_le_bytes()).collect()
}

/// The methods that this machine has beside the obvious one.
fn fast_methods() -> impl Iterator<Item = PackMethod> {
    Isa::available().map(PackMethod::Vectors)
}

/// Packs something.
type Pack<'p> = &'p dyn Fn(PackMethod, &mut [u8], &dyn Parallel);

/// Asserts that `pack` writes the same bytes by every method, whatever was there before, on one thread and on three.
fn same_bytes(bytes: usize, pack: impl Fn(PackMethod, &mut [u8], &dyn Parallel)) {
    let mut wanted = vec![0x55; bytes];
    pack(PackMethod::OneByOne, &mut wanted, &Serial);
    for method in fast_methods() {
        for (threads, before) in [(1, 0xaa), (3, 0x11)] {
            let mut got = vec![before; bytes];
            pack(method, &mut got, &ScopedThreads(threads));
            let first = got.iter().zip(&wanted).position(|(got, wanted)| got != wanted);
            assert_eq!(first, None, "{method:?} on {threads} threads");
        }
    }
}

/// Likewise of what `unpack` writes, whose bits are compared.
fn same_floats(count: usize, unpack: impl Fn(PackMethod, &mut [f32], &dyn Parallel)) {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let mut wanted = vec![f32::NAN; count];
    unpack(PackMethod::OneByOne, &mut wanted, &Serial);
    for method in fast_methods() {
        for threads in [1, 3] {
            let mut got = vec![f32::NAN; count];
            unpack(method, &mut got, &ScopedThreads(threads));
            assert_eq!(bits(&got), bits(&wanted), "{method:?} on {threads} threads");
        }
    }
}

/// A design whose tiles have sides of so many times 16.
fn design(npu4: bool, int8: bool, [m, k]: [usize; 2]) -> Design {
    let target = if npu4 { Target::Npu4 } else { Target::Npu1 };
    let kernels = if int8 { Kernels::Int8 } else { Kernels::Bf16 };
    Design::new(target, kernels, Tile { m: 16 * m, k: 16 * k, n: HEAD_WIDTH }).unwrap()
}

/// `[batch, heads, length, 64]`, with the length before or behind the heads; the strides, and how many values it takes.
fn strides(length_first: bool, [batch, heads, length]: [usize; 3]) -> ([usize; 3], usize) {
    let [head, row] = if length_first { [HEAD_WIDTH, heads * HEAD_WIDTH] } else { [length * HEAD_WIDTH, HEAD_WIDTH] };
    ([heads * length * HEAD_WIDTH, head, row], batch * heads * length * HEAD_WIDTH)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn linear_operands_are_packed_alike(
        npu4: bool, int8: bool, gelu: bool, turned: bool, biased: bool, tile in [1usize..4, 1usize..3],
        rows in prop_oneof![Just(0usize), Just(1), 2usize..150], inputs in prop_oneof![Just(0usize), Just(1), 2usize..300],
        outputs in prop_oneof![Just(1usize), 2usize..200], scale in prop_oneof![Just(1.0f32), Just(0.125), Just(-0.3)], seed: u64,
    ) {
        let design = design(npu4, int8, tile);
        let problem = Problem::Linear { rows, inputs, outputs };
        let x = values(rows * inputs, seed);
        same_bytes(design.buffer_bytes(&problem, Argument::A), |method, out, pool| {
            pack_rows(method, &design, &x, [rows, inputs], gelu, out, pool);
        });
        let weights = values(inputs * outputs, seed ^ 5);
        let bias = biased.then(|| values(outputs, seed ^ 9));
        let layout = if turned { WeightLayout::OutputsByInputs } else { WeightLayout::InputsByOutputs };
        let spec = LinearSpec { scale, ..LinearSpec::new(inputs, outputs, design.kernels.precision()) };
        same_bytes(design.buffer_bytes(&problem, Argument::B), |method, out, _| {
            pack_weights(method, &design, &spec, (&weights, layout), bias.as_deref(), out);
        });
        let c = results(&design, &problem, seed ^ 3);
        let residual = biased.then(|| values(rows * outputs, seed ^ 7));
        same_floats(rows * outputs, |method, out, pool| {
            unpack_rows(method, &design, &c, [rows, outputs], residual.as_deref(), out, pool);
        });
    }

    #[test]
    fn attention_operands_are_packed_alike(
        npu4: bool, int8: bool, length_first: bool, tile in [1usize..3, 1usize..4], batch in 0usize..3, heads in 1usize..4,
        queries in prop_oneof![Just(0usize), Just(1), 2usize..150], keys in prop_oneof![Just(0usize), Just(1), 2usize..150], seed: u64,
    ) {
        let design = design(npu4, int8, tile);
        let problem = Problem::Attention { heads: batch * heads, queries, keys };
        let (q_strides, q_len) = strides(length_first, [batch, heads, queries]);
        let (k_strides, k_len) = strides(!length_first, [batch, heads, keys]);
        let [q, k, v] = [(q_len, seed), (k_len, seed ^ 1), (k_len, seed ^ 2)].map(|(len, seed)| values(len, seed));
        same_bytes(design.buffer_bytes(&problem, Argument::A), |method, out, pool| {
            pack_queries(method, &design, &Heads::new(&q, q_strides), [batch, heads, queries, keys], 0.125, out, pool);
        });
        same_bytes(design.buffer_bytes(&problem, Argument::B), |method, out, pool| {
            let operands = [&Heads::new(&k, k_strides), &Heads::new(&v, k_strides)];
            pack_keys_and_values(method, &design, operands, [batch, heads, keys], out, pool);
        });
        let c = results(&design, &problem, seed ^ 3);
        same_floats(q_len, |method, data, pool| {
            let mut out = HeadsMut::new(data, q_strides);
            unpack_heads(method, &design, &c, [batch, heads, queries], &mut out, pool);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Packing what the array left is packing what was unpacked of it.
    #[test]
    fn results_are_packed_as_their_fp32_values_are(
        npu4: bool, int8: bool, m in 1usize..4, whole: bool, batch in 1usize..3, heads in 1usize..4, length in 1usize..150,
        inputs in prop_oneof![Just(1usize), 2usize..300], seed: u64,
    ) {
        let design = design(npu4, int8, [m, if whole { 2 } else { 1 }]);
        let (rows, width) = (batch * length, heads * HEAD_WIDTH);
        let linear = |inputs, outputs| Problem::Linear { rows, inputs, outputs };
        let floats = |c: &[u8], outputs| {
            let mut x = vec![f32::NAN; rows * outputs];
            unpack_rows(PackMethod::OneByOne, &design, c, [rows, outputs], None, &mut x, &Serial);
            x
        };
        let same = |bytes, x: Pack<'_>, c: Pack<'_>| {
            let mut wanted = vec![0x55; bytes];
            x(PackMethod::OneByOne, &mut wanted, &Serial);
            same_bytes(bytes, |method, out, pool| {
                c(method, out, pool);
                assert!(out == wanted, "{method:?}");
            });
        };

        let c = results(&design, &linear(1, inputs), seed);
        let x = floats(&c, inputs);
        same(
            design.buffer_bytes(&linear(inputs, 1), Argument::A),
            &|method, out, pool| pack_rows(method, &design, &x, [rows, inputs], true, out, pool),
            &|method, out, pool| pack_results(method, &design, &c, [rows, inputs], true, out, pool),
        );

        let problem = Problem::Attention { heads: batch * heads, queries: length, keys: length };
        let [q, k, v] = [1, 2, 3].map(|part| results(&design, &linear(1, width), seed ^ part));
        let [of_q, of_k, of_v] = [&q, &k, &v].map(|c| floats(c, width));
        let strides = [length * width, HEAD_WIDTH, width];
        let [from_q, from_k, from_v] = [&of_q, &of_k, &of_v].map(|x| Heads::new(&x[..], strides));
        let [q, k, v] = [&q, &k, &v].map(|c| result_heads(&design, c, [heads, length]));
        let shape = [batch, heads, length, length];
        same(
            design.buffer_bytes(&problem, Argument::A),
            &|method, out, pool| pack_queries(method, &design, &from_q, shape, 0.125, out, pool),
            &|method, out, pool| pack_queries(method, &design, &q, shape, 0.125, out, pool),
        );
        let shape = [batch, heads, length];
        same(
            design.buffer_bytes(&problem, Argument::B),
            &|method, out, pool| pack_keys_and_values(method, &design, [&from_k, &from_v], shape, out, pool),
            &|method, out, pool| pack_keys_and_values(method, &design, [&k, &v], shape, out, pool),
        );

        let c = results(&design, &problem, seed ^ 4);
        let mut x = vec![f32::NAN; rows * width];
        unpack_heads(PackMethod::OneByOne, &design, &c, shape, &mut HeadsMut::new(&mut x, strides), &Serial);
        same(
            design.buffer_bytes(&linear(width, 1), Argument::A),
            &|method, out, pool| pack_rows(method, &design, &x, [rows, width], false, out, pool),
            &|method, out, pool| pack_attended(method, &design, &c, shape, false, out, pool),
        );
    }
}

/// Rows that hold no numbers have a scale that is none, and bf16 keeps what is none.
#[test]
fn infinities_and_nan_are_packed_alike() {
    for int8 in [true, false] {
        for npu4 in [false, true] {
            let design = design(npu4, int8, [1, 1]);
            let (rows, inputs) = (5, 21);
            let mut x = values(rows * inputs, 77);
            (x[3], x[30], x[31], x[50]) = (f32::INFINITY, f32::NAN, 1.0, f32::NEG_INFINITY);
            x[90] = f32::from_bits(0x7f80_0001);
            let problem = Problem::Linear { rows, inputs, outputs: 1 };
            same_bytes(design.buffer_bytes(&problem, Argument::A), |method, out, pool| {
                pack_rows(method, &design, &x, [rows, inputs], false, out, pool);
            });
        }
    }
}
