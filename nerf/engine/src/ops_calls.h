// The calls of single functions, and their border, see border.h.
#pragma once

#include "model_checks.h"
#include "radiance_calls.h"

namespace nerf {

constexpr int32_t MOST_LAYERS_OF_A_NETWORK = 64;

// nerf/engine/signatures.py reads the structs below, for float and for double: their fields come first.
template <class T> struct HashGridCall {
    const Level* levels;
    const T* position;  // (n, dimensions), in [0, 1]
    const T* table;     // (rows of all levels, features)
    T* out;             // (n, n_levels * features), or its gradient
    T* grad_position;   // like position, added to; or null
    T* grad_table;      // like table, added to; or null. Without either, `out` is computed
    int64_t n;
    int32_t dimensions, n_levels, features, threads;
};

template <class T> inline void check(const HashGridCall<T>& call) {
    const Fields fields("HashGridCall");
    fields.at_once("n", call.n);
    fields.within<int32_t>("dimensions", call.dimensions, 1, 4);
    fields.within<int32_t>("n_levels", call.n_levels, 0, MOST_LEVELS);
    check_features(fields, call.features);
    fields.threads(call.threads);
    fields.present("levels", call.levels, call.n_levels > 0);
    for (int level = 0; level < call.n_levels; ++level) check(call.levels[level], call.dimensions, call.features);
    for (const T* array : {call.position, call.table, static_cast<const T*>(call.out)})
        fields.present("position, table or out", array, call.n > 0 && call.n_levels > 0);
}

template <class T> struct MlpCall {
    const int32_t* widths;    // (n_layers + 1), inputs first
    const T* const* weights;  // n_layers times (widths[k + 1], widths[k])
    const T* input;           // (n, widths[0])
    T* out;                   // (n, widths[n_layers]), or its gradient
    T* grad_input;            // like input
    T* const* grad_weights;   // like weights
    int64_t n;
    int32_t n_layers, threads;
};

template <class T> inline void check(const MlpCall<T>& call, bool backward) {
    const Fields fields("MlpCall");
    fields.at_once("n", call.n);
    fields.within<int32_t>("n_layers", call.n_layers, 1, MOST_LAYERS_OF_A_NETWORK);
    fields.threads(call.threads);
    fields.present("widths", call.widths);
    fields.present("weights", call.weights);
    fields.present("grad_weights", call.grad_weights, backward);
    for (int layer = 0; layer <= call.n_layers; ++layer)
        fields.within<int32_t>("widths", call.widths[layer], 1, MOST_WIDTH);
    for (int layer = 0; layer < call.n_layers; ++layer) {
        fields.present("weights", call.weights[layer]);
        fields.present("grad_weights", backward ? call.grad_weights[layer] : nullptr, backward);
    }
    fields.present("input", call.input, call.n > 0);
    fields.present("out", call.out, call.n > 0);
    fields.present("grad_input", call.grad_input, backward && call.n > 0);
}

template <class T> struct HarmonicsCall {
    const T* direction;  // (n, 3), of unit length
    T* out;              // (n, degree^2), or its gradient
    T* grad_direction;   // (n, 3), or null: `out` is computed
    int64_t n;
    int32_t degree;
};

template <class T> inline void check(const HarmonicsCall<T>& call) {
    const Fields fields("HarmonicsCall");
    fields.at_once("n", call.n);
    fields.within<int32_t>("degree", call.degree, 1, LARGEST_DEGREE);
    fields.present("direction", call.direction, call.n > 0);
    fields.present("out", call.out, call.n > 0);
}

template <class T> struct MarchCall {
    const T* origin;     // (n_rays, 3)
    const T* direction;  // (n_rays, 3), of unit length
    const T* offset;     // (n_rays)
    const uint8_t* occupied;
    int64_t* count;        // (n_rays), samples of each ray
    const int64_t* first;  // (n_rays), where its samples go
    T* t;                  // null to count only
    T corner[3], side, step;
    T center[3], radius, near;  // of the contraction, see Contraction
    int64_t n_rays;
    int32_t resolution, threads;
};

template <class T> inline void check(const MarchCall<T>& call) {
    const Fields fields("MarchCall");
    fields.at_once("n_rays", call.n_rays);
    fields.threads(call.threads);
    fields.within<int32_t>("resolution", call.resolution, 1, MOST_CELLS_A_SIDE);
    fields.positive("side", call.side);
    check_step_length(fields, call.step, call.side);
    fields.finite("corner", call.corner);
    fields.finite("center", call.center);
    fields.not_negative("radius", call.radius);
    fields.not_negative("near", call.near);
    fields.present("occupied", call.occupied);
    for (const T* array : {call.origin, call.direction, call.offset}) fields.present("rays", array, call.n_rays > 0);
    fields.present("count", call.count, call.n_rays > 0);
    fields.present("first", call.first, call.t && call.n_rays > 0);
}

template <class T> struct CompositeCall {
    const T* thickness;    // (n), optical thickness of every sample
    const T* rgb;          // (n, 3)
    const T* t;            // (n)
    const int64_t* first;  // (n_rays + 1), where the samples of a ray begin
    T* pixel;              // (n_rays, 5): rgb, opacity and depth, or their gradients
    T* grad_thickness;     // (n)
    T* grad_rgb;           // (n, 3)
    int64_t n_rays;
    int32_t threads;
};

template <class T> inline void check(const CompositeCall<T>& call, bool backward) {
    const Fields fields("CompositeCall");
    fields.at_once("n_rays", call.n_rays);
    fields.threads(call.threads);
    fields.present("first", call.first);
    fields.within<int64_t>("first", call.first[0], 0, 0);
    for (int64_t ray = 0; ray < call.n_rays; ++ray)
        fields.within<int64_t>("first", call.first[ray + 1], call.first[ray], MOST_AT_ONCE);
    const bool any = call.first[call.n_rays] > 0;
    for (const T* array : {call.thickness, call.rgb, call.t}) fields.present("samples", array, any);
    for (const T* array : {call.grad_thickness, call.grad_rgb}) fields.present("gradients", array, any && backward);
    fields.present("pixel", call.pixel, call.n_rays > 0);
}

}  // namespace nerf
