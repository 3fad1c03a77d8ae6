// What depends on how an fp32 product is made, with the switch of floats.h in its other position.
#include "undertone-aie/bridge/bridge.h"

#define UNDERTONE_SPLIT_PRODUCTS 1
#define undertone undertone_split
#include "linear.h"
#undef undertone

#include "undertone-aie/bridge/ffi.rs.h"
#include "by_vectors.h"

namespace undertone::bridge {

void split_product(rust::Slice<const float> x, rust::Slice<const float> y, rust::Slice<float> products) {
    by_vectors(x, y, products, [](const auto &a, const auto &b) { return undertone_split::multiply<lanes>(a, b); });
}

void split_reciprocal(rust::Slice<const float> x, rust::Slice<float> y) {
    by_vectors(x, x, y, [](const auto &values, const auto &) { return undertone_split::reciprocal<lanes>(values); });
}

void split_scaled(rust::Slice<const int32_t> sums, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b, rust::Slice<uint8_t> c, int32_t m, int32_t n) {
    undertone_split::linear_finish<undertone_split::Npu1>(undertone_split::RuntimeTile{m, 8, n}, reinterpret_cast<const int8_t *>(a.data()), reinterpret_cast<const int8_t *>(b.data()), sums.data(),
                        reinterpret_cast<bfloat16 *>(c.data()));
}

}  // namespace undertone::bridge
