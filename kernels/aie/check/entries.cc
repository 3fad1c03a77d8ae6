// Entries compiled for one tile against the same templates with the tile as a value, as the bridge to Rust has them: their bytes must be equal.
// Compiled by ../check.sh with the entries' objects; UNDERTONE_NPU and the tiles of each operator are given to it.
#include <cstdio>
#include <vector>

#include "attention.h"
#include "linear.h"

extern "C" {
int32_t undertone_linear_int8_is_last(const int8_t *a);
void undertone_linear_int8_step(const int8_t *a, const int8_t *b, int32_t *sums);
int32_t undertone_linear_int8(const int8_t *a, const int8_t *b, int32_t *sums, bfloat16 *c);
int32_t undertone_linear_bf16_is_last(const bfloat16 *a);
void undertone_linear_bf16_step(const bfloat16 *a, const bfloat16 *b, float *sums);
int32_t undertone_linear_bf16(const bfloat16 *a, const bfloat16 *b, float *sums, bfloat16 *c);
int32_t undertone_attention_int8_blocks(const int8_t *q);
void undertone_attention_int8_begin(const int8_t *q, float *state);
void undertone_attention_int8_keys(const int8_t *q, const int8_t *k, float *state, int32_t block);
void undertone_attention_int8_values(const bfloat16 *v, float *state);
void undertone_attention_int8_end(float *state, bfloat16 *c);
int32_t undertone_attention_bf16_blocks(const bfloat16 *q);
void undertone_attention_bf16_begin(const bfloat16 *q, float *state);
void undertone_attention_bf16_keys(const bfloat16 *q, const bfloat16 *k, float *state, int32_t block);
void undertone_attention_bf16_values(const bfloat16 *v, float *state);
void undertone_attention_bf16_end(float *state, bfloat16 *c);
}

namespace {

using namespace undertone;

#if UNDERTONE_NPU == 1
using Target = Npu1;
#else
using Target = Npu4;
#endif

uint64_t seed = 1;
int failures = 0;

uint32_t next() {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>(seed >> 33);
}

/// An object: `count` numbers, then fp32 scales, then its control block.
template <typename T>
struct Object {
    std::vector<int64_t> memory;

    Object(int count, int floats, uint32_t word0, float word1) : memory((count * sizeof(T) + 4 * floats + 32 + 7) / 8) {
        auto *numbers = reinterpret_cast<T *>(memory.data());
        for (int i = 0; i < count; ++i) {
            if constexpr (std::is_same_v<T, int8_t>) {
                numbers[i] = static_cast<int8_t>(next() % 255 - 127);
            } else {
                numbers[i] = bfloat16(static_cast<float>(next() % 2001) / 1000.0F - 1.0F);
            }
        }
        auto *scales = reinterpret_cast<float *>(numbers + count);
        for (int i = 0; i < floats; ++i) scales[i] = static_cast<float>(next() % 1000 + 1) / 50000.0F;
        auto *control = reinterpret_cast<uint32_t *>(scales + floats);
        control[0] = word0;
        std::memcpy(control + 1, &word1, 4);
    }

    const T *get() const { return reinterpret_cast<const T *>(memory.data()); }
};

template <typename T>
void equal(const char *what, const std::vector<T> &a, const std::vector<T> &b) {
    if (std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) != 0) {
        std::fprintf(stderr, "  %s: the entry's bytes differ from the template's\n", what);
        ++failures;
    }
}

void expect(const char *what, bool held) {
    if (!held) {
        std::fprintf(stderr, "  %s is wrong\n", what);
        ++failures;
    }
}

template <typename T, typename Sum, typename Entry, typename Step, typename IsLast, typename Template>
void linear(const char *what, RuntimeTile tile, bool int8, Entry entry, Step step, IsLast is_last, Template written_out) {
    const int size = tile.m() * tile.n();
    std::vector<Sum> sums(size), other_sums(size);
    std::vector<bfloat16> c(size), other_c(size);
    for (uint32_t flags : {1U, 0U, 4U | 2U, 1U | 2U}) {
        const Object<T> a(tile.m() * tile.k(), int8 ? tile.m() : 0, flags, 0.0F);
        const Object<T> b(tile.k() * tile.n(), (int8 ? 2 : 1) * tile.n(), 0, 0.0F);
        // As a core does: C is there for the last step only.
        const int32_t last = is_last(a.get());
        expect(what, last == ((flags & 2) ? 1 : 0));
        if (last) {
            expect(what, entry(a.get(), b.get(), sums.data(), c.data()) == 1);
        } else {
            step(a.get(), b.get(), sums.data());
        }
        expect(what, written_out(tile, a.get(), b.get(), other_sums.data(), other_c.data()) == last);
        equal(what, sums, other_sums);
        equal(what, c, other_c);
    }
}

template <typename T, typename Blocks, typename Begin, typename Keys, typename Values, typename End>
void attention(const char *what, RuntimeTile tile, bool int8, Blocks blocks, Begin begin, Keys keys, Values values, End end) {
    const int words = AttentionState<RuntimeTile>::words(tile);
    std::vector<float> state(words), other_state(words);
    std::vector<bfloat16> c(tile.m() * head_width), other_c(tile.m() * head_width);
    for (uint32_t count : {0U, 1U, 2U * tile.n() + 3U}) {
        const Object<T> q(tile.m() * head_width, int8 ? tile.m() : 0, count, 0.18F);
        expect(what, blocks(q.get()) == static_cast<int32_t>((count + tile.n() - 1) / tile.n()));
        begin(q.get(), state.data());
        attention_begin(tile, other_state.data());
        for (int block = 0; block < blocks(q.get()); ++block) {
            const Object<T> k(tile.n() * head_width, int8 ? tile.n() : 0, 0, 0.0F);
            const Object<bfloat16> v(tile.n() * head_width, 0, 0, 0.0F);
            keys(q.get(), k.get(), state.data(), block);
            attention_keys<Target>(tile, q.get(), k.get(), other_state.data(), block);
            values(v.get(), state.data());
            attention_values<Target>(tile, v.get(), other_state.data());
        }
        end(state.data(), c.data());
        attention_end<Target>(tile, other_state.data(), other_c.data());
        equal(what, state, other_state);
        equal(what, c, other_c);
    }
}

}  // namespace

int main() {
    linear<int8_t, int32_t>("linear_int8", RuntimeTile{LINEAR_INT8}, true, undertone_linear_int8, undertone_linear_int8_step, undertone_linear_int8_is_last,
                            linear_int8<Target, RuntimeTile>);
    linear<bfloat16, float>("linear_bf16", RuntimeTile{LINEAR_BF16}, false, undertone_linear_bf16, undertone_linear_bf16_step, undertone_linear_bf16_is_last,
                            linear_bf16<Target, RuntimeTile>);
    attention<int8_t>("attention_int8", RuntimeTile{ATTENTION_INT8}, true, undertone_attention_int8_blocks, undertone_attention_int8_begin,
                      undertone_attention_int8_keys, undertone_attention_int8_values, undertone_attention_int8_end);
    attention<bfloat16>("attention_bf16", RuntimeTile{ATTENTION_BF16}, false, undertone_attention_bf16_blocks, undertone_attention_bf16_begin,
                        undertone_attention_bf16_keys, undertone_attention_bf16_values, undertone_attention_bf16_end);
    return failures == 0 ? 0 : 1;
}
