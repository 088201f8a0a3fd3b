"""Depth maps of a phone: how far things are, in what unit the poses are, and what is refused."""

import dataclasses

import numpy
import pytest
import torch
from PIL import Image

from nerf.capture.depth_maps import sensed_distances
from nerf.capture.space import find_space
from nerf.config import read_settings
from nerf.errors import InputError
from nerf.scenes import Views
from nerf.scenes.depth_files import DepthFile, read_depth
from tests.ball import ball_model, cameras_round

METRES = 0.37  # of a scene unit
HEAD = b"\x93NUMPY\x01\x00\x76\x00%-118b"  # of an array's file
SIDE, MAP = 96, 48  # pixels of a picture, and of a map


@pytest.fixture(scope="module")
def seen():
    """Cameras round the ball, and how far along their axes the ball and a shell behind it are, in maps."""
    cameras = cameras_round(count=30, size=SIDE)
    small = cameras.resized(MAP, MAP)
    depth = torch.zeros(30, MAP, MAP)
    for frame in range(30):
        rays = small.image_rays(frame)
        along = ball_model().surface(rays)
        through = (rays.origin * rays.direction).sum(1)
        shell = -through + (through.square() + 9.0 - rays.origin.square().sum(1)).sqrt()
        along = torch.where(along.isfinite(), along, shell)
        depth[frame] = (along * (rays.direction @ small.world_from_camera[frame, :, 2])).view(MAP, MAP)
    return cameras, depth


def with_maps(seen, folder, noise=0.01, holes=0.2):
    """Returns views with the maps as a phone would write them."""
    cameras, depth = seen
    drawn = torch.Generator().manual_seed(0)
    files = []
    for frame, one in enumerate(depth):
        counts = 1000 * METRES * one * (1 + noise * torch.randn(one.shape, generator=drawn))
        counts[torch.rand(one.shape, generator=drawn) < holes] = 0
        Image.fromarray(counts.round().numpy().astype(numpy.uint16)).save(folder / f"{frame}.png")
        files.append(DepthFile(folder / f"{frame}.png", 1e-3))
    images = torch.full((len(cameras), SIDE, SIDE, 3), 128, dtype=torch.uint8)
    names = tuple(f"v{frame}" for frame in range(len(cameras)))
    return Views(names, images, 255, cameras, None, True, depth_files=tuple(files))


def test_the_scale_is_right_to_a_hundredth(seen, tmp_path):
    found = sensed_distances(with_maps(seen, tmp_path))
    assert found.scale.metres == pytest.approx(METRES, rel=0.01)
    assert "30 depth maps" in found.scale.words


def test_distances_are_along_the_rays_and_in_scene_units(seen, tmp_path):
    views = with_maps(seen, tmp_path, noise=0.0)
    measured = sensed_distances(views).measured
    assert measured.part == pytest.approx(0.8, abs=0.02)
    rays = views.cameras.image_rays(3)
    truth = ball_model().surface(rays).view(SIDE, SIDE)
    found = measured.distance[3].repeat_interleave(measured.scale, 0).repeat_interleave(measured.scale, 1)
    both = truth.isfinite() & (found > 0) & (truth < 1.7)  # the rim is a step
    off = ((found / truth - 1)[both]).abs()
    assert both.sum() > 500 and off.median() < 0.01


def test_maps_of_other_poses_are_not_used(seen, tmp_path, capsys):
    views = with_maps(seen, tmp_path)
    drawn = torch.Generator().manual_seed(1)
    poses = views.cameras.world_from_camera.clone()
    poses[:, :, 3] += torch.randn(30, 3, generator=drawn)
    other = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, world_from_camera=poses))
    assert sensed_distances(other) is None
    assert "agree with the poses at no scale" in capsys.readouterr().out


def test_pictures_without_maps_tell_nothing(seen, tmp_path):
    views = with_maps(seen, tmp_path)
    assert sensed_distances(dataclasses.replace(views, depth_files=())) is None
    half = tuple(file if frame % 2 else None for frame, file in enumerate(views.depth_files))
    found = sensed_distances(dataclasses.replace(views, depth_files=half))
    assert (found.measured.distance[0] == 0).all() and (found.measured.distance[1] > 0).any()


def test_a_space_begins_with_what_the_maps_leave(seen, tmp_path):
    views = with_maps(seen, tmp_path, noise=0.0)
    settings = read_settings(None, ["render.occupancy_resolution=32", "capture.stereo=never"])
    with_depth = find_space(views, settings)
    without = find_space(dataclasses.replace(views, depth_files=()), settings)
    assert with_depth.scale.metres == pytest.approx(METRES, rel=0.01) and without.scale is None
    assert without.measured is None and with_depth.measured.part > 0.7
    assert with_depth.occupied.sum() < 0.95 * without.occupied.sum()
    middle = with_depth.box.unit_from_world(torch.tensor([[0.0, 0.0, 0.45], [0.0, 0.9, 0.9]]))
    cells = (middle * 32).long()
    assert with_depth.occupied[tuple(cells[0])] and not with_depth.occupied[tuple(cells[1])]


def test_cameras_in_one_place_use_no_maps(seen, tmp_path, capsys):
    views = with_maps(seen, tmp_path)
    poses = views.cameras.world_from_camera.clone()
    poses[:, :, 3] = 0
    still = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, world_from_camera=poses))
    assert sensed_distances(still) is None
    assert "stand in one place" in capsys.readouterr().out


def test_a_large_map_is_kept_small(seen, tmp_path, monkeypatch):
    from nerf.capture import depth_maps

    monkeypatch.setattr(depth_maps, "LARGEST", 24)
    found = depth_maps._maps(with_maps(seen, tmp_path))
    assert found[1].shape == (30, 24, 24) and found[0].width == 24


def test_a_map_of_another_shape_is_named(seen, tmp_path):
    views = with_maps(seen, tmp_path)
    Image.fromarray(numpy.full((MAP, MAP // 2), 500, numpy.uint16)).save(tmp_path / "3.png")
    with pytest.raises(InputError, match="3.png: 24 x 48 pixels, its photograph has 96 x 96: the depth map belongs"):
        sensed_distances(views)


def test_depths_are_read_in_their_unit_where_they_are_sure(tmp_path):
    counts = numpy.array([[0, 1000, 2000], [500, 65535, 10]], numpy.uint16)
    Image.fromarray(counts).save(tmp_path / "d.png")
    Image.fromarray(numpy.array([[255, 255, 0], [127, 54, 255]], numpy.uint8)).save(tmp_path / "c.png")
    found = read_depth(DepthFile(tmp_path / "d.png", 1e-3, tmp_path / "c.png"))
    assert torch.allclose(found, torch.tensor([[0, 1.0, 0], [0.5, 0, 0.01]]))

    array = numpy.array([[numpy.nan, 1.0], [-1.0, numpy.inf]], numpy.float32)
    numpy.save(tmp_path / "d.npy", array[..., None])
    assert torch.equal(read_depth(DepthFile(tmp_path / "d.npy", 1.0)), torch.tensor([[0, 1.0], [0, 0]]))


def test_what_is_no_depth_map_is_refused_by_its_name(tmp_path):
    Image.fromarray(numpy.zeros((4, 4, 3), numpy.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(InputError, match="rgb.png: 3 channels; a depth map is grey"):
        read_depth(DepthFile(tmp_path / "rgb.png", 1e-3))
    numpy.save(tmp_path / "objects.npy", numpy.array([[{}]], object))
    with pytest.raises(InputError, match="objects.npy: no depth map"):
        read_depth(DepthFile(tmp_path / "objects.npy", 1.0))
    for damage in (
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04 rubbish",
        HEAD % b"{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000000000000000000, 1), }",
        HEAD % b"{'descr': '<f4', 'fortran_order': False, 'shape': (True, True), }",
        HEAD % b"{'descr': '<f4', ('fortran_order': False",
    ):
        (tmp_path / "cut.npy").write_bytes(damage)
        with pytest.raises(InputError, match="cut.npy: no depth map"):
            read_depth(DepthFile(tmp_path / "cut.npy", 1.0))
    Image.fromarray(numpy.full((4, 4), 200, numpy.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match="grey.png: 8 bits"):
        read_depth(DepthFile(tmp_path / "grey.png", 1e-3))
    assert (read_depth(DepthFile(tmp_path / "grey.png", 0.01)) == 2.0).all()
    Image.fromarray(numpy.zeros((4, 4), numpy.uint16)).save(tmp_path / "d.png")
    Image.fromarray(numpy.zeros((2, 4), numpy.uint8)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match="c.png: its size differs from that of d.png"):
        read_depth(DepthFile(tmp_path / "d.png", 1e-3, tmp_path / "c.png"))
