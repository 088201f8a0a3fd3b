// Gaussian splats: what a camera sees of each, with vector-Jacobian products (vjp); see nerf/ops/splats.py.
//
// A splat is a Gaussian in space. A pinhole camera sees it, to first order, as a Gaussian in the picture (Zwicker et al.
// 2001), widened by the blur of a pixel (Kerbl et al. 2023).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "border.h"
#include "spherical_harmonics.h"

namespace nerf {

// nerf/engine/signatures.py reads the structs below.
struct SplatArrays {
    float* mean;       // (n, 3), scene units
    float* log_scale;  // (n, 3), of the standard deviations along the splat's own axes
    float* turn;       // (n, 4), from its axes to the world's: a quaternion w, x, y, z of any length
    float* logit;      // (n), of the opacity in its middle
    float* harmonics;  // (n, degree^2, 3), of its colour less 0.5
};

struct SplatCall {
    SplatArrays splats;
    SplatArrays grad;         // is written to, where grad_pixel is not null
    const float* pose;        // (3, 4), world from camera
    float* pixel;             // (height, width, 4), colour over black and opacity; is read where grad_pixel is not null
    const float* grad_pixel;  // (height, width, 4), or null: the picture is wanted
    int64_t n;
    float focal[2], center[2];  // pixels
    float near;                 // scene units along the axis, before which nothing is seen
    int32_t antialiased;        // 1: what a pixel widens is as much less opaque (Yu et al. 2024); 0: it is not
    int32_t degree, height, width, threads;
};

constexpr int64_t MOST_SPLATS = 1 << 28;

inline void check(const Fields& fields, const SplatArrays& arrays, bool needed) {
    for (const float* array : {arrays.mean, arrays.log_scale, arrays.turn, arrays.logit, arrays.harmonics})
        fields.present("mean, log_scale, turn, logit or harmonics", array, needed);
}

inline void check(const SplatCall& call) {
    const Fields fields("SplatCall");
    fields.within<int64_t>("n", call.n, 0, MOST_SPLATS);
    fields.within<int32_t>("degree", call.degree, 1, LARGEST_DEGREE);
    for (const int32_t side : {call.height, call.width}) fields.within<int32_t>("height or width", side, 1, 1 << 14);
    for (const float focal : call.focal) fields.positive("focal", focal);
    for (const float center : call.center) fields.finite("center", center);
    fields.positive("near", call.near);
    fields.within<int32_t>("antialiased", call.antialiased, 0, 1);
    fields.threads(call.threads);
    fields.present("pose", call.pose);
    fields.present("pixel", call.pixel);
    check(fields, call.splats, call.n > 0);
    check(fields, call.grad, call.n > 0 && call.grad_pixel);
}

// nerf/ops/splats.py has the same numbers.
constexpr float PIXEL_BLUR = 0.3f;         // variance that a pixel adds, squared pixels
constexpr float LEAST_ALPHA = 1.0f / 255;  // of a splat at a pixel, below which it is not there
constexpr float MOST_ALPHA = 0.99f;
constexpr float LEAST_LIGHT = 1e-4f;  // that still comes through, below which what is behind does not count
constexpr float LEAST_SHARE = 1e-4f;  // of its area, squared, that a splat has before it is widened
constexpr float WIDEST = 1.3f;        // times as far out as the picture's border a splat is sheared no more than there

// What a camera sees of a splat; or the gradient by that.
struct SeenSplat {
    float x, y;     // its middle, pixels
    float a, b, c;  // the inverse of its covariance in the picture, a dx^2 + 2 b dx dy + c dy^2
    float opacity;
    float rgb[3];
};

// A splat in a camera's frame, and its way into the picture.
class ProjectedSplat {
public:
    ProjectedSplat(const SplatCall& call, int64_t i) : call_(call), i_(i) {
        for (int axis = 0; axis < 3; ++axis) offset_[axis] = call.splats.mean[3 * i + axis] - call.pose[4 * axis + 3];
        for (int axis = 0; axis < 3; ++axis)
            place_[axis] = call.pose[axis] * offset_[0] + call.pose[4 + axis] * offset_[1] + call.pose[8 + axis] * offset_[2];
    }

    float depth() const { return place_[2]; }

    // Finds what is seen of it; false if that is nothing.
    bool see(SeenSplat& seen) {
        if (!(depth() > call_.near)) return false;
        find_axes();
        find_steps();
        const auto [xx, xy, yy] = covariance_;
        const float determinant = xx * yy - xy * xy;
        opacity_ = 1 / (1 + std::exp(-call_.splats.logit[i_]));
        const float narrow = (xx - PIXEL_BLUR) * (yy - PIXEL_BLUR) - xy * xy;
        thinned_ = call_.antialiased && narrow > LEAST_SHARE * determinant;
        const float share = thinned_ ? narrow / determinant : LEAST_SHARE;
        seen.opacity = call_.antialiased ? opacity_ * std::sqrt(share) : opacity_;
        if (!(determinant > 0) || !(seen.opacity > LEAST_ALPHA)) return false;
        seen.x = call_.focal[0] * place_[0] / depth() + call_.center[0];
        seen.y = call_.focal[1] * place_[1] / depth() + call_.center[1];
        seen.a = yy / determinant, seen.b = -xy / determinant, seen.c = xx / determinant;
        find_color(seen);

        // How far from its middle it is there.
        const float squared = 2 * std::log(seen.opacity / LEAST_ALPHA);
        reach[0] = std::sqrt(squared * xx), reach[1] = std::sqrt(squared * yy);
        return std::isfinite(seen.x + seen.y + seen.a + seen.b + seen.c + reach[0] + reach[1]);
    }

    float reach[2];  // along x and y, pixels, once it was seen

    // Writes the gradient by the splat, from that by what `see` has found.
    void vjp(const SeenSplat& seen, const SeenSplat& grad) const {
        call_.grad.logit[i_] = grad.opacity * seen.opacity * (1 - opacity_);
        float grad_offset[3];
        color_vjp(seen, grad, grad_offset);

        // By the covariance: that of its inverse, from both sides.
        const float a = seen.a, b = seen.b, c = seen.c;
        float xx = -(grad.a * a * a + grad.b * a * b + grad.c * b * b);
        float yy = -(grad.a * b * b + grad.b * b * c + grad.c * c * c);
        float xy = -(grad.a * a * b + 0.5f * grad.b * (a * c + b * b) + grad.c * b * c);
        if (thinned_) {  // the areas squared, before and after, are determinants
            const Covariance wide = covariance_, thin{wide.xx - PIXEL_BLUR, wide.xy, wide.yy - PIXEL_BLUR};
            const float half = 0.5f * grad.opacity * seen.opacity;
            const float before = half / (thin.xx * thin.yy - thin.xy * thin.xy);
            const float after = half / (wide.xx * wide.yy - wide.xy * wide.xy);
            xx += before * thin.yy - after * wide.yy;
            yy += before * thin.xx - after * wide.xx;
            xy -= (before - after) * wide.xy;
        }
        const float symmetric[2][2] = {{xx, xy}, {xy, yy}};

        // By how its own axes show, and from there by the axes and by how steps in the world show.
        float grad_axes[3][3] = {}, grad_step[2][3] = {};
        for (int row = 0; row < 2; ++row)
            for (int axis = 0; axis < 3; ++axis) {
                const float grad_shown = 2 * (symmetric[row][0] * shown_[0][axis] + symmetric[row][1] * shown_[1][axis]);
                for (int k = 0; k < 3; ++k) {
                    grad_step[row][k] += grad_shown * axes_[k][axis];
                    grad_axes[k][axis] += grad_shown * step_[row][k];
                }
            }
        axes_vjp(grad_axes);

        // By its place in the camera's frame.
        const float grad_middle[2] = {grad.x, grad.y};
        float grad_place[3] = {};
        for (int row = 0; row < 2; ++row) {
            const float zoom = call_.focal[row] / depth();
            float grad_shear = 0, grad_zoom = grad_middle[row] * place_[row];
            for (int axis = 0; axis < 3; ++axis) {
                grad_shear -= zoom * grad_step[row][axis] * call_.pose[4 * axis + 2];
                grad_zoom += grad_step[row][axis] * step_[row][axis] / zoom;
            }
            if (outside_[row]) grad_shear = 0;
            grad_place[row] = zoom * grad_middle[row] + grad_shear / depth();
            grad_place[2] -= (zoom * grad_zoom + grad_shear * shear_[row]) / depth();
        }
        for (int axis = 0; axis < 3; ++axis) {
            for (int k = 0; k < 3; ++k) grad_offset[axis] += call_.pose[4 * axis + k] * grad_place[k];
            call_.grad.mean[3 * i_ + axis] = grad_offset[axis];
        }
    }

private:
    struct Covariance {
        float xx, xy, yy;
    };

    // Its axes in the world, as long as its standard deviations.
    void find_axes() {
        const float* q = call_.splats.turn + 4 * i_;
        length_ = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]) + 1e-20f;
        for (int k = 0; k < 4; ++k) unit_[k] = q[k] / length_;
        const auto [w, x, y, z] = unit_;
        const float turn[3][3] = {{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                                  {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                                  {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}};
        for (int axis = 0; axis < 3; ++axis) {
            scale_[axis] = std::exp(call_.splats.log_scale[3 * i_ + axis]);
            for (int k = 0; k < 3; ++k) axes_[k][axis] = turn[k][axis] * scale_[axis];
        }
    }

    // How steps along the world's axes and along its own show in the picture, pixels.
    void find_steps() {
        const int32_t size[2] = {call_.width, call_.height};
        for (int row = 0; row < 2; ++row) {
            const float tangent = place_[row] / depth();
            const float low = -WIDEST * call_.center[row] / call_.focal[row];
            const float high = WIDEST * (size[row] - call_.center[row]) / call_.focal[row];
            shear_[row] = std::min(std::max(tangent, low), high);
            outside_[row] = shear_[row] != tangent;
            for (int axis = 0; axis < 3; ++axis) {
                const float* turned = call_.pose + 4 * axis;
                step_[row][axis] = call_.focal[row] / depth() * (turned[row] - shear_[row] * turned[2]);
            }
            for (int axis = 0; axis < 3; ++axis) {
                shown_[row][axis] = 0;
                for (int k = 0; k < 3; ++k) shown_[row][axis] += step_[row][k] * axes_[k][axis];
            }
        }
        covariance_ = {PIXEL_BLUR, 0, PIXEL_BLUR};
        for (int axis = 0; axis < 3; ++axis) {
            covariance_.xx += shown_[0][axis] * shown_[0][axis];
            covariance_.xy += shown_[0][axis] * shown_[1][axis];
            covariance_.yy += shown_[1][axis] * shown_[1][axis];
        }
    }

    void find_color(SeenSplat& seen) {
        distance_ = std::sqrt(offset_[0] * offset_[0] + offset_[1] * offset_[1] + offset_[2] * offset_[2]);
        for (int axis = 0; axis < 3; ++axis) direction_[axis] = offset_[axis] / distance_;
        const int32_t degree = call_.degree;
        spherical_harmonics(direction_[0], direction_[1], direction_[2], degree, basis_);
        const float* weights = call_.splats.harmonics + i_ * degree * degree * 3;
        for (int channel = 0; channel < 3; ++channel) {
            float sum = 0.5f;
            for (int k = 0; k < degree * degree; ++k) sum += basis_[k] * weights[3 * k + channel];
            seen.rgb[channel] = std::max(sum, 0.0f);
        }
    }

    // Writes the gradient by the harmonics, and finds that by the offset from the camera.
    void color_vjp(const SeenSplat& seen, const SeenSplat& grad, float* grad_offset) const {
        const int32_t degree = call_.degree;
        const float* weights = call_.splats.harmonics + i_ * degree * degree * 3;
        float* grad_weights = call_.grad.harmonics + i_ * degree * degree * 3;
        float grad_basis[MOST_HARMONICS] = {};
        for (int channel = 0; channel < 3; ++channel) {
            const float grad_sum = seen.rgb[channel] > 0 ? grad.rgb[channel] : 0;
            for (int k = 0; k < degree * degree; ++k) {
                grad_weights[3 * k + channel] = grad_sum * basis_[k];
                grad_basis[k] += grad_sum * weights[3 * k + channel];
            }
        }
        float free[3], along = 0;
        spherical_harmonics_vjp(direction_[0], direction_[1], direction_[2], degree, grad_basis, free);
        for (int axis = 0; axis < 3; ++axis) along += free[axis] * direction_[axis];
        for (int axis = 0; axis < 3; ++axis) grad_offset[axis] = (free[axis] - along * direction_[axis]) / distance_;
    }

    void axes_vjp(const float (&grad_axes)[3][3]) const {
        float g[3][3];
        for (int axis = 0; axis < 3; ++axis) {
            float grad_log = 0;
            for (int k = 0; k < 3; ++k) {
                grad_log += grad_axes[k][axis] * axes_[k][axis];
                g[k][axis] = grad_axes[k][axis] * scale_[axis];
            }
            call_.grad.log_scale[3 * i_ + axis] = grad_log;
        }
        const auto [w, x, y, z] = unit_;
        const float grad[4] = {
            2 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1])),
            2 * (w * (g[2][1] - g[1][2]) + y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0])) -
                4 * x * (g[1][1] + g[2][2]),
            2 * (w * (g[0][2] - g[2][0]) + x * (g[0][1] + g[1][0]) + z * (g[1][2] + g[2][1])) -
                4 * y * (g[0][0] + g[2][2]),
            2 * (w * (g[1][0] - g[0][1]) + x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1])) -
                4 * z * (g[0][0] + g[1][1])};
        float along = 0;
        for (int k = 0; k < 4; ++k) along += grad[k] * unit_[k];
        for (int k = 0; k < 4; ++k) call_.grad.turn[4 * i_ + k] = (grad[k] - along * unit_[k]) / length_;
    }

    const SplatCall& call_;
    int64_t i_;
    float offset_[3], place_[3];         // from the camera, in the world's and in its own frame
    float distance_, direction_[3], basis_[MOST_HARMONICS];
    float length_, unit_[4], scale_[3];  // of the quaternion, itself at length 1, and the standard deviations
    float axes_[3][3], step_[2][3], shown_[2][3], shear_[2];
    bool outside_[2];  // of what is sheared by its place
    bool thinned_;     // whether its opacity depends on how wide it is
    float opacity_;    // before that
    Covariance covariance_;
};

}  // namespace nerf
