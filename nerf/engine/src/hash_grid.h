// Multiresolution hash grid (Müller, Evans, Schied and Keller 2022, section 3), with tiny-cuda-nn's conventions; see
// nerf/ops/hash_grid.py, which makes the levels. Positions lie in [0, 1]^D; samples lie in lanes.
#pragma once

#include <type_traits>

#include "lanes.h"

namespace nerf {

// Read by nerf/engine/signatures.py.
struct Level {
    float scale;         // lattice units per unit
    int32_t resolution;  // vertices a side
    int32_t rows;        // of the table
    int32_t hashed;      // 0: dense
};

// The spatial hash of Teschner et al. 2003; the first is 1 for cache coherence.
constexpr uint32_t PRIMES[] = {1, 2654435761u, 805459861u, 3674653429u};

// A coordinate of a position, held in the cube, outside of which there are no rows; of one that is no number, 0.
template <class T> inline T in_unit(T along) { return along > 0 ? along < 1 ? along : T(1) : T(0); }

// The lattice cell round a position: its lower vertex and, by axis, the weights of its lower and its upper face.
template <class T, int D> struct Cell {
    Pack<SignedRow<T>> lower[D];
    Pack<T> factor[D][2];
};

template <class T, int D> inline Cell<T, D> cell(const Pack<T> (&position)[D], const Level& level) {
    Cell<T, D> out;
    for (int axis = 0; axis < D; ++axis) {
        const Pack<T> on_lattice = position[axis] * T(level.scale) + T(0.5);
        // Never negative, so that truncation is floor.
        out.lower[axis] = converted<Pack<SignedRow<T>>>(on_lattice);
        out.factor[axis][1] = on_lattice - converted<Pack<T>>(out.lower[axis]);
        out.factor[axis][0] = 1 - out.factor[axis][1];
    }
    return out;
}

// The corners of a cell. Corner k takes the upper vertex along axis a where bit a of k is set.
template <class T, int D = 3> struct Corners {
    static constexpr int COUNT = 1 << D;
    Pack<Row<T>> row[COUNT];
    Pack<T> weight[COUNT];
};

template <class T, int D> inline Corners<T, D> corners(const Cell<T, D>& here, const Level& level) {
    using Rows = Pack<Row<T>>;
    Row<T> stride[D];
    Rows term[D][2];
    for (int axis = 0; axis < D; ++axis) {
        const Row<T> dense = axis == 0 ? 1 : stride[axis - 1] * Row<T>(level.resolution);
        stride[axis] = level.hashed ? PRIMES[axis] : dense;
        term[axis][0] = same_bits<Rows>(here.lower[axis]) * stride[axis];
        term[axis][1] = term[axis][0] + stride[axis];
    }
    Corners<T, D> out;
    const Row<T> rows = Row<T>(level.rows);
    for (int k = 0; k < Corners<T, D>::COUNT; ++k) {
        Rows row = term[0][k & 1];
        out.weight[k] = here.factor[0][k & 1];
        for (int axis = 1; axis < D; ++axis) {
            const Rows next = term[axis][k >> axis & 1];
            row = level.hashed ? row ^ next : row + next;
            out.weight[k] *= here.factor[axis][k >> axis & 1];
        }
        // A dense level's upper faces reach at most one vertex past the lattice, where tiny-cuda-nn wraps too.
        out.row[k] = level.hashed ? row & (rows - 1) : row >= rows ? row - rows : row;
    }
    return out;
}

template <class T> inline Corners<T> corners(Pack<T> x, Pack<T> y, Pack<T> z, const Level& level) {
    return corners<T, 3>(cell<T, 3>({x, y, z}, level), level);
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

// Calls use(k, row) with the table rows of corner k of LANES<T> positions. Rows are fetched by plain loads, all of them
// before the first is used: on the processors measured, gather instructions take two to four times as long.
template <class Table, class T, int D, class Use>
inline void for_each_corner(const typename Table::Value* rows, const Corners<T, D>& at, Use use) {
    constexpr int stride = Table::STRIDE;
    alignas(64) typename Table::Value fetched[Corners<T, D>::COUNT][LANES<T> * stride];
    for (int k = 0; k < Corners<T, D>::COUNT; ++k) {
        alignas(64) Row<T> row[LANES<T>];
        store(row, at.row[k]);
        for (int lane = 0; lane < LANES<T>; ++lane)
            copy_row<stride>(fetched[k] + lane * stride, rows + size_t(row[lane]) * stride);
    }
    for (int k = 0; k < Corners<T, D>::COUNT; ++k) {
        Pack<typename Table::Value> row[stride];
        load_interleaved<stride>(fetched[k], row);
        use(k, row);
    }
}

// The multilinear interpolation of one level at LANES<T> positions.
template <class Table, class T, int FEATURES, int D>
inline void interpolate(const typename Table::Value* rows, const Corners<T, D>& at, Pack<T> (&features)[FEATURES]) {
    for (auto& feature : features) feature = Pack<T>{};
    for_each_corner<Table>(rows, at, [&](int k, const auto& row) { Table::add(row, at.weight[k], features); });
}

// The vjp by the position of LANES<T> samples, added to grad_position: the slope along an axis of a corner's weight is
// that of its factor there, times its other factors.
template <class Table, class T, int FEATURES, int D>
inline void interpolate_vjp_position(const typename Table::Value* rows, const Cell<T, D>& here, const Level& level,
                                     const Pack<T> (&grad)[FEATURES], Pack<T> (&grad_position)[D]) {
    for_each_corner<Table>(rows, corners(here, level), [&](int k, const auto& row) {
        Pack<T> features[FEATURES] = {}, share = {};
        Table::add(row, splat(T(level.scale)), features);
        for (int f = 0; f < FEATURES; ++f) share += features[f] * grad[f];
        for (int axis = 0; axis < D; ++axis) {
            Pack<T> slope = k >> axis & 1 ? share : -share;
            for (int other = 0; other < D; ++other)
                if (other != axis) slope *= here.factor[other][k >> other & 1];
            grad_position[axis] += slope;
        }
    });
}

// The vjp by the table of LANES<T> samples, the first `count` of which exist: adds weight * gradient to the corners'
// rows, sample after sample, so that the order of every sum is that of the samples. grad: (count, FEATURES).
template <class T, int FEATURES, int D>
inline void interpolate_vjp(const Corners<T, D>& at, int count, const T* grad, T* grad_rows) {
    alignas(64) Row<T> row[Corners<T, D>::COUNT][LANES<T>];
    alignas(64) T weight[Corners<T, D>::COUNT][LANES<T>];
    for (int k = 0; k < Corners<T, D>::COUNT; ++k) {
        store(row[k], at.row[k] * Row<T>(FEATURES));
        store(weight[k], at.weight[k]);
    }
    for (int lane = 0; lane < count; ++lane)
        for (int k = 0; k < Corners<T, D>::COUNT; ++k)
            accumulate<FEATURES>(grad_rows + row[k][lane], weight[k][lane], grad + lane * FEATURES);
}

}  // namespace nerf
