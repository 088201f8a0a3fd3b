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

template <class Entry> inline int32_t entry(const Entry* table, int32_t at) { return int32_t(table[at]); }
#if !defined(NERF_ONE_LANE)
template <class Entry> inline Pack<int32_t> entry(const Entry* table, Pack<int32_t> at) {
    alignas(64) int32_t lane[LANES<float>];
    store(lane, at);
    for (int32_t& value : lane) value = int32_t(table[value]);
    return load(lane);
}
#endif

// Which cells are occupied: a bit per cell, and for blocks of cells how far everything round them is empty.
class OccupancyBits {
public:
    static constexpr int COARSE = 4, FINE = 2;  // log2 of the cells along a side of a block
    static constexpr int WORD = 16;             // cells whose bits lie together

    OccupancyBits() = default;
#if defined(NERF_ONE_LANE)
    // bits: words() of them; empty: a byte for every smallest block.
    OccupancyBits(int resolution, uint16_t* bits, uint8_t* empty)
        : resolution_(resolution), side_(((resolution - 1) >> FINE) + 1), bits_(bits), empty_(empty) {}
#else
    explicit OccupancyBits(int resolution) : resolution_(resolution), side_(((resolution - 1) >> FINE) + 1) {
        bits_.resize(words());
        empty_.resize(size_t(side_) * side_ * side_);
    }
#endif

    int resolution() const { return resolution_; }
    int slabs() const { return ((resolution_ - 1) >> COARSE) + 1; }
    int64_t cells() const { return int64_t(resolution_) * resolution_ * resolution_; }
    int64_t words() const { return (cells() + WORD - 1) / WORD; }

    // Takes over one slab, 16 slices of x, of bytes (G, G, G), [x, y, z]. Slabs share nothing of what is written.
    void assign_slab(const uint8_t* occupied, int slab) {
        const int64_t words_a_slab = int64_t(resolution_) * resolution_;
        for (int64_t word = slab * words_a_slab; word < std::min((slab + 1) * words_a_slab, words()); ++word)
            assign_word(occupied, word);
        for (int y = 0; y < slabs(); ++y)
            for (int z = 0; z < slabs(); ++z) assign_block(slab, y, z);
    }

    void assign_word(const uint8_t* occupied, int64_t word) {
        uint16_t bits = 0;
        for (int64_t cell = word * WORD; cell < std::min((word + 1) * WORD, cells()); ++cell)
            bits |= uint16_t((occupied[cell] != 0) << cell % WORD);
        bits_[word] = bits;
    }

    // How empty it is round the cells of a largest block, whose words have been assigned.
    void assign_block(int x, int y, int z) {
        constexpr int step = 1 << (COARSE - FINE);
        const int first[3] = {x * step, y * step, z * step};
        bool any = false;
        each_block(first, [&](uint8_t& empty, const int (&fine)[3]) {
            const bool matter = has_matter(fine);
            empty = matter ? 0 : FINE;
            any |= matter;
        });
        if (!any) each_block(first, [&](uint8_t& empty, const int (&)[3]) { empty = COARSE; });
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
            const I whole = converted<I>(position[axis] * float(size));
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
        const I beyond = index < converted<V>(count) ? greatest(next + 1, converted<I>(index)) : count;
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
            cell[axis] = least(greatest(converted<I>(position[axis] * float(size)), I{}), I{} + (size - 1));
        }
        const I shift = bits.empty_block(cell[0], cell[1], cell[2]);
        for (int axis = 0; axis < 3; ++axis) {
            const I first = (cell[axis] >> shift) << shift, last = first + ((I{} + 1) << shift);
            inside = least(inside, least(position[axis] - converted<V>(first) * cell_side,
                                         converted<V>(last) * cell_side - position[axis]));
        }
        // Positions move at most as fast as s: the samples before that distance are in the same empty place.
        const V empty = (outside > 0 ? outside : inside) * space.side * inverse_step;
        const I beyond = next + greatest(converted<I>(least(empty, V{} + 1e6f)), I{} + 1);
        const I matter = bits.cell(cell[0], cell[1], cell[2]);
        return outside > 0 ? beyond : matter > 0 ? next : beyond;
    }
};

#if !defined(NERF_ONE_LANE)
// Puts a ray into a lane.
inline void set_lane(March<Pack<float>>& rays, int lane, const March<float>& ray) {
    for (int axis = 0; axis < 3; ++axis) {
        rays.start[axis][lane] = ray.start[axis];
        rays.slope[axis][lane] = ray.slope[axis];
        rays.inverse[axis][lane] = ray.inverse[axis];
    }
    rays.near[lane] = ray.near;
    rays.offset[lane] = ray.offset;
    rays.middle[lane] = ray.middle;
    rays.reach[lane] = ray.reach;
    rays.next[lane] = ray.next;
    rays.count[lane] = ray.count;
}
#endif

// A ray, or one a lane, before its first sample. origin, corner, side, step: scene units; direction: of unit length.
// Source of the slab test: Kay and Kajiya 1986.
template <class V, class T>
inline March<V> begin_march(const V* origin, const V* direction, const T* corner, T side, T step, V offset) {
    March<V> ray;
    V enter{}, leave = V{} + std::numeric_limits<T>::infinity();
    for (int axis = 0; axis < 3; ++axis) {
        ray.start[axis] = (origin[axis] - corner[axis]) / side;
        ray.slope[axis] = direction[axis] / side;
        ray.inverse[axis] = 1 / ray.slope[axis];
        const V to_corner = 1 / direction[axis];
        const V a = (corner[axis] - origin[axis]) * to_corner, b = (corner[axis] + side - origin[axis]) * to_corner;
        // 0 * infinity is nan for a ray in a face of the cube: such a face does not limit the interval.
        const auto in_face = (a != a) | (b != b);
        enter = in_face ? enter : greatest(enter, least(a, b));
        leave = in_face ? leave : least(leave, greatest(a, b));
    }
    ray.near = enter;
    ray.middle = ray.reach = V{};
    ray.offset = offset;
    ray.next = Whole<V>{};
    const V samples = (leave - enter) / step - offset + 1;
    ray.count = samples > 0 ? converted<Whole<V>>(least(samples, V{} + T(1 << 30))) : Whole<V>{};
    return ray;
}

// The same in contracted space, or, where its radius is 0, in the cube.
template <class T>
inline March<T> begin_march(const T* origin, const T* direction, const Contraction<T>& space, T step, T offset) {
    if (!(space.radius > 0)) return begin_march(origin, direction, space.corner, space.side, step, offset);
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

// How far along its march t is, cube sides.
template <class T> inline T marched_length(const March<T>& ray, const Contraction<T>& space, T t) {
    return (space.radius > 0 ? Stretch<T>{ray.middle, ray.reach}.s(t, space.radius) : t) / space.side;
}

// Turns a gradient by where the sample at t of a ray lies, cube units, into that by the point of the world.
template <class T> inline void place_vjp(const March<T>& ray, const Contraction<T>& space, T t, T* grad) {
    if (space.radius > 0) return space.unit_position_vjp(ray.start, ray.slope, t, grad);
    for (int axis = 0; axis < 3; ++axis) grad[axis] /= space.side;
}

// Calls take(position, t) for the samples of one ray in occupied cells. space: with or without a contraction.
template <class T, class Take>
inline void for_each_sample(const T* origin, const T* direction, T offset, const Contraction<T>& space,
                            const OccupancyBits& bits, T step, Take take) {
    const bool contracted = space.radius > 0;
    March<T> ray = begin_march(origin, direction, space, step, offset);
    T position[3];
    while (ray.next < ray.count) {
        const T t = contracted ? ray.t(step, space) : ray.t(step);
        const int32_t after = contracted ? ray.look(bits, t, 1 / step, space, position)
                                         : ray.look(bits, step, 1 / step, position);
        if (after == ray.next++)
            take(position, t);
        else
            ray.next = after;
    }
}

}  // namespace nerf
