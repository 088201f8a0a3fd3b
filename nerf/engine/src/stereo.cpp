// Depths of many pictures, each by one thread.
#include "stereo.h"

#include <memory>

#include "interface.h"
#include "threads.h"

namespace nerf {

void find_depths(const StereoCall& call) {
    std::vector<std::unique_ptr<Sweep>> sweeps(call.threads);
    Pool::shared().run(call.count, call.threads, [&](int64_t number, int thread) {
        if (!sweeps[thread]) sweeps[thread] = std::make_unique<Sweep>(call);
        sweeps[thread]->run(call.first + number);
    });
}

}  // namespace nerf

NERF_EXPORT int nerf_stereo(const nerf::StereoCall* call) {
    return nerf::guarded([&] { nerf::find_depths(nerf::checked(call)); });
}
