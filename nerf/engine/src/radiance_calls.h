// The calls that a radiance field takes, and their border, see border.h.
#pragma once

#include "loss.h"
#include "march.h"
#include "model_checks.h"
#include "stopwatch.h"
#include "views.h"

namespace nerf {

constexpr float BELOW_1 = 0x1.fffffep-1f;  // the largest number below it

// No finer than rays have steps.
template <class T> inline void check_step_length(const Fields& fields, T step, T side) {
    fields.positive("step_length", step);
    if (step < side / FINEST_STEPS)
        fields.refuse("step_length", "shorter than the box's side / " + std::to_string(FINEST_STEPS));
}

// nerf/engine/signatures.py reads the structs below.
struct RadianceSpec {
    FieldShape shape;
    Parameters parameters;
    OccupancyArrays occupancy;
    float corner[3], side;  // scene units
    float minimum_transmittance, minimum_weight;
    float center[3], radius, near;  // of the contraction, see Contraction
};

inline void check(const RadianceSpec& spec) {
    check(spec.shape);
    check(spec.parameters, spec.shape);
    check(spec.occupancy);
    const Fields fields("RadianceSpec");
    fields.finite("corner", spec.corner);
    fields.positive("side", spec.side);
    fields.within<float>("minimum_transmittance", spec.minimum_transmittance, 0, 1);
    fields.within<float>("minimum_weight", spec.minimum_weight, 0, 1);
    fields.finite("center", spec.center);
    fields.not_negative("radius", spec.radius);
    fields.not_negative("near", spec.near);
}

// What each of a step's rays was and did.
struct RayRecords {
    int64_t* pixel;  // (n_rays), flat indices
    float* error;    // (n_rays), photometric, mean over channels, before it is weighted
};

inline void check(const RayRecords& records) {
    const Fields fields("RayRecords");
    fields.present("pixel", records.pixel);
    fields.present("error", records.error);
}

struct StepCall {
    const Pixels* pixels;
    const Parameters* gradients;  // where `step` writes the gradients instead of moving anything, or null: it moves
    const Parameters* first_moments;
    const Parameters* second_moments;
    uint64_t seed;
    int64_t first_ray;  // how many rays were drawn before
    int64_t number;     // of Adam's step, from 1
    float step_length;  // scene units
    float rate, beta1, beta2, epsilon;
    float distortion;  // weight of that loss
    float distance;    // weight of the distance loss, where distances were measured
    float near;        // distance from a camera within which gradients fade, scene units; 0: they do not
    int32_t n_rays, rays_per_tile, levels, background, threads;
    const ColorMap* colors;        // (F), or null: pictures show colours as they are
    ViewGradient* view_gradients;  // (F), where to write the gradients by the pictures, or null
    int32_t n_views, turns;        // turns: whether gradients by the cameras are wanted too; else they are zero
    RayRecords* by_ray;            // where to write what each ray was and did, or null
};

inline void check(const StepCall& call, const RadianceSpec& spec) {
    const Fields fields("StepCall");
    check_drawn(fields, call.first_ray, call.n_rays);
    fields.within<int32_t>("rays_per_tile", call.rays_per_tile, 1, MOST_RAYS_OF_A_STEP);
    fields.within<int32_t>("levels", call.levels, 1, spec.shape.n_levels);
    fields.within<int32_t>("background", call.background, 0, int32_t(RANDOM));
    fields.threads(call.threads);
    check_step_length(fields, call.step_length, spec.side);
    fields.within<int64_t>("number", call.number, 1, MOST_AT_ONCE);
    fields.finite("rate", call.rate);
    for (const float beta : {call.beta1, call.beta2}) fields.within<float>("beta", beta, 0, BELOW_1);
    for (const float weight : {call.epsilon, call.distortion, call.distance, call.near})
        fields.not_negative("epsilon, distortion, distance or near", weight);

    const Pixels& pixels = present(call.pixels);
    if (call.n_rays > 0) check(pixels);
    if (call.gradients) check(*call.gradients, spec.shape);
    if (call.by_ray) check(*call.by_ray);
    if (call.view_gradients) fields.within<int32_t>("n_views", call.n_views, pixels.n_frames, pixels.n_frames);
}

// What moves the parameters has their moments too.
inline void check_moments(const StepCall& call, const RadianceSpec& spec) {
    for (const Parameters* moments : {call.first_moments, call.second_moments}) checked(moments, spec.shape);
}

struct StepReport {
    double loss;
    int64_t samples;           // learned from: those that light reaches, and that are not too light
    int64_t marched, reached;  // looked at by the density network; in front of where their rays end
    double seconds[N_STAGES];  // wall seconds of all threads together
};

struct OccupancyCall {
    uint64_t seed, number;
    float step_length;  // box sides
    int32_t levels, prune, threads;
};

inline void check(const OccupancyCall& call, const RadianceSpec& spec) {
    const Fields fields("OccupancyCall");
    fields.positive("step_length", call.step_length);
    fields.within<int32_t>("levels", call.levels, 1, spec.shape.n_levels);
    fields.threads(call.threads);
}

struct RenderCall {
    const float* origin;
    const float* direction;
    const float* offset;
    const float* code;  // or null: all zero
    float* rgb;         // or, as the two below, its gradient
    float* opacity;
    float* depth;
    int64_t n_rays;
    float step_length;  // scene units
    int32_t threads;
};

inline void check(const RenderCall& call, const RadianceSpec& spec) {
    const Fields fields("RenderCall");
    fields.at_once("n_rays", call.n_rays);
    fields.threads(call.threads);
    check_step_length(fields, call.step_length, spec.side);
    const bool any = call.n_rays > 0;
    for (const float* array : {call.origin, call.direction, call.offset}) fields.present("rays", array, any);
    for (const float* array : {call.rgb, call.opacity, call.depth}) fields.present("pixels", array, any);
}

// Where the gradients of a rendering go, arrays of zeros; those not wanted are null. Of the parameters, that is the
// table, or all networks.
struct RenderGradients {
    Parameters parameters;
    float* origin;
    float* direction;
    float* code;
};

inline void check(const RenderGradients& gradients, const RadianceSpec& spec) {
    if (gradients.parameters.density[0]) check_networks(gradients.parameters, spec.shape);
}

struct SurfaceCall {
    const float* origin;
    const float* direction;
    float* distance;
    int64_t n_rays;
    float step_length;  // scene units
    float level;        // of the light left
    int32_t threads;
};

inline void check(const SurfaceCall& call, const RadianceSpec& spec) {
    const Fields fields("SurfaceCall");
    fields.at_once("n_rays", call.n_rays);
    fields.threads(call.threads);
    check_step_length(fields, call.step_length, spec.side);
    fields.within<float>("level", call.level, 0, 1);
    fields.present("origin", call.origin, call.n_rays > 0);
    fields.present("direction", call.direction, call.n_rays > 0);
    fields.present("distance", call.distance, call.n_rays > 0);
}

// Positions whose density is asked for.
inline void check_positions(const float* position, int64_t n, const float* out, int32_t threads) {
    const Fields fields("density");
    fields.at_once("n", n);
    fields.threads(threads);
    fields.present("position", position, n > 0);
    fields.present("out", out, n > 0);
}

}  // namespace nerf
