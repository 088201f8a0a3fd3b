// One layer of a multilayer perceptron without biases, for many samples at once: samples in lanes, weights broadcast.
//
// Activations are blocks of BLOCK samples; in a block, row k holds word k of every sample: [block][word][BLOCK], see
// Blocks. Outputs and inputs are padded to multiples of GROUP with zero weights, so that no loop has a remainder.
#pragma once

#include <vector>

#include "arithmetic.h"
#include "memory.h"

namespace nerf {

#if !defined(NERF_ONE_LANE)
// Rows of words of any number of samples, in blocks. Behind every block lies a row that nobody uses: without it equal
// rows of all blocks would share a few sets of the cache, and weights_vjp, which runs through them, would take a third
// longer.
template <class Word> class Blocks {
public:
    // Blocks that were there keep their words if the number of rows stays.
    void resize(int64_t blocks, int rows) {
        rows_ = rows;
        words_.resize(size_t(blocks) * apart());
    }
    int rows() const { return rows_; }
    size_t apart() const { return size_t(rows_ + 1) * BLOCK; }  // words, from a block to the next
    Word* block(int64_t index) { return words_.data() + index * apart(); }
    const Word* block(int64_t index) const { return words_.data() + index * apart(); }
    Word& at(int64_t sample, int row) { return block(sample / BLOCK)[row * BLOCK + sample % BLOCK]; }

private:
    int rows_ = 0;
    Buffer<Word> words_;
};
#endif

constexpr int GROUP = 4;  // outputs computed together

constexpr int padded(int count) { return (count + GROUP - 1) / GROUP * GROUP; }

// Packs of samples computed together: GROUP of them and GROUP outputs fill 32 registers; fewer where there are 16.
template <class T> constexpr int TOGETHER = REGISTER_BYTES == 64 ? (BLOCK / LANES<T> < 4 ? BLOCK / LANES<T> : 4)
                                            : LANES<T> == 1      ? 1
                                                                 : 2;

// What a layer's weights look like to the products: [group of outputs][input word][GROUP].
template <class A> struct Weights {
    int outputs = 0, inputs = 0;  // padded
    Buffer<typename A::Word> words;

    // Takes weights from a padded row-major matrix, or from its transpose.
    void pack(const typename A::Real* matrix, int rows, int columns, bool transpose) {
        outputs = transpose ? columns : rows;
        inputs = transpose ? rows : columns;
        words.resize(size_t(outputs) * inputs / A::DEPTH);
        auto* word = words.data();
        for (int group = 0; group < outputs; group += GROUP)
            for (int input = 0; input < inputs; input += A::DEPTH)
                for (int output = group; output < group + GROUP; ++output) {
                    typename A::Real numbers[A::DEPTH];
                    for (int part = 0; part < A::DEPTH; ++part)
                        numbers[part] = transpose ? matrix[size_t(input + part) * columns + output]
                                                  : matrix[size_t(output) * columns + input + part];
                    *word++ = A::word(numbers);
                }
    }
};

// out = weights * in for one block; calls finish(output, sample, sums) with GROUP x TOGETHER packs of sums.
// Only the first `outputs` outputs are computed.
template <class A, class Finish>
inline void product(const Weights<A>& weights, int outputs, const typename A::Word* in, Finish finish) {
    using Real = typename A::Real;
    constexpr int n = LANES<Real>, columns = TOGETHER<Real>;
    const int depth = weights.inputs / A::DEPTH;
    for (int output = 0; output < outputs; output += GROUP) {
        const auto* group = weights.words.data() + size_t(output) * depth;
        for (int sample = 0; sample < SPAN; sample += columns * n) {
            Pack<Real> sums[GROUP][columns] = {};
            for (int k = 0; k < depth; ++k) {
                Pack<typename A::Word> value[columns];
                for (int c = 0; c < columns; ++c) value[c] = load(in + k * BLOCK + sample + c * n);
                for (int j = 0; j < GROUP; ++j) {
                    const auto weight = splat(group[k * GROUP + j]);
                    for (int c = 0; c < columns; ++c) sums[j][c] = A::multiply_add(sums[j][c], value[c], weight);
                }
            }
            finish(output, sample, sums);
        }
    }
}

// Stores GROUP rows of sums as words, after `change` of every pack of words, given where it goes.
template <class A, class Change>
inline void store_words(typename A::Word* out, int output, int sample,
                        Pack<typename A::Real> (&sums)[GROUP][TOGETHER<typename A::Real>], Change change) {
    constexpr int n = LANES<typename A::Real>;
    for (int j = 0; j < GROUP; j += A::DEPTH)
        for (int c = 0; c < TOGETHER<typename A::Real>; ++c) {
            Pack<typename A::Real> rows[A::DEPTH];
            for (int part = 0; part < A::DEPTH; ++part) rows[part] = sums[j + part][c];
            auto* to = out + (output + j) / A::DEPTH * BLOCK + sample + c * n;
            store(to, change(A::words(rows), to));
        }
}

// Hidden layer, one block: relu(weights * in) as words.
template <class A> inline void hidden(const Weights<A>& weights, const typename A::Word* in, typename A::Word* out) {
    using Real = typename A::Real;
    product<A>(weights, weights.outputs, in, [&](int output, int sample, auto& sums) {
        for (auto& row : sums)
            for (auto& sum : row) sum = greatest(sum, Pack<Real>{});
        store_words<A>(out, output, sample, sums, [](auto words, auto*) { return words; });
    });
}

// The gradient by the words of a hidden layer's output `activation`, through the layer that read it, before its relu.
template <class A> inline void hidden_vjp(const Weights<A>& transposed, const typename A::Word* grad_out,
                                          const typename A::Word* activation, typename A::Word* grad_in) {
    product<A>(transposed, transposed.outputs, grad_out, [&](int output, int sample, auto& sums) {
        store_words<A>(grad_in, output, sample, sums, [&](auto words, auto* to) {
            return A::where_positive(words, load(activation + (to - grad_in)));
        });
    });
}

// Last layer, one block: weights * in as numbers [output][BLOCK]. Its gradient by the inputs is the same function
// with the transposed weights; `outputs` is how many rows are wanted.
template <class A>
inline void linear(const Weights<A>& weights, int outputs, const typename A::Word* in, typename A::Real* out) {
    constexpr int n = LANES<typename A::Real>;
    product<A>(weights, outputs, in, [&](int output, int sample, auto& sums) {
        for (int j = 0; j < GROUP; ++j)
            for (int c = 0; c < TOGETHER<typename A::Real>; ++c)
                store(out + (output + j) * BLOCK + sample + c * n, sums[j][c]);
    });
}

// Rows of numbers [row][BLOCK] as words.
template <class A> inline void to_words(const typename A::Real* numbers, int rows, typename A::Word* words) {
    constexpr int n = LANES<typename A::Real>;
    for (int row = 0; row < rows; row += A::DEPTH)
        for (int sample = 0; sample < SPAN; sample += n) {
            Pack<typename A::Real> parts[A::DEPTH];
            for (int part = 0; part < A::DEPTH; ++part) parts[part] = load(numbers + (row + part) * BLOCK + sample);
            store(words + row / A::DEPTH * BLOCK + sample, A::words(parts));
        }
}

// Sums of the products of ROWS rows of a and COLUMNS rows of b, lane by lane, over blocks that lie so many words apart.
template <class A, int ROWS, int COLUMNS>
inline void multiply_rows(const typename A::Word* a, size_t a_apart, const typename A::Word* b, size_t b_apart,
                          int64_t blocks, Pack<typename A::Real> (&sums)[ROWS * COLUMNS]) {
    constexpr int n = LANES<typename A::Real>, length = BLOCK / A::DEPTH;
    for (int64_t block = 0; block < blocks; ++block, a += a_apart, b += b_apart)
        for (int at = 0; at < SPAN / A::DEPTH; at += n) {
            Pack<typename A::Word> value[COLUMNS];
            for (int c = 0; c < COLUMNS; ++c) value[c] = load(b + c * length + at);
            for (int r = 0; r < ROWS; ++r) {
                const auto grad = load(a + r * length + at);
                for (int c = 0; c < COLUMNS; ++c)
                    sums[r * COLUMNS + c] = A::multiply_add(sums[r * COLUMNS + c], value[c], grad);
            }
        }
}

#if !defined(NERF_ONE_LANE)
// Rows of words that hold numbers of one sample each -> rows, DEPTH times as many and as short, whose words hold
// numbers that follow each other along the samples; `turned` is where they are kept if they are not the same.
template <class A> inline const Blocks<typename A::Word>& along_samples(const Blocks<typename A::Word>& from,
                                                                        int64_t blocks,
                                                                        Blocks<typename A::Word>& turned) {
    if constexpr (A::DEPTH == 1) {
        return from;
    } else {
        turned.resize(blocks, from.rows());
        for (int64_t block = 0; block < blocks; ++block) A::turn(from.block(block), from.rows(), turned.block(block));
        return turned;
    }
}

// grad_weights[j][k] += sum over the samples of all blocks of grad_out[j] * in[k]; (outputs, inputs) row-major, padded.
// Both operands run along samples.
template <class A> inline void weights_vjp(const Blocks<typename A::Word>& grad_out, const Blocks<typename A::Word>& in,
                                           int64_t blocks, typename A::Real* grad_weights) {
    using Real = typename A::Real;
    constexpr int n = LANES<Real>, length = BLOCK / A::DEPTH, columns = n / GROUP > 0 ? n / GROUP : 1,
                  rows = n / columns;
    const int outputs = grad_out.rows() * A::DEPTH, inputs = in.rows() * A::DEPTH;
    for (int j = 0; j < outputs; j += rows)
        for (int k = 0; k < inputs; k += columns) {
            Pack<Real> sums[n] = {};
            multiply_rows<A, rows, columns>(grad_out.block(0) + size_t(j) * length, grad_out.apart(),
                                            in.block(0) + size_t(k) * length, in.apart(), blocks, sums);
            const Pack<Real> total = sum_each<Real>(sums);
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < columns; ++c)
                    grad_weights[size_t(j + r) * inputs + k + c] += total[r * columns + c];
        }
}
#endif

// A layer between padded rows. Inputs may come in two parts, each padded: `split` of the first are true.
struct LayerShape {
    int outputs, inputs;                // true
    int padded_outputs, padded_inputs;  // as the products see them
    int split;

    LayerShape(int outputs, int inputs, int split)
        : outputs(outputs),
          inputs(inputs),
          padded_outputs(padded(outputs)),
          padded_inputs(padded(split) + padded(inputs - split)),
          split(split) {}

    size_t padded_size() const { return size_t(padded_outputs) * padded_inputs; }
    int padded_column(int column) const { return column < split ? column : column - split + padded(split); }
};

template <class A> struct Dense : LayerShape {
    size_t gradient;  // where its gradient starts among those of the network
    Weights<A> forward, transposed;

    Dense(int outputs, int inputs, int split, size_t gradient)
        : LayerShape(outputs, inputs, split), gradient(gradient) {}

    void load(const typename A::Real* weights) {
        std::vector<typename A::Real> matrix(padded_size());
        for (int row = 0; row < outputs; ++row)
            for (int column = 0; column < inputs; ++column)
                matrix[size_t(row) * padded_inputs + padded_column(column)] = weights[size_t(row) * inputs + column];
        forward.pack(matrix.data(), padded_outputs, padded_inputs, false);
        transposed.pack(matrix.data(), padded_outputs, padded_inputs, true);
    }

    // Takes the true entries out of a padded gradient.
    void unpad(const typename A::Real* from, typename A::Real* to) const {
        for (int row = 0; row < outputs; ++row)
            for (int column = 0; column < inputs; ++column)
                to[size_t(row) * inputs + column] = from[size_t(row) * padded_inputs + padded_column(column)];
    }
};

}  // namespace nerf
