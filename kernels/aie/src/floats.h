// fp32 on a core: vectors of it, exp2, GELU, reciprocals. There is no scalar arithmetic in fp32: cores have no unit for it.
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

/// One product for each lane. Cores build it from products of bf16 parts; on the host it is rounded once.
template <unsigned N>
inline Floats<N> multiply(const Floats<N> &a, const Floats<N> &b) {
    return aie::mul(a, b).template to_vector<float>();
}

template <unsigned N>
inline aie::vector<bfloat16, N> to_bf16(const Floats<N> &values) {
    aie::accum<accfloat, N> sums;
    sums.from_vector(values);
    return sums.template to_vector<bfloat16>();
}

template <unsigned N>
inline Floats<N> from_bf16(const aie::vector<bfloat16, N> &values) {
    aie::accum<accfloat, N> sums;
    sums.from_vector(values);
    return sums.template to_vector<float>();
}

/// Horner's scheme, highest power first. A loop, as each step waits for the one before and a core has 16 KB for its program: one product in fp32
/// takes hundreds of bytes.
template <unsigned N, unsigned Degree>
inline Floats<N> polynomial(const float (&coefficients)[Degree + 1], const Floats<N> &x) {
    Floats<N> value = all<N>(coefficients[0]);
    UNDERTONE_ROLLED
    for (unsigned i = 1; i <= Degree; ++i) value = aie::add(multiply<N>(value, x), all<N>(coefficients[i]));
    return value;
}

// From fit.py: exp2 on [-1/2, 1/2] in u = 2 f, relative error 2.6e-6.
inline constexpr float exp2_coefficients[] = {
    5.981313689e-04F, 6.989732541e-03F, 6.006186207e-02F, 3.465609074e-01F, 9.999992614e-01F,
};

/// 2^x for x up to 127, relative error below 4e-6; 0 below -125.
template <unsigned N>
UNDERTONE_OUTLINED Floats<N> exp2(const Floats<N> &x) {
    // 1.5 · 2^23: adding it leaves the nearest whole number in the lowest bits.
    const Floats<N> magic = all<N>(12582912.0F);
    const Floats<N> inside = aie::max(x, all<N>(-125.0F));
    const Floats<N> shifted = aie::add(inside, magic);
    const Floats<N> fraction = aie::sub(inside, aie::sub(shifted, magic));
    const Floats<N> value = polynomial<N, 4>(exp2_coefficients, aie::add(fraction, fraction));
    // The whole number goes into the exponent. Without the magic number's bits first: shifts go through accumulators and saturate.
    const Words<N> whole = aie::sub(shifted.template cast_to<int32_t>(), magic.template cast_to<int32_t>());
    const Words<N> exponent = aie::upshift(whole, 23);
    const Words<N> bits = aie::add(value.template cast_to<int32_t>(), exponent);
    return aie::select(bits.template cast_to<float>(), aie::zeros<float, N>(), aie::lt(x, all<N>(-125.0F)));
}

// From fit.py: Φ(-t) on [0, 5] in u = 2 t / 5 - 1; t Φ(-t) is right to 9.6e-6, and smaller than 1.5e-6 beyond.
inline constexpr float gelu_coefficients[] = {
    1.763587943e-02F, -4.642421054e-02F, -7.757678417e-03F, 1.372501907e-01F, -1.359028181e-01F, -5.634645251e-02F,
    2.331141116e-01F, -2.409072793e-01F, 1.368990896e-01F,  -4.377199727e-02F, 6.209537358e-03F,
};
inline constexpr float gelu_end = 5.0F;

/// x Φ(x), as relu(x) - |x| Φ(-|x|): error below 1.1e-5, and below 2e-5 |x|.
template <unsigned N>
UNDERTONE_OUTLINED Floats<N> gelu(const Floats<N> &x) {
    const Floats<N> zero = aie::zeros<float, N>(), end = all<N>(gelu_end);
    const Floats<N> size = aie::max(x, aie::sub(zero, x));
    const Floats<N> inside = aie::min(size, end);
    const Floats<N> at = aie::sub(multiply<N>(inside, all<N>(2.0F / gelu_end)), all<N>(1.0F));
    const Floats<N> below = multiply<N>(inside, polynomial<N, 10>(gelu_coefficients, at));
    return aie::sub(aie::max(x, zero), aie::select(below, zero, aie::ge(size, end)));
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
