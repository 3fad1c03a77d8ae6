// What a core is asked before it is trusted with a layer: a question comes as one object, the answer goes as another.
//
// Both are 16 words of control, then 4096 bytes. Control: what is asked, how often it is computed (for a host that finds out how long it takes: cores
// have a counter of cycles, but Peano has no function that reads it), and a number that some questions want.
//
// Loads and stores: of vectors of 16, 32 or 64 bytes at each offset. Arithmetic: 512 words a, 512 words b; 512 results.
#pragma once

#include "floats.h"

namespace undertone {

inline constexpr int trial_data = 1024, trial_values = 512;

/// What can be asked, as `kernels/src/npu/ladder/question.rs` has it.
enum TrialQuestion : int32_t {
    trial_loads16,
    trial_loads32,
    trial_loads64,
    trial_stores16,
    trial_stores32,
    trial_stores64,
    trial_product,
    trial_mac,
    trial_low_product,
    trial_split_product,
    trial_sum,
    trial_difference,
    trial_exp2,
    trial_probability,
    trial_gelu,
    trial_reciprocal,
    trial_larger,
    trial_less,
    trial_to_bf16,
    trial_to_float,
    trial_to_int32,
    trial_to_int8,
    trial_questions,
};

/// The vector at each of the offsets 0 to 63 of the data, one behind the other.
template <unsigned Bytes>
inline void trial_loads(const int8_t *from, int8_t *to) {
    UNDERTONE_ROLLED
    for (int offset = 0; offset < 64; ++offset) aie::store_v(to + offset * static_cast<int>(Bytes), aie::load_v<Bytes>(from + offset));
}

/// Windows of 128 bytes of zeros; in each the first vector of the data at the next offset, from `first` on.
template <unsigned Bytes>
inline void trial_stores(const int8_t *from, int8_t *to, int first) {
    const auto value = aie::load_v<Bytes>(from);
    UNDERTONE_ROLLED
    for (int at = 0; at < 4 * trial_data; at += 64) aie::store_v(to + at, aie::zeros<int8_t, 64>());
    UNDERTONE_ROLLED
    for (int window = 0; window < 32; ++window) aie::store_v(to + 128 * window + (first + window) % 64, value);
}

/// `function` of each vector of a and of b. In a loop of its own: the compiler can't compute it once for all turns, since it doesn't know that `to` lies
/// elsewhere.
template <typename Result, typename Function>
inline void trial_each(int turns, const float *a, Result *to, const Function &function) {
    constexpr unsigned lanes = 16;
    UNDERTONE_ROLLED
    for (int turn = 0; turn < turns; ++turn) {
        UNDERTONE_ROLLED
        for (int i = 0; i < trial_values; i += static_cast<int>(lanes)) {
            aie::store_v(to + i, function(aie::load_v<lanes>(a + i), aie::load_v<lanes>(a + trial_values + i)));
        }
    }
}

/// Answers a question; one that it doesn't know with zeros.
inline void trial_answer(const int32_t *question, int32_t *answer) {
    constexpr unsigned lanes = 16;
    using Values = Floats<lanes>;
    set_modes();
    const int32_t asked = question[0], turns = question[1], first = question[2];
    UNDERTONE_ROLLED
    for (int i = 0; i < control_words + trial_data; ++i) answer[i] = i < control_words ? question[i] : 0;
    const auto *a = reinterpret_cast<const float *>(question + control_words);
    auto *to = reinterpret_cast<float *>(answer + control_words);
    const auto *bytes = reinterpret_cast<const int8_t *>(a);
    auto *out = reinterpret_cast<int8_t *>(to);
    const auto each = [&](const auto &function) { trial_each(turns, a, to, function); };
    // Adding 1.5 · 2^23 leaves the nearest whole number in the lowest bits.
    const Values shift = all<lanes>(magic);
    const auto whole = [&](const Values &x) {
        return aie::sub(aie::add(x, shift).template cast_to<int32_t>(), shift.template cast_to<int32_t>());
    };
    switch (asked) {
        case trial_loads16: trial_loads<16>(bytes, out); break;
        case trial_loads32: trial_loads<32>(bytes, out); break;
        case trial_loads64: trial_loads<64>(bytes, out); break;
        case trial_stores16: trial_stores<16>(bytes, out, first); break;
        case trial_stores32: trial_stores<32>(bytes, out, first); break;
        case trial_stores64: trial_stores<64>(bytes, out, first); break;
        case trial_product: each([](const Values &x, const Values &y) { return multiply<lanes>(x, y); }); break;
        case trial_mac: {
            // 512 bf16 values, 512 more, and 512 of fp32 to which their products are added.
            const auto *left = reinterpret_cast<const bfloat16 *>(a);
            const auto *right = left + trial_values;
            UNDERTONE_ROLLED
            for (int turn = 0; turn < turns; ++turn) {
                UNDERTONE_ROLLED
                for (int i = 0; i < trial_values; i += static_cast<int>(lanes)) {
                    const auto start = sums<lanes>(aie::load_v<lanes>(a + trial_values + i));
                    aie::store_v(to + i, aie::mac(start, aie::load_v<lanes>(left + i), aie::load_v<lanes>(right + i)).template to_vector<float>());
                }
            }
            break;
        }
        case trial_low_product:
            each([](const Values &x, const Values &y) { return multiply_parts<lanes>(parts<lanes>(x), parts<lanes>(y)); });
            break;
        case trial_split_product:
            each([](const Values &x, const Values &y) { return multiply_parts<lanes>(parts<lanes, 3>(x), parts<lanes, 3>(y)); });
            break;
        case trial_sum: each([](const Values &x, const Values &y) { return aie::add(x, y); }); break;
        case trial_difference: each([](const Values &x, const Values &y) { return aie::sub(x, y); }); break;
        case trial_exp2: each([](const Values &x, const Values &) { return exp2<lanes>(x); }); break;
        case trial_probability:
            each([](const Values &x, const Values &) { return from_bf16<lanes>(probability<lanes>(x)); });
            break;
        case trial_gelu: each([](const Values &x, const Values &) { return gelu<lanes>(x); }); break;
        case trial_reciprocal: each([](const Values &x, const Values &) { return reciprocal<lanes>(x); }); break;
        case trial_larger: each([](const Values &x, const Values &y) { return aie::max(x, y); }); break;
        case trial_less:
            each([](const Values &x, const Values &y) {
                return aie::select(aie::zeros<float, lanes>(), all<lanes>(1.0F), aie::lt(x, y));
            });
            break;
        // 512 values of two bytes.
        case trial_to_bf16: trial_each(turns, a, reinterpret_cast<bfloat16 *>(to), [](const Values &x, const Values &) { return to_bf16<lanes>(x); }); break;
        case trial_to_float:
            each([](const Values &x, const Values &) { return aie::to_float(x.template cast_to<int32_t>()); });
            break;
        case trial_to_int32: each([&](const Values &x, const Values &) { return whole(x).template cast_to<float>(); }); break;
        case trial_to_int8:
            // 32 values at a time: an accumulator gives whole vectors of int8.
            UNDERTONE_ROLLED
            for (int turn = 0; turn < turns; ++turn) {
                UNDERTONE_ROLLED
                for (int i = 0; i < trial_values; i += 32) {
                    Words<32> values;
                    values.insert(0, whole(aie::load_v<lanes>(a + i)));
                    values.insert(1, whole(aie::load_v<lanes>(a + i + 16)));
                    aie::accum<acc32, 32> sums;
                    sums.from_vector(values);
                    aie::store_v(out + i, sums.template to_vector<int8_t>());
                }
            }
            break;
        default: break;
    }
}

}  // namespace undertone
