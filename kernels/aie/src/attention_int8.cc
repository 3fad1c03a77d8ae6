// Entries of the array design attention_int8. For each object of A: begin; for each of its blocks keys, then values; end.
#include "attention.h"
#include "entry.h"

static_assert(TILE_K == undertone::head_width, "heads are 64 wide");
static_assert(TILE_M % Target::Int8::r == 0 && TILE_M % Target::Bf16::r == 0, "tiles are whole micro-tiles");
static_assert(TILE_N % Target::Int8::t == 0 && TILE_N % Target::Bf16::s == 0, "blocks are whole micro-tiles");

extern "C" {

/// Blocks of keys that come for this object of A.
int32_t UNDERTONE_ENTRY(attention_int8_blocks)(const int8_t *q) { return undertone::attention_blocks(Tile{}, q); }

/// `state` is what the core keeps: undertone::AttentionState.
void UNDERTONE_ENTRY(attention_int8_begin)(const int8_t *, float *state) { undertone::attention_begin(Tile{}, state); }

void UNDERTONE_ENTRY(attention_int8_keys)(const int8_t *q, const int8_t *k, float *state, int32_t block) {
    undertone::attention_keys<Target>(Tile{}, q, k, state, block);
}

void UNDERTONE_ENTRY(attention_int8_values)(const bfloat16 *v, float *state) { undertone::attention_values<Target>(Tile{}, v, state); }

void UNDERTONE_ENTRY(attention_int8_end)(float *state, bfloat16 *c) { undertone::attention_end<Target>(Tile{}, state, c); }
}
