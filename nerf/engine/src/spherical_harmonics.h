// Real spherical harmonics of a unit direction, in tiny-cuda-nn's order and signs (with the Condon-Shortley phase).
// Source: Sloan 2013, "Efficient spherical harmonic evaluation", polynomial forms. V: float or double.
#pragma once

namespace nerf {

constexpr int LARGEST_DEGREE = 4;
constexpr int MOST_HARMONICS = LARGEST_DEGREE * LARGEST_DEGREE;

// Writes the first degree^2 harmonics: l = 0 .. degree - 1, within l from m = -l to l.
template <class V> inline void spherical_harmonics(V x, V y, V z, int degree, V* out) {
    const V xx = x * x, yy = y * y, zz = z * z;
    out[0] = V(0.28209479177387814);
    if (degree < 2) return;
    out[1] = -V(0.48860251190291987) * y;
    out[2] = V(0.48860251190291987) * z;
    out[3] = -V(0.48860251190291987) * x;
    if (degree < 3) return;
    out[4] = V(1.0925484305920792) * x * y;
    out[5] = -V(1.0925484305920792) * y * z;
    out[6] = V(0.94617469575755997) * zz - V(0.31539156525251999);
    out[7] = -V(1.0925484305920792) * x * z;
    out[8] = V(0.54627421529603959) * (xx - yy);
    if (degree < 4) return;
    out[9] = V(0.59004358992664352) * y * (yy - 3 * xx);
    out[10] = V(2.8906114426405538) * x * y * z;
    out[11] = V(0.45704579946446572) * y * (1 - 5 * zz);
    out[12] = V(0.3731763325901154) * z * (5 * zz - 3);
    out[13] = V(0.45704579946446572) * x * (1 - 5 * zz);
    out[14] = V(1.4453057213202769) * z * (xx - yy);
    out[15] = V(0.59004358992664352) * x * (3 * yy - xx);
}

// Writes the gradient by (x, y, z), taken as free, from that by the harmonics.
template <class V> inline void spherical_harmonics_vjp(V x, V y, V z, int degree, const V* grad, V* grad_direction) {
    const V xx = x * x, yy = y * y, zz = z * z;
    V gx = 0, gy = 0, gz = 0;
    if (degree > 1) {
        gx -= V(0.48860251190291987) * grad[3];
        gy -= V(0.48860251190291987) * grad[1];
        gz += V(0.48860251190291987) * grad[2];
    }
    if (degree > 2) {
        gx += V(1.0925484305920792) * (y * grad[4] - z * grad[7] + x * grad[8]);
        gy += V(1.0925484305920792) * (x * grad[4] - z * grad[5] - y * grad[8]);
        gz += V(1.89234939151512) * z * grad[6] - V(1.0925484305920792) * (y * grad[5] + x * grad[7]);
    }
    if (degree > 3) {
        const V a = 0.59004358992664352, b = 2.8906114426405538, c = 0.45704579946446572, d = 0.3731763325901154;
        const V e = 1.4453057213202769;
        gx += -6 * a * x * y * grad[9] + b * y * z * grad[10] + c * (1 - 5 * zz) * grad[13];
        gx += 2 * e * x * z * grad[14] + 3 * a * (yy - xx) * grad[15];
        gy += 3 * a * (yy - xx) * grad[9] + b * x * z * grad[10] + c * (1 - 5 * zz) * grad[11];
        gy += -2 * e * y * z * grad[14] + 6 * a * x * y * grad[15];
        gz += b * x * y * grad[10] - 10 * c * z * (y * grad[11] + x * grad[13]) + 3 * d * (5 * zz - 1) * grad[12];
        gz += e * (xx - yy) * grad[14];
    }
    grad_direction[0] = gx, grad_direction[1] = gy, grad_direction[2] = gz;
}

}  // namespace nerf
