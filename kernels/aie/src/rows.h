// Soft-max, layer norm and GELU over rows of bf16 that lie one after another. Rows are whole vectors of 16; sums and statistics are fp32.
#pragma once

#include "floats.h"

namespace undertone {

inline constexpr int row_lanes = 16;

/// Which of the numbers from `column` on are among the first `valid`.
inline aie::mask<row_lanes> visible(int column, int valid) {
    const int left = valid - column;
    return aie::mask<row_lanes>::from_uint32(left >= row_lanes ? 0xffff : left > 0 ? (uint32_t{1} << left) - 1 : 0);
}

/// Soft-max of the first `valid` of `columns` numbers of each row; the others become 0, and with them all if `valid` is 0.
inline void softmax_rows(const bfloat16 *UNDERTONE_RESTRICT x, bfloat16 *UNDERTONE_RESTRICT y, int rows, int columns, int valid) {
    constexpr int lanes = row_lanes;
    constexpr float log2_e = 1.44269504F, nothing = -3.0e38F;
    set_modes();
    for (int row = 0; row < rows; ++row, x += columns, y += columns) {
        const auto numbers = [&](int column) {
            return aie::select(all<lanes>(nothing), from_bf16<lanes>(aie::load_v<lanes>(x + column)), visible(column, valid));
        };
        Floats<lanes> largest = all<lanes>(nothing);
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) largest = aie::max(largest, numbers(column));
        const Floats<lanes> top = all<lanes>(aie::reduce_max(largest));
        const auto power = [&](int column) {
            // Differences first: that of the largest to itself is exactly 0.
            return exp2<lanes>(multiply<lanes>(aie::sub(numbers(column), top), all<lanes>(log2_e)));
        };
        Floats<lanes> sum = aie::zeros<float, lanes>();
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) sum = aie::add(sum, power(column));
        const Floats<lanes> factor = valid > 0 ? reciprocal<lanes>(all<lanes>(aie::reduce_add(sum))) : aie::zeros<float, lanes>();
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) aie::store_v(y + column, to_bf16<lanes>(multiply<lanes>(power(column), factor)));
    }
}

/// (x - mean) / √(variance + epsilon) · gamma + beta for each row, of whose `columns` numbers the first `valid` count. `inverse` is 1 / valid: a core
/// does not divide.
inline void layer_norm_rows(const bfloat16 *UNDERTONE_RESTRICT x, const float *UNDERTONE_RESTRICT gamma, const float *UNDERTONE_RESTRICT beta,
                            bfloat16 *UNDERTONE_RESTRICT y, int rows, int columns, int valid, float inverse, float epsilon) {
    constexpr int lanes = row_lanes;
    set_modes();
    for (int row = 0; row < rows; ++row, x += columns, y += columns) {
        const auto numbers = [&](int column) { return from_bf16<lanes>(aie::load_v<lanes>(x + column)); };
        const auto average = [&](const Floats<lanes> &sum) { return multiply<lanes>(all<lanes>(aie::reduce_add(sum)), all<lanes>(inverse)); };
        Floats<lanes> sum = aie::zeros<float, lanes>();
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) {
            sum = aie::add(sum, aie::select(aie::zeros<float, lanes>(), numbers(column), visible(column, valid)));
        }
        const Floats<lanes> mean = average(sum);
        Floats<lanes> squares = aie::zeros<float, lanes>();
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) {
            const Floats<lanes> distance = aie::select(aie::zeros<float, lanes>(), aie::sub(numbers(column), mean), visible(column, valid));
            squares = aie::add(squares, multiply<lanes>(distance, distance));
        }
        const Floats<lanes> factor = reciprocal_root<lanes>(aie::add(average(squares), all<lanes>(epsilon)));
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += lanes) {
            const Floats<lanes> normal = multiply<lanes>(aie::sub(numbers(column), mean), factor);
            const Floats<lanes> scaled = multiply<lanes>(normal, aie::load_v<lanes>(gamma + column));
            aie::store_v(y + column, to_bf16<lanes>(aie::add(scaled, aie::load_v<lanes>(beta + column))));
        }
    }
}

/// x Φ(x) of `count` numbers.
inline void gelu_rows(const bfloat16 *UNDERTONE_RESTRICT x, bfloat16 *UNDERTONE_RESTRICT y, int count) {
    constexpr int lanes = row_lanes;
    set_modes();
    UNDERTONE_PIPELINE
    for (int i = 0; i < count; i += lanes) aie::store_v(y + i, to_bf16<lanes>(gelu<lanes>(from_bf16<lanes>(aie::load_v<lanes>(x + i)))));
}

}  // namespace undertone
