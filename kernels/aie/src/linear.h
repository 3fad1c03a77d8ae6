// y = activation(x · w + bias), one step of k at a time: the sums stay in the core between calls.
//
// int8 objects:  A: x [m/r][k/s][r][s], m fp32 row scales, control at a multiple of 64 bytes.  B: w [n/t][k/s][s][t], n fp32 column scales, n fp32 bias.
// bf16 objects:  A: x [m/r][k/s][r][s], control.                     B: w [n/t][k/s][s][t], n fp32 bias.
// C: bf16 [m/r][n/t][r][t], of either. Sums: int32 or fp32, laid out as C.
#pragma once

#include "floats.h"
#include "product.h"

namespace undertone {

/// Word 0 of an A object's control block, which lies behind the operand and, of int8, its row scales.
template <typename Type, typename Tile>
inline uint32_t linear_flags(Tile tile, const Type *a) {
    const int scales = std::is_same_v<Type, int8_t> ? 4 * tile.m() : 0;
    return control<uint32_t>(a, control_at(tile.m() * tile.k() * static_cast<int>(sizeof(Type)) + scales), 0);
}

/// The micro-tile of operands of a type, and the type of their sums.
template <typename Target, typename Type>
using LinearMicro = std::conditional_t<std::is_same_v<Type, int8_t>, typename Target::Int8, typename Target::Bf16>;
template <typename Type>
using LinearSum = std::conditional_t<std::is_same_v<Type, int8_t>, int32_t, float>;

/// The sums of one more step of k, from nothing if it is the first.
template <typename Target, typename Type, typename Tile>
inline void linear_step(Tile tile, const Type *UNDERTONE_RESTRICT a, const Type *UNDERTONE_RESTRICT b, LinearSum<Type> *UNDERTONE_RESTRICT sums) {
    using Micro = LinearMicro<Target, Type>;
    using Sum = LinearSum<Type>;
    constexpr unsigned size = Micro::r * Micro::t;
    set_modes();
    const bool first = linear_flags(tile, a) & control_first;
    const auto start = [&](int row, int column) {
        return first ? aie::zeros<Sum, size>() : aie::load_v<size>(sums + result_at<Micro>(tile, row, column));
    };
    const auto finish = [&](int row, int column, const auto &result) {
        aie::store_v(sums + result_at<Micro>(tile, row, column), result.template to_vector<Sum>());
    };
    product<Micro>(tile, a, b, start, finish);
}

/// Sums to C. `scaled(sums, row, column)` makes fp32 of one vector of sums whose first lies at that row and column of the tile.
template <typename Micro, bool Gelu, typename Tile, typename Sum, typename Scaled>
inline void write_results(Tile tile, const Sum *UNDERTONE_RESTRICT sums, const float *UNDERTONE_RESTRICT bias, bfloat16 *UNDERTONE_RESTRICT c,
                          const Scaled &scaled) {
    constexpr unsigned size = Micro::r * Micro::t, lanes = size < 32 ? size : 32;
    for (int row = 0; row < tile.m() / Micro::r; ++row) {
        UNDERTONE_PIPELINE
        for (int column = 0; column < tile.n() / Micro::t; ++column) {
            const Floats<lanes> offset = repeated<lanes, Micro::t>(bias + column * Micro::t);
            UNDERTONE_UNROLL
            for (unsigned part = 0; part < size / lanes; ++part) {
                const int at = result_at<Micro>(tile, row, column) + part * lanes;
                const int first_row = row * Micro::r + part * (lanes / Micro::t);
                Floats<lanes> y = aie::add(scaled(aie::load_v<lanes>(sums + at), first_row, column * Micro::t), offset);
                if constexpr (Gelu) y = gelu<lanes>(y);
                aie::store_v(c + at, to_bf16<lanes>(y));
            }
        }
    }
}

/// The last step's epilogue: C from the sums, with the scales and the bias that lie in its A and B.
template <typename Target, typename Type, typename Tile>
inline void linear_finish(Tile tile, const Type *UNDERTONE_RESTRICT a, const Type *UNDERTONE_RESTRICT b,
                          const LinearSum<Type> *UNDERTONE_RESTRICT sums, bfloat16 *UNDERTONE_RESTRICT c) {
    using Micro = LinearMicro<Target, Type>;
    set_modes();
    // Two loops: a branch inside would keep the compiler from overlapping their turns.
    const auto write = [&](const float *bias, const auto &scaled) {
        if (linear_flags(tile, a) & control_gelu) {
            write_results<Micro, true>(tile, sums, bias, c, scaled);
        } else {
            write_results<Micro, false>(tile, sums, bias, c, scaled);
        }
    };
    const float *behind = reinterpret_cast<const float *>(b + tile.k() * tile.n());
    if constexpr (std::is_same_v<Type, int8_t>) {
        const float *row_scales = reinterpret_cast<const float *>(a + tile.m() * tile.k());
        write(behind + tile.n(), [&](const auto &values, int row, int column) {
            constexpr unsigned lanes = std::remove_cvref_t<decltype(values)>::size();
            const Floats<lanes> scale =
                multiply<lanes>(per_row<lanes, Micro::t>(row_scales + row), repeated<lanes, Micro::t>(behind + column));
            return multiply<lanes>(aie::to_float(values), scale);
        });
    } else {
        write(behind, [](const auto &values, int, int) { return values; });
    }
}

}  // namespace undertone
