// A tile whose gradients also reach its rays: by the positions of its samples and by what the colour network sees of
// the ray, its direction and its code. Where along a ray its samples lie is held.
#pragma once

#include "tile.h"

namespace nerf {

// Where the gradients by the rays of a tile are written; null where they are not wanted.
struct GradRays {
    float* origin;     // (count, 3)
    float* direction;  // (count, 3)
    float* code;       // (count, code_size)
};

template <class A> class TileVjp : public Tile<A> {
public:
    // After `backward`, from the gradients by the encoding that it left.
    void rays_vjp(const Field<A>& field, const Space& space, const RayBundle& rays, const float* grad_encoding,
                  const GradRays& grad) {
        positions_vjp(field, grad_encoding);
        ray_inputs_vjp(field);
        const int n_inputs = field.harmonics() + field.shape.code_size;
        for (int ray = 0; ray < rays.count; ++ray) {
            float inputs[MOST_RAY_INPUTS] = {}, origin[3] = {}, along[3] = {}, turned[3];
            for (int64_t at = this->marched_.first(ray); at < this->marched_.first(ray + 1); ++at) {
                const int64_t i = this->number(at);
                for (int row = 0; row < n_inputs; ++row) inputs[row] += grad_inputs_.at(i, row);
                float by_position[3] = {grad_position_[0][i], grad_position_[1][i], grad_position_[2][i]};
                position_vjp(this->marched_.ray(ray), space.contraction, this->distance_[i], by_position);
                for (int axis = 0; axis < 3; ++axis) {
                    origin[axis] += by_position[axis];
                    along[axis] += by_position[axis] * this->distance_[i];
                }
            }
            const float* direction = rays.direction + 3 * ray;
            spherical_harmonics_vjp(direction[0], direction[1], direction[2], field.shape.direction_degree, inputs,
                                    turned);
            for (int axis = 0; axis < 3; ++axis) {
                if (grad.origin) grad.origin[3 * ray + axis] = origin[axis];
                if (grad.direction) grad.direction[3 * ray + axis] = along[axis] + turned[axis];
            }
            const int size = field.shape.code_size;
            if (grad.code) std::copy_n(inputs + field.harmonics(), size, grad.code + size_t(ray) * size);
        }
    }

private:
    // Gradients by the positions of all samples, box units.
    void positions_vjp(const Field<A>& field, const float* grad_encoding) {
        const int64_t room = this->n_blocks() * BLOCK;
        for (auto& axis : grad_position_) axis.resize(room);
        with_features(field.shape.features, [&](auto features) {
            for (int64_t at = 0; at < room; at += LANES<float>) {
                const Pack<float> position[3] = {load(this->x() + at), load(this->y() + at), load(this->z() + at)};
                Pack<float> sum[3] = {};
                for (int level = 0; level < field.active_levels; ++level) {
                    Pack<float> grad[features];
                    load_interleaved<features>(grad_encoding + (size_t(level) * room + at) * features, grad);
                    const Level& lattice = field.shape.levels[level];
                    interpolate_vjp_position<PackedTable<features>>(
                        field.packed(level), cell<float, 3>(position, lattice), lattice, grad, sum);
                }
                for (int axis = 0; axis < 3; ++axis) store(grad_position_[axis].data() + at, sum[axis]);
            }
        });
    }

    // Gradients by what the colour network sees of the rays, for every sample: [block][input][BLOCK].
    void ray_inputs_vjp(const Field<A>& field) {
        const auto& layer = field.color(0);
        const int rows = field.ray_inputs();
        grad_inputs_.resize(this->n_blocks(), rows);
        grad_in_.resize(size_t(layer.padded_inputs) * BLOCK);
        for (int64_t block = 0; block < this->n_blocks(); ++block) {
            linear<A>(layer.transposed, layer.padded_inputs, this->grad_color_[0].block(block), grad_in_.data());
            std::copy_n(grad_in_.data() + field.given() * BLOCK, rows * BLOCK, grad_inputs_.block(block));
        }
    }

    Buffer<float> grad_position_[3], grad_in_;
    Blocks<float> grad_inputs_;
};

}  // namespace nerf
