// A tile of rays on its way from march to pixels and back, by one thread; its buffers are reused from tile to tile.
//
// Rays are marched lazily, some samples at a time. The density network alone decides where a ray ends: most samples
// lie behind a surface and never reach the colour network. What the density pass computed for the samples in front is
// kept, packed by ray, and used again.
#pragma once

#include <algorithm>

#include "composite.h"
#include "field.h"
#include "march.h"
#include "stopwatch.h"

namespace nerf {

// The cube of the scene, and how it is marched through.
struct Space {
    const OccupancyBits* bits;
    float corner[3], side;     // scene units
    float step;                // scene units
    float greatest_thickness;  // optical thickness in front of a sample beyond which a ray has ended
    float minimum_weight;      // a sample that weighs less is left out, unless its ray has nothing much heavier
    Contraction<float> contraction;
};

struct RayBundle {
    int count;
    const float* origin;     // (count, 3)
    const float* direction;  // (count, 3)
    const float* offset;     // (count)
    const float* code;       // (count, code_size), or null: all zero
};

template <class A> class Tile {
public:
    using Word = typename A::Word;

    int samples() const { return n_used_; }
    int marched() const { return n_marched_; }
    const float* x() const { return x_.data(); }
    const float* y() const { return y_.data(); }
    const float* z() const { return z_.data(); }
    const float* density() const { return density_.data(); }
    int first_sample(int ray) const { return first_[ray]; }
    float distance_at(int ray, float step, float level) const {
        const int at = first_[ray];
        return nerf::distance_at(first_[ray + 1] - at, passing_.data() + at, t_.data() + at, step, level);
    }

    // Finds the samples that light reaches.
    void trace(const Field<A>& field, const Space& space, const RayBundle& rays, Stopwatch& watch) {
        watch.start();
        begin(field, space, rays);
        while (!live_.empty()) {
            const int first = n_slots_;
            const size_t first_run = runs_.size();
            advance_rays(space, first);
            watch.lap(TRACE);
            for (int slot = first; slot < n_slots_; slot += BLOCK) density_of(field, slot);
            watch.lap(DENSITY);
            end_rays(space, first_run);
        }
        pack_samples(field, space);
        watch.lap(GATHER);
    }

    // Colours of all samples, and what every ray sees.
    void shade(const Field<A>& field, const RayBundle& rays, Pixel<float>* pixels, Stopwatch& watch) {
        watch.start();
        spread_ray_inputs(field, rays);
        const int blocks = n_blocks();
        for (int layer = 0; layer + 1 < field.color_layers(); ++layer)
            color_hidden_[layer].resize(size_t(blocks) * field.color(layer).padded_outputs / A::DEPTH * BLOCK);
        rgb_.resize(size_t(blocks) * GROUP * BLOCK);
        for (int block = 0; block < blocks; ++block) {
            const Word* in = color_in_.data() + block * color_inputs(field) * BLOCK;
            for (int layer = 0; layer + 1 < field.color_layers(); ++layer) {
                Word* out =
                    color_hidden_[layer].data() + size_t(block) * field.color(layer).padded_outputs / A::DEPTH * BLOCK;
                hidden<A>(field.color(layer).forward, in, out);
                in = out;
            }
            float* rgb = rgb_.data() + size_t(block) * GROUP * BLOCK;
            linear<A>(field.color(field.color_layers() - 1).forward, GROUP, in, rgb);
            for (int at = 0; at < 3 * BLOCK; at += LANES<float>) store(rgb + at, 1 / (1 + exp(-load(rgb + at))));
        }
        watch.lap(COLOR);
        for (int ray = 0; ray < rays.count; ++ray) {
            const int at = first_[ray];
            pixels[ray] = composite<float>(
                first_[ray + 1] - at, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return channel(rgb_, at + int(i), c); }, reaching_.data() + at);
        }
        watch.lap(COMPOSITE);
    }

    // From the gradient by the pixels to those by the encoding, [level][sample][feature], and by the network (added).
    void backward(const Field<A>& field, const Space& space, const Pixel<float>* grad_pixels, int n_rays,
                  float* grad_encoding, float* grad_network, Stopwatch& watch) {
        watch.start();
        pixels_vjp(grad_pixels, n_rays, space.step / space.side);
        watch.lap(COMPOSITE);
        resize_gradients(field);
        for (int block = 0; block < n_blocks(); ++block) block_vjp(field, block, grad_encoding);
        watch.lap(BACKWARD);
        const int last = field.color_layers() - 1;
        const Word* in = color_in_.data();
        for (int layer = 0; layer <= last; ++layer) {
            layer_vjp(field.color(layer), grad_color_[layer].data(), in, grad_network);
            in = color_hidden_[layer].data();
        }
        layer_vjp(field.layers[1], grad_features_.data(), hidden_.data(), grad_network);
        layer_vjp(field.layers[0], grad_hidden_.data(), encoding_.data(), grad_network);
        watch.lap(WEIGHTS);
    }

protected:
    static constexpr int SAMPLES_AT_ONCE = 3;  // of a ray, between two looks at whether it has ended

    struct Place {
        float x, y, z, t;
    };

    // Consecutive samples of one ray: where they are among the marched ones, and how many of them light reaches.
    struct Run {
        int ray, slot, count;
    };

    int n_blocks() const { return (n_used_ + BLOCK - 1) / BLOCK; }
    static int color_inputs(const Field<A>& field) { return field.color(0).padded_inputs / A::DEPTH; }

    static float& channel(Buffer<float>& rows, int sample, int c) {
        return rows[size_t(sample / BLOCK) * GROUP * BLOCK + c * BLOCK + sample % BLOCK];
    }

    void begin(const Field<A>& field, const Space& space, const RayBundle& rays) {
        march_.clear();
        live_.clear();
        runs_.clear();
        n_slots_ = n_used_ = n_marched_ = 0;
        scratch_.resize(field.scratch_size());
        thickness_.assign(rays.count, 0.0f);
        for (int ray = 0; ray < rays.count; ++ray) {
            const float *origin = rays.origin + 3 * ray, *direction = rays.direction + 3 * ray, offset = rays.offset[ray];
            march_.push_back(space.contraction.radius > 0
                                 ? begin_march(origin, direction, space.contraction, space.step, offset)
                                 : begin_march(origin, direction, space.corner, space.side, space.step, offset));
            live_.push_back(ray);
        }
    }

    // Moves every live ray on by some samples; what is left of the last block lies in the middle of the cube.
    void advance_rays(const Space& space, int first) {
        for (auto* place : {&marched_x_, &marched_y_, &marched_z_, &marched_t_})
            place->resize(size_t(first) + live_.size() * SAMPLES_AT_ONCE + BLOCK);
        int slot = first;
        for (size_t at = 0; at < live_.size(); at += LANES<float>)
            slot = advance_packet(space, live_.data() + at, int(std::min<size_t>(LANES<float>, live_.size() - at)), slot);
        n_marched_ += slot - first;
        filled_ = slot;
        while (slot % BLOCK) {
            marched_x_[slot] = marched_y_[slot] = marched_z_[slot] = 0.5f;
            marched_t_[slot++] = 0;
        }
        n_slots_ = slot;
    }

    // The same for one ray a lane, each of which gets a run; returns the slot after their samples.
    int advance_packet(const Space& space, const int* rays, int n_rays, int slot) {
        constexpr int lanes = LANES<float>;
        March<Pack<float>> march{};
        for (int lane = 0; lane < n_rays; ++lane) {
            const March<float>& ray = march_[rays[lane]];
            for (int axis = 0; axis < 3; ++axis) {
                march.start[axis][lane] = ray.start[axis];
                march.slope[axis][lane] = ray.slope[axis];
                march.inverse[axis][lane] = ray.inverse[axis];
            }
            march.near[lane] = ray.near;
            march.middle[lane] = ray.middle;
            march.reach[lane] = ray.reach;
            march.offset[lane] = ray.offset;
            march.next[lane] = ray.next;
            march.count[lane] = ray.count;
        }
        const Pack<float> step = splat(space.step), inverse_step = splat(1 / space.step);
        const bool contracted = space.contraction.radius > 0;
        Pack<int32_t> taken{};
        taken_.resize(size_t(lanes) * SAMPLES_AT_ONCE);
        for (;;) {
            const auto live = (march.next < march.count) & (taken < SAMPLES_AT_ONCE);
            if (!lane_bits(live)) break;
            Pack<float> position[3];
            const Pack<float> t = contracted ? march.t(step, space.contraction) : march.t(step);
            const Pack<int32_t> after = contracted
                                            ? march.look(*space.bits, t, inverse_step, space.contraction, position)
                                            : march.look(*space.bits, step, inverse_step, position);
            const auto hit = live & (after == march.next);
            // Rounding may carry a sample just out of the cube.
            for (auto& place : position) place = least(greatest(place, Pack<float>{}), splat(1.0f));
            for (uint32_t left = lane_bits(hit); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                taken_[lane * SAMPLES_AT_ONCE + taken[lane]] = {position[0][lane], position[1][lane],
                                                                position[2][lane], t[lane]};
            }
            taken -= hit;
            march.next = hit ? march.next + 1 : live ? after : march.next;
        }
        for (int lane = 0; lane < n_rays; ++lane) {
            march_[rays[lane]].next = march.next[lane];
            runs_.push_back({rays[lane], slot, taken[lane]});
            for (int i = 0; i < taken[lane]; ++i, ++slot) {
                const Place& place = taken_[lane * SAMPLES_AT_ONCE + i];
                marched_x_[slot] = place.x;
                marched_y_[slot] = place.y;
                marched_z_[slot] = place.z;
                marched_t_[slot] = place.t;
            }
        }
        return slot;
    }

    void density_of(const Field<A>& field, int slot) {
        const int block = slot / BLOCK, encoded = field.encoded() / A::DEPTH, given = field.given() / A::DEPTH;
        const int hidden = field.layers[0].padded_outputs / A::DEPTH;
        marched_encoding_.resize(size_t(n_slots_) * encoded);
        marched_hidden_.resize(size_t(n_slots_) * hidden);
        marched_features_.resize(size_t(n_slots_) * given);
        marched_density_.resize(n_slots_);
        field.density(marched_x_.data() + slot, marched_y_.data() + slot, marched_z_.data() + slot,
                      std::min(BLOCK, filled_ - slot),
                      {marched_encoding_.data() + size_t(block) * encoded * BLOCK,
                       marched_hidden_.data() + size_t(block) * hidden * BLOCK,
                       marched_features_.data() + size_t(block) * given * BLOCK, marched_density_.data() + slot},
                      scratch_.data());
    }

    // Shortens the runs of this round to what light reaches; rays that light leaves, or that ran out, are live no more.
    void end_rays(const Space& space, size_t first_run) {
        const float length = space.step / space.side;
        thickness_before_.resize(n_slots_);
        live_.clear();
        for (size_t index = first_run; index < runs_.size(); ++index) {
            Run& run = runs_[index];
            float& thickness = thickness_[run.ray];
            int reached = 0;
            while (reached < run.count && thickness <= space.greatest_thickness) {
                const int slot = run.slot + reached++;
                thickness_before_[slot] = thickness;
                thickness += marched_density_[slot] * length;
            }
            const bool ended = run.count < SAMPLES_AT_ONCE || thickness > space.greatest_thickness;
            run.count = reached;
            if (!ended) live_.push_back(run.ray);
        }
    }

    // Leaves out the samples that weigh next to nothing in what their rays see: runs are of `kept_` from now on.
    void drop_light_samples(const Space& space) {
        const float length = space.step / space.side;
        weight_.resize(n_slots_);
        for (int at = 0; at < n_slots_; at += LANES<float>) {
            const auto reaching = exp(-load(thickness_before_.data() + at));
            store(weight_.data() + at, reaching * (1 - exp(load(marched_density_.data() + at) * -length)));
        }
        heaviest_.assign(march_.size(), 0.0f);
        for (const Run& run : runs_)
            for (int slot = run.slot; slot < run.slot + run.count; ++slot)
                heaviest_[run.ray] = std::max(heaviest_[run.ray], weight_[slot]);
        first_.assign(march_.size() + 1, 0);
        kept_.resize(n_slots_ + 1);
        int n_kept = 0;
        for (Run& run : runs_) {
            const float least =
                std::max(NEGLIGIBLE_WEIGHT, std::min(space.minimum_weight, PART_OF_HEAVIEST * heaviest_[run.ray]));
            const int begin = n_kept;
            for (int slot = run.slot; slot < run.slot + run.count; ++slot) {
                kept_[n_kept] = slot;
                n_kept += weight_[slot] >= least;
            }
            run.slot = begin;
            run.count = n_kept - begin;
            first_[run.ray + 1] += run.count;
        }
    }

    // Packs what the density pass left of the reached samples, sorted by ray; the last block is filled with copies.
    void pack_samples(const Field<A>& field, const Space& space) {
        drop_light_samples(space);
        for (size_t ray = 0; ray < march_.size(); ++ray) first_[ray + 1] += first_[ray];
        n_used_ = first_.back();
        const int room = n_blocks() * BLOCK;
        source_.assign(room, 0);
        std::vector<int>& next = next_;
        next.assign(first_.begin(), first_.end() - 1);
        for (const Run& run : runs_)
            for (int i = 0; i < run.count; ++i) source_[next[run.ray]++] = kept_[run.slot + i];
        for (auto* place : {&x_, &y_, &z_, &t_, &density_, &passing_, &reaching_, &grad_thickness_})
            place->resize(room);
        for (int i = 0; i < room; ++i) {
            const int slot = source_[i];
            x_[i] = marched_x_[slot];
            y_[i] = marched_y_[slot];
            z_[i] = marched_z_[slot];
            t_[i] = marched_t_[slot];
            density_[i] = marched_density_[slot];
        }
        const float length = space.step / space.side;
        for (int at = 0; at < room; at += LANES<float>)
            store(passing_.data() + at, exp(load(density_.data() + at) * -length));
        const int encoded = field.encoded() / A::DEPTH, hidden = field.layers[0].padded_outputs / A::DEPTH;
        encoding_.resize(size_t(room) * encoded);
        hidden_.resize(size_t(room) * hidden);
        color_in_.resize(size_t(room) * color_inputs(field));
        take_columns(marched_encoding_, encoded, encoding_, encoded);
        take_columns(marched_hidden_, hidden, hidden_, hidden);
        take_columns(marched_features_, field.given() / A::DEPTH, color_in_, color_inputs(field));
    }

    // Columns `source_` of blocks of rows -> the first rows of blocks of `to_rows`.
    void take_columns(const Buffer<Word>& from, int rows, Buffer<Word>& to, int to_rows) const {
        for (int block = 0; block < n_blocks(); ++block) {
            const Word* column[BLOCK];
            for (int i = 0; i < BLOCK; ++i) {
                const int slot = source_[block * BLOCK + i];
                column[i] = from.data() + size_t(slot / BLOCK) * rows * BLOCK + slot % BLOCK;
            }
            Word* out = to.data() + size_t(block) * to_rows * BLOCK;
            for (int row = 0; row < rows; ++row)
                for (int i = 0; i < BLOCK; ++i) out[row * BLOCK + i] = column[i][row * BLOCK];
        }
    }

    // Every sample sees its ray's direction and code: the same words for all samples of a ray.
    void spread_ray_inputs(const Field<A>& field, const RayBundle& rays) {
        const int given = field.given() / A::DEPTH, rows = field.ray_inputs() / A::DEPTH;
        for (int ray = 0; ray < rays.count; ++ray) {
            float inputs[MOST_RAY_INPUTS] = {};
            const float* direction = rays.direction + 3 * ray;
            spherical_harmonics(direction[0], direction[1], direction[2], field.shape.direction_degree, inputs);
            if (rays.code)
                std::copy_n(rays.code + size_t(ray) * field.shape.code_size, field.shape.code_size,
                            inputs + field.harmonics());
            Word words[MOST_RAY_INPUTS];
            for (int row = 0; row < rows; ++row) words[row] = A::word(inputs + row * A::DEPTH);
            // The copies that fill the last block belong to no ray: they take the last one's direction.
            const int end = ray + 1 < rays.count ? first_[ray + 1] : n_blocks() * BLOCK;
            for (int i = first_[ray]; i < end; ++i) {
                Word* column = color_in_.data() + (size_t(i / BLOCK) * color_inputs(field) + given) * BLOCK + i % BLOCK;
                for (int row = 0; row < rows; ++row) column[row * BLOCK] = words[row];
            }
        }
    }

    // Gradients by optical thickness, times the length of a step, and by the colour network's outputs.
    void pixels_vjp(const Pixel<float>* grad_pixels, int n_rays, float length) {
        grad_rgb_.resize(rgb_.size());
        const size_t last = size_t(std::max(0, n_blocks() - 1));
        std::fill(grad_rgb_.begin() + std::min(grad_rgb_.size(), last * GROUP * BLOCK), grad_rgb_.end(), 0.0f);
        std::fill(grad_thickness_.begin() + n_used_, grad_thickness_.end(), 0.0f);
        for (int ray = 0; ray < n_rays; ++ray) {
            const int at = first_[ray];
            composite_vjp<float>(
                first_[ray + 1] - at, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return channel(rgb_, at + int(i), c); }, reaching_.data() + at,
                grad_pixels[ray], grad_thickness_.data() + at,
                [&](int64_t i, int c) -> float& { return channel(grad_rgb_, at + int(i), c); });
        }
        constexpr int n = LANES<float>;
        for (size_t at = 0; at < grad_rgb_.size(); at += n) {
            const auto rgb = load(rgb_.data() + at);
            const auto slope = int(at / BLOCK) % GROUP < 3 ? rgb * (1 - rgb) : Pack<float>{};
            store(grad_rgb_.data() + at, load(grad_rgb_.data() + at) * slope);
        }
        // Density is exp of the first feature up to a bound: its slope is the density itself, or nothing.
        const float bound = exp(LARGEST_LOG_DENSITY) * (1 - 1e-6f);
        for (int at = 0; at < n_blocks() * BLOCK; at += n) {
            const auto density = load(density_.data() + at);
            const auto slope = density < bound ? density * length : Pack<float>{};
            store(grad_thickness_.data() + at, load(grad_thickness_.data() + at) * slope);
        }
    }

    void resize_gradients(const Field<A>& field) {
        const size_t room = size_t(n_blocks()) * BLOCK;
        for (int layer = 0; layer < field.color_layers(); ++layer)
            grad_color_[layer].resize(room * field.color(layer).padded_outputs / A::DEPTH);
        grad_features_.resize(room * field.given() / A::DEPTH);
        grad_hidden_.resize(room * field.layers[0].padded_outputs / A::DEPTH);
    }

    // One block back through both networks.
    void block_vjp(const Field<A>& field, int block, float* grad_encoding) {
        const auto at = [block](Buffer<Word>& buffer, int rows) {
            return buffer.data() + size_t(block) * rows / A::DEPTH * BLOCK;
        };
        const int last = field.color_layers() - 1;
        Word* grad = at(grad_color_[last], GROUP);
        to_words<A>(grad_rgb_.data() + size_t(block) * GROUP * BLOCK, GROUP, grad);
        for (int layer = last; layer > 0; --layer) {
            const int width = field.color(layer - 1).padded_outputs;
            Word* next = at(grad_color_[layer - 1], width);
            hidden_vjp<A>(field.color(layer).transposed, grad, at(color_hidden_[layer - 1], width), next);
            grad = next;
        }
        float* scratch = scratch_.data();
        linear<A>(field.color(0).transposed, field.given(), grad, scratch);
        for (int i = 0; i < BLOCK; i += LANES<float>)
            store(scratch + i, load(scratch + i) + load(grad_thickness_.data() + block * BLOCK + i));
        Word* features = at(grad_features_, field.given());
        to_words<A>(scratch, field.given(), features);
        const int width = field.layers[0].padded_outputs;
        Word* grad_hidden = at(grad_hidden_, width);
        hidden_vjp<A>(field.layers[1].transposed, features, at(hidden_, width), grad_hidden);
        linear<A>(field.layers[0].transposed, field.encoded(), grad_hidden, scratch);
        with_features(field.shape.features, [&](auto n_features) {
            for (int level = 0; level < field.shape.n_levels; ++level) {
                float* out = grad_encoding + (size_t(level) * n_blocks() + block) * BLOCK * n_features;
                for (int i = 0; i < BLOCK; i += LANES<float>) {
                    Pack<float> rows[n_features];
                    for (int f = 0; f < n_features; ++f) rows[f] = load(scratch + (level * n_features + f) * BLOCK + i);
                    store_interleaved<n_features>(out + i * n_features, rows);
                }
            }
        });
    }

    void layer_vjp(const Dense<A>& layer, const Word* grad_out, const Word* in, float* grad_network) {
        const int blocks = n_blocks();
        turned_grad_.resize(size_t(blocks) * layer.padded_outputs / A::DEPTH * BLOCK);
        turned_in_.resize(size_t(blocks) * layer.padded_inputs / A::DEPTH * BLOCK);
        weights_vjp<A>(
            A::along_samples(grad_out, int64_t(blocks) * layer.padded_outputs / A::DEPTH, turned_grad_.data()),
            layer.padded_outputs,
            A::along_samples(in, int64_t(blocks) * layer.padded_inputs / A::DEPTH, turned_in_.data()),
            layer.padded_inputs, blocks, grad_network + layer.gradient);
    }

    std::vector<March<float>> march_;
    Buffer<Place> taken_;  // [lane][sample]
    std::vector<int> live_, first_, source_, next_;
    Buffer<int> kept_;
    Buffer<float> thickness_before_, weight_;
    std::vector<Run> runs_;
    std::vector<float> thickness_, heaviest_;
    int n_slots_ = 0, filled_ = 0, n_used_ = 0, n_marched_ = 0;
    Buffer<float> scratch_;
    // By marched sample, then by used sample.
    Buffer<float> marched_x_, marched_y_, marched_z_, marched_t_, marched_density_;
    Buffer<Word> marched_encoding_, marched_hidden_, marched_features_;
    Buffer<float> x_, y_, z_, t_, density_, passing_, reaching_, rgb_;
    Buffer<Word> encoding_, hidden_, color_in_, color_hidden_[MOST_COLOR_LAYERS];
    Buffer<float> grad_thickness_, grad_rgb_;
    Buffer<Word> grad_color_[MOST_COLOR_LAYERS], grad_features_, grad_hidden_, turned_grad_, turned_in_;
};

}  // namespace nerf
