// The entries of the arrays that multiply: linear layers and attention in one program, so that an array stays loaded for all of a model. The source file
// that includes this says UNDERTONE_NAME(entry) and the operands' Type.
//
// An object of A says what it is for (kind). Of a linear layer: take B; step; if it is the last step, take C and finish. Queries: give each to
// queries; when it says so, blocks times take K, keys, take V, values; then take C and end. `state` is what the core keeps, of either.
#pragma once

#include "attention.h"
#include "entry.h"
#include "linear.h"

namespace {

using Micro = undertone::LinearMicro<Target, Type>;
using Sums = undertone::LinearSum<Type>;
/// Queries, the head's width, keys of a block: as many as fit an object of B in bf16.
using Heads = undertone::StaticTile<TILE_M, undertone::head_width, TILE_K * static_cast<int>(sizeof(Type)) / 2>;
using State = undertone::AttentionState<Type, Heads>;

static_assert(TILE_N == undertone::head_width, "results of attention are as large as those of a linear layer");
static_assert(TILE_M % Micro::r == 0 && TILE_K % Micro::s == 0 && TILE_N % Micro::t == 0, "tiles are whole micro-tiles");
static_assert(TILE_M % Target::Bf16::r == 0 && Heads::n() % Target::Bf16::s == 0 && Heads::n() % Micro::t == 0, "blocks of keys are whole micro-tiles");
static_assert(4 * State::words(Heads{}) % undertone::vector_bytes == 0 && 4 * undertone::control_words % undertone::vector_bytes == 0,
              "what lies in a core's memory is made of whole vectors");

}  // namespace

extern "C" {

/// 0: a step of a linear layer; 1: its last step; 2: queries.
int32_t UNDERTONE_NAME(kind)(const Type *a) {
    const uint32_t flags = undertone::linear_flags(Tile{}, a);
    return flags & undertone::control_queries ? 2 : flags & undertone::control_last ? 1 : 0;
}

void UNDERTONE_NAME(step)(const Type *a, const Type *b, Sums *state) { undertone::linear_step<Target>(Tile{}, a, b, state); }

void UNDERTONE_NAME(finish)(const Type *a, const Type *b, const Sums *state, bfloat16 *c) { undertone::linear_finish<Target>(Tile{}, a, b, state, c); }

/// 1 if the core in `column` has all of its queries, and no other core's are to come.
int32_t UNDERTONE_NAME(queries)(const Type *a, float *state, int32_t column) {
    return undertone::attention_queries<Type, Micro>(Heads{}, TILE_K, a, state, column);
}

/// Blocks of keys and values that come.
int32_t UNDERTONE_NAME(blocks)(const float *state) { return undertone::attention_blocks<Type>(Heads{}, state); }

void UNDERTONE_NAME(keys)(const Type *k, float *state, int32_t block) { undertone::attention_keys<Target>(Heads{}, k, state, block); }

void UNDERTONE_NAME(values)(const bfloat16 *v, float *state) { undertone::attention_values<Target, Type>(Heads{}, v, state); }

void UNDERTONE_NAME(end)(float *state, bfloat16 *c) { undertone::attention_end<Target, Type>(Heads{}, state, c); }
}
