"""Of an unbounded capture the thing is meshed, unless the user wants another part."""

import numpy
import pytest
import torch

from nerf.backends.reference import ReferenceEngine
from nerf.cli.main import main
from nerf.config import RenderSettings
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox, crop_box
from nerf.meshing import surface
from nerf.meshing.surface import PIXEL_CELLS, SurfaceRequest, chosen_part, enough_pixels, make_surface
from nerf.rendering.depth_views import pinhole_cameras, render_depths
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from nerf.report import listen
from tests.ball import ball_model, cameras_round
from tests.capture.test_subject import cameras_about

BOX = SceneBox(torch.full((3,), -2.0), 4.0, Contraction(torch.zeros(3), 2.0, 0.2))


class RoomField(torch.nn.Module):
    """A post, 0.4 x 0.4 x 0.8, on a floor."""

    code_size = 0

    def density(self, position):
        point = BOX.world_from_unit(position)
        floor = (point[:, 2] < 0) & (point[:, 2] > -0.4)
        post = (point[:, :2].abs() < 0.2).all(1) & (point[:, 2] < 0.8) & (point[:, 2] > -0.4)
        return 400.0 * (floor | post), position

    def color(self, direction, features, code=None):
        return torch.full((len(features), 3), 0.5)


@pytest.fixture(scope="module")
def room():
    """Returns the model of a post on a floor, its cameras and what they see."""
    cells = OccupancyGrid(torch.ones(16, 16, 16, dtype=torch.bool))
    model = RadianceModel(RoomField(), cells, BOX, RenderSettings(steps=400), ReferenceEngine)
    cameras = cameras_about(350, count=16).resized(40, 40)
    return model, cameras, render_depths(model, pinhole_cameras(cameras))


@pytest.fixture(autouse=True)
def no_colors(monkeypatch):
    """Leaves the colours out, which take the longest."""
    monkeypatch.setattr(surface, "seen_color", lambda model, views, point, *_: torch.zeros(len(point), 3))


def meshed(room, **choices):
    """Returns the mesh, how it was made, and what was said."""
    said = []
    with listen(lambda topic, text: said.append(text)):
        mesh, how = make_surface(*room[:2], SurfaceRequest(40, smoothing=0, **choices), room[2])
    return mesh, how, " ".join(said)


def test_the_mesh_is_the_thing_and_says_so(room):
    mesh, how, said = meshed(room)
    assert mesh.extent.max() < 1.2 and mesh.vertices[:, 2].min() < 0.02
    assert mesh.vertices[:, 2].max() == pytest.approx(0.8, abs=0.06)
    assert said.startswith("mesh: the part that 16 cameras look at: ") and "--crop or --whole" in said
    assert how["part"] == "the part that 16 cameras look at" and how["cell"] < 0.03


def test_the_floor_is_cut_if_asked(room):
    assert 0.02 < meshed(room, floor="cut")[0].vertices[:, 2].min() < 0.1


def test_the_user_overrules_the_choice(room):
    whole, how, said = meshed(room, whole=True)
    assert whole.extent[:2].min() > 2 and how["part"] == "all" and said == ""
    cropped, how, said = meshed(room, crop=crop_box([-0.3, -0.3, 0.4, 0.3, 0.3, 1.0]))
    assert cropped.vertices[:, 2].min() >= 0.399 and how["part"] == "the crop box" and said == ""


def test_bounded_scenes_are_meshed_whole():
    assert chosen_part(ball_model(), cameras_round(4), SurfaceRequest(16)) is None


def test_only_what_shows_the_thing_is_looked_at(room, monkeypatch):
    model, cameras, views = room
    asked = []
    real = RadianceModel.surface
    monkeypatch.setattr(RadianceModel, "surface", lambda self, rays: asked.append(len(rays)) or real(self, rays))
    mesh, _ = make_surface(model, cameras, SurfaceRequest(40, smoothing=0))
    assert len(asked) == 32 and sum(asked[16:]) < 0.6 * 16 * 40 * 40
    whole, _ = make_surface(model, cameras, SurfaceRequest(40, smoothing=0), views)
    assert numpy.array_equal(mesh.vertices, whole.vertices) and numpy.array_equal(mesh.faces, whole.faces)


def test_two_parts_at_once_are_refused(ball_run, tmp_path, capsys):
    words = ["export", str(ball_run), "--mesh", str(tmp_path / "a.ply"), "--whole", "--crop", *"000111"]
    assert main(words) == 2 and "give one of the two" in capsys.readouterr().err


def test_more_triangles_than_asked_for_are_said(room, monkeypatch):
    monkeypatch.setattr(surface, "decimated", lambda mesh, triangles: mesh)  # as where pieces cannot be made simpler
    assert "not 4" in meshed(room, triangles=4)[2]


def test_an_obj_whose_name_would_break_its_lines_is_refused(ball_run, tmp_path, capsys):
    words = ["export", str(ball_run), "--mesh", str(tmp_path / "a\nb.obj"), "--texture", "64"]
    assert main(words) == 2 and "printable" in capsys.readouterr().err


def test_pictures_are_as_small_as_the_lattice_can_use_and_never_larger_than_they_are():
    cameras = cameras_round(6, size=512)
    box = SceneBox(torch.full((3,), -0.6), 1.2)
    cell = box.side / 64
    small = pinhole_cameras(cameras, enough_pixels(cameras, box, cell))
    away = cameras.world_from_camera[0, :, 3].norm()
    assert small.width < 512 and away / small.focal[0, 0] == pytest.approx(PIXEL_CELLS * cell, rel=0.01)
    assert enough_pixels(cameras, box, box.side / 4096) == 1
