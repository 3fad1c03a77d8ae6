// Attention of one tile of queries, block of keys by block of keys, with the soft-max's statistics carried along (flash attention).
//
// In this file `tile` is queries × 64 × keys of a block.
//
// A: a slice of q, columns wide [m/r][columns/s][r][s], of int8 also m fp32 scales, control. All cores of a row see all objects; a core copies the slices
// that name its column.
// B, by turns: K [n/t][64/s][s][t] (s over the width, t over keys), of int8 also n fp32 scales; V [64/t][n/s][s][t] in bf16 (s over keys).
// C: bf16 [m/r][64/t][r][t], r and t those of the operands.
//
// Scores are summed in int32 or fp32 and never leave fp32 before the soft-max; probabilities are bf16, and it is these that are summed up.
#pragma once

#include "floats.h"
#include "product.h"

namespace undertone {

/// What a core keeps between objects, in words of 4 bytes: fp32 results [m/r][64/t][r][t], scores [m][n], bf16 probabilities [m/r][n/s][r][s], four
/// numbers for each query (the largest score, the probabilities' sum, the factor for what was there before, and a place to work in), and the queries
/// themselves with their scales and what is said of them.
template <typename Type, typename Tile>
struct AttentionState {
    static constexpr int lanes = 16;
    static constexpr int queries(Tile tile) { return (tile.m() + lanes - 1) / lanes * lanes; }
    static constexpr int scores(Tile tile) { return tile.m() * head_width; }
    static constexpr int probabilities(Tile tile) { return scores(tile) + tile.m() * tile.n(); }
    static constexpr int largest(Tile tile) { return probabilities(tile) + tile.m() * tile.n() / 2; }
    static constexpr int sums(Tile tile) { return largest(tile) + queries(tile); }
    static constexpr int factors(Tile tile) { return sums(tile) + queries(tile); }
    static constexpr int work(Tile tile) { return factors(tile) + queries(tile); }
    static constexpr int own(Tile tile) { return work(tile) + queries(tile); }
    static constexpr int scales(Tile tile) { return own(tile) + tile.m() * head_width * static_cast<int>(sizeof(Type)) / 4; }
    static constexpr int said(Tile tile) { return scales(tile) + (std::is_same_v<Type, int8_t> ? tile.m() : 0); }
    // Whole vectors, as all that lies in a core's memory.
    static constexpr int words(Tile tile) { return control_at(4 * (said(tile) + 4)) / 4; }
};

// What is said of a core's queries: words after the queries' scales.
inline constexpr int said_keys = 0, said_scale = 1, said_own = 2;

/// Below every score; 2 to the power of its distance to any is 0.
inline constexpr float no_score = -3.0e38F;
/// Below the sum of a row's probabilities if there is a key at all: the largest is 2 to the power of what rounding it to a whole number left.
inline constexpr float least_sum = 0.0625F;

/// Blocks of keys that come for a core's queries: for each, K and V.
template <typename Type, typename Tile>
inline int32_t attention_blocks(Tile tile, const float *state) {
    const int keys = control<int32_t>(state + AttentionState<Type, Tile>::said(tile), 0, said_keys);
    return (keys + tile.n() - 1) / tile.n();
}

/// Nothing seen yet.
template <typename Type, typename Tile>
inline void attention_begin(Tile tile, float *UNDERTONE_RESTRICT state) {
    using State = AttentionState<Type, Tile>;
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

/// An object of A of a stage: the core in `column` copies what is its own. 1 if it was the stage's last object and the core has queries: then
/// its keys and values come.
template <typename Type, typename Micro, typename Tile>
inline int32_t attention_queries(Tile tile, int columns, const Type *UNDERTONE_RESTRICT a, float *UNDERTONE_RESTRICT state, int32_t column) {
    using State = AttentionState<Type, Tile>;
    constexpr int micro = Micro::r * Micro::s;
    const Type *end = a + tile.m() * columns;
    const int scales = std::is_same_v<Type, int8_t> ? tile.m() : 0;
    const int block = control_at(tile.m() * columns * static_cast<int>(sizeof(Type)) + 4 * scales);
    const auto said = [&](int word) { return control<int32_t>(a, block, word); };
    set_modes();
    float *own = state + State::said(tile);
    const auto flags = static_cast<uint32_t>(said(0));
    if (flags & control_first) put(own, said_own, 0);
    if (said(control_column) == column) {
        const int slice = said(control_slice);
        if (slice == 0) attention_begin<Type>(tile, state);
        put(own, said_own, 1);
        put(own, said_keys, said(control_keys));
        put(own, said_scale, said(control_scale));
        // A query's scale and that of all scores are one number from here on.
        const auto scale = parts<State::lanes>(all<State::lanes>(control<float>(a, block, control_scale)));
        for (int row = 0; row < scales; ++row) {
            const auto own_scale = parts<State::lanes>(all<State::lanes>(scalar(reinterpret_cast<const float *>(end), row)));
            put(state + State::scales(tile), row, multiply_parts<State::lanes>(own_scale, scale).get(0));
        }
        // Slices are as wide as the objects, but for what the last one has beyond the head's width.
        const int first = slice * columns, width = columns < head_width - first ? columns : head_width - first;
        auto *queries = reinterpret_cast<Type *>(state + State::own(tile));
        for (int row = 0; row < tile.m() / Micro::r; ++row) {
            const Type *from = a + row * Micro::r * columns;
            Type *to = queries + row * Micro::r * head_width + Micro::r * first;
            UNDERTONE_PIPELINE
            for (int i = 0; i < width / Micro::s * micro; i += micro) aie::store_v(to + i, aie::load_v<micro>(from + i));
        }
    }
    return flags & control_last ? control<int32_t>(own, 0, said_own) : 0;
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

/// Sums of products of int8 over a head's width as fp32. They stay below 2^22, so that one addition does.
template <unsigned N>
inline Floats<N> small_to_float(const Words<N> &sums) {
    static_assert(head_width * 128 * 128 < 1 << 22);
    const Floats<N> shift = all<N>(magic);
    return aie::sub(aie::add(sums, shift.template cast_to<int32_t>()).template cast_to<float>(), shift);
}

/// Brings the scores of each row to powers of two, masks those beyond the last key, and finds each row's largest. `scaled(lanes, row)(sums, column)` makes
/// a score of a vector of sums.
template <int Lanes, typename Tile, typename Scaled>
inline void attention_largest(Tile tile, int keys, float *UNDERTONE_RESTRICT scores, float *UNDERTONE_RESTRICT work, const Scaled &scaled) {
    for (int row = 0; row < tile.m(); ++row) {
        const auto scaled_row = scaled(std::integral_constant<unsigned, Lanes>{}, row);
        Floats<Lanes> largest = all<Lanes>(no_score);
        UNDERTONE_PIPELINE
        for (int column = 0; column < tile.n(); column += Lanes) {
            float *at = scores + row * tile.n() + column;
            Floats<Lanes> score = scaled_row(aie::load_v<Lanes>(at), column);
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
            const auto values = probability<Lanes>(aie::sub(score, top));
            sum = aie::add(sum, from_bf16<Lanes>(values));
            UNDERTONE_UNROLL
            for (int part = 0; part < Lanes / s; ++part) {
                aie::store_v(to + (column / s + part) * Micro::r * s, values.template extract<s>(part));
            }
        }
        put(work, row, aie::reduce_add(sum));
    }
}

/// A block of keys: its probabilities, against the largest score so far, rounded to a whole number. So what was summed up before is multiplied by powers
/// of two, which are bf16 numbers.
template <typename Type, typename Micro, int Lanes, typename Tile, typename Scaled>
inline void attention_softmax(Tile tile, int keys, float *UNDERTONE_RESTRICT state, const Scaled &scaled) {
    using State = AttentionState<Type, Tile>;
    constexpr int lanes = State::lanes;
    float *scores = state + State::scores(tile), *work = state + State::work(tile);
    float *largest = state + State::largest(tile), *sums = state + State::sums(tile), *factors = state + State::factors(tile);
    auto *probabilities = reinterpret_cast<bfloat16 *>(state + State::probabilities(tile));
    attention_largest<Lanes>(tile, keys, scores, work, scaled);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Floats<lanes> whole = aie::sub(aie::add(aie::load_v<lanes>(work + i), all<lanes>(magic)), all<lanes>(magic));
        const Floats<lanes> before = aie::load_v<lanes>(largest + i), now = aie::max(before, whole);
        aie::store_v(largest + i, now);
        aie::store_v(factors + i, exp2<lanes>(aie::sub(before, now)));
    }
    attention_probabilities<Micro, Lanes>(tile, scores, largest, probabilities, work);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Parts<lanes, 1> factor{{to_bf16<lanes>(aie::load_v<lanes>(factors + i))}};
        const Floats<lanes> before = multiply_parts<lanes>(parts<lanes, 3>(aie::load_v<lanes>(sums + i)), factor);
        aie::store_v(sums + i, aie::add(before, aie::load_v<lanes>(work + i)));
    }
}

/// The longest vectors of which a row of scores consists: of 32, 16 or 8 keys.
template <typename Type, typename Micro, typename Tile, typename Scaled>
inline void attention_block(Tile tile, int keys, float *UNDERTONE_RESTRICT state, const Scaled &scaled) {
    if (tile.n() % 32 == 0) {
        attention_softmax<Type, Micro, 32>(tile, keys, state, scaled);
    } else if (tile.n() % 16 == 0) {
        attention_softmax<Type, Micro, 16>(tile, keys, state, scaled);
    } else {
        attention_softmax<Type, Micro, 8>(tile, keys, state, scaled);
    }
}

/// The keys of block number `block`: a score is its sum times scale, of int8 also times the key's scale and the query's.
template <typename Target, typename Type, typename Tile>
inline void attention_keys(Tile tile, const Type *UNDERTONE_RESTRICT k, float *UNDERTONE_RESTRICT state, int32_t block) {
    using State = AttentionState<Type, Tile>;
    constexpr bool int8 = std::is_same_v<Type, int8_t>;
    using Micro = std::conditional_t<int8, typename Target::Int8, typename Target::Bf16>;
    set_modes();
    attention_scores<Micro>(tile, reinterpret_cast<const Type *>(state + State::own(tile)), k, state + State::scores(tile));
    const float *said = state + State::said(tile);
    const int keys = control<int32_t>(said, 0, said_keys) - block * tile.n();
    if constexpr (int8) {
        const float *query_scales = state + State::scales(tile), *key_scales = reinterpret_cast<const float *>(k + tile.n() * head_width);
        attention_block<Type, typename Target::Bf16>(tile, keys, state, [&](auto lanes, int row) {
            const auto by_row = parts<lanes>(all<lanes>(scalar(query_scales, row)));
            return [=](const Floats<lanes> &sums, int column) {
                const auto by_key = multiply_parts<lanes>(parts<lanes>(aie::load_v<lanes>(key_scales + column)), by_row);
                return multiply_parts<lanes>(parts<lanes>(small_to_float<lanes>(sums.template cast_to<int32_t>())), parts<lanes>(by_key));
            };
        });
    } else {
        const float scale = scalar(said, said_scale);
        attention_block<Type, typename Target::Bf16>(tile, keys, state, [&](auto lanes, int) {
            const auto by_all = parts<lanes>(all<lanes>(scale));
            return [=](const Floats<lanes> &sums, int) { return multiply_parts<lanes>(parts<lanes>(sums), by_all); };
        });
    }
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
template <typename Target, typename Type, typename Tile>
inline void attention_values(Tile tile, const bfloat16 *UNDERTONE_RESTRICT v, float *UNDERTONE_RESTRICT state) {
    using Micro = typename Target::Bf16;
    using State = AttentionState<Type, Tile>;
    constexpr unsigned size = Micro::r * Micro::t;
    set_modes();
    const float *factors = state + State::factors(tile);
    const auto *probabilities = reinterpret_cast<const bfloat16 *>(state + State::probabilities(tile));
    const ValuesTile<Tile> shape{tile};
    const auto start = [&](int row, int column) {
        const Floats<size> before = aie::load_v<size>(state + result_at<Micro>(shape, row, column));
        const Parts<size, 1> factor{{to_bf16<size>(per_row<size, Micro::t>(factors + row * Micro::r))}};
        return multiply_parts<size>(parts<size>(before), factor);
    };
    const auto finish = [&](int row, int column, const auto &result) {
        aie::store_v(state + result_at<Micro>(shape, row, column), result.template to_vector<float>());
    };
    product<Micro>(shape, probabilities, v, start, finish);
}

/// Writes a row of micro-tiles `values(column)` of `From` into a row-major order of those of `To`, which are larger: C is in the order of the operands'.
template <typename From, typename To, typename Values>
inline void attention_store(int row, bfloat16 *UNDERTONE_RESTRICT c, const Values &values) {
    constexpr int size = From::r * From::t, columns = head_width / From::t;
    if constexpr (To::t == From::t) {
        // Their rows lie in one micro-tile, below each other.
        static_assert(To::r % From::r == 0);
        constexpr int high = To::r / From::r;
        bfloat16 *to = c + row / high * high * columns * size + row % high * size;
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; ++column) aie::store_v(to + column * high * size, values(column));
    } else {
        // Two of them side by side: their rows by turns.
        static_assert(To::r == From::r && To::t == 2 * From::t);
        bfloat16 *to = c + row * columns * size;
        UNDERTONE_PIPELINE
        for (int column = 0; column < columns; column += 2) {
            const auto both = aie::interleave_zip(values(column), values(column + 1), From::t);
            aie::store_v(to + column * size, both.first);
            aie::store_v(to + column * size + size, both.second);
        }
    }
}

/// Results divided by the probabilities' sums, to C; zeros if there was no key.
template <typename Target, typename Type, typename Tile>
inline void attention_end(Tile tile, float *UNDERTONE_RESTRICT state, bfloat16 *UNDERTONE_RESTRICT c) {
    using Micro = typename Target::Bf16;
    using Results = std::conditional_t<std::is_same_v<Type, int8_t>, typename Target::Int8, Micro>;
    using State = AttentionState<Type, Tile>;
    constexpr unsigned size = Micro::r * Micro::t;
    constexpr int lanes = State::lanes;
    set_modes();
    float *work = state + State::work(tile);
    for (int i = 0; i < tile.m(); i += lanes) {
        const Floats<lanes> sum = aie::load_v<lanes>(state + State::sums(tile) + i);
        const auto none = aie::lt(sum, all<lanes>(least_sum));
        aie::store_v(work + i, aie::select(reciprocal<lanes>(aie::max(sum, all<lanes>(least_sum))), aie::zeros<float, lanes>(), none));
    }
    for (int row = 0; row < tile.m() / Micro::r; ++row) {
        const Parts<size> factor = parts<size>(per_row<size, Micro::t>(work + row * Micro::r));
        attention_store<Micro, Results>(row, c, [&](int column) {
            const Floats<size> result = aie::load_v<size>(state + (row * (head_width / Micro::t) + column) * static_cast<int>(size));
            return to_bf16<size>(multiply_parts<size>(parts<size>(result), factor));
        });
    }
}

}  // namespace undertone
