// Entries of the array of whole rows: soft-max, layer norm, GELU.
//
// An object of A says whether gamma and beta come first: then take B, keep it as gamma; take B, keep it as beta. Then take C and compute. `state` is
// what the core keeps.
#include "entry.h"
#include "row_objects.h"

#define UNDERTONE_NAME(entry) UNDERTONE_ENTRY(rows_##entry)

static_assert(TILE_K % undertone::row_lanes == 0 && TILE_N == TILE_K, "rows are whole vectors, and results as wide as they");

extern "C" {

/// 1 if gamma and beta come before these rows.
int32_t UNDERTONE_NAME(first)(const bfloat16 *a) { return undertone::rows_first(Tile{}, a); }

/// Keeps gamma (`which` 0) or beta (1).
void UNDERTONE_NAME(keep)(const float *b, float *state, int32_t which) { undertone::rows_keep(Tile{}, b, state, which); }

void UNDERTONE_NAME(compute)(const bfloat16 *a, const float *state, bfloat16 *c) { undertone::rows_compute(Tile{}, a, state, c); }
}
