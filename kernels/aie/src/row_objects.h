// Whole rows on a core: what an object of A says of its rows, and what is kept for them.
//
// In this file `tile` is m × k × k: an object has room for m rows of k numbers, or for more rows that are narrower; none is wider.
//
// A: bf16 rows one after another, as many whole ones as m·k numbers hold; control.
// B, where the control block says FIRST: k fp32 gamma; then k fp32 beta.
// C: the rows' results, where the rows were in A. Kept from object to object: gamma and beta.
#pragma once

#include "rows.h"

namespace undertone {

/// What is done with rows.
enum class RowOperator : uint32_t { softmax, layer_norm, gelu };

/// Word `index` of an object's control block.
template <typename Word, typename Tile>
inline Word rows_control(Tile tile, const bfloat16 *a, int index) {
    return control<Word>(a + tile.m() * tile.k(), 0, index);
}

/// 1 if gamma and beta come before these rows.
template <typename Tile>
inline int32_t rows_first(Tile tile, const bfloat16 *a) {
    return rows_control<uint32_t>(tile, a, 0) & control_first ? 1 : 0;
}

/// Keeps gamma (`which` 0) or beta (1).
template <typename Tile>
inline void rows_keep(Tile tile, const float *UNDERTONE_RESTRICT b, float *UNDERTONE_RESTRICT state, int32_t which) {
    float *to = state + which * tile.k();
    UNDERTONE_PIPELINE
    for (int i = 0; i < tile.k(); i += row_lanes) aie::store_v(to + i, aie::load_v<row_lanes>(b + i));
}

/// Computes an object's rows. What lies behind them in C stays as it is.
template <typename Tile>
inline void rows_compute(Tile tile, const bfloat16 *UNDERTONE_RESTRICT a, const float *UNDERTONE_RESTRICT state, bfloat16 *UNDERTONE_RESTRICT c) {
    const auto number = [&](int index) { return rows_control<int32_t>(tile, a, index); };
    const int rows = number(control_rows), width = number(control_width), valid = number(control_valid);
    switch (static_cast<RowOperator>(number(control_operator))) {
        case RowOperator::softmax: softmax_rows(a, c, rows, width, valid); break;
        case RowOperator::layer_norm:
            layer_norm_rows(a, state, state + tile.k(), c, rows, width, valid, rows_control<float>(tile, a, control_inverse),
                            rows_control<float>(tile, a, control_epsilon));
            break;
        case RowOperator::gelu: gelu_rows(a, c, rows * width); break;
    }
}

}  // namespace undertone
