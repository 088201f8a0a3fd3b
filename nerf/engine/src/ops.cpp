// The engine's functions one by one, in float and in double: what other tasks call through autograd, and what tests
// compare with the plain-torch reference, in the very text that the fused step is made of.
#include <algorithm>
#include <vector>

#include "composite.h"
#include "hash_grid.h"
#include "interface.h"
#include "layer.h"
#include "march.h"
#include "ops_calls.h"
#include "spherical_harmonics.h"
#include "threads.h"

namespace nerf {

// One level of a hash grid at LANES<T> positions at a time; the last pack is filled up with middles of the box.
template <class T, int D, int FEATURES> struct GridLevel {
    const HashGridCall<T>& call;
    const Level& level;
    int64_t first_value;  // where the level starts in the table
    int column;           // where its features start in a row of `out`

    static int64_t packs(int64_t n) { return (n + LANES<T> - 1) / LANES<T>; }
    int count(int64_t pack) const { return int(std::min<int64_t>(LANES<T>, call.n - pack * LANES<T>)); }
    T* features(int64_t pack, int lane) const {
        return call.out + (pack * LANES<T> + lane) * call.n_levels * FEATURES + column;
    }

    Cell<T, D> cell_at(int64_t pack) const {
        T position[D][LANES<T>];
        Pack<T> packed[D];
        for (int axis = 0; axis < D; ++axis) {
            for (int lane = 0; lane < LANES<T>; ++lane)
                position[axis][lane] =
                    lane < count(pack) ? in_unit(call.position[(pack * LANES<T> + lane) * D + axis]) : T(0.5);
            packed[axis] = load(position[axis]);
        }
        return cell<T, D>(packed, level);
    }

    // The gradients by the features of a pack, (count, FEATURES); zero beyond the last sample.
    void take_grads(int64_t pack, T (&part)[LANES<T> * FEATURES]) const {
        std::fill(part, part + LANES<T> * FEATURES, T(0));
        for (int lane = 0; lane < count(pack); ++lane)
            std::memcpy(part + lane * FEATURES, features(pack, lane), sizeof(T) * FEATURES);
    }

    void forward(int64_t pack) const {
        Pack<T> value[FEATURES];
        interpolate<PlainTable<T, FEATURES>>(call.table + first_value, corners(cell_at(pack), level), value);
        T part[LANES<T> * FEATURES];
        store_interleaved<FEATURES>(part, value);
        for (int lane = 0; lane < count(pack); ++lane)
            std::memcpy(features(pack, lane), part + lane * FEATURES, sizeof(T) * FEATURES);
    }

    void backward_table(int64_t pack) const {
        T part[LANES<T> * FEATURES];
        take_grads(pack, part);
        interpolate_vjp<T, FEATURES>(corners(cell_at(pack), level), count(pack), part, call.grad_table + first_value);
    }

    void backward_position(int64_t pack, Pack<T> (&sum)[D]) const {
        T part[LANES<T> * FEATURES];
        take_grads(pack, part);
        Pack<T> grad[FEATURES];
        load_interleaved<FEATURES>(part, grad);
        interpolate_vjp_position<PlainTable<T, FEATURES>>(call.table + first_value, cell_at(pack), level, grad, sum);
    }
};

constexpr int PACKS_PER_JOB = 256;

template <class T, int D, int FEATURES> static void hash_grid(const HashGridCall<T>& call) {
    std::vector<GridLevel<T, D, FEATURES>> levels;
    int64_t first_row = 0;
    for (int level = 0; level < call.n_levels; ++level) {
        levels.push_back({call, call.levels[level], first_row * FEATURES, level * FEATURES});
        first_row += call.levels[level].rows;
    }
    const int64_t packs = levels[0].packs(call.n), parts = (packs + PACKS_PER_JOB - 1) / PACKS_PER_JOB;
    const auto for_part = [&](int64_t part, auto work) {
        const int64_t end = std::min(packs, (part + 1) * PACKS_PER_JOB);
        for (int64_t pack = part * PACKS_PER_JOB; pack < end; ++pack) work(pack);
    };
    if (!call.grad_table && !call.grad_position)
        Pool::shared().run(call.n_levels * parts, call.threads, [&](int64_t job, int) {
            for_part(job % parts, [&](int64_t pack) { levels[job / parts].forward(pack); });
        });
    // A level has one writer: sums are in the order of the samples.
    if (call.grad_table)
        Pool::shared().run(call.n_levels, call.threads, [&](int64_t level, int) {
            for (int64_t pack = 0; pack < packs; ++pack) levels[level].backward_table(pack);
        });
    if (call.grad_position)
        Pool::shared().run(parts, call.threads, [&](int64_t part, int) {
            for_part(part, [&](int64_t pack) {
                Pack<T> sum[D] = {};
                for (const auto& level : levels) level.backward_position(pack, sum);
                for (int axis = 0; axis < D; ++axis)
                    for (int lane = 0; lane < levels[0].count(pack); ++lane)
                        call.grad_position[(pack * LANES<T> + lane) * D + axis] += sum[axis][lane];
            });
        });
}

template <class T> static void hash_grid(const HashGridCall<T>& call) {
    if (call.n_levels == 0) return;
    with_features(call.features, [&](auto features) {
        switch (call.dimensions) {
            case 1:
                return hash_grid<T, 1, features>(call);
            case 2:
                return hash_grid<T, 2, features>(call);
            case 3:
                return hash_grid<T, 3, features>(call);
            default:
                return hash_grid<T, 4, features>(call);
        }
    });
}

// Rows of samples (n, width) from `at` on <-> a block [row][BLOCK], padded with zeros.
template <class T> static void take_block(const T* from, int64_t n, int64_t at, int width, T* block) {
    std::fill(block, block + padded(width) * BLOCK, T(0));
    for (int i = 0; i < BLOCK && at + i < n; ++i)
        for (int row = 0; row < width; ++row) block[row * BLOCK + i] = from[(at + i) * width + row];
}

template <class T> static void give_block(const T* block, int64_t n, int64_t at, int width, T* to) {
    for (int i = 0; i < BLOCK && at + i < n; ++i)
        for (int row = 0; row < width; ++row) to[(at + i) * width + row] = block[row * BLOCK + i];
}

constexpr int BLOCKS_TOGETHER = 16;    // what a network keeps between forward and backward stays in the cache
constexpr int MOST_PARTIAL_SUMS = 16;  // of the gradients by weights, added in order

// A multilayer perceptron with what one thread needs to compute it.
template <class T> class Network {
public:
    using A = Full<T>;

    explicit Network(const MlpCall<T>& call) : call_(call) {
        size_t size = 0;
        for (int k = 0; k < call.n_layers; ++k) {
            layers.emplace_back(call.widths[k + 1], call.widths[k], call.widths[k], size);
            layers.back().load(call.weights[k]);
            size += layers.back().padded_size();
        }
        gradient_size = size;
    }

    // Room for the values of every layer, and their gradients, of BLOCKS_TOGETHER blocks.
    struct Room {
        std::vector<Blocks<T>> values, grads;
        explicit Room(const Network& network) : values(network.call_.n_layers + 1), grads(values.size()) {
            for (size_t k = 0; k < values.size(); ++k)
                for (auto* rooms : {&values, &grads})
                    (*rooms)[k].resize(BLOCKS_TOGETHER, padded(network.call_.widths[k]));
        }
    };

    void forward(int64_t first, int blocks, Room& room, bool outputs) const {
        const int last = call_.n_layers - 1;
        for (int block = 0; block < blocks; ++block) {
            const auto value = [&](int k) { return room.values[k].block(block); };
            const int64_t at = first + int64_t(block) * BLOCK;
            take_block(call_.input, call_.n, at, call_.widths[0], value(0));
            for (int k = 0; k < last; ++k) hidden<A>(layers[k].forward, value(k), value(k + 1));
            if (!outputs) continue;
            linear<A>(layers[last].forward, layers[last].padded_outputs, value(last), value(last + 1));
            give_block(value(last + 1), call_.n, at, call_.widths[last + 1], call_.out);
        }
    }

    void backward(int64_t first, int blocks, Room& room, T* grad_weights) const {
        const int last = call_.n_layers - 1;
        for (int block = 0; block < blocks; ++block) {
            const auto value = [&](int k) { return room.values[k].block(block); };
            const auto grad = [&](int k) { return room.grads[k].block(block); };
            const int64_t at = first + int64_t(block) * BLOCK;
            take_block(call_.out, call_.n, at, call_.widths[last + 1], grad(last + 1));
            for (int k = last; k > 0; --k) hidden_vjp<A>(layers[k].transposed, grad(k + 1), value(k), grad(k));
            linear<A>(layers[0].transposed, layers[0].padded_inputs, grad(1), grad(0));
            give_block(grad(0), call_.n, at, call_.widths[0], call_.grad_input);
        }
        for (int k = 0; k <= last; ++k)
            weights_vjp<A>(room.grads[k + 1], room.values[k], blocks, grad_weights + layers[k].gradient);
    }

    std::vector<Dense<A>> layers;
    size_t gradient_size;  // of all weights, padded

private:
    const MlpCall<T>& call_;
};

template <class T> static void mlp(const MlpCall<T>& call, bool backward) {
    const Network<T> network(call);
    const int64_t blocks = (call.n + BLOCK - 1) / BLOCK, parts = (blocks + BLOCKS_TOGETHER - 1) / BLOCKS_TOGETHER;
    const int64_t jobs = backward ? std::min<int64_t>(parts, MOST_PARTIAL_SUMS) : parts;
    std::vector<std::vector<T>> sums(backward ? jobs : 0, std::vector<T>(network.gradient_size));
    Pool::shared().run(jobs, call.threads, [&](int64_t job, int) {
        typename Network<T>::Room room(network);
        for (int64_t part = job * parts / jobs; part < (job + 1) * parts / jobs; ++part) {
            const int64_t first = part * BLOCKS_TOGETHER;
            const int count = int(std::min<int64_t>(BLOCKS_TOGETHER, blocks - first));
            network.forward(first * BLOCK, count, room, !backward);
            if (backward) network.backward(first * BLOCK, count, room, sums[job].data());
        }
    });
    for (int64_t job = 1; job < jobs && backward; ++job)
        for (size_t i = 0; i < network.gradient_size; ++i) sums[0][i] += sums[job][i];
    for (int k = 0; k < call.n_layers && backward && jobs > 0; ++k)
        network.layers[k].unpad(sums[0].data() + network.layers[k].gradient, call.grad_weights[k]);
}

constexpr int RAYS_PER_JOB = 64;

// Calls work(ray) for every ray.
template <class Work> static void for_each_ray(int64_t n_rays, int threads, Work work) {
    Pool::shared().run((n_rays + RAYS_PER_JOB - 1) / RAYS_PER_JOB, threads, [&](int64_t job, int) {
        const int64_t end = std::min(n_rays, (job + 1) * RAYS_PER_JOB);
        for (int64_t ray = job * RAYS_PER_JOB; ray < end; ++ray) work(ray);
    });
}

template <class T> static void harmonics(const HarmonicsCall<T>& call) {
    for (int64_t i = 0; i < call.n; ++i) {
        const T* d = call.direction + 3 * i;
        T* out = call.out + i * call.degree * call.degree;
        if (call.grad_direction)
            spherical_harmonics_vjp(d[0], d[1], d[2], call.degree, out, call.grad_direction + 3 * i);
        else
            spherical_harmonics(d[0], d[1], d[2], call.degree, out);
    }
}

template <class T> static void march(const MarchCall<T>& call) {
    OccupancyBits bits(call.resolution);
    for (int slab = 0; slab < bits.slabs(); ++slab) bits.assign_slab(call.occupied, slab);
    Contraction<T> space{{}, call.radius, call.near, {}, call.side};
    std::copy(call.center, call.center + 3, space.center);
    std::copy(call.corner, call.corner + 3, space.corner);
    for_each_ray(call.n_rays, call.threads, [&](int64_t ray) {
        int64_t count = 0;
        for_each_sample(call.origin + 3 * ray, call.direction + 3 * ray, call.offset[ray], space, bits, call.step,
                        [&](const T*, T t) {
                            if (call.t) call.t[call.first[ray] + count] = t;
                            ++count;
                        });
        call.count[ray] = count;
    });
}

template <class T> static void composite_rays(const CompositeCall<T>& call, bool backward) {
    const int64_t n = call.first[call.n_rays];
    std::vector<T> passing(n), reaching(n);
    for (int64_t i = 0; i < n; ++i) passing[i] = exp(-call.thickness[i]);
    for_each_ray(call.n_rays, call.threads, [&](int64_t ray) {
        const int64_t at = call.first[ray], count = call.first[ray + 1] - at;
        const auto color = [&](int64_t i, int c) { return call.rgb[3 * (at + i) + c]; };
        const Pixel<T> pixel = composite<T>(count, passing.data() + at, call.t + at, color, reaching.data() + at);
        T* out = call.pixel + 5 * ray;
        if (backward) {
            const Pixel<T> grad{{out[0], out[1], out[2]}, out[3], out[4]};
            composite_vjp<T>(count, passing.data() + at, call.t + at, color, reaching.data() + at, grad,
                             call.grad_thickness + at,
                             [&](int64_t i, int c) -> T& { return call.grad_rgb[3 * (at + i) + c]; });
        } else {
            std::copy(pixel.rgb, pixel.rgb + 3, out);
            out[3] = pixel.opacity;
            out[4] = pixel.depth;
        }
    });
}

}  // namespace nerf

using namespace nerf;

NERF_EXPORT int nerf_hash_grid_float(const HashGridCall<float>* call) {
    return guarded([&] { hash_grid(checked(call)); });
}
NERF_EXPORT int nerf_hash_grid_double(const HashGridCall<double>* call) {
    return guarded([&] { hash_grid(checked(call)); });
}
NERF_EXPORT int nerf_mlp_float(const MlpCall<float>* call, int backward) {
    return guarded([&] { mlp(checked(call, backward), backward); });
}
NERF_EXPORT int nerf_mlp_double(const MlpCall<double>* call, int backward) {
    return guarded([&] { mlp(checked(call, backward), backward); });
}
NERF_EXPORT int nerf_march_float(const MarchCall<float>* call) {
    return guarded([&] { march(checked(call)); });
}
NERF_EXPORT int nerf_march_double(const MarchCall<double>* call) {
    return guarded([&] { march(checked(call)); });
}
NERF_EXPORT int nerf_composite_float(const CompositeCall<float>* call, int backward) {
    return guarded([&] { composite_rays(checked(call, backward), backward); });
}
NERF_EXPORT int nerf_composite_double(const CompositeCall<double>* call, int backward) {
    return guarded([&] { composite_rays(checked(call, backward), backward); });
}
NERF_EXPORT int nerf_spherical_harmonics_float(const HarmonicsCall<float>* call) {
    return guarded([&] { harmonics(checked(call)); });
}
NERF_EXPORT int nerf_spherical_harmonics_double(const HarmonicsCall<double>* call) {
    return guarded([&] { harmonics(checked(call)); });
}
