// A radiance field with its occupancy grid: pictures from it, densities of it, and its training.
//
// A training step has two phases. (a) Threads take tiles of rays forward and back; each tile leaves its gradients by
// the encoding, and by the network, in its own batch. (b) Threads take whole levels of the grid: they add the batches
// into the level's gradient in the order of the tiles, and let Adam move the level while it is in the cache. Nothing
// is added by two threads, so that results are the same bits for any number of threads.
#pragma once

#include <memory>
#include <vector>

#include "adam.h"
#include "loss.h"
#include "occupancy.h"
#include "pixels.h"
#include "tile_vjp.h"

namespace nerf {

// The structs below have the same layout as their namesakes in nerf/engine/signatures.py.
struct RadianceSpec {
    FieldShape shape;
    Parameters parameters;
    OccupancyArrays occupancy;
    float corner[3], side;  // scene units
    float minimum_transmittance, minimum_weight;
    float center[3], radius, near;  // of the contraction, see Contraction
};

struct StepCall {
    const Pixels* pixels;
    const Parameters* gradients;  // where to write the gradients instead of taking the step, or null
    const Parameters* first_moments;
    const Parameters* second_moments;
    uint64_t seed;
    int64_t first_ray;  // how many rays were drawn before
    int64_t number;     // of Adam's step, from 1
    float step_length;  // scene units
    float rate, beta1, beta2, epsilon;
    float distortion;  // weight of that loss
    int32_t n_rays, rays_per_tile, levels, background, threads;
};

struct StepReport {
    double loss;
    int64_t samples, marched;
    double seconds[N_STAGES];  // wall seconds of all threads together
};

struct OccupancyCall {
    uint64_t seed, number;
    float step_length;  // cube sides
    int32_t levels, prune, threads;
};

struct RenderCall {
    const float* origin;
    const float* direction;
    const float* offset;
    const float* code;  // or null: all zero
    float* rgb;         // or, as the two below, its gradient
    float* opacity;
    float* depth;
    int64_t n_rays;
    float step_length;  // scene units
    int32_t threads;
};

// Where the gradients of a rendering go, arrays of zeros; those not wanted are null. Of the parameters, that is the
// table, or all networks.
struct RenderGradients {
    Parameters parameters;
    float* origin;
    float* direction;
    float* code;
};

struct SurfaceCall {
    const float* origin;
    const float* direction;
    float* distance;
    int64_t n_rays;
    float step_length;  // scene units
    float level;        // of the light left
    int32_t threads;
};

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

    StepReport step(const StepCall& call);
    void update_occupancy(const OccupancyCall& call);
    void render(const RenderCall& call);
    void render_vjp(const RenderCall& call, const RenderGradients& gradients);
    void surface(const SurfaceCall& call);
    void density(const float* position, int64_t n, float* out, int threads);

private:
    // What a tile leaves for the second phase.
    struct Batch {
        int n = 0, room = 0;
        double loss = 0;
        int64_t marched = 0;
        Buffer<float> x, y, z, density;
        Buffer<float> grad_encoding;  // [level][room][feature]
        Buffer<float> grad_network;   // padded
    };

    struct Worker {
        TileVjp<A> tile;
        Stopwatch watch;
        Buffer<float> origin, direction, offset, rgba, scratch;
        Buffer<typename A::Word> encoding, hidden, features;
        std::vector<Pixel<float>> pixels, grad_pixels;
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
};

// Phase (a) for one tile.
template <class A> void Radiance<A>::learn_tile(const StepCall& call, int64_t tile, Worker& worker) {
    const int first = int(tile) * call.rays_per_tile, n = std::min(call.rays_per_tile, call.n_rays - first);
    for (auto* triple : {&worker.origin, &worker.direction}) triple->resize(size_t(n) * 3);
    worker.offset.resize(n);
    worker.rgba.resize(size_t(n) * 4);
    worker.pixels.resize(n);
    worker.grad_pixels.resize(n);
    worker.watch.start();
    draw(*call.pixels, call.seed, uint64_t(call.first_ray + first), n,
         {worker.origin.data(), worker.direction.data(), worker.offset.data(), worker.rgba.data()});
    worker.watch.lap(DRAW);
    const RayBundle rays{n, worker.origin.data(), worker.direction.data(), worker.offset.data(), nullptr};
    const Space here = space(call.step_length);
    Tile<A>& work = worker.tile;
    work.trace(field_, here, rays, worker.watch);
    work.shade(field_, rays, worker.pixels.data(), worker.watch);

    Batch& batch = batches_[tile];
    batch.loss = 0;
    const float scale = 1 / (3.0f * float(call.n_rays));
    for (int ray = 0; ray < n; ++ray)
        batch.loss += photometric_loss(worker.pixels[ray], worker.rgba.data() + 4 * ray, Background(call.background),
                                       scale, worker.grad_pixels[ray]);
    batch.marched = work.marched();
    keep_samples(work, batch);
    work.backward(field_, here, worker.grad_pixels.data(), n, call.distortion / float(call.n_rays),
                  batch.grad_encoding.data(), batch.grad_network.data(), worker.watch);
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
        for (int at = 0; at < batch.n; at += LANES<float>)
            interpolate_vjp<float, FEATURES>(corners<float>(load(batch.x.data() + at), load(batch.y.data() + at),
                                                            load(batch.z.data() + at), spec_.shape.levels[level]),
                                             std::min(LANES<float>, batch.n - at), grad + size_t(at) * FEATURES,
                                             grad_rows);
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
            adam_all(adam, grad.data(), int64_t(grad.size()), field_.weights(spec_.parameters, layer),
                     {field_.weights(*call.first_moments, layer), field_.weights(*call.second_moments, layer)});
    }
    if (!call.gradients) field_.load_network();
}

template <class A> StepReport Radiance<A>::step(const StepCall& call) {
    const CoarsestLevels<A> narrowed(field_, call.levels);
    n_tiles_ = (call.n_rays + call.rays_per_tile - 1) / call.rays_per_tile;
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
    }
    if (!std::isfinite(report.loss) || n_tiles_ == 0) return report;

    const AdamStep adam(call.rate, call.beta1, call.beta2, call.epsilon, call.number);
    const int n_levels = call.levels;
    if (call.gradients) {
        const int64_t from = field_.first_row[n_levels] * spec_.shape.features;
        const int64_t to = field_.first_row[spec_.shape.n_levels] * spec_.shape.features;
        std::fill(call.gradients->table + from, call.gradients->table + to, 0.0f);
    }
    // Fine levels take longest: they come first, the small jobs fill the gap at the end.
    Pool::shared().run(n_levels + 2, call.threads, [&](int64_t job, int thread) {
        if (job < n_levels) return descend_level(call, adam, n_levels - 1 - int(job), *workers_[thread]);
        if (job == n_levels) return descend_network(call, adam);
        if (call.gradients) return;
        for (int tile = 0; tile < n_tiles_; ++tile) {
            const Batch& batch = batches_[tile];
            occupancy_.observe(batch.n, batch.x.data(), batch.y.data(), batch.z.data(), batch.density.data());
        }
    });
    for (const auto& worker : workers_)
        for (int stage = 0; stage < N_STAGES; ++stage) report.seconds[stage] += worker->watch.seconds[stage];
    return report;
}

template <class A>
void Radiance<A>::density_block(const float* x, const float* y, const float* z, int count, float* out, Worker& worker) {
    worker.scratch.resize(field_.scratch_size());
    worker.encoding.resize(size_t(field_.encoded()) * BLOCK / A::DEPTH);
    worker.hidden.resize(size_t(field_.layers[0].padded_outputs) * BLOCK / A::DEPTH);
    worker.features.resize(size_t(field_.given()) * BLOCK / A::DEPTH);
    field_.density(x, y, z, count, {worker.encoding.data(), worker.hidden.data(), worker.features.data(), out},
                   worker.scratch.data());
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

// Density per cube side at n positions (n, 3) in [0, 1].
template <class A> void Radiance<A>::density(const float* position, int64_t n, float* out, int threads) {
    need_workers(threads);
    Pool::shared().run((n + BLOCK - 1) / BLOCK, threads, [&](int64_t job, int thread) {
        alignas(64) float place[3][BLOCK] = {}, density[BLOCK];
        const int count = int(std::min<int64_t>(BLOCK, n - job * BLOCK));
        for (int i = 0; i < count; ++i)
            for (int axis = 0; axis < 3; ++axis) place[axis][i] = position[3 * (job * BLOCK + i) + axis];
        density_block(place[0], place[1], place[2], count, density, *workers_[thread]);
        std::memcpy(out + job * BLOCK, density, count * sizeof(float));
    });
}

}  // namespace nerf
