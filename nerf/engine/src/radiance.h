// A radiance field with its occupancy grid: pictures from it and densities of it. Its training: radiance_step.h.
#pragma once

#include <memory>
#include <vector>

#include "adam.h"
#include "loss.h"
#include "occupancy.h"
#include "pixels.h"
#include "radiance_calls.h"
#include "tile_vjp.h"

namespace nerf {

constexpr int RENDERED_AT_ONCE = 128;  // rays of a tile of a picture

template <class A> class Radiance {
public:
    explicit Radiance(const RadianceSpec& spec)
        : spec_(spec), field_(spec.shape, spec.parameters), occupancy_(spec.occupancy) {
        occupancy_.load(1);
        greatest_thickness_ = spec.minimum_transmittance > 0 ? -std::log(spec.minimum_transmittance)
                                                             : std::numeric_limits<float>::infinity();
    }

    // Takes over parameters and occupied cells that the caller has changed.
    void refresh(int threads) {
        for (int level = 0; level < spec_.shape.n_levels; ++level) field_.load_level(level);
        field_.load_network();
        occupancy_.load(threads);
    }

    const RadianceSpec& spec() const { return spec_; }

    StepReport step(const StepCall& call);
    void descend(const StepCall& call);
    void update_occupancy(const OccupancyCall& call);
    void render(const RenderCall& call);
    void render_vjp(const RenderCall& call, const RenderGradients& gradients);
    void surface(const SurfaceCall& call);
    void density(const float* position, int64_t n, float* out, int threads);

private:
    // What a tile leaves for the second phase.
    struct Batch {
        int64_t n = 0, room = 0;
        double loss = 0;
        int64_t marched = 0, reached = 0;
        Buffer<float> x, y, z, density;
        Buffer<float> grad_encoding;  // [level][room][feature]
        Buffer<float> grad_network;   // padded
        Buffer<int32_t> frame;        // of every ray, like the next
        Buffer<ViewGradient> grad_views;
    };

    struct Worker {
        TileVjp<A> tile;
        Stopwatch watch;
        Buffer<float> origin, direction, offset, rgba, measured, scratch, grad_origin, grad_direction;
        Buffer<typename A::Word> encoding, hidden, features;
        std::vector<Pixel<float>> pixels, grad_pixels;
        Buffer<int64_t> pixel;  // of every ray, its flat index
        // Of the level in hand, and all zero between levels: it stays in the cache, which one for all levels would not.
        Buffer<float> grad_rows;
    };

    Space space(float step_length) const {
        return {&occupancy_.bits(),
                {spec_.corner[0], spec_.corner[1], spec_.corner[2]},
                spec_.side,
                step_length,
                greatest_thickness_,
                spec_.minimum_weight,
                {{spec_.center[0], spec_.center[1], spec_.center[2]},
                 spec_.radius,
                 spec_.near,
                 {spec_.corner[0], spec_.corner[1], spec_.corner[2]},
                 spec_.side}};
    }

    RayBundle rendered_rays(const RenderCall& call, int64_t first, int n) const {
        return {n, call.origin + 3 * first, call.direction + 3 * first, call.offset + first,
                call.code ? call.code + first * spec_.shape.code_size : nullptr};
    }

    // Calls work(worker, first, n) for tiles of rays to be rendered, first .. first + n - 1.
    template <class Work> void for_each_tile(int64_t n_rays, int threads, Work work) {
        need_workers(threads);
        const int64_t n_tiles = (n_rays + RENDERED_AT_ONCE - 1) / RENDERED_AT_ONCE;
        Pool::shared().run(n_tiles, threads, [&](int64_t tile, int thread) {
            const int64_t first = tile * RENDERED_AT_ONCE;
            work(*workers_[thread], first, int(std::min<int64_t>(RENDERED_AT_ONCE, n_rays - first)));
        });
    }

    void need_workers(int threads) {
        while (int(workers_.size()) < threads) workers_.push_back(std::make_unique<Worker>());
    }

    void learn_tile(const StepCall& call, int64_t tile, Worker& worker);
    void descend_level(const StepCall& call, const AdamStep& adam, int level, Worker& worker);
    template <int FEATURES> void scatter(int level, float* grad_rows);
    template <int FEATURES> void adam_rows(const StepCall& call, const AdamStep& step, int level, float* grad_rows);
    void descend_network(const StepCall& call, const AdamStep& adam);
    void adam_layer(const StepCall& call, const AdamStep& adam, int layer, const float* grad);
    void observe_batches(int n_tiles);
    void cameras_vjp(const Space& space, const RayBundle& rays, Batch& batch, Worker& worker);
    void gather_views(const StepCall& call);
    void render_tile_vjp(const RenderCall& call, const RenderGradients& gradients, int64_t tile, Batch& batch,
                         Worker& worker);
    void keep_samples(const Tile<A>& tile, Batch& batch) const;
    void density_block(const float* x, const float* y, const float* z, int count, float* out, Worker& worker);

    RadianceSpec spec_;
    Field<A> field_;
    Occupancy occupancy_;
    float greatest_thickness_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<Batch> batches_;
    int n_tiles_ = 0;
    int unobserved_tiles_ = 0;  // of the last step that only computed gradients, until `descend` takes it
};

template <class A>
void Radiance<A>::density_block(const float* x, const float* y, const float* z, int count, float* out, Worker& worker) {
    worker.scratch.resize(field_.scratch_size());
    worker.encoding.resize(size_t(field_.encoded()) * BLOCK / A::DEPTH);
    worker.hidden.resize(size_t(field_.layers[0].padded_outputs) * BLOCK / A::DEPTH);
    worker.features.resize(size_t(field_.given()) * BLOCK / A::DEPTH);
    field_.encode(x, y, z, count, worker.encoding.data(), worker.scratch.data());
    field_.density(worker.encoding.data(), worker.hidden.data(), worker.features.data(), out, worker.scratch.data());
}

template <class A> void Radiance<A>::update_occupancy(const OccupancyCall& call) {
    need_workers(call.threads);
    const CoarsestLevels<A> narrowed(field_, call.levels);
    occupancy_.update([&](const float* x, const float* y, const float* z, int count, float* out,
                          int thread) { density_block(x, y, z, count, out, *workers_[thread]); },
                      call.step_length, call.prune, call.seed, call.number, call.threads);
}

template <class A> void Radiance<A>::render(const RenderCall& call) {
    const Space here = space(call.step_length);
    for_each_tile(call.n_rays, call.threads, [&](Worker& worker, int64_t first, int n) {
        worker.pixels.resize(n);
        const RayBundle rays = rendered_rays(call, first, n);
        worker.tile.trace(field_, here, rays, worker.watch);
        worker.tile.shade(field_, rays, worker.pixels.data(), worker.watch);
        for (int ray = 0; ray < n; ++ray) {
            const Pixel<float>& pixel = worker.pixels[ray];
            std::memcpy(call.rgb + 3 * (first + ray), pixel.rgb, sizeof pixel.rgb);
            call.opacity[first + ray] = pixel.opacity;
            call.depth[first + ray] = pixel.depth;
        }
    });
}

// Where rays meet the surface, samples in the middle of their steps.
template <class A> void Radiance<A>::surface(const SurfaceCall& call) {
    const Space here = space(call.step_length);
    const std::vector<float> middle(RENDERED_AT_ONCE, 0.5f);
    for_each_tile(call.n_rays, call.threads, [&](Worker& worker, int64_t first, int n) {
        const RayBundle rays{n, call.origin + 3 * first, call.direction + 3 * first, middle.data(), nullptr};
        worker.tile.trace(field_, here, rays, worker.watch);
        for (int ray = 0; ray < n; ++ray)
            call.distance[first + ray] = worker.tile.distance_at(ray, call.step_length, call.level);
    });
}

// Density per box side at n positions (n, 3) in [0, 1].
template <class A> void Radiance<A>::density(const float* position, int64_t n, float* out, int threads) {
    need_workers(threads);
    Pool::shared().run((n + BLOCK - 1) / BLOCK, threads, [&](int64_t job, int thread) {
        alignas(64) float block[3][BLOCK] = {}, density[BLOCK];
        const int count = int(std::min<int64_t>(BLOCK, n - job * BLOCK));
        for (int i = 0; i < count; ++i)
            for (int axis = 0; axis < 3; ++axis)
                block[axis][i] = in_unit(position[3 * (job * BLOCK + i) + axis]);
        density_block(block[0], block[1], block[2], count, density, *workers_[thread]);
        std::memcpy(out + job * BLOCK, density, count * sizeof(float));
    });
}

}  // namespace nerf
