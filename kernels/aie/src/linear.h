// y = activation(x · w + bias), one step of k at a time: the sums stay in the core between calls.
//
// int8 objects:  A: x [m/r][k/s][r][s], m fp32 row scales, control.  B: w [n/t][k/s][s][t], n fp32 column scales, n fp32 bias.
// bf16 objects:  A: x [m/r][k/s][r][s], control.                     B: w [n/t][k/s][s][t], n fp32 bias.
// C: bf16 [m/r][n/t][r][t], of either. Sums: int32 or fp32, laid out as C.
#pragma once

#include "floats.h"
#include "product.h"

namespace undertone {

template <typename Tile>
constexpr int int8_row_scales(Tile tile) {
    return tile.m() * tile.k();
}

template <typename Tile>
constexpr int int8_control(Tile tile) {
    return int8_row_scales(tile) + tile.m() * 4;
}

template <typename Tile>
constexpr int bf16_control(Tile tile) {
    return tile.m() * tile.k() * 2;
}

/// The sums of one more step of k, from nothing if it is the first.
template <typename Micro, typename Tile, typename Type, typename Sum>
inline void add_step(Tile tile, bool first, const Type *UNDERTONE_RESTRICT a, const Type *UNDERTONE_RESTRICT b, Sum *UNDERTONE_RESTRICT sums) {
    constexpr unsigned size = Micro::r * Micro::t;
    const auto start = [&](int row, int column) {
        return first ? aie::zeros<Sum, size>() : aie::load_v<size>(sums + result_at<Micro>(tile, row, column));
    };
    const auto finish = [&](int row, int column, const auto &result) {
        aie::store_v(sums + result_at<Micro>(tile, row, column), result.template to_vector<Sum>());
    };
    product<Micro>(tile, a, b, start, finish);
}

/// Sums to C. `scaled(sums, row, column)` makes fp32 of one vector of sums whose first lies at that row and column of the tile.
template <typename Micro, typename Tile, typename Sum, typename Scaled>
inline void finish(Tile tile, bool with_gelu, const Sum *UNDERTONE_RESTRICT sums, const float *UNDERTONE_RESTRICT bias,
                   bfloat16 *UNDERTONE_RESTRICT c, const Scaled &scaled) {
    constexpr unsigned size = Micro::r * Micro::t, lanes = size < 32 ? size : 32;
    for (int row = 0; row < tile.m() / Micro::r; ++row) {
        for (int column = 0; column < tile.n() / Micro::t; ++column) {
            const Floats<lanes> offset = repeated<lanes, Micro::t>(bias + column * Micro::t);
            UNDERTONE_PIPELINE
            for (unsigned part = 0; part < size / lanes; ++part) {
                const int at = result_at<Micro>(tile, row, column) + part * lanes;
                const int first_row = row * Micro::r + part * (lanes / Micro::t);
                Floats<lanes> y = aie::add(scaled(aie::load_v<lanes>(sums + at), first_row, column * Micro::t), offset);
                if (with_gelu) y = gelu<lanes>(y);
                aie::store_v(c + at, to_bf16<lanes>(y));
            }
        }
    }
}

/// One step of int8 operands. 1 if it was the last one, and C has been written.
template <typename Target, typename Tile>
inline int32_t linear_int8(Tile tile, const int8_t *UNDERTONE_RESTRICT a, const int8_t *UNDERTONE_RESTRICT b,
                           int32_t *UNDERTONE_RESTRICT sums, bfloat16 *UNDERTONE_RESTRICT c) {
    using Micro = typename Target::Int8;
    set_modes();
    const uint32_t flags = control<uint32_t>(a, int8_control(tile), 0);
    add_step<Micro>(tile, flags & control_first, a, b, sums);
    if (!(flags & control_last)) return 0;
    const float *row_scales = reinterpret_cast<const float *>(a + int8_row_scales(tile));
    const float *column_scales = reinterpret_cast<const float *>(b + tile.k() * tile.n());
    const auto scaled = [&](const auto &values, int row, int column) {
        constexpr unsigned lanes = std::remove_cvref_t<decltype(values)>::size();
        const Floats<lanes> scale =
            multiply<lanes>(per_row<lanes, Micro::t>(row_scales + row), repeated<lanes, Micro::t>(column_scales + column));
        return multiply<lanes>(aie::to_float(values), scale);
    };
    finish<Micro>(tile, flags & control_gelu, sums, column_scales + tile.n(), c, scaled);
    return 1;
}

/// One step of bf16 operands. 1 if it was the last one, and C has been written.
template <typename Target, typename Tile>
inline int32_t linear_bf16(Tile tile, const bfloat16 *UNDERTONE_RESTRICT a, const bfloat16 *UNDERTONE_RESTRICT b,
                           float *UNDERTONE_RESTRICT sums, bfloat16 *UNDERTONE_RESTRICT c) {
    using Micro = typename Target::Bf16;
    set_modes();
    const uint32_t flags = control<uint32_t>(a, bf16_control(tile), 0);
    add_step<Micro>(tile, flags & control_first, a, b, sums);
    if (!(flags & control_last)) return 0;
    const float *bias = reinterpret_cast<const float *>(b + tile.k() * tile.n());
    finish<Micro>(tile, flags & control_gelu, sums, bias, c, [](const auto &values, int, int) { return values; });
    return 1;
}

}  // namespace undertone
