"""Places in photographs: read as degrees, turned into metres, and believed where they fit the cameras."""

import dataclasses
import math

import pytest
import torch
from PIL import Image

from nerf.capture.scale import in_metres, place_of, scale_by_gps
from nerf.scenes import Views
from tests.ball import cameras_round

HERE = (-33.8568, 151.2153)  # degrees


def write_photo(file, latitude, longitude, altitude):
    """Writes a small photograph with its place in EXIF."""
    parts = [abs(latitude), abs(longitude)]
    degrees = [(math.floor(x), math.floor(x % 1 * 60), x * 60 % 1 * 60) for x in parts]
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(
        {
            1: "S" if latitude < 0 else "N", 2: degrees[0], 3: "W" if longitude < 0 else "E", 4: degrees[1],
            5: b"\x01" if altitude < 0 else b"\x00", 6: abs(altitude),
        }
    )  # fmt: skip
    Image.new("RGB", (8, 8)).save(file, exif=exif)


def views_at(tmp_path, metres, noise=0.0):
    """Returns views whose photographs note where their cameras stand, if a scene unit is so long; `noise` in metres."""
    cameras = cameras_round(8)
    eye = cameras.world_from_camera[:, :, 3].double() * metres
    eye += noise * torch.randn(eye.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    files = []
    for frame, (east, north, up) in enumerate(eye.tolist()):
        latitude = HERE[0] + north / 110922.0  # metres a degree there
        longitude = HERE[1] + east / (111320.0 * math.cos(math.radians(HERE[0])) * 1.00104)
        files.append(tmp_path / f"{frame}.jpg")
        write_photo(files[-1], latitude, longitude, up - 5.0)
    images = torch.zeros(8, cameras.height, cameras.width, 3, dtype=torch.uint8)
    return Views(tuple(map(str, range(8))), images, 255, cameras, files=tuple(map(str, files)))


def test_places_are_read_with_their_signs(tmp_path):
    write_photo(tmp_path / "a.jpg", *HERE, -3.5)
    assert place_of(tmp_path / "a.jpg") == pytest.approx((*HERE, -3.5), abs=1e-6)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_text("no photograph")
    write_photo(tmp_path / "d.jpg", 95.0, 0.0, 0.0)
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (45.0,) * 400, 3: "E", 4: (9.0, 0.0, 0.0), 5: b"\x00", 6: 1.0})
    Image.new("RGB", (8, 8)).save(tmp_path / "e.jpg", exif=exif)
    assert place_of(tmp_path / "e.jpg") == pytest.approx((45 * (1 + 1 / 60 + 1 / 3600), 9.0, 1.0))  # the rest is noise
    assert place_of(tmp_path / "b.jpg") is place_of(tmp_path / "c.jpg") is place_of(tmp_path / "d.jpg") is None


def test_a_degree_is_as_long_as_the_ellipsoid_says():
    east, north, up = in_metres([(45.0, 179.9, 0.0), (45.0, -179.9, 0.0), (45.1, 179.9, 7.0)]).unbind(1)
    assert east[1].item() == pytest.approx(0.2 * 78847, rel=1e-3)  # across the date line
    assert north[2].item() == pytest.approx(0.1 * 111132, rel=1e-3) and up[2] == 7


@pytest.mark.parametrize("metres", [0.8, 25.0])
def test_cameras_and_places_tell_the_scale(tmp_path, metres):
    scale, said = scale_by_gps(views_at(tmp_path, metres))
    assert scale is not None and scale.metres == pytest.approx(metres, rel=2e-3)
    assert said == scale.words and "GPS of 8 photographs" in said


def test_places_that_are_too_coarse_for_the_cameras_tell_nothing(tmp_path):
    scale, said = scale_by_gps(views_at(tmp_path, 0.8, noise=3.0))
    assert scale is None and "too coarse" in said and "--measure" in said


def test_photographs_without_places_or_all_in_one_say_nothing(tmp_path):
    views = views_at(tmp_path, 1.0)
    assert scale_by_gps(dataclasses.replace(views, files=())) == (None, "")
    assert scale_by_gps(dataclasses.replace(views, files=views.files[:1] * 8)) == (None, "")
