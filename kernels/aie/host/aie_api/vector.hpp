// Vectors, masks, and how they are loaded, stored, cut and put together.
#pragma once

#include "types.hpp"

#define UNDERTONE_INLINE inline __attribute__((always_inline))

namespace aie {

/// `Elems` numbers of one type, held by value.
template <typename T, unsigned Elems>
class vector {
public:
    using value_type = T;

    vector() = default;

    static constexpr unsigned size() { return Elems; }
    UNDERTONE_INLINE T operator[](unsigned index) const { return lanes[index]; }
    UNDERTONE_INLINE T get(unsigned index) const { return lanes[index]; }
    UNDERTONE_INLINE void set(T value, unsigned index) { lanes[index] = value; }

    /// The part number `index` of those with `Part` elements.
    template <unsigned Part>
    UNDERTONE_INLINE vector<T, Part> extract(unsigned index) const {
        static_assert(Elems % Part == 0);
        vector<T, Part> part;
        std::memcpy(part.lanes, lanes + index * Part, sizeof part.lanes);
        return part;
    }

    /// Writes the part number `index`.
    template <unsigned Part>
    UNDERTONE_INLINE vector &insert(unsigned index, const vector<T, Part> &part) {
        static_assert(Elems % Part == 0);
        std::memcpy(lanes + index * Part, part.lanes, sizeof part.lanes);
        return *this;
    }

    /// The same bits as other numbers.
    template <typename U>
    UNDERTONE_INLINE vector<U, Elems * sizeof(T) / sizeof(U)> cast_to() const {
        vector<U, Elems * sizeof(T) / sizeof(U)> other;
        std::memcpy(other.lanes, lanes, sizeof lanes);
        return other;
    }

    // Public for this header only; silicon's vectors are registers.
    T lanes[Elems];
};

/// One bit for each element.
template <unsigned Elems>
class mask {
    static_assert(Elems <= 32, "the kernels use no longer ones");

public:
    static mask from_uint32(uint32_t bits) { return mask{bits}; }
    UNDERTONE_INLINE bool test(unsigned index) const { return bits >> index & 1; }

    uint32_t bits = 0;
};

// Loads and stores copy: on the host an object may start at any byte. Silicon asks for vectors at multiples of their size (at most 32 bytes).
template <unsigned Elems, typename T>
UNDERTONE_INLINE vector<T, Elems> load_v(const T *from) {
    vector<T, Elems> value;
    std::memcpy(static_cast<void *>(value.lanes), static_cast<const void *>(from), sizeof value.lanes);
    return value;
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE void store_v(T *to, const vector<T, Elems> &value) {
    std::memcpy(static_cast<void *>(to), static_cast<const void *>(value.lanes), sizeof value.lanes);
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> broadcast(T value) {
    vector<T, Elems> all;
    for (unsigned i = 0; i < Elems; ++i) all.lanes[i] = value;
    return all;
}

template <typename T, unsigned Elems>
UNDERTONE_INLINE vector<T, Elems> zeros() {
    vector<T, Elems> all;
    std::memset(static_cast<void *>(all.lanes), 0, sizeof all.lanes);
    return all;
}

}  // namespace aie
