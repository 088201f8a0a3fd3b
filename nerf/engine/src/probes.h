// The rules of the occupancy grid: which cells are looked at, and when a cell counts as occupied; see
// nerf/rendering/occupancy.py.
#pragma once

#include <algorithm>

#include "random.h"

namespace nerf {

constexpr float OCCUPANCY_DECAY = 0.85f;  // of every value at each update
constexpr float LEAST_THICKNESS = 0.02f;  // optical thickness of a step above which a cell counts as occupied
constexpr int CELLS_PER_PROBE = 8;        // of the hull, at each update

inline int64_t probe_count(int64_t hull_cells) { return (hull_cells + CELLS_PER_PROBE - 1) / CELLS_PER_PROBE; }

// The cell, of `size` a side, at a position in [0, 1]^3.
inline int64_t cell_at(float x, float y, float z, int size) {
    const auto along = [size](float position) { return std::min(std::max(int(position * float(size)), 0), size - 1); };
    return (int64_t(along(x)) * size + along(y)) * size + along(z);
}

// Returns the cell, one of hull_cells, that probe i of update `number` looks into, and the point in it.
inline int32_t probe(uint64_t seed, uint64_t number, int64_t i, const int32_t* hull_cells, int64_t n_cells, int size,
                     float (&position)[3]) {
    const uint64_t index = (number << 32) + 2 * uint64_t(i);
    const uint64_t a = random_bits(seed, Stream::PROBE, index), b = random_bits(seed, Stream::PROBE, index + 1);
    const int32_t cell = hull_cells[((a >> 32) * uint64_t(n_cells)) >> 32];
    position[0] = (float(cell / (size * size)) + unit_float(b, 0)) / float(size);
    position[1] = (float(cell / size % size) + unit_float(b, 24)) / float(size);
    position[2] = (float(cell % size) + unit_float(a, 0)) / float(size);
    return cell;
}

// The value above which a cell is occupied. step_length: of the march, box sides; mean: of the values in the hull.
inline float occupied_above(float step_length, float mean) { return std::min(LEAST_THICKNESS / step_length, mean); }

}  // namespace nerf
