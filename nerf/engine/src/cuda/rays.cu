// Kernels with a thread for a ray.
#include "cuda/launch.h"

// Reads pixels, training.{seed, first_ray}. Writes rays.{origin, direction, offset, rgba, measured}.
KERNEL draw_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    draw(work.pixels, work.training.seed, uint64_t(work.training.first_ray + ray), 1,
         {work.rays.origin + 3 * ray, work.rays.direction + 3 * ray, work.rays.offset + ray, work.rays.rgba + 4 * ray,
          nullptr, work.pixels.distances ? work.rays.measured + ray : nullptr, nullptr});
}

// Reads rays.{origin, direction, offset}, march, cells.{bits, empty}. Writes rays.count.
KERNEL march_count(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    int64_t count = 0;
    march(work, ray, [&](const float*, float) { ++count; });
    work.rays.count[ray] = count;
}

// Reads what march_count reads, samples.first. Writes samples.{x, y, z, t, ray}.
KERNEL march_fill(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    int64_t sample = work.samples.first[ray];
    march(work, ray, [&](const float* position, float t) {
        // Rounding may carry a sample just out of the box.
        work.samples.x[sample] = least(greatest(position[0], 0.0f), 1.0f);
        work.samples.y[sample] = least(greatest(position[1], 0.0f), 1.0f);
        work.samples.z[sample] = least(greatest(position[2], 0.0f), 1.0f);
        work.samples.ray[sample] = int32_t(ray);
        work.samples.t[sample++] = t;
    });
}

// What samples weigh, and how many of each ray are not too light.
// Reads samples.{first, density}, march. Writes values.weight, rays.{least, count}.
KERNEL weigh(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int64_t first = work.samples.first[ray], n = work.samples.first[ray + 1] - first;
    const float *density = work.samples.density + first, length = step_in_sides(work);
    float *weight = work.values.weight + first, thickness = 0, heaviest = 0;
    const int64_t reached = reached_samples(n, density, length, work.march.greatest_thickness, thickness, weight);
    for (int64_t i = 0; i < n; ++i) {
        weight[i] = i < reached ? sample_weight(weight[i], density[i] * length) : 0;
        heaviest = greatest(heaviest, weight[i]);
    }
    const float least = least_weight(heaviest, work.march.minimum_weight);
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += weight[i] >= least;
    work.rays.least[ray] = least;
    work.rays.count[ray] = count;
}

// Packs the samples that are not too light. Reads marched, samples.first, values.weight, rays.least. Writes
// samples.{x, y, z, t, ray}.
KERNEL gather(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    int64_t to = work.samples.first[ray];
    for (int64_t from = work.marched.first[ray]; from < work.marched.first[ray + 1]; ++from) {
        if (work.values.weight[from] < work.rays.least[ray]) continue;
        work.samples.x[to] = work.marched.x[from];
        work.samples.y[to] = work.marched.y[from];
        work.samples.z[to] = work.marched.z[from];
        work.samples.t[to] = work.marched.t[from];
        work.samples.ray[to++] = int32_t(ray);
    }
}

// Reads samples.{first, t}, values.passing, the colours. Writes rays.pixel, values.reaching.
KERNEL composite_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int64_t first = work.samples.first[ray];
    const float* rgb = work.field.layers[work.field.n_layers - 1].out;
    reinterpret_cast<Pixel<float>*>(work.rays.pixel)[ray] = composite<float>(
        work.samples.first[ray + 1] - first, work.values.passing + first, work.samples.t + first,
        [&](int64_t i, int c) { return column(rgb, GROUP, first + i)[c * BLOCK]; }, work.values.reaching + first);
}

// The gradients by the weights, of the distortion and of the distance loss.
// Reads rays.{origin, direction, offset, measured}, samples.{first, t}, values.{passing, reaching}. Writes
// values.{marched_at, grad_weight}.
KERNEL weights_losses(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int64_t first = work.samples.first[ray], n = work.samples.first[ray + 1] - first;
    const March<float> march = begin_march(work.rays.origin + 3 * ray, work.rays.direction + 3 * ray, work.march.space,
                                           work.march.step, work.rays.offset[ray]);
    for (int64_t i = first; i < first + n; ++i)
        work.values.marched_at[i] = marched_length(march, work.march.space, work.samples.t[i]);
    distortion_vjp(int(n), work.values.passing + first, work.values.reaching + first, work.values.marched_at + first,
                   step_in_sides(work), work.training.distortion, work.values.grad_weight + first);
    const float measured = work.pixels.distances ? work.rays.measured[ray] : 0;
    if (measured > 0)
        distance_vjp(int(n), work.values.marched_at + first, marched_length(march, work.march.space, measured),
                     work.training.distance_weight, work.values.grad_weight + first);
}

// Reads samples.{first, t}, values.{passing, reaching, grad_weight}, the colours, rays.grad_pixel. Writes
// values.grad_thickness, the gradients by the colours.
KERNEL composite_rays_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int64_t first = work.samples.first[ray];
    const LayerArrays& last = work.field.layers[work.field.n_layers - 1];
    const auto grad_rgb = [&](int64_t i, int c) -> float& {
        return column(last.grad_out, GROUP, first + i)[c * BLOCK];
    };
    const int64_t n = work.samples.first[ray + 1] - first;
    composite_vjp<float>(
        n, work.values.passing + first, work.samples.t + first,
        [&](int64_t i, int c) { return column(last.out, GROUP, first + i)[c * BLOCK]; }, work.values.reaching + first,
        reinterpret_cast<const Pixel<float>*>(work.rays.grad_pixel)[ray], work.values.grad_thickness + first, grad_rgb,
        work.values.grad_weight ? work.values.grad_weight + first : nullptr);
    fade_near(n, work.samples.t + first, work.training.near, work.values.grad_thickness + first, grad_rgb);
}

// Reads rays.{pixel, rgba}, training.{background, loss_scale}. Writes rays.{loss, grad_pixel}.
KERNEL photometric(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    work.rays.loss[ray] =
        photometric_loss(reinterpret_cast<const Pixel<float>*>(work.rays.pixel)[ray], work.rays.rgba + 4 * ray,
                         Background(work.training.background), work.training.loss_scale,
                         reinterpret_cast<Pixel<float>*>(work.rays.grad_pixel)[ray]);
}

// Reads samples.{first, t}, values.passing, march.{step, light_left}. Writes rays.distance.
KERNEL surface_rays(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int64_t first = work.samples.first[ray];
    work.rays.distance[ray] = distance_at(work.samples.first[ray + 1] - first, work.values.passing + first,
                                          work.samples.t + first, work.march.step, work.march.light_left);
}

// The gradients by a ray, from those by its samples' positions and by what the colour network sees of it.
// Reads rays.{origin, direction, offset}, samples.{first, t}, values.{grad_position, grad_inputs}. Writes
// rays.{grad_origin, grad_direction}.
KERNEL rays_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const LayerShape color = shape_of(work.field.layers[DENSITY_LAYERS]);
    const int given = shape_of(work.field.layers[1]).padded_outputs, degree = work.field.shape.direction_degree;
    const float* direction = work.rays.direction + 3 * ray;
    const March<float> march =
        begin_march(work.rays.origin + 3 * ray, direction, work.march.space, work.march.step, work.rays.offset[ray]);
    float inputs[MOST_HARMONICS] = {}, origin[3] = {}, along[3] = {}, turned[3];
    for (int64_t i = work.samples.first[ray]; i < work.samples.first[ray + 1]; ++i) {
        const float* in = column(work.values.grad_inputs, color.padded_inputs, i);
#pragma unroll
        for (int row = 0; row < MOST_HARMONICS; ++row)
            if (row < degree * degree) inputs[row] += in[(given + row) * BLOCK];
        float by_position[3];
        for (int axis = 0; axis < 3; ++axis) by_position[axis] = work.values.grad_position[3 * i + axis];
        position_vjp(march, work.march.space, work.samples.t[i], by_position);
        for (int axis = 0; axis < 3; ++axis) {
            origin[axis] += by_position[axis];
            along[axis] += by_position[axis] * work.samples.t[i];
        }
    }
    spherical_harmonics_vjp(direction[0], direction[1], direction[2], degree, inputs, turned);
    for (int axis = 0; axis < 3; ++axis) {
        work.rays.grad_origin[3 * ray + axis] = origin[axis];
        work.rays.grad_direction[3 * ray + axis] = along[axis] + turned[axis];
    }
}

// Number blockIdx.y of the rays' codes.
// Reads samples.first, values.grad_inputs. Writes rays.grad_code.
KERNEL codes_vjp(const Work __grid_constant__ work) {
    const int64_t ray = thread_number();
    if (ray >= work.rays.n_rays) return;
    const int inputs = shape_of(work.field.layers[DENSITY_LAYERS]).padded_inputs;
    const int row = shape_of(work.field.layers[1]).padded_outputs +
                    work.field.shape.direction_degree * work.field.shape.direction_degree + int(blockIdx.y);
    float sum = 0;
    for (int64_t i = work.samples.first[ray]; i < work.samples.first[ray + 1]; ++i)
        sum += column(work.values.grad_inputs, inputs, i)[row * BLOCK];
    work.rays.grad_code[ray * work.field.shape.code_size + blockIdx.y] = sum;
}
