// Element by element: arithmetic, comparison, selection; and reductions.
#pragma once

#include <utility>

#include "accum.hpp"

namespace aie {
namespace host {

template <typename T, unsigned Elems, typename Operation>
UNDERTONE_INLINE vector<T, Elems> zip(const vector<T, Elems> &a, const vector<T, Elems> &b, Operation operation) {
    vector<T, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = operation(a.lanes[i], b.lanes[i]);
    return result;
}

template <typename T, unsigned Elems, typename Condition>
UNDERTONE_INLINE mask<Elems> compare(const vector<T, Elems> &a, const vector<T, Elems> &b, Condition condition) {
    uint32_t bits = 0;
    for (unsigned i = 0; i < Elems; ++i) bits |= static_cast<uint32_t>(condition(a.lanes[i], b.lanes[i])) << i;
    return mask<Elems>::from_uint32(bits);
}

/// How often a vector is halved until one element is left: each is an operation on whole vectors.
template <unsigned Elems>
inline constexpr unsigned halvings = std::bit_width(Elems) - 1;

}  // namespace host

/// Integers wrap.
template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> add(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(additions, Elems);
    if constexpr (std::is_integral_v<T>) {
        return host::zip(a, b, [](T x, T y) { return static_cast<T>(static_cast<std::make_unsigned_t<T>>(x) + static_cast<std::make_unsigned_t<T>>(y)); });
    } else {
        return host::zip(a, b, [](T x, T y) { return x + y; });
    }
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> sub(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(additions, Elems);
    if constexpr (std::is_integral_v<T>) {
        return host::zip(a, b, [](T x, T y) { return static_cast<T>(static_cast<std::make_unsigned_t<T>>(x) - static_cast<std::make_unsigned_t<T>>(y)); });
    } else {
        return host::zip(a, b, [](T x, T y) { return x - y; });
    }
}

template <unsigned Elems>
UNDERTONE_INLINE accum<accfloat, Elems> mul(const vector<float, Elems> &a, const vector<float, Elems> &b) {
    UNDERTONE_COUNTED(products, Elems);
    accum<accfloat, Elems> product;
    for (unsigned i = 0; i < Elems; ++i) product.lanes[i] = a.lanes[i] * b.lanes[i];
    return product;
}

// Products of bf16 values are exact in fp32; what they are added to is rounded once.
template <unsigned Elems>
UNDERTONE_INLINE accum<accfloat, Elems> mul(const vector<bfloat16, Elems> &a, const vector<bfloat16, Elems> &b) {
    UNDERTONE_COUNTED(macs, Elems);
    accum<accfloat, Elems> product;
    for (unsigned i = 0; i < Elems; ++i) product.lanes[i] = static_cast<float>(a.lanes[i]) * static_cast<float>(b.lanes[i]);
    return product;
}

/// `sums + a · b`.
template <unsigned Elems>
UNDERTONE_INLINE accum<accfloat, Elems> mac(const accum<accfloat, Elems> &sums, const vector<bfloat16, Elems> &a, const vector<bfloat16, Elems> &b) {
    UNDERTONE_COUNTED(macs, Elems);
    accum<accfloat, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = sums.lanes[i] + static_cast<float>(a.lanes[i]) * static_cast<float>(b.lanes[i]);
    return result;
}

/// `sums - a · b`.
template <unsigned Elems>
UNDERTONE_INLINE accum<accfloat, Elems> msc(const accum<accfloat, Elems> &sums, const vector<bfloat16, Elems> &a, const vector<bfloat16, Elems> &b) {
    UNDERTONE_COUNTED(macs, Elems);
    accum<accfloat, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = sums.lanes[i] - static_cast<float>(a.lanes[i]) * static_cast<float>(b.lanes[i]);
    return result;
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> max(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(comparisons, Elems);
    return host::zip(a, b, [](T x, T y) { return x > y ? x : y; });
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> min(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(comparisons, Elems);
    return host::zip(a, b, [](T x, T y) { return x < y ? x : y; });
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE mask<Elems> lt(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(comparisons, Elems);
    return host::compare(a, b, [](T x, T y) { return x < y; });
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE mask<Elems> ge(const vector<T, Elems> &a, const vector<T, Elems> &b) {
    UNDERTONE_COUNTED(comparisons, Elems);
    return host::compare(a, b, [](T x, T y) { return x >= y; });
}

/// `b` where the mask is set, else `a`.
template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> select(const vector<T, Elems> &a, const vector<T, Elems> &b, const mask<Elems> &choose) {
    UNDERTONE_COUNTED(comparisons, Elems);
    vector<T, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = choose.test(i) ? b.lanes[i] : a.lanes[i];
    return result;
}

/// `chunk` numbers of `a`, as many of `b`, and so on: the first half of that, and the second.
template <typename T, unsigned Elems>
UNDERTONE_INLINE std::pair<vector<T, Elems>, vector<T, Elems>> interleave_zip(const vector<T, Elems> &a, const vector<T, Elems> &b, unsigned chunk) {
    std::pair<vector<T, Elems>, vector<T, Elems>> halves;
    for (unsigned i = 0; i < 2 * Elems; ++i) {
        const unsigned turn = i / chunk, at = turn / 2 * chunk + i % chunk;
        (i < Elems ? halves.first : halves.second).lanes[i % Elems] = (turn % 2 ? b : a).lanes[at];
    }
    return halves;
}

template <unsigned Elems>
UNDERTONE_INLINE vector<int32_t, Elems> bit_and(const vector<int32_t, Elems> &a, const vector<int32_t, Elems> &b) {
    return host::zip(a, b, [](int32_t x, int32_t y) { return x & y; });
}

// Shifts go through 64-bit accumulators: up, what does not fit saturates as set; down, they round as set.
template <unsigned Elems>
UNDERTONE_INLINE vector<int32_t, Elems> upshift(const vector<int32_t, Elems> &values, unsigned shift) {
    UNDERTONE_COUNTED(additions, Elems);
    vector<int32_t, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) {
        const int64_t shifted = static_cast<int64_t>(static_cast<uint64_t>(static_cast<int64_t>(values.lanes[i])) << shift);
        result.lanes[i] = host::shift_round_saturate<int32_t>(shifted, 0, host::rounding, host::saturation);
    }
    return result;
}

template <unsigned Elems>
UNDERTONE_INLINE vector<int32_t, Elems> downshift(const vector<int32_t, Elems> &values, unsigned shift) {
    vector<int32_t, Elems> result;
    for (unsigned i = 0; i < Elems; ++i) {
        result.lanes[i] = host::shift_round_saturate<int32_t>(values.lanes[i], static_cast<int>(shift), host::rounding, host::saturation);
    }
    return result;
}

/// Integers as fp32, rounded to nearest even. The API builds it from their halves, by five additions.
template <unsigned Elems>
UNDERTONE_INLINE vector<float, Elems> to_float(const vector<int32_t, Elems> &values, int shift = 0) {
    UNDERTONE_COUNTED(additions, 5 * Elems);
    vector<float, Elems> result;
    const float unit = 1.0F / static_cast<float>(1U << shift);
    for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = static_cast<float>(values.lanes[i]) * unit;
    return result;
}

/// Adds the halves of the vector, then the halves of what that gives, and so on.
template <typename T, unsigned Elems>
UNDERTONE_INLINE T reduce_add(const vector<T, Elems> &values) {
    UNDERTONE_COUNTED(additions, host::halvings<Elems> * Elems);
    vector<T, Elems> sums = values;
    for (unsigned half = Elems / 2; half > 0; half /= 2) {
        for (unsigned i = 0; i < half; ++i) sums.lanes[i] = sums.lanes[i] + sums.lanes[i + half];
    }
    return sums.lanes[0];
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE T reduce_max(const vector<T, Elems> &values) {
    UNDERTONE_COUNTED(comparisons, host::halvings<Elems> * Elems);
    T largest = values.lanes[0];
    for (unsigned i = 1; i < Elems; ++i) largest = values.lanes[i] > largest ? values.lanes[i] : largest;
    return largest;
}

}  // namespace aie
