// Front-to-back compositing of the samples of one ray; see nerf/ops/composite.py for the formulae.
//
// A sample of optical thickness tau = density * step lets through exp(-tau); what reaches it is the product of what the
// samples in front of it let through.
#pragma once

#include <cstdint>

namespace nerf {

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

// How many of a ray's n next samples light reaches: those in front of which the optical thickness, summed on, is at most
// `greatest`. density(i) * length: the thickness of sample i.
template <class T, class Density>
inline int64_t reached_samples(int64_t n, Density density, T length, T greatest, T& thickness) {
    int64_t reached = 0;
    while (reached < n && thickness <= greatest) thickness += density(reached++) * length;
    return reached;
}

// grad_tau[i] and grad_color(i, c) from the gradient by the pixel. With g_i the gradient by weight i it is
// g_k T_{k+1} - sum of g_i w_i over i > k, summed from the back.
template <class T, class Color, class GradColor>
inline void composite_vjp(int64_t n, const T* passing, const T* t, Color color, const T* reaching, const Pixel<T>& grad,
                          T* grad_tau, GradColor grad_color) {
    T behind = 0;
    for (int64_t i = n - 1; i >= 0; --i) {
        const T weight = reaching[i] * (1 - passing[i]);
        T by_weight = grad.opacity + grad.depth * t[i];
        for (int c = 0; c < 3; ++c) {
            by_weight += grad.rgb[c] * color(i, c);
            grad_color(i, c) = grad.rgb[c] * weight;
        }
        grad_tau[i] = by_weight * reaching[i] * passing[i] - behind;
        behind += by_weight * weight;
    }
}

}  // namespace nerf
