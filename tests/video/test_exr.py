"""A film's frames as OpenEXR pictures hold what the model shows."""

import numpy
import pytest
import torch

from nerf.cli.main import main
from nerf.color import linear
from nerf.video.exr import FAR, write_frame
from nerf.video.frames import RenderedFrame
from tests.ball import ball_model, cameras_round
from tests.conftest import RADIUS

OpenEXR = pytest.importorskip("OpenEXR")


def read(file):
    with OpenEXR.File(str(file), separate_channels=True) as picture:
        return {name: channel.pixels.copy() for name, channel in picture.channels().items()}


def test_light_depth_and_normals_are_those_of_the_frame(tmp_path):
    cameras = cameras_round(count=6, size=40)
    rendered = RenderedFrame(ball_model(), cameras, 2, 1)
    write_frame(tmp_path, rendered)
    found = read(tmp_path / "00002.exr")
    assert found.keys() == {"R", "G", "B", "A", "Z", "N.X", "N.Y", "N.Z"}
    assert found["Z"].dtype == numpy.float32 and found["R"].dtype == numpy.float16

    opaque = rendered.picture.opacity > 0.999
    light = torch.from_numpy(numpy.stack([found[name] for name in "RGB"], -1).astype(numpy.float32))
    assert torch.allclose(light[opaque], linear(rendered.picture.rgb.clamp(0, 1))[opaque], atol=2e-3)
    assert numpy.allclose(found["A"], rendered.picture.opacity, atol=1e-3)

    # Depth and normal are those of the ball: the point at that depth is on it, and its normal leads outwards.
    met = rendered.distance.isfinite()
    depth = torch.from_numpy(found["Z"])
    assert (depth[~met] == FAR).all() and met.sum() > 100
    pose = cameras.world_from_camera[2]
    rays = cameras.image_rays(2).direction.view(40, 40, 3)
    point = pose[:, 3] + rays * (depth / (rays @ pose[:, 2]))[..., None]
    assert (point[met].norm(dim=1) - RADIUS).abs().max() < 0.02
    normal = torch.from_numpy(numpy.stack([found[f"N.{axis}"] for axis in "XYZ"], -1).astype(numpy.float32))
    inner = met & ((point / RADIUS * -rays).sum(-1) > 0.5)
    assert ((normal * point / RADIUS).sum(-1)[inner] > 0.9).float().mean() > 0.95


def test_the_command_writes_them_beside_the_film_each_once(ball_run, tmp_path):
    words = ["render", str(ball_run), "--out", str(tmp_path / "film.mp4"), "--frames", "3", "--size", "24x24"]
    assert main([*words, "--exr", str(tmp_path / "exr")]) == 0
    assert sorted(file.name for file in (tmp_path / "exr").iterdir()) == ["00000.exr", "00001.exr", "00002.exr"]
    assert read(tmp_path / "exr" / "00001.exr")["Z"].shape == (24, 24)
    plain = tmp_path / "plain.mp4"
    assert main([*words[:3], str(plain), *words[4:]]) == 0
    assert plain.read_bytes() == (tmp_path / "film.mp4").read_bytes()


def test_what_cannot_be_is_refused_before_the_work(ball_run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    words = ["render", str(ball_run), "--out", str(tmp_path / "film.mp4"), "--exr"]
    assert main([*words, str(tmp_path / "full")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "new"), "--preview"]) == 2
    assert "leave out --preview" in capsys.readouterr().err
