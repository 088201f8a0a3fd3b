// The occupancy grid: a moving maximum of the densities seen in every cell; see nerf/rendering/occupancy.py.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "layer.h"
#include "march.h"
#include "probes.h"
#include "threads.h"

namespace nerf {

constexpr int OBSERVED_AT_ONCE = 64;  // enough to hide the memory's latency behind each other

// Arrays (G, G, G), [x, y, z], of the caller. hull: bytes, cells that may hold matter; value: density per box side.
struct OccupancyArrays {
    const uint8_t* hull;
    uint8_t* occupied;
    float* value;
    int32_t resolution;
};

class Occupancy {
public:
    explicit Occupancy(const OccupancyArrays& arrays) : arrays_(arrays), bits_(arrays.resolution) {}

    const OccupancyBits& bits() const { return bits_; }
    void load(int threads) {
        Pool::shared().run(bits_.slabs(), threads,
                           [&](int64_t slab, int) { bits_.assign_slab(arrays_.occupied, int(slab)); });
    }

    // Raises the values of the cells at n positions. A maximum does not depend on the order.
    void observe(int64_t n, const float* x, const float* y, const float* z, const float* density) {
        size_t cells[OBSERVED_AT_ONCE];
        for (int64_t begin = 0; begin < n; begin += OBSERVED_AT_ONCE) {
            const int count = int(std::min<int64_t>(OBSERVED_AT_ONCE, n - begin));
            for (int i = 0; i < count; ++i) {
                const int64_t at = begin + i;
                cells[i] = size_t(cell_at(x[at], y[at], z[at], arrays_.resolution));
                __builtin_prefetch(arrays_.value + cells[i], 1);
            }
            for (int i = 0; i < count; ++i) raise(cells[i], density[begin + i]);
        }
    }

    // Decays all values, probes random cells of the hull and, if `prune`, decides anew which cells are occupied.
    // density(x, y, z, count, out): of at most BLOCK positions; called by several threads, with the thread's number
    // last.
    template <class Density>
    void update(Density density, float step_length, bool prune, uint64_t seed, uint64_t number, int threads) {
        find_hull();
        const int64_t slice = int64_t(arrays_.resolution) * arrays_.resolution;
        Pool::shared().run(arrays_.resolution, threads, [&](int64_t x, int) {
            for (int64_t i = x * slice; i < (x + 1) * slice; ++i) arrays_.value[i] *= OCCUPANCY_DECAY;
        });
        if (hull_cells_.empty()) return;
        probe(density, seed, number, threads);
        if (prune) choose(occupied_above(step_length, hull_mean(threads)), threads);
    }

private:
    void raise(size_t cell, float density) { arrays_.value[cell] = std::max(arrays_.value[cell], density); }

    void find_hull() {
        if (!hull_cells_.empty()) return;
        const int64_t cells = int64_t(arrays_.resolution) * arrays_.resolution * arrays_.resolution;
        for (int64_t cell = 0; cell < cells; ++cell)
            if (arrays_.hull[cell]) hull_cells_.push_back(int32_t(cell));
    }

    template <class Density> void probe(Density density, uint64_t seed, uint64_t number, int threads) {
        const int64_t n_cells = int64_t(hull_cells_.size()), probes = probe_count(n_cells);
        probed_.resize(probes);
        densities_.resize(probes + BLOCK);
        Pool::shared().run((probes + BLOCK - 1) / BLOCK, threads, [&](int64_t job, int thread) {
            alignas(64) float position[3][BLOCK] = {};
            const int count = int(std::min<int64_t>(BLOCK, probes - job * BLOCK));
            for (int i = 0; i < count; ++i) {
                float point[3];
                probed_[job * BLOCK + i] =
                    nerf::probe(seed, number, job * BLOCK + i, hull_cells_.data(), n_cells, arrays_.resolution, point);
                for (int axis = 0; axis < 3; ++axis) position[axis][i] = point[axis];
            }
            density(position[0], position[1], position[2], count, densities_.data() + job * BLOCK, thread);
        });
        for (int64_t i = 0; i < probes; ++i) raise(size_t(probed_[i]), densities_[i]);
    }

    float hull_mean(int threads) {
        const int64_t slice = int64_t(arrays_.resolution) * arrays_.resolution;
        sums_.assign(arrays_.resolution, 0.0);
        Pool::shared().run(arrays_.resolution, threads, [&](int64_t x, int) {
            constexpr int n = 16;  // sums that do not wait for each other
            double sums[n] = {};
            int64_t i = x * slice;
            for (; i + n <= (x + 1) * slice; i += n)
                for (int k = 0; k < n; ++k) sums[k] += arrays_.hull[i + k] ? arrays_.value[i + k] : 0.0f;
            for (; i < (x + 1) * slice; ++i) sums[0] += arrays_.hull[i] ? arrays_.value[i] : 0.0f;
            sums_[x] = std::accumulate(sums, sums + n, 0.0);
        });
        double total = 0;
        for (const double sum : sums_) total += sum;
        return float(total / double(hull_cells_.size()));
    }

    void choose(float threshold, int threads) {
        const int64_t slice = int64_t(arrays_.resolution) * arrays_.resolution;
        const int64_t slab_size = slice << OccupancyBits::COARSE;
        Pool::shared().run(bits_.slabs(), threads, [&](int64_t slab, int) {
            const int64_t end = std::min((slab + 1) * slab_size, slice * arrays_.resolution);
            // A copy, whose addresses, for all the compiler knows, no byte that is written changes.
            const OccupancyArrays cells = arrays_;
            for (int64_t i = slab * slab_size; i < end; ++i)
                cells.occupied[i] = cells.hull[i] & uint8_t(cells.value[i] > threshold);
            bits_.assign_slab(arrays_.occupied, int(slab));
        });
    }

    OccupancyArrays arrays_;
    OccupancyBits bits_;
    std::vector<int32_t> hull_cells_, probed_;
    Buffer<float> densities_;
    std::vector<double> sums_;
};

}  // namespace nerf
