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

// The scene box, and how it is marched through.
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

    // By slot, which is where a sample was marched: position in box units, distance in scene units.
    Buffer<float> x, y, z, t;
    Blocks<Word> encoding;

    int64_t marched() const { return n_marched_; }
    // How many of them light reaches.
    int64_t reached() const { return n_reached_; }
    // The samples that matter are numbered in the order of their slots. Those of a ray, along it, are numbers
    // order()[first(ray)] ... of them.
    int64_t first(int ray) const { return first_[ray]; }
    int64_t n_kept() const { return first_.back(); }
    const std::vector<int64_t>& order() const { return order_; }
    // How a ray of the bundle is marched: where it starts, and its slope.
    const March<float>& ray(int index) const { return march_[index]; }

    void march(const Field<A>& field, const Space& space, const RayBundle& rays, Stopwatch& watch) {
        watch.start();
        begin(field, space, rays);
        while (!live_.empty()) {
            const int64_t first = n_slots_;
            const size_t first_run = runs_.size();
            advance_rays(space);
            watch.lap(TRACE);
            for (int64_t slot = first; slot < n_slots_; slot += BLOCK) density_of(field, slot);
            watch.lap(DENSITY);
            end_rays(space, first_run);
        }
        drop_light_samples(space);
    }

    // Calls move(slot, lanes, to) for packs of slots of which some samples matter: those in the lanes whose bits are
    // set are numbers `to` and following of them all. A call's numbers lie in one block.
    template <class Move> void each_kept(Move move) const {
        constexpr int n = LANES<float>;
        int64_t to = 0;
        for (int64_t slot = 0; slot < n_slots_; slot += n) {
            uint32_t lanes = kept_[slot / n];
            while (lanes) {
                uint32_t now = lanes;
                for (int over = int(to % BLOCK) + __builtin_popcount(now) - BLOCK; over > 0; --over)
                    now &= ~(uint32_t(1) << (31 - __builtin_clz(now)));
                move(slot, now, to);
                to += __builtin_popcount(now);
                lanes &= ~now;
            }
        }
    }

private:
    static constexpr int SAMPLES_AT_ONCE = 3;            // of a ray, between two looks at whether it has ended
    static constexpr int IDLE_LANES = LANES<float> / 4;  // when as many have nothing to do, they get new rays
    static constexpr uint32_t EVERY_LANE = uint32_t(~uint64_t(0) >> (64 - LANES<float>));

    // Consecutive samples of one ray: where they are among the marched ones, and how many of them light reaches.
    struct Run {
        int64_t slot;
        int ray, count;
    };

    // The rays in hand, one a lane, and the samples found of each.
    struct Hand {
        March<Pack<float>> march = {};
        Pack<int32_t> taken = {};
        int ray[LANES<float>];                           // -1: none
        float sample[LANES<float>][SAMPLES_AT_ONCE][4];  // x, y, z, t

        Hand() { std::fill_n(ray, LANES<float>, -1); }
        auto live() const { return (march.next < march.count) & (taken < SAMPLES_AT_ONCE); }
    };

    void begin(const Field<A>& field, const Space& space, const RayBundle& rays) {
        march_.clear();
        live_.clear();
        runs_.clear();
        n_slots_ = n_marched_ = n_reached_ = 0;
        scratch_.resize(field.scratch_size());
        hidden_.resize(1, field.layers[0].padded_outputs / A::DEPTH);
        features_.resize(1, field.given() / A::DEPTH);
        thickness_.assign(rays.count, 0.0f);
        for (int ray = 0; ray < rays.count; ++ray) {
            const float *origin = rays.origin + 3 * ray, *direction = rays.direction + 3 * ray,
                        offset = rays.offset[ray];
            march_.push_back(begin_march(origin, direction, space.contraction, space.step, offset));
            live_.push_back(ray);
        }
    }

    // Moves every live ray on by some samples; what is left of the last block lies in the middle of the box.
    void advance_rays(const Space& space) {
        const int64_t first = n_slots_;
        for (auto* row : {&x, &y, &z, &t}) row->resize(size_t(first) + live_.size() * SAMPLES_AT_ONCE + BLOCK);
        Hand hand;
        for (size_t begun = 0;;) {
            const uint32_t busy = lane_bits(hand.live());
            const uint32_t idle = ~busy & EVERY_LANE;
            if (busy && (begun == live_.size() || __builtin_popcount(idle) < IDLE_LANES)) {
                look(space, hand);
                continue;
            }
            for (uint32_t left = idle; left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                finish_run(hand, lane);
                if (begun < live_.size()) take_ray(hand, lane, live_[begun++]);
            }
            if (!busy && !lane_bits(hand.live()) && begun == live_.size()) break;
        }
        for (int lane = 0; lane < LANES<float>; ++lane) finish_run(hand, lane);
        n_marched_ += n_slots_ - first;
        filled_ = n_slots_;
        for (; n_slots_ % BLOCK; ++n_slots_) {
            x[n_slots_] = y[n_slots_] = z[n_slots_] = 0.5f;
            t[n_slots_] = 0;
        }
    }

    void take_ray(Hand& hand, int lane, int ray) const {
        hand.ray[lane] = ray;
        set_lane(hand.march, lane, march_[ray]);
        hand.taken[lane] = 0;
    }

    // Moves the samples of a lane's ray, if it has one, to the next slots; the lane is free then.
    void finish_run(Hand& hand, int lane) {
        if (hand.ray[lane] < 0) return;
        const int count = hand.taken[lane];
        march_[hand.ray[lane]].next = hand.march.next[lane];
        runs_.push_back({n_slots_, hand.ray[lane], count});
        for (int i = 0; i < count; ++i, ++n_slots_) {
            const float* sample = hand.sample[lane][i];
            x[n_slots_] = sample[0];
            y[n_slots_] = sample[1];
            z[n_slots_] = sample[2];
            t[n_slots_] = sample[3];
        }
        hand.ray[lane] = -1;
        hand.march.next[lane] = hand.march.count[lane] = 0;
    }

    // Looks at one sample of every live ray.
    static void look(const Space& space, Hand& hand) {
        March<Pack<float>>& march = hand.march;
        const Pack<float> step = splat(space.step), inverse_step = splat(1 / space.step);
        Pack<float> point[4];
        Pack<int32_t> after;
        if (space.contraction.radius > 0) {
            point[3] = march.t(step, space.contraction);
            after = march.look(*space.bits, point[3], inverse_step, space.contraction, point);
        } else {
            point[3] = march.t(step);
            after = march.look(*space.bits, step, inverse_step, point);
        }
        // Rounding may carry a sample just out of the box.
        for (int axis = 0; axis < 3; ++axis) point[axis] = least(greatest(point[axis], Pack<float>{}), splat(1.0f));
        const auto live = hand.live(), hit = live & (after == march.next);
        float found[4][LANES<float>];
        for (int row = 0; row < 4; ++row) store(found[row], point[row]);
        for (uint32_t left = lane_bits(hit); left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            for (int row = 0; row < 4; ++row) hand.sample[lane][hand.taken[lane]][row] = found[row][lane];
        }
        hand.taken -= hit;
        march.next = hit ? march.next + 1 : live ? after : march.next;
    }

    void density_of(const Field<A>& field, int64_t slot) {
        encoding.resize(n_slots_ / BLOCK, field.encoded() / A::DEPTH);
        density_.resize(n_slots_);
        Word* words = encoding.block(slot / BLOCK);
        const int count = int(std::min<int64_t>(BLOCK, filled_ - slot));
        field.encode(x.data() + slot, y.data() + slot, z.data() + slot, count, words, scratch_.data());
        field.density(words, hidden_.block(0), features_.block(0), density_.data() + slot, scratch_.data());
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
                int(reached_samples(run.count, density_.data() + run.slot, length, space.greatest_thickness, thickness,
                                    thickness_before_.data() + run.slot));
            const bool ended = run.count < SAMPLES_AT_ONCE || thickness > space.greatest_thickness;
            run.count = reached;
            n_reached_ += reached;
            if (!ended) live_.push_back(run.ray);
        }
    }

    // Leaves out the samples that weigh next to nothing in what their rays see, and finds the order of the others.
    void drop_light_samples(const Space& space) {
        constexpr int lanes = LANES<float>;
        const float length = space.step / space.side;
        weight_.resize(n_slots_);
        for (int64_t at = 0; at < n_slots_; at += lanes)
            store(weight_.data() + at,
                  sample_weight(load(thickness_before_.data() + at), load(density_.data() + at) * length));
        heaviest_.assign(march_.size(), 0.0f);
        for (const Run& run : runs_)
            for (int64_t slot = run.slot; slot < run.slot + run.count; ++slot)
                heaviest_[run.ray] = std::max(heaviest_[run.ray], weight_[slot]);
        first_.assign(march_.size() + 1, 0);
        kept_.assign(n_slots_ / lanes, 0);
        for (Run& run : runs_) {
            const float least = least_weight(heaviest_[run.ray], space.minimum_weight);
            int n_kept = 0;
            for (int64_t slot = run.slot; slot < run.slot + run.count; ++slot) {
                const uint32_t keep = weight_[slot] >= least;
                kept_[slot / lanes] |= keep << slot % lanes;
                n_kept += int(keep);
            }
            run.count = n_kept;
            first_[run.ray + 1] += n_kept;
        }
        for (size_t ray = 0; ray < march_.size(); ++ray) first_[ray + 1] += first_[ray];
        order_.resize(first_.back());
        next_.assign(first_.begin(), first_.end() - 1);
        int64_t number = 0;
        for (const Run& run : runs_)
            for (int i = 0; i < run.count; ++i) order_[next_[run.ray]++] = number++;
    }

    std::vector<March<float>> march_;
    std::vector<int> live_;
    std::vector<int64_t> first_, order_, next_;
    std::vector<Run> runs_;
    std::vector<uint32_t> kept_;  // a bit a slot, a word a pack of slots
    std::vector<float> thickness_, heaviest_;
    Buffer<float> scratch_, density_, thickness_before_, weight_;
    Blocks<Word> hidden_, features_;  // of the block in hand: few are needed again
    int64_t n_slots_ = 0, filled_ = 0, n_marched_ = 0, n_reached_ = 0;
};

}  // namespace nerf
