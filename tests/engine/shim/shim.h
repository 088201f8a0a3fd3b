// The words of CUDA that the kernels use, for the CPU: threads run one after another, each to its end. Included before
// the kernels' text.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __launch_bounds__(threads)
#define __grid_constant__ &  // what all threads share is not copied for each

struct Index3 {
    unsigned x = 0, y = 0, z = 0;
};
inline thread_local Index3 threadIdx, blockIdx, blockDim, gridDim;

inline float atomicAdd(float* to, float value) { return std::atomic_ref<float>(*to).fetch_add(value); }

inline int atomicMax(int* to, int value) {
    const int old = *to;
    *to = std::max(old, value);
    return old;
}

using std::isfinite;
