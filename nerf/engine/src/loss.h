// The losses of one ray and their gradients; see nerf/rendering/losses.py.
#pragma once

#include "composite.h"

namespace nerf {

// Read by nerf/engine/signatures.py.
enum Background : int32_t { BLACK = 0, WHITE = 1, RANDOM = 2 };

// Returns the sum over channels of the squared error against straight-alpha rgba, times `scale`.
inline float photometric_loss(const Pixel<float>& pixel, const float* rgba, Background background, float scale,
                              Pixel<float>& grad) {
    const float alpha = rgba[3];
    float loss = 0;
    grad = Pixel<float>();
    for (int c = 0; c < 3; ++c) {
        if (background == RANDOM) {
            const float through = alpha - pixel.opacity;
            const float error = pixel.rgb[c] - rgba[c] * alpha + through / 2;
            loss += error * error + through * through / 12;
            grad.rgb[c] = 2 * error * scale;
            grad.opacity -= (error + through / 6) * scale;
        } else {
            const float behind = background == WHITE ? 1.0f : 0.0f;
            const float error = pixel.rgb[c] + (1 - pixel.opacity) * behind - (rgba[c] * alpha + (1 - alpha) * behind);
            loss += error * error;
            grad.rgb[c] = 2 * error * scale;
            grad.opacity -= 2 * error * behind * scale;
        }
    }
    return loss * scale;
}

// Returns a ray's loss as it is to weigh, and weights its gradient, too.
inline float weighted(float loss, float weight, Pixel<float>& grad) {
    for (float& part : grad.rgb) part *= weight;
    grad.opacity *= weight;
    return weight * loss;
}

// Samples of a ray that are nearer to its camera than `near` keep but a part of their gradients; see near_part.
template <class GradColor>
inline void fade_near(int64_t n, const float* t, float near, float* grad_tau, GradColor grad_color) {
    for (int64_t i = 0; i < n; ++i) {
        if (t[i] >= near) continue;
        const float part = t[i] / near * (t[i] / near);
        grad_tau[i] *= part;
        for (int c = 0; c < 3; ++c) grad_color(i, c) *= part;
    }
}

// The gradient by the weights of the distortion: of `scale` times the sum of w_i w_j |s_i - s_j| over all pairs plus
// that of w_i^2 length / 3. s: where the samples of the ray are, increasing; length: of the interval each stands for.
inline void distortion_vjp(int64_t n, const float* passing, const float* reaching, const float* s, float length,
                           float scale, float* grad_weight) {
    float before = 0, before_s = 0, after = 0, after_s = 0;  // sums of w and of w s
    for (int i = 0; i < n; ++i) {
        const float weight = grad_weight[i] = reaching[i] * (1 - passing[i]);
        after += weight;
        after_s += weight * s[i];
    }
    for (int i = 0; i < n; ++i) {
        const float weight = grad_weight[i];
        after -= weight;
        after_s -= weight * s[i];
        grad_weight[i] = 2 * scale * (s[i] * (before - after) - (before_s - after_s) + weight * length / 3);
        before += weight;
        before_s += weight * s[i];
    }
}

// Adds the gradient by the weights of the distance loss: of `scale` times the sum of w_i |s_i - measured|. s: as above.
inline void distance_vjp(int64_t n, const float* s, float measured, float scale, float* grad_weight) {
    for (int64_t i = 0; i < n; ++i) grad_weight[i] += scale * std::abs(s[i] - measured);
}

}  // namespace nerf
