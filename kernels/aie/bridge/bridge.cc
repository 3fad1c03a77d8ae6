#include "undertone-aie/bridge/bridge.h"

#include "linear.h"

namespace undertone::bridge {
namespace {

/// Bytes as the numbers that they are. They are read and written by copy only, so they may lie anywhere.
template <typename T>
const T *as(rust::Slice<const uint8_t> bytes) {
    return reinterpret_cast<const T *>(bytes.data());
}

template <typename T>
T *as(rust::Slice<uint8_t> bytes) {
    return reinterpret_cast<T *>(bytes.data());
}

/// `run` with the target as a type.
template <typename Run>
auto with_target(bool npu4, const Run &run) {
    return npu4 ? run(Npu4{}) : run(Npu1{});
}

}  // namespace

bool linear_int8(bool npu4, int32_t m, int32_t k, int32_t n, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<int32_t> sums, rust::Slice<uint8_t> c) {
    return with_target(npu4, [&](auto target) {
        return undertone::linear_int8<decltype(target)>(RuntimeTile{m, k, n}, as<int8_t>(a), as<int8_t>(b), sums.data(), as<bfloat16>(c)) != 0;
    });
}

bool linear_bf16(bool npu4, int32_t m, int32_t k, int32_t n, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<float> sums, rust::Slice<uint8_t> c) {
    return with_target(npu4, [&](auto target) {
        return undertone::linear_bf16<decltype(target)>(RuntimeTile{m, k, n}, as<bfloat16>(a), as<bfloat16>(b), sums.data(), as<bfloat16>(c)) != 0;
    });
}

}  // namespace undertone::bridge
