// The CUDA kernels: launchers of the header functions that the CPU engine is made of, a thread for a ray, a sample, a
// weight or a cell. NVRTC compiles this text for a GPU (after cuda/nvrtc.h); the tests compile it for the CPU.
#include "cuda/rays.cu"
#include "cuda/samples.cu"
#include "cuda/weights.cu"
#include "cuda/cells.cu"
