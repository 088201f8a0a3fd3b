// Pictures of splats, tile by tile: each goes through the splats that it meets, the nearest first.
#include "splats.h"

#include <vector>

#include "interface.h"
#include "lanes.h"
#include "threads.h"

namespace nerf {

namespace {

constexpr int TILE = 16;  // pixels along a side
constexpr int AREA = TILE * TILE;
constexpr int TOGETHER = 256;   // splats of a job
constexpr int LOOK_EVERY = 16;  // splats after which a tile looks whether any light still comes through
constexpr int DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS;  // of what splats are sorted by
constexpr int SEEN_NUMBERS = 9;
static_assert(sizeof(SeenSplat) == SEEN_NUMBERS * sizeof(float));

// The pixels of a tile, column by column of a row. Lanes are pixels of one row.
struct TileOfLight {
    alignas(64) float light[AREA];       // that still comes through
    alignas(64) float channel[4][AREA];  // colour and opacity so far, or the gradient by them
    alignas(64) float behind[AREA];      // what the pixel and all behind it give, times the gradient

    bool dark() const {
        float most = 0;
        for (const float part : light) most = std::max(most, part);
        return most < LEAST_LIGHT;
    }
};

// A splat at the pixels of one pack: how far they are from its middle, how much there is of it, and of its light.
struct Covered {
    Pack<float> dx, gauss, alpha, weight;
};

inline bool cover(const SeenSplat& splat, Pack<float> dx, float dy, Pack<float> light, Covered& out) {
    const Pack<float> power = -0.5f * (splat.a * dx * dx + splat.c * dy * dy) - splat.b * dx * dy;
    out.dx = dx;
    out.gauss = exp(power);
    out.alpha = least(splat.opacity * out.gauss, nerf::splat(MOST_ALPHA));
    out.alpha = out.alpha >= LEAST_ALPHA ? out.alpha : Pack<float>{};
    out.alpha = light > LEAST_LIGHT ? out.alpha : Pack<float>{};
    out.weight = light * out.alpha;
    return !all_zero(out.alpha);
}

class SplatPicture {
public:
    explicit SplatPicture(const SplatCall& call)
        : call_(call), wide_((call.width + TILE - 1) / TILE), high_((call.height + TILE - 1) / TILE) {
        for (int lane = 0; lane < TILE; ++lane) ramp_[lane] = float(lane) + 0.5f;
        look();
        sort();
    }

    void render() {
        for_each_tile([&](int64_t tile) {
            TileOfLight pixels = {};
            std::fill_n(pixels.light, AREA, 1.0f);
            visit(tile, pixels, [&](const SeenSplat& splat, int64_t, const Covered& covered, float, int at) {
                const Pack<float> shares[4] = {covered.weight * splat.rgb[0], covered.weight * splat.rgb[1],
                                               covered.weight * splat.rgb[2], covered.weight};
                for (int k = 0; k < 4; ++k) store(pixels.channel[k] + at, load(pixels.channel[k] + at) + shares[k]);
            });
            exchange(tile, [&](int inside, int64_t pixel) {
                for (int k = 0; k < 4; ++k) call_.pixel[4 * pixel + k] = pixels.channel[k][inside];
            });
        });
    }

    void vjp() {
        // Each tile's share in the gradient of each splat it meets; added up afterwards in one order.
        std::vector<SeenSplat> shares(met_.size());
        for_each_tile([&](int64_t tile) { tile_vjp(tile, shares); });

        // Where the shares of a splat are.
        std::vector<int64_t> first(call_.n + 1), entry(met_.size());
        for (int64_t i = 0; i < call_.n; ++i) first[i + 1] = first[i] + count_[i];
        std::vector<int64_t> next(first.begin(), first.end() - 1);
        for (int64_t k = 0; k < int64_t(met_.size()); ++k) entry[next[met_[k]]++] = k;

        for_each_splat([&](int64_t i) {
            if (!count_[i]) return forget(i);
            SeenSplat total = {};
            for (int64_t k = first[i]; k < first[i + 1]; ++k)
                for (int number = 0; number < SEEN_NUMBERS; ++number)
                    (&total.x)[number] += (&shares[entry[k]].x)[number];
            ProjectedSplat splat(call_, i);
            SeenSplat seen;
            splat.see(seen);
            splat.vjp(seen, total);
        });
    }

private:
    struct Where {
        int32_t x0, y0, x1, y1;  // tiles that it meets: columns x0 .. x1 - 1 and rows y0 .. y1 - 1
        float top, bottom;       // between which it lies, pixels
    };

    template <class Work> void for_each_splat(Work work) const {
        Pool::shared().run((call_.n + TOGETHER - 1) / TOGETHER, call_.threads, [&](int64_t job, int) {
            for (int64_t i = job * TOGETHER; i < std::min((job + 1) * TOGETHER, call_.n); ++i) work(i);
        });
    }

    template <class Work> void for_each_tile(Work work) const {
        Pool::shared().run(int64_t(wide_) * high_, call_.threads, [&](int64_t tile, int) { work(tile); });
    }

    // Finds what is seen of every splat, and which tiles it meets.
    void look() {
        seen_.resize(call_.n), where_.resize(call_.n), depth_.resize(call_.n), count_.resize(call_.n);
        for_each_splat([&](int64_t i) {
            ProjectedSplat splat(call_, i);
            count_[i] = 0;
            if (!splat.see(seen_[i])) return;
            const float left = seen_[i].x - splat.reach[0], right = seen_[i].x + splat.reach[0];
            const float top = seen_[i].y - splat.reach[1], bottom = seen_[i].y + splat.reach[1];
            where_[i] = {tile_of(left, wide_), tile_of(top, high_), tile_of(right + TILE, wide_),
                         tile_of(bottom + TILE, high_), top, bottom};
            depth_[i] = splat.depth();
            count_[i] = std::max(0, where_[i].x1 - where_[i].x0) * std::max(0, where_[i].y1 - where_[i].y0);
        });
    }

    // Lists the splats of each tile, the nearest first.
    void sort() {
        const std::vector<int32_t> order = by_depth();

        first_.assign(int64_t(wide_) * high_ + 1, 0);
        const auto for_each_met = [&](int32_t i, auto work) {
            for (int32_t y = where_[i].y0; y < where_[i].y1; ++y)
                for (int32_t x = where_[i].x0; x < where_[i].x1; ++x) work(int64_t(y) * wide_ + x);
        };
        for (const int32_t i : order) for_each_met(i, [&](int64_t tile) { ++first_[tile + 1]; });
        for (size_t tile = 1; tile < first_.size(); ++tile) first_[tile] += first_[tile - 1];
        met_.resize(first_.back());
        std::vector<int64_t> next(first_.begin(), first_.end() - 1);
        for (const int32_t i : order) for_each_met(i, [&](int64_t tile) { met_[next[tile]++] = i; });
    }

    // The splats that meet any tile, the nearest first. Depths are above 0: as whole numbers, their bits have the same
    // order, by which they are sorted digit after digit, the last first.
    std::vector<int32_t> by_depth() const {
        std::vector<int32_t> order, before;
        for (int64_t i = 0; i < call_.n; ++i)
            if (count_[i]) order.push_back(int32_t(i));
        before.resize(order.size());
        for (int shift = 0; shift < 32; shift += DIGIT_BITS) {
            const auto digit = [&](int32_t i) { return same_bits<uint32_t>(depth_[i]) >> shift & (DIGITS - 1); };
            std::vector<int64_t> next(DIGITS + 1, 0);
            for (const int32_t i : order) ++next[digit(i) + 1];
            for (int value = 0; value < DIGITS; ++value) next[value + 1] += next[value];
            order.swap(before);
            for (const int32_t i : before) order[next[digit(i)]++] = i;
        }
        return order;
    }

    static int32_t tile_of(float position, int32_t tiles) {
        return int32_t(std::min(std::max(std::floor(position / TILE), 0.0f), float(tiles)));
    }

    // The row of a tile that holds a position, or the nearest.
    static int row_of(float position) { return int(std::min(std::max(position, 0.0f), float(TILE))); }

    // Calls work(splat, its number among all that were met, covered, dy, where in the tile) for every pack of pixels
    // that is covered, and takes the light away.
    template <class Work> void visit(int64_t tile, TileOfLight& pixels, Work work) const {
        const float left = float(tile % wide_ * TILE), top = float(tile / wide_ * TILE);
        for (int64_t k = first_[tile]; k < first_[tile + 1]; ++k) {
            if ((k - first_[tile]) % LOOK_EVERY == LOOK_EVERY - 1 && pixels.dark()) return;
            const SeenSplat& splat = seen_[met_[k]];

            const Where& where = where_[met_[k]];
            const int low = row_of(where.top - top), high = row_of(where.bottom - top + 1);
            for (int row = low; row < high; ++row) {
                const float dy = top + float(row) + 0.5f - splat.y;
                for (int column = 0; column < TILE; column += LANES<float>) {
                    const int at = row * TILE + column;
                    const Pack<float> light = load(pixels.light + at);
                    Covered covered;
                    if (!cover(splat, load(ramp_ + column) + (left - splat.x), dy, light, covered)) continue;
                    store(pixels.light + at, light - covered.weight);
                    work(splat, k, covered, dy, at);
                }
            }
        }
    }

    void tile_vjp(int64_t tile, std::vector<SeenSplat>& shares) const {
        TileOfLight pixels = {};
        std::fill_n(pixels.light, AREA, 1.0f);
        exchange(tile, [&](int inside, int64_t pixel) {
            for (int k = 0; k < 4; ++k) {
                pixels.channel[k][inside] = call_.grad_pixel[4 * pixel + k];
                pixels.behind[inside] += call_.grad_pixel[4 * pixel + k] * call_.pixel[4 * pixel + k];
            }
        });

        // Of the splat in hand, by lanes.
        Pack<float> sums[SEEN_NUMBERS] = {};
        int64_t in_hand = -1;
        const auto put_down = [&] {
            if (in_hand < 0) return;
            for (int number = 0; number < SEEN_NUMBERS; ++number) {
                float sum = 0;
                for (int lane = 0; lane < LANES<float>; ++lane) sum += sums[number][lane];
                (&shares[in_hand].x)[number] = sum;
                sums[number] = Pack<float>{};
            }
        };
        visit(tile, pixels, [&](const SeenSplat& splat, int64_t k, const Covered& covered, float dy, int at) {
            if (k != in_hand) put_down();
            in_hand = k;

            // What it gives by itself, and what all behind it does, of which it takes its part away.
            Pack<float> gives = load(pixels.channel[3] + at);
            for (int c = 0; c < 3; ++c) gives += splat.rgb[c] * load(pixels.channel[c] + at);
            const Pack<float> behind = load(pixels.behind + at) - covered.weight * gives;
            store(pixels.behind + at, behind);
            const Pack<float> light = load(pixels.light + at) + covered.weight;
            Pack<float> grad_alpha = light * gives - behind / (1 - covered.alpha);
            grad_alpha = covered.alpha < MOST_ALPHA ? grad_alpha : Pack<float>{};
            grad_alpha = covered.alpha > 0 ? grad_alpha : Pack<float>{};

            const Pack<float> grad_power = grad_alpha * covered.alpha, dx = covered.dx;
            const Pack<float> parts[SEEN_NUMBERS] = {grad_power * (splat.a * dx + splat.b * dy),
                                                     grad_power * (splat.b * dx + splat.c * dy),
                                                     -0.5f * grad_power * dx * dx,
                                                     -grad_power * dx * dy,
                                                     -0.5f * grad_power * (dy * dy),
                                                     grad_alpha * covered.gauss,
                                                     covered.weight * load(pixels.channel[0] + at),
                                                     covered.weight * load(pixels.channel[1] + at),
                                                     covered.weight * load(pixels.channel[2] + at)};
            for (int number = 0; number < SEEN_NUMBERS; ++number) sums[number] += parts[number];
        });
        put_down();
    }

    // Calls work(its number in the tile, its number in the picture) for every pixel of a tile.
    template <class Work> void exchange(int64_t tile, Work work) const {
        const int32_t left = int32_t(tile % wide_) * TILE, top = int32_t(tile / wide_) * TILE;
        for (int32_t y = top; y < std::min(top + TILE, call_.height); ++y)
            for (int32_t x = left; x < std::min(left + TILE, call_.width); ++x)
                work((y - top) * TILE + x - left, int64_t(y) * call_.width + x);
    }

    // The gradient by a splat that nobody sees.
    void forget(int64_t i) const {
        const SplatArrays& grad = call_.grad;
        std::fill_n(grad.mean + 3 * i, 3, 0.0f);
        std::fill_n(grad.log_scale + 3 * i, 3, 0.0f);
        std::fill_n(grad.turn + 4 * i, 4, 0.0f);
        grad.logit[i] = 0;
        std::fill_n(grad.harmonics + i * 3 * call_.degree * call_.degree, 3 * call_.degree * call_.degree, 0.0f);
    }

    const SplatCall& call_;
    const int32_t wide_, high_;  // tiles
    alignas(64) float ramp_[TILE];
    std::vector<SeenSplat> seen_;
    std::vector<Where> where_;
    std::vector<float> depth_;
    std::vector<int32_t> count_;  // tiles that a splat meets
    std::vector<int64_t> first_;  // of a tile, in met_
    std::vector<int32_t> met_;
};

}  // namespace

void picture_splats(const SplatCall& call) {
    SplatPicture picture(call);
    if (call.grad_pixel)
        picture.vjp();
    else
        picture.render();
}

}  // namespace nerf

NERF_EXPORT int nerf_splats(const nerf::SplatCall* call) {
    return nerf::guarded([&] { nerf::picture_splats(nerf::checked(call)); });
}
