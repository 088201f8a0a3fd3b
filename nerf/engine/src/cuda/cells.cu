// Kernels with a thread for a cell of the occupancy grid.
#include "cuda/launch.h"

// Writes cells.value.
KERNEL decay_cells(const Work __grid_constant__ work) {
    const int64_t cell = thread_number();
    if (cell < int64_t(work.cells.resolution) * work.cells.resolution * work.cells.resolution)
        work.cells.value[cell] *= OCCUPANCY_DECAY;
}

// Reads training.{seed, update}, cells.{hull_cells, resolution}. Writes cells.probed, samples.{x, y, z}.
KERNEL probe_cells(const Work __grid_constant__ work) {
    const int64_t i = thread_number();
    if (i >= work.samples.n) return;
    float position[3];
    work.cells.probed[i] = probe(work.training.seed, work.training.update, i, work.cells.hull_cells,
                                 work.cells.n_hull_cells, work.cells.resolution, position);
    work.samples.x[i] = position[0];
    work.samples.y[i] = position[1];
    work.samples.z[i] = position[2];
}

// Reads cells.{hull, value, mean}, march.step. Writes cells.occupied.
KERNEL choose_cells(const Work __grid_constant__ work) {
    const int64_t cell = thread_number();
    if (cell >= int64_t(work.cells.resolution) * work.cells.resolution * work.cells.resolution) return;
    const float threshold = occupied_above(step_in_sides(work), *work.cells.mean);
    work.cells.occupied[cell] = work.cells.hull[cell] & uint8_t(work.cells.value[cell] > threshold);
}

// Reads cells.occupied. Writes cells.bits.
KERNEL pack_cells(const Work __grid_constant__ work) {
    const int64_t word = thread_number();
    OccupancyBits bits = bits_of(work);
    if (word < bits.words()) bits.assign_word(work.cells.occupied, word);
}

// Reads cells.bits. Writes cells.empty.
KERNEL mark_blocks(const Work __grid_constant__ work) {
    OccupancyBits bits = bits_of(work);
    const int64_t block = thread_number(), side = bits.slabs();
    if (block < side * side * side)
        bits.assign_block(int(block / side / side), int(block / side % side), int(block % side));
}
