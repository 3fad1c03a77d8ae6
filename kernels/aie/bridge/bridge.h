// The kernels as Rust calls them: any target, any tile, objects as bytes. Lengths and tiles were checked by the caller (lib.rs).
#pragma once

#include <cstdint>

#include "rust/cxx.h"

namespace undertone::bridge {

bool linear_int8(bool npu4, int32_t m, int32_t k, int32_t n, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<int32_t> sums, rust::Slice<uint8_t> c);
bool linear_bf16(bool npu4, int32_t m, int32_t k, int32_t n, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<float> sums, rust::Slice<uint8_t> c);

}  // namespace undertone::bridge
