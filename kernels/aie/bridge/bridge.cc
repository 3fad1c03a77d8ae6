#include "undertone-aie/bridge/bridge.h"

#include "undertone-aie/bridge/ffi.rs.h"

#include <cstdlib>

#include "attention.h"
#include "linear.h"
#include "trial.h"

#include "by_vectors.h"

namespace undertone::bridge {
namespace {

/// Bytes as the numbers that they are. They are read and written by copy only, so they may lie anywhere.
template <typename T, typename U>
auto as(rust::Slice<U> bytes) {
    return reinterpret_cast<std::conditional_t<std::is_const_v<U>, const T, T> *>(bytes.data());
}

/// `run` with the target as a type.
template <typename Run>
auto with_target(Silicon silicon, const Run &run) {
    switch (silicon) {
        case Silicon::Npu1: return run(Npu1{});
        case Silicon::Npu4: return run(Npu4{});
    }
    std::abort();
}

/// `run` with the target, queries' and keys' number format as values of those types, and queries × 64 × keys of a block.
template <typename Run>
auto with_core(Core core, const Run &run) {
    const RuntimeTile tile{core.m, head_width, core.n};
    return with_target(core.silicon, [&](auto target) { return core.int8 ? run(target, int8_t{}, tile) : run(target, bfloat16{}, tile); });
}

/// A step, and the epilogue if it is the last one.
template <typename Type, typename Sum>
void linear(Silicon silicon, RuntimeTile tile, bool last, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b, rust::Slice<Sum> sums,
            rust::Slice<uint8_t> c) {
    with_target(silicon, [&](auto target) {
        linear_step<decltype(target)>(tile, as<Type>(a), as<Type>(b), sums.data());
        if (last) linear_finish<decltype(target)>(tile, as<Type>(a), as<Type>(b), sums.data(), as<bfloat16>(c));
    });
}

}  // namespace

void linear_int8(Silicon silicon, int32_t m, int32_t k, int32_t n, bool last, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<int32_t> sums, rust::Slice<uint8_t> c) {
    linear<int8_t>(silicon, RuntimeTile{m, k, n}, last, a, b, sums, c);
}

void linear_bf16(Silicon silicon, int32_t m, int32_t k, int32_t n, bool last, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<float> sums, rust::Slice<uint8_t> c) {
    linear<bfloat16>(silicon, RuntimeTile{m, k, n}, last, a, b, sums, c);
}

bool attention_queries(Core core, int32_t columns, rust::Slice<const uint8_t> a, rust::Slice<float> state, int32_t column) {
    return with_core(core, [&](auto target, auto type, RuntimeTile tile) {
        using Type = decltype(type);
        return attention_queries<Type, LinearMicro<decltype(target), Type>>(tile, columns, as<Type>(a), state.data(), column) != 0;
    });
}

int32_t attention_blocks(Core core, rust::Slice<const float> state) {
    return with_core(core, [&](auto, auto type, RuntimeTile tile) { return undertone::attention_blocks<decltype(type)>(tile, state.data()); });
}

void attention_keys(Core core, rust::Slice<const uint8_t> k, rust::Slice<float> state, int32_t block) {
    with_core(core, [&](auto target, auto type, RuntimeTile tile) {
        undertone::attention_keys<decltype(target)>(tile, as<decltype(type)>(k), state.data(), block);
    });
}

void attention_values(Core core, rust::Slice<const uint8_t> v, rust::Slice<float> state) {
    with_core(core, [&](auto target, auto type, RuntimeTile tile) {
        undertone::attention_values<decltype(target), decltype(type)>(tile, as<bfloat16>(v), state.data());
    });
}

void attention_end(Core core, rust::Slice<float> state, rust::Slice<uint8_t> c) {
    with_core(core, [&](auto target, auto type, RuntimeTile tile) {
        undertone::attention_end<decltype(target), decltype(type)>(tile, state.data(), as<bfloat16>(c));
    });
}

int32_t attention_state_words(Core core) {
    return with_core(core, [](auto, auto type, RuntimeTile tile) { return AttentionState<decltype(type), RuntimeTile>::words(tile); });
}

void trial_answer(rust::Slice<const int32_t> a, rust::Slice<int32_t> c) { undertone::trial_answer(a.data(), c.data()); }

void exp2(rust::Slice<const float> x, rust::Slice<float> y) {
    by_vectors(x, x, y, [](const auto &values, const auto &) { return undertone::exp2<lanes>(values); });
}

void probability(rust::Slice<const float> x, rust::Slice<float> y) {
    by_vectors(x, x, y, [](const auto &values, const auto &) { return from_bf16<lanes>(undertone::probability<lanes>(values)); });
}

void gelu(rust::Slice<const float> x, rust::Slice<float> y) {
    by_vectors(x, x, y, [](const auto &values, const auto &) { return undertone::gelu<lanes>(values); });
}

void reciprocal(rust::Slice<const float> x, rust::Slice<float> y) {
    by_vectors(x, x, y, [](const auto &values, const auto &) { return undertone::reciprocal<lanes>(values); });
}

void product_of_parts(rust::Slice<const float> x, rust::Slice<const float> y, rust::Slice<float> products) {
    by_vectors(x, y, products, [](const auto &a, const auto &b) { return multiply_parts<lanes>(parts<lanes>(a), parts<lanes>(b)); });
}

void shift_round_saturate(rust::Slice<const int32_t> x, rust::Slice<int8_t> y, int32_t shift, uint32_t rounding, uint32_t saturation) {
    aie::set_rounding(static_cast<aie::rounding_mode>(rounding));
    aie::set_saturation(static_cast<aie::saturation_mode>(saturation));
    for (std::size_t i = 0; i < x.size(); i += lanes) {
        const aie::accum<acc32, lanes> sums(aie::load_v<lanes>(x.data() + i));
        aie::store_v(y.data() + i, sums.to_vector<int8_t>(shift));
    }
}

void round_to_bf16(rust::Slice<const float> x, rust::Slice<uint16_t> y, uint32_t rounding) {
    aie::set_rounding(static_cast<aie::rounding_mode>(rounding));
    for (std::size_t i = 0; i < x.size(); i += lanes) aie::store_v(as<bfloat16>(y) + i, to_bf16<lanes>(aie::load_v<lanes>(x.data() + i)));
}

}  // namespace undertone::bridge
