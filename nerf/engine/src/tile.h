// A tile of rays on its way from march to pixels and back, by one thread; its buffers are reused from tile to tile.
//
// What the density pass computed for the samples that matter is kept, packed by ray, and used again.
#pragma once

#include <algorithm>

#include "composite.h"
#include "loss.h"
#include "marched.h"

namespace nerf {

template <class A> class Tile {
public:
    using Word = typename A::Word;

    int samples() const { return n_used_; }
    int marched() const { return marched_.marched(); }
    const float* x() const { return x_.data(); }
    const float* y() const { return y_.data(); }
    const float* z() const { return z_.data(); }
    const float* density() const { return density_.data(); }
    int first_sample(int ray) const { return marched_.first(ray); }
    float distance_at(int ray, float step, float level) const {
        const int at = first_sample(ray);
        return nerf::distance_at(first_sample(ray + 1) - at, passing_.data() + at, t_.data() + at, step, level);
    }

    // Finds the samples that matter.
    void trace(const Field<A>& field, const Space& space, const RayBundle& rays, Stopwatch& watch) {
        marched_.march(field, space, rays, watch);
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
            for (int at = 0; at < 3 * BLOCK; at += LANES<float>) store(rgb + at, sigmoid(load(rgb + at)));
        }
        watch.lap(COLOR);
        for (int ray = 0; ray < rays.count; ++ray) {
            const int at = first_sample(ray);
            pixels[ray] = composite<float>(
                first_sample(ray + 1) - at, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return channel(rgb_, at + int(i), c); }, reaching_.data() + at);
        }
        watch.lap(COMPOSITE);
    }

    // From the gradient by the pixels, and the distortion times `distortion`, to the gradients by the encoding,
    // [level][sample][feature], and by the network (added).
    void backward(const Field<A>& field, const Space& space, const Pixel<float>* grad_pixels, int n_rays,
                  float distortion, float* grad_encoding, float* grad_network, Stopwatch& watch) {
        watch.start();
        if (distortion > 0) distort(space, n_rays, distortion);
        pixels_vjp(grad_pixels, n_rays, space.step / space.side, distortion > 0);
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
    int n_blocks() const { return (n_used_ + BLOCK - 1) / BLOCK; }
    static int color_inputs(const Field<A>& field) { return field.color(0).padded_inputs / A::DEPTH; }

    static float& channel(Buffer<float>& rows, int sample, int c) {
        return rows[size_t(sample / BLOCK) * GROUP * BLOCK + c * BLOCK + sample % BLOCK];
    }

    // Packs what the density pass left of the samples that matter, sorted by ray; the last block is filled with copies.
    void pack_samples(const Field<A>& field, const Space& space) {
        scratch_.resize(field.scratch_size());
        n_used_ = marched_.n_kept();
        const int room = n_blocks() * BLOCK;
        source_.assign(marched_.sources().begin(), marched_.sources().end());
        source_.resize(room, 0);
        for (auto* place : {&x_, &y_, &z_, &t_, &density_, &passing_, &reaching_, &grad_thickness_})
            place->resize(room);
        for (int i = 0; i < room; ++i) {
            const int slot = source_[i];
            x_[i] = marched_.x[slot];
            y_[i] = marched_.y[slot];
            z_[i] = marched_.z[slot];
            t_[i] = marched_.t[slot];
            density_[i] = marched_.density[slot];
        }
        const float length = space.step / space.side;
        for (int at = 0; at < room; at += LANES<float>)
            store(passing_.data() + at, exp(load(density_.data() + at) * -length));
        const int encoded = field.encoded() / A::DEPTH, hidden = field.layers[0].padded_outputs / A::DEPTH;
        encoding_.resize(size_t(room) * encoded);
        hidden_.resize(size_t(room) * hidden);
        color_in_.resize(size_t(room) * color_inputs(field));
        take_columns(marched_.encoding, encoded, encoding_, encoded);
        take_columns(marched_.hidden, hidden, hidden_, hidden);
        take_columns(marched_.features, field.given() / A::DEPTH, color_in_, color_inputs(field));
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
            const int end = ray + 1 < rays.count ? first_sample(ray + 1) : n_blocks() * BLOCK;
            for (int i = first_sample(ray); i < end; ++i) {
                Word* column = color_in_.data() + (size_t(i / BLOCK) * color_inputs(field) + given) * BLOCK + i % BLOCK;
                for (int row = 0; row < rows; ++row) column[row * BLOCK] = words[row];
            }
        }
    }

    // Gradients by the weights of all rays, of the distortion times `scale`.
    void distort(const Space& space, int n_rays, float scale) {
        marched_at_.resize(n_used_);
        grad_weight_.resize(n_used_);
        for (int ray = 0; ray < n_rays; ++ray) {
            const int at = first_sample(ray), end = first_sample(ray + 1);
            for (int i = at; i < end; ++i) marched_at_[i] = marched_length(marched_.ray(ray), space.contraction, t_[i]);
            distortion_vjp(end - at, passing_.data() + at, reaching_.data() + at, marched_at_.data() + at,
                           space.step / space.side, scale, grad_weight_.data() + at);
        }
    }

    // Gradients by optical thickness, times the length of a step, and by the colour network's outputs.
    void pixels_vjp(const Pixel<float>* grad_pixels, int n_rays, float length, bool distorted) {
        grad_rgb_.resize(rgb_.size());
        const size_t last = size_t(std::max(0, n_blocks() - 1));
        std::fill(grad_rgb_.begin() + std::min(grad_rgb_.size(), last * GROUP * BLOCK), grad_rgb_.end(), 0.0f);
        std::fill(grad_thickness_.begin() + n_used_, grad_thickness_.end(), 0.0f);
        for (int ray = 0; ray < n_rays; ++ray) {
            const int at = first_sample(ray);
            composite_vjp<float>(
                first_sample(ray + 1) - at, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return channel(rgb_, at + int(i), c); }, reaching_.data() + at,
                grad_pixels[ray], grad_thickness_.data() + at,
                [&](int64_t i, int c) -> float& { return channel(grad_rgb_, at + int(i), c); },
                distorted ? grad_weight_.data() + at : nullptr);
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

    Marched<A> marched_;
    std::vector<int> source_;  // the slots of the used samples, and copies that fill the last block
    int n_used_ = 0;
    Buffer<float> scratch_;
    Buffer<float> x_, y_, z_, t_, density_, passing_, reaching_, rgb_;
    Buffer<Word> encoding_, hidden_, color_in_, color_hidden_[MOST_COLOR_LAYERS];
    Buffer<float> grad_thickness_, grad_rgb_, grad_weight_, marched_at_;
    Buffer<Word> grad_color_[MOST_COLOR_LAYERS], grad_features_, grad_hidden_, turned_grad_, turned_in_;
};

}  // namespace nerf
