// Front-to-back compositing of the samples of one ray; see nerf/ops/composite.py for the formulae.
//
// A sample of optical thickness tau = density * step lets through exp(-tau); what reaches it is the product of what the
// samples in front of it let through.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "lanes.h"

namespace nerf {

// See RadianceModel.samples in nerf/rendering/model.py.
constexpr float NEGLIGIBLE_WEIGHT = 1e-4f, PART_OF_HEAVIEST = 0.5f;

template <class T> struct Pixel {
    T rgb[3] = {}, opacity = 0, depth = 0;  // over black; depth is times opacity
};

// passing: exp(-tau) of every sample. color(i, c): channel c of sample i. Writes the light that reaches each sample.
template <class T, class Color>
inline Pixel<T> composite(int64_t n, const T* passing, const T* t, Color color, T* reaching) {
    Pixel<T> pixel;
    T light = 1;
    for (int64_t i = 0; i < n; ++i) {
        reaching[i] = light;
        const T weight = light * (1 - passing[i]);
        for (int c = 0; c < 3; ++c) pixel.rgb[c] += weight * color(i, c);
        pixel.opacity += weight;
        pixel.depth += weight * t[i];
        light *= passing[i];
    }
    return pixel;
}

// How many of a ray's n next samples light reaches: those in front of which the optical thickness, summed on, is at
// most `greatest`. density[i] * length: the thickness of sample i. before[i]: that in front of it.
template <class T>
inline int64_t reached_samples(int64_t n, const T* density, T length, T greatest, T& thickness, T* before) {
    int64_t reached = 0;
    while (reached < n && thickness <= greatest) {
        before[reached] = thickness;
        thickness += density[reached++] * length;
    }
    return reached;
}

// What samples weigh, by the optical thickness in front of them and their own.
inline Pack<float> sample_weight(Pack<float> before, Pack<float> own) { return exp(-before) * (1 - exp(-own)); }

// What the samples of a ray must weigh so as not to be left out.
inline float least_weight(float heaviest, float minimum) {
    return greatest(NEGLIGIBLE_WEIGHT, least(minimum, PART_OF_HEAVIEST * heaviest));
}

// grad_tau[i] and grad_color(i, c) from the gradient by the pixel. With g_i the gradient by weight i it is
// g_k T_{k+1} - sum of g_i w_i over i > k, summed from the back. grad_weight: of a loss on the weights, or null.
template <class T, class Color, class GradColor>
inline void composite_vjp(int64_t n, const T* passing, const T* t, Color color, const T* reaching, const Pixel<T>& grad,
                          T* grad_tau, GradColor grad_color, const T* grad_weight = nullptr) {
    T behind = 0;
    for (int64_t i = n - 1; i >= 0; --i) {
        const T weight = reaching[i] * (1 - passing[i]);
        T by_weight = grad.opacity + grad.depth * t[i] + (grad_weight ? grad_weight[i] : T(0));
        for (int c = 0; c < 3; ++c) {
            by_weight += grad.rgb[c] * color(i, c);
            grad_color(i, c) = grad.rgb[c] * weight;
        }
        grad_tau[i] = by_weight * reaching[i] * passing[i] - behind;
        behind += by_weight * weight;
    }
}

// Where along the ray the light has fallen to `level`; infinite if it never does. Density is even over the length of a
// step, which every sample is in the middle of.
template <class T> inline T distance_at(int64_t n, const T* passing, const T* t, T step, T level) {
    T light = 1;
    for (int64_t i = 0; i < n; ++i) {
        const T left = light * passing[i];
        if (left <= level) return t[i] + step * (std::log(level / light) / std::log(passing[i]) - T(0.5));
        light = left;
    }
    return std::numeric_limits<T>::infinity();
}

}  // namespace nerf
