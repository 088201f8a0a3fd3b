#include <memory>

#include "interface.h"
#include "radiance_step.h"
#include "render_vjp.h"
#include "views_vjp.h"

namespace nerf {

#if defined(__AVX512BF16__)
using Arithmetic = Bfloat16;
#else
using Arithmetic = Full<float>;
#endif
using Model = Radiance<Arithmetic>;

}  // namespace nerf

// Null after a failure.
NERF_EXPORT nerf::Model* nerf_radiance_new(const nerf::RadianceSpec* spec) {
    nerf::Model* model = nullptr;
    nerf::guarded([&] { model = new nerf::Model(nerf::checked(spec)); });
    return model;
}

NERF_EXPORT void nerf_radiance_free(nerf::Model* model) { delete model; }

NERF_EXPORT int nerf_radiance_refresh(nerf::Model* model, int threads) {
    return nerf::guarded([&] {
        nerf::Fields("refresh").threads(threads);
        nerf::present(model).refresh(threads);
    });
}

NERF_EXPORT int nerf_radiance_step(nerf::Model* model, const nerf::StepCall* call, nerf::StepReport* report) {
    return nerf::guarded([&] {
        const nerf::RadianceSpec& spec = nerf::present(model).spec();
        if (!nerf::checked(call, spec).gradients) nerf::check_moments(*call, spec);
        nerf::present(report) = model->step(*call);
    });
}

// The other half of a step that only computed gradients; see Radiance::descend.
NERF_EXPORT int nerf_radiance_descend(nerf::Model* model, const nerf::StepCall* call) {
    return nerf::guarded([&] {
        const nerf::RadianceSpec& spec = nerf::present(model).spec();
        nerf::check_moments(nerf::checked(call, spec), spec);
        model->descend(*call);
    });
}

NERF_EXPORT int nerf_radiance_update_occupancy(nerf::Model* model, const nerf::OccupancyCall* call) {
    return nerf::guarded([&] {
        nerf::Model& here = nerf::present(model);
        here.update_occupancy(nerf::checked(call, here.spec()));
    });
}

NERF_EXPORT int nerf_radiance_render(nerf::Model* model, const nerf::RenderCall* call) {
    return nerf::guarded([&] {
        nerf::Model& here = nerf::present(model);
        here.render(nerf::checked(call, here.spec()));
    });
}

NERF_EXPORT int nerf_radiance_render_vjp(nerf::Model* model, const nerf::RenderCall* call,
                                         const nerf::RenderGradients* gradients) {
    return nerf::guarded([&] {
        const nerf::RadianceSpec& spec = nerf::present(model).spec();
        model->render_vjp(nerf::checked(call, spec), nerf::checked(gradients, spec));
    });
}

NERF_EXPORT int nerf_radiance_surface(nerf::Model* model, const nerf::SurfaceCall* call) {
    return nerf::guarded([&] {
        nerf::Model& here = nerf::present(model);
        here.surface(nerf::checked(call, here.spec()));
    });
}

NERF_EXPORT int nerf_radiance_density(nerf::Model* model, const float* position, int64_t n, float* out, int threads) {
    return nerf::guarded([&] {
        nerf::check_positions(position, n, out, threads);
        nerf::present(model).density(position, n, out, threads);
    });
}

// The rays and pixels that training draws as numbers first .. first + n - 1.
NERF_EXPORT int nerf_draw(const nerf::Pixels* pixels, uint64_t seed, int64_t first, int64_t n,
                          const nerf::DrawnRays* out) {
    return nerf::guarded([&] {
        const nerf::DrawnRays& rays = nerf::checked(out, first, n);
        nerf::draw(nerf::checked(pixels), seed, uint64_t(first), int(n), rays);
    });
}
