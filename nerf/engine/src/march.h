// Marching: a ray -> its samples in the occupied cells of a box; see nerf/ops/march.py.
//
// Everything is in box units: the box is [0, 1]^3 and t stays in scene units, so that directions have length 1 /
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

// A ray takes no more steps than this, whatever it and its box are; a box's side is cut into FINEST_STEPS at most, of
// which no ray, in contracted space neither, needs more than eight times as many.
constexpr int MOST_STEPS = 65536, FINEST_STEPS = 8192;

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
    // Compilers would rather take the register apart, lane by lane, than read what was stored.
    asm volatile("" : "+m"(lane));
    for (int32_t& value : lane) value = int32_t(table[value]);
    asm volatile("" : "+m"(lane));
    return load(lane);
}
#endif

// Which cells are occupied. The cells are cut into blocks of 4 x 4 x 4. A byte of each, few enough to stay in the
// nearest cache, tells how large the empty block is that it lies in; only where that is 0 are its cells' bits looked
// at.
class OccupancyBits {
public:
    static constexpr int FINE = 2, COARSE = 4;  // log2 of the cells along a side: of a block, of the largest empty one

    OccupancyBits() = default;
#if defined(NERF_ONE_LANE)
    // bits: two words for every block; empty: a byte.
    OccupancyBits(int resolution, uint32_t* bits, uint8_t* empty)
        : resolution_(resolution), side_(((resolution - 1) >> FINE) + 1), bits_(bits), empty_(empty) {}
#else
    explicit OccupancyBits(int resolution) : resolution_(resolution), side_(((resolution - 1) >> FINE) + 1) {
        bits_.resize(words());
        empty_.resize(words() / 2);
    }
#endif

    int resolution() const { return resolution_; }
    int slabs() const { return ((resolution_ - 1) >> COARSE) + 1; }  // of the largest blocks, along any axis
    int64_t words() const { return 2 * int64_t(side_) * side_ * side_; }

    // Takes over one slab, 16 slices of x, of bytes (G, G, G), [x, y, z]. Slabs share nothing of what is written.
    void assign_slab(const uint8_t* occupied, int slab) {
        constexpr int blocks = 1 << (COARSE - FINE);
        const int64_t slice = 2 * int64_t(side_) * side_, end = std::min((slab + 1) * blocks, side_);
        for (int64_t word = slab * blocks * slice; word < end * slice; ++word) assign_word(occupied, word);
        for (int y = 0; y < slabs(); ++y)
            for (int z = 0; z < slabs(); ++z) assign_block(slab, y, z);
    }

    void assign_word(const uint8_t* occupied, int64_t word) {
        const int64_t block = word / 2;
        const int x = int(block / (int64_t(side_) * side_) << FINE) + int(word & 1) * 2;
        const int y = int(block / side_ % side_ << FINE), z = int(block % side_ << FINE);
        uint32_t bits = 0;
        for (int i = x; i < std::min(x + 2, resolution_); ++i)
            for (int j = y; j < std::min(y + 4, resolution_); ++j) {
                const uint8_t* from = occupied + (int64_t(i) * resolution_ + j) * resolution_ + z;
                uint32_t row = 0;  // a byte a cell
                if (z + 4 <= resolution_)
                    std::memcpy(&row, from, sizeof row);
                else
                    for (int k = 0; k < resolution_ - z; ++k) row |= uint32_t(from[k]) << 8 * k;
                // The product brings bit 8 k to bit 24 + k.
                bits |= ((row & 0x01010101u) * 0x01020408u >> 24 & 15) << bit(i, j, 0);
            }
        bits_[word] = bits;
    }

    // How empty it is round the cells of a largest block, whose words have been assigned.
    void assign_block(int x, int y, int z) {
        constexpr int side = 1 << (COARSE - FINE);  // in blocks
        for (int size = FINE; size <= COARSE; ++size) {
            const int apart = 1 << (size - FINE);
            for (int i = x * side; i < std::min((x + 1) * side, side_); i += apart)
                for (int j = y * side; j < std::min((y + 1) * side, side_); j += apart)
                    for (int k = z * side; k < std::min((z + 1) * side, side_); k += apart) {
                        bool empty = true;
                        each_block(i, j, k, apart,
                                   [&](int64_t at) { empty &= bits_[2 * at] == 0 && bits_[2 * at + 1] == 0; });
                        if (empty || size == FINE)
                            each_block(i, j, k, apart, [&](int64_t at) { empty_[at] = uint8_t(empty ? size : 0); });
                    }
        }
    }

    // Looks at a cell. empty: log2 of the side of an empty block round it, if it is empty. Returns 1 or 0: whether it
    // is not.
    template <class I> I look(I x, I y, I z, I& empty) const {
        const I block = ((x >> FINE) * side_ + (y >> FINE)) * side_ + (z >> FINE);
        const I known = entry(empty_.data(), block);
        const I half = entry(bits_.data(), known > 0 ? I{} : 2 * block + (x >> 1 & 1));
        // The eighth of the block that the cell lies in: two cells along each axis.
        const I eighth = half >> ((y & 2) << 2 | (z & 2)) & 0x00330033;
        empty = known > 0 ? known : eighth == 0 ? I{} + 1 : I{};
        return known > 0 ? I{} : half >> bit(x, y, z) & 1;
    }

private:
    template <class I> static I bit(I x, I y, I z) { return (x & 1) << 4 | (y & 3) << 2 | (z & 3); }

    template <class Work> void each_block(int x, int y, int z, int count, Work work) const {
        for (int i = x; i < std::min(x + count, side_); ++i)
            for (int j = y; j < std::min(y + count, side_); ++j)
                for (int k = z; k < std::min(z + count, side_); ++k) work((int64_t(i) * side_ + j) * side_ + k);
    }

    int32_t resolution_ = 0, side_ = 0;  // cells, blocks
    Buffer<uint32_t> bits_;
    Buffer<uint8_t> empty_;
};

// A ray while it is marched; as a March of packs, one ray a lane.
template <class V> struct March {
    using I = Whole<V>;

    V start[3], slope[3], inverse[3];  // box units, box units per scene unit, and its inverse
    V near, offset;                    // scene units, steps
    V middle, reach;                   // of the ray in contracted space, see Stretch
    I next, count;                     // the sample to look at next, and how many there are

    V t(V step) const { return near + (converted<V>(next) + offset) * step; }
    template <class T> V t(V step, const Contraction<T>& space) const {
        return Stretch<V>{middle, reach}.t(t(step), space.radius);
    }

    // Looks at sample `next`, which must exist. position: where it is, box units.
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
        I shift;
        const I matter = bits.look(cell[0], cell[1], cell[2], shift);
        V leave = V{} + std::numeric_limits<float>::infinity();
        for (int axis = 0; axis < 3; ++axis) {
            const I face = ((cell[axis] >> shift) + (slope[axis] > 0 ? I{} + 1 : I{})) << shift;
            leave = least((converted<V>(face) * cell_side - start[axis]) * inverse[axis], leave);
        }
        // A thousandth of a step is more than the rounding of t: no sample of the next block is passed over.
        const V index = greatest((leave - near) * inverse_step - offset + 0.999f, V{});
        const I beyond = index < converted<V>(count) ? greatest(next + 1, converted<I>(index)) : count;
        return matter > 0 ? next : beyond;
    }

    // The same at `here` in contracted space, where a sample may also lie outside the box.
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
        I shift;
        const I matter = bits.look(cell[0], cell[1], cell[2], shift);
        for (int axis = 0; axis < 3; ++axis) {
            const I first = (cell[axis] >> shift) << shift, last = first + ((I{} + 1) << shift);
            inside = least(inside, least(position[axis] - converted<V>(first) * cell_side,
                                         converted<V>(last) * cell_side - position[axis]));
        }
        // Positions move at most as fast as s: the samples before that distance are in the same empty block.
        const V empty = (outside > 0 ? outside : inside) * space.side * inverse_step;
        const I beyond = next + greatest(converted<I>(least(empty, V{} + 1e6f)), I{} + 1);
        return outside > 0 ? beyond : matter > 0 ? next : beyond;
    }
};

#if !defined(NERF_ONE_LANE)
// Puts a ray into a lane.
inline void set_lane(March<Pack<float>>& rays, int lane, const March<float>& ray) {
    constexpr int numbers = sizeof ray / sizeof(float);
    static_assert(sizeof rays == sizeof ray * LANES<float>);
    // Through memory: a compiler sets lanes of a register one by one, each with a round trip of its own.
    for (int number = 0; number < numbers; ++number)
        std::memcpy(reinterpret_cast<char*>(&rays) + (number * LANES<float> + lane) * sizeof(float),
                    reinterpret_cast<const char*>(&ray) + number * sizeof(float), sizeof(float));
}
#endif

// The number of samples from `near` on to `far`: none of a ray that is not finite, or that no face of its box ends.
// V: a ray, or one a lane.
template <class V, class T>
inline Whole<V> sample_count(const V* origin, const V* direction, V near, V far, T step, V offset) {
    V nothing = (far - near) * T(0) + offset * T(0);  // unless something is not finite
    for (int axis = 0; axis < 3; ++axis) nothing += origin[axis] * T(0) + direction[axis] * T(0);
    const V samples = (far - near) / step - offset + 1;
    return (nothing == 0) & (samples > 0) ? converted<Whole<V>>(least(samples, V{} + T(MOST_STEPS))) : Whole<V>{};
}

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
        // 0 * infinity is nan for a ray in a face of the box: such a face does not limit the interval.
        const auto in_face = (a != a) | (b != b);
        enter = in_face ? enter : greatest(enter, least(a, b));
        leave = in_face ? leave : least(leave, greatest(a, b));
    }
    ray.near = enter;
    ray.middle = ray.reach = V{};
    ray.offset = offset;
    ray.next = Whole<V>{};
    ray.count = sample_count(origin, direction, enter, leave, step, offset);
    return ray;
}

// The same in contracted space, or, where its radius is 0, in the box.
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
    ray.count = sample_count(origin, direction, ray.near, far, step, offset);
    return ray;
}

// How far along its march t is, box sides.
template <class T> inline T marched_length(const March<T>& ray, const Contraction<T>& space, T t) {
    return (space.radius > 0 ? Stretch<T>{ray.middle, ray.reach}.s(t, space.radius) : t) / space.side;
}

// Turns a gradient by where the sample at t of a ray lies, box units, into that by the point of the world.
template <class T> inline void position_vjp(const March<T>& ray, const Contraction<T>& space, T t, T* grad) {
    if (space.radius > 0) return space.unit_position_vjp(ray.start, ray.slope, t, grad);
    for (int axis = 0; axis < 3; ++axis) grad[axis] /= space.side;
}

// Calls take(position, t) for the samples of one ray in occupied cells. space: with or without a contraction.
template <class T, class Take> inline void for_each_sample(const T* origin, const T* direction, T offset,
                                                           const Contraction<T>& space, const OccupancyBits& bits,
                                                           T step, Take take) {
    const bool contracted = space.radius > 0;
    March<T> ray = begin_march(origin, direction, space, step, offset);
    T position[3];
    while (ray.next < ray.count) {
        const T t = contracted ? ray.t(step, space) : ray.t(step);
        const int32_t after =
            contracted ? ray.look(bits, t, 1 / step, space, position) : ray.look(bits, step, 1 / step, position);
        if (after == ray.next++)
            take(position, t);
        else
            ray.next = after;
    }
}

}  // namespace nerf
