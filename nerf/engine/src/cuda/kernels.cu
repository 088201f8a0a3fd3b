// The CUDA kernels: launchers of the header functions that the CPU engine is made of, a thread for a ray, a sample, a
// weight or a cell. NVRTC compiles this text for a GPU (after cuda/nvrtc.h); the tests compile it for the CPU.
#include "cuda/work.h"

namespace nerf {

using A = Full<float>;
using Table = PackedTable<NERF_FEATURES>;
constexpr int WORDS = Table::STRIDE, NUMBERS = NERF_FEATURES / WORDS;  // a row has, and a word holds

inline int64_t thread_number() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

// Where the rows of a sample begin.
template <class T> inline T* column(T* rows, int n_rows, int64_t sample) {
    return rows + sample / BLOCK * n_rows * BLOCK + sample % BLOCK;
}

inline int64_t blocks_of(int64_t samples) { return (samples + BLOCK - 1) / BLOCK; }

inline LayerShape shape_of(const LayerArrays& layer) { return {layer.outputs, layer.inputs, layer.split}; }

inline Weights<A> forward(const LayerArrays& layer) {
    const LayerShape shape = shape_of(layer);
    return {shape.padded_outputs, shape.padded_inputs, Buffer<float>(layer.forward)};
}

inline Weights<A> transposed(const LayerArrays& layer) {
    const LayerShape shape = shape_of(layer);
    return {shape.padded_inputs, shape.padded_outputs, Buffer<float>(layer.transposed)};
}

inline OccupancyBits bits_of(const Work& work) { return {work.resolution, work.bits, work.empty}; }

// Calls take(position, t) for the samples of a ray in occupied cells.
template <class Take> inline void march(const Work& work, int64_t ray, Take take) {
    for_each_sample(work.origin + 3 * ray, work.direction + 3 * ray, work.offset[ray], work.space, bits_of(work),
                    work.step, take);
}

inline float step_in_sides(const Work& work) { return work.step / work.space.side; }

}  // namespace nerf

#define KERNEL extern "C" __global__ void __launch_bounds__(128)
using namespace nerf;

// By ray. -----------------------------------------------------------------------------------------------------------

KERNEL draw_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    draw(work.pixels, work.seed, uint64_t(work.first_ray + ray), 1,
         {work.origin + 3 * ray, work.direction + 3 * ray, work.offset + ray, work.rgba + 4 * ray});
}

KERNEL march_count(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    int64_t count = 0;
    march(work, ray, [&](const float*, float) { ++count; });
    work.count[ray] = count;
}

KERNEL march_fill(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    int64_t sample = work.samples.first[ray];
    march(work, ray, [&](const float* position, float t) {
        // Rounding may carry a sample just out of the cube.
        work.samples.x[sample] = least(greatest(position[0], 0.0f), 1.0f);
        work.samples.y[sample] = least(greatest(position[1], 0.0f), 1.0f);
        work.samples.z[sample] = least(greatest(position[2], 0.0f), 1.0f);
        work.samples.ray[sample] = int32_t(ray);
        work.samples.t[sample++] = t;
    });
}

// What samples weigh, and how many of each ray are not too light.
KERNEL weigh(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int64_t first = work.samples.first[ray], n = work.samples.first[ray + 1] - first;
    const float *density = work.samples.density + first, length = step_in_sides(work);
    float *weight = work.weight + first, thickness = 0, heaviest = 0;
    const int64_t reached = reached_samples(n, density, length, work.greatest_thickness, thickness, weight);
    for (int64_t i = 0; i < n; ++i) {
        weight[i] = i < reached ? sample_weight(weight[i], density[i] * length) : 0;
        heaviest = greatest(heaviest, weight[i]);
    }
    const float least = least_weight(heaviest, work.minimum_weight);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += weight[i] >= least;
    work.least[ray] = least;
    work.count[ray] = count;
}

KERNEL gather(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    int64_t to = work.samples.first[ray];
    for (int64_t from = work.marched.first[ray]; from < work.marched.first[ray + 1]; ++from) {
        if (work.weight[from] < work.least[ray]) continue;
        work.samples.x[to] = work.marched.x[from];
        work.samples.y[to] = work.marched.y[from];
        work.samples.z[to] = work.marched.z[from];
        work.samples.t[to] = work.marched.t[from];
        work.samples.ray[to++] = int32_t(ray);
    }
}

KERNEL composite_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int64_t first = work.samples.first[ray];
    const float* rgb = work.layers[work.n_layers - 1].out;
    reinterpret_cast<Pixel<float>*>(work.pixel)[ray] = composite<float>(
        work.samples.first[ray + 1] - first, work.passing + first, work.samples.t + first,
        [&](int64_t i, int c) { return column(rgb, GROUP, first + i)[c * BLOCK]; }, work.reaching + first);
}

KERNEL distort(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int64_t first = work.samples.first[ray], n = work.samples.first[ray + 1] - first;
    const March<float> march =
        begin_march(work.origin + 3 * ray, work.direction + 3 * ray, work.space, work.step, work.offset[ray]);
    for (int64_t i = first; i < first + n; ++i)
        work.marched_at[i] = marched_length(march, work.space, work.samples.t[i]);
    distortion_vjp(int(n), work.passing + first, work.reaching + first, work.marched_at + first, step_in_sides(work),
                   work.distortion, work.grad_weight + first);
}

KERNEL composite_rays_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int64_t first = work.samples.first[ray];
    const LayerArrays& last = work.layers[work.n_layers - 1];
    const auto grad_rgb = [&](int64_t i, int c) -> float& {
        return column(last.grad_out, GROUP, first + i)[c * BLOCK];
    };
    const int64_t n = work.samples.first[ray + 1] - first;
    composite_vjp<float>(
        n, work.passing + first, work.samples.t + first,
        [&](int64_t i, int c) { return column(last.out, GROUP, first + i)[c * BLOCK]; }, work.reaching + first,
        reinterpret_cast<const Pixel<float>*>(work.grad_pixel)[ray], work.grad_thickness + first, grad_rgb,
        work.grad_weight ? work.grad_weight + first : nullptr);
    fade_near(n, work.samples.t + first, work.near, work.grad_thickness + first, grad_rgb);
}

KERNEL photometric(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    work.loss[ray] = photometric_loss(reinterpret_cast<const Pixel<float>*>(work.pixel)[ray], work.rgba + 4 * ray,
                                      Background(work.background), work.loss_scale,
                                      reinterpret_cast<Pixel<float>*>(work.grad_pixel)[ray]);
}

KERNEL surface_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int64_t first = work.samples.first[ray];
    work.distance[ray] = distance_at(work.samples.first[ray + 1] - first, work.passing + first, work.samples.t + first,
                                     work.step, work.light_left);
}

// The gradients by a ray, from those by its samples' places and by what the colour network sees of it.
KERNEL rays_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const LayerShape colour = shape_of(work.layers[DENSITY_LAYERS]);
    const int given = shape_of(work.layers[1]).padded_outputs, degree = work.shape.direction_degree;
    const float* direction = work.direction + 3 * ray;
    const March<float> march = begin_march(work.origin + 3 * ray, direction, work.space, work.step, work.offset[ray]);
    float inputs[MOST_HARMONICS] = {}, origin[3] = {}, along[3] = {}, turned[3];
    for (int64_t i = work.samples.first[ray]; i < work.samples.first[ray + 1]; ++i) {
        const float* in = column(work.grad_inputs, colour.padded_inputs, i);
#pragma unroll
        for (int row = 0; row < MOST_HARMONICS; ++row)
            if (row < degree * degree) inputs[row] += in[(given + row) * BLOCK];
        float place[3];
        for (int axis = 0; axis < 3; ++axis) place[axis] = work.grad_place[3 * i + axis];
        place_vjp(march, work.space, work.samples.t[i], place);
        for (int axis = 0; axis < 3; ++axis) {
            origin[axis] += place[axis];
            along[axis] += place[axis] * work.samples.t[i];
        }
    }
    spherical_harmonics_vjp(direction[0], direction[1], direction[2], degree, inputs, turned);
    for (int axis = 0; axis < 3; ++axis) {
        work.grad_origin[3 * ray + axis] = origin[axis];
        work.grad_direction[3 * ray + axis] = along[axis] + turned[axis];
    }
}

// Number blockIdx.y of the rays' codes.
KERNEL codes_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.n_rays) return;
    const int inputs = shape_of(work.layers[DENSITY_LAYERS]).padded_inputs;
    const int row = shape_of(work.layers[1]).padded_outputs +
                    work.shape.direction_degree * work.shape.direction_degree + int(blockIdx.y);
    float sum = 0;
    for (int64_t i = work.samples.first[ray]; i < work.samples.first[ray + 1]; ++i)
        sum += column(work.grad_inputs, inputs, i)[row * BLOCK];
    work.grad_code[ray * work.shape.code_size + blockIdx.y] = sum;
}

// By sample. --------------------------------------------------------------------------------------------------------

// Level by level: blockIdx.y. The levels that take no part yet give 0.
KERNEL encode(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const Level& level = work.shape.levels[blockIdx.y];
    float features[NERF_FEATURES] = {};
    if (int(blockIdx.y) < work.levels)
        interpolate<Table>(
            work.packed + work.first_row[blockIdx.y] * WORDS,
            corners<float>(work.samples.x[sample], work.samples.y[sample], work.samples.z[sample], level), features);
    float* out = column(work.layers[0].in, shape_of(work.layers[0]).padded_inputs, sample);
    for (int f = 0; f < NERF_FEATURES; ++f) out[(blockIdx.y * NERF_FEATURES + f) * BLOCK] = features[f];
}

// Encoding -> hidden layer -> features, the first of which is the log density; and what the sample lets through.
KERNEL density(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const LayerArrays &first = work.layers[0], &second = work.layers[1];
    const LayerShape color = shape_of(work.layers[DENSITY_LAYERS]);
    float* hidden_out = column(first.out, shape_of(first).padded_outputs, sample);
    hidden<A>(forward(first), column(first.in, shape_of(first).padded_inputs, sample), hidden_out);
    // The colour network reads the features where they are written.
    float* features = column(work.layers[DENSITY_LAYERS].in, color.padded_inputs, sample);
    linear<A>(forward(second), shape_of(second).padded_outputs, hidden_out, features);
    const float density = density_of(features[0]);
    work.samples.density[sample] = density;
    work.passing[sample] = nerf::exp(density * -step_in_sides(work));
}

// Features, direction and code -> colour.
KERNEL shade(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const int last = work.n_layers - 1, given = shape_of(work.layers[1]).padded_outputs;
    float* in = column(work.layers[DENSITY_LAYERS].in, shape_of(work.layers[DENSITY_LAYERS]).padded_inputs, sample);
    const int64_t ray = work.samples.ray[sample];
    const float* direction = work.direction + 3 * ray;
    const int harmonics = work.shape.direction_degree * work.shape.direction_degree, codes = work.shape.code_size;
    float basis[MOST_HARMONICS];
    spherical_harmonics(direction[0], direction[1], direction[2], work.shape.direction_degree, basis);
#pragma unroll
    for (int row = 0; row < MOST_HARMONICS; ++row)
        if (row < harmonics) in[(given + row) * BLOCK] = basis[row];
    for (int i = 0; i < codes; ++i) in[(given + harmonics + i) * BLOCK] = work.code ? work.code[ray * codes + i] : 0;
    for (int layer = DENSITY_LAYERS; layer < last; ++layer) {
        float* out = column(work.layers[layer].out, shape_of(work.layers[layer]).padded_outputs, sample);
        hidden<A>(forward(work.layers[layer]), in, out);
        in = out;
    }
    float* rgb = column(work.layers[last].out, GROUP, sample);
    linear<A>(forward(work.layers[last]), GROUP, in, rgb);
    for (int c = 0; c < 3; ++c) rgb[c * BLOCK] = sigmoid(rgb[c * BLOCK]);
}

// From the gradients by colour and thickness to that by the encoding, through both networks.
KERNEL network_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= blocks_of(work.samples.n) * BLOCK) return;
    const auto input = [&](int layer) {
        return column(work.layers[layer].in, shape_of(work.layers[layer]).padded_inputs, sample);
    };
    const auto grad_output = [&](int layer) {
        return column(work.layers[layer].grad_out, shape_of(work.layers[layer]).padded_outputs, sample);
    };
    const int last = work.n_layers - 1;
    const float* rgb = column(work.layers[last].out, GROUP, sample);
    float* grad = grad_output(last);
    for (int c = 0; c < 3; ++c) grad[c * BLOCK] = sigmoid_vjp(rgb[c * BLOCK], grad[c * BLOCK]);
    for (int layer = last; layer > DENSITY_LAYERS; --layer)
        hidden_vjp<A>(transposed(work.layers[layer]), grad_output(layer), input(layer), grad_output(layer - 1));
    float* features = grad_output(1);
    linear<A>(transposed(work.layers[DENSITY_LAYERS]), shape_of(work.layers[1]).padded_outputs,
              grad_output(DENSITY_LAYERS), features);
    features[0] += density_vjp(work.samples.density[sample], work.grad_thickness[sample] * step_in_sides(work));
    hidden_vjp<A>(transposed(work.layers[1]), features, input(1), grad_output(0));
    const int encoded = shape_of(work.layers[0]).padded_inputs;
    linear<A>(transposed(work.layers[0]), encoded, grad_output(0), column(work.grad_encoding, encoded, sample));
}

// Level by level: blockIdx.y.
KERNEL encode_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n) return;
    const Level& level = work.shape.levels[blockIdx.y];
    const float* grad = column(work.grad_encoding, shape_of(work.layers[0]).padded_inputs, sample);
    float share[NERF_FEATURES];
    for (int f = 0; f < NERF_FEATURES; ++f) share[f] = grad[(blockIdx.y * NERF_FEATURES + f) * BLOCK];
    interpolate_vjp<float, NERF_FEATURES>(
        corners<float>(work.samples.x[sample], work.samples.y[sample], work.samples.z[sample], level), 1, share,
        work.grad_table + work.first_row[blockIdx.y] * NERF_FEATURES);
}

// The gradients by where samples lie, cube units, and by all that the colour network sees.
KERNEL samples_vjp(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n) return;
    const float* grad = column(work.grad_encoding, shape_of(work.layers[0]).padded_inputs, sample);
    const float place[3] = {work.samples.x[sample], work.samples.y[sample], work.samples.z[sample]};
    float sum[3] = {};
    for (int number = 0; number < work.levels; ++number) {
        const Level& level = work.shape.levels[number];
        float share[NERF_FEATURES];
        for (int f = 0; f < NERF_FEATURES; ++f) share[f] = grad[(number * NERF_FEATURES + f) * BLOCK];
        interpolate_vjp_position<Table>(work.packed + work.first_row[number] * WORDS, cell<float, 3>(place, level),
                                        level, share, sum);
    }
    for (int axis = 0; axis < 3; ++axis) work.grad_place[3 * sample + axis] = sum[axis];
    const LayerArrays& colour = work.layers[DENSITY_LAYERS];
    const int inputs = shape_of(colour).padded_inputs;
    linear<A>(transposed(colour), inputs, column(colour.grad_out, shape_of(colour).padded_outputs, sample),
              column(work.grad_inputs, inputs, sample));
}

// Raises the values of the samples' cells. Densities are positive, so that their bits compare as they do.
KERNEL observe(const Work __grid_constant__ work) {
    const int64_t sample = thread_number();
    if (sample >= work.samples.n || (work.total_loss && !isfinite(*work.total_loss))) return;
    const SampleArrays& at = work.samples;
    const int64_t cell =
        work.probed ? work.probed[sample] : cell_at(at.x[sample], at.y[sample], at.z[sample], work.resolution);
    atomicMax(reinterpret_cast<int*>(work.value + cell), same_bits<int>(at.density[sample]));
}

// By weight. --------------------------------------------------------------------------------------------------------

// The gradient of one layer, blockIdx.z, by tiles of GROUP x GROUP weights, blockIdx.y; its samples are shared out
// among the threads.
KERNEL weights_vjp_tiles(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.layers[blockIdx.z];
    const LayerShape shape = shape_of(layer);
    const int across = shape.padded_inputs / GROUP;
    const int j = int(blockIdx.y) / across * GROUP, k = int(blockIdx.y) % across * GROUP;
    const int64_t lane = thread_number() % BLOCK, stripe = thread_number() / BLOCK;
    const int64_t stripes = int64_t(gridDim.x) * blockDim.x / BLOCK, blocks = blocks_of(work.samples.n);
    if (j >= shape.padded_outputs || stripe >= blocks) return;
    const size_t grad_block = size_t(shape.padded_outputs) * BLOCK, in_block = size_t(shape.padded_inputs) * BLOCK;
    float sums[GROUP * GROUP] = {};
    multiply_rows<A, GROUP, GROUP>(layer.grad_out + stripe * grad_block + j * BLOCK + lane, grad_block * stripes,
                                   layer.in + stripe * in_block + k * BLOCK + lane, in_block * stripes,
                                   (blocks - stripe + stripes - 1) / stripes, sums);
    for (int r = 0; r < GROUP; ++r)
        for (int c = 0; c < GROUP; ++c)
            atomicAdd(layer.grad_weights + size_t(j + r) * shape.padded_inputs + k + c, sums[r * GROUP + c]);
}

// The constants of a step. What follows moves nothing if the loss is not a finite number.
KERNEL begin_step(const Work __grid_constant__ work) {
    if (thread_number() != 0) return;
    *work.adam = AdamStep(work.rate, work.beta1, work.beta2, work.epsilon, work.number);
}

// A word of the table: moves its numbers that have a gradient, clears that, and renews the packed copy.
KERNEL adam_table(const Work __grid_constant__ work) {
    const int64_t word = thread_number(), at = word * NUMBERS;
    const int last = work.shape.n_levels - 1;
    if (word >= (work.first_row[last] + work.shape.levels[last].rows) * WORDS || !isfinite(*work.total_loss)) return;
    bool touched = false;
    for (int i = 0; i < NUMBERS; ++i) touched |= !all_zero(work.grad_table[at + i]);
    if (!touched) return;
    for (int i = 0; i < NUMBERS; ++i)
        adam<true>(*work.adam, work.grad_table[at + i], work.table + at + i,
                   {work.table_first_moment + at + i, work.table_second_moment + at + i});
    for (int i = 0; i < NUMBERS; ++i) work.grad_table[at + i] = 0;
    Table::pack(work.table + at, NUMBERS, work.packed + word);
}

KERNEL pack_table(const Work __grid_constant__ work) {
    const int64_t word = thread_number();
    const int last = work.shape.n_levels - 1;
    if (word >= (work.first_row[last] + work.shape.levels[last].rows) * WORDS) return;
    Table::pack(work.table + word * NUMBERS, NUMBERS, work.packed + word);
}

// A weight of layer blockIdx.y.
KERNEL adam_network(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.layers[blockIdx.y];
    const LayerShape shape = shape_of(layer);
    const int64_t at = thread_number();
    if (at >= int64_t(shape.outputs) * shape.inputs || !isfinite(*work.total_loss)) return;
    const int row = int(at / shape.inputs), column = int(at % shape.inputs);
    adam<false>(*work.adam, layer.grad_weights[size_t(row) * shape.padded_inputs + shape.padded_column(column)],
                layer.weights + at, {layer.first_moment + at, layer.second_moment + at});
}

// A weight of layer blockIdx.y, to where the products read it: [group of outputs][input][GROUP].
KERNEL pack_network(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.layers[blockIdx.y];
    const LayerShape shape = shape_of(layer);
    const int64_t at = thread_number();
    if (at >= int64_t(shape.outputs) * shape.inputs) return;
    const int row = int(at / shape.inputs), column = shape.padded_column(int(at % shape.inputs));
    const auto place = [](int output, int input, int inputs) {
        return (size_t(output / GROUP) * inputs + input) * GROUP + output % GROUP;
    };
    layer.forward[place(row, column, shape.padded_inputs)] = layer.weights[at];
    layer.transposed[place(column, row, shape.padded_outputs)] = layer.weights[at];
}

// By cell. ----------------------------------------------------------------------------------------------------------

KERNEL decay_cells(const Work __grid_constant__ work) {
    const int64_t cell = thread_number();
    if (cell < int64_t(work.resolution) * work.resolution * work.resolution) work.value[cell] *= OCCUPANCY_DECAY;
}

KERNEL probe_cells(const Work __grid_constant__ work) {
    const int64_t i = thread_number();
    if (i >= work.samples.n) return;
    float place[3];
    work.probed[i] = probe(work.seed, work.update, i, work.hull_cells, work.n_hull_cells, work.resolution, place);
    work.samples.x[i] = place[0];
    work.samples.y[i] = place[1];
    work.samples.z[i] = place[2];
}

KERNEL choose_cells(const Work __grid_constant__ work) {
    const int64_t cell = thread_number();
    if (cell >= int64_t(work.resolution) * work.resolution * work.resolution) return;
    const float threshold = occupied_above(step_in_sides(work), *work.mean);
    work.occupied[cell] = work.hull[cell] & uint8_t(work.value[cell] > threshold);
}

KERNEL pack_cells(const Work __grid_constant__ work) {
    const int64_t word = thread_number();
    OccupancyBits bits = bits_of(work);
    if (word < bits.words()) bits.assign_word(work.occupied, word);
}

KERNEL mark_blocks(const Work __grid_constant__ work) {
    OccupancyBits bits = bits_of(work);
    const int64_t block = thread_number(), side = bits.slabs();
    if (block < side * side * side)
        bits.assign_block(int(block / side / side), int(block / side % side), int(block % side));
}
