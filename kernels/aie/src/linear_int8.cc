// Entries of the array design linear_int8.
#include "entry.h"
#include "linear.h"

static_assert(TILE_M % Target::Int8::r == 0 && TILE_K % Target::Int8::s == 0 && TILE_N % Target::Int8::t == 0, "tiles are whole micro-tiles");

extern "C" {

/// Whether this A object is the last step of a row tile: the caller then acquires C first.
int32_t UNDERTONE_ENTRY(linear_int8_is_last)(const int8_t *a) {
    return undertone::control<uint32_t>(a, undertone::int8_control(Tile{}), 0) & undertone::control_last ? 1 : 0;
}

/// One step; `sums` are TILE_M · TILE_N words that the core keeps. 1 if C has been written.
int32_t UNDERTONE_ENTRY(linear_int8)(const int8_t *a, const int8_t *b, int32_t *sums, bfloat16 *c) {
    return undertone::linear_int8<Target>(Tile{}, a, b, sums, c);
}

/// One step that is not the last: nothing is written, so no C is needed.
void UNDERTONE_ENTRY(linear_int8_step)(const int8_t *a, const int8_t *b, int32_t *sums) {
    undertone::linear_int8<Target>(Tile{}, a, b, sums, nullptr);
}
}
