// Entries: what the array designs call. Compiled for one target (UNDERTONE_NPU=1 or 4) and one tile (TILE_M, TILE_K, TILE_N).
// UNDERTONE_ENTRY_SUFFIX, if given, is put behind every name, so that several can be linked together.
#pragma once

#include "core.h"

#define UNDERTONE_JOIN_(a, b) a##b
#define UNDERTONE_JOIN(a, b) UNDERTONE_JOIN_(a, b)
#ifdef UNDERTONE_ENTRY_SUFFIX
#define UNDERTONE_ENTRY(name) UNDERTONE_JOIN(undertone_##name, UNDERTONE_ENTRY_SUFFIX)
#else
#define UNDERTONE_ENTRY(name) undertone_##name
#endif

namespace {

#if UNDERTONE_NPU == 1
using Target = undertone::Npu1;
#elif UNDERTONE_NPU == 4
using Target = undertone::Npu4;
#else
#error "say for which NPU: -DUNDERTONE_NPU=1 (AIE2) or -DUNDERTONE_NPU=4 (AIE2P)"
#endif

#ifdef TILE_M
using Tile = undertone::StaticTile<TILE_M, TILE_K, TILE_N>;
#endif

}  // namespace
