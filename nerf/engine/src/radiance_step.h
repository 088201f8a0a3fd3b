// A training step.
//
// It has two phases. (a) Threads take tiles of rays forward and back; each tile leaves its gradients by
// the encoding, and by the network, in its own batch. (b) Threads take whole levels of the grid: they add the batches
// into the level's gradient in the order of the tiles, and let Adam move the level while it is in the cache. Nothing
// is added by two threads, so that results are the same bits for any number of threads.
#pragma once

#include <stdexcept>

#include "radiance.h"

namespace nerf {

// Phase (a) for one tile.
template <class A> void Radiance<A>::learn_tile(const StepCall& call, int64_t tile, Worker& worker) {
    const int first = int(tile) * call.rays_per_tile, n = std::min(call.rays_per_tile, call.n_rays - first);
    for (auto* triple : {&worker.origin, &worker.direction}) triple->resize(size_t(n) * 3);
    worker.offset.resize(n);
    worker.rgba.resize(size_t(n) * 4);
    worker.pixels.resize(n);
    worker.grad_pixels.resize(n);
    Batch& batch = batches_[tile];
    batch.frame.resize(n);
    worker.pixel.resize(n);
    worker.measured.resize(n);
    float* measured = call.distance > 0 && call.pixels->distances ? worker.measured.data() : nullptr;
    worker.watch.start();
    draw(*call.pixels, call.seed, uint64_t(call.first_ray + first), n,
         {worker.origin.data(), worker.direction.data(), worker.offset.data(), worker.rgba.data(), batch.frame.data(),
          measured, worker.pixel.data()});
    worker.watch.lap(DRAW);
    const RayBundle rays{n, worker.origin.data(), worker.direction.data(), worker.offset.data(), nullptr};
    const Space here = space(call.step_length);
    Tile<A>& work = worker.tile;
    work.trace(field_, here, rays, worker.watch);
    work.shade(field_, rays, worker.pixels.data(), worker.watch);

    batch.loss = 0;
    batch.grad_views.resize(n);
    const float scale = 1 / (3.0f * float(call.n_rays));
    for (int ray = 0; ray < n; ++ray) {
        const Pixel<float>& pixel = worker.pixels[ray];
        const float* rgba = worker.rgba.data() + 4 * ray;
        const ColorMap* color = call.colors ? call.colors + batch.frame[ray] : nullptr;
        Pixel<float>& grad = worker.grad_pixels[ray];
        const float loss =
            photometric_loss(color ? show(*color, pixel, rgba) : pixel, rgba, Background(call.background), scale, grad);
        batch.loss += weighted(loss, weight_of(*call.pixels, worker.pixel[ray]), grad);
        if (call.by_ray) {
            call.by_ray->pixel[first + ray] = worker.pixel[ray];
            call.by_ray->error[first + ray] = loss * float(call.n_rays);
        }
        batch.grad_views[ray] = ViewGradient();
        if (color) show_vjp(*color, pixel, rgba, grad, batch.grad_views[ray].color);
    }
    batch.marched = work.marched();
    batch.reached = work.reached();
    keep_samples(work, batch);
    const float part = 1 / float(call.n_rays);
    work.backward(field_, here, worker.grad_pixels.data(), n, {call.distortion * part, call.distance * part, measured},
                  call.near, batch.grad_encoding.data(), batch.grad_network.data(), worker.watch);
    if (call.view_gradients && call.turns) cameras_vjp(here, rays, batch, worker);
}

// Makes room for the gradients of a tile, those of the network zero, and notes where its samples are.
template <class A> void Radiance<A>::keep_samples(const Tile<A>& work, Batch& batch) const {
    batch.n = work.samples();
    batch.room = (batch.n + BLOCK - 1) / BLOCK * BLOCK;
    batch.grad_encoding.resize(size_t(batch.room) * field_.encoded());
    batch.grad_network.resize(field_.gradient_size);
    std::fill(batch.grad_network.begin(), batch.grad_network.end(), 0.0f);
    const float* from[] = {work.x(), work.y(), work.z(), work.density()};
    Buffer<float>* to[] = {&batch.x, &batch.y, &batch.z, &batch.density};
    for (int array = 0; array < 4; ++array) {
        to[array]->resize(batch.room);
        if (batch.room) std::memcpy(to[array]->data(), from[array], batch.room * sizeof(float));
    }
}

// Adds the gradients of all batches to the rows of one level.
template <class A> template <int FEATURES> void Radiance<A>::scatter(int level, float* grad_rows) {
    for (int tile = 0; tile < n_tiles_; ++tile) {
        const Batch& batch = batches_[tile];
        const float* grad = batch.grad_encoding.data() + size_t(level) * batch.room * FEATURES;
        for (int64_t at = 0; at < batch.n; at += LANES<float>)
            interpolate_vjp<float, FEATURES>(corners<float>(load(batch.x.data() + at), load(batch.y.data() + at),
                                                            load(batch.z.data() + at), spec_.shape.levels[level]),
                                             int(std::min<int64_t>(LANES<float>, batch.n - at)),
                                             grad + size_t(at) * FEATURES, grad_rows);
    }
}

// Moves the rows of a level that have a gradient, clears it, and renews their packed copies.
template <class A> template <int FEATURES>
void Radiance<A>::adam_rows(const StepCall& call, const AdamStep& step, int level, float* grad_rows) {
    constexpr int n = LANES<float>;
    const int64_t first = field_.first_row[level] * FEATURES, size = int64_t(spec_.shape.levels[level].rows) * FEATURES;
    float* parameter = spec_.parameters.table + first;
    const Moments moments{call.first_moments->table + first, call.second_moments->table + first};
    uint32_t* packed = field_.packed(level);
    int64_t at = 0;
    for (; at + n <= size; at += n) {
        const Pack<float> grad = load(grad_rows + at);
        if (all_zero(grad)) continue;
        adam<true>(step, grad, parameter + at, {moments.first + at, moments.second + at});
        store(grad_rows + at, Pack<float>{});
        PackedTable<FEATURES>::pack(parameter + at, n, packed + PackedTable<FEATURES>::words(at));
    }
    if (at == size) return;
    // Half a pack is left of a level with one feature: its lanes without gradient stay as they are.
    float part[4][n] = {};
    float* const from[4] = {grad_rows + at, parameter + at, moments.first + at, moments.second + at};
    const size_t bytes = size_t(size - at) * sizeof(float);
    for (int array = 0; array < 4; ++array) std::memcpy(part[array], from[array], bytes);
    adam<true>(step, load(part[0]), part[1], {part[2], part[3]});
    std::memset(grad_rows + at, 0, bytes);
    for (int array = 1; array < 4; ++array) std::memcpy(from[array], part[array], bytes);
    PackedTable<FEATURES>::pack(parameter + at, size - at, packed + PackedTable<FEATURES>::words(at));
}

// Phase (b) for one level.
template <class A>
void Radiance<A>::descend_level(const StepCall& call, const AdamStep& adam, int level, Worker& worker) {
    with_features(spec_.shape.features, [&](auto features) {
        const size_t size = size_t(spec_.shape.levels[level].rows) * features;
        if (worker.grad_rows.size() < size) worker.grad_rows.resize(size);
        float* grad_rows = worker.grad_rows.data();
        worker.watch.start();
        scatter<features>(level, grad_rows);
        worker.watch.lap(SCATTER);
        if (call.gradients) {
            std::memcpy(call.gradients->table + field_.first_row[level] * features, grad_rows, size * sizeof(float));
            std::memset(grad_rows, 0, size * sizeof(float));
        } else {
            adam_rows<features>(call, adam, level, grad_rows);
        }
        worker.watch.lap(ADAM);
    });
}

// Phase (b) for both networks.
template <class A> void Radiance<A>::descend_network(const StepCall& call, const AdamStep& adam) {
    float* sum = batches_[0].grad_network.data();
    for (int tile = 1; tile < n_tiles_; ++tile) {
        const float* part = batches_[tile].grad_network.data();
        for (size_t i = 0; i < field_.gradient_size; ++i) sum[i] += part[i];
    }
    for (int layer = 0; layer < int(field_.layers.size()); ++layer) {
        const Dense<A>& dense = field_.layers[layer];
        std::vector<float> grad(size_t(dense.outputs) * dense.inputs);
        dense.unpad(sum + dense.gradient, grad.data());
        if (call.gradients)
            std::memcpy(field_.weights(*call.gradients, layer), grad.data(), grad.size() * sizeof(float));
        else
            adam_layer(call, adam, layer, grad.data());
    }
    if (!call.gradients) field_.load_network();
}

template <class A>
void Radiance<A>::adam_layer(const StepCall& call, const AdamStep& adam, int layer, const float* grad) {
    const Dense<A>& dense = field_.layers[layer];
    adam_all(adam, grad, int64_t(dense.outputs) * dense.inputs, field_.weights(spec_.parameters, layer),
             {field_.weights(*call.first_moments, layer), field_.weights(*call.second_moments, layer)});
}

// Shows the occupancy grid the densities of the samples of all batches.
template <class A> void Radiance<A>::observe_batches(int n_tiles) {
    for (int tile = 0; tile < n_tiles; ++tile) {
        const Batch& batch = batches_[tile];
        occupancy_.observe(batch.n, batch.x.data(), batch.y.data(), batch.z.data(), batch.density.data());
    }
}

template <class A> StepReport Radiance<A>::step(const StepCall& call) {
    const CoarsestLevels<A> narrowed(field_, call.levels);
    n_tiles_ = (call.n_rays + call.rays_per_tile - 1) / call.rays_per_tile;
    unobserved_tiles_ = 0;
    need_workers(call.threads);
    if (int(batches_.size()) < n_tiles_) batches_.resize(n_tiles_);
    for (auto& worker : workers_) worker->watch = Stopwatch();
    Pool::shared().run(n_tiles_, call.threads,
                       [&](int64_t tile, int thread) { learn_tile(call, tile, *workers_[thread]); });

    StepReport report{};
    for (int tile = 0; tile < n_tiles_; ++tile) {
        report.loss += batches_[tile].loss;
        report.samples += batches_[tile].n;
        report.marched += batches_[tile].marched;
        report.reached += batches_[tile].reached;
    }
    if (!std::isfinite(report.loss) || n_tiles_ == 0) return report;

    const AdamStep adam(call.rate, call.beta1, call.beta2, call.epsilon, call.number);
    const int n_levels = call.levels;
    if (call.gradients) {
        const int64_t from = field_.first_row[n_levels] * spec_.shape.features;
        const int64_t to = field_.first_row[spec_.shape.n_levels] * spec_.shape.features;
        std::fill(call.gradients->table + from, call.gradients->table + to, 0.0f);
        unobserved_tiles_ = n_tiles_;
    }
    // Fine levels take longest: they come first, the small jobs fill the gap at the end.
    Pool::shared().run(n_levels + 3, call.threads, [&](int64_t job, int thread) {
        if (job < n_levels) return descend_level(call, adam, n_levels - 1 - int(job), *workers_[thread]);
        if (job == n_levels) return descend_network(call, adam);
        if (job == n_levels + 1) return call.view_gradients ? gather_views(call) : void();
        if (!call.gradients) observe_batches(n_tiles_);
    });
    for (const auto& worker : workers_)
        for (int stage = 0; stage < N_STAGES; ++stage) report.seconds[stage] += worker->watch.seconds[stage];
    return report;
}

// Takes Adam's step by the numbers in call.gradients: those that `step` wrote there, or sums of such over machines.
//
// `step` with gradients and then `descend`, of the same call, give the same bits as the fused step. The first finds the
// loss and the gradients, by the pictures too; the second moves the parameters, their moments and packed copies, and
// shows the occupancy grid what the last `step` saw, unless render_vjp came between. As in the fused step, a number of
// the table whose gradient is zero keeps value and moments; the table's gradients are zero afterwards. The caller does
// not come here after a loss that is not finite; of no ray nothing moves.
template <class A> void Radiance<A>::descend(const StepCall& call) {
    if (!call.gradients) throw std::invalid_argument("no gradients to descend by");
    if (call.n_rays == 0) return;
    const AdamStep adam(call.rate, call.beta1, call.beta2, call.epsilon, call.number);
    const int n_levels = call.levels;
    Pool::shared().run(n_levels + 2, call.threads, [&](int64_t job, int) {
        if (job < n_levels) {
            const int level = n_levels - 1 - int(job);
            with_features(spec_.shape.features, [&](auto features) {
                adam_rows<features>(call, adam, level, call.gradients->table + field_.first_row[level] * features);
            });
        } else if (job == n_levels) {
            for (int layer = 0; layer < int(field_.layers.size()); ++layer)
                adam_layer(call, adam, layer, field_.weights(*call.gradients, layer));
            field_.load_network();
        } else {
            observe_batches(unobserved_tiles_);
        }
    });
    unobserved_tiles_ = 0;
}

}  // namespace nerf
