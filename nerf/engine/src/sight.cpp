// What cameras see of points: a block of points at a time, camera by camera.
#include "sight.h"

#include <algorithm>
#include <cmath>

#include "interface.h"
#include "lanes.h"
#include "lens.h"
#include "threads.h"

namespace nerf {

constexpr int POINTS_AT_ONCE = 256;  // what is known of them stays in the nearest cache

// One camera and what it sees.
class SightView {
public:
    SightView(const SightViews& views, int camera)
        : pose_(views.poses + 12 * camera), focal_(views.focal + 2 * camera), center_(views.center + 2 * camera),
          lens_(reinterpret_cast<const Lens*>(views.lenses)[camera]), width_(views.width), height_(views.height),
          distance_(views.distance + int64_t(camera) * views.height * views.width) {
        const float* terms = views.lenses + 12 * camera;
        bent_ = std::any_of(terms, terms + 12, [](float term) { return term != 0; });
    }

    // Where points (n, 3) are in the picture, and how far away; away is negative where they are not in it.
    void project(const float* points, int n, float* column, float* row, float* away) const {
        const float *p = pose_, width = float(width_), height = float(height_);
        for (int i = 0; i < n; ++i) {
            const float x = points[3 * i] - p[3], y = points[3 * i + 1] - p[7], z = points[3 * i + 2] - p[11];
            const float right = x * p[0] + y * p[4] + z * p[8], down = x * p[1] + y * p[5] + z * p[9];
            const float depth = x * p[2] + y * p[6] + z * p[10];
            column[i] = right, row[i] = down;
            away[i] = depth > 0 ? std::sqrt(x * x + y * y + z * z) : -1;
            if (bent_) {
                bend(depth, column[i], row[i]);
            } else {
                column[i] /= depth, row[i] /= depth;
            }
        }
        for (int i = 0; i < n; ++i) {
            column[i] = column[i] * focal_[0] + center_[0], row[i] = row[i] * focal_[1] + center_[1];
            const bool inside = column[i] >= 0 && row[i] >= 0 && column[i] < width && row[i] < height;
            away[i] = inside ? away[i] : -1;
        }
    }

    // What is seen between pixels, but not between those that lie `sharp` or more apart: the nearest pixel there.
    float seen_between(float column, float row, float sharp) const {
        const float x = column - 0.5f, y = row - 0.5f, left = std::floor(x), above = std::floor(y);
        const auto at = [&](float c, float r) {
            const int i = std::clamp(int(c), 0, width_ - 1), j = std::clamp(int(r), 0, height_ - 1);
            return distance_[int64_t(j) * width_ + i];
        };
        const float a = at(left, above), b = at(left + 1, above), c = at(left, above + 1), d = at(left + 1, above + 1);
        const float u = x - left, v = y - above;
        const float most = std::max(std::max(a, b), std::max(c, d)), least = std::min(std::min(a, b), std::min(c, d));
        if (!(most - least < sharp)) return v > 0.5f ? (u > 0.5f ? d : c) : (u > 0.5f ? b : a);
        const float upper = a + u * (b - a), lower = c + u * (d - c);
        return upper + v * (lower - upper);
    }

    // What is seen at the pixel, and the nearest that is seen there or beside it.
    void seen_at(float column, float row, float& here, float& nearest) const {
        const int i = int(column), j = int(row);
        here = nearest = distance_[int64_t(j) * width_ + i];
        for (int r = std::max(j - 1, 0); r <= std::min(j + 1, height_ - 1); ++r)
            for (int c = std::max(i - 1, 0); c <= std::min(i + 1, width_ - 1); ++c)
                nearest = std::min(nearest, distance_[int64_t(r) * width_ + c]);
    }

private:
    // From a ray of the camera to where it is drawn, focal lengths from the principal point.
    void bend(float depth, float& x, float& y) const {
        const float across = std::sqrt(x * x + y * y);
        const float factor = lens_.fisheye > 0 && across > 0 ? std::atan2(across, depth) / across : 1 / depth;
        const float a = x * factor, b = y * factor;
        distort(lens_, radial_at(lens_, a * a + b * b).factor, a, b, x, y);
    }

    const float *pose_, *focal_, *center_;
    const Lens& lens_;
    int width_, height_;
    const float* distance_;
    bool bent_;
};

// Where points are in a picture.
struct Projected {
    float column[POINTS_AT_ONCE], row[POINTS_AT_ONCE], away[POINTS_AT_ONCE];
};

// Calls work(first, n) for blocks of points.
template <class Work> static void for_each_block(int64_t n, int threads, Work work) {
    Pool::shared().run((n + POINTS_AT_ONCE - 1) / POINTS_AT_ONCE, threads, [&](int64_t block, int) {
        const int64_t first = block * POINTS_AT_ONCE;
        work(first, int(std::min<int64_t>(POINTS_AT_ONCE, n - first)));
    });
}

static void fuse(const FusionCall& call) {
    for_each_block(call.n, call.threads, [&](int64_t first, int n) {
        Projected at;
        float total[POINTS_AT_ONCE] = {}, weight[POINTS_AT_ONCE] = {};
        for (int camera = 0; camera < call.views.n_cameras; ++camera) {
            const SightView view(call.views, camera);
            view.project(call.points + 3 * first, n, at.column, at.row, at.away);
            for (int i = 0; i < n; ++i) {
                if (at.away[i] < 0) continue;
                const float seen = view.seen_between(at.column[i], at.row[i], call.reach);
                const float gap = std::min((seen - at.away[i]) / call.reach, 1.0f);
                const float share = gap > 0 ? call.through : gap >= -1 ? 1.0f : 0.0f;
                total[i] += share * std::max(gap, -1.0f);
                weight[i] += share;
            }
        }
        for (int i = 0; i < n; ++i) call.value[first + i] = weight[i] > 0 ? -total[i] / std::max(weight[i], 1.0f) : 1;
    });
}

static void find_witnesses(const WitnessCall& call) {
    for_each_block(call.n, call.threads, [&](int64_t first, int n) {
        Projected at;
        int which[POINTS_AT_ONCE], missing[POINTS_AT_ONCE], left = 0;  // the points that lack witnesses, and how many
        float points[3 * POINTS_AT_ONCE];
        for (int i = 0; i < n; ++i) {
            call.witnessed[first + i] = call.enough[first + i] <= 0;
            if (call.witnessed[first + i]) continue;
            std::copy_n(call.points + 3 * (first + i), 3, points + 3 * left);
            missing[left] = call.enough[first + i], which[left++] = i;
        }
        for (int camera = 0; camera < call.views.n_cameras && left > 0; ++camera) {
            const SightView view(call.views, camera);
            view.project(points, left, at.column, at.row, at.away);
            int kept = 0;
            for (int k = 0; k < left; ++k) {
                const int64_t i = first + which[k];
                bool witness = false;
                if (at.away[k] >= 0) {
                    const auto agrees = [&](float seen) {
                        return seen - at.away[k] > -call.behind[i] && seen - at.away[k] <= call.before[i];
                    };
                    if (call.sharp > 0) {
                        witness = agrees(view.seen_between(at.column[k], at.row[k], call.sharp));
                    } else {
                        float here, nearest;
                        view.seen_at(at.column[k], at.row[k], here, nearest);
                        witness = agrees(here) || agrees(nearest);
                    }
                }
                if (witness && --missing[k] == 0) {
                    call.witnessed[i] = 1;
                    continue;
                }
                std::copy_n(points + 3 * k, 3, points + 3 * kept);
                missing[kept] = missing[k], which[kept++] = which[k];
            }
            left = kept;
        }
    });
}

static void find_best_views(const BestViewsCall& call) {
    const int count = call.count;
    for_each_block(call.n, call.threads, [&](int64_t first, int n) {
        Projected at;
        std::fill_n(call.cameras + first * count, int64_t(n) * count, -1);
        std::fill_n(call.shares + first * count, int64_t(n) * count, 0.0f);
        for (int camera = 0; camera < call.views.n_cameras; ++camera) {
            const SightView view(call.views, camera);
            const float *pose = call.views.poses + 12 * camera, focal = call.views.focal[2 * camera];
            view.project(call.points + 3 * first, n, at.column, at.row, at.away);
            for (int i = 0; i < n; ++i) {
                if (!(at.away[i] > 0)) continue;
                float facing = 0;
                for (int axis = 0; axis < 3; ++axis) {
                    const int64_t place = 3 * (first + i) + axis;
                    facing += (pose[4 * axis + 3] - call.points[place]) * call.normals[place];
                }
                const float cosine = facing / at.away[i], sharpness = cosine * focal / at.away[i];
                const float share = sharpness * sharpness;
                int32_t* cameras = call.cameras + (first + i) * count;
                float* shares = call.shares + (first + i) * count;
                if (!(cosine > call.least_cosine) || !(share > shares[count - 1])) continue;
                const float seen = view.seen_between(at.column[i], at.row[i], call.slack);
                if (!(std::abs(seen - at.away[i]) < call.slack)) continue;
                int place = count - 1;
                for (; place > 0 && share > shares[place - 1]; --place)
                    shares[place] = shares[place - 1], cameras[place] = cameras[place - 1];
                shares[place] = share, cameras[place] = camera;
            }
        }
    });
}

}  // namespace nerf

using namespace nerf;

NERF_EXPORT int nerf_fuse(const FusionCall* call) {
    return guarded([&] { fuse(checked(call)); });
}
NERF_EXPORT int nerf_find_best_views(const BestViewsCall* call) {
    return guarded([&] { find_best_views(checked(call)); });
}
NERF_EXPORT int nerf_find_witnesses(const WitnessCall* call) {
    return guarded([&] { find_witnesses(checked(call)); });
}
