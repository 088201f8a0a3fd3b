"""What computes a model: plain torch, the native engine, CUDA kernels, tiny-cuda-nn."""
