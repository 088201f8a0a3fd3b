"""Front-to-back compositing of packed samples (Max 1995; Mildenhall et al. 2020, equation 3).

Sample i of a ray has optical thickness tau_i = sigma_i * step. The part of the light that reaches it
is the transmittance T_i = exp(-sum of tau_j, j < i), so that its weight is w_i = T_i * (1 - exp(-tau_i)).
Colour is sum w_i c_i (over black), opacity is sum w_i, depth is sum w_i t_i (not divided by opacity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.ops.autograd import Inputs, NativeOp, is_native
from nerf.ops.march import Samples


@dataclass(frozen=True)
class Rendering:
    """What R rays see."""

    rgb: Tensor  # (R, 3), over black
    opacity: Tensor  # (R,), in [0, 1]
    depth: Tensor  # (R,), scene units times opacity


def transmittance(tau: Tensor, ray: Tensor, n_rays: int) -> Tensor:
    """Returns T (S,): the part of the light that reaches each sample, 1 for the first of a ray.

    tau: (S,) optical thickness >= 0. ray: (S,) int64, non-decreasing.
    """
    return torch.exp(-in_front(tau, ray, n_rays)).to(tau.dtype)


def in_front(value: Tensor, ray: Tensor, n_rays: int) -> Tensor:
    """Returns the sum (S,), float64, of `value` over the samples in front of each on its ray; differentiable."""
    # One running sum over all rays, less its value where the ray starts: float64 keeps the difference exact enough.
    running = value.double().cumsum(0) - value
    count = torch.bincount(ray, minlength=n_rays)
    return running - running[(count.cumsum(0) - count)[ray]]


def weights(tau: Tensor, ray: Tensor, n_rays: int) -> Tensor:
    """Returns w (S,), differentiable in tau; see `transmittance`."""
    return transmittance(tau, ray, n_rays) * -torch.expm1(-tau)


def distance_at(sigma: Tensor, samples: Samples, level: float) -> Tensor:
    """Returns the distance (R,) at which `level` of a ray's light is left; infinite where more than that goes through.

    Density counts as constant over a step, with the sample in its middle. sigma: (S,) per scene unit.
    """
    tau = sigma * samples.step
    before = transmittance(tau, samples.ray, samples.n_rays)

    # Inside the step that crosses the level, light falls exponentially.
    crosses = (before > level) & (before * torch.exp(-tau) <= level)
    part = (before[crosses] / level).log() / tau[crosses]

    distance = torch.full((samples.n_rays,), math.inf, dtype=sigma.dtype)
    distance[samples.ray[crosses]] = samples.t[crosses].to(sigma.dtype) + (part - 0.5) * samples.step
    return distance


def composite(sigma: Tensor, rgb: Tensor, samples: Samples, backend: str = "reference") -> Rendering:
    """Returns the colour, opacity and depth of every ray.

    Args:
        sigma: (S,) density per scene unit, >= 0.
        rgb: (S, 3).
        samples: where the S samples lie.
        backend: see `nerf.ops.autograd`.

    Differentiable in sigma and rgb by the analytic gradient: once by the reference, twice by the
    native backend, whose second gradient goes through `composite_reference`. Not differentiable in t:
    where samples lie is given.

    Raises:
        ValueError: sizes differ, or t wants a gradient.
    """
    n = len(samples)
    if sigma.shape != (n,) or rgb.shape != (n, 3):
        raise ValueError(f"composite: {n} samples, but sigma {tuple(sigma.shape)} and rgb {tuple(rgb.shape)}")
    if samples.t.requires_grad:
        raise ValueError("composite: not differentiable in samples.t; detach it, or use composite_reference")

    if is_native(backend):
        return _native_composite(sigma, rgb, samples)
    return Rendering(*_Composite.apply(sigma, rgb, samples.t, samples.ray, samples.step, samples.n_rays))


def _native_composite(sigma: Tensor, rgb: Tensor, samples: Samples) -> Rendering:
    from nerf.engine import bindings as ops

    first = torch.zeros(samples.n_rays + 1, dtype=torch.int64)
    first[1:] = torch.bincount(samples.ray, minlength=samples.n_rays).cumsum(0)
    t = samples.t.to(sigma.dtype).contiguous()

    def value(inputs: Inputs) -> Tensor:
        tau, rgb = inputs
        return ops.composite(tau, rgb, t, first)

    def vjp(inputs: Inputs, grad: Tensor, needed: tuple[bool, ...]) -> tuple[Tensor, Tensor]:
        tau, rgb = inputs
        return ops.composite_vjp(tau, rgb, t, first, grad)

    def reference(inputs: Inputs) -> Tensor:
        tau, rgb = inputs
        seen = composite_reference(tau, rgb, Samples(samples.ray, t, 1.0, samples.n_rays))
        return torch.cat([seen.rgb, seen.opacity[:, None], seen.depth[:, None]], dim=1)

    pixel = NativeOp(value, vjp, reference)(sigma * samples.step, rgb)
    return Rendering(pixel[:, :3], pixel[:, 3], pixel[:, 4])


def composite_reference(sigma: Tensor, rgb: Tensor, samples: Samples) -> Rendering:
    """Returns the same as `composite`, differentiated by autograd: the text that tests compare with."""
    return Rendering(*_sums(sigma, rgb, samples.t, samples.ray, samples.step, samples.n_rays)[:3])


def _sums(sigma: Tensor, rgb: Tensor, t: Tensor, ray: Tensor, step: float, n_rays: int) -> tuple[Tensor, ...]:
    tau = sigma * step
    before = transmittance(tau, ray, n_rays)
    weight = before * -torch.expm1(-tau)

    def per_ray(value: Tensor) -> Tensor:
        return torch.zeros(n_rays, *value.shape[1:], dtype=value.dtype).index_add(0, ray, value)

    return per_ray(weight[:, None] * rgb), per_ray(weight), per_ray(weight * t), weight, before


class _Composite(torch.autograd.Function):
    """With g_i the loss gradient by w_i: dL/dtau_k = g_k T_{k+1} - sum of g_i w_i over i > k on the same ray."""

    @staticmethod
    def forward(
        ctx, sigma: Tensor, rgb: Tensor, t: Tensor, ray: Tensor, step: float, n_rays: int
    ) -> tuple[Tensor, ...]:
        *sums, weight, before = _sums(sigma, rgb, t, ray, step, n_rays)
        ctx.save_for_backward(rgb, t, ray, weight, before)
        ctx.step = step
        ctx.n_rays = n_rays
        return tuple(sums)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_color: Tensor, grad_opacity: Tensor, grad_depth: Tensor) -> tuple[Tensor | None, ...]:
        rgb, t, ray, weight, before = ctx.saved_tensors
        color = grad_color[ray]
        grad_weight = (color * rgb).sum(1) + grad_opacity[ray] + grad_depth[ray] * t

        # A thicker sample dims those behind it: the sum up to the end of the ray, less that up to the sample.
        share = (grad_weight * weight).double()
        running = share.cumsum(0)
        last = torch.bincount(ray, minlength=ctx.n_rays).cumsum(0) - 1
        behind = (running[last[ray]] - running).to(weight.dtype)

        grad_tau = grad_weight * (before - weight) - behind
        return grad_tau * ctx.step, color * weight[:, None], None, None, None, None
