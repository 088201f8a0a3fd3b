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

}  // namespace nerf
