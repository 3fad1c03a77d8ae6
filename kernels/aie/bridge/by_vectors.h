// Functions of single numbers over slices, vector by vector. Included behind the kernels, whose namespace may have another name.
#pragma once

namespace undertone::bridge {

inline constexpr unsigned lanes = 16;

/// Lengths are equal, and multiples of a vector's.
template <typename Function>
void by_vectors(rust::Slice<const float> x, rust::Slice<const float> y, rust::Slice<float> to, const Function &function) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    aie::set_saturation(aie::saturation_mode::saturate);
    for (std::size_t i = 0; i < x.size(); i += lanes) {
        aie::store_v(to.data() + i, function(aie::load_v<lanes>(x.data() + i), aie::load_v<lanes>(y.data() + i)));
    }
}

}  // namespace undertone::bridge
