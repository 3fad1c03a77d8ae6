// Entries compiled for one tile against the same templates with the tile as a value, as the bridge to Rust has them: their bytes must be equal.
// Compiled by ../check.sh with the entries' objects; UNDERTONE_NPU and the tiles of each operator are given to it.
#include <cstdio>
#include <vector>

#include "attention.h"
#include "linear.h"

#define ENTRIES(kernels, Type, Sums)                                                            \
    int32_t undertone_##kernels##_kind(const Type *a);                                          \
    void undertone_##kernels##_step(const Type *a, const Type *b, Sums *state);                 \
    void undertone_##kernels##_finish(const Type *a, const Type *b, const Sums *state, bfloat16 *c); \
    int32_t undertone_##kernels##_queries(const Type *a, float *state, int32_t column);         \
    int32_t undertone_##kernels##_blocks(const float *state);                                   \
    void undertone_##kernels##_keys(const Type *k, float *state, int32_t block);                \
    void undertone_##kernels##_values(const bfloat16 *v, float *state);                         \
    void undertone_##kernels##_end(float *state, bfloat16 *c);

extern "C" {
ENTRIES(int8, int8_t, int32_t)
ENTRIES(bf16, bfloat16, float)
}

namespace {

using namespace undertone;

#if UNDERTONE_NPU == 1
using Target = Npu1;
#elif UNDERTONE_NPU == 4
using Target = Npu4;
#else
#error "this NPU has no target here"
#endif

uint64_t seed = 1;
int failures = 0;

uint32_t next() {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>(seed >> 33);
}

/// What stands in a control block.
using Control = std::vector<uint32_t>;

/// An object: `count` numbers, then fp32 scales, then its control block.
template <typename T>
struct Object {
    std::vector<int64_t> memory;

    Object(int count, int floats, const Control &words = {})
        : memory((control_at(count * static_cast<int>(sizeof(T)) + 4 * floats) + 4 * control_words) / 8) {
        auto *numbers = reinterpret_cast<T *>(memory.data());
        for (int i = 0; i < count; ++i) {
            if constexpr (std::is_same_v<T, int8_t>) {
                numbers[i] = static_cast<int8_t>(next() % 255 - 127);
            } else {
                numbers[i] = T(static_cast<float>(next() % 2001) / 1000.0F - 1.0F);
            }
        }
        auto *scales = reinterpret_cast<float *>(numbers + count);
        for (int i = 0; i < floats; ++i) scales[i] = static_cast<float>(next() % 1000 + 1) / 50000.0F;
        auto *control = reinterpret_cast<uint32_t *>(memory.data()) + control_at(count * static_cast<int>(sizeof(T)) + 4 * floats) / 4;
        for (std::size_t i = 0; i < words.size(); ++i) control[i] = words[i];
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

/// The entries of one number format.
template <typename Type, typename Sums>
struct Entries {
    const char *name;
    RuntimeTile tile;
    int32_t (*kind)(const Type *);
    void (*step)(const Type *, const Type *, Sums *);
    void (*finish)(const Type *, const Type *, const Sums *, bfloat16 *);
    int32_t (*queries)(const Type *, float *, int32_t);
    int32_t (*blocks)(const float *);
    void (*keys)(const Type *, float *, int32_t);
    void (*values)(const bfloat16 *, float *);
    void (*end)(float *, bfloat16 *);

    static constexpr bool int8 = std::is_same_v<Type, int8_t>;
    int scales() const { return int8 ? tile.m() : 0; }

    void linear() const {
        const int size = tile.m() * tile.n();
        std::vector<Sums> sums(size), other_sums(size);
        std::vector<bfloat16> c(size), other_c(size);
        for (uint32_t flags : {1U, 0U, 4U | 2U, 1U | 2U}) {
            const Object<Type> a(tile.m() * tile.k(), scales(), {flags});
            const Object<Type> b(tile.k() * tile.n(), (int8 ? 2 : 1) * tile.n());
            // As a core does: C is there for the last step only.
            const int32_t last = kind(a.get());
            expect(name, last == ((flags & 2) ? 1 : 0));
            step(a.get(), b.get(), sums.data());
            linear_step<Target>(tile, a.get(), b.get(), other_sums.data());
            equal(name, sums, other_sums);
            if (last) {
                finish(a.get(), b.get(), sums.data(), c.data());
                linear_finish<Target>(tile, a.get(), b.get(), other_sums.data(), other_c.data());
                equal(name, c, other_c);
            }
        }
    }

    void attention() const {
        const RuntimeTile heads{tile.m(), head_width, tile.k() * static_cast<int>(sizeof(Type)) / 2};
        const int words = AttentionState<Type, RuntimeTile>::words(heads), slices = (head_width + tile.k() - 1) / tile.k();
        std::vector<float> state(words), other_state(words);
        std::vector<bfloat16> c(tile.m() * head_width), other_c(tile.m() * head_width);
        for (uint32_t count : {0U, 1U, 2U * heads.n() + 3U}) {
            // Three columns; the core is in the second.
            for (int object = 0; object < 3 * slices; ++object) {
                const uint32_t column = object / slices, slice = object % slices, last = object + 1 == 3 * slices;
                const uint32_t flags = control_queries | (object == 0 ? control_first : 0) | (last ? control_last : 0);
                const uint32_t scale = 0x3e3851ec;  // 0.18
                const Object<Type> a(tile.m() * tile.k(), scales(), {flags, column, column == 1 ? count : 7, scale, slice});
                expect(name, kind(a.get()) == 2);
                const int32_t ready = queries(a.get(), state.data(), 1);
                expect(name, ready == static_cast<int32_t>(last));
                using Micro = LinearMicro<Target, Type>;
                expect(name, attention_queries<Type, Micro>(heads, tile.k(), a.get(), other_state.data(), 1) == ready);
            }
            expect(name, blocks(state.data()) == static_cast<int32_t>((count + heads.n() - 1) / heads.n()));
            for (int block = 0; block < blocks(state.data()); ++block) {
                const Object<Type> k(heads.n() * head_width, int8 ? heads.n() : 0);
                const Object<bfloat16> v(heads.n() * head_width, 0);
                keys(k.get(), state.data(), block);
                attention_keys<Target>(heads, k.get(), other_state.data(), block);
                values(v.get(), state.data());
                attention_values<Target, Type>(heads, v.get(), other_state.data());
            }
            end(state.data(), c.data());
            attention_end<Target, Type>(heads, other_state.data(), other_c.data());
            equal(name, state, other_state);
            equal(name, c, other_c);
        }
    }
};

#define OF(kernels, tile)                                                                                              \
    {#kernels, RuntimeTile{tile}, undertone_##kernels##_kind, undertone_##kernels##_step, undertone_##kernels##_finish, \
     undertone_##kernels##_queries, undertone_##kernels##_blocks, undertone_##kernels##_keys, undertone_##kernels##_values, \
     undertone_##kernels##_end}

}  // namespace

int main() {
    const Entries<int8_t, int32_t> int8 OF(int8, INT8);
    const Entries<bfloat16, float> bf16 OF(bf16, BF16);
    int8.linear();
    int8.attention();
    bf16.linear();
    bf16.attention();
    return failures == 0 ? 0 : 1;
}
