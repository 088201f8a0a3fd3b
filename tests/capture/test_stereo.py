"""Stereo: a panel before a wall, both drawn by hand, are found where they are; space before them is free."""

import dataclasses

import pytest
import torch

from nerf.capture.bounds import contracted_space
from nerf.capture.page import write_page
from nerf.capture.quality import CaptureCheck
from nerf.capture.space import SceneSpace, find_space
from nerf.capture.stereo import MeasuredDistances, _slopes, free_cells, measure_distances
from nerf.config import read_settings
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.lenses import TERMS
from nerf.ops.stereo import stereo
from nerf.scenes import Views
from tests.backends.small_scene import native_task

WALL = 6.0  # z of the wall
PANEL = 4.0  # z of the panel before its middle
HALF = 0.8  # half side of the panel


def texture(point):
    """Returns brightness (N,) with detail at several scales at points (N, 2)."""
    waves = torch.tensor([[9.0, 4.0], [-5.0, 11.0], [17.0, -13.0], [3.0, 23.0], [-29.0, 7.0]])
    return 0.5 + (point @ waves.T + torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])).sin().mean(dim=1) / 2


def distances(rays):
    """Returns how far along rays the panel or the wall is, and their brightness there."""
    far = (WALL - rays.origin[:, 2]) / rays.direction[:, 2]
    near = (PANEL - rays.origin[:, 2]) / rays.direction[:, 2]
    on_panel = ((rays.origin + near[:, None] * rays.direction)[:, :2].abs() < HALF).all(dim=1)
    t = torch.where(on_panel, near, far)
    place = (rays.origin + t[:, None] * rays.direction)[:, :2]
    return t, texture(torch.where(on_panel[:, None], place + 0.3, place))


@pytest.fixture(scope="module", params=["pinhole", "lens"])
def views(request):
    angles = torch.tensor([-16.0, -8.0, 0.0, 8.0, 16.0]).deg2rad()
    middle = torch.tensor([0.0, 0.0, PANEL])
    eyes = torch.stack([PANEL * angles.sin(), torch.zeros(5), PANEL - PANEL * angles.cos()], dim=1)
    poses = torch.stack([look_at(eye, middle, torch.tensor([0.0, -1.0, 0.0])) for eye in eyes])
    lens = torch.zeros(5, len(TERMS))
    if request.param == "lens":
        lens[:, 1] = 0.1
    cameras = Cameras(poses, torch.full((5, 2), 110.0), torch.tensor([[48.0, 36.0]] * 5), 96, 72, lens)
    images = torch.empty(5, 72, 96, 3, dtype=torch.uint8)
    for frame in range(5):
        brightness = distances(cameras.image_rays(frame))[1]
        images[frame] = (255 * brightness).round().to(torch.uint8).view(72, 96, 1).expand(-1, -1, 3)
    return Views(tuple(f"v{i}" for i in range(5)), images, 255, cameras, None, True)


@pytest.fixture(scope="module")
def wide_views():
    """A floor seen from five places that stand 20 degrees apart, and how far away it is."""
    angles = torch.tensor([-40.0, -20.0, 0.0, 20.0, 40.0]).deg2rad()
    eyes = torch.stack([3 * angles.sin(), -3 * angles.cos(), torch.full((5,), 1.2)], dim=1)
    poses = torch.stack([look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])) for eye in eyes])
    cameras = Cameras(poses, torch.full((5, 2), 110.0), torch.tensor([[48.0, 36.0]] * 5), 96, 72)
    images = torch.empty(5, 72, 96, 3, dtype=torch.uint8)
    truth = torch.empty(5, 72, 96)
    for frame in range(5):
        rays = cameras.image_rays(frame)
        t = -rays.origin[:, 2] / rays.direction[:, 2]
        brightness = texture((rays.origin + t[:, None] * rays.direction)[:, :2])
        images[frame] = (255 * brightness).round().to(torch.uint8).view(72, 96, 1).expand(-1, -1, 3)
        truth[frame] = t.view(72, 96)
    return Views(tuple(f"v{i}" for i in range(5)), images, 255, cameras, None, True), truth


@pytest.fixture(scope="module")
def measured(views):
    return measure_distances(views, 1.0)


def test_distances_are_right_where_they_are_measured(views, measured):
    assert measured.scale == 1 and measured.part > 0.6
    right = 0
    for frame in range(5):
        truth = distances(views.cameras.image_rays(frame))[0]
        found = measured.distance[frame].flatten()
        right += ((found / truth - 1).abs() < 0.03)[found > 0].float().mean().item() / 5
    # Windows of five pixels spread the panel's border by two pixels.
    assert right > 0.93


def test_a_floor_is_measured_by_pictures_that_stand_wide_apart(wide_views, monkeypatch):
    views, truth = wide_views
    found = measure_distances(views, 0.5).distance
    seen = (truth > 0) & (truth < 8)
    right = (found / truth - 1).abs() < 0.02
    monkeypatch.setattr("nerf.capture.stereo.WIDE", 180.0)
    plain = (measure_distances(views, 0.5).distance / truth - 1).abs() < 0.02
    assert right[found > 0].float().mean() > 0.9
    assert right[seen].float().mean() > 1.2 * plain[seen].float().mean()


def test_slopes_of_cameras_that_look_straight_down_are_across_their_axes(wide_views):
    views, _ = wide_views
    eyes = torch.tensor([[0.0, 0.0, 3.0], [1.0, 0.0, 3.0], [0.0, 1.0, 3.0], [1.0, 1.0, 3.0], [2.0, 0.0, 3.0]])
    down = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
    poses = torch.cat([down.expand(5, 3, 3), eyes[:, :, None]], dim=2)
    slopes = _slopes(dataclasses.replace(views.cameras, world_from_camera=poses), True)
    assert torch.isfinite(slopes).all() and torch.allclose(slopes[:, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)


def test_pictures_that_are_strips_are_measured_as_they_are(views):
    cameras = Cameras(views.cameras.world_from_camera, torch.full((5, 2), 900.0), torch.full((5, 2), 6.0), 1600, 12)
    strips = Views(views.names, torch.zeros(5, 12, 1600, 3, dtype=torch.uint8), 255, cameras, None, True)
    assert measure_distances(strips, 1.0).part == 0
    few = dataclasses.replace(
        strips,
        images=strips.images[:, :2],
        cameras=dataclasses.replace(cameras, height=2, size=torch.tensor([[1600, 2]] * 5)),
    )
    assert measure_distances(few, 1.0).part == 0


def test_masked_pixels_are_not_measured(views):
    used = torch.ones(5, 72, 96, dtype=torch.bool)
    used[:, :, :40] = False
    distance = measure_distances(dataclasses.replace(views, used=used), 1.0).distance
    assert (distance[:, :, :38] == 0).all() and (distance[:, :, 44:] > 0).any()


def test_space_before_what_was_measured_is_free_and_matter_is_not(views, measured):
    box, hull = contracted_space(views, 64)
    cells = hull.nonzero()
    free = free_cells(views.cameras, measured, box, cells, 64)
    point = box.world_from_unit((cells + 0.5) / 64)
    before = ((point[:, :2].abs() < 0.5).all(dim=1)) & (point[:, 2] > 1.5) & (point[:, 2] < 3.4)
    on_panel = ((point[:, :2].abs() < 0.7).all(dim=1)) & ((point[:, 2] - PANEL).abs() < 0.1)
    assert free[before].float().mean() > 0.9 and not free[on_panel].any()
    assert not free[point[:, 2] > WALL + 1].any()


def test_what_was_not_measured_frees_nothing(views):
    box, hull = contracted_space(views, 32)
    nothing = MeasuredDistances(torch.zeros(5, 72, 96), 1)
    assert not free_cells(views.cameras, nothing, box, hull.nonzero(), 32).any()


def test_few_photographs_are_measured_and_many_are_not(views, monkeypatch):
    monkeypatch.setattr("nerf.capture.space.LEAST_FOR_STEREO", 96)
    settings = read_settings(None, ["render.occupancy_resolution=32"])
    found = find_space(views, settings)
    never = find_space(views, read_settings(None, ["render.occupancy_resolution=32", "capture.stereo=never"]))
    assert found.measured is not None and never.measured is None
    assert torch.equal(found.hull, never.hull) and torch.equal(never.occupied, never.hull)
    assert found.occupied.sum() < found.hull.sum() and not (found.occupied & ~found.hull).any()
    with monkeypatch.context() as without_engine:
        without_engine.setattr("nerf.capture.space.fastest", lambda: "reference")
        assert find_space(views, settings).measured is None
    monkeypatch.setattr("nerf.capture.space.LEAST_FOR_STEREO", 97)
    assert find_space(views, settings).measured is None
    monkeypatch.setattr("nerf.capture.space.LEAST_FOR_STEREO", 96)
    monkeypatch.setattr("nerf.capture.space.MOST_FOR_STEREO", 4)
    assert torch.equal(find_space(views, settings).hull, never.hull)


def test_a_training_begins_with_the_free_cells_empty_and_may_fill_them(views, monkeypatch):
    monkeypatch.setattr("nerf.capture.space.LEAST_FOR_STEREO", 96)
    small = ["render.occupancy_resolution=16", "render.occupancy_from=8", "render.occupancy_every=4"]
    small += ["train.samples=1024", "field.levels=4", "field.log2_table_size=10", "field.finest_resolution=64"]
    task = native_task(views, read_settings(None, small))
    assert torch.equal(task.model.occupancy.occupied, task.space.occupied)
    monkeypatch.setattr("nerf.capture.space.free_cells", lambda cameras, measured, box, cells, n: cells[:, 0] >= 0)
    task = native_task(views, read_settings(None, small))
    assert task.space.hull.any() and not task.model.occupancy.occupied.any()
    for step in range(16):
        task.train_step(step, 1.0)
    task.model.copy_back()
    assert task.model.occupancy.occupied.any()


def test_the_page_shows_what_was_measured(views, measured, tmp_path):
    box, hull = contracted_space(views, 32)
    page = tmp_path / "check.html"
    for space, shown in ((SceneSpace(box, hull, hull, None, measured), 5), (SceneSpace(box, hull, hull), 0)):
        write_page(page, "made", CaptureCheck([], [], []), {"train": views.cameras}, None, space)
        assert page.read_text().count("data:image/png;base64,") == shown


def test_the_engine_finds_what_the_reference_finds():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 40, 50, generator=generator), 3, 1)[0]
    others = torch.tensor([[1, 2], [2, -1], [-1, -1]], dtype=torch.int32)
    warps = torch.eye(3, 4).repeat(3, 2, 1, 1)
    warps[:, :, 0, 3] = torch.tensor([10.0, -7.0])
    warps[:, :, 2, 3] = 0.3
    steps = torch.tensor([0.1, 0.05, 0.1])
    planes = torch.tensor([9, 40, 4], dtype=torch.int32)
    slopes = torch.tensor([[0, 0, 1.0], [0.01, -0.005, 0.7]]).repeat(3, 1, 1)
    inverse, likeness = stereo(pictures, others, warps, slopes, steps, planes, backend="native")
    expected, expected_likeness = stereo(pictures, others, warps, slopes, steps, planes)
    for backend, whole in (("native", inverse), ("reference", expected)):
        assert torch.equal(stereo(pictures, others, warps, slopes, steps, planes, range(1, 3), backend)[0], whole[1:])
    # Costs are rounded to whole numbers: one that lies between two may go either way.
    same = (inverse - expected).abs() < 0.01 * steps[:, None, None]
    assert same.float().mean() > 0.98
    assert (likeness - expected_likeness).abs()[same].max() < 2 / 255
