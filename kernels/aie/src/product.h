// The product of two tiles that lie in memory micro-tile by micro-tile: A as [m/r][k/s][r][s], B as [n/t][k/s][s][t].
//
// Rows × columns of accumulators stay in registers through all of k, so that each loaded micro-tile is used several times; both operands are
// walked through in the order in which they lie.
#pragma once

#include "core.h"

namespace undertone {

/// Adds to `Rows × Columns` results. `start(row, column)` gives what each begins with, `finish(row, column, result)` takes it.
template <typename Micro, int Rows, int Columns, typename Type, typename Start, typename Finish>
inline void product_block(const Type *UNDERTONE_RESTRICT a, const Type *UNDERTONE_RESTRICT b, int steps, int row, int column,
                          const Start &start, const Finish &finish) {
    using Product = aie::mmul<Micro::r, Micro::s, Micro::t, Type, Type>;
    Product sums[Rows][Columns];
    UNDERTONE_UNROLL
    for (int i = 0; i < Rows; ++i) {
        UNDERTONE_UNROLL
        for (int j = 0; j < Columns; ++j) sums[i][j] = Product(start(row + i, column + j));
    }
    const Type *UNDERTONE_RESTRICT left = a + row * steps * Product::size_A;
    const Type *UNDERTONE_RESTRICT right = b + column * steps * Product::size_B;
    UNDERTONE_PIPELINE
    for (int step = 0; step < steps; ++step) {
        typename aie::vector<Type, Product::size_A> as[Rows];
        typename aie::vector<Type, Product::size_B> bs[Columns];
        UNDERTONE_UNROLL
        for (int i = 0; i < Rows; ++i) as[i] = aie::load_v<Product::size_A>(left + (i * steps + step) * Product::size_A);
        UNDERTONE_UNROLL
        for (int j = 0; j < Columns; ++j) bs[j] = aie::load_v<Product::size_B>(right + (j * steps + step) * Product::size_B);
        UNDERTONE_UNROLL
        for (int i = 0; i < Rows; ++i) {
            UNDERTONE_UNROLL
            for (int j = 0; j < Columns; ++j) sums[i][j].mac(as[i], bs[j]);
        }
    }
    UNDERTONE_UNROLL
    for (int i = 0; i < Rows; ++i) {
        UNDERTONE_UNROLL
        for (int j = 0; j < Columns; ++j) finish(row + i, column + j, sums[i][j]);
    }
}

/// All of a product with m × k × n as `tile` says. Blocks that the registers' rows and columns leave over are done one by one; on the NPU, where the
/// sizes are constants, those loops vanish if there are none.
template <typename Micro, typename Type, typename Tile, typename Start, typename Finish>
inline void product(Tile tile, const Type *UNDERTONE_RESTRICT a, const Type *UNDERTONE_RESTRICT b, const Start &start, const Finish &finish) {
    const int rows = tile.m() / Micro::r, steps = tile.k() / Micro::s, columns = tile.n() / Micro::t;
    int row = 0;
    for (; row + Micro::rows <= rows; row += Micro::rows) {
        int column = 0;
        for (; column + Micro::columns <= columns; column += Micro::columns) {
            product_block<Micro, Micro::rows, Micro::columns>(a, b, steps, row, column, start, finish);
        }
        for (; column < columns; ++column) product_block<Micro, Micro::rows, 1>(a, b, steps, row, column, start, finish);
    }
    for (; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) product_block<Micro, 1, 1>(a, b, steps, row, column, start, finish);
    }
}

/// Where the micro-tile of a result lies: [m/r][n/t][r][t].
template <typename Micro, typename Tile>
inline int result_at(Tile tile, int row, int column) {
    return (row * (tile.n() / Micro::t) + column) * Micro::r * Micro::t;
}

}  // namespace undertone
