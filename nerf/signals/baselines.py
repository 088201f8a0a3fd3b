"""Classical methods beside a fitted field: FBP and SART of scikit-image; zero filling and total variation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.signals.scanners.ct import Scan
from nerf.signals.scanners.mri import from_k_space

FILTERS = ("ramp", "shepp-logan", "cosine", "hamming", "hann")


def missing_baselines(scan: Scan) -> str:
    """Returns why scikit-image cannot reconstruct from such a scan, in words; nothing if it can."""
    x, y, _ = scan.spacing
    if scan.beam != "parallel":
        return f"scikit-image reconstructs from parallel beams, not from a {scan.beam} beam"
    if abs(x - y) > 1e-3 * x:
        return f"scikit-image reconstructs square voxels only; these are {x:g} x {y:g} mm"
    return ""


def filtered_back_projection(scan: Scan, sinogram: Tensor, filter_name: str = "ramp") -> Tensor:
    """Returns the reconstruction (X, Y, Z), at least 0, of line integrals (V, D, Z), mm; slice by slice.

    Raises:
        InputError: scikit-image cannot reconstruct from such a scan.
    """
    from skimage.transform import iradon

    def one(projections: numpy.ndarray, degrees: numpy.ndarray) -> numpy.ndarray:
        return iradon(projections, degrees, filter_name=filter_name, circle=True)

    return _slice_by_slice(scan, sinogram, one).clamp(min=0)


def sart(scan: Scan, sinogram: Tensor, start: Tensor | None = None) -> Tensor:
    """Returns the reconstruction (X, Y, Z) by one more iteration over all views than `start` is by, at least 0.

    Source: Andersen and Kak 1984, as scikit-image has it, with its relaxation.

    Raises:
        InputError: scikit-image cannot reconstruct from such a scan.
    """
    from skimage.transform import iradon_sart

    def one(projections: numpy.ndarray, degrees: numpy.ndarray, image: numpy.ndarray | None = None) -> numpy.ndarray:
        return iradon_sart(projections, degrees, image=image, clip=(0.0, numpy.inf))

    return _slice_by_slice(scan, sinogram, one, start)


def sart_iterations(scan: Scan, sinogram: Tensor, most: int) -> Iterator[Tensor]:
    """Yields the reconstructions after 1, 2, ... `most` iterations of SART."""
    image = None
    for _ in range(most):
        image = sart(scan, sinogram, image)
        yield image


def _slice_by_slice(
    scan: Scan, sinogram: Tensor, reconstruct: Callable[..., numpy.ndarray], start: Tensor | None = None
) -> Tensor:
    """Returns (X, Y, Z) of a method for single slices.

    reconstruct: projections (D, V), in voxels, degrees (V,) and perhaps an image (D, D) to start from -> image (D, D).
    """
    missing = missing_baselines(scan)
    if missing:
        raise InputError(missing)

    # scikit-image's pictures are as wide as the row of detectors; the volume is their middle.
    size = scan.detectors
    first = [size // 2 - side // 2 for side in scan.shape[:2]]
    inner = tuple(slice(low, low + side) for low, side in zip(first, scan.shape[:2]))
    degrees = numpy.degrees(scan.angles.numpy().astype(numpy.float64))

    result = torch.empty(scan.shape)
    for z in range(scan.shape[2]):
        projections = sinogram[:, :, z].T.double().numpy() / scan.pitch
        if start is None:
            image = reconstruct(projections, degrees)
        else:
            padded = numpy.zeros((size, size))
            padded[inner] = start[:, :, z].numpy()
            image = reconstruct(projections, degrees, padded)
        result[:, :, z] = torch.from_numpy(image[inner].astype(numpy.float32))
    return result


def zero_filled(measured: Tensor) -> Tensor:
    """Returns slices (..., X, Y), at least 0, of k-space (..., X, Y) that is 0 where nothing was measured."""
    return from_k_space(measured).real.clamp(min=0)


def total_variation_reconstruction(
    measured: Tensor, mask: Tensor, weight: float, iterations: int = 400, axes: int = 2
) -> Tensor:
    """Returns real slices (Z, X, Y), at least 0: argmin of |mask F x - measured|^2 / 2 + weight * TV(x).

    Args:
        measured: (Z, X, Y) complex k-space, 0 where not measured. mask: (Z, X, Y) bool.
        axes: 2: isotropic variation within slices; 3: across them too.

    Source: Lustig, Donoho and Pauly 2007 (the functional); Chambolle and Pock 2011, algorithm 1 (how it is minimised).
    """
    # Step lengths of the two problems: their product times the squared norm of the gradient is 1.
    squared_norm = 4.0 * axes
    tau = 10.0
    sigma = 1 / (squared_norm * tau)

    # x is real, so that a frequency is measured by its opposite too: the quadratic in Fourier space with both.
    half_mask = torch.fft.ifftshift((mask + _opposite(mask.float())) / 2, dim=(-2, -1))
    half_measured = torch.fft.ifftshift((measured + _opposite(measured).conj()) / 2, dim=(-2, -1))

    x = torch.fft.ifft2(half_measured / half_mask.clamp(min=0.5), norm="ortho").real
    ahead = x.clone()
    dual = torch.zeros(axes, *x.shape)
    for _ in range(iterations):
        # Ascend in the dual variable, and project it onto the ball whose radius is the weight.
        dual += sigma * _gradient(ahead, axes)
        dual *= weight / dual.square().sum(0).sqrt().clamp(min=weight)

        # Descend in x: the proximal step of the misfit is a division in Fourier space.
        moved = torch.fft.fft2(x + tau * _divergence(dual), norm="ortho")
        after = torch.fft.ifft2((moved + tau * half_measured) / (1 + tau * half_mask), norm="ortho").real
        ahead = 2 * after - x
        x = after
    return x.clamp(min=0)


def _opposite(values: Tensor) -> Tensor:
    """Returns centred k-space (..., X, Y) with the frequency -f where f was."""
    shifted = torch.fft.ifftshift(values, dim=(-2, -1)).flip(-2, -1).roll((1, 1), (-2, -1))
    return torch.fft.fftshift(shifted, dim=(-2, -1))


def _gradient(x: Tensor, axes: int) -> Tensor:
    """Returns forward differences (axes, Z, X, Y) along the last axes, 0 beyond the end."""
    result = torch.zeros(axes, *x.shape)
    for number, axis in enumerate(range(3 - axes, 3)):
        length = x.shape[axis] - 1
        result[number].narrow(axis, 0, length).copy_(x.diff(dim=axis))
    return result


def _divergence(dual: Tensor) -> Tensor:
    """Returns minus the adjoint of `_gradient` of (axes, Z, X, Y)."""
    axes = len(dual)
    result = torch.zeros(dual.shape[1:])
    for number, axis in enumerate(range(3 - axes, 3)):
        length = dual.shape[1 + axis] - 1
        flow = dual[number].narrow(axis, 0, length)
        result.narrow(axis, 0, length).add_(flow)
        result.narrow(axis, 1, length).sub_(flow)
    return result
