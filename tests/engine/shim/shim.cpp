// The very text of the kernels, as a library for the CPU.
#include "cuda/kernels.cu"

// Runs a kernel's blocks and threads in order, or in the opposite order: a result must not depend on it.
extern "C" void shim_run(void (*kernel)(const nerf::Work&), const nerf::Work* work, unsigned x, unsigned y, unsigned z,
                         unsigned threads, int backwards) {
    gridDim = {x, y, z};
    blockDim = {threads, 1, 1};
    const uint64_t total = uint64_t(x) * y * z * threads;
    for (uint64_t i = 0; i < total; ++i) {
        const uint64_t number = backwards ? total - 1 - i : i;
        threadIdx.x = unsigned(number % threads);
        const uint64_t block = number / threads;
        blockIdx = {unsigned(block % x), unsigned(block / x % y), unsigned(block / x / y)};
        kernel(*work);
    }
}

extern "C" uint64_t shim_work_bytes() { return sizeof(nerf::Work); }
