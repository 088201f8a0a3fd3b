// The gradients of a training step by its pictures: ray by ray with the tiles, then added in the order of the rays, so
// that the sums do not depend on the number of threads.
#pragma once

#include "radiance.h"

namespace nerf {

// The gradients of a tile by the cameras of its rays.
template <class A>
void Radiance<A>::cameras_vjp(const Space& space, const RayBundle& rays, Batch& batch, Worker& worker) {
    for (auto* grad : {&worker.grad_origin, &worker.grad_direction}) grad->resize(size_t(rays.count) * 3);
    float *by_origin = worker.grad_origin.data(), *by_direction = worker.grad_direction.data();
    worker.tile.rays_vjp(field_, space, rays, batch.grad_encoding.data(), {by_origin, by_direction, nullptr});
    for (int ray = 0; ray < rays.count; ++ray)
        camera_vjp(rays.direction + 3 * ray, by_origin + 3 * ray, by_direction + 3 * ray, batch.grad_views[ray]);
    worker.watch.lap(CAMERAS);
}

// Adds the gradients of all rays to those of their pictures, in the order of the rays.
template <class A> void Radiance<A>::gather_views(const StepCall& call) {
    constexpr int n = sizeof(ViewGradient) / sizeof(float);
    float* sum = reinterpret_cast<float*>(call.view_gradients);
    std::fill_n(sum, size_t(call.n_views) * n, 0.0f);
    for (int tile = 0; tile < n_tiles_; ++tile) {
        const Batch& batch = batches_[tile];
        const float* grad = reinterpret_cast<const float*>(batch.grad_views.data());
        for (size_t ray = 0; ray < batch.frame.size(); ++ray)
            for (int i = 0; i < n; ++i) sum[batch.frame[ray] * size_t(n) + i] += grad[ray * n + i];
    }
}

}  // namespace nerf
