// What a kernel is given: everything of one model and one batch, by value. nerf/engine/kernels.py reads the structs
// below.
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
    float* x;  // in the scene box, [0, 1]
    float* y;
    float* z;
    float* t;        // along the ray, scene units
    float* density;  // per side of the box
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

// The field: its sizes, its layers and its table.
struct FieldArrays {
    LayerArrays layers[MOST_LAYERS];
    FieldShape shape;
    int32_t n_layers;
    int64_t first_row[MOST_LEVELS];  // of the table, by level
    float* table;
    float* table_first_moment;
    float* table_second_moment;
    float* grad_table;  // zero between two uses
    uint32_t* packed;   // the table as PackedTable has it
};

// What is known of each ray.
struct RayArrays {
    int64_t n_rays;
    float* origin;
    float* direction;
    float* offset;      // of the samples in their steps
    float* rgba;        // of the pixel it was drawn for
    const float* code;  // (n_rays, code_size), or null: all zero
    int64_t* count;     // of its samples
    float* least;       // what a sample must weigh
    float* pixel;       // Pixel<float>
    float* loss;
    float* distance;  // of the surface
    float* measured;  // the distance measured for the pixel it was drawn for, 0: none
    float* grad_pixel;
    float* grad_origin;
    float* grad_direction;
    float* grad_code;
};

// What is computed for each sample.
struct SampleNumbers {
    float* weight;    // of the marched ones
    float* passing;   // the light that it lets through
    float* reaching;  // the light that reaches it
    float* grad_thickness;
    float* marched_at;     // see marched_length
    float* grad_weight;    // of the losses on the weights, or null
    float* grad_encoding;  // rows, see above
    float* grad_position;  // (n, 3), in the scene box
    float* grad_inputs;    // of the colour network, rows
};

// What is known of each cell of the occupancy grid.
struct CellArrays {
    const uint8_t* hull;
    uint8_t* occupied;
    uint32_t* bits;  // as OccupancyBits has them
    uint8_t* empty;
    float* value;
    const float* mean;  // of the values in the hull
    const int32_t* hull_cells;
    int64_t n_hull_cells;
    int32_t* probed;  // the cells of the samples, or null: those that they lie in
    int32_t resolution;
};

// How rays are marched.
struct MarchNumbers {
    Contraction<float> space;
    float step;                // scene units
    float greatest_thickness;  // in front of a sample that light reaches
    float minimum_weight;
    float light_left;  // at the surface
    int32_t levels;    // that take part
};

// What is peculiar to a training step, or to an update of the occupancy grid.
struct StepNumbers {
    AdamStep* adam;
    const double* total_loss;
    uint64_t seed, update;
    int64_t first_ray, number;
    float loss_scale, distortion, distance_weight, near, rate, beta1, beta2, epsilon;
    int32_t background;
};

struct Work {
    Pixels pixels;
    SampleArrays samples, marched;
    FieldArrays field;
    RayArrays rays;
    SampleNumbers values;
    CellArrays cells;
    MarchNumbers march;
    StepNumbers training;
};

}  // namespace nerf
