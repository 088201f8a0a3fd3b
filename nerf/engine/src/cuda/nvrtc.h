// What the engine's headers name of the standard library and of GCC, for NVRTC, which has neither. What only the host
// calls is declared and never defined.
#pragma once

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;

inline void __builtin_prefetch(const void*) {}
inline int __builtin_clzll(unsigned long long value) { return __clzll(value); }

namespace std {

using ::abs;
using ::asinh;
using ::cos;
using ::log;
using ::memcpy;
using ::memset;
using ::pow;
using ::sin;
using ::size_t;
using ::sqrt;

template <class T> constexpr const T& min(const T& a, const T& b) { return b < a ? b : a; }
template <class T> constexpr const T& max(const T& a, const T& b) { return a < b ? b : a; }

template <class T> struct numeric_limits;
template <> struct numeric_limits<float> {
    static constexpr float infinity() { return __int_as_float(0x7f800000); }
};

template <class T, T VALUE> struct integral_constant {
    static constexpr T value = VALUE;
    constexpr operator T() const { return VALUE; }
};

template <class T> class vector {
public:
    vector();
    explicit vector(size_t size);
    T* data();
    const T* data() const;
    size_t size() const;
    T& operator[](size_t index);
    const T& operator[](size_t index) const;
    T& back();
    template <class... Values> void emplace_back(Values... values);
};

}  // namespace std
