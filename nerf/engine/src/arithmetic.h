// Two arithmetics for matrix products over samples, behind one interface.
//
// A Word is what one lane multiplies at once: DEPTH numbers that follow each other along the axis that is summed.
// Full<T>: a word is one T. Bfloat16: a word is two bfloat16, the first in the low half, summed in float.
#pragma once

#include "lanes.h"

namespace nerf {

constexpr int BLOCK = 64;  // samples whose activations lie side by side: rows of BLOCK words
// Samples of a block that one caller works on: all, or the one that a GPU thread was given a pointer to.
#if defined(NERF_ONE_LANE)
constexpr int SPAN = 1;
#else
constexpr int SPAN = BLOCK;
#endif

template <class T> struct Full {
    using Real = T;
    using Word = T;
    static constexpr int DEPTH = 1;

    static Pack<T> multiply_add(Pack<T> sum, Pack<T> a, Pack<T> b) { return sum + a * b; }
    static Word word(const T* numbers) { return *numbers; }
    static Pack<T> words(const Pack<T>* rows) { return *rows; }
    // Keeps the words of `value` where those of `activation`, never negative, are above zero.
    static Pack<T> where_positive(Pack<T> value, Pack<T> activation) { return activation > 0 ? value : Pack<T>{}; }
};

#if defined(__AVX512BF16__)
struct Bfloat16 {
    using Real = float;
    using Word = uint32_t;
    static constexpr int DEPTH = 2;

    static Pack<float> multiply_add(Pack<float> sum, Pack<Word> a, Pack<Word> b) {
        return same_bits<Pack<float>>(
            _mm512_dpbf16_ps(same_bits<__m512>(sum), same_bits<__m512bh>(a), same_bits<__m512bh>(b)));
    }

    static Word word(const float* numbers) {
        const auto rounded = [](float number) {
            const uint32_t bits = same_bits<uint32_t>(number);
            return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        };
        return rounded(numbers[0]) | rounded(numbers[1]) << 16;
    }

    // Lane s: the numbers of rows 0 and 1 at sample s, rounded to nearest even.
    static Pack<Word> words(const Pack<float>* rows) {
        const auto halves =
            same_bits<__m512i>(_mm512_cvtne2ps_pbh(same_bits<__m512>(rows[1]), same_bits<__m512>(rows[0])));
        alignas(64) static constexpr uint16_t ORDER[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
        return same_bits<Pack<Word>>(_mm512_permutexvar_epi16(_mm512_load_si512(ORDER), halves));
    }

    static Pack<Word> where_positive(Pack<Word> value, Pack<Word> activation) {
        const auto bits = same_bits<__m512i>(activation);
        return same_bits<Pack<Word>>(
            _mm512_maskz_mov_epi16(_mm512_test_epi16_mask(bits, bits), same_bits<__m512i>(value)));
    }

    // Turns rows of words of BLOCK samples, two numbers of one sample each, into twice as many rows of half the length
    // whose words hold one number of two samples.
    static void turn(const Word* from, int n_rows, Word* to) {
        constexpr int n = LANES<Word>;
        for (int row = 0; row < n_rows; ++row)
            for (int part = 0; part < BLOCK / (2 * n); ++part) {
                const Word* pair = from + row * BLOCK + part * 2 * n;
                const Pack<Word> a = load(pair), b = load(pair + n);
                store(to + row * BLOCK + part * n, (a & 0xffffu) | (b << 16));
                store(to + row * BLOCK + BLOCK / 2 + part * n, (a >> 16) | (b & 0xffff0000u));
            }
    }
};
#endif

}  // namespace nerf
