// Contraction: all of space in a ball, marched with steps that grow with the distance; see
// nerf/geometry/contraction.py.
#pragma once

#include <algorithm>
#include <cmath>

#include "lanes.h"

namespace nerf {

constexpr float FAR = 100;  // radii from the centre within which rays are marched

// Space contracted about a centre, and the box that is cut out of it.
template <class T> struct Contraction {
    T center[3], radius, near;  // scene units; a radius of 0 stands for none
    T corner[3], side;          // of the box, after the contraction

    // The position in the box, [0, 1]^3 inside, of start + t * slope, which are relative to the centre.
    template <class V> void unit_position(const V* start, const V* slope, V t, V* position) const {
        V apart[3], square{};
        for (int axis = 0; axis < 3; ++axis) {
            apart[axis] = start[axis] + t * slope[axis];
            square += apart[axis] * apart[axis];
        }
        const V scale = radius / (radius + square_root(square));
        for (int axis = 0; axis < 3; ++axis)
            position[axis] = (apart[axis] * scale + (center[axis] - corner[axis])) / side;
    }

    // Turns a gradient by the position, box units, into that by start + t * slope, scene units.
    void unit_position_vjp(const T* start, const T* slope, T t, T* grad) const {
        T apart[3], square = 0, along = 0;
        for (int axis = 0; axis < 3; ++axis) {
            apart[axis] = start[axis] + t * slope[axis];
            square += apart[axis] * apart[axis];
            along += apart[axis] * grad[axis];
        }
        const T length = std::sqrt(square), scale = radius / (radius + length);
        const T shrunk = length > 0 ? along * scale / (length * (radius + length)) : T(0);
        for (int axis = 0; axis < 3; ++axis) grad[axis] = (grad[axis] * scale - apart[axis] * shrunk) / side;
    }
};

// How a ray is marched: t = middle + reach * sinh(s / radius).
template <class V> struct Stretch {
    V middle, reach;

    // start: relative to the centre; direction: of unit length. first, last: s where the ray begins and ends.
    static Stretch of(const V* start, const V* direction, const Contraction<V>& space, V& first, V& last) {
        V middle = 0, nearest = 0;
        for (int axis = 0; axis < 3; ++axis) middle -= start[axis] * direction[axis];
        for (int axis = 0; axis < 3; ++axis) {
            const V apart = start[axis] + middle * direction[axis];
            nearest += apart * apart;
        }
        const V far = FAR * space.radius, half = std::sqrt(std::max(far * far - nearest, V(0)));
        const Stretch stretch{middle, std::sqrt(space.radius * space.radius + nearest)};
        first = stretch.s(std::max(middle - half, space.near), space.radius);
        last = stretch.s(middle + half, space.radius);
        return stretch;
    }

    V s(V t, V radius) const { return radius * std::asinh((t - middle) / reach); }

    template <class T> V t(V s, T radius) const {
        const V grown = exp(s / radius);
        return middle + reach * 0.5f * (grown - 1 / grown);
    }
};

}  // namespace nerf
