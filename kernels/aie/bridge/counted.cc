// The kernels once more, with a header that counts what a core's vector unit would do (`aie::host::Counts`). They and the header get names of their own,
// so that nothing here is taken for what bridge.cc has.
#include "undertone-aie/bridge/bridge.h"

#include "undertone-aie/bridge/ffi.rs.h"

#include <vector>

#define UNDERTONE_COUNT
#define aie aie_counted
#define bfloat16 bfloat16_counted
#define undertone undertone_counted
#include "attention.h"
#include "linear.h"
#undef undertone

namespace undertone::bridge {
namespace {

using namespace undertone_counted;

/// What `work` does.
template <typename Work>
Counts counted(const Work &work) {
    aie::host::counts = {};
    work();
    const auto &counts = aie::host::counts;
    return {counts.products, counts.macs, counts.additions, counts.comparisons, counts.conversions};
}

/// `run` with the target as a type and a value of the operands' type.
template <typename Run>
Counts with_core(Silicon silicon, bool int8, const Run &run) {
    const auto with_type = [&](auto target) { return int8 ? run(target, int8_t{}) : run(target, bfloat16{}); };
    return silicon == Silicon::Npu1 ? with_type(Npu1{}) : with_type(Npu4{});
}

}  // namespace

Counts counted_epilogue(Silicon silicon, bool int8, int32_t m, int32_t k, int32_t n, bool gelu) {
    return with_core(silicon, int8, [&](auto target, auto type) {
        using Type = decltype(type);
        const int values = m * k * static_cast<int>(sizeof(Type)) + (int8 ? 4 * m : 0);
        std::vector<float> a((control_at(values) + 4 * control_words) / 4), b(k * n + 2 * n), c(m * n);
        std::vector<LinearSum<Type>> sums(m * n);
        put(a.data(), control_at(values) / 4, gelu ? control_gelu : 0);
        return counted([&] {
            linear_finish<decltype(target)>(RuntimeTile{m, k, n}, reinterpret_cast<const Type *>(a.data()), reinterpret_cast<const Type *>(b.data()),
                                            sums.data(), reinterpret_cast<bfloat16 *>(c.data()));
        });
    });
}

Counts counted_attention(Core core, Stage stage) {
    return with_core(core.silicon, core.int8, [&](auto target, auto type) {
        using Target = decltype(target);
        using Type = decltype(type);
        const RuntimeTile tile{core.m, head_width, core.n};
        using State = AttentionState<Type, RuntimeTile>;
        std::vector<float> state(State::words(tile)), object(core.n * head_width), c(core.m * head_width);
        // All of the block is there: only the last one of a head is masked.
        put(state.data() + State::said(tile), said_keys, core.n);
        return counted([&] {
            switch (stage) {
                case Stage::Keys: return undertone_counted::attention_keys<Target>(tile, reinterpret_cast<const Type *>(object.data()), state.data(), 0);
                case Stage::Values: return undertone_counted::attention_values<Target, Type>(tile, reinterpret_cast<const bfloat16 *>(object.data()), state.data());
                case Stage::End: return undertone_counted::attention_end<Target, Type>(tile, state.data(), reinterpret_cast<bfloat16 *>(c.data()));
            }
        });
    });
}

}  // namespace undertone::bridge
