// Kernels with a thread for a weight: gradients of the layers, and Adam.
#include "cuda/launch.h"

// The gradient of one layer, blockIdx.z, by tiles of GROUP x GROUP weights, blockIdx.y; its samples are shared out
// among the threads.
// Reads every layer's grad_out and in. Adds to its grad_weights.
KERNEL weights_vjp_tiles(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.field.layers[blockIdx.z];
    const LayerShape shape = shape_of(layer);
    const int across = shape.padded_inputs / GROUP;
    const int j = int(blockIdx.y) / across * GROUP, k = int(blockIdx.y) % across * GROUP;
    const int64_t lane = thread_number() % BLOCK, stripe = thread_number() / BLOCK;
    const int64_t stripes = int64_t(gridDim.x) * blockDim.x / BLOCK, blocks = blocks_of(work.samples.n);
    if (j >= shape.padded_outputs || stripe >= blocks) return;
    const size_t grad_block = size_t(shape.padded_outputs) * BLOCK, in_block = size_t(shape.padded_inputs) * BLOCK;
    float sums[GROUP * GROUP] = {};
    multiply_rows<A, GROUP, GROUP>(layer.grad_out + stripe * grad_block + j * BLOCK + lane, grad_block * stripes,
                                   layer.in + stripe * in_block + k * BLOCK + lane, in_block * stripes,
                                   (blocks - stripe + stripes - 1) / stripes, sums);
    for (int r = 0; r < GROUP; ++r)
        for (int c = 0; c < GROUP; ++c)
            atomicAdd(layer.grad_weights + size_t(j + r) * shape.padded_inputs + k + c, sums[r * GROUP + c]);
}

// The constants of a step. What follows moves nothing if the loss is not a finite number.
// Reads training.{rate, beta1, beta2, epsilon, number}. Writes training.adam.
KERNEL begin_step(const Work __grid_constant__ work) {
    if (thread_number() != 0) return;
    *work.training.adam = AdamStep(work.training.rate, work.training.beta1, work.training.beta2, work.training.epsilon,
                                   work.training.number);
}

// A word of the table: moves its numbers that have a gradient, clears that, and renews the packed copy.
// Reads training.{adam, total_loss}. Writes field.{table, its moments, grad_table, packed}.
KERNEL adam_table(const Work __grid_constant__ work) {
    const int64_t word = thread_number(), at = word * NUMBERS;
    const int last = work.field.shape.n_levels - 1;
    if (word >= (work.field.first_row[last] + work.field.shape.levels[last].rows) * WORDS ||
        !isfinite(*work.training.total_loss))
        return;
    bool touched = false;
    for (int i = 0; i < NUMBERS; ++i) touched |= !all_zero(work.field.grad_table[at + i]);
    if (!touched) return;
    for (int i = 0; i < NUMBERS; ++i)
        adam<true>(*work.training.adam, work.field.grad_table[at + i], work.field.table + at + i,
                   {work.field.table_first_moment + at + i, work.field.table_second_moment + at + i});
    for (int i = 0; i < NUMBERS; ++i) work.field.grad_table[at + i] = 0;
    Table::pack(work.field.table + at, NUMBERS, work.field.packed + word);
}

// Reads field.table. Writes field.packed.
KERNEL pack_table(const Work __grid_constant__ work) {
    const int64_t word = thread_number();
    const int last = work.field.shape.n_levels - 1;
    if (word >= (work.field.first_row[last] + work.field.shape.levels[last].rows) * WORDS) return;
    Table::pack(work.field.table + word * NUMBERS, NUMBERS, work.field.packed + word);
}

// A weight of layer blockIdx.y.
// Reads training.{adam, total_loss}, a layer's grad_weights. Writes its weights and moments.
KERNEL adam_network(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.field.layers[blockIdx.y];
    const LayerShape shape = shape_of(layer);
    const int64_t at = thread_number();
    if (at >= int64_t(shape.outputs) * shape.inputs || !isfinite(*work.training.total_loss)) return;
    const int row = int(at / shape.inputs), column = int(at % shape.inputs);
    adam<false>(*work.training.adam,
                layer.grad_weights[size_t(row) * shape.padded_inputs + shape.padded_column(column)], layer.weights + at,
                {layer.first_moment + at, layer.second_moment + at});
}

// A weight of layer blockIdx.y, to where the products read it: [group of outputs][input][GROUP].
// Reads a layer's weights. Writes its forward and transposed weights.
KERNEL pack_network(const Work __grid_constant__ work) {
    const LayerArrays& layer = work.field.layers[blockIdx.y];
    const LayerShape shape = shape_of(layer);
    const int64_t at = thread_number();
    if (at >= int64_t(shape.outputs) * shape.inputs) return;
    const int row = int(at / shape.inputs), column = shape.padded_column(int(at % shape.inputs));
    const auto index = [](int output, int input, int inputs) {
        return (size_t(output / GROUP) * inputs + input) * GROUP + output % GROUP;
    };
    layer.forward[index(row, column, shape.padded_inputs)] = layer.weights[at];
    layer.transposed[index(column, row, shape.padded_outputs)] = layer.weights[at];
}
