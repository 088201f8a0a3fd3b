// Adam (Kingma and Ba 2015), with bias corrections of the whole run.
#pragma once

#include "lanes.h"

namespace nerf {

struct AdamStep {
    float rate, beta1, beta2, epsilon;
    float correction1, correction2;  // 1 - beta^(steps taken, this one included)

    AdamStep(float rate, float beta1, float beta2, float epsilon, int64_t number)
        : rate(rate),
          beta1(beta1),
          beta2(beta2),
          epsilon(epsilon),
          correction1(float(1 - std::pow(double(beta1), double(number)))),
          correction2(float(1 - std::pow(double(beta2), double(number)))) {}
};

struct Moments {
    float* first;
    float* second;
};

// One pack of parameters. SPARSE: lanes without gradient keep value and moments, as if they took no part in the step;
// a late first update is (1 - beta1) / sqrt(1 - beta2) of the rate: 0.45 with (0.9, 0.95).
template <bool SPARSE> inline void adam(const AdamStep& step, Pack<float> grad, float* parameter, Moments moments) {
    const Pack<float> old_m = load(moments.first), old_v = load(moments.second), old = load(parameter);
    const Pack<float> m = step.beta1 * old_m + (1 - step.beta1) * grad;
    const Pack<float> v = step.beta2 * old_v + (1 - step.beta2) * grad * grad;
    const Pack<float> scale = square_root(v * (1 / step.correction2)) + step.epsilon;
    const Pack<float> moved = old - (step.rate / step.correction1) * m / scale;
    const auto touched = grad != 0;
    store(moments.first, SPARSE ? (touched ? m : old_m) : m);
    store(moments.second, SPARSE ? (touched ? v : old_v) : v);
    store(parameter, SPARSE ? (touched ? moved : old) : moved);
}

// Any number of parameters of a network, none of them sparse.
inline void adam_all(const AdamStep& step, const float* grad, int64_t n, float* parameter, Moments moments) {
    constexpr int lanes = LANES<float>;
    for (int64_t at = 0; at < n; at += lanes) {
        float part[4][lanes] = {};
        const size_t bytes = size_t(n - at < lanes ? n - at : lanes) * sizeof(float);
        std::memcpy(part[0], grad + at, bytes);
        std::memcpy(part[1], parameter + at, bytes);
        std::memcpy(part[2], moments.first + at, bytes);
        std::memcpy(part[3], moments.second + at, bytes);
        adam<false>(step, load(part[0]), part[1], {part[2], part[3]});
        std::memcpy(parameter + at, part[1], bytes);
        std::memcpy(moments.first + at, part[2], bytes);
        std::memcpy(moments.second + at, part[3], bytes);
    }
}

}  // namespace nerf
