#include "baked.h"

#include "interface.h"
#include "pixels.h"
#include "threads.h"

namespace nerf {

// Rays of neighbouring pixels lie in the lanes of a pack: a square of them, or two squares, share the most steps.
constexpr int ACROSS = LANES<float> >= 8 ? 4 : LANES<float> >= 4 ? 2 : 1, DOWN = LANES<float> / ACROSS;

// Read by nerf/engine/signatures.py.
struct BakedCall {
    const Pixels* cameras;  // of which only the cameras are read
    float* rgb;             // (height, width, 3)
    float* opacity;         // (height, width)
    float* depth;           // (height, width)
    int32_t first_row, rows;  // of the picture, which are rendered; they begin at a whole number of packs' rows
    int32_t frame, threads;
};

static void check(const BakedCall& call) {
    const Fields fields("BakedCall");
    check_cameras(present(call.cameras));
    fields.within<int32_t>("frame", call.frame, 0, call.cameras->n_frames - 1);
    fields.within<int32_t>("first_row", call.first_row, 0, call.cameras->height);
    fields.within<int32_t>("rows", call.rows, 0, call.cameras->height - call.first_row);
    fields.threads(call.threads);
    for (const float* array : {call.rgb, call.opacity, call.depth}) fields.present("pixels", array, call.rows > 0);
}

static void render(const BakedScene& scene, const BakedCall& call) {
    const int width = call.cameras->width, end = call.first_row + call.rows;
    Pool::shared().run((call.rows + DOWN - 1) / DOWN, call.threads, [&](int64_t job, int) {
        BakedRays rays;
        for (int left = 0, top = call.first_row + int(job) * DOWN; left < width; left += ACROSS) {
            Pack<float> column{}, row{}, origin[3], direction[3];
            for (int lane = 0; lane < LANES<float>; ++lane) {
                column[lane] = float(left + lane % ACROSS);
                row[lane] = float(top + lane / ACROSS);
            }
            ray_through(*call.cameras, call.frame, column, row, origin, direction);
            Pixel<float> pixels[LANES<float>];
            rays.see(scene, origin, direction, pixels);
            for (int lane = 0; lane < LANES<float>; ++lane) {
                const int x = left + lane % ACROSS, y = top + lane / ACROSS;
                if (x >= width || y >= end) continue;
                const size_t at = size_t(y) * width + x;
                std::memcpy(call.rgb + 3 * at, pixels[lane].rgb, sizeof pixels[lane].rgb);
                call.opacity[at] = pixels[lane].opacity;
                call.depth[at] = pixels[lane].depth;
            }
        }
    });
}

}  // namespace nerf

// The picture of one camera.
NERF_EXPORT int nerf_baked_render(const nerf::BakedScene* scene, const nerf::BakedCall* call) {
    return nerf::guarded([&] { nerf::render(nerf::checked(scene), nerf::checked(call)); });
}
