// A baked model: what a camera sees of it is read from a sparse grid instead of computed by the networks.
//
// The scene's cube is cut into cells. A cell that holds matter has a brick: corners^3 vertices, its faces included, of
// COMPONENTS bytes each. A vertex holds its opacity over one step of the march and, times that opacity, the harmonics
// of its colour up to the first order, so that colour is linear in what is stored: it may be interpolated, and added
// up along a ray, before the direction is known to it. Empty cells hold how far away, in cells, the nearest brick is
// (Chebyshev distance): a ray leaps as far. After Hedman et al. 2021, "Baking neural radiance fields".
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "composite.h"
#include "lanes.h"

namespace nerf {

constexpr int COMPONENTS = 16;  // 1 opacity, 3 colours times 4 harmonics, 3 of padding: one load a vertex

typedef float Components __attribute__((vector_size(COMPONENTS * sizeof(float)), aligned(sizeof(float))));

// Same layout as BakedScene in nerf/engine/signatures.py.
struct BakedScene {
    const uint8_t* bricks;    // (n, corners, corners, corners, COMPONENTS), [x, y, z]
    const int32_t* brick;     // (G, G, G), which brick a cell has
    const uint8_t* distance;  // (G, G, G), 0: the cell has one
    const float* scale;       // (COMPONENTS), component = byte * scale + shift
    const float* shift;       // (COMPONENTS)
    int32_t resolution, corners;
    float corner[3], side, step;  // scene units
    float minimum_transmittance, minimum_weight;
};

// The bytes of a vertex as numbers. Compilers take a generic conversion from bytes apart, lane by lane.
inline Components numbers(const uint8_t* bytes) {
    Components out;
#if defined(__AVX512F__)
    const __m512 all = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)bytes)));
    std::memcpy(&out, &all, sizeof out);
#elif defined(__AVX2__)
    for (int half = 0; half < 2; ++half) {
        const __m128i eight = _mm_loadl_epi64((const __m128i*)(bytes + 8 * half));
        const __m256 part = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight));
        std::memcpy((char*)&out + half * sizeof part, &part, sizeof part);
    }
#else
    for (int i = 0; i < COMPONENTS; ++i) out[i] = float(bytes[i]);
#endif
    return out;
}

// The components at a place in a brick, [0, corners - 1]^3, by trilinear interpolation.
inline Components brick_value(const uint8_t* brick, int corners, const float (&place)[3]) {
    int low[3];
    float up[3];
    for (int axis = 0; axis < 3; ++axis) {
        low[axis] = place[axis] < float(corners - 2) ? int(place[axis]) : corners - 2;
        up[axis] = place[axis] - float(low[axis]);
    }
    const int line = corners * COMPONENTS, slice = corners * line;
    const uint8_t* vertex = brick + low[0] * slice + low[1] * line + low[2] * COMPONENTS;
    Components sum = {};
    for (int k = 0; k < 8; ++k) {
        const float weight = (k & 1 ? up[2] : 1 - up[2]) * (k >> 1 & 1 ? up[1] : 1 - up[1]) *
                             (k >> 2 ? up[0] : 1 - up[0]);
        sum += numbers(vertex + (k & 1) * COMPONENTS + (k >> 1 & 1) * line + (k >> 2) * slice) * weight;
    }
    return sum;
}

// What a ray sees, samples that weigh less than `least_weight` left out. direction: of unit length. heaviest: weight.
inline Pixel<float> see(const BakedScene& scene, const float* origin, const float* direction, float least_weight,
                        float& heaviest) {
    const float size = float(scene.resolution), cells = size / scene.side;  // cells per scene unit
    float start[3], slope[3], inverse[3], near = 0, far = std::numeric_limits<float>::infinity();
    for (int axis = 0; axis < 3; ++axis) {
        start[axis] = (origin[axis] - scene.corner[axis]) * cells;
        slope[axis] = direction[axis] * cells;
        inverse[axis] = 1 / slope[axis];
        const float a = -start[axis] * inverse[axis], b = (size - start[axis]) * inverse[axis];
        if (a != a || b != b) continue;  // the ray lies in a face
        near = std::max(near, std::min(a, b));
        far = std::min(far, std::max(a, b));
    }
    Pixel<float> pixel;
    Components seen = {}, scale, shift;
    std::memcpy(&scale, scene.scale, sizeof scale);
    std::memcpy(&shift, scene.shift, sizeof shift);
    float light = 1;
    const float inverse_step = 1 / scene.step;
    for (float index = 0.5f; light > scene.minimum_transmittance;) {
        const float t = near + index * scene.step;
        if (!(t < far)) break;
        float place[3];
        int cell[3];
        for (int axis = 0; axis < 3; ++axis) {
            place[axis] = start[axis] + t * slope[axis];
            cell[axis] = std::min(std::max(int(place[axis]), 0), scene.resolution - 1);
        }
        const int at = (cell[0] * scene.resolution + cell[1]) * scene.resolution + cell[2];
        if (const int distance = scene.distance[at]) {
            float leave = std::numeric_limits<float>::infinity();
            for (int axis = 0; axis < 3; ++axis) {
                const int face = slope[axis] > 0 ? cell[axis] + distance : cell[axis] + 1 - distance;
                leave = least(leave, (float(face) - start[axis]) * inverse[axis]);
            }
            // To the first sample beyond; a little more than the rounding of t short of it does not matter.
            const float beyond = std::ceil((leave - near) * inverse_step - 0.501f) + 0.5f;
            index = std::max(index + 1, beyond);
            continue;
        }
        const int corners = scene.corners;
        for (int axis = 0; axis < 3; ++axis)
            place[axis] = std::max(0.0f, (place[axis] - float(cell[axis])) * float(corners - 1));
        const uint8_t* brick = scene.bricks + size_t(scene.brick[at]) * corners * corners * corners * COMPONENTS;
        const Components value = brick_value(brick, corners, place) * scale + shift;
        const float opacity = value[0], weight = light * opacity;
        ++index;
        heaviest = std::max(heaviest, weight);
        if (weight < least_weight) continue;
        seen += value * light;
        pixel.opacity += weight;
        pixel.depth += weight * t;
        light -= weight;
    }
    for (int c = 0; c < 3; ++c) {
        float color = seen[1 + c];
        for (int axis = 0; axis < 3; ++axis) color += seen[4 + 3 * axis + c] * direction[axis];
        pixel.rgb[c] = std::max(0.0f, color);
    }
    return pixel;
}

// What a ray sees. As in the exact march, see RadianceModel.samples, light samples are left out unless all of the ray
// is.
inline Pixel<float> see(const BakedScene& scene, const float* origin, const float* direction) {
    float heaviest = 0;
    const Pixel<float> pixel = see(scene, origin, direction, scene.minimum_weight, heaviest);
    if (heaviest == 0 || PART_OF_HEAVIEST * heaviest >= scene.minimum_weight) return pixel;
    const float least_weight = PART_OF_HEAVIEST * heaviest;
    return see(scene, origin, direction, least_weight, heaviest);
}

}  // namespace nerf
