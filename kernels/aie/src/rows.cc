// Entries for rows of bf16: soft-max, layer norm, GELU. Rows are multiples of 16 numbers; no tile is asked for.
#include "entry.h"
#include "rows.h"

extern "C" {

/// Soft-max of the first `valid` numbers of each row; the others become 0.
void UNDERTONE_ENTRY(softmax_rows)(const bfloat16 *x, bfloat16 *y, int32_t rows, int32_t columns, int32_t valid) {
    undertone::softmax_rows(x, y, rows, columns, valid);
}

/// `inverse` is 1 / columns.
void UNDERTONE_ENTRY(layer_norm_rows)(const bfloat16 *x, const float *gamma, const float *beta, bfloat16 *y, int32_t rows, int32_t columns,
                                      float inverse, float epsilon) {
    undertone::layer_norm_rows(x, gamma, beta, y, rows, columns, inverse, epsilon);
}

void UNDERTONE_ENTRY(gelu_rows)(const bfloat16 *x, bfloat16 *y, int32_t count) { undertone::gelu_rows(x, y, count); }
}
