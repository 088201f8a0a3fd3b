// Marching: a ray -> its samples in the occupied cells of a cube; see nerf/ops/march.py.
//
// Everything is in cube units: the cube is [0, 1]^3 and t stays in scene units, so that directions have length 1 /
// side. Sample i of a ray lies at t = near + (i + offset) * step and is left out if its cell is empty. Contracted space
// is marched by s instead of t; start is then relative to its centre, in scene units.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "contraction.h"
#include "lanes.h"
#include "memory.h"

namespace nerf {

// Scalars and packs behind one name: whole numbers, and the entries of a table that they point at.
template <class T> struct WholeOf {
    using type = int32_t;
};
template <> struct WholeOf<Pack<float>> {
    using type = Pack<int32_t>;
};
template <class V> using Whole = typename WholeOf<V>::type;

template <class T> inline int32_t truncated(T value) { return int32_t(value); }
inline Pack<int32_t> truncated(Pack<float> value) { return __builtin_convertvector(value, Pack<int32_t>); }
template <class T> inline T converted(int32_t value) { return T(value); }
template <class V> inline V converted(Pack<int32_t> value) { return __builtin_convertvector(value, V); }

template <class Entry> inline int32_t entry(const Entry* table, int32_t at) { return int32_t(table[at]); }
template <class Entry> inline Pack<int32_t> entry(const Entry* table, Pack<int32_t> at) {
    alignas(64) int32_t lane[LANES<float>];
    store(lane, at);
    for (int32_t& value : lane) value = int32_t(table[value]);
    return load(lane);
}

// Which cells are occupied: a bit per cell, and for blocks of cells how far everything round them is empty.
class OccupancyBits {
public:
    static constexpr int COARSE = 4, FINE = 2;  // log2 of the cells along a side of a block

    int resolution() const { return resolution_; }

    void resize(int resolution) {
        resolution_ = resolution;
        bits_.resize(size_t(resolution) * resolution * resolution / 16 + 1);
        side_ = ((resolution - 1) >> FINE) + 1;
        empty_.resize(size_t(side_) * side_ * side_);
    }

    int slabs() const { return ((resolution_ - 1) >> COARSE) + 1; }

    // Takes over one slab, 16 slices of x, of bytes (G, G, G), [x, y, z]. Slabs share nothing of what is written.
    void assign_slab(const uint8_t* occupied, int slab) {
        const size_t slice = size_t(resolution_) * resolution_, begin = (size_t(slab) << COARSE) * slice,
                     end = std::min(begin + (slice << COARSE), slice * resolution_);
        std::fill(bits_.begin() + begin / 16, bits_.begin() + (end + 15) / 16, uint16_t(0));
        for (size_t cell = begin; cell < end; ++cell) bits_[cell / 16] |= uint16_t((occupied[cell] != 0) << cell % 16);
        const int coarse_side = slabs(), step = 1 << (COARSE - FINE);
        for (int y = 0; y < coarse_side; ++y)
            for (int z = 0; z < coarse_side; ++z) {
                const int block[3] = {slab * step, y * step, z * step};
                bool any = false;
                each_block(block, [&](uint8_t& empty, const int (&fine)[3]) {
                    const bool matter = has_matter(fine);
                    empty = matter ? 0 : FINE;
                    any |= matter;
                });
                if (!any) each_block(block, [&](uint8_t& empty, const int (&)[3]) { empty = COARSE; });
            }
    }

    // 1 for an occupied cell, 0 for an empty one.
    template <class I> I cell(I x, I y, I z) const {
        const I at = (x * resolution_ + y) * resolution_ + z;
        return entry(bits_.data(), at >> 4) >> (at & 15) & 1;
    }

    // log2 of the side of an empty block round the cell, or 0 if the smallest block has an occupied cell.
    template <class I> I empty_block(I x, I y, I z) const {
        return entry(empty_.data(), ((x >> FINE) * side_ + (y >> FINE)) * side_ + (z >> FINE));
    }

private:
    // The fine blocks of the coarse one that begins at fine block `first`.
    template <class Work> void each_block(const int (&first)[3], Work work) {
        const auto end = [&](int axis) { return std::min(first[axis] + (1 << (COARSE - FINE)), side_); };
        int at[3];
        for (at[0] = first[0]; at[0] < end(0); ++at[0])
            for (at[1] = first[1]; at[1] < end(1); ++at[1])
                for (at[2] = first[2]; at[2] < end(2); ++at[2])
                    work(empty_[(size_t(at[0]) * side_ + at[1]) * side_ + at[2]], at);
    }

    bool has_matter(const int (&block)[3]) const {
        const auto end = [&](int axis) { return std::min((block[axis] + 1) << FINE, resolution_); };
        for (int x = block[0] << FINE; x < end(0); ++x)
            for (int y = block[1] << FINE; y < end(1); ++y)
                for (int z = block[2] << FINE; z < end(2); ++z)
                    if (cell(x, y, z)) return true;
        return false;
    }

    int32_t resolution_ = 0, side_ = 0;  // cells, fine blocks
    Buffer<uint16_t> bits_;
    Buffer<uint8_t> empty_;
};

// A ray on its way through the cube; as a March of packs, one ray a lane.
template <class V> struct March {
    using I = Whole<V>;

    V start[3], slope[3], inverse[3];  // cube units, cube units per scene unit, and its inverse
    V near, offset;                    // scene units, steps
    V middle, reach;                   // of the ray in contracted space, see Stretch
    I next, count;                     // the sample to look at next, and how many there are

    V t(V step) const { return near + (converted<V>(next) + offset) * step; }
    template <class T> V t(V step, const Contraction<T>& space) const {
        return Stretch<V>{middle, reach}.t(t(step), space.radius);
    }

    // Looks at sample `next`, which must exist. position: where it is, cube units.
    // Returns the sample to look at after it: `next` itself if its cell is occupied.
    I look(const OccupancyBits& bits, V step, V inverse_step, V* position) const {
        const int32_t size = bits.resolution();
        const V here = t(step), cell_side = (V{} + 1) / float(size);
        I cell[3];
        for (int axis = 0; axis < 3; ++axis) {
            position[axis] = start[axis] + here * slope[axis];
            const I whole = truncated(position[axis] * float(size));
            cell[axis] = least(greatest(whole, I{}), I{} + (size - 1));
        }
        const I shift = bits.empty_block(cell[0], cell[1], cell[2]);
        V leave = V{} + std::numeric_limits<float>::infinity();
        for (int axis = 0; axis < 3; ++axis) {
            const I face = ((cell[axis] >> shift) + (slope[axis] > 0 ? I{} + 1 : I{})) << shift;
            leave = least((converted<V>(face) * cell_side - start[axis]) * inverse[axis], leave);
        }
        // A thousandth of a step is more than the rounding of t: no sample of the next block is passed over.
        const V index = greatest((leave - near) * inverse_step - offset + 0.999f, V{});
        const I beyond = index < converted<V>(count) ? greatest(next + 1, truncated(index)) : count;
        const I empty = shift > 0 ? beyond : next + 1;
        return bits.cell(cell[0], cell[1], cell[2]) > 0 ? next : empty;
    }

    // The same at `here` in contracted space, where a sample may also lie outside the cube.
    template <class T>
    I look(const OccupancyBits& bits, V here, V inverse_step, const Contraction<T>& space, V* position) const {
        const int32_t size = bits.resolution();
        const V cell_side = (V{} + 1) / float(size);
        space.unit_position(start, slope, here, position);
        I cell[3];
        V outside{}, inside = V{} + 1;
        for (int axis = 0; axis < 3; ++axis) {
            outside = greatest(outside, greatest(-position[axis], position[axis] - 1));
            cell[axis] = least(greatest(truncated(position[axis] * float(size)), I{}), I{} + (size - 1));
        }
        const I shift = bits.empty_block(cell[0], cell[1], cell[2]);
        for (int axis = 0; axis < 3; ++axis) {
            const I first = (cell[axis] >> shift) << shift, last = first + ((I{} + 1) << shift);
            inside = least(inside, least(position[axis] - converted<V>(first) * cell_side,
                                         converted<V>(last) * cell_side - position[axis]));
        }
        // Positions move at most as fast as s: the samples before that distance are in the same empty place.
        const V empty = (outside > 0 ? outside : inside) * space.side * inverse_step;
        const I beyond = next + greatest(truncated(least(empty, V{} + 1e6f)), I{} + 1);
        const I matter = bits.cell(cell[0], cell[1], cell[2]);
        return outside > 0 ? beyond : matter > 0 ? next : beyond;
    }
};

// A ray before its first sample. origin, corner, side, step: scene units; direction: of unit length.
// Source of the slab test: Kay and Kajiya 1986.
template <class T>
inline March<T> begin_march(const T* origin, const T* direction, const T* corner, T side, T step, T offset) {
    March<T> ray;
    T enter = 0, leave = std::numeric_limits<T>::infinity();
    for (int axis = 0; axis < 3; ++axis) {
        ray.start[axis] = (origin[axis] - corner[axis]) / side;
        ray.slope[axis] = direction[axis] / side;
        ray.inverse[axis] = 1 / ray.slope[axis];
        const T to_corner = 1 / direction[axis];
        const T a = (corner[axis] - origin[axis]) * to_corner, b = (corner[axis] + side - origin[axis]) * to_corner;
        // 0 * infinity is nan for a ray in a face of the cube: such a face does not limit the interval.
        if (a != a || b != b) continue;
        enter = std::max(enter, std::min(a, b));
        leave = std::min(leave, std::max(a, b));
    }
    ray.near = enter;
    ray.middle = ray.reach = 0;
    ray.offset = offset;
    ray.next = 0;
    const T samples = (leave - enter) / step - offset + 1;
    ray.count = samples > 0 ? int32_t(std::min(samples, T(1 << 30))) : 0;
    return ray;
}

// The same in contracted space.
template <class T>
inline March<T> begin_march(const T* origin, const T* direction, const Contraction<T>& space, T step, T offset) {
    March<T> ray;
    for (int axis = 0; axis < 3; ++axis) {
        ray.start[axis] = origin[axis] - space.center[axis];
        ray.slope[axis] = direction[axis];
        ray.inverse[axis] = 0;
    }
    T far;
    const auto stretch = Stretch<T>::of(ray.start, direction, space, ray.near, far);
    ray.middle = stretch.middle;
    ray.reach = stretch.reach;
    ray.offset = offset;
    ray.next = 0;
    const T samples = (far - ray.near) / step - offset + 1;
    ray.count = samples > 0 ? int32_t(std::min(samples, T(1 << 20))) : 0;
    return ray;
}

}  // namespace nerf
