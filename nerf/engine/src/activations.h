// What the last neurons of the two networks are passed through: density and colour.
#pragma once

#include "lanes.h"

namespace nerf {

// exp(15) per box side is opaque within any step: no gradient is lost there.
constexpr float LARGEST_LOG_DENSITY = 15.0f;

// Density per box side.
inline Pack<float> density_of(Pack<float> log_density) { return exp(least(log_density, splat(LARGEST_LOG_DENSITY))); }

// The gradient by the log density: density is its own slope, up to the bound.
inline Pack<float> density_vjp(Pack<float> density, Pack<float> grad) {
    constexpr float BOUND = 3269014.0f;  // exp(15) * (1 - 1e-6): exp rounds
    return density < BOUND ? grad * density : Pack<float>{};
}

inline Pack<float> sigmoid(Pack<float> value) { return 1 / (1 + exp(-value)); }

// The gradient by what `sigmoid` was given, from its result.
inline Pack<float> sigmoid_vjp(Pack<float> result, Pack<float> grad) { return grad * (result * (1 - result)); }

}  // namespace nerf
