"""How long a scene unit is, from where phones and drones say that their photographs were taken (GPS in EXIF)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.scale import RANGE, Scale, best_similarity
from nerf.scenes import Views
from nerf.scenes.pictures import exif_tags, open_picture

GPS = 0x8825  # EXIF's table of the place; its entries:
LATITUDE, LONGITUDE, ALTITUDE = (1, 2), (3, 4), (5, 6)  # the sign's letter or byte, and degrees, or metres
FEWEST = 5  # photographs with a place
COARSEST = 0.1  # of the places' spread, by which they may miss the cameras' (root mean squares)
EQUATOR = 6378137.0  # radius of the WGS 84 ellipsoid, metres
FLATNESS = 0.0066943799901  # its first eccentricity, squared

Place = tuple[float, float, float]  # latitude and longitude, degrees; altitude, metres


def scale_by_gps(views: Views) -> tuple[Scale | None, str]:
    """Returns the scale that brings cameras nearest to the places in their photographs, and a sentence about it.

    Places of a phone are metres off: there is no scale where cameras stand too near to one another for them. The
    sentence is empty where photographs say nothing.
    """
    found = [(frame, place) for frame, file in enumerate(views.files) if (place := place_of(Path(file)))]
    if len(found) < FEWEST:
        return None, ""

    eye = views.cameras.world_from_camera[[frame for frame, _ in found], :, 3].double()
    place = in_metres([place for _, place in found])
    spread = (place - place.mean(0)).square().sum(1).mean().sqrt().item()
    if spread == 0 or not (eye - eye.mean(0)).any():
        return None, ""
    metres, moved = best_similarity(eye, place)
    missed = (moved - place).square().sum(1).mean().sqrt().item()
    how = f"GPS of {len(found)} photographs, {missed:.2g} m off in {spread:.3g} m"
    if not (missed <= COARSEST * spread and RANGE[0] <= metres <= RANGE[1]):
        return None, f"scale: not known ({how}: too coarse); nerf export --measure tells it"
    scale = Scale(metres, how)
    return scale, scale.words


def place_of(file: Path) -> Place | None:
    """Returns where a photograph says that it was taken; None if it does not, or cannot be opened as one."""
    try:
        with open_picture(file) as image:
            table = exif_tags(image).get_ifd(GPS)
        latitude, longitude = (
            math.copysign(1, -(str(table[letter]).upper() in ("S", "W")))
            * sum(float(part) / 60**power for power, part in enumerate(table[degrees][:3]))
            for letter, degrees in (LATITUDE, LONGITUDE)
        )
        below = table.get(ALTITUDE[0], 0) in (1, b"\x01")
        place = latitude, longitude, float(table[ALTITUDE[1]]) * (-1 if below else 1)
    except (InputError, OSError, ArithmeticError, LookupError, SyntaxError, TypeError, ValueError, struct.error):
        return None
    return place if all(map(math.isfinite, place)) and abs(place[0]) < 89 and abs(place[1]) <= 180 else None


def in_metres(places: Sequence[Place]) -> Tensor:
    """Returns places (N, 3) float64 as metres east, north and up of the first, on the ellipsoid's tangent there."""
    latitude, longitude, altitude = torch.tensor(places, dtype=torch.float64).unbind(1)
    sine = latitude[0].deg2rad().sin()
    across = EQUATOR / (1 - FLATNESS * sine**2).sqrt()
    along = across * (1 - FLATNESS) / (1 - FLATNESS * sine**2)
    turn = (longitude - longitude[0] + 180) % 360 - 180
    east = turn.deg2rad() * (across + altitude[0]) * latitude[0].deg2rad().cos()
    north = (latitude - latitude[0]).deg2rad() * (along + altitude[0])
    return torch.stack([east, north, altitude - altitude[0]], 1)
