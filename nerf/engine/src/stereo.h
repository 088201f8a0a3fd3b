// Depth from neighbouring pictures: a plane sweep (Collins 1996), scored by normalised cross-correlation and made smooth
// by semi-global matching (Hirschmueller 2008); see nerf/ops/stereo.py.
//
// Planes stand across the axis of a camera, evenly in inverse depth, the first at infinity. A point at inverse depth v on
// the ray of a pixel (x, y) is at the pixel (q0 / q2, q1 / q2) of a neighbour, with q = M (x, y, 1) + v a.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "border.h"

namespace nerf {

// nerf/engine/signatures.py reads the struct below.
struct StereoCall {
    const float* pictures;  // (n_pictures, height, width), brightness in [0, 1]
    const int32_t* others;  // (n_pictures, n_others), the neighbours of each; -1 where there are fewer
    const float* warps;     // (n_pictures, n_others, 3, 4): [M | a]
    const float* steps;     // (n_pictures), from one plane's inverse depth to the next
    const int32_t* planes;  // (n_pictures), how many
    float* inverse;         // (n_pictures, height, width), the inverse depth found
    float* likeness;        // (n_pictures, height, width), the correlation there
    int32_t n_pictures, height, width, n_others, threads;
};

constexpr int32_t MOST_PLANES = 1024, MOST_NEIGHBOURS = 64;

inline void check(const StereoCall& call) {
    const Fields fields("StereoCall");
    fields.within<int32_t>("n_pictures", call.n_pictures, 0, 1 << 20);
    for (const int32_t side : {call.height, call.width}) fields.within<int32_t>("height or width", side, 2, 1 << 14);
    fields.within<int32_t>("n_others", call.n_others, 1, MOST_NEIGHBOURS);
    fields.threads(call.threads);
    const bool any = call.n_pictures > 0;
    for (const float* array : {call.pictures, call.warps, call.steps}) fields.present("pictures, warps or steps", array, any);
    fields.present("others", call.others, any);
    fields.present("planes", call.planes, any);
    fields.present("inverse", call.inverse, any);
    fields.present("likeness", call.likeness, any);
    for (int64_t picture = 0; picture < call.n_pictures; ++picture) {
        fields.within<int32_t>("planes", call.planes[picture], 1, MOST_PLANES);
        for (int64_t other = picture * call.n_others; other < (picture + 1) * call.n_others; ++other)
            fields.within<int32_t>("others", call.others[other], -1, call.n_pictures - 1);
    }
}

// nerf/ops/stereo.py has the same numbers.
constexpr int WINDOW = 2;           // pixels on either side of the middle of a window
constexpr float FLAT = 3e-5f;       // variance of brightness that counts as none
constexpr float WORST = 255;        // cost of what is not alike; 0: the same
constexpr uint16_t NEAR_JUMP = 13;  // cost, along a path, of a change of depth by one plane
constexpr uint16_t FAR_JUMP = 128;  // and by more

// The depths of one picture after another; buffers are reused.
class Sweep {
public:
    explicit Sweep(const StereoCall& call) : call_(call), height_(call.height), width_(call.width) {
        const size_t area = size_t(height_) * width_;
        for (auto* map : {&mean_, &variance_, &theirs_, &inside_, &best_, &second_}) map->resize(area);
        for (auto* row : {&columns_, &sum_, &squares_, &products_}) row->resize(width_ + 2 * WINDOW);
    }

    void run(int64_t picture) {
        const size_t area = size_t(height_) * width_;
        ours_ = call_.pictures + picture * area;
        planes_ = call_.planes[picture];
        costs_.resize(area * planes_);
        totals_.assign(area * planes_, 0);
        describe();
        for (int plane = 0; plane < planes_; ++plane) match(picture, plane);
        for (const bool back : {false, true}) {
            for (int row = 0; row < height_; ++row) path(size_t(row) * width_, 1, width_, back);
            for (int column = 0; column < width_; ++column) path(column, width_, height_, back);
        }
        for (size_t at = 0; at < area; ++at)
            choose(at, call_.steps[picture], call_.inverse + picture * area, call_.likeness + picture * area);
    }

private:
    // Sums of value(pixel) over the windows of a row's pixels, as far as they lie in the picture.
    template <class Value> void window_sums(int row, Value value, float* sums) {
        const int from = std::max(row - WINDOW, 0), to = std::min(row + WINDOW, height_ - 1);
        float* columns = columns_.data() + WINDOW;
        std::fill_n(columns, width_, 0.0f);
        for (int other = from; other <= to; ++other)
            for (int x = 0; x < width_; ++x) columns[x] += value(size_t(other) * width_ + x);
        for (int x = 0; x < width_; ++x) {
            sums[x] = 0;
            for (int i = -WINDOW; i <= WINDOW; ++i) sums[x] += columns[x + i];
        }
    }

    // How many pixels a window has.
    float window_size(int row, int x) const {
        const int rows = std::min(row + WINDOW, height_ - 1) - std::max(row - WINDOW, 0) + 1;
        const int columns = std::min(x + WINDOW, width_ - 1) - std::max(x - WINDOW, 0) + 1;
        return float(rows * columns);
    }

    // Mean and variance of the picture's own windows.
    void describe() {
        for (int row = 0; row < height_; ++row) {
            window_sums(row, [&](size_t at) { return ours_[at]; }, sum_.data());
            window_sums(row, [&](size_t at) { return ours_[at] * ours_[at]; }, squares_.data());
            for (int x = 0; x < width_; ++x) {
                const size_t at = size_t(row) * width_ + x;
                mean_[at] = sum_[x] / window_size(row, x);
                variance_[at] = std::max(squares_[x] / window_size(row, x) - mean_[at] * mean_[at], 0.0f) + FLAT;
            }
        }
    }

    // The cost of one plane at every pixel: the mean of the two neighbours that are most alike, so that those from whom
    // something hides a point do not count.
    void match(int64_t picture, int plane) {
        const size_t area = size_t(height_) * width_;
        std::fill(best_.begin(), best_.end(), 0.0f);
        std::fill(second_.begin(), second_.end(), 0.0f);
        int n_seen = 0;
        for (int neighbour = 0; neighbour < call_.n_others; ++neighbour) {
            const int64_t pair = picture * call_.n_others + neighbour;
            if (call_.others[pair] < 0) continue;
            ++n_seen;
            warp(call_.pictures + call_.others[pair] * area, call_.warps + 12 * pair, plane * call_.steps[picture]);
            for (int row = 0; row < height_; ++row) correlate(row);
        }
        for (size_t at = 0; at < area; ++at) {
            const float likeness = n_seen > 1 ? (best_[at] + second_[at]) / 2 : best_[at];
            costs_[at * planes_ + plane] = uint8_t(WORST * (1 - std::min(likeness, 1.0f)) + 0.5f);
        }
    }

    // A neighbour's picture as it would be seen from here, if all of it lay on one plane; and where it is seen at all.
    void warp(const float* picture, const float* map, float inverse) {
        for (int row = 0; row < height_; ++row)
            for (int x = 0; x < width_; ++x) {
                float q[3];
                for (int axis = 0; axis < 3; ++axis) {
                    const float* m = map + 4 * axis;
                    q[axis] = m[0] * (x + 0.5f) + m[1] * (row + 0.5f) + m[2] + m[3] * inverse;
                }
                const size_t at = size_t(row) * width_ + x;
                const float right = q[0] / q[2] - 0.5f, down = q[1] / q[2] - 0.5f;
                const bool inside = q[2] > 0 && right >= 0 && down >= 0 && right < width_ - 1 && down < height_ - 1;
                const int left = inside ? int(right) : 0, top = inside ? int(down) : 0;
                const float u = right - left, v = down - top;
                const float* corner = picture + size_t(top) * width_ + left;
                inside_[at] = inside;
                theirs_[at] = inside ? (corner[0] * (1 - u) + corner[1] * u) * (1 - v) +
                                           (corner[width_] * (1 - u) + corner[width_ + 1] * u) * v
                                     : 0.0f;
            }
    }

    // The correlations of a row's windows with those of the warped neighbour: the two best of all neighbours are kept.
    void correlate(int row) {
        window_sums(row, [&](size_t at) { return theirs_[at]; }, sum_.data());
        window_sums(row, [&](size_t at) { return theirs_[at] * theirs_[at]; }, squares_.data());
        window_sums(row, [&](size_t at) { return theirs_[at] * ours_[at]; }, products_.data());
        for (int x = 0; x < width_; ++x) {
            const size_t at = size_t(row) * width_ + x;
            const float part = 1 / window_size(row, x), mean = sum_[x] * part;
            const float variance = std::max(squares_[x] * part - mean * mean, 0.0f) + FLAT;
            const float covariance = products_[x] * part - mean * mean_[at];
            const float likeness = inside_[at] * covariance / std::sqrt(variance * variance_[at]);
            second_[at] = std::max(second_[at], std::min(best_[at], likeness));
            best_[at] = std::max(best_[at], likeness);
        }
    }

    // Adds to the totals what it costs to come to every depth of every pixel along a path of n pixels, `apart` apart.
    void path(size_t first, size_t apart, int n, bool back) {
        reached_.assign(planes_ + 2, FAR_JUMP);  // from the pixel before, less the least; what is no plane costs a jump
        next_.resize(planes_);
        std::fill_n(reached_.begin() + 1, planes_, uint16_t(0));
        for (int i = 0; i < n; ++i) {
            const size_t at = (first + (back ? n - 1 - i : i) * apart) * planes_;
            const uint16_t* reached = reached_.data() + 1;
            const uint8_t* cost = costs_.data() + at;
            uint16_t* total = totals_.data() + at;
            uint16_t lowest = 0xffff;
            for (int plane = 0; plane < planes_; ++plane) {
                const uint16_t beside = std::min(reached[plane - 1], reached[plane + 1]);
                const uint16_t way = std::min(std::min(reached[plane], uint16_t(beside + NEAR_JUMP)), FAR_JUMP);
                next_[plane] = uint16_t(cost[plane] + way);
                lowest = std::min(lowest, next_[plane]);
            }
            for (int plane = 0; plane < planes_; ++plane) {
                total[plane] += next_[plane];
                reached_[plane + 1] = next_[plane] - lowest;
            }
        }
    }

    // The cheapest plane of a pixel, and between planes where a parabola through it and its neighbours is lowest.
    void choose(size_t at, float step, float* inverse, float* likeness) const {
        const uint16_t* total = totals_.data() + at * planes_;
        const int plane = int(std::min_element(total, total + planes_) - total);
        float offset = 0;
        if (plane > 0 && plane < planes_ - 1) {
            const float before = total[plane - 1], here = total[plane], after = total[plane + 1];
            const float bend = before + after - 2 * here;
            if (bend > 0) offset = (before - after) / (2 * bend);
        }
        inverse[at] = (plane + offset) * step;
        likeness[at] = 1 - costs_[at * planes_ + plane] / WORST;
    }

    const StereoCall& call_;
    const int height_, width_;
    int planes_ = 0;
    const float* ours_ = nullptr;
    std::vector<float> mean_, variance_, theirs_, inside_, best_, second_;
    std::vector<float> columns_, sum_, squares_, products_;  // of a row
    std::vector<uint8_t> costs_;                             // [pixel][plane], like the next
    std::vector<uint16_t> totals_, reached_, next_;
};

}  // namespace nerf
