// Depth from neighbouring pictures: a plane sweep (Collins 1996), scored by normalised cross-correlation and made smooth
// by semi-global matching (Hirschmueller 2008); see nerf/ops/stereo.py.
//
// The inverse depth on a plane is j step (n . (x, y, 1)) at the pixel (x, y), where n is its slope and j counts the
// planes of one slope from infinity on. A point at inverse depth v on the ray of a pixel is at the pixel
// (q0 / q2, q1 / q2) of a neighbour, with q = M (x, y, 1) + v a.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "border.h"
#include "lanes.h"

namespace nerf {

// nerf/engine/signatures.py reads the struct below.
struct StereoCall {
    const float* pictures;  // (n_pictures, height, width), brightness in [0, 1]
    const int32_t* others;  // (n_pictures, n_others), the neighbours of each; -1 where there are fewer
    const float* warps;     // (n_pictures, n_others, 3, 4): [M | a]
    const float* slopes;    // (n_pictures, n_slopes, 3), of planes
    const float* steps;     // (n_pictures), from one inverse depth to the next
    const int32_t* planes;  // (n_pictures), how many of a slope, and how many inverse depths
    float* inverse;         // (count, height, width), the inverse depth found, of the pictures asked for
    float* likeness;        // (count, height, width), the correlation there
    int32_t first, count;   // of the pictures asked for
    int32_t n_pictures, height, width, n_others, n_slopes, threads;
};

constexpr int32_t MOST_PLANES = 1024, MOST_NEIGHBOURS = 64, MOST_SLOPES = 16;

inline void check(const StereoCall& call) {
    const Fields fields("StereoCall");
    fields.within<int32_t>("n_pictures", call.n_pictures, 0, 1 << 20);
    fields.within<int32_t>("first", call.first, 0, call.n_pictures);
    fields.within<int32_t>("count", call.count, 0, call.n_pictures - call.first);
    for (const int32_t side : {call.height, call.width}) fields.within<int32_t>("height or width", side, 2, 1 << 14);
    fields.within<int32_t>("n_others", call.n_others, 1, MOST_NEIGHBOURS);
    fields.within<int32_t>("n_slopes", call.n_slopes, 1, MOST_SLOPES);
    fields.threads(call.threads);
    const bool any = call.n_pictures > 0;
    for (const float* array : {call.pictures, call.warps, call.slopes, call.steps})
        fields.present("pictures, warps, slopes or steps", array, any);
    fields.present("others", call.others, any);
    fields.present("planes", call.planes, any);
    fields.present("inverse", call.inverse, call.count > 0);
    fields.present("likeness", call.likeness, call.count > 0);
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

constexpr int PLANES_TOGETHER = 32;  // whose costs are written pixel by pixel at once

// The depths of one picture after another; buffers are reused. The rows of maps are whole packs, what is beside the
// picture is 0.
class Sweep {
public:
    explicit Sweep(const StereoCall& call)
        : call_(call), height_(call.height), width_(call.width), stride_((width_ + LANE - 1) / LANE * LANE) {
        for (auto* map : {&ours_, &mean_, &sharpness_, &theirs_, &inside_, &best_, &second_}) map->resize(area());
        for (auto* row : {&columns_, &sum_, &squares_, &products_}) row->resize(stride_ + 2 * WINDOW);
        together_.resize(PLANES_TOGETHER * area());
        for (int x = 0; x < stride_; ++x) part_of_columns_.push_back(1 / in_window(x, width_));
        for (int row = 0; row < height_; ++row) part_of_rows_.push_back(1 / in_window(row, height_));
    }

    void run(int64_t picture) {
        const size_t pixels = size_t(height_) * width_;
        planes_ = call_.planes[picture];
        costs_.assign(pixels * planes_, uint8_t(WORST));
        totals_.assign(pixels * planes_, 0);
        describe(call_.pictures + picture * pixels);
        for (int64_t slope = picture * call_.n_slopes; slope < (picture + 1) * call_.n_slopes; ++slope)
            for (int first = 0; first < planes_; first += PLANES_TOGETHER) {
                const int n = std::min(PLANES_TOGETHER, planes_ - first);
                for (int i = 0; i < n; ++i)
                    match(picture, call_.slopes + 3 * slope, first + i, together_.data() + i * area());
                keep_costs(call_.slopes + 3 * slope, first, n);
            }
        for (const bool back : {false, true}) {
            for (int row = 0; row < height_; ++row) path(size_t(row) * width_, 1, width_, back);
            for (int column = 0; column < width_; ++column) path(column, width_, height_, back);
        }
        for (size_t at = 0; at < pixels; ++at)
            choose(at, call_.steps[picture], call_.inverse + (picture - call_.first) * pixels,
                   call_.likeness + (picture - call_.first) * pixels);
    }

private:
    static constexpr int LANE = LANES<float>;

    size_t area() const { return size_t(height_) * stride_; }

    // How many of the pixels of a row, or a column, of `size` are in the window of one.
    static float in_window(int at, int size) {
        return float(std::max(1, std::min(at + WINDOW, size - 1) - std::max(at - WINDOW, 0) + 1));
    }

    // Sums of value(place) over the windows of a row's pixels, as far as they lie in the picture.
    template <class Value> void window_sums(int row, Value value, float* sums) {
        const int from = std::max(row - WINDOW, 0), to = std::min(row + WINDOW, height_ - 1);
        float* columns = columns_.data() + WINDOW;
        for (int x = 0; x < stride_; x += LANE) {
            Pack<float> sum{};
            for (int other = from; other <= to; ++other) sum += value(size_t(other) * stride_ + x);
            store(columns + x, sum);
        }
        for (int x = 0; x < stride_; x += LANE) {
            Pack<float> sum{};
            for (int i = -WINDOW; i <= WINDOW; ++i) sum += load(columns + x + i);
            store(sums + x, sum);
        }
    }

    // Mean and one over the standard deviation of the picture's own windows.
    void describe(const float* picture) {
        for (int row = 0; row < height_; ++row)
            std::copy_n(picture + size_t(row) * width_, width_, ours_.data() + size_t(row) * stride_);
        const auto ours = [&](size_t at) { return load(ours_.data() + at); };
        for (int row = 0; row < height_; ++row) {
            window_sums(row, ours, sum_.data());
            window_sums(row, [&](size_t at) { return ours(at) * ours(at); }, squares_.data());
            for (int x = 0; x < stride_; x += LANE) {
                const size_t at = size_t(row) * stride_ + x;
                const Pack<float> part = load(part_of_columns_.data() + x) * part_of_rows_[row];
                const Pack<float> mean = load(sum_.data() + x) * part;
                store(mean_.data() + at, mean);
                store(sharpness_.data() + at, 1 / deviation(load(squares_.data() + x) * part, mean));
            }
        }
    }

    static Pack<float> deviation(Pack<float> mean_square, Pack<float> mean) {
        return square_root(greatest(mean_square - mean * mean, Pack<float>{}) + FLAT);
    }

    // The cost of one plane at every pixel: the mean of the two neighbours that are most alike, so that those from whom
    // something hides a point do not count.
    void match(int64_t picture, const float* slope, int plane, uint8_t* cost) {
        std::fill(best_.begin(), best_.end(), 0.0f);
        std::fill(second_.begin(), second_.end(), 0.0f);
        int n_seen = 0;
        for (int neighbour = 0; neighbour < call_.n_others; ++neighbour) {
            const int64_t pair = picture * call_.n_others + neighbour;
            if (call_.others[pair] < 0) continue;
            ++n_seen;
            const float* other = call_.pictures + size_t(call_.others[pair]) * height_ * width_;
            float homography[9];
            for (int i = 0; i < 9; ++i) {
                const float* map = call_.warps + 12 * pair + i / 3 * 4;
                homography[i] = map[i % 3] + plane * call_.steps[picture] * map[3] * slope[i % 3];
            }
            for (int row = 0; row < height_; ++row) warp(other, homography, row);
            for (int row = 0; row < height_; ++row) correlate(row);
        }
        const float part = n_seen > 1 ? 0.5f : 1.0f;
        for (size_t at = 0; at < area(); ++at) {
            const float likeness = n_seen > 1 ? best_[at] + second_[at] : best_[at];
            cost[at] = uint8_t(int(WORST * (1 - least(likeness * part, 1.0f)) + 0.5f));
        }
    }

    // A row of a neighbour's picture as it would be seen from here, if all of it lay on one plane; and where it is seen
    // at all. map: (3, 3), from our pixels to its.
    void warp(const float* picture, const float* map, int row) {
        constexpr int n = LANE;
        float start[3];
        for (int axis = 0; axis < 3; ++axis) start[axis] = map[3 * axis + 1] * (row + 0.5f) + map[3 * axis + 2];
        alignas(64) float middle[n], pair[2][2 * n];
        for (int lane = 0; lane < n; ++lane) middle[lane] = lane + 0.5f;
        for (int x = 0; x < stride_; x += n) {
            const Pack<float> along = load(middle) + float(x);
            const Pack<float> ahead = map[6] * along + start[2], nearer = 1 / ahead;
            Pack<float> right = (map[0] * along + start[0]) * nearer - 0.5f;
            Pack<float> down = (map[3] * along + start[1]) * nearer - 0.5f;
            const auto inside = (ahead > 0) & (right >= 0) & (down >= 0) & (right < float(width_ - 1)) &
                                (down < float(height_ - 1)) & (along < float(width_));
            right = inside ? right : Pack<float>{};
            down = inside ? down : Pack<float>{};
            const auto left = converted<Pack<int32_t>>(right), top = converted<Pack<int32_t>>(down);
            const Pack<float> u = right - converted<Pack<float>>(left), v = down - converted<Pack<float>>(top);
            alignas(64) int32_t place[n];
            store(place, Pack<int32_t>(top * width_ + left));
            for (int lane = 0; lane < n; ++lane) {
                const float* corner = picture + place[lane];
                std::memcpy(pair[0] + 2 * lane, corner, 2 * sizeof(float));
                std::memcpy(pair[1] + 2 * lane, corner + width_, 2 * sizeof(float));
            }
            Pack<float> above[2], below[2];
            load_interleaved<2>(pair[0], above);
            load_interleaved<2>(pair[1], below);
            const Pack<float> high = above[0] + u * (above[1] - above[0]);
            const Pack<float> low = below[0] + u * (below[1] - below[0]);
            const size_t at = size_t(row) * stride_ + x;
            store(theirs_.data() + at, inside ? high + v * (low - high) : Pack<float>{});
            store(inside_.data() + at, inside ? splat(1.0f) : Pack<float>{});
        }
    }

    // The correlations of a row's windows with those of the warped neighbour: the two best of all neighbours are kept.
    void correlate(int row) {
        const auto ours = [&](size_t at) { return load(ours_.data() + at); };
        const auto theirs = [&](size_t at) { return load(theirs_.data() + at); };
        window_sums(row, theirs, sum_.data());
        window_sums(row, [&](size_t at) { return theirs(at) * theirs(at); }, squares_.data());
        window_sums(row, [&](size_t at) { return theirs(at) * ours(at); }, products_.data());
        for (int x = 0; x < stride_; x += LANE) {
            const size_t at = size_t(row) * stride_ + x;
            const Pack<float> part = load(part_of_columns_.data() + x) * part_of_rows_[row];
            const Pack<float> mean = load(sum_.data() + x) * part;
            const Pack<float> covariance = load(products_.data() + x) * part - mean * load(mean_.data() + at);
            const Pack<float> likeness = load(inside_.data() + at) * covariance * load(sharpness_.data() + at) /
                                         deviation(load(squares_.data() + x) * part, mean);
            const Pack<float> best = load(best_.data() + at);
            store(second_.data() + at, greatest(load(second_.data() + at), least(best, likeness)));
            store(best_.data() + at, greatest(best, likeness));
        }
    }

    // Takes over the costs of n planes that follow each other. Of all planes that pass a pixel at about one inverse depth
    // the cheapest counts.
    void keep_costs(const float* slope, int first, int n) {
        for (int row = 0; row < height_; ++row)
            for (int x = 0; x < width_; ++x) {
                uint8_t* to = costs_.data() + (size_t(row) * width_ + x) * planes_;
                const uint8_t* from = together_.data() + size_t(row) * stride_ + x;
                const float part = slope[0] * (x + 0.5f) + slope[1] * (row + 0.5f) + slope[2];
                for (int i = 0; i < n; ++i) {
                    const float nearest = (first + i) * part + 0.5f;
                    if (!(nearest >= 0 && nearest < float(planes_))) continue;
                    uint8_t& cost = to[int(nearest)];
                    cost = std::min(cost, from[i * area()]);
                }
            }
    }

    // Adds to the totals what it costs to come to every depth of every pixel along a path of n pixels, `apart` apart.
    void path(size_t first, size_t apart, int n, bool back) {
        reached_.assign(planes_ + 2, FAR_JUMP);  // from the pixel before, less the least; what is no plane costs a jump
        next_.resize(planes_);
        std::fill_n(reached_.begin() + 1, planes_, uint16_t(0));
        for (int i = 0; i < n; ++i) {
            const size_t at = (first + (back ? n - 1 - i : i) * apart) * planes_;
            advance(planes_, costs_.data() + at, totals_.data() + at, reached_.data() + 1, next_.data());
        }
    }

    // One pixel of a path.
    static void advance(int planes, const uint8_t* __restrict cost, uint16_t* __restrict total,
                        uint16_t* __restrict reached, uint16_t* __restrict next) {
        uint16_t lowest = 0xffff;
        for (int plane = 0; plane < planes; ++plane) {
            const uint16_t beside = std::min(reached[plane - 1], reached[plane + 1]);
            const uint16_t way = std::min(std::min(reached[plane], uint16_t(beside + NEAR_JUMP)), FAR_JUMP);
            next[plane] = uint16_t(cost[plane] + way);
            lowest = std::min(lowest, next[plane]);
        }
        for (int plane = 0; plane < planes; ++plane) {
            total[plane] += next[plane];
            reached[plane] = next[plane] - lowest;
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
    const int height_, width_, stride_;
    int planes_ = 0;
    std::vector<float> ours_, mean_, sharpness_, theirs_, inside_, best_, second_;
    std::vector<float> columns_, sum_, squares_, products_;  // of a row
    std::vector<float> part_of_columns_, part_of_rows_;      // 1 / how many of them a window has
    std::vector<uint8_t> together_;                          // [plane][pixel]
    std::vector<uint8_t> costs_;                             // [pixel][plane], like the next
    std::vector<uint16_t> totals_, reached_, next_;
};

}  // namespace nerf
