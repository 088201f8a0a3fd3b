// Multiresolution hash grid (Müller, Evans, Schied and Keller 2022, section 3), with tiny-cuda-nn's conventions; see
// nerf/ops/hash_grid.py, which makes the levels. Positions lie in [0, 1]^3; samples lie in lanes.
#pragma once

#include <type_traits>

#include "lanes.h"

namespace nerf {

// Same layout as Level in nerf/engine/signatures.py.
struct Level {
    float scale;         // lattice units per unit
    int32_t resolution;  // vertices a side
    int32_t rows;        // of the table
    int32_t hashed;      // 0: dense
};

constexpr int CORNERS = 8;

// The corners of the lattice cell round a position. Corner k takes the upper vertex along axis a where bit a of k is
// set.
template <class T> struct Corners {
    Pack<Row<T>> row[CORNERS];
    Pack<T> weight[CORNERS];
};

template <class T> inline Corners<T> corners(Pack<T> x, Pack<T> y, Pack<T> z, const Level& level) {
    using Rows = Pack<Row<T>>;
    const Pack<T> place[3] = {x, y, z};
    const Row<T> resolution = Row<T>(level.resolution);
    const Row<T> stride[3] = {1, level.hashed ? 2654435761u : resolution,
                              level.hashed ? 805459861u : resolution * resolution};
    Rows term[3][2];
    Pack<T> factor[3][2];
    for (int axis = 0; axis < 3; ++axis) {
        const Pack<T> on_lattice = place[axis] * T(level.scale) + T(0.5);
        // Never negative, so that truncation is floor.
        const auto lower = converted<Pack<SignedRow<T>>>(on_lattice);
        factor[axis][1] = on_lattice - converted<Pack<T>>(lower);
        factor[axis][0] = 1 - factor[axis][1];
        term[axis][0] = same_bits<Rows>(lower) * stride[axis];
        term[axis][1] = term[axis][0] + stride[axis];
    }
    Corners<T> out;
    const Row<T> rows = Row<T>(level.rows);
    for (int k = 0; k < CORNERS; ++k) {
        const Rows a = term[0][k & 1], b = term[1][k >> 1 & 1], c = term[2][k >> 2 & 1];
        if (level.hashed) {
            out.row[k] = (a ^ b ^ c) & (rows - 1);
        } else {
            // Upper faces reach at most one vertex past the lattice, where tiny-cuda-nn wraps too.
            const Rows row = a + b + c;
            out.row[k] = row >= rows ? row - rows : row;
        }
        out.weight[k] = factor[0][k & 1] * factor[1][k >> 1 & 1] * factor[2][k >> 2 & 1];
    }
    return out;
}

// Features of table rows, as they are stored: (rows, FEATURES) of T.
template <class T, int FEATURES> struct PlainTable {
    static constexpr int STRIDE = FEATURES;  // values a row
    using Value = T;

    static void add(const Pack<T> (&row)[STRIDE], Pack<T> weight, Pack<T>* features) {
        for (int f = 0; f < FEATURES; ++f) features[f] += weight * row[f];
    }
};

// Features rounded to bfloat16, two a 32-bit word: half the memory. One feature fills a word too.
template <int FEATURES> struct PackedTable {
    static constexpr int STRIDE = FEATURES == 1 ? 1 : FEATURES / 2;  // words a row
    using Value = uint32_t;

    static void add(const Pack<uint32_t> (&row)[STRIDE], Pack<float> weight, Pack<float>* features) {
        for (int word = 0; word < STRIDE; ++word) {
            features[2 * word] += weight * same_bits<Pack<float>>(row[word] << 16);
            if constexpr (FEATURES > 1)
                features[2 * word + 1] += weight * same_bits<Pack<float>>(row[word] & 0xffff0000u);
        }
    }

    static int64_t words(int64_t numbers) { return FEATURES == 1 ? numbers : numbers / 2; }

    // Rounds n numbers, whole words of them, to the nearest; ties upwards in magnitude.
    static void pack(const float* from, int64_t n, uint32_t* to) {
        const auto upper = [](float number) { return same_bits<uint32_t>(number) + 0x8000u; };
        if constexpr (FEATURES == 1) {
            for (int64_t i = 0; i < n; ++i) to[i] = upper(from[i]) >> 16;
        } else {
            for (int64_t i = 0; i < n / 2; ++i)
                to[i] = upper(from[2 * i]) >> 16 | (upper(from[2 * i + 1]) & 0xffff0000u);
        }
    }
};

// Calls work(std::integral_constant<int, F>) for the number of features of a vertex.
template <class Work> inline void with_features(int features, Work work) {
    switch (features) {
        case 1:
            return work(std::integral_constant<int, 1>());
        case 2:
            return work(std::integral_constant<int, 2>());
        case 4:
            return work(std::integral_constant<int, 4>());
        default:
            return work(std::integral_constant<int, 8>());
    }
}

// The trilinear interpolation of one level at LANES<T> positions. Rows are fetched by plain loads, all of them before
// the first is used: on the processors measured, gather instructions take two to four times as long.
template <class Table, class T, int FEATURES>
inline void interpolate(const typename Table::Value* rows, const Corners<T>& at, Pack<T> (&features)[FEATURES]) {
    constexpr int stride = Table::STRIDE;
    alignas(64) typename Table::Value fetched[CORNERS][LANES<T> * stride];
    for (int k = 0; k < CORNERS; ++k) {
        alignas(64) Row<T> row[LANES<T>];
        store(row, at.row[k]);
        for (int lane = 0; lane < LANES<T>; ++lane)
            copy_row<stride>(fetched[k] + lane * stride, rows + size_t(row[lane]) * stride);
    }
    for (auto& feature : features) feature = Pack<T>{};
    for (int k = 0; k < CORNERS; ++k) {
        Pack<typename Table::Value> row[stride];
        load_interleaved<stride>(fetched[k], row);
        Table::add(row, at.weight[k], features);
    }
}

// The vjp by the table of LANES<T> samples, the first `count` of which exist: adds weight * gradient to the corners'
// rows, sample after sample, so that the order of every sum is that of the samples. grad: (count, FEATURES).
template <class T, int FEATURES>
inline void interpolate_vjp(const Corners<T>& at, int count, const T* grad, T* grad_rows) {
    alignas(64) Row<T> row[CORNERS][LANES<T>];
    alignas(64) T weight[CORNERS][LANES<T>];
    for (int k = 0; k < CORNERS; ++k) {
        store(row[k], at.row[k] * Row<T>(FEATURES));
        store(weight[k], at.weight[k]);
    }
    for (int lane = 0; lane < count; ++lane)
        for (int k = 0; k < CORNERS; ++k)
            accumulate<FEATURES>(grad_rows + row[k][lane], weight[k][lane], grad + lane * FEATURES);
}

}  // namespace nerf
