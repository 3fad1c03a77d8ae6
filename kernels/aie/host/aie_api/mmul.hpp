// The product of two micro-tiles, `[M, K] · [K, N]`, row-major each.
#pragma once

#include "accum.hpp"

namespace aie {

template <unsigned M, unsigned K, unsigned N, typename TypeA, typename TypeB = TypeA, typename Tag = void>
class mmul;

namespace host {

/// One instruction's work: the shapes that the targets' cores have.
template <unsigned M, unsigned K, unsigned N, typename Type, typename AccumTag>
class micro_tile {
public:
    static constexpr unsigned M_ = M, K_ = K, N_ = N;
    static constexpr unsigned size_A = M * K, size_B = K * N, size_C = M * N;
    using vector_A_type = vector<Type, size_A>;
    using vector_B_type = vector<Type, size_B>;
    using accum_type = accum<AccumTag, size_C>;
    using Number = typename accum_type::value_type;

    micro_tile() = default;

    template <typename T>
    UNDERTONE_INLINE explicit micro_tile(const vector<T, size_C> &start, int shift = 0) : sums(start, shift), fresh(false) {}

    UNDERTONE_INLINE void mul(const vector_A_type &a, const vector_B_type &b) {
        fresh = true;
        mac(a, b);
    }

    UNDERTONE_INLINE void mac(const vector_A_type &a, const vector_B_type &b) {
        if (fresh) std::memset(sums.lanes, 0, sizeof sums.lanes);
        fresh = false;
        Number wide[size_B];
        for (unsigned i = 0; i < size_B; ++i) wide[i] = static_cast<Number>(b.lanes[i]);
        for (unsigned row = 0; row < M; ++row) {
            Number line[N];
            std::memcpy(line, sums.lanes + row * N, sizeof line);
            for (unsigned inner = 0; inner < K; ++inner) {
                const Number left = static_cast<Number>(a.lanes[row * K + inner]);
                for (unsigned column = 0; column < N; ++column) line[column] = add(line[column], left * wide[inner * N + column]);
            }
            std::memcpy(sums.lanes + row * N, line, sizeof line);
        }
    }

    template <typename T>
    UNDERTONE_INLINE vector<T, size_C> to_vector(int shift = 0) const {
        return sums.template to_vector<T>(shift);
    }

    UNDERTONE_INLINE accum_type to_accum() const { return sums; }

private:
    /// Integers wrap, as the hardware's do.
    static UNDERTONE_INLINE Number add(Number sum, Number product) {
        if constexpr (std::is_integral_v<Number>) {
            return static_cast<Number>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(product));
        } else {
            return sum + product;
        }
    }

    accum_type sums;
    bool fresh = true;
};

}  // namespace host

// AIE2: int8 4×8×8 and bf16 4×8×4. AIE2P: int8 8×8×8 and bf16 4×8×8. Other shapes do not compile.
#define UNDERTONE_MICRO_TILE(M, K, N, TYPE, TAG)                                                                       \
    template <>                                                                                                        \
    class mmul<M, K, N, TYPE, TYPE, void> : public host::micro_tile<M, K, N, TYPE, TAG> {                              \
    public:                                                                                                            \
        using host::micro_tile<M, K, N, TYPE, TAG>::micro_tile;                                                        \
    };                                                                                                                 \
    template <>                                                                                                        \
    class mmul<M, K, N, TYPE, TYPE, TAG> : public host::micro_tile<M, K, N, TYPE, TAG> {                               \
    public:                                                                                                            \
        using host::micro_tile<M, K, N, TYPE, TAG>::micro_tile;                                                        \
    };

UNDERTONE_MICRO_TILE(4, 8, 8, int8_t, acc32)
UNDERTONE_MICRO_TILE(8, 8, 8, int8_t, acc32)
UNDERTONE_MICRO_TILE(4, 8, 4, bfloat16, accfloat)
UNDERTONE_MICRO_TILE(4, 8, 8, bfloat16, accfloat)
#undef UNDERTONE_MICRO_TILE

}  // namespace aie
