// What cameras see of points, by the distances that their pixels have; see nerf/ops/sight.py.
#pragma once

#include <cstdint>

#include "border.h"

namespace nerf {

// nerf/engine/signatures.py reads the structs below.
struct SightViews {
    const float* poses;     // (n_cameras, 3, 4), world from camera
    const float* focal;     // (n_cameras, 2), pixels
    const float* center;    // (n_cameras, 2), pixels
    const float* lenses;    // (n_cameras, 12), see lens.h
    const float* distance;  // (n_cameras, height, width), along the ray, scene units; infinite where nothing is seen
    int32_t n_cameras, height, width;
};

inline void check(const Fields& fields, const SightViews& views) {
    fields.within<int32_t>("n_cameras", views.n_cameras, 0, 1 << 20);
    for (const int32_t side : {views.height, views.width}) fields.within<int32_t>("height or width", side, 1, 1 << 14);
    for (const float* array : {views.poses, views.focal, views.center, views.lenses, views.distance})
        fields.present("poses, focal, center, lenses or distance", array, views.n_cameras > 0);
}

struct FusionCall {
    SightViews views;
    const float* points;  // (n, 3), scene units
    float* value;         // (n), in [-1, 1], above 0 behind surfaces
    int64_t n;
    float reach, through;  // see `fused`
    int32_t threads;
};

inline void check(const FusionCall& call) {
    const Fields fields("FusionCall");
    check(fields, call.views);
    fields.at_once("n", call.n);
    fields.positive("reach", call.reach);
    fields.not_negative("through", call.through);
    fields.threads(call.threads);
    fields.present("points", call.points, call.n > 0);
    fields.present("value", call.value, call.n > 0);
}

struct WitnessCall {
    SightViews views;
    const float* points;  // (n, 3), scene units
    const float* before;  // (n), scene units, may be infinite
    const float* behind;  // (n), scene units
    const int32_t* enough;
    uint8_t* witnessed;  // (n)
    int64_t n;
    float sharp;  // see `gap_between`; 0: the pixel is taken, and the nearest of those beside it
    int32_t threads;
};

inline void check(const WitnessCall& call) {
    const Fields fields("WitnessCall");
    check(fields, call.views);
    fields.at_once("n", call.n);
    fields.not_negative("sharp", call.sharp);
    fields.threads(call.threads);
    for (const float* array : {call.points, call.before, call.behind})
        fields.present("points, before or behind", array, call.n > 0);
    fields.present("enough", call.enough, call.n > 0);
    fields.present("witnessed", call.witnessed, call.n > 0);
}

struct BestViewsCall {
    SightViews views;
    const float* points;   // (n, 3), scene units
    const float* normals;  // (n, 3), of unit length, outwards
    int32_t* cameras;      // (n, count), the best first; -1 where there are fewer
    float* shares;         // (n, count); 0 there
    int64_t n;
    float slack, least_cosine;  // see `best_views`
    int32_t count, threads;
};

constexpr int32_t MOST_BEST_VIEWS = 32;

inline void check(const BestViewsCall& call) {
    const Fields fields("BestViewsCall");
    check(fields, call.views);
    fields.at_once("n", call.n);
    fields.positive("slack", call.slack);
    fields.within<float>("least_cosine", call.least_cosine, 0, 1);
    fields.within<int32_t>("count", call.count, 1, MOST_BEST_VIEWS);
    fields.threads(call.threads);
    for (const float* array : {call.points, call.normals, static_cast<const float*>(call.shares)})
        fields.present("points, normals or shares", array, call.n > 0);
    fields.present("cameras", call.cameras, call.n > 0);
}

}  // namespace nerf
