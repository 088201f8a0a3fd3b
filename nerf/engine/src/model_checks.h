// The border of the structs that the kernels for GPUs share, where nothing can be thrown; see border.h.
#pragma once

#include "border.h"
#include "field.h"
#include "occupancy.h"
#include "pixels.h"

namespace nerf {

constexpr int32_t MOST_CELLS_A_SIDE = 1024;     // of an occupancy grid: its cells are counted in 31 bits
constexpr int32_t MOST_RAYS_OF_A_STEP = 1 << 24;
constexpr int32_t MOST_PIXELS_A_SIDE = 1 << 16, MOST_PIXELS = std::numeric_limits<int32_t>::max();  // of a picture
constexpr int32_t MOST_VERTICES_A_SIDE = 1 << 20;
constexpr int32_t MOST_WIDTH = 1 << 14;  // of a layer
constexpr int32_t MOST_ROWS = 1 << 30;   // of a level with one feature a row
constexpr int32_t MOST_FRAMES = 1 << 24;

inline void check_features(const Fields& fields, int32_t features) {
    fields.within<int32_t>("features", features, 1, 8);
    if (features & (features - 1)) fields.refuse("features", std::to_string(features) + " is not 1, 2, 4 or 8");
}

// Whatever position of the unit cube is looked up, its row is one of the level's.
inline void check(const Level& level, int32_t dimensions, int32_t features) {
    const Fields fields("Level");
    fields.within<int32_t>("resolution", level.resolution, 1, MOST_VERTICES_A_SIDE);
    fields.within<float>("scale", level.scale, 0, float(level.resolution - 1));
    fields.within<int32_t>("rows", level.rows, 1, MOST_ROWS / features);
    if (level.hashed) {
        if (level.rows & (level.rows - 1)) fields.refuse("rows", "of a hashed level, not a power of 2");
        return;
    }
    double reach = 0;  // of the lattice's last vertex and one more along each axis, where a row wraps once
    for (int axis = 0; axis < dimensions; ++axis) reach = (reach + 1) * level.resolution;
    if (reach >= 2.0 * level.rows) fields.refuse("rows", "too few for a dense level of that resolution");
}

inline void check(const FieldShape& shape) {
    const Fields fields("FieldShape");
    fields.within<int32_t>("n_levels", shape.n_levels, 1, MOST_LEVELS);
    check_features(fields, shape.features);
    fields.within<int32_t>("density_width", shape.density_width, 1, MOST_WIDTH);
    fields.within<int32_t>("geometry_features", shape.geometry_features, 1, MOST_WIDTH);
    fields.within<int32_t>("color_width", shape.color_width, 1, MOST_WIDTH);
    fields.within<int32_t>("color_layers", shape.color_layers, 1, MOST_COLOR_LAYERS - 1);
    fields.within<int32_t>("direction_degree", shape.direction_degree, 1, LARGEST_DEGREE);
    fields.within<int32_t>("code_size", shape.code_size, 0, LARGEST_CODE);
    for (int level = 0; level < shape.n_levels; ++level) check(shape.levels[level], 3, shape.features);
}

inline void check_networks(const Parameters& parameters, const FieldShape& shape) {
    const Fields fields("Parameters");
    for (const float* layer : parameters.density) fields.present("density", layer);
    for (int layer = 0; layer <= shape.color_layers; ++layer) fields.present("color", parameters.color[layer]);
}

inline void check(const Parameters& parameters, const FieldShape& shape) {
    Fields("Parameters").present("table", parameters.table);
    check_networks(parameters, shape);
}

inline void check(const OccupancyArrays& arrays) {
    const Fields fields("OccupancyArrays");
    fields.within<int32_t>("resolution", arrays.resolution, 1, MOST_CELLS_A_SIDE);
    fields.present("hull", arrays.hull);
    fields.present("occupied", arrays.occupied);
    fields.present("value", arrays.value);
}

// The cameras of pictures, without which no ray is made.
inline void check_cameras(const Pixels& pixels) {
    const Fields fields("Pixels");
    fields.within<int32_t>("width", pixels.width, 1, MOST_PIXELS_A_SIDE);
    fields.within<int32_t>("height", pixels.height, 1, MOST_PIXELS_A_SIDE);
    fields.within<int64_t>("width * height", int64_t(pixels.width) * pixels.height, 1, MOST_PIXELS);
    fields.within<int32_t>("n_frames", pixels.n_frames, 1, MOST_FRAMES);
    fields.present("poses", pixels.poses);
    fields.present("focal", pixels.focal);
    fields.present("center", pixels.center);
}

inline void check(const Pixels& pixels) {
    check_cameras(pixels);
    const Fields fields("Pixels");
    const int64_t all = int64_t(pixels.width) * pixels.height * pixels.n_frames;
    fields.within<int64_t>("n_candidates", pixels.n_candidates, 1, all);
    fields.within<int32_t>("channels", pixels.channels, 1, 4);
    fields.within<int32_t>("bytes", pixels.bytes, 1, 2);
    fields.positive("white", pixels.white);
    fields.present("images", pixels.images);
    if (pixels.distances) fields.within<int32_t>("distance_scale", pixels.distance_scale, 1, pixels.width);
    if (pixels.weights) fields.within<int32_t>("weight_scale", pixels.weight_scale, 1, pixels.width);
}

// Rays first .. first + n - 1 are drawn.
inline void check_drawn(const Fields& fields, int64_t first, int64_t n) {
    fields.within<int64_t>("first_ray", first, 0, std::numeric_limits<int64_t>::max() / 2);
    fields.within<int64_t>("n_rays", n, 0, MOST_RAYS_OF_A_STEP);
}

inline void check(const DrawnRays& rays, int64_t first, int64_t n) {
    const Fields fields("DrawnRays");
    check_drawn(fields, first, n);
    fields.present("origin", rays.origin, n > 0);
    fields.present("direction", rays.direction, n > 0);
    fields.present("offset", rays.offset, n > 0);
    fields.present("rgba", rays.rgba, n > 0);
}

}  // namespace nerf
