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
};

struct RayBundle {
    int count;
    const float* origin;     // (count, 3)
    const float* direction;  // (count, 3)
    const float* offset;     // (count)
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
        spread_harmonics(field, rays);
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
            for (int at = 0; at < 3 * BLOCK; at += LANES<float>) store(rgb + at, sigmoid(load(rgb + at)));
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

private:
    static constexpr int SAMPLES_AT_ONCE = 8;  // of a ray, between two looks at whether it has ended

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
            march_.emplace_back(rays.origin + 3 * ray, rays.direction + 3 * ray, space.corner, space.side, space.step,
                                rays.offset[ray]);
            live_.push_back(ray);
        }
    }

    // Moves every live ray on by some samples; what is left of the last block lies in the middle of the cube.
    void advance_rays(const Space& space, int first) {
        const int quota = std::max(SAMPLES_AT_ONCE, BLOCK / int(live_.size()));
        for (auto* place : {&marched_x_, &marched_y_, &marched_z_, &marched_t_})
            place->resize(size_t(first) + live_.size() * quota + BLOCK);
        int slot = first;
        for (const int ray : live_) {
            March<float>& march = march_[ray];
            const int before = slot;
            float position[3];
            while (slot < before + quota && march.advance(*space.bits, position)) {
                // Rounding may carry a sample just out of the cube.
                marched_x_[slot] = std::min(std::max(position[0], 0.0f), 1.0f);
                marched_y_[slot] = std::min(std::max(position[1], 0.0f), 1.0f);
                marched_z_[slot] = std::min(std::max(position[2], 0.0f), 1.0f);
                marched_t_[slot++] = march.t();
                ++march.next;
            }
            runs_.push_back({ray, before, slot - before});
        }
        n_marched_ += slot - first;
        filled_ = slot;
        while (slot % BLOCK) {
            marched_x_[slot] = marched_y_[slot] = marched_z_[slot] = 0.5f;
            marched_t_[slot++] = 0;
        }
        n_slots_ = slot;
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
        const int quota = std::max(SAMPLES_AT_ONCE, BLOCK / int(live_.size()));
        const float length = space.step / space.side;
        live_.clear();
        for (size_t index = first_run; index < runs_.size(); ++index) {
            Run& run = runs_[index];
            float& thickness = thickness_[run.ray];
            const int reached = int(reached_samples(
                run.count, [&](int64_t i) { return marched_density_[run.slot + i]; }, length,
                space.greatest_thickness, thickness));
            const bool ended = run.count < quota || thickness > space.greatest_thickness;
            run.count = reached;
            if (!ended) live_.push_back(run.ray);
        }
    }

    // Packs what the density pass left of the reached samples, sorted by ray; the last block is filled with copies.
    void pack_samples(const Field<A>& field, const Space& space) {
        first_.assign(march_.size() + 1, 0);
        for (const Run& run : runs_) first_[run.ray + 1] += run.count;
        for (size_t ray = 0; ray < march_.size(); ++ray) first_[ray + 1] += first_[ray];
        n_used_ = first_.back();
        const int room = n_blocks() * BLOCK;
        source_.assign(room, 0);
        std::vector<int>& next = next_;
        next.assign(first_.begin(), first_.end() - 1);
        for (const Run& run : runs_)
            for (int i = 0; i < run.count; ++i) source_[next[run.ray]++] = run.slot + i;
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

    // Every sample sees its ray's direction: the same words for all samples of a ray.
    void spread_harmonics(const Field<A>& field, const RayBundle& rays) {
        const int given = field.given() / A::DEPTH, rows = field.harmonics() / A::DEPTH;
        for (int ray = 0; ray < rays.count; ++ray) {
            float basis[MOST_HARMONICS] = {};
            const float* direction = rays.direction + 3 * ray;
            spherical_harmonics(direction[0], direction[1], direction[2], field.shape.direction_degree, basis);
            Word words[MOST_HARMONICS];
            for (int row = 0; row < rows; ++row) words[row] = A::word(basis + row * A::DEPTH);
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
            const auto grad = int(at / BLOCK) % GROUP < 3 ? load(grad_rgb_.data() + at) : Pack<float>{};
            store(grad_rgb_.data() + at, sigmoid_vjp(load(rgb_.data() + at), grad));
        }
        for (int at = 0; at < n_blocks() * BLOCK; at += n)
            store(grad_thickness_.data() + at,
                  density_vjp(load(density_.data() + at), load(grad_thickness_.data() + at) * length));
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
    std::vector<int> live_, first_, source_, next_;
    std::vector<Run> runs_;
    std::vector<float> thickness_;
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
