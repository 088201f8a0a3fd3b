// What is peculiar to each picture: where its camera stands and how it shows colours; see
// nerf/training/camera_optimizer.py.
#pragma once

#include "composite.h"

namespace nerf {

// How a picture shows colours: gain * colour + offset, where there is something.
struct ColorMap {
    float gain[3], offset[3];
};

// Gradients by a picture's camera, turned and moved in the world, and by its colours.
struct ViewGradient {
    float rotation[3], translation[3];
    ColorMap color;
};

inline float shown(const ColorMap& color, const Pixel<float>& pixel, int c) {
    return color.gain[c] * pixel.rgb[c] + color.offset[c] * pixel.opacity;
}

// Whether the picture, of colour rgba there, is saturated and cuts off light that is more than it can show.
inline bool cut_off(float shown, const Pixel<float>& pixel, const float* rgba, int c) {
    return rgba[c] >= 1 && shown > pixel.opacity;
}

inline Pixel<float> show(const ColorMap& color, const Pixel<float>& pixel, const float* rgba) {
    Pixel<float> out = pixel;
    for (int c = 0; c < 3; ++c) {
        const float value = shown(color, pixel, c);
        out.rgb[c] = cut_off(value, pixel, rgba, c) ? pixel.opacity : value;
    }
    return out;
}

// From the gradient by what `show` made of `pixel` to that by the pixel, in place, and by the colours.
inline void show_vjp(const ColorMap& color, const Pixel<float>& pixel, const float* rgba, Pixel<float>& grad,
                     ColorMap& grad_color) {
    for (int c = 0; c < 3; ++c) {
        if (cut_off(shown(color, pixel, c), pixel, rgba, c)) {
            grad.opacity += grad.rgb[c];
            grad_color.gain[c] = grad_color.offset[c] = grad.rgb[c] = 0;
            continue;
        }
        grad_color.gain[c] = grad.rgb[c] * pixel.rgb[c];
        grad_color.offset[c] = grad.rgb[c] * pixel.opacity;
        grad.opacity += grad.rgb[c] * color.offset[c];
        grad.rgb[c] *= color.gain[c];
    }
}

// From the gradients by a ray to those by its camera: a small turn w of the camera turns the ray by w x direction.
inline void camera_vjp(const float* direction, const float* grad_origin, const float* grad_direction,
                       ViewGradient& grad) {
    for (int axis = 0; axis < 3; ++axis) {
        const int next = (axis + 1) % 3, last = (axis + 2) % 3;
        grad.rotation[axis] = direction[next] * grad_direction[last] - direction[last] * grad_direction[next];
        grad.translation[axis] = grad_origin[axis];
    }
}

}  // namespace nerf
