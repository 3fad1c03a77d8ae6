// Entries of the array design linear_bf16.
#include "entry.h"
#include "linear.h"

static_assert(TILE_M % Target::Bf16::r == 0 && TILE_K % Target::Bf16::s == 0 && TILE_N % Target::Bf16::t == 0, "tiles are whole micro-tiles");

extern "C" {

/// Whether this A object is the last step of a row tile: the caller then acquires C first.
int32_t UNDERTONE_ENTRY(linear_bf16_is_last)(const bfloat16 *a) {
    return undertone::control<uint32_t>(a, undertone::bf16_control(Tile{}), 0) & undertone::control_last ? 1 : 0;
}

/// One step; `sums` are TILE_M · TILE_N words that the core keeps. 1 if C has been written.
int32_t UNDERTONE_ENTRY(linear_bf16)(const bfloat16 *a, const bfloat16 *b, float *sums, bfloat16 *c) {
    return undertone::linear_bf16<Target>(Tile{}, a, b, sums, c);
}

/// One step that is not the last: nothing is written, so no C is needed.
void UNDERTONE_ENTRY(linear_bf16_step)(const bfloat16 *a, const bfloat16 *b, float *sums) {
    undertone::linear_bf16<Target>(Tile{}, a, b, sums, nullptr);
}
}
