// Attention of one tile of queries, block of keys by block of keys, with the soft-max's statistics carried along (flash attention).
//
// A: q [m/r][64/s][r][s], of int8 also m fp32 scales, control: word 0 the number of keys, word 1 scale · log2(e) as fp32.
// B, by turns: K [n/t][64/s][s][t] (s over the width, t over keys), of int8 also n fp32 scales; V [64/t][n/s][s][t] in bf16 (s over keys).
// C: bf16 [m/r][64/t][r][t], r and t those of bf16.
//
// Scores are summed in int32 or fp32 and never leave fp32 before the soft-max; probabilities are bf16, and it is these that are summed up.
#pragma once

#include "floats.h"
#include "product.h"

namespace undertone {

/// What a core keeps between objects, in words of 4 bytes: fp32 results [m/r][64/t][r][t], scores [m][n], bf16 probabilities [m/r][n/s][r][s], and four
/// numbers for each query: the largest score, the probabilities' sum, the factor for what was there before, and a place to work in.
template <typename Tile>
struct AttentionState {
    static constexpr int lanes = 16;
    static constexpr int queries(Tile tile) { return (tile.m() + lanes - 1) / lanes * lanes; }
    static constexpr int scores(Tile tile) { return tile.m() * head_width; }
    static constexpr int probabilities(Tile tile) { return scores(tile) + tile.m() * tile.n(); }
    static constexpr int largest(Tile tile) { return probabilities(tile) + tile.m() * tile.n() / 2; }
    static constexpr int sums(Tile tile) { return largest(tile) + queries(tile); }
    static constexpr int factors(Tile tile) { return sums(tile) + queries(tile); }
    static constexpr int work(Tile tile) { return factors(tile) + queries(tile); }
    static constexpr int words(Tile tile) { return work(tile) + queries(tile); }
};

/// Below every score; 2 to the power of its distance to any is 0.
inline constexpr float no_score = -3.0e38F;

template <typename Type, typename Tile>
constexpr int attention_scales(Tile tile) {
    return tile.m() * head_width * static_cast<int>(sizeof(Type));
}

template <typename Type, typename Tile>
constexpr int attention_control(Tile tile) {
    return attention_scales<Type>(tile) + (std::is_same_v<Type, int8_t> ? tile.m() * 4 : 0);
}

/// Blocks of keys that come: for each, K and V.
template <typename Type, typename Tile>
inline int32_t attention_blocks(Tile tile, const Type *q) {
    const int keys = control<int32_t>(q, attention_control<Type>(tile), 0);
    return (keys + tile.n() - 1) / tile.n();
}

/// Nothing seen yet.
template <typename Tile>
inline void attention_begin(Tile tile, float *UNDERTONE_RESTRICT state) {
    using State = AttentionState<Tile>;
    constexpr int lanes = State::lanes;
    UNDERTONE_PIPELINE
    for (int i = 0; i < tile.m() * head_width; i += lanes) aie::store_v(state + i, aie::zeros<float, lanes>());
    for (int i = 0; i < tile.m(); i += lanes) {
        aie::store_v(state + State::largest(tile) + i, all<lanes>(no_score));
        aie::store_v(state + State::sums(tile) + i, aie::zeros<float, lanes>());
        aie::store_v(state + State::factors(tile) + i, aie::zeros<float, lanes>());
        // Rows that fill up the last vector stay at 0.
        aie::store_v(state + State::work(tile) + i, aie::zeros<float, lanes>());
    }
}

/// Scores, row after row: int32 sums, or fp32 ones.
template <typename Micro, typename Tile, typename Type>
inline void attention_scores(Tile tile, const Type *UNDERTONE_RESTRICT q, const Type *UNDERTONE_RESTRICT k, float *UNDERTONE_RESTRICT scores) {
    constexpr unsigned size = Micro::r * Micro::t;
    using Sum = std::conditional_t<std::is_same_v<Type, int8_t>, int32_t, float>;
    const auto start = [](int, int) { return aie::zeros<Sum, size>(); };
    const auto finish = [&](int row, int column, const auto &result) {
        const Floats<size> sums = result.template to_vector<Sum>().template cast_to<float>();
        UNDERTONE_UNROLL
        for (int i = 0; i < Micro::r; ++i) {
            aie::store_v(scores + (row * Micro::r + i) * tile.n() + column * Micro::t, sums.template extract<Micro::t>(i));
        }
    };
    product<Micro>(tile, q, k, start, finish);
}

/// Brings the scores of each row to powers of two, masks those beyond the last key, and finds each row's largest. `scaled(sums, row, column)` makes a score
/// of a vector of sums.
template <int Lanes, typename Tile, typename Scaled>
inline void attention_largest(Tile tile, int keys, float *UNDERTONE_RESTRICT scores, float *UNDERTONE_RESTRICT work, const Scaled &scaled) {
    for (int row = 0; row < tile.m(); ++row) {
        Floats<Lanes> largest = all<Lanes>(no_score);
        UNDERTONE_PIPELINE
        for (int column = 0; column < tile.n(); column += Lanes) {
            float *at = scores + row * tile.n() + column;
            Floats<Lanes> score = scaled(aie::load_v<Lanes>(at), row, column);
            const int left = keys - column;
            if (left < Lanes) {
                const uint32_t there = left > 0 ? (uint32_t{1} << left) - 1 : 0;
                score = aie::select(all<Lanes>(no_score), score, aie::mask<Lanes>::from_uint32(there));
            }
            aie::store_v(at, score);
            largest = aie::max(largest, score);
        }
        put(work, row, aie::reduce_max(largest));
    }
}

/// Probabilities of each row, not yet divided by their sum, and that sum.
template <typename Micro, int Lanes, typename Tile>
inline void attention_probabilities(Tile tile, const float *UNDERTONE_RESTRICT scores, const float *UNDERTONE_RESTRICT largest,
                                    bfloat16 *UNDERTONE_RESTRICT probabilities, float *UNDERTONE_RESTRICT work) {
    constexpr int s = Micro::s;
    for (int row = 0; row < tile.m(); ++row) {
        const Floats<Lanes> top = all<Lanes>(scalar(largest, row));
        Floats<Lanes> sum = aie::zeros<float, Lanes>();
        bfloat16 *to = probabilities + row / Micro::r * Micro::r * tile.n() + row % Micro::r * s;
        UNDERTONE_PIPELINE
        for (int column = 0; column < tile.n(); column += Lanes) {
            const Floats<Lanes> score = aie::load_v<Lanes>(scores + row * tile.n() + column);
            const auto probability = to_bf16<Lanes>(exp2<Lanes>(aie::sub(score, top)));
            sum = aie::add(sum, from_bf16<Lanes>(probability));
            UNDERTONE_UNROLL
            for (int part = 0; part < Lanes / s; ++part) {
                aie::store_v(to + (column / s + part) * Micro::r * s, probability.template extract<s>(part));
            }
        }
        put(work, row, aie::reduce_add(sum));
    }
}

/// A block of keys: its probabilities, against the largest score so far.
template <typename Micro, int Lanes, typename Tile, typename Scaled>
inline void attention_softmax(Tile tile, int keys, float *UNDERTONE_RESTRICT state, const Scaled &scaled) {
    using State = AttentionState<Tile>;
    constexpr int lanes = State::lanes;
    float *scores = state + State::scores(tile), *work = state + State::work(tile);
    float *largest = state + State::largest(tile), *sums = state + State::sums(tile), *factors = state + State::factors(tile);
    auto *probabilities = reinterpret_cast<bfloat16 *>(state + State::probabilities(tile));
    attention_largest<Lanes>(tile, keys, scores, work, scaled);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Floats<lanes> before = aie::load_v<lanes>(largest + i);
        const Floats<lanes> now = aie::max(before, aie::load_v<lanes>(work + i));
        aie::store_v(largest + i, now);
        aie::store_v(factors + i, exp2<lanes>(aie::sub(before, now)));
    }
    attention_probabilities<Micro, Lanes>(tile, scores, largest, probabilities, work);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Floats<lanes> before = multiply<lanes>(aie::load_v<lanes>(sums + i), aie::load_v<lanes>(factors + i));
        aie::store_v(sums + i, aie::add(before, aie::load_v<lanes>(work + i)));
    }
}

/// The longest vectors of which a row of scores consists: of 32, 16 or 8 keys.
template <typename Micro, typename Tile, typename Scaled>
inline void attention_block(Tile tile, int keys, float *UNDERTONE_RESTRICT state, const Scaled &scaled) {
    if (tile.n() % 32 == 0) {
        attention_softmax<Micro, 32>(tile, keys, state, scaled);
    } else if (tile.n() % 16 == 0) {
        attention_softmax<Micro, 16>(tile, keys, state, scaled);
    } else {
        attention_softmax<Micro, 8>(tile, keys, state, scaled);
    }
}

/// The keys of block number `block`.
template <typename Target, typename Tile>
inline void attention_keys(Tile tile, const bfloat16 *UNDERTONE_RESTRICT q, const bfloat16 *UNDERTONE_RESTRICT k,
                           float *UNDERTONE_RESTRICT state, int32_t block) {
    using Type = bfloat16;
    set_modes();
    attention_scores<typename Target::Bf16>(tile, q, k, state + AttentionState<Tile>::scores(tile));
    const int keys = control<int32_t>(q, attention_control<Type>(tile), 0) - block * tile.n();
    const float scale = control<float>(q, attention_control<Type>(tile), 1);
    attention_block<typename Target::Bf16>(tile, keys, state, [&](const auto &sums, int, int) {
        constexpr unsigned lanes = std::remove_cvref_t<decltype(sums)>::size();
        return multiply<lanes>(sums, all<lanes>(scale));
    });
}

/// The same with int8 queries and keys: a score is its sum times (key's scale · (query's scale · scale)).
template <typename Target, typename Tile>
inline void attention_keys(Tile tile, const int8_t *UNDERTONE_RESTRICT q, const int8_t *UNDERTONE_RESTRICT k,
                           float *UNDERTONE_RESTRICT state, int32_t block) {
    using Type = int8_t;
    set_modes();
    attention_scores<typename Target::Int8>(tile, q, k, state + AttentionState<Tile>::scores(tile));
    const int keys = control<int32_t>(q, attention_control<Type>(tile), 0) - block * tile.n();
    const float scale = control<float>(q, attention_control<Type>(tile), 1);
    const float *query_scales = reinterpret_cast<const float *>(q + attention_scales<Type>(tile));
    const float *key_scales = reinterpret_cast<const float *>(k + tile.n() * head_width);
    attention_block<typename Target::Bf16>(tile, keys, state, [&](const auto &sums, int row, int column) {
        constexpr unsigned lanes = std::remove_cvref_t<decltype(sums)>::size();
        const Floats<lanes> by_row = multiply<lanes>(all<lanes>(scalar(query_scales, row)), all<lanes>(scale));
        const Floats<lanes> by_key = multiply<lanes>(aie::load_v<lanes>(key_scales + column), by_row);
        return multiply<lanes>(aie::to_float(sums.template cast_to<int32_t>()), by_key);
    });
}

/// The second product's shape: queries × keys × width.
template <typename Tile>
struct ValuesTile {
    Tile tile;
    constexpr int m() const { return tile.m(); }
    constexpr int k() const { return tile.n(); }
    static constexpr int n() { return head_width; }
};

/// The values of the block whose keys came before: results = results · factor + probabilities · values.
template <typename Target, typename Tile>
inline void attention_values(Tile tile, const bfloat16 *UNDERTONE_RESTRICT v, float *UNDERTONE_RESTRICT state) {
    using Micro = typename Target::Bf16;
    using State = AttentionState<Tile>;
    constexpr unsigned size = Micro::r * Micro::t;
    set_modes();
    const float *factors = state + State::factors(tile);
    const auto *probabilities = reinterpret_cast<const bfloat16 *>(state + State::probabilities(tile));
    const ValuesTile<Tile> shape{tile};
    const auto start = [&](int row, int column) {
        const Floats<size> before = aie::load_v<size>(state + result_at<Micro>(shape, row, column));
        return multiply<size>(before, per_row<size, Micro::t>(factors + row * Micro::r));
    };
    const auto finish = [&](int row, int column, const auto &result) {
        aie::store_v(state + result_at<Micro>(shape, row, column), result.template to_vector<float>());
    };
    product<Micro>(shape, probabilities, v, start, finish);
}

/// Results divided by the probabilities' sums, to C; zeros if there was no key.
template <typename Target, typename Tile>
inline void attention_end(Tile tile, float *UNDERTONE_RESTRICT state, bfloat16 *UNDERTONE_RESTRICT c) {
    using Micro = typename Target::Bf16;
    using State = AttentionState<Tile>;
    constexpr unsigned size = Micro::r * Micro::t;
    constexpr int lanes = State::lanes;
    set_modes();
    float *work = state + State::work(tile);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Floats<lanes> sum = aie::load_v<lanes>(state + State::sums(tile) + i);
        // Where there is a key at all, the largest has probability 1.
        const auto none = aie::lt(sum, all<lanes>(0.5F));
        aie::store_v(work + i, aie::select(reciprocal<lanes>(aie::max(sum, all<lanes>(0.5F))), aie::zeros<float, lanes>(), none));
    }
    for (int row = 0; row < tile.m() / Micro::r; ++row) {
        const Floats<size> factor = per_row<size, Micro::t>(work + row * Micro::r);
        UNDERTONE_PIPELINE
        for (int column = 0; column < head_width / Micro::t; ++column) {
            const int at = (row * (head_width / Micro::t) + column) * static_cast<int>(size);
            aie::store_v(c + at, to_bf16<size>(multiply<size>(aie::load_v<size>(state + at), factor)));
        }
    }
}

}  // namespace undertone
