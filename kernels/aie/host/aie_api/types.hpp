// Numbers, accumulator tags, and the two settings of a core that change results: rounding and saturation.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

/// Accumulators of 32-bit integers and of fp32.
struct acc32 {};
struct accfloat {};

namespace aie {

enum class rounding_mode : unsigned {
    floor,
    ceil,
    positive_inf,
    negative_inf,
    symmetric_inf,
    symmetric_zero,
    conv_even,
    conv_odd,
    symmetric_floor,
    symmetric_ceil,
};

enum class saturation_mode : unsigned { none = 0, saturate = 1, symmetric = 3 };

namespace host {

/// As a core starts: values are cut off, and wrap.
inline thread_local rounding_mode rounding = rounding_mode::floor;
inline thread_local saturation_mode saturation = saturation_mode::none;

/// Values that a core's vector unit would work through, by what it does with them: what the cost model charges for. Products of micro-tiles, loads,
/// stores, and what only moves values are not among them.
struct Counts {
    uint64_t products, macs, additions, comparisons, conversions;
};

#ifdef UNDERTONE_COUNT
inline thread_local Counts counts{};
#define UNDERTONE_COUNTED(kind, values) (::aie::host::counts.kind += (values))
#else
#define UNDERTONE_COUNTED(kind, values) ((void)0)
#endif

/// Whether `magnitude + rest` goes away from zero, where `rest` is given as more, as much or less than a half (1, 0, −1) and is not nothing.
constexpr bool away_from_zero(rounding_mode mode, bool negative, bool odd, int half) {
    switch (mode) {
    case rounding_mode::floor: return negative;
    case rounding_mode::ceil: return !negative;
    case rounding_mode::symmetric_floor: return false;
    case rounding_mode::symmetric_ceil: return true;
    default: break;
    }
    if (half != 0) return half > 0;
    switch (mode) {
    case rounding_mode::positive_inf: return !negative;
    case rounding_mode::negative_inf: return negative;
    case rounding_mode::symmetric_inf: return true;
    case rounding_mode::symmetric_zero: return false;
    case rounding_mode::conv_even: return odd;
    default: return !odd;
    }
}

/// fp32 to the bits of a bf16. What is not a number stays so; what is too large becomes infinite, or the largest number where the mode says so.
constexpr uint16_t to_bf16_bits(float value, rounding_mode mode) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t kept = bits >> 16, rest = bits & 0xffff;
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(kept | 0x40);
    if (mode == rounding_mode::conv_even) return static_cast<uint16_t>((bits + 0x7fff + (kept & 1)) >> 16);
    if (rest == 0) return static_cast<uint16_t>(kept);
    const int half = rest > 0x8000 ? 1 : rest == 0x8000 ? 0 : -1;
    return static_cast<uint16_t>(kept + (away_from_zero(mode, bits >> 31, kept & 1, half) ? 1 : 0));
}

}  // namespace host

inline void set_rounding(rounding_mode mode) { host::rounding = mode; }
inline rounding_mode get_rounding() { return host::rounding; }
inline void set_saturation(saturation_mode mode) { host::saturation = mode; }
inline saturation_mode get_saturation() { return host::saturation; }

}  // namespace aie

/// The upper half of an fp32.
struct bfloat16 {
    uint16_t bits = 0;

    constexpr bfloat16() = default;
    constexpr explicit bfloat16(float value) : bits(aie::host::to_bf16_bits(value, aie::rounding_mode::conv_even)) {}
    constexpr operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};
static_assert(sizeof(bfloat16) == 2);
