#include "baked.h"

#include "interface.h"
#include "pixels.h"
#include "threads.h"

namespace nerf {

constexpr int PIXELS_PER_JOB = 1024;

// Same layout as BakedCall in nerf/engine/signatures.py.
struct BakedCall {
    const Pixels* cameras;  // of which only the cameras are read
    float* rgb;             // (height, width, 3)
    float* opacity;         // (height, width)
    float* depth;           // (height, width)
    int32_t frame, threads;
};

static void render(const BakedScene& scene, const BakedCall& call) {
    const int64_t n = int64_t(call.cameras->width) * call.cameras->height;
    Pool::shared().run((n + PIXELS_PER_JOB - 1) / PIXELS_PER_JOB, call.threads, [&](int64_t job, int) {
        const int64_t end = std::min(n, (job + 1) * PIXELS_PER_JOB);
        for (int64_t i = job * PIXELS_PER_JOB; i < end; ++i) {
            float origin[3], direction[3];
            ray_through(*call.cameras, call.frame * n + i, origin, direction);
            const Pixel<float> pixel = see(scene, origin, direction);
            std::memcpy(call.rgb + 3 * i, pixel.rgb, sizeof pixel.rgb);
            call.opacity[i] = pixel.opacity;
            call.depth[i] = pixel.depth;
        }
    });
}

}  // namespace nerf

// The picture of one camera.
NERF_EXPORT int nerf_baked_render(const nerf::BakedScene* scene, const nerf::BakedCall* call) {
    return nerf::guarded([&] { nerf::render(*scene, *call); });
}
