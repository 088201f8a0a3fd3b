// Training pixels: every candidate once per epoch, in an order shuffled without a table, and the rays through them.
#pragma once

#include <cmath>

#include "lens.h"
#include "random.h"

namespace nerf {

// See Views in nerf/scenes/scene.py and PixelSampler. Read by nerf/engine/signatures.py.
struct Pixels {
    const void* images;         // (F, height, width, channels), uint8 or int16
    const int64_t* candidates;  // flat indices of pixels; null: all pixels, each being its index
    const float* poses;         // (F, 3, 4)
    const float* focal;         // (F, 2)
    const float* center;        // (F, 2)
    const Lens* lens;           // (F), or null for pinholes
    int64_t n_candidates;
    int32_t width, height, channels, bytes, n_frames;  // n_frames: F
    float white;
    // Distances measured along the pixels' rays, scene units, 0 where none was; null: none at all. One stands for
    // distance_scale x distance_scale pixels: (F, ceil(height / distance_scale), ceil(width / distance_scale)).
    const float* distances;
    int32_t distance_scale;
    // What the photometric error of a pixel weighs, by squares of pixels as above; null: all weigh 1.
    const float* weights;
    int32_t weight_scale;
};

// The rays of a tile: origin and direction (n, 3), offset (n), rgba (n, 4) straight alpha, alpha 1 where there is none,
// frame (n), the picture, measured (n), the distance, and pixel (n), its flat index; the last three null if not wanted.
struct DrawnRays {
    float* origin;
    float* direction;
    float* offset;
    float* rgba;
    int32_t* frame;
    float* measured;
    int64_t* pixel;
};

constexpr int DRAWN_AT_ONCE = 32;  // enough to hide the memory's latency behind each other

inline float channel_value(const Pixels& pixels, int64_t index) {
    return pixels.bytes == 1 ? float(static_cast<const uint8_t*>(pixels.images)[index])
                             : float(static_cast<const int16_t*>(pixels.images)[index]);
}

// The ray through the centre of a picture's pixel, or one a lane.
template <class V>
inline void ray_through(const Pixels& pixels, int64_t frame, V column, V row, V* origin, V* direction) {
    const float *center = pixels.center + 2 * frame, *focal = pixels.focal + 2 * frame;
    const float* pose = pixels.poses + 12 * frame;
    V ray[3] = {(column + 0.5f - center[0]) / focal[0], (row + 0.5f - center[1]) / focal[1], V{} + 1.0f};
    if (pixels.lens) ray_of_drawn(pixels.lens[frame], ray[0], ray[1], ray);
    V square{};
    for (int axis = 0; axis < 3; ++axis) {
        direction[axis] = pose[4 * axis] * ray[0] + pose[4 * axis + 1] * ray[1] + pose[4 * axis + 2] * ray[2];
        origin[axis] = V{} + pose[4 * axis + 3];
        square += direction[axis] * direction[axis];
    }
    const V length = square_root(square);
    for (int axis = 0; axis < 3; ++axis) direction[axis] /= length;
}

// What a map of squares of scale x scale pixels holds for a pixel of a picture.
inline float square_of(const float* map, int32_t scale, const Pixels& pixels, int64_t frame, int32_t column,
                       int32_t row) {
    const int64_t rows = (pixels.height + scale - 1) / scale, columns = (pixels.width + scale - 1) / scale;
    return map[(frame * rows + row / scale) * columns + column / scale];
}

// The distance that was measured at a pixel of a picture, scene units; 0 where none was.
inline float distance_of(const Pixels& pixels, int64_t frame, int32_t column, int32_t row) {
    return pixels.distances ? square_of(pixels.distances, pixels.distance_scale, pixels, frame, column, row) : 0.0f;
}

// What the photometric error of a pixel weighs; index: its flat one.
inline float weight_of(const Pixels& pixels, int64_t index) {
    if (!pixels.weights) return 1;
    const int64_t area = int64_t(pixels.width) * pixels.height;
    const int32_t pixel = int32_t(index % area);
    return square_of(pixels.weights, pixels.weight_scale, pixels, index / area, pixel % pixels.width,
                     pixel / pixels.width);
}

// Draws rays number first .. first + n - 1 of the whole training.
inline void draw(const Pixels& pixels, uint64_t seed, uint64_t first, int n, const DrawnRays& out) {
    const uint64_t size = uint64_t(pixels.n_candidates);
    for (int begin = 0; begin < n; begin += DRAWN_AT_ONCE) {
        const int count = n - begin < DRAWN_AT_ONCE ? n - begin : DRAWN_AT_ONCE;
        int64_t index[DRAWN_AT_ONCE];
        for (int i = 0; i < count; ++i) {
            const uint64_t number = first + begin + i;
            index[i] = int64_t(shuffled(number % size, size, random_bits(seed, Stream::SHUFFLE, number / size)));
            if (pixels.candidates) __builtin_prefetch(pixels.candidates + index[i]);
        }
        for (int i = 0; i < count; ++i) {
            if (pixels.candidates) index[i] = pixels.candidates[index[i]];
            __builtin_prefetch(static_cast<const char*>(pixels.images) + index[i] * pixels.channels * pixels.bytes);
        }
        for (int i = 0; i < count; ++i) {
            const int ray = begin + i;
            const int64_t area = int64_t(pixels.width) * pixels.height, frame = index[i] / area;
            const int32_t pixel = int32_t(index[i] - frame * area);
            const int32_t column = pixel % pixels.width, row = pixel / pixels.width;
            if (out.frame) out.frame[ray] = int32_t(frame);
            if (out.pixel) out.pixel[ray] = index[i];
            if (out.measured) out.measured[ray] = distance_of(pixels, frame, column, row);
            ray_through(pixels, frame, float(column), float(row), out.origin + 3 * ray, out.direction + 3 * ray);
            out.offset[ray] = unit_float(random_bits(seed, Stream::OFFSET, first + ray), 0);
            out.rgba[4 * ray + 3] = 1;
            for (int c = 0; c < pixels.channels; ++c)
                out.rgba[4 * ray + c] = channel_value(pixels, index[i] * pixels.channels + c) / pixels.white;
        }
    }
}

}  // namespace nerf
