// What all kernels share: which core, how large a tile, hints for the compilers, the control block.
//
// Tile sizes are constants on the NPU (StaticTile) and values on the host (RuntimeTile): the kernels are templates over both, so that one source
// is checked on the host for any tile.
#pragma once

#include <aie_api/aie.hpp>
#include <cstdint>
#include <type_traits>

// Hints for loops. Those that are to be pipelined have to stay loops: the NPU's Peano is a clang and overlaps the turns of what is left of a loop after unrolling,
// and counts of turns are constants on it. chess is AMD's compiler.
#if defined(__chess__)
#define UNDERTONE_PIPELINE [[chess::prepare_for_pipelining]]
#define UNDERTONE_UNROLL [[chess::unroll_loop()]]
#elif defined(__clang__)
#define UNDERTONE_PIPELINE _Pragma("clang loop unroll(disable)")
#define UNDERTONE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNDERTONE_PIPELINE
#define UNDERTONE_UNROLL _Pragma("GCC unroll 16")
#endif

#define UNDERTONE_RESTRICT __restrict

// What keeps a core's program small: loops that stay loops, and functions that are there once. On the host they would only be slower.
#if defined(__chess__)
#define UNDERTONE_ROLLED [[chess::no_unroll]]
#define UNDERTONE_OUTLINED inline __attribute__((noinline))
#elif defined(__PEANO__)
#define UNDERTONE_ROLLED _Pragma("clang loop unroll(disable)")
#define UNDERTONE_OUTLINED inline __attribute__((noinline))
#else
#define UNDERTONE_ROLLED
#define UNDERTONE_OUTLINED inline
#endif

namespace undertone {

/// The shape of the product that a core computes with one instruction, and how many of its rows and columns of accumulators are kept in registers.
template <int R, int S, int T, int Rows, int Columns>
struct MicroTile {
    static constexpr int r = R, s = S, t = T, rows = Rows, columns = Columns;
};

/// AIE2: accumulators hold 1024 bits, nine of them.
struct Npu1 {
    using Int8 = MicroTile<4, 8, 8, 2, 4>;
    using Bf16 = MicroTile<4, 8, 4, 4, 4>;
};

/// AIE2P: accumulators hold 2048 bits, five of them.
struct Npu4 {
    using Int8 = MicroTile<8, 8, 8, 2, 2>;
    using Bf16 = MicroTile<4, 8, 8, 2, 4>;
};

/// m × k × n, known to the compiler.
template <int M, int K, int N>
struct StaticTile {
    static constexpr int m() { return M; }
    static constexpr int k() { return K; }
    static constexpr int n() { return N; }
};

/// m × k × n, known when it runs.
struct RuntimeTile {
    int rows, inner, columns;
    constexpr int m() const { return rows; }
    constexpr int k() const { return inner; }
    constexpr int n() const { return columns; }
};

/// Width of an attention head.
inline constexpr int head_width = 64;

/// Words of the control block that ends each A object, and the flags of its first word: the first and the last step of a row tile, or the first and the
/// last queries of a stage.
inline constexpr int control_words = 16;
/// Bytes of AIE2P's widest access: `load_v` and `store_v` of so many want an address that is a multiple of it, and give wrong data elsewhere. mlir-aie
/// places buffers one after another, so objects and state are made of whole ones.
inline constexpr int vector_bytes = 64;
/// Where the control block of an A object begins whose operand and scales take `bytes`.
constexpr int control_at(int bytes) { return (bytes + vector_bytes - 1) / vector_bytes * vector_bytes; }
inline constexpr uint32_t control_first = 1;
inline constexpr uint32_t control_last = 2;
inline constexpr uint32_t control_gelu = 4;
inline constexpr uint32_t control_queries = 8;
/// Its other words, of queries: the column of the core whose they are, the number of keys, scale · log2(e) as fp32, which slice of the head's width.
inline constexpr int control_column = 1, control_keys = 2, control_scale = 3, control_slice = 4;

/// Word `index` of the control block that starts `bytes` after `object`. By copy: the block need not lie at a multiple of a vector.
template <typename Word, typename T>
inline Word control(const T *object, int bytes, int index) {
    Word word;
    __builtin_memcpy(&word, reinterpret_cast<const char *>(object) + bytes + 4 * index, sizeof word);
    return word;
}

/// `values[index]`, wherever it lies.
inline float scalar(const float *values, int index) { return control<float>(values, 0, index); }

/// `values[index] = value`; of an integer its bits.
template <typename Word>
inline void put(float *values, int index, Word value) {
    static_assert(sizeof value == sizeof *values);
    __builtin_memcpy(values + index, &value, sizeof value);
}

/// Every entry sets how it rounds: a core starts with cutting off.
inline void set_modes() {
    aie::set_rounding(aie::rounding_mode::conv_even);
    aie::set_saturation(aie::saturation_mode::saturate);
}

}  // namespace undertone
