// The engine's functions one by one, in float and in double: what other tasks call through autograd, and what tests
// compare with the plain-torch reference, in the very text that the fused step is made of.
#include <algorithm>
#include <vector>

#include "composite.h"
#include "hash_grid.h"
#include "interface.h"
#include "layer.h"
#include "march.h"
#include "spherical_harmonics.h"
#include "threads.h"

namespace nerf {

// The structs below have the same layout as their namesakes in nerf/engine/signatures.py, for float and for double.
template <class T> struct HashGridCall {
    const Level* levels;
    const T* position;  // (n, 3), in [0, 1]
    const T* table;     // (rows of all levels, features)
    T* out;             // (n, n_levels * features), or its gradient
    T* grad_table;      // added to
    int64_t n;
    int32_t n_levels, features, threads;
};

template <class T> struct MlpCall {
    const int32_t* widths;    // (n_layers + 1), inputs first
    const T* const* weights;  // n_layers times (widths[k + 1], widths[k])
    const T* in;              // (n, widths[0])
    T* out;                   // (n, widths[n_layers]), or its gradient
    T* grad_in;               // like in
    T* const* grad_weights;   // like weights, added to
    int64_t n;
    int32_t n_layers;
};

template <class T> struct MarchCall {
    const T* origin;     // (n_rays, 3)
    const T* direction;  // (n_rays, 3), of unit length
    const T* offset;     // (n_rays)
    const uint8_t* occupied;
    int64_t* count;        // (n_rays), samples of each ray
    const int64_t* first;  // (n_rays), where its samples go; null to count only
    T* t;
    T corner[3], side, step;
    T center[3], radius, near;  // of the contraction, see Contraction
    int64_t n_rays;
    int32_t resolution, threads;
};

template <class T> struct CompositeCall {
    const T* thickness;    // (n), optical thickness of every sample
    const T* rgb;          // (n, 3)
    const T* t;            // (n)
    const int64_t* first;  // (n_rays + 1), where the samples of a ray begin
    T* pixel;              // (n_rays, 5): rgb, opacity and depth, or their gradients
    T* grad_thickness;     // (n)
    T* grad_rgb;           // (n, 3)
    int64_t n_rays;
    int32_t threads;
};

// The corners round the LANES<T> positions from `at` on; beyond the last one, round the middle of the cube.
template <class T> static Corners<T> corners_at(const HashGridCall<T>& call, int64_t at, const Level& level) {
    T place[3][LANES<T>];
    for (int lane = 0; lane < LANES<T>; ++lane)
        for (int axis = 0; axis < 3; ++axis)
            place[axis][lane] = at + lane < call.n ? call.position[3 * (at + lane) + axis] : T(0.5);
    return corners<T>(load(place[0]), load(place[1]), load(place[2]), level);
}

template <class T> static void hash_grid(const HashGridCall<T>& call, bool backward) {
    with_features(call.features, [&](auto features) {
        std::vector<int64_t> first_row(call.n_levels + 1, 0);
        for (int level = 0; level < call.n_levels; ++level)
            first_row[level + 1] = first_row[level] + call.levels[level].rows;
        // A level has one writer: sums are in the order of the samples.
        Pool::shared().run(call.n_levels, call.threads, [&](int64_t level, int) {
            const int64_t start = first_row[level] * features, width = int64_t(call.n_levels) * features;
            for (int64_t at = 0; at < call.n; at += LANES<T>) {
                const Corners<T> here = corners_at(call, at, call.levels[level]);
                const int count = int(std::min<int64_t>(LANES<T>, call.n - at));
                T part[LANES<T> * features];
                T* out = call.out + at * width + level * features;
                if (backward) {
                    for (int lane = 0; lane < count; ++lane)
                        std::memcpy(part + lane * features, out + lane * width, sizeof(T) * features);
                    interpolate_vjp<T, features>(here, count, part, call.grad_table + start);
                } else {
                    Pack<T> value[features];
                    interpolate<PlainTable<T, features>>(call.table + start, here, value);
                    store_interleaved<features>(part, value);
                    for (int lane = 0; lane < count; ++lane)
                        std::memcpy(out + lane * width, part + lane * features, sizeof(T) * features);
                }
            }
        });
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

template <class T> static void mlp(const MlpCall<T>& call, bool backward) {
    using A = Full<T>;
    std::vector<Dense<A>> layers;
    size_t size = 0;
    int widest = call.widths[0];
    for (int k = 0; k < call.n_layers; ++k) {
        layers.emplace_back(call.widths[k + 1], call.widths[k], call.widths[k], size);
        layers.back().load(call.weights[k]);
        size += layers.back().padded_size();
        widest = std::max(widest, call.widths[k + 1]);
    }
    const size_t block_size = size_t(padded(widest)) * BLOCK;
    std::vector<T> values(block_size * (call.n_layers + 1)), grads(2 * block_size), grad_weights(size);
    const int last = call.n_layers - 1;
    for (int64_t at = 0; at < call.n; at += BLOCK) {
        const auto value = [&](int k) { return values.data() + k * block_size; };
        take_block(call.in, call.n, at, call.widths[0], value(0));
        for (int k = 0; k < last; ++k) hidden<A>(layers[k].forward, value(k), value(k + 1));
        if (!backward) {
            linear<A>(layers[last].forward, layers[last].padded_outputs, value(last), value(last + 1));
            give_block(value(last + 1), call.n, at, call.widths[last + 1], call.out);
            continue;
        }
        T *grad = grads.data(), *next = grads.data() + block_size;
        take_block(call.out, call.n, at, call.widths[last + 1], grad);
        for (int k = last; k >= 0; --k) {
            const Dense<A>& layer = layers[k];
            weights_vjp<A>(grad, layer.padded_outputs, value(k), layer.padded_inputs, 1,
                           grad_weights.data() + layer.gradient);
            if (k > 0)
                hidden_vjp<A>(layer.transposed, grad, value(k), next);
            else
                linear<A>(layer.transposed, layer.padded_inputs, grad, next);
            std::swap(grad, next);
        }
        give_block(grad, call.n, at, call.widths[0], call.grad_in);
    }
    for (int k = 0; backward && k < call.n_layers; ++k) {
        std::vector<T> part(size_t(layers[k].outputs) * layers[k].inputs);
        layers[k].unpad(grad_weights.data() + layers[k].gradient, part.data());
        for (size_t i = 0; i < part.size(); ++i) call.grad_weights[k][i] += part[i];
    }
}

constexpr int RAYS_PER_JOB = 64;

// Calls work(ray) for every ray.
template <class Work> static void for_each_ray(int64_t n_rays, int threads, Work work) {
    Pool::shared().run((n_rays + RAYS_PER_JOB - 1) / RAYS_PER_JOB, threads, [&](int64_t job, int) {
        const int64_t end = std::min(n_rays, (job + 1) * RAYS_PER_JOB);
        for (int64_t ray = job * RAYS_PER_JOB; ray < end; ++ray) work(ray);
    });
}

template <class T> static void march(const MarchCall<T>& call) {
    OccupancyBits bits;
    bits.resize(call.resolution);
    for (int slab = 0; slab < bits.slabs(); ++slab) bits.assign_slab(call.occupied, slab);
    Contraction<T> space{{}, call.radius, call.near, {}, call.side};
    std::copy(call.center, call.center + 3, space.center);
    std::copy(call.corner, call.corner + 3, space.corner);
    for_each_ray(call.n_rays, call.threads, [&](int64_t ray) {
        const T *origin = call.origin + 3 * ray, *direction = call.direction + 3 * ray, offset = call.offset[ray];
        const bool contracted = space.radius > 0;
        March<T> march = contracted ? begin_march(origin, direction, space, call.step, offset)
                                    : begin_march(origin, direction, call.corner, call.side, call.step, offset);
        T position[3];
        int64_t count = 0;
        while (march.next < march.count) {
            const T t = contracted ? march.t(call.step, space) : march.t(call.step);
            const int32_t after = contracted ? march.look(bits, t, 1 / call.step, space, position)
                                             : march.look(bits, call.step, 1 / call.step, position);
            if (after == march.next++) {
                if (call.first) call.t[call.first[ray] + count] = t;
                ++count;
            } else {
                march.next = after;
            }
        }
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

NERF_EXPORT int nerf_hash_grid_float(const HashGridCall<float>* call, int backward) {
    return guarded([&] { hash_grid(*call, backward); });
}
NERF_EXPORT int nerf_hash_grid_double(const HashGridCall<double>* call, int backward) {
    return guarded([&] { hash_grid(*call, backward); });
}
NERF_EXPORT int nerf_mlp_float(const MlpCall<float>* call, int backward) {
    return guarded([&] { mlp(*call, backward); });
}
NERF_EXPORT int nerf_mlp_double(const MlpCall<double>* call, int backward) {
    return guarded([&] { mlp(*call, backward); });
}
NERF_EXPORT int nerf_march_float(const MarchCall<float>* call) {
    return guarded([&] { march(*call); });
}
NERF_EXPORT int nerf_march_double(const MarchCall<double>* call) {
    return guarded([&] { march(*call); });
}
NERF_EXPORT int nerf_composite_float(const CompositeCall<float>* call, int backward) {
    return guarded([&] { composite_rays(*call, backward); });
}
NERF_EXPORT int nerf_composite_double(const CompositeCall<double>* call, int backward) {
    return guarded([&] { composite_rays(*call, backward); });
}
NERF_EXPORT int nerf_spherical_harmonics_float(const float* direction, int64_t n, int degree, float* out) {
    return guarded([&] {
        for (int64_t i = 0; i < n; ++i)
            spherical_harmonics(direction[3 * i], direction[3 * i + 1], direction[3 * i + 2], degree,
                                out + i * degree * degree);
    });
}
NERF_EXPORT int nerf_spherical_harmonics_double(const double* direction, int64_t n, int degree, double* out) {
    return guarded([&] {
        for (int64_t i = 0; i < n; ++i)
            spherical_harmonics(direction[3 * i], direction[3 * i + 1], direction[3 * i + 2], degree,
                                out + i * degree * degree);
    });
}
