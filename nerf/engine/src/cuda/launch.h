// What the kernels share: which thread they are, and the arrays of Work as the headers' functions take them.
#pragma once

#include "cuda/work.h"

namespace nerf {

using A = Full<float>;
using Table = PackedTable<NERF_FEATURES>;
constexpr int THREADS = 128;  // of a launch's blocks

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

inline OccupancyBits bits_of(const Work& work) { return {work.cells.resolution, work.cells.bits, work.cells.empty}; }

// Calls take(position, t) for the samples of a ray in occupied cells.
template <class Take> inline void march(const Work& work, int64_t ray, Take take) {
    for_each_sample(work.rays.origin + 3 * ray, work.rays.direction + 3 * ray, work.rays.offset[ray], work.march.space,
                    bits_of(work), work.march.step, take);
}

inline float step_in_sides(const Work& work) { return work.march.step / work.march.space.side; }

}  // namespace nerf

#define KERNEL extern "C" __global__ void __launch_bounds__(nerf::THREADS)
using namespace nerf;
