// Kernels with a thread for a sample.
#include "cuda/launch.h"

// Level by level: blockIdx.y. The levels that take no part yet give 0.
// Reads samples.{x, y, z}, field.packed. Writes the input of layer 0.
KERNEL encode(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const Level& level = work.field.shape.levels[blockIdx.y];
    float features[NERF_FEATURES] = {};
    if (int(blockIdx.y) < work.march.levels)
        interpolate<Table>(
            work.field.packed + work.field.first_row[blockIdx.y] * WORDS,
            corners<float>(work.samples.x[sample], work.samples.y[sample], work.samples.z[sample], level), features);
    float* out = column(work.field.layers[0].in, shape_of(work.field.layers[0]).padded_inputs, sample);
    for (int f = 0; f < NERF_FEATURES; ++f) out[(blockIdx.y * NERF_FEATURES + f) * BLOCK] = features[f];
}

// Encoding -> hidden layer -> features, the first of which is the log density; and what the sample lets through.
// Reads the input of layer 0, field.layers. Writes the input of layer 1, that of the first colour layer,
// samples.density, values.passing.
KERNEL density(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const LayerArrays &first = work.field.layers[0], &second = work.field.layers[1];
    const LayerShape color = shape_of(work.field.layers[DENSITY_LAYERS]);
    float* hidden_out = column(first.out, shape_of(first).padded_outputs, sample);
    hidden<A>(forward(first), column(first.in, shape_of(first).padded_inputs, sample), hidden_out);
    // The colour network reads the features where they are written.
    float* features = column(work.field.layers[DENSITY_LAYERS].in, color.padded_inputs, sample);
    linear<A>(forward(second), shape_of(second).padded_outputs, hidden_out, features);
    const float density = density_of(features[0]);
    work.samples.density[sample] = density;
    work.values.passing[sample] = nerf::exp(density * -step_in_sides(work));
}

// Features, direction and code -> color.
// Reads samples.ray, rays.{direction, code}, the features. Writes the inputs of the colour layers, the colours.
KERNEL shade(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const int last = work.field.n_layers - 1, given = shape_of(work.field.layers[1]).padded_outputs;
    float* in =
        column(work.field.layers[DENSITY_LAYERS].in, shape_of(work.field.layers[DENSITY_LAYERS]).padded_inputs, sample);
    const int64_t ray = work.samples.ray[sample];
    const float* direction = work.rays.direction + 3 * ray;
    const int harmonics = work.field.shape.direction_degree * work.field.shape.direction_degree,
              codes = work.field.shape.code_size;
    float basis[MOST_HARMONICS];
    spherical_harmonics(direction[0], direction[1], direction[2], work.field.shape.direction_degree, basis);
#pragma unroll
    for (int row = 0; row < MOST_HARMONICS; ++row)
        if (row < harmonics) in[(given + row) * BLOCK] = basis[row];
    for (int i = 0; i < codes; ++i)
        in[(given + harmonics + i) * BLOCK] = work.rays.code ? work.rays.code[ray * codes + i] : 0;
    for (int layer = DENSITY_LAYERS; layer < last; ++layer) {
        float* out = column(work.field.layers[layer].out, shape_of(work.field.layers[layer]).padded_outputs, sample);
        hidden<A>(forward(work.field.layers[layer]), in, out);
        in = out;
    }
    float* rgb = column(work.field.layers[last].out, GROUP, sample);
    linear<A>(forward(work.field.layers[last]), GROUP, in, rgb);
    for (int c = 0; c < 3; ++c) rgb[c * BLOCK] = sigmoid(rgb[c * BLOCK]);
}

// From the gradients by colour and thickness to that by the encoding, through both networks.
// Reads the activations, the gradients by the colours, values.grad_thickness, samples.density. Writes every layer's
// grad_out, values.grad_encoding.
KERNEL network_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const auto input = [&](int layer) {
        return column(work.field.layers[layer].in, shape_of(work.field.layers[layer]).padded_inputs, sample);
    };
    const auto grad_output = [&](int layer) {
        return column(work.field.layers[layer].grad_out, shape_of(work.field.layers[layer]).padded_outputs, sample);
    };
    const int last = work.field.n_layers - 1;
    const float* rgb = column(work.field.layers[last].out, GROUP, sample);
    float* grad = grad_output(last);
    for (int c = 0; c < 3; ++c) grad[c * BLOCK] = sigmoid_vjp(rgb[c * BLOCK], grad[c * BLOCK]);
    for (int layer = last; layer > DENSITY_LAYERS; --layer)
        hidden_vjp<A>(transposed(work.field.layers[layer]), grad_output(layer), input(layer), grad_output(layer - 1));
    float* features = grad_output(1);
    linear<A>(transposed(work.field.layers[DENSITY_LAYERS]), shape_of(work.field.layers[1]).padded_outputs,
              grad_output(DENSITY_LAYERS), features);
    features[0] += density_vjp(work.samples.density[sample], work.values.grad_thickness[sample] * step_in_sides(work));
    hidden_vjp<A>(transposed(work.field.layers[1]), features, input(1), grad_output(0));
    const int encoded = shape_of(work.field.layers[0]).padded_inputs;
    linear<A>(transposed(work.field.layers[0]), encoded, grad_output(0),
              column(work.values.grad_encoding, encoded, sample));
}

// Level by level: blockIdx.y.
// Reads samples.{x, y, z}, values.grad_encoding. Adds to field.grad_table.
KERNEL encode_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n) return;
    const Level& level = work.field.shape.levels[blockIdx.y];
    const float* grad = column(work.values.grad_encoding, shape_of(work.field.layers[0]).padded_inputs, sample);
    float share[NERF_FEATURES];
    for (int f = 0; f < NERF_FEATURES; ++f) share[f] = grad[(blockIdx.y * NERF_FEATURES + f) * BLOCK];
    interpolate_vjp<float, NERF_FEATURES>(
        corners<float>(work.samples.x[sample], work.samples.y[sample], work.samples.z[sample], level), 1, share,
        work.field.grad_table + work.field.first_row[blockIdx.y] * NERF_FEATURES);
}

// The gradients by where samples lie, box units, and by all that the colour network sees.
// Reads samples.{x, y, z}, field.packed, values.grad_encoding, grad_out of the first colour layer. Writes
// values.{grad_position, grad_inputs}.
KERNEL samples_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n) return;
    const float* grad = column(work.values.grad_encoding, shape_of(work.field.layers[0]).padded_inputs, sample);
    const float position[3] = {work.samples.x[sample], work.samples.y[sample], work.samples.z[sample]};
    float sum[3] = {};
    for (int number = 0; number < work.march.levels; ++number) {
        const Level& level = work.field.shape.levels[number];
        float share[NERF_FEATURES];
        for (int f = 0; f < NERF_FEATURES; ++f) share[f] = grad[(number * NERF_FEATURES + f) * BLOCK];
        interpolate_vjp_position<Table>(work.field.packed + work.field.first_row[number] * WORDS,
                                        cell<float, 3>(position, level), level, share, sum);
    }
    for (int axis = 0; axis < 3; ++axis) work.values.grad_position[3 * sample + axis] = sum[axis];
    const LayerArrays& color = work.field.layers[DENSITY_LAYERS];
    const int inputs = shape_of(color).padded_inputs;
    linear<A>(transposed(color), inputs, column(color.grad_out, shape_of(color).padded_outputs, sample),
              column(work.values.grad_inputs, inputs, sample));
}

// Raises the values of the samples' cells. Densities are positive, so that their bits compare as they do.
// Reads samples.{x, y, z, density}, cells.probed, training.total_loss. Writes cells.value.
KERNEL observe(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n || (work.training.total_loss && !isfinite(*work.training.total_loss))) return;
    const SampleArrays& at = work.samples;
    const int64_t cell = work.cells.probed ? work.cells.probed[sample]
                                           : cell_at(at.x[sample], at.y[sample], at.z[sample], work.cells.resolution);
    atomicMax(reinterpret_cast<int*>(work.cells.value + cell), same_bits<int>(at.density[sample]));
}
