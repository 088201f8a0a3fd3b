// A baked model: what a camera sees of it is read from a sparse grid instead of computed by the networks.
//
// The scene box is cut into cells. A cell that holds matter has a brick of corners^3 vertices, its faces included. A
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
#include "radiance_calls.h"

namespace nerf {

constexpr int COMPONENTS = 16;  // 3 colours, 3 of their slopes by each axis, 4 of padding: one load a vertex
constexpr int MOST_CORNERS = 64;  // of a brick along a side
constexpr float OPAQUE = 255;   // an opacity's byte of 1

typedef float Components __attribute__((vector_size(COMPONENTS * sizeof(float)), aligned(sizeof(float))));

// Read by nerf/engine/signatures.py.
struct BakedScene {
    const uint8_t* opacity;   // (n_bricks, corners, corners, corners), [x, y, z]
    const uint8_t* color;     // (n_bricks, corners, corners, corners, COMPONENTS)
    const int32_t* brick;     // (G, G, G), which brick a cell has
    const uint8_t* distance;  // (G, G, G), 0: the cell has one
    const float* scale;       // (COMPONENTS), component = byte * scale + shift
    const float* shift;       // (COMPONENTS)
    int32_t resolution, corners, n_bricks;
    float corner[3], side, step;  // scene units
    float minimum_transmittance, minimum_weight;
};

inline void check(const BakedScene& scene) {
    const Fields fields("BakedScene");
    fields.within<int32_t>("resolution", scene.resolution, 1, MOST_CELLS_A_SIDE);
    fields.within<int32_t>("corners", scene.corners, 2, MOST_CORNERS);
    fields.within<int32_t>("n_bricks", scene.n_bricks, 0, 1 << 30);
    fields.finite("corner", scene.corner);
    fields.positive("side", scene.side);
    check_step_length(fields, scene.step, scene.side);
    fields.within<float>("minimum_transmittance", scene.minimum_transmittance, 0, 1);
    fields.within<float>("minimum_weight", scene.minimum_weight, 0, 1);
    for (const uint8_t* array : {scene.opacity, scene.color}) fields.present("bricks", array, scene.n_bricks > 0);
    fields.present("brick", scene.brick);
    fields.present("distance", scene.distance);
    fields.present("scale", scene.scale);
    fields.present("shift", scene.shift);
}

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

// A position in a brick: its vertex below, and where between that and the next it is along each axis.
struct Spot {
    int vertex;
    float up[3];
};

// within: the position in the brick's cell, [0, 1]^3.
inline Spot spot_at(const float* within, int corners) {
    Spot spot{};
    for (int axis = 0; axis < 3; ++axis) {
        const float along = within[axis] * float(corners - 1);
        const int low = std::min(int(along), corners - 2);
        spot.up[axis] = along - float(low);
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

// One ray a lane, and what is found along them; its buffers are reused.
class BakedRays {
public:
    // origin, direction: of unit length. pixels: what every ray sees.
    void see(const BakedScene& scene, const Pack<float>* origin, const Pack<float>* direction, Pixel<float>* pixels) {
        rays_ = begin_march(origin, direction, scene.corner, scene.side, scene.step, splat(0.5f));
        for (int lane = 0; lane < lanes; ++lane) {
            samples_[lane].clear();
            light_[lane] = 1;
            heaviest_[lane] = 0;
        }
        march(scene);
        for (int lane = 0; lane < lanes; ++lane) {
            const float toward[] = {direction[0][lane], direction[1][lane], direction[2][lane]};
            pixels[lane] = shade(scene, lane, toward);
        }
    }

private:
    static constexpr int lanes = LANES<float>;

    // Finds the samples of every ray that are not far lighter than one in front of them.
    void march(const BakedScene& scene) {
        const Pack<float> step = splat(scene.step);
        const float inverse_step = 1 / scene.step, size = float(scene.resolution), cell_side = 1 / size;
        for (;;) {
            const auto live = (rays_.next < rays_.count) & (load(light_) > scene.minimum_transmittance);
            if (!lane_bits(live)) return;
            const Pack<float> t = rays_.t(step);
            Pack<float> position[3], leave = splat(std::numeric_limits<float>::infinity());
            Pack<int32_t> cell[3], at{};
            for (int axis = 0; axis < 3; ++axis) {
                position[axis] = (rays_.start[axis] + t * rays_.slope[axis]) * size;
                const auto whole = converted<Pack<int32_t>>(position[axis]);
                cell[axis] = least(greatest(whole, Pack<int32_t>{}), Pack<int32_t>{} + (scene.resolution - 1));
                at = at * scene.resolution + cell[axis];
            }
            const Pack<int32_t> distance = entry(scene.distance, at);
            for (int axis = 0; axis < 3; ++axis) {
                const Pack<int32_t> face = cell[axis] + (rays_.slope[axis] > 0 ? distance : 1 - distance);
                const Pack<float> there = converted<Pack<float>>(face) * cell_side;
                leave = least((there - rays_.start[axis]) * rays_.inverse[axis], leave);
            }
            for (uint32_t left = lane_bits(live & (distance == 0)); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                float within[3];
                for (int axis = 0; axis < 3; ++axis)
                    within[axis] = std::min(std::max(0.0f, position[axis][lane] - float(cell[axis][lane])), 1.0f);
                take(scene, scene.brick[at[lane]], within, t[lane], lane);
            }
            // To the first sample beyond the empty cells, as March::look does.
            const Pack<float> index = (leave - rays_.near) * inverse_step - rays_.offset + 0.999f;
            const auto beyond = converted<Pack<int32_t>>(least(greatest(index, Pack<float>{}), splat(1e6f)));
            rays_.next = distance > 0 ? greatest(rays_.next + 1, beyond) : rays_.next + 1;
        }
    }

    // Looks at the opacity of one ray's sample. within: the position in its cell, [0, 1]^3.
    void take(const BakedScene& scene, int brick, const float* within, float t, int lane) {
        if (brick < 0 || brick >= scene.n_bricks) return;
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
    Pixel<float> shade(const BakedScene& scene, int lane, const float* direction) const {
        const float least = least_weight(heaviest_[lane], scene.minimum_weight);
        Pixel<float> pixel;
        float light = 1;
        const int vertices = scene.corners * scene.corners * scene.corners;
        Components seen = {}, scale, shift;
        std::memcpy(&scale, scene.scale, sizeof scale);
        std::memcpy(&shift, scene.shift, sizeof shift);
        for (const BakedSample& sample : samples_[lane]) {
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

    March<Pack<float>> rays_;
    alignas(64) float light_[lanes] = {}, heaviest_[lanes] = {};
    std::vector<BakedSample> samples_[lanes];
};

}  // namespace nerf
