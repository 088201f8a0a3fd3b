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
        constexpr int lanes = LANES<float>;
        BakedRays rays;
        float origin[3 * lanes], direction[3 * lanes];
        Pixel<float> pixels[lanes];
        const int64_t end = std::min(n, (job + 1) * PIXELS_PER_JOB);
        for (int64_t first = job * PIXELS_PER_JOB; first < end; first += lanes) {
            const int count = int(std::min<int64_t>(lanes, end - first));
            for (int ray = 0; ray < count; ++ray)
                ray_through(*call.cameras, call.frame * n + first + ray, origin + 3 * ray, direction + 3 * ray);
            rays.see(scene, origin, direction, count, pixels);
            for (int ray = 0; ray < count; ++ray) {
                std::memcpy(call.rgb + 3 * (first + ray), pixels[ray].rgb, sizeof pixels[ray].rgb);
                call.opacity[first + ray] = pixels[ray].opacity;
                call.depth[first + ray] = pixels[ray].depth;
            }
        }
    });
}

}  // namespace nerf

// The picture of one camera.
NERF_EXPORT int nerf_baked_render(const nerf::BakedScene* scene, const nerf::BakedCall* call) {
    return nerf::guarded([&] { nerf::render(*scene, *call); });
}
