// Packs: what one processor register holds, written with the compiler's vector extensions so that one text serves every
// instruction set. A pack of T has LANES<T> lanes; arithmetic, comparisons and `mask ? a : b` work lane by lane.
// On a GPU a thread is a lane: with NERF_ONE_LANE a pack is a number, and its neighbours are other threads.
//
// Maths calls are spelled nerf::exp and so on: a bare exp() would silently be the double function in some builds.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nerf {

#if defined(NERF_ONE_LANE)
constexpr int REGISTER_BYTES = 0;
#elif defined(__AVX512F__)
constexpr int REGISTER_BYTES = 64;
#elif defined(__AVX2__)
constexpr int REGISTER_BYTES = 32;
#else
constexpr int REGISTER_BYTES = 16;
#endif

#if defined(NERF_ONE_LANE)
template <class T> constexpr int LANES = 1;

template <class T> struct PackOf {
    using type = T;
};
#else
template <class T> constexpr int LANES = REGISTER_BYTES / int(sizeof(T));

template <class T> struct PackOf {
    typedef T type __attribute__((vector_size(REGISTER_BYTES)));
};
#endif
template <class T> using Pack = typename PackOf<T>::type;

template <class T> struct BitsOf;
template <> struct BitsOf<float> {
    using Signed = int32_t;
    using Unsigned = uint32_t;
};
template <> struct BitsOf<double> {
    using Signed = int64_t;
    using Unsigned = uint64_t;
};
// Integers as wide as T: a table row per lane.
template <class T> using Row = typename BitsOf<T>::Unsigned;
template <class T> using SignedRow = typename BitsOf<T>::Signed;

#if defined(NERF_ONE_LANE)
template <class T> inline Pack<T> load(const T* from) { return *from; }
template <class T> inline void store(T* to, Pack<T> value) { *to = value; }

// COUNT numbers, aligned to as many bytes as they fill: one access. (NVRTC makes a memcpy of bytes.)
template <int COUNT, class T> inline void copy_row(T* to, const T* from) {
    struct alignas(COUNT * sizeof(T)) Row {
        T numbers[COUNT];
    };
    *reinterpret_cast<Row*>(to) = *reinterpret_cast<const Row*>(from);
}
#else
template <class T> inline Pack<T> load(const T* from) {
    Pack<T> value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <class T> inline void store(T* to, Pack<T> value) { std::memcpy(to, &value, sizeof value); }

template <int COUNT, class T> inline void copy_row(T* to, const T* from) { std::memcpy(to, from, COUNT * sizeof(T)); }
#endif

template <class T> inline Pack<T> splat(T value) { return value - Pack<T>{}; }

template <class To, class From> inline To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To out;
    std::memcpy(&out, &value, sizeof out);
    return out;
}

inline float square_root(float value) { return std::sqrt(value); }
inline double square_root(double value) { return std::sqrt(value); }

template <class V> inline V least(V a, V b) { return a < b ? a : b; }
template <class V> inline V greatest(V a, V b) { return a > b ? a : b; }

#if defined(NERF_ONE_LANE)

template <class To, class From> inline To converted(From value) { return To(value); }

template <int ROWS, class T> inline void load_interleaved(const T* from, Pack<T>* rows) {
    for (int row = 0; row < ROWS; ++row) rows[row] = from[row];
}

template <int ROWS, class T> inline void store_interleaved(T* to, const Pack<T>* rows) {
    for (int row = 0; row < ROWS; ++row) to[row] = rows[row];
}

template <class T> inline Pack<T> sum_each(Pack<T>* rows) { return rows[0]; }

inline bool all_zero(float value) { return value == 0; }

// to[i] += weight * share[i], COUNT of them; other threads may add to the same numbers meanwhile.
template <int COUNT> inline void accumulate(float* to, float weight, const float* share) {
    for (int i = 0; i < COUNT; ++i) atomicAdd(to + i, weight * share[i]);
}

#else

template <class To, class From> inline To converted(From value) {
    if constexpr (std::is_arithmetic_v<From>)
        return To(value);
    else
        return __builtin_convertvector(value, To);
}

// to[i] += weight * share[i], COUNT of them.
template <int COUNT, class T> inline void accumulate(T* to, T weight, const T* share) {
    typedef T Numbers __attribute__((vector_size(COUNT * sizeof(T)), aligned(alignof(T)), may_alias));
    *reinterpret_cast<Numbers*>(to) += weight * *reinterpret_cast<const Numbers*>(share);
}

// A bit for every lane of a comparison's outcome that is true.
inline uint32_t lane_bits(Pack<int32_t> truth) {
#if defined(__AVX512F__)
    return _mm512_movepi32_mask(same_bits<__m512i>(truth));
#else
    uint32_t bits = 0;
    for (int lane = 0; lane < LANES<float>; ++lane) bits |= uint32_t(truth[lane] & 1) << lane;
    return bits;
#endif
}

// Writes the lanes of `from` whose bit is set to to[0], to[1] and so on, and nothing behind them.
template <class T> inline void copy_lanes(const T* from, uint32_t bits, T* to) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        const __m512i some = _mm512_maskz_compress_epi32(__mmask16(bits), _mm512_loadu_si512(from));
        // Compressed in the register: a compressing store takes some processors a hundred cycles.
        _mm512_mask_storeu_epi32(to, __mmask16((1u << __builtin_popcount(bits)) - 1), some);
        return;
    }
#endif
    for (; bits; bits &= bits - 1) *to++ = from[__builtin_ctz(bits)];
}

// Lanes of a and b one by one: a0 b0 a1 b1 ... ; `HALF` 0 gives the first LANES of them, 1 the rest.
template <class T, int HALF, int... LANE>
inline Pack<T> interleave(Pack<T> a, Pack<T> b, std::integer_sequence<int, LANE...>) {
    constexpr int n = LANES<T>;
    return __builtin_shufflevector(a, b, (HALF * n / 2 + LANE / 2 + LANE % 2 * n)...);
}

// Writes ROWS packs so that lane s of pack f lands at to[s * ROWS + f].
template <int ROWS, class T> inline void store_interleaved(T* to, const Pack<T>* rows) {
    if constexpr (ROWS == 1) {
        store(to, rows[0]);
    } else {
        constexpr auto lanes = std::make_integer_sequence<int, LANES<T>>();
        Pack<T> halves[ROWS];
        for (int row = 0; row < ROWS / 2; ++row) {
            halves[row] = interleave<T, 0>(rows[row], rows[row + ROWS / 2], lanes);
            halves[row + ROWS / 2] = interleave<T, 1>(rows[row], rows[row + ROWS / 2], lanes);
        }
        store_interleaved<ROWS / 2>(to, halves);
        store_interleaved<ROWS / 2>(to + LANES<T> * (ROWS / 2), halves + ROWS / 2);
    }
}

// Every second lane of a and then of b, from lane FIRST on.
template <class T, int FIRST, int... LANE>
inline Pack<T> every_second(Pack<T> a, Pack<T> b, std::integer_sequence<int, LANE...>) {
    return __builtin_shufflevector(a, b, (2 * LANE + FIRST)...);
}

// Reads ROWS packs of which lane s of pack f lies at from[s * ROWS + f].
template <int ROWS, class T> inline void load_interleaved(const T* from, Pack<T>* rows) {
    constexpr auto lanes = std::make_integer_sequence<int, LANES<T>>();
    Pack<T> packs[ROWS], halves[ROWS];
    for (int pack = 0; pack < ROWS; ++pack) packs[pack] = load(from + pack * LANES<T>);
    // Each round sorts one bit of the row to the front; after log2(ROWS) rounds the packs are the rows.
    for (int round = 1; round < ROWS; round *= 2) {
        for (int pair = 0; pair < ROWS / 2; ++pair) {
            halves[pair] = every_second<T, 0>(packs[2 * pair], packs[2 * pair + 1], lanes);
            halves[pair + ROWS / 2] = every_second<T, 1>(packs[2 * pair], packs[2 * pair + 1], lanes);
        }
        for (int pack = 0; pack < ROWS; ++pack) packs[pack] = halves[pack];
    }
    for (int row = 0; row < ROWS; ++row) rows[row] = packs[row];
}

// One round of sum_each: blocks of BLOCK lanes fold in two, a's halves into the first half and b's into the second.
template <class T, int BLOCK, int... LANE>
inline Pack<T> fold(Pack<T> a, Pack<T> b, std::integer_sequence<int, LANE...>) {
    constexpr int n = LANES<T>, half = BLOCK / 2;
    const Pack<T> first =
        __builtin_shufflevector(a, b, (LANE / BLOCK * BLOCK + LANE % half + LANE % BLOCK / half * n)...);
    const Pack<T> second =
        __builtin_shufflevector(a, b, (LANE / BLOCK * BLOCK + LANE % half + half + LANE % BLOCK / half * n)...);
    return first + second;
}

// Lane i of the result is the sum of the lanes of rows[i], i < LANES; overwrites rows.
template <class T, int BLOCK = LANES<T>> inline Pack<T> sum_each(Pack<T>* rows) {
    if constexpr (BLOCK == 1) {
        return rows[0];
    } else {
        constexpr auto lanes = std::make_integer_sequence<int, LANES<T>>();
        for (int row = 0; row < BLOCK / 2; ++row) rows[row] = fold<T, BLOCK>(rows[row], rows[row + BLOCK / 2], lanes);
        return sum_each<T, BLOCK / 2>(rows);
    }
}

inline float exp(float x) { return std::exp(x); }
inline double exp(double x) { return std::exp(x); }

inline Pack<double> exp(Pack<double> x) {
    for (int lane = 0; lane < LANES<double>; ++lane) x[lane] = std::exp(x[lane]);
    return x;
}

inline Pack<float> square_root(Pack<float> value) {
#if defined(__AVX512F__)
    return same_bits<Pack<float>>(_mm512_sqrt_ps(same_bits<__m512>(value)));
#else
    for (int lane = 0; lane < LANES<float>; ++lane) value[lane] = __builtin_sqrtf(value[lane]);
    return value;
#endif
}

inline bool all_zero(Pack<float> value) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(same_bits<__m512i>(value), same_bits<__m512i>(value)) == 0;
#else
    uint64_t words[REGISTER_BYTES / 8], any = 0;
    std::memcpy(words, &value, sizeof words);
    for (const uint64_t word : words) any |= word;
    return any == 0;
#endif
}

#endif

// exp of 32-bit lanes, within 2 units in the last place on [-87, 88]; clamped outside, so never infinite, zero or
// subnormal.
inline Pack<float> exp(Pack<float> x) {
    x = greatest(least(x, splat(88.0f)), splat(-87.0f));
    // Adding 1.5 * 2^23 rounds to the nearest whole number and leaves it in the low bits.
    const Pack<float> shifted = x * 1.44269504f + 12582912.0f;
    const Pack<float> whole = shifted - 12582912.0f;
    // ln 2 in two parts keeps the remainder exact.
    const Pack<float> r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Pack<float> series = splat(1.0f / 5040);
    constexpr float TERMS[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (const float term : TERMS) series = series * r + term;
    const auto exponent = (same_bits<Pack<uint32_t>>(shifted) << 23) + 0x3f800000u;
    return series * same_bits<Pack<float>>(exponent);
}

}  // namespace nerf
