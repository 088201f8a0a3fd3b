// A baked model: what a camera sees of it is read from a sparse grid instead of computed by the networks.
//
// The scene's cube is cut into cells. A cell that holds matter has a brick of corners^3 vertices, its faces included. A
// vertex holds its opacity over one step of the march and, apart from it, the harmonics of its colour up to the first
// order times that opacity, so that colour is linear in what is stored: it may be interpolated, and added up along a
// ray, before the direction is known to it. Empty cells hold how far away, in cells, the nearest brick is (Chebyshev
// distance): a ray leaps as far. A ray reads opacities alone, whose bricks are small, and then the colours of the few
// samples that matter. After Hedman et al. 2021, "Baking neural radiance fields".
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "composite.h"
#include "lanes.h"
#include "march.h"

namespace nerf {

constexpr int COMPONENTS = 16;  // 3 colours, 3 of their slopes by each axis, 4 of padding: one load a vertex
constexpr float OPAQUE = 255;    // an opacity's byte of 1

typedef float Components __attribute__((vector_size(COMPONENTS * sizeof(float)), aligned(sizeof(float))));

// Same layout as BakedScene in nerf/engine/signatures.py.
struct BakedScene {
    const uint8_t* opacity;   // (n, corners, corners, corners), [x, y, z]
    const uint8_t* color;     // (n, corners, corners, corners, COMPONENTS)
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

// A place in a brick: its vertex below, and where between that and the next it is along each axis.
struct Spot {
    int vertex;
    float up[3];
};

// within: the place in the brick's cell, [0, 1]^3.
inline Spot spot_at(const float* within, int corners) {
    Spot spot{};
    for (int axis = 0; axis < 3; ++axis) {
        const float place = within[axis] * float(corners - 1);
        const int low = std::min(int(place), corners - 2);
        spot.up[axis] = place - float(low);
        spot.vertex = spot.vertex * corners + low;
    }
    return spot;
}

// Trilinear interpolation; value(vertex): what a vertex of the brick holds.
template <class Value> inline auto between_vertices(const Spot& spot, int corners, Value value) {
    const auto along_z = [&](int vertex) {
        const auto low = value(vertex);
        return low + (value(vertex + 1) - low) * spot.up[2];
    };
    const auto along_y = [&](int vertex) {
        const auto low = along_z(vertex);
        return low + (along_z(vertex + corners) - low) * spot.up[1];
    };
    const auto low = along_y(spot.vertex);
    return low + (along_y(spot.vertex + corners * corners) - low) * spot.up[0];
}

// A sample that may matter.
struct BakedSample {
    int brick;
    Spot spot;
    float opacity, weight, t;
};

// As many rays as a pack has lanes, and what is found along them; its buffers are reused. Start and slope in cells.
class BakedRays {
public:
    // origin, direction: (count, 3), of unit length. count: at most LANES.
    void see(const BakedScene& scene, const float* origin, const float* direction, int count, Pixel<float>* pixels) {
        begin(scene, origin, direction, count);
        march(scene);
        for (int lane = 0; lane < count; ++lane) pixels[lane] = shade(scene, samples_[lane], direction + 3 * lane);
    }

private:
    static constexpr int lanes = LANES<float>;

    void begin(const BakedScene& scene, const float* origin, const float* direction, int count) {
        const float size = float(scene.resolution), cells = size / scene.side;
        near_ = Pack<float>{};
        far_ = splat(std::numeric_limits<float>::infinity());
        for (int axis = 0; axis < 3; ++axis) {
            for (int lane = 0; lane < lanes; ++lane) {
                const int from = 3 * std::min(lane, count - 1) + axis;
                start_[axis][lane] = (origin[from] - scene.corner[axis]) * cells;
                slope_[axis][lane] = direction[from] * cells;
            }
            inverse_[axis] = 1 / slope_[axis];
            const Pack<float> a = -start_[axis] * inverse_[axis], b = (size - start_[axis]) * inverse_[axis];
            const auto limited = (a == a) & (b == b);  // else the ray lies in a face
            near_ = limited ? greatest(near_, least(a, b)) : near_;
            far_ = limited ? least(far_, greatest(a, b)) : far_;
        }
        for (int lane = 0; lane < lanes; ++lane) {
            samples_[lane].clear();
            light_[lane] = lane < count ? 1 : 0;
            heaviest_[lane] = 0;
        }
    }

    // Finds the samples of every ray that are not far lighter than one in front of them.
    void march(const BakedScene& scene) {
        const float inverse_step = 1 / scene.step;
        Pack<float> index = splat(0.5f);
        for (;;) {
            const Pack<float> t = near_ + index * scene.step;
            const auto live = (t < far_) & (load(light_) > scene.minimum_transmittance);
            if (!lane_bits(live)) return;
            Pack<float> place[3], leave = splat(std::numeric_limits<float>::infinity());
            Pack<int32_t> cell[3], at{};
            for (int axis = 0; axis < 3; ++axis) {
                place[axis] = start_[axis] + t * slope_[axis];
                const auto whole = converted<Pack<int32_t>>(place[axis]);
                cell[axis] = least(greatest(whole, Pack<int32_t>{}), Pack<int32_t>{} + (scene.resolution - 1));
                at = at * scene.resolution + cell[axis];
            }
            const Pack<int32_t> distance = entry(scene.distance, at);
            for (int axis = 0; axis < 3; ++axis) {
                const Pack<int32_t> face = cell[axis] + (slope_[axis] > 0 ? distance : 1 - distance);
                leave = least((converted<Pack<float>>(face) - start_[axis]) * inverse_[axis], leave);
            }
            for (uint32_t left = lane_bits(live & (distance == 0)); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                float within[3];
                for (int axis = 0; axis < 3; ++axis)
                    within[axis] = std::max(0.0f, place[axis][lane] - float(cell[axis][lane]));
                take(scene, scene.brick[at[lane]], within, t[lane], lane);
            }
            // To the first sample beyond; a little more than the rounding of t short of it does not matter.
            const auto beyond = converted<Pack<int32_t>>(
                greatest(least((leave - near_) * inverse_step + 0.498f, splat(1e6f)), Pack<float>{}));
            const Pack<float> next = index + 1;
            index = live & (distance > 0) ? greatest(next, converted<Pack<float>>(beyond) + 0.5f) : next;
        }
    }

    // Looks at the opacity of one ray's sample. within: the place in its cell, [0, 1]^3.
    void take(const BakedScene& scene, int brick, const float* within, float t, int lane) {
        const int corners = scene.corners;
        const Spot spot = spot_at(within, corners);
        const uint8_t* bytes = scene.opacity + size_t(brick) * corners * corners * corners;
        const float opacity = between_vertices(spot, corners, [bytes](int i) { return float(bytes[i]); }) / OPAQUE;
        const float weight = light_[lane] * opacity;
        light_[lane] -= weight;
        if (weight < least_weight(heaviest_[lane], scene.minimum_weight)) return;
        heaviest_[lane] = std::max(heaviest_[lane], weight);
        samples_[lane].push_back({brick, spot, opacity, weight, t});
    }

    // What one ray sees. As in the exact march, see RadianceModel.samples, light samples are left out unless all of the
    // ray is.
    static Pixel<float> shade(const BakedScene& scene, const std::vector<BakedSample>& samples,
                              const float* direction) {
        Pixel<float> pixel;
        if (samples.empty()) return pixel;
        float heaviest = 0, light = 1;
        for (const BakedSample& sample : samples) heaviest = std::max(heaviest, sample.weight);
        const float least = least_weight(heaviest, scene.minimum_weight);
        const int vertices = scene.corners * scene.corners * scene.corners;
        Components seen = {}, scale, shift;
        std::memcpy(&scale, scene.scale, sizeof scale);
        std::memcpy(&shift, scene.shift, sizeof shift);
        for (const BakedSample& sample : samples) {
            if (sample.weight < least) continue;
            const uint8_t* bytes = scene.color + size_t(sample.brick) * vertices * COMPONENTS;
            const auto vertex = [bytes](int i) { return numbers(bytes + i * COMPONENTS); };
            seen += (between_vertices(sample.spot, scene.corners, vertex) * scale + shift) * light;
            const float weight = light * sample.opacity;
            pixel.opacity += weight;
            pixel.depth += weight * sample.t;
            light -= weight;
        }
        for (int c = 0; c < 3; ++c) {
            float color = seen[c];
            for (int axis = 0; axis < 3; ++axis) color += seen[3 + 3 * axis + c] * direction[axis];
            pixel.rgb[c] = std::max(0.0f, color);
        }
        return pixel;
    }

    Pack<float> start_[3], slope_[3], inverse_[3], near_, far_;
    alignas(64) float light_[lanes], heaviest_[lanes];
    std::vector<BakedSample> samples_[lanes];
};

}  // namespace nerf
