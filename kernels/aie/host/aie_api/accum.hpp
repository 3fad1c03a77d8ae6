// Accumulators, and how they become vectors: shift, round, saturate.
#pragma once

#include "vector.hpp"

namespace aie {
namespace host {

template <typename Tag>
struct storage;
template <>
struct storage<acc32> {
    using type = int32_t;
};
template <>
struct storage<accfloat> {
    using type = float;
};

/// `value / 2^shift` rounded as the core is set, then brought into `T` as it is set.
template <typename T>
constexpr T shift_round_saturate(int64_t value, int shift, rounding_mode mode, saturation_mode saturation) {
    const bool negative = value < 0;
    const int64_t magnitude = negative ? -value : value;
    int64_t whole = magnitude >> shift;
    const int64_t rest = magnitude - (whole << shift);
    if (rest != 0) {
        const int64_t middle = int64_t{1} << (shift - 1);
        const int half = rest > middle ? 1 : rest == middle ? 0 : -1;
        whole += away_from_zero(mode, negative, whole & 1, half) ? 1 : 0;
    }
    int64_t result = negative ? -whole : whole;
    if (saturation != saturation_mode::none) {
        const int64_t high = std::numeric_limits<T>::max();
        const int64_t low = saturation == saturation_mode::symmetric ? -high : std::numeric_limits<T>::min();
        result = result > high ? high : result < low ? low : result;
    }
    return static_cast<T>(result);
}

}  // namespace host

/// `Elems` sums.
template <typename Tag, unsigned Elems>
class accum {
public:
    using value_type = typename host::storage<Tag>::type;

    accum() = default;

    template <typename T>
    UNDERTONE_INLINE explicit accum(const vector<T, Elems> &values, int shift = 0) {
        from_vector(values, shift);
    }

    template <typename T>
    UNDERTONE_INLINE void from_vector(const vector<T, Elems> &values, int shift = 0) {
        for (unsigned i = 0; i < Elems; ++i) {
            if constexpr (std::is_same_v<Tag, accfloat>) {
                lanes[i] = static_cast<float>(values.lanes[i]);
            } else {
                lanes[i] = static_cast<int32_t>(static_cast<uint32_t>(static_cast<int32_t>(values.lanes[i])) << shift);
            }
        }
    }

    /// Integers: shifted right by `shift`, rounded and saturated as set. bf16: rounded as set. fp32: as it is.
    template <typename T>
    UNDERTONE_INLINE vector<T, Elems> to_vector(int shift = 0) const {
        vector<T, Elems> result;
        if constexpr (std::is_same_v<Tag, accfloat> && std::is_same_v<T, bfloat16>) {
            UNDERTONE_COUNTED(conversions, Elems);
            if (host::rounding == rounding_mode::conv_even) {
                for (unsigned i = 0; i < Elems; ++i) result.lanes[i] = bfloat16(lanes[i]);
            } else {
                for (unsigned i = 0; i < Elems; ++i) result.lanes[i].bits = host::to_bf16_bits(lanes[i], host::rounding);
            }
        } else if constexpr (std::is_same_v<T, value_type> && std::is_same_v<Tag, accfloat>) {
            std::memcpy(result.lanes, lanes, sizeof lanes);
        } else {
            static_assert(std::is_same_v<Tag, acc32> && std::is_integral_v<T>);
            if (shift == 0 && std::is_same_v<T, value_type>) {
                std::memcpy(result.lanes, lanes, sizeof lanes);
            } else {
                for (unsigned i = 0; i < Elems; ++i) {
                    result.lanes[i] = host::shift_round_saturate<T>(lanes[i], shift, host::rounding, host::saturation);
                }
            }
        }
        return result;
    }

    value_type lanes[Elems];
};

}  // namespace aie
