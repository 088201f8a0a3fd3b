// Lenses: from where a ray is drawn to its direction in the camera, and back; see nerf/geometry/lenses.py.
#pragma once

#include <algorithm>
#include <cmath>

namespace nerf {

// The order of TERMS in nerf/geometry/lenses.py.
struct Lens {
    float fisheye, k1, k2, k3, k4, d1, d2, d3, p1, p2, s1, s2;
};

constexpr int NEWTON_STEPS = 8;

// What a lens multiplies the coordinates of a ray by, and its derivative by r2, their squared length.
struct Radial {
    float factor, slope;
};

inline Radial radial_at(const Lens& lens, float r2) {
    const auto& [fisheye, k1, k2, k3, k4, d1, d2, d3, p1, p2, s1, s2] = lens;
    const float above = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)));
    const float below = 1 + r2 * (d1 + r2 * (d2 + r2 * d3));
    const float factor = above / below;
    const float slope =
        (k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k4)) - factor * (d1 + r2 * (2 * d2 + r2 * 3 * d3))) / below;
    return {factor, slope};
}

// Where the lens draws the ray at (x, y), of which it makes `factor` times as much.
inline void distort(const Lens& lens, float factor, float x, float y, float& drawn_x, float& drawn_y) {
    const float r2 = x * x + y * y;
    drawn_x = factor * x + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x) + lens.s1 * r2;
    drawn_y = factor * y + 2 * lens.p2 * x * y + lens.p1 * (r2 + 2 * y * y) + lens.s2 * r2;
}

// Moves x and y one Newton step towards the point that the lens draws at (drawn_x, drawn_y).
inline void undistort_step(const Lens& lens, float drawn_x, float drawn_y, float& x, float& y) {
    const auto [radial, slope] = radial_at(lens, x * x + y * y);
    const float p1 = lens.p1, p2 = lens.p2, s1 = lens.s1, s2 = lens.s2;
    float off_x, off_y;
    distort(lens, radial, x, y, off_x, off_y);
    off_x -= drawn_x, off_y -= drawn_y;
    const float cross = 2 * (slope * x * y + p1 * x + p2 * y);
    const float a = radial + 2 * (slope * x * x + p1 * y + 3 * p2 * x + s1 * x), b = cross + 2 * s1 * y;
    const float c = cross + 2 * s2 * x, d = radial + 2 * (slope * y * y + p2 * x + 3 * p1 * y + s2 * y);
    const float determinant = a * d - b * c;
    // At a fold the derivative is singular; the step is then none rather than infinite.
    const float inverse = std::abs(determinant) > 1e-6f ? 1 / determinant : 0.0f;
    x -= std::min(std::max((d * off_x - b * off_y) * inverse, -1.0f), 1.0f);
    y -= std::min(std::max((a * off_y - c * off_x) * inverse, -1.0f), 1.0f);
}

// The direction in the camera, of any length, of what the lens draws at (x, y).
inline void ray_of_drawn(const Lens& lens, float x, float y, float* direction) {
    const float drawn_x = x, drawn_y = y;
    for (int step = 0; step < NEWTON_STEPS; ++step) undistort_step(lens, drawn_x, drawn_y, x, y);
    float scale = 1, z = 1;
    if (lens.fisheye > 0) {
        const float angle = std::sqrt(x * x + y * y);
        scale = angle > 0 ? std::sin(angle) / angle : 1.0f;
        z = std::cos(angle);
    }
    direction[0] = x * scale, direction[1] = y * scale, direction[2] = z;
}

#if !defined(NERF_ONE_LANE)
// The same for one direction a lane.
inline void ray_of_drawn(const Lens& lens, Pack<float> x, Pack<float> y, Pack<float>* direction) {
    for (int lane = 0; lane < LANES<float>; ++lane) {
        float one[3];
        ray_of_drawn(lens, x[lane], y[lane], one);
        for (int axis = 0; axis < 3; ++axis) direction[axis][lane] = one[axis];
    }
}
#endif

}  // namespace nerf
