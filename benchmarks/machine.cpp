// What one core of this machine can do at most, printed as JSON: multiply-adds, random accesses to memory, streams.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "../nerf/engine/src/arithmetic.h"
#include "../nerf/engine/src/memory.h"
#include "../nerf/engine/src/random.h"

using namespace nerf;

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// GFLOP/s of independent chains of multiply-adds that stay in registers: the best of some rounds.
template <class A> static double arithmetic() {
    constexpr int chains = REGISTER_BYTES == 64 ? 24 : 10, rounds = 2000000;
    double best = 0;
    for (int attempt = 0; attempt < 5; ++attempt) {
        Pack<float> sums[chains];
        Pack<typename A::Word> a = Pack<typename A::Word>{} + typename A::Word(1), b = a;
#pragma GCC unroll 32
        for (int i = 0; i < chains; ++i) sums[i] = Pack<float>{} + float(i);
        const double start = now();
        for (int round = 0; round < rounds; ++round) {
            asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 32
            for (int i = 0; i < chains; ++i) sums[i] = A::multiply_add(sums[i], a, b);
        }
        const double seconds = now() - start;
        Pack<float> total = sums[0];
#pragma GCC unroll 32
        for (int i = 1; i < chains; ++i) total += sums[i];
        asm volatile("" : : "v"(total));
        const double flop = 2.0 * LANES<float> * A::DEPTH * chains * rounds;
        best = flop / seconds / 1e9 > best ? flop / seconds / 1e9 : best;
    }
    return best;
}

// Nanoseconds of one access to a random row of WORDS 4-byte words in an array of `bytes`, a power of two.
template <int WORDS, bool CHANGE> static double access(size_t bytes) {
    const size_t rows = bytes / (4 * WORDS);
    Buffer<float> table;
    table.resize(rows * WORDS);
    constexpr int n = 1 << 16;
    std::vector<uint32_t> order(n);
    for (int i = 0; i < n; ++i) order[i] = uint32_t(scrambled(i) % rows) * WORDS;
    typedef float Values __attribute__((vector_size(4 * WORDS), aligned(4), may_alias));
    double best = 1e9;
    Values sums[8] = {};  // independent: no addition waits for the one before
    for (int attempt = 0; attempt < 9; ++attempt) {
        const double start = now();
        // A stride that changes with the attempt: in a large array every access misses anew.
        const uint32_t shift = uint32_t(scrambled(attempt + 1000) % rows) * WORDS, all = uint32_t(rows * WORDS) - 1;
#pragma GCC unroll 8
        for (int i = 0; i < n; ++i) {
            const uint32_t at = (order[i] + shift) & all;
            Values* const row = reinterpret_cast<Values*>(table.data() + at);
            if (CHANGE)
                *row += 1.0f;
            else
                sums[i % 8] += *row;
        }
        const double each = (now() - start) / n * 1e9;
        if (attempt > 0 && each < best) best = each;
        Values sum = sums[0];
        for (int i = 1; i < 8; ++i) sum += sums[i];
        asm volatile("" : : "x"(sum) : "memory");
    }
    return best;
}

// Bytes a nanosecond read and written again in order, in an array of `bytes`.
static double stream(size_t bytes) {
    const size_t n = bytes / sizeof(float);
    Buffer<float> numbers;
    numbers.resize(n);
    double best = 0;
    for (int attempt = 0; attempt < 9; ++attempt) {
        const int rounds = int((size_t(64) << 20) / bytes) + 1;
        const double start = now();
        for (int round = 0; round < rounds; ++round) {
            for (size_t at = 0; at < n; at += LANES<float>)
                store(numbers.data() + at, load(numbers.data() + at) * 0.5f + 1.0f);
            asm volatile("" : : : "memory");
        }
        const double rate = 2.0 * bytes * rounds / (now() - start) / 1e9;
        if (attempt > 0 && rate > best) best = rate;
    }
    return best;
}

int main() {
#if defined(__AVX512BF16__)
    const double dot = arithmetic<Bfloat16>();
#else
    const double dot = 0;
#endif
    std::printf("{\"fma_gflops\": %.1f, \"bf16_gflops\": %.1f, \"access\": [", arithmetic<Full<float>>(), dot);
    const size_t sizes[] = {32 << 10, 512 << 10, 2 << 20, 8 << 20, 32 << 20, 256 << 20};
    for (const size_t size : sizes)
        std::printf("%s{\"bytes\": %zu, \"read_8_ns\": %.3f, \"change_16_ns\": %.3f, \"stream\": %.2f}",
                    size == sizes[0] ? "" : ", ", size, access<2, false>(size), access<4, true>(size), stream(size));
    std::printf("]}\n");
}
