// Random numbers as a function of (seed, stream, index): nothing to save, nothing to restore on resume.
#pragma once

#include <cstdint>

namespace nerf {

// A bijective scramble of 64 bits (splitmix64; Steele, Lea and Flood 2014).
inline uint64_t scrambled(uint64_t value) {
    value += 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

// What numbers are for: streams never meet.
enum class Stream : uint64_t { SHUFFLE = 1, OFFSET, PROBE };

inline uint64_t random_bits(uint64_t seed, Stream stream, uint64_t index) {
    return scrambled(scrambled(scrambled(seed) ^ uint64_t(stream)) + index);
}

// In [0, 1): the 24 bits of `bits` that start at `from`, a whole multiple of 2^-24.
inline float unit_float(uint64_t bits, int from) { return float(bits >> from & 0xffffff) * 0x1p-24f; }

// Place `index` of a random order of 0 .. size - 1, without a table: every operation below is a bijection of the
// numbers with as many bits as size - 1 has; it is walked until it lands inside, which takes less than two rounds on
// average.
inline uint64_t shuffled(uint64_t index, uint64_t size, uint64_t key) {
    const int bits = size > 1 ? 64 - __builtin_clzll(size - 1) : 1;
    const uint64_t mask = (uint64_t(2) << (bits - 1)) - 1;
    do {
        uint64_t scramble = key;
        for (int round = 0; round < 4; ++round) {
            index = (index + (scramble >> 32)) * (scramble | 1) & mask;
            index ^= index >> ((bits + 1) / 2);
            scramble = scramble * 0x9E3779B97F4A7C15u + 1;
        }
    } while (index >= size);
    return index;
}

}  // namespace nerf
