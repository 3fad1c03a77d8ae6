// Entries of the array design attention_bf16. For each object of A: begin; for each of its blocks keys, then values; end.
#include "attention.h"
#include "entry.h"

static_assert(TILE_K == undertone::head_width, "heads are 64 wide");
static_assert(TILE_M % Target::Bf16::r == 0 && TILE_M % Target::Bf16::r == 0, "tiles are whole micro-tiles");
static_assert(TILE_N % Target::Bf16::t == 0 && TILE_N % Target::Bf16::s == 0, "blocks are whole micro-tiles");

extern "C" {

/// Blocks of keys that come for this object of A.
int32_t UNDERTONE_ENTRY(attention_bf16_blocks)(const bfloat16 *q) { return undertone::attention_blocks(Tile{}, q); }

/// `state` is what the core keeps: undertone::AttentionState.
void UNDERTONE_ENTRY(attention_bf16_begin)(const bfloat16 *, float *state) { undertone::attention_begin(Tile{}, state); }

void UNDERTONE_ENTRY(attention_bf16_keys)(const bfloat16 *q, const bfloat16 *k, float *state, int32_t block) {
    undertone::attention_keys<Target>(Tile{}, q, k, state, block);
}

void UNDERTONE_ENTRY(attention_bf16_values)(const bfloat16 *v, float *state) { undertone::attention_values<Target>(Tile{}, v, state); }

void UNDERTONE_ENTRY(attention_bf16_end)(float *state, bfloat16 *c) { undertone::attention_end<Target>(Tile{}, state, c); }
}
