// fp32 on a core: vectors of it, products, exp2, GELU, reciprocals. There is no scalar arithmetic in fp32: cores have no unit for it.
#pragma once

#include "core.h"

namespace undertone {

template <unsigned N>
using Floats = aie::vector<float, N>;
template <unsigned N>
using Words = aie::vector<int32_t, N>;

template <unsigned N>
inline Floats<N> all(float value) {
    return aie::broadcast<float, N>(value);
}

template <unsigned N>
using Sums = aie::accum<accfloat, N>;
template <unsigned N>
using Narrow = aie::vector<bfloat16, N>;

template <unsigned N>
inline Sums<N> sums(const Floats<N> &values) {
    Sums<N> result;
    result.from_vector(values);
    return result;
}

template <unsigned N>
inline Narrow<N> to_bf16(const Floats<N> &values) {
    return sums<N>(values).template to_vector<bfloat16>();
}

template <unsigned N>
inline Floats<N> from_bf16(const Narrow<N> &values) {
    Sums<N> result;
    result.from_vector(values);
    return result.template to_vector<float>();
}

template <unsigned N>
inline Narrow<N> all_bf16(float value) {
    return aie::broadcast<bfloat16, N>(bfloat16(value));
}

/// fp32 as a sum of bf16 values, each of which takes off what those before it leave: two hold 16 bits of the mantissa, three all of it. A core
/// multiplies bf16 only, so this is what an fp32 product is made of.
template <unsigned N, unsigned Count = 2>
struct Parts {
    Narrow<N> of[Count];
};

template <unsigned N, unsigned Count = 2>
inline Parts<N, Count> parts(const Floats<N> &values) {
    Parts<N, Count> result;
    Sums<N> rest = sums<N>(values);
    UNDERTONE_UNROLL
    for (unsigned i = 0; i < Count; ++i) {
        result.of[i] = rest.template to_vector<bfloat16>();
        if (i + 1 < Count) rest = aie::msc(rest, result.of[i], all_bf16<N>(1.0F));
    }
    return result;
}

/// `start + a · b`, the smallest products first.
template <unsigned N, unsigned Left, unsigned Right>
inline Sums<N> add_product(Sums<N> start, const Parts<N, Left> &a, const Parts<N, Right> &b) {
    UNDERTONE_UNROLL
    for (unsigned larger = 0; larger < Left + Right - 1; ++larger) {
        UNDERTONE_UNROLL
        for (unsigned left = 0; left < Left; ++left) {
            const unsigned i = Left - 1 - left, both = Left + Right - 2 - larger;
            if (both >= i && both - i < Right) start = aie::mac(start, a.of[i], b.of[both - i]);
        }
    }
    return start;
}

/// A product that keeps 16 bits of each factor: relative error below 1.5e-5. For what becomes bf16 in the end.
template <unsigned N, unsigned Left, unsigned Right>
inline Floats<N> multiply_parts(const Parts<N, Left> &a, const Parts<N, Right> &b) {
    return add_product<N>(sums<N>(aie::zeros<float, N>()), a, b).template to_vector<float>();
}

/// One product for each lane, as exact as fp32. 1 builds it here from three parts of each factor; 0 leaves that to `aie::mul`, which does the same, and of which
/// reports disagree whether it works on npu4. On the host `aie::mul` rounds once, and the simulator's fast mode is that.
#ifndef UNDERTONE_SPLIT_PRODUCTS
#define UNDERTONE_SPLIT_PRODUCTS 0
#endif

template <unsigned N>
inline Floats<N> multiply(const Floats<N> &a, const Floats<N> &b) {
#if UNDERTONE_SPLIT_PRODUCTS
    return multiply_parts<N>(parts<N, 3>(a), parts<N, 3>(b));
#else
    return aie::mul(a, b).template to_vector<float>();
#endif
}

/// Horner's scheme, highest power first. The highest coefficient is a bf16 number.
template <unsigned N, unsigned Degree>
inline Floats<N> polynomial(const float (&coefficients)[Degree + 1], const Parts<N> &x) {
    Sums<N> value = add_product<N>(sums<N>(all<N>(coefficients[1])), Parts<N, 1>{{all_bf16<N>(coefficients[0])}}, x);
    UNDERTONE_UNROLL
    for (unsigned i = 2; i <= Degree; ++i) {
        value = add_product<N>(sums<N>(all<N>(coefficients[i])), parts<N>(value.template to_vector<float>()), x);
    }
    return value.template to_vector<float>();
}

/// x as a whole number, in the lowest bits of 1.5 · 2^23 plus it, and the rest. Powers below 2^-125 are cut off.
template <unsigned N>
struct Exponent {
    Words<N> whole;
    Floats<N> fraction;
    aie::mask<N> none;
};

inline constexpr float magic = 12582912.0F;

template <unsigned N>
inline Exponent<N> exponent(const Floats<N> &x) {
    const Floats<N> least = all<N>(-125.0F), inside = aie::max(x, least);
    const Floats<N> shifted = aie::add(inside, all<N>(magic));
    // Without the magic number's bits: shifts go through accumulators and saturate.
    const Words<N> whole = aie::sub(shifted.template cast_to<int32_t>(), all<N>(magic).template cast_to<int32_t>());
    return {whole, aie::sub(inside, aie::sub(shifted, all<N>(magic))), aie::lt(x, least)};
}

/// 2^fraction to 2^x: the whole number goes into the exponent.
template <unsigned N>
inline Floats<N> raised(const Exponent<N> &x, const Floats<N> &power) {
    const Words<N> bits = aie::add(power.template cast_to<int32_t>(), aie::upshift(x.whole, 23));
    return aie::select(bits.template cast_to<float>(), aie::zeros<float, N>(), x.none);
}

// From fit.py: exp2 on [-1/2, 1/2], relative error 9.2e-8.
inline constexpr float exp2_coefficients[] = {
    1.3275146484375e-03F, 9.671828922e-03F, 5.550711934e-02F, 2.402223726e-01F, 6.931469843e-01F, 1.0F,
};

/// 2^x for x up to 127, relative error below 4e-6, exact for whole numbers; 0 below -125.
template <unsigned N>
UNDERTONE_OUTLINED Floats<N> exp2(const Floats<N> &x) {
    const Exponent<N> split = exponent<N>(x);
    return raised<N>(split, polynomial<N, 5>(exp2_coefficients, parts<N>(split.fraction)));
}

// From fit.py: the same, relative error 7.5e-5.
inline constexpr float probability_coefficients[] = {5.517578125e-02F, 2.426124706e-01F, 6.932605638e-01F, 9.999279926e-01F};

/// 2^x as bf16, by products of bf16: its relative error is 4.2e-3 at most and 1.71e-3 in the mean square, where rounding alone makes 3.9e-3 and 1.66e-3.
template <unsigned N>
inline Narrow<N> probability(const Floats<N> &x) {
    const Exponent<N> split = exponent<N>(x);
    const Narrow<N> fraction = to_bf16<N>(split.fraction);
    Sums<N> power = sums<N>(all<N>(probability_coefficients[1]));
    power = aie::mac(power, all_bf16<N>(probability_coefficients[0]), fraction);
    UNDERTONE_UNROLL
    for (unsigned i = 2; i < 4; ++i) {
        power = aie::mac(sums<N>(all<N>(probability_coefficients[i])), power.template to_vector<bfloat16>(), fraction);
    }
    return to_bf16<N>(raised<N>(split, power.template to_vector<float>()));
}

// From fit.py: the eighth root of Φ(-t) on [0, 64/13] in u = 13 t / 32 - 1; t Φ(-t) is right to 1.5e-6, and smaller than 2.1e-6 beyond.
inline constexpr float gelu_coefficients[] = {
    -1.72119140625e-02F, -1.497914003e-02F, 9.581366028e-02F, 1.292513148e-02F, -4.606436140e-01F, 5.370148144e-01F,
};
inline constexpr float gelu_slope = 13.0F / 32.0F, gelu_end = 64.0F / 13.0F;

/// x Φ(x), as relu(x) - |x| Φ(-|x|): error below 1.1e-5 for bf16, below 1.6e-5 for any fp32 number, and below 1e-4 |x|. The root falls so slowly that products of two
/// parts and degree 5 do; the error of Φ is then a share of it.
template <unsigned N>
inline Floats<N> gelu(const Floats<N> &x) {
    const Floats<N> zero = aie::zeros<float, N>(), size = aie::max(x, aie::sub(zero, x));
    const Parts<N> inside = parts<N>(aie::select(size, zero, aie::ge(size, all<N>(gelu_end))));
    const Sums<N> at = add_product<N>(sums<N>(all<N>(-1.0F)), Parts<N, 1>{{all_bf16<N>(gelu_slope)}}, inside);
    Floats<N> below = polynomial<N, 5>(gelu_coefficients, parts<N>(at.template to_vector<float>()));
    UNDERTONE_UNROLL
    for (int square = 0; square < 3; ++square) {
        const Parts<N> root = parts<N>(below);
        below = multiply_parts<N>(root, root);
    }
    return aie::sub(aie::max(x, zero), multiply_parts<N>(parts<N>(below), inside));
}

/// 1 / x for normal x > 0: a guess from its bits (error 0.12), then Newton's steps, each of which squares the error; 2e-7 in the end.
template <unsigned N>
UNDERTONE_OUTLINED Floats<N> reciprocal(const Floats<N> &x) {
    Floats<N> guess = aie::sub(aie::broadcast<int32_t, N>(0x7ef311c3), x.template cast_to<int32_t>()).template cast_to<float>();
    UNDERTONE_ROLLED
    for (int step = 0; step < 4; ++step) guess = multiply<N>(guess, aie::sub(all<N>(2.0F), multiply<N>(x, guess)));
    return guess;
}

/// Lanes / Width rows of Width lanes each, filled with one value for each row: `per_row[0]`, `per_row[1]`, …
template <unsigned Lanes, unsigned Width>
inline Floats<Lanes> per_row(const float *values) {
    Floats<Lanes> result;
    UNDERTONE_UNROLL
    for (unsigned row = 0; row < Lanes / Width; ++row) result.insert(row, all<Width>(scalar(values, row)));
    return result;
}

/// The same `Width` values in each of Lanes / Width rows.
template <unsigned Lanes, unsigned Width>
inline Floats<Lanes> repeated(const float *values) {
    const Floats<Width> row = aie::load_v<Width>(values);
    Floats<Lanes> result;
    UNDERTONE_UNROLL
    for (unsigned i = 0; i < Lanes / Width; ++i) result.insert(i, row);
    return result;
}

}  // namespace undertone
