// The photometric loss of one ray and its gradient by the pixel; see photometric_loss in nerf/losses.py.
#pragma once

#include "composite.h"

namespace nerf {

// Same numbers as BACKGROUNDS in nerf/engine/signatures.py.
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

}  // namespace nerf
