// The radiance field: position -> density and features; features and direction -> colour. See nerf/fields/radiance.py.
//
// The parameters are float arrays that belong to the caller; the field keeps its own copies, in the form its loops
// read: table rows as bfloat16 pairs, weights as words of the arithmetic A.
#pragma once

#include <vector>

#include "activations.h"
#include "hash_grid.h"
#include "layer.h"
#include "spherical_harmonics.h"

namespace nerf {

constexpr int MOST_LEVELS = 32, MOST_COLOR_LAYERS = 5, DENSITY_LAYERS = 2, LARGEST_CODE = 64;

// What the colour network sees beside the features of a sample: the same for all samples of a ray.
constexpr int MOST_RAY_INPUTS = MOST_HARMONICS + LARGEST_CODE;

// Read by nerf/engine/signatures.py.
struct FieldShape {
    int32_t n_levels, features, density_width, geometry_features, color_width, color_layers, direction_degree,
        code_size;
    Level levels[MOST_LEVELS];
};

// Of values, or of their moments. Read by nerf/engine/signatures.py.
struct Parameters {
    float* table;
    float* density[DENSITY_LAYERS];
    float* color[MOST_COLOR_LAYERS];
};

template <class A> class Field {
public:
    using Word = typename A::Word;

    Field(const FieldShape& shape, const Parameters& parameters) : shape(shape), parameters(parameters) {
        int64_t row = 0;
        for (int level = 0; level < shape.n_levels; ++level) {
            first_row[level] = row;
            row += shape.levels[level].rows;
        }
        first_row[shape.n_levels] = row;
        const int encoded = shape.n_levels * shape.features, given = shape.geometry_features;
        add_layer(shape.density_width, encoded, encoded);
        add_layer(given, shape.density_width, shape.density_width);
        add_layer(shape.color_width, given + harmonics() + shape.code_size, given);
        for (int layer = 1; layer < shape.color_layers; ++layer)
            add_layer(shape.color_width, shape.color_width, shape.color_width);
        add_layer(3, shape.color_width, shape.color_width);
        table.resize(size_t(row) * words_per_row());
        for (int level = 0; level < shape.n_levels; ++level) load_level(level);
        load_network();
    }

    float* weights(const Parameters& of, int layer) const {
        return layer < DENSITY_LAYERS ? of.density[layer] : of.color[layer - DENSITY_LAYERS];
    }

    int words_per_row() const { return shape.features == 1 ? 1 : shape.features / 2; }
    int encoded() const { return layers[0].padded_inputs; }
    int given() const { return layers[1].padded_outputs; }
    int harmonics() const { return shape.direction_degree * shape.direction_degree; }
    int ray_inputs() const { return layers[DENSITY_LAYERS].padded_inputs - given(); }
    int color_layers() const { return int(layers.size()) - DENSITY_LAYERS; }
    const Dense<A>& color(int layer) const { return layers[DENSITY_LAYERS + layer]; }

    const uint32_t* packed(int level) const { return table.data() + first_row[level] * words_per_row(); }
    uint32_t* packed(int level) { return table.data() + first_row[level] * words_per_row(); }

    void load_level(int level) {
        with_features(shape.features, [&](auto features) {
            PackedTable<features>::pack(parameters.table + first_row[level] * features,
                                        int64_t(shape.levels[level].rows) * features, packed(level));
        });
    }

    void load_network() {
        for (int layer = 0; layer < int(layers.size()); ++layer) layers[layer].load(weights(parameters, layer));
    }

    // Encodes the first `count` of BLOCK positions, as words. The others' features are finite.
    void encode(const float* x, const float* y, const float* z, int count, Word* words, float* scratch) const {
        encode(x, y, z, count, scratch);
        to_words<A>(scratch, encoded(), words);
    }

    // The same as numbers, [feature][BLOCK].
    void encode(const float* x, const float* y, const float* z, int count, float* out) const {
        with_features(shape.features, [&](auto features) {
            std::memset(out + active_levels * features * BLOCK, 0,
                        sizeof(float) * (shape.n_levels - active_levels) * features * BLOCK);
            for (int level = 0; level < active_levels; ++level) {
                const uint32_t* rows = table.data() + first_row[level] * words_per_row();
                for (int at = 0; at < count; at += LANES<float>) {
                    Pack<float> value[features];
                    interpolate<PackedTable<features>>(
                        rows, corners<float>(load(x + at), load(y + at), load(z + at), shape.levels[level]), value);
                    for (int f = 0; f < features; ++f) store(out + (level * features + f) * BLOCK + at, value[f]);
                }
            }
        });
    }

    // Density (BLOCK), per box side, of a block of words of the encoding, and what it came from: words of the hidden
    // layer and of the features.
    void density(const Word* encoding, Word* hidden, Word* features, float* density, float* scratch) const {
        nerf::hidden<A>(layers[0].forward, encoding, hidden);
        linear<A>(layers[1].forward, given(), hidden, scratch);
        to_words<A>(scratch, given(), features);
        for (int at = 0; at < BLOCK; at += LANES<float>) store(density + at, density_of(load(scratch + at)));
    }

    // Numbers that `scratch` needs.
    size_t scratch_size() const { return size_t(std::max(encoded(), std::max(given(), GROUP))) * BLOCK; }

    const FieldShape shape;
    const Parameters parameters;
    int active_levels = shape.n_levels;  // the coarsest ones; the features of the others count as 0
    int64_t first_row[MOST_LEVELS + 1] = {};
    Buffer<uint32_t> table;
    std::vector<Dense<A>> layers;
    size_t gradient_size = 0;  // of the whole network, padded

private:
    void add_layer(int outputs, int inputs, int split) {
        layers.emplace_back(outputs, inputs, split, gradient_size);
        gradient_size += layers.back().padded_size();
    }
};

// While it lives, only the coarsest levels of a field give features: training begins with them.
template <class A> class CoarsestLevels {
public:
    CoarsestLevels(Field<A>& field, int levels) : field_(field) { field.active_levels = levels; }
    ~CoarsestLevels() { field_.active_levels = field_.shape.n_levels; }
    CoarsestLevels(const CoarsestLevels&) = delete;
    CoarsestLevels& operator=(const CoarsestLevels&) = delete;

private:
    Field<A>& field_;
};

}  // namespace nerf
