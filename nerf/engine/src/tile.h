// A tile of rays from march to pixels and back, by one thread; its buffers are reused from tile to tile.
//
// Of the samples that matter the encodings are kept from the march, packed; the density network runs again. Samples are
// numbered as they are packed; what compositing reads and writes goes along rays instead, and says so.
#pragma once

#include <algorithm>

#include "composite.h"
#include "loss.h"
#include "marched.h"

namespace nerf {

// Losses on what the samples of rays weigh, see loss.h.
struct WeightLosses {
    float distortion;       // its weight
    float distance;         // that of the distance loss
    const float* measured;  // the distance measured along every ray, 0: none; or null

    bool any() const { return distortion > 0 || (distance > 0 && measured); }
};

template <class A> class Tile {
public:
    using Word = typename A::Word;

    int64_t samples() const { return n_used_; }
    int64_t marched() const { return marched_.marched(); }
    int64_t reached() const { return marched_.reached(); }
    const float* x() const { return x_.data(); }
    const float* y() const { return y_.data(); }
    const float* z() const { return z_.data(); }
    const float* density() const { return density_.data(); }
    float distance_at(int ray, float step, float level) const {
        const int64_t at = marched_.first(ray);
        return nerf::distance_at(marched_.first(ray + 1) - at, passing_.data() + at, t_.data() + at, step, level);
    }

    // Finds the samples that matter.
    void trace(const Field<A>& field, const Space& space, const RayBundle& rays, Stopwatch& watch) {
        marched_.march(field, space, rays, watch);
        pack_samples();
        watch.lap(GATHER);
        find_densities(field, space);
        watch.lap(DENSITY);
    }

    // Colours of all samples, and what every ray sees.
    void shade(const Field<A>& field, const RayBundle& rays, Pixel<float>* pixels, Stopwatch& watch) {
        watch.start();
        spread_ray_inputs(field, rays);
        watch.lap(GATHER);
        const int64_t blocks = n_blocks();
        const int last = field.color_layers() - 1;
        for (int layer = 0; layer < last; ++layer)
            color_hidden_[layer].resize(blocks, field.color(layer).padded_outputs / A::DEPTH);
        rgb_.resize(blocks, GROUP);
        for (int64_t block = 0; block < blocks; ++block) {
            const Word* in = color_in_.block(block);
            for (int layer = 0; layer < last; ++layer) {
                hidden<A>(field.color(layer).forward, in, color_hidden_[layer].block(block));
                in = color_hidden_[layer].block(block);
            }
            float* rgb = rgb_.block(block);
            linear<A>(field.color(last).forward, GROUP, in, rgb);
            for (int at = 0; at < 3 * BLOCK; at += LANES<float>) store(rgb + at, sigmoid(load(rgb + at)));
        }
        watch.lap(COLOR);
        for (int ray = 0; ray < rays.count; ++ray) {
            const int64_t at = marched_.first(ray);
            pixels[ray] = composite<float>(
                marched_.first(ray + 1) - at, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return rgb_.at(number(at + i), c); }, reaching_.data() + at);
        }
        watch.lap(COMPOSITE);
    }

    // From the gradient by the pixels, and the losses on the weights, to the gradients by the encoding,
    // [level][sample][feature], and by the network (added). near: see fade_near.
    void backward(const Field<A>& field, const Space& space, const Pixel<float>* grad_pixels, int n_rays,
                  const WeightLosses& losses, float near, float* grad_encoding, float* grad_network,
                  Stopwatch& watch) {
        watch.start();
        if (losses.any()) weigh(space, n_rays, losses);
        pixels_vjp(grad_pixels, n_rays, space.step / space.side, losses.any(), near);
        watch.lap(COMPOSITE);
        resize_gradients(field);
        for (int64_t block = 0; block < n_blocks(); ++block) block_vjp(field, block, grad_encoding);
        watch.lap(BACKWARD);
        const int last = field.color_layers() - 1;
        for (int layer = 0; layer <= last; ++layer)
            layer_vjp(field.color(layer), grad_color_[layer], layer == 0 ? color_in_ : color_hidden_[layer - 1],
                      grad_network);
        layer_vjp(field.layers[1], grad_features_, hidden_, grad_network);
        layer_vjp(field.layers[0], grad_hidden_, encoding_, grad_network);
        watch.lap(WEIGHTS);
    }

protected:
    int64_t n_blocks() const { return (n_used_ + BLOCK - 1) / BLOCK; }
    // Of the sample that comes at `along` in the order of the rays.
    int64_t number(int64_t along) const { return marched_.order()[along]; }

    // Packs where the samples that matter are, and their encodings. What is left of the last block is 0, not an old
    // number that may not be finite.
    void pack_samples() {
        n_used_ = marched_.n_kept();
        const std::pair<const Buffer<float>&, Buffer<float>&> numbers[] = {
            {marched_.x, x_}, {marched_.y, y_}, {marched_.z, z_}, {marched_.t, distance_}};
        for (const auto& [from, to] : numbers) {
            to.resize(n_blocks() * BLOCK);
            if (n_used_ % BLOCK) std::memset(to.end() - BLOCK, 0, sizeof(float) * BLOCK);
        }
        encoding_.resize(n_blocks(), marched_.encoding.rows());
        if (n_used_ % BLOCK) std::memset(encoding_.block(n_blocks() - 1), 0, sizeof(Word) * encoding_.apart());
        marched_.each_kept([&](int64_t slot, uint32_t lanes, int64_t number) {
            for (const auto& [from, to] : numbers) copy_lanes(from.data() + slot, lanes, to.data() + number);
            const Word* from = marched_.encoding.block(slot / BLOCK) + slot % BLOCK;
            Word* to = &encoding_.at(number, 0);
            for (int row = 0; row < encoding_.rows(); ++row) copy_lanes(from + row * BLOCK, lanes, to + row * BLOCK);
        });
    }

    // The density network again, for the samples that matter: less work than to keep what it computed for all.
    void find_densities(const Field<A>& field, const Space& space) {
        scratch_.resize(field.scratch_size());
        const int64_t room = n_blocks() * BLOCK;
        hidden_.resize(n_blocks(), field.layers[0].padded_outputs / A::DEPTH);
        color_in_.resize(n_blocks(), field.color(0).padded_inputs / A::DEPTH);
        for (auto* row : {&density_, &t_, &passing_, &reaching_, &grad_along_, &grad_thickness_}) row->resize(room);
        for (int64_t block = 0; block < n_blocks(); ++block)
            field.density(encoding_.block(block), hidden_.block(block), color_in_.block(block),
                          density_.data() + block * BLOCK, scratch_.data());
        const float length = space.step / space.side;
        for (int64_t along = 0; along < n_used_; ++along) {
            t_[along] = distance_[number(along)];
            passing_[along] = density_[number(along)] * -length;
        }
        for (int64_t at = 0; at < room; at += LANES<float>)
            store(passing_.data() + at, exp(load(passing_.data() + at)));
    }

    // Every sample sees its ray's direction and code: the same words for all samples of a ray.
    void spread_ray_inputs(const Field<A>& field, const RayBundle& rays) {
        constexpr int n = LANES<Word>, together = 16;
        const int given = field.given() / A::DEPTH, rows = field.ray_inputs() / A::DEPTH;
        const int stride = (rows + together - 1) / together * together;
        // What fills the last block belongs to no ray and sees zeros.
        ray_words_.resize(size_t(rays.count + 1) * stride);
        std::memset(ray_words_.end() - stride, 0, sizeof(Word) * stride);
        ray_of_.assign(n_blocks() * BLOCK, rays.count);
        for (int ray = 0; ray < rays.count; ++ray) {
            float inputs[MOST_RAY_INPUTS] = {};
            const float* direction = rays.direction + 3 * ray;
            spherical_harmonics(direction[0], direction[1], direction[2], field.shape.direction_degree, inputs);
            if (rays.code)
                std::copy_n(rays.code + size_t(ray) * field.shape.code_size, field.shape.code_size,
                            inputs + field.harmonics());
            for (int row = 0; row < rows; ++row)
                ray_words_[size_t(ray) * stride + row] = A::word(inputs + row * A::DEPTH);
            for (int64_t along = marched_.first(ray); along < marched_.first(ray + 1); ++along)
                ray_of_[number(along)] = ray;
        }
        for (int64_t at = 0; at < n_blocks() * BLOCK; at += n)
            for (int first = 0; first < rows; first += together) {
                alignas(64) Word words[n * together];
                for (int lane = 0; lane < n; ++lane)
                    copy_row<together>(words + lane * together,
                                       &ray_words_[size_t(ray_of_[at + lane]) * stride + first]);
                Pack<Word> out[together];
                load_interleaved<together>(words, out);
                for (int row = first; row < std::min(first + together, rows); ++row)
                    store(&color_in_.at(at, given + row), out[row - first]);
            }
    }

    // Gradients by the weights of all rays.
    void weigh(const Space& space, int n_rays, const WeightLosses& losses) {
        marched_at_.resize(n_used_);
        grad_weight_.resize(n_used_);
        for (int ray = 0; ray < n_rays; ++ray) {
            const int64_t at = marched_.first(ray), end = marched_.first(ray + 1);
            const auto marched_at = [&](float t) { return marched_length(marched_.ray(ray), space.contraction, t); };
            for (int64_t i = at; i < end; ++i) marched_at_[i] = marched_at(t_[i]);
            distortion_vjp(end - at, passing_.data() + at, reaching_.data() + at, marched_at_.data() + at,
                           space.step / space.side, losses.distortion, grad_weight_.data() + at);
            const float measured = losses.measured ? losses.measured[ray] : 0;
            if (measured > 0)
                distance_vjp(end - at, marched_at_.data() + at, marched_at(measured), losses.distance,
                             grad_weight_.data() + at);
        }
    }

    // Gradients by optical thickness, times the length of a step, and by the colour network's outputs.
    void pixels_vjp(const Pixel<float>* grad_pixels, int n_rays, float length, bool weighed, float near) {
        grad_rgb_.resize(n_blocks(), GROUP);
        if (n_used_ % BLOCK) std::fill_n(grad_rgb_.block(n_blocks() - 1), GROUP * BLOCK, 0.0f);
        std::fill(grad_thickness_.begin() + n_used_, grad_thickness_.end(), 0.0f);
        for (int ray = 0; ray < n_rays; ++ray) {
            const int64_t at = marched_.first(ray), count = marched_.first(ray + 1) - at;
            const auto grad_rgb = [&](int64_t i, int c) -> float& { return grad_rgb_.at(number(at + i), c); };
            composite_vjp<float>(
                count, passing_.data() + at, t_.data() + at,
                [&](int64_t i, int c) { return rgb_.at(number(at + i), c); }, reaching_.data() + at, grad_pixels[ray],
                grad_along_.data() + at, grad_rgb, weighed ? grad_weight_.data() + at : nullptr);
            fade_near(count, t_.data() + at, near, grad_along_.data() + at, grad_rgb);
        }
        for (int64_t along = 0; along < n_used_; ++along) grad_thickness_[number(along)] = grad_along_[along];
        constexpr int n = LANES<float>;
        for (int64_t block = 0; block < n_blocks(); ++block) {
            float *grad = grad_rgb_.block(block), *rgb = rgb_.block(block);
            for (int at = 0; at < 3 * BLOCK; at += n) store(grad + at, sigmoid_vjp(load(rgb + at), load(grad + at)));
            std::fill_n(grad + 3 * BLOCK, BLOCK, 0.0f);
        }
        for (int64_t at = 0; at < n_blocks() * BLOCK; at += n)
            store(grad_thickness_.data() + at,
                  density_vjp(load(density_.data() + at), load(grad_thickness_.data() + at) * length));
    }

    void resize_gradients(const Field<A>& field) {
        for (int layer = 0; layer < field.color_layers(); ++layer)
            grad_color_[layer].resize(n_blocks(), field.color(layer).padded_outputs / A::DEPTH);
        grad_features_.resize(n_blocks(), field.given() / A::DEPTH);
        grad_hidden_.resize(n_blocks(), field.layers[0].padded_outputs / A::DEPTH);
    }

    // One block back through both networks.
    void block_vjp(const Field<A>& field, int64_t block, float* grad_encoding) {
        const int last = field.color_layers() - 1;
        to_words<A>(grad_rgb_.block(block), GROUP, grad_color_[last].block(block));
        for (int layer = last; layer > 0; --layer)
            hidden_vjp<A>(field.color(layer).transposed, grad_color_[layer].block(block),
                          color_hidden_[layer - 1].block(block), grad_color_[layer - 1].block(block));
        float* scratch = scratch_.data();
        linear<A>(field.color(0).transposed, field.given(), grad_color_[0].block(block), scratch);
        for (int i = 0; i < BLOCK; i += LANES<float>)
            store(scratch + i, load(scratch + i) + load(grad_thickness_.data() + block * BLOCK + i));
        to_words<A>(scratch, field.given(), grad_features_.block(block));
        hidden_vjp<A>(field.layers[1].transposed, grad_features_.block(block), hidden_.block(block),
                      grad_hidden_.block(block));
        linear<A>(field.layers[0].transposed, field.encoded(), grad_hidden_.block(block), scratch);
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

    void layer_vjp(const Dense<A>& layer, const Blocks<Word>& grad_out, const Blocks<Word>& in, float* grad_network) {
        weights_vjp<A>(along_samples<A>(grad_out, n_blocks(), turned_grad_),
                       along_samples<A>(in, n_blocks(), turned_in_), n_blocks(), grad_network + layer.gradient);
    }

    Marched<A> marched_;
    int64_t n_used_ = 0;
    // By number.
    Buffer<float> x_, y_, z_, distance_, density_, grad_thickness_;
    Blocks<float> rgb_, grad_rgb_;
    Blocks<Word> encoding_, hidden_, color_in_, color_hidden_[MOST_COLOR_LAYERS];
    Blocks<Word> grad_color_[MOST_COLOR_LAYERS], grad_features_, grad_hidden_;
    // Along the rays; the last by thickness.
    Buffer<float> t_, passing_, reaching_, marched_at_, grad_weight_, grad_along_;
    // Of what is in hand.
    Buffer<float> scratch_;
    Blocks<Word> turned_grad_, turned_in_;
    Buffer<Word> ray_words_;
    std::vector<int> ray_of_;
};

}  // namespace nerf
