// The vjp of rendering, for losses that are not built in: tiles are traced and shaded again, so that nothing is kept
// between forward and backward and memory does not grow with the number of rays.
#pragma once

#include "radiance.h"

namespace nerf {

constexpr int TILES_TOGETHER = 64;  // between two rounds of scattering: bounds the memory of their gradients

// Gradients of one tile: by its rays to where they belong, the others into its batch.
template <class A> void Radiance<A>::render_tile_vjp(const RenderCall& call, const RenderGradients& gradients,
                                                     int64_t tile, Batch& batch, Worker& worker) {
    const int64_t first = tile * RENDERED_AT_ONCE;
    const int n = int(std::min<int64_t>(RENDERED_AT_ONCE, call.n_rays - first));
    const RayBundle rays = rendered_rays(call, first, n);
    const Space here = space(call.step_length);
    worker.pixels.resize(n);
    worker.grad_pixels.resize(n);
    for (int ray = 0; ray < n; ++ray) {
        Pixel<float>& grad = worker.grad_pixels[ray];
        std::memcpy(grad.rgb, call.rgb + 3 * (first + ray), sizeof grad.rgb);
        grad.opacity = call.opacity[first + ray];
        grad.depth = call.depth[first + ray];
    }
    TileVjp<A>& work = worker.tile;
    work.trace(field_, here, rays, worker.watch);
    work.shade(field_, rays, worker.pixels.data(), worker.watch);
    keep_samples(work, batch);
    work.backward(field_, here, worker.grad_pixels.data(), n, {}, 0, batch.grad_encoding.data(),
                  batch.grad_network.data(), worker.watch);
    if (gradients.origin || gradients.direction || gradients.code)
        work.rays_vjp(field_, here, rays, batch.grad_encoding.data(),
                      {gradients.origin ? gradients.origin + 3 * first : nullptr,
                       gradients.direction ? gradients.direction + 3 * first : nullptr,
                       gradients.code ? gradients.code + first * spec_.shape.code_size : nullptr});
}

template <class A> void Radiance<A>::render_vjp(const RenderCall& call, const RenderGradients& gradients) {
    need_workers(call.threads);
    unobserved_tiles_ = 0;  // their batches are taken here
    const int64_t tiles = (call.n_rays + RENDERED_AT_ONCE - 1) / RENDERED_AT_ONCE;
    if (batches_.size() < TILES_TOGETHER) batches_.resize(TILES_TOGETHER);
    std::vector<float> network(field_.gradient_size);
    for (int64_t begin = 0; begin < tiles; begin += TILES_TOGETHER) {
        n_tiles_ = int(std::min<int64_t>(TILES_TOGETHER, tiles - begin));
        Pool::shared().run(n_tiles_, call.threads, [&](int64_t job, int thread) {
            render_tile_vjp(call, gradients, begin + job, batches_[job], *workers_[thread]);
        });
        // Tile after tile, one writer each: the sums do not depend on the number of threads.
        Pool::shared().run(spec_.shape.n_levels + 1, call.threads, [&](int64_t job, int) {
            if (job == spec_.shape.n_levels) {
                for (int tile = 0; tile < n_tiles_; ++tile)
                    for (size_t i = 0; i < network.size(); ++i) network[i] += batches_[tile].grad_network[i];
            } else if (gradients.parameters.table) {
                with_features(spec_.shape.features, [&](auto features) {
                    scatter<features>(int(job), gradients.parameters.table + field_.first_row[job] * features);
                });
            }
        });
    }
    if (!gradients.parameters.density[0]) return;
    for (int layer = 0; layer < int(field_.layers.size()); ++layer)
        field_.layers[layer].unpad(network.data() + field_.layers[layer].gradient,
                                   field_.weights(gradients.parameters, layer));
}

}  // namespace nerf
