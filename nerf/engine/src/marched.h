// The samples of a tile's rays that matter, and what their density needed; its buffers are reused from tile to tile.
//
// Rays are marched lazily, some samples at a time. The density network alone decides where a ray ends: most samples
// lie behind a surface. Of those in front, the ones that weigh next to nothing are left out.
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

template <class A> class Marched {
public:
    using Word = typename A::Word;

    // By slot, which is where a sample was marched: place in cube units, distance in scene units, density per side.
    Buffer<float> x, y, z, t, density;
    // Words in blocks of slots, see Field::DensityBlock.
    Buffer<Word> encoding, hidden, features;

    int marched() const { return n_marched_; }
    // The samples that matter, sorted by ray and then by t, are sources()[first(ray)] ... as slots.
    int first(int ray) const { return first_[ray]; }
    int n_kept() const { return first_.back(); }
    const std::vector<int>& sources() const { return source_; }
    // How a ray of the bundle is marched: where it starts, and its slope.
    const March<float>& ray(int index) const { return march_[index]; }

    void march(const Field<A>& field, const Space& space, const RayBundle& rays, Stopwatch& watch) {
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
        drop_light_samples(space);
    }

private:
    static constexpr int SAMPLES_AT_ONCE = 3;  // of a ray, between two looks at whether it has ended

    struct Place {
        float x, y, z, t;
    };

    // Consecutive samples of one ray: where they are among the marched ones, and how many of them light reaches.
    struct Run {
        int ray, slot, count;
    };

    void begin(const Field<A>& field, const Space& space, const RayBundle& rays) {
        march_.clear();
        live_.clear();
        runs_.clear();
        n_slots_ = n_marched_ = 0;
        scratch_.resize(field.scratch_size());
        thickness_.assign(rays.count, 0.0f);
        for (int ray = 0; ray < rays.count; ++ray) {
            const float *origin = rays.origin + 3 * ray, *direction = rays.direction + 3 * ray, offset = rays.offset[ray];
            march_.push_back(begin_march(origin, direction, space.contraction, space.step, offset));
            live_.push_back(ray);
        }
    }

    // Moves every live ray on by some samples; what is left of the last block lies in the middle of the cube.
    void advance_rays(const Space& space, int first) {
        for (auto* row : {&x, &y, &z, &t})
            row->resize(size_t(first) + live_.size() * SAMPLES_AT_ONCE + BLOCK);
        int slot = first;
        for (size_t at = 0; at < live_.size(); at += LANES<float>)
            slot =
                advance_packet(space, live_.data() + at, int(std::min<size_t>(LANES<float>, live_.size() - at)), slot);
        n_marched_ += slot - first;
        filled_ = slot;
        while (slot % BLOCK) {
            x[slot] = y[slot] = z[slot] = 0.5f;
            t[slot++] = 0;
        }
        n_slots_ = slot;
    }

    // The same for one ray a lane, each of which gets a run; returns the slot after their samples.
    int advance_packet(const Space& space, const int* rays, int n_rays, int slot) {
        constexpr int lanes = LANES<float>;
        March<Pack<float>> march{};
        for (int lane = 0; lane < n_rays; ++lane) set_lane(march, lane, march_[rays[lane]]);
        const Pack<float> step = splat(space.step), inverse_step = splat(1 / space.step);
        const bool contracted = space.contraction.radius > 0;
        Pack<int32_t> taken{};
        taken_.resize(size_t(lanes) * SAMPLES_AT_ONCE);
        for (;;) {
            const auto live = (march.next < march.count) & (taken < SAMPLES_AT_ONCE);
            if (!lane_bits(live)) break;
            Pack<float> position[3];
            const Pack<float> here = contracted ? march.t(step, space.contraction) : march.t(step);
            const Pack<int32_t> after = contracted
                                            ? march.look(*space.bits, here, inverse_step, space.contraction, position)
                                            : march.look(*space.bits, step, inverse_step, position);
            const auto hit = live & (after == march.next);
            // Rounding may carry a sample just out of the cube.
            for (auto& place : position) place = least(greatest(place, Pack<float>{}), splat(1.0f));
            for (uint32_t left = lane_bits(hit); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                taken_[lane * SAMPLES_AT_ONCE + taken[lane]] = {position[0][lane], position[1][lane],
                                                                position[2][lane], here[lane]};
            }
            taken -= hit;
            march.next = hit ? march.next + 1 : live ? after : march.next;
        }
        for (int lane = 0; lane < n_rays; ++lane) {
            march_[rays[lane]].next = march.next[lane];
            runs_.push_back({rays[lane], slot, taken[lane]});
            for (int i = 0; i < taken[lane]; ++i, ++slot) {
                const Place& place = taken_[lane * SAMPLES_AT_ONCE + i];
                x[slot] = place.x;
                y[slot] = place.y;
                z[slot] = place.z;
                t[slot] = place.t;
            }
        }
        return slot;
    }

    void density_of(const Field<A>& field, int slot) {
        const int block = slot / BLOCK, encoded = field.encoded() / A::DEPTH, given = field.given() / A::DEPTH;
        const int width = field.layers[0].padded_outputs / A::DEPTH;
        encoding.resize(size_t(n_slots_) * encoded);
        hidden.resize(size_t(n_slots_) * width);
        features.resize(size_t(n_slots_) * given);
        density.resize(n_slots_);
        field.density(x.data() + slot, y.data() + slot, z.data() + slot,
                      std::min(BLOCK, filled_ - slot),
                      {encoding.data() + size_t(block) * encoded * BLOCK,
                       hidden.data() + size_t(block) * width * BLOCK,
                       features.data() + size_t(block) * given * BLOCK, density.data() + slot},
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
            const int reached =
                int(reached_samples(run.count, density.data() + run.slot, length, space.greatest_thickness, thickness,
                                    thickness_before_.data() + run.slot));
            const bool ended = run.count < SAMPLES_AT_ONCE || thickness > space.greatest_thickness;
            run.count = reached;
            if (!ended) live_.push_back(run.ray);
        }
    }

    // Leaves out the samples that weigh next to nothing in what their rays see, and sorts the others by ray.
    void drop_light_samples(const Space& space) {
        const float length = space.step / space.side;
        weight_.resize(n_slots_);
        for (int at = 0; at < n_slots_; at += LANES<float>)
            store(weight_.data() + at,
                  sample_weight(load(thickness_before_.data() + at), load(density.data() + at) * length));
        heaviest_.assign(march_.size(), 0.0f);
        for (const Run& run : runs_)
            for (int slot = run.slot; slot < run.slot + run.count; ++slot)
                heaviest_[run.ray] = std::max(heaviest_[run.ray], weight_[slot]);
        first_.assign(march_.size() + 1, 0);
        kept_.resize(n_slots_ + 1);
        int n_kept = 0;
        for (Run& run : runs_) {
            const float least = least_weight(heaviest_[run.ray], space.minimum_weight);
            const int begin = n_kept;
            for (int slot = run.slot; slot < run.slot + run.count; ++slot) {
                kept_[n_kept] = slot;
                n_kept += weight_[slot] >= least;
            }
            run.slot = begin;
            run.count = n_kept - begin;
            first_[run.ray + 1] += run.count;
        }
        for (size_t ray = 0; ray < march_.size(); ++ray) first_[ray + 1] += first_[ray];
        source_.resize(n_kept);
        next_.assign(first_.begin(), first_.end() - 1);
        for (const Run& run : runs_)
            for (int i = 0; i < run.count; ++i) source_[next_[run.ray]++] = kept_[run.slot + i];
    }

    std::vector<March<float>> march_;
    std::vector<int> live_, first_, source_, next_;
    std::vector<Run> runs_;
    std::vector<float> thickness_, heaviest_;
    Buffer<Place> taken_;  // [lane][sample]
    Buffer<int> kept_;
    Buffer<float> scratch_, thickness_before_, weight_;
    int n_slots_ = 0, filled_ = 0, n_marched_ = 0;
};

}  // namespace nerf
