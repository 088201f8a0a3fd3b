"""Lenses: how a camera bends what it sees, and back.

A lens is 12 numbers, in the order of `TERMS`; all zero is a pinhole. A ray (x, y, z) of the camera
has normalised image coordinates w: (x, y) / z or, for a fisheye, the angle from the axis times
(x, y) / sqrt(x^2 + y^2). `distort` moves w to where the lens draws it; focal length and principal
point take that to pixels. With w = (x, y) and r2 = |w|^2:

    radial       = (1 + k1 r2 + k2 r2^2 + k3 r2^3 + k4 r2^4) / (1 + d1 r2 + d2 r2^2 + d3 r2^3)
    distorted x  = radial x + 2 p1 x y + p2 (r2 + 2 x^2) + s1 r2
    distorted y  = radial y + 2 p2 x y + p1 (r2 + 2 y^2) + s2 r2

This covers the models of OpenCV and COLMAP (Brown 1966; Kannala and Brandt 2006 for fisheyes).
"""

from __future__ import annotations

import torch
from torch import Tensor

TERMS = ("fisheye", "k1", "k2", "k3", "k4", "d1", "d2", "d3", "p1", "p2", "s1", "s2")
NEWTON_STEPS = 8  # quadratic convergence: five reach float's precision on strong wide-angle lenses

# COLMAP's camera models: their number in binary files, and the names of their parameters in order.
COLMAP_MODELS: dict[str, tuple[int, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (0, ("f", "cx", "cy")),
    "PINHOLE": (1, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, ("f", "cx", "cy", "k1")),
    "RADIAL": (3, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "FULL_OPENCV": (6, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "d1", "d2", "d3")),
    "SIMPLE_RADIAL_FISHEYE": (8, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, ("f", "cx", "cy", "k1", "k2")),
    "THIN_PRISM_FISHEYE": (10, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "s1", "s2")),
    "SIMPLE_FISHEYE": (14, ("f", "cx", "cy")),
    "FISHEYE": (15, ("fx", "fy", "cx", "cy")),
}


def lens_terms(fisheye: bool, values: dict[str, float]) -> list[float]:
    """Returns the 12 numbers of a lens from its non-zero terms by name; other names are ignored."""
    return [float(fisheye), *(float(values.get(name, 0.0)) for name in TERMS[1:])]


def distort(lens: Tensor, normalized: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distorted coordinates (N, 2) of normalised ones (N, 2), and their derivative (N, 2, 2).

    lens: (N, 12), or (12,) for all.
    """
    _, k1, k2, k3, k4, d1, d2, d3, p1, p2, s1, s2 = lens.unbind(-1)
    x, y = normalized.unbind(-1)
    r2 = x * x + y * y

    above = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    below = 1 + r2 * (d1 + r2 * (d2 + r2 * d3))
    radial = above / below
    distorted_x = radial * x + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2
    distorted_y = radial * y + 2 * p2 * x * y + p1 * (r2 + 2 * y * y) + s2 * r2

    # slope is the derivative of radial by r2.
    slope = (k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k4)) - radial * (d1 + r2 * (2 * d2 + r2 * 3 * d3))) / below
    cross = 2 * (slope * x * y + p1 * x + p2 * y)
    derivative = [
        radial + 2 * (slope * x * x + p1 * y + 3 * p2 * x + s1 * x),
        cross + 2 * s1 * y,
        cross + 2 * s2 * x,
        radial + 2 * (slope * y * y + p2 * x + 3 * p1 * y + s2 * y),
    ]
    return torch.stack([distorted_x, distorted_y], -1), torch.stack(derivative, -1).unflatten(-1, (2, 2))


def undistort(lens: Tensor, distorted: Tensor) -> Tensor:
    """Returns the normalised coordinates (N, 2) that lenses (N, 12) distort to `distorted` (N, 2).

    Beyond the fold of a lens's polynomial there are none: what is returned there is finite but no more.

    Source: Newton's method, with steps limited to 1.
    """
    normalized = distorted
    for _ in range(NEWTON_STEPS):
        found, derivative = distort(lens, normalized)
        a, b, c, d = derivative.flatten(-2).unbind(-1)
        determinant = a * d - b * c

        # At a fold the derivative is singular; the step is then none rather than infinite.
        inverse = torch.where(determinant.abs() > 1e-6, 1 / determinant, 0.0)
        x, y = (found - distorted).unbind(-1)
        step = torch.stack([d * x - b * y, a * y - c * x], -1) * inverse[..., None]
        normalized = normalized - step.clamp(-1, 1)
    return normalized


def ray_from_normalized(lens: Tensor, normalized: Tensor) -> Tensor:
    """Returns directions (N, 3) in the camera, of any length, of normalised coordinates (N, 2)."""
    angle = normalized.norm(dim=-1, keepdim=True)
    # sin(angle) / angle for a fisheye, with its limit 1 on the axis.
    bent = torch.cat([normalized * torch.sinc(angle / torch.pi), torch.cos(angle)], -1)
    straight = torch.cat([normalized, torch.ones_like(angle)], -1)
    return torch.where(lens[..., :1] > 0, bent, straight)


def normalized_from_point(lens: Tensor, point: Tensor) -> Tensor:
    """Returns normalised coordinates (N, 2) of points (N, 3) in the camera."""
    x_y = point[..., :2]
    z = point[..., 2:]
    across = x_y.norm(dim=-1, keepdim=True)
    bent = x_y * torch.where(across > 0, torch.atan2(across, z) / across, 1 / z)
    return torch.where(lens[..., :1] > 0, bent, x_y / z)
