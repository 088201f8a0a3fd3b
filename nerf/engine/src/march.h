// Marching: a ray -> its samples in the occupied cells of a cube; see nerf/ops/march.py.
//
// Everything is in cube units: the cube is [0, 1]^3 and t stays in scene units, so that directions have length 1 /
// side. Sample i of a ray lies at t = near + (i + offset) * step and is left out if its cell is empty.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "memory.h"

namespace nerf {

// Which cells are occupied: a bit per cell, and two coarser grids of bytes that say where a whole block is empty.
class OccupancyBits {
public:
    static constexpr int SHIFTS[2] = {4, 2};  // blocks of 16^3 and of 4^3 cells

    int resolution() const { return resolution_; }

    void resize(int resolution) {
        resolution_ = resolution;
        bits_.resize(size_t(resolution) * resolution * resolution / 8 + 1);
        for (int level = 0; level < 2; ++level) {
            sides_[level] = ((resolution - 1) >> SHIFTS[level]) + 1;
            blocks_[level].resize(size_t(sides_[level]) * sides_[level] * sides_[level]);
        }
    }

    int slabs() const { return sides_[0]; }

    // Takes over one slab, 16 slices of x, of bytes (G, G, G), [x, y, z]. Slabs share no byte of what is written.
    void assign_slab(const uint8_t* occupied, int slab) {
        const size_t slice = size_t(resolution_) * resolution_;
        const int first = slab << SHIFTS[0], last = std::min(resolution_, first + (1 << SHIFTS[0]));
        std::memset(bits_.data() + first * slice / 8, 0, (last * slice + 7) / 8 - first * slice / 8);
        for (int level = 0; level < 2; ++level) {
            const size_t side = sides_[level], begin = first >> SHIFTS[level], end = ((last - 1) >> SHIFTS[level]) + 1;
            std::memset(blocks_[level].data() + begin * side * side, 0, (end - begin) * side * side);
        }
        for (int x = first; x < last; ++x)
            for (int y = 0; y < resolution_; ++y) {
                const size_t line = x * slice + size_t(y) * resolution_;
                for (int z = 0; z < resolution_; ++z) {
                    if (!occupied[line + z]) continue;
                    bits_[(line + z) >> 3] |= uint8_t(1 << ((line + z) & 7));
                    for (int level = 0; level < 2; ++level) blocks_[level][block(level, x, y, z)] = 1;
                }
            }
    }

    bool cell(int x, int y, int z) const {
        const size_t at = (size_t(x) * resolution_ + y) * resolution_ + z;
        return bits_[at >> 3] >> (at & 7) & 1;
    }

    // log2 of the side of an empty block round the cell, or -1 if the smallest block has an occupied cell.
    int empty_block(int x, int y, int z) const {
        for (int level = 0; level < 2; ++level)
            if (!blocks_[level][block(level, x, y, z)]) return SHIFTS[level];
        return -1;
    }

private:
    size_t block(int level, int x, int y, int z) const {
        const int shift = SHIFTS[level];
        return (size_t(x >> shift) * sides_[level] + (y >> shift)) * sides_[level] + (z >> shift);
    }

    int resolution_ = 0, sides_[2] = {};
    Buffer<uint8_t> bits_, blocks_[2];
};

// A ray on its way through the cube.
template <class T> struct March {
    T start[3], slope[3], inverse[3];  // cube units, cube units per scene unit, and its inverse
    T near = 0, offset = 0, step = 1, inverse_step = 1;
    int32_t next = 0, count = 0;  // the sample to look at next, and how many there are

    // origin: scene units; direction: of unit length. Source of the slab test: Kay and Kajiya 1986.
    March(const T* origin, const T* direction, const T* corner, T side, T step, T offset)
        : offset(offset), step(step), inverse_step(1 / step) {
        T enter = 0, leave = std::numeric_limits<T>::infinity();
        for (int axis = 0; axis < 3; ++axis) {
            start[axis] = (origin[axis] - corner[axis]) / side;
            slope[axis] = direction[axis] / side;
            inverse[axis] = 1 / slope[axis];
            const T to_corner = 1 / direction[axis];
            const T a = (corner[axis] - origin[axis]) * to_corner, b = (corner[axis] + side - origin[axis]) * to_corner;
            // 0 * infinity is nan for a ray in a face of the cube: such a face does not limit the interval.
            if (a != a || b != b) continue;
            enter = std::max(enter, std::min(a, b));
            leave = std::min(leave, std::max(a, b));
        }
        near = enter;
        const T samples = (leave - near) / step - offset + 1;
        count = samples > 0 ? int32_t(std::min(samples, T(1 << 30))) : 0;
    }

    T t() const { return near + (T(next) + offset) * step; }

    // Moves `next` to the next sample in an occupied cell; false if there is none. position: where it is, cube units.
    // bits: what OccupancyBits tells of the cells.
    template <class Bits> bool advance(const Bits& bits, T* position) {
        const int size = bits.resolution();
        for (; next < count; ++next) {
            const T here = t();
            int cell[3];
            for (int axis = 0; axis < 3; ++axis) {
                position[axis] = start[axis] + here * slope[axis];
                cell[axis] = std::min(std::max(int(position[axis] * T(size)), 0), size - 1);
            }
            if (bits.cell(cell[0], cell[1], cell[2])) return true;
            const int shift = bits.empty_block(cell[0], cell[1], cell[2]);
            if (shift >= 0) next = past_block(cell, shift, T(1) / T(size)) - 1;
        }
        return false;
    }

private:
    // The first sample that may lie beyond the block of 2^shift cells a side round `cell`.
    int32_t past_block(const int (&cell)[3], int shift, T cell_side) const {
        T leave = std::numeric_limits<T>::infinity();
        for (int axis = 0; axis < 3; ++axis) {
            const int face = ((cell[axis] >> shift) + (slope[axis] > 0)) << shift;
            const T t = (T(face) * cell_side - start[axis]) * inverse[axis];
            leave = t < leave ? t : leave;
        }
        // A thousandth of a step is more than the rounding of t: no sample of the next block is passed over.
        const T index = (leave - near) * inverse_step - offset + T(0.999);
        return index < T(count) ? std::max(next + 1, int32_t(index)) : count;
    }
};

}  // namespace nerf
