// The kernels as Rust calls them: any target, any tile, objects as bytes. Lengths and tiles were checked by the caller (lib.rs).
#pragma once

#include <cstdint>

#include "rust/cxx.h"

namespace undertone::bridge {

enum class Silicon : uint8_t;
enum class Stage : uint8_t;
struct Core;
struct Counts;

void linear_int8(Silicon silicon, int32_t m, int32_t k, int32_t n, bool last, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<int32_t> sums, rust::Slice<uint8_t> c);
void linear_bf16(Silicon silicon, int32_t m, int32_t k, int32_t n, bool last, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b,
                 rust::Slice<float> sums, rust::Slice<uint8_t> c);

bool attention_queries(Core core, int32_t columns, rust::Slice<const uint8_t> a, rust::Slice<float> state, int32_t column);
int32_t attention_blocks(Core core, rust::Slice<const float> state);
void attention_keys(Core core, rust::Slice<const uint8_t> k, rust::Slice<float> state, int32_t block);
void attention_values(Core core, rust::Slice<const uint8_t> v, rust::Slice<float> state);
void attention_end(Core core, rust::Slice<float> state, rust::Slice<uint8_t> c);
int32_t attention_state_words(Core core);

void trial_answer(rust::Slice<const int32_t> a, rust::Slice<int32_t> c);

// Functions of single numbers, 16 at a time, and the accumulator's way to int8: for tests of the header and of the polynomials.
void exp2(rust::Slice<const float> x, rust::Slice<float> y);
void probability(rust::Slice<const float> x, rust::Slice<float> y);
void gelu(rust::Slice<const float> x, rust::Slice<float> y);
void reciprocal(rust::Slice<const float> x, rust::Slice<float> y);
void product_of_parts(rust::Slice<const float> x, rust::Slice<const float> y, rust::Slice<float> products);
void shift_round_saturate(rust::Slice<const int32_t> x, rust::Slice<int8_t> y, int32_t shift, uint32_t rounding, uint32_t saturation);
void round_to_bf16(rust::Slice<const float> x, rust::Slice<uint16_t> y, uint32_t rounding);

// With UNDERTONE_SPLIT_PRODUCTS: products, reciprocals, and the epilogue of int8 sums for npu1, whose A and B have inner sides of 8.
void split_product(rust::Slice<const float> x, rust::Slice<const float> y, rust::Slice<float> products);
void split_reciprocal(rust::Slice<const float> x, rust::Slice<float> y);
void split_scaled(rust::Slice<const int32_t> sums, rust::Slice<const uint8_t> a, rust::Slice<const uint8_t> b, rust::Slice<uint8_t> c, int32_t m, int32_t n);

// What a core's vector unit does: in the epilogue of a tile, and for a block of keys, its values, and at the end.
Counts counted_epilogue(Silicon silicon, bool int8, int32_t m, int32_t k, int32_t n, bool gelu);
Counts counted_attention(Core core, Stage stage);

}  // namespace undertone::bridge
