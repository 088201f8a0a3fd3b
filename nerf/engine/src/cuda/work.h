// What a kernel is given: everything of one model and one batch, by value. Same layout as Work in
// nerf/engine/kernels.py.
//
// Activations lie as [block of BLOCK samples][row][BLOCK], without the CPU's spare rows: neighbouring threads read
// neighbouring numbers.
#pragma once

#include "adam.h"
#include "composite.h"
#include "field.h"
#include "loss.h"
#include "march.h"
#include "pixels.h"
#include "probes.h"

namespace nerf {

constexpr int MOST_LAYERS = DENSITY_LAYERS + MOST_COLOR_LAYERS;

// Samples packed by ray: those of ray r are numbers first[r] .. first[r + 1] - 1. Room for whole blocks; what fills the
// last one belongs to no ray.
struct SampleArrays {
    float* x;
    float* y;
    float* z;
    float* t;
    float* density;  // per cube side
    int32_t* ray;
    const int64_t* first;
    int64_t n;
};

// One layer: its weights in three forms, the moments, and its activations.
struct LayerArrays {
    float* weights;     // (outputs, inputs)
    float* forward;     // as Weights<Full<float>> has them
    float* transposed;  // the same
    float* first_moment;
    float* second_moment;
    float* grad_weights;  // padded, row-major
    float* in;
    float* out;
    float* grad_out;
    int32_t outputs, inputs, split, padding;
};

struct Work {
    Pixels pixels;
    SampleArrays samples, marched;
    LayerArrays layers[MOST_LAYERS];
    FieldShape shape;
    int32_t n_layers;
    int64_t first_row[MOST_LEVELS];  // of the table, by level
    float* table;
    float* table_first_moment;
    float* table_second_moment;
    float* grad_table;
    uint32_t* packed;
    float* grad_encoding;
    // By ray.
    float* origin;
    float* direction;
    float* offset;
    float* rgba;
    int64_t* count;
    float* pixel;  // Pixel<float>
    float* grad_pixel;
    float* loss;
    float* least;       // what a sample must weigh
    const float* code;  // (n_rays, code_size), or null: all zero
    float* distance;
    float* grad_origin;
    float* grad_direction;
    float* grad_code;
    // By sample.
    float* weight;  // of the marched ones
    float* passing;
    float* reaching;
    float* grad_thickness;
    float* marched_at;   // see marched_length
    float* grad_weight;  // of the distortion, or null
    float* grad_place;
    float* grad_inputs;  // of the colour network
    // By cell.
    const uint8_t* hull;
    uint8_t* occupied;
    uint32_t* bits;  // as OccupancyBits has them
    uint8_t* empty;
    float* value;
    const float* mean;  // of the values in the hull
    const int32_t* hull_cells;
    int32_t* probed;  // the cells of the samples, or null: those that they lie in
    AdamStep* adam;
    const double* total_loss;
    uint64_t seed, update;
    int64_t first_ray, number, n_rays, n_hull_cells;
    Contraction<float> space;
    float step, greatest_thickness, minimum_weight, light_left, loss_scale, distortion, near, rate, beta1, beta2,
        epsilon;
    int32_t background, resolution, levels;
};

}  // namespace nerf
