"""Cameras looked over before training, on a small textured room and on the ball."""

import dataclasses
import math

import pytest
import torch

from nerf.capture.bounds import contracted_space, given_box
from nerf.capture.camera_check import MIXED_UP, check_each, checked_scene
from nerf.capture.matching import sweep
from nerf.errors import InputError
from nerf.geometry.camera_rig import angle_to_attention
from nerf.geometry.cameras import Cameras, look_at
from nerf.scenes.blender import load_blender
from nerf.scenes.scene import Scene, Views
from tests.ball import cameras_round

HALF = 2.0  # of the room's side
SIDE = 80  # pixels
UP = torch.tensor([0.0, 0.0, 1.0])


def room_picture(cameras: Cameras, frame: int) -> torch.Tensor:
    """Returns (H, W, 3) uint8 of the inside of a cube with waves of many lengths on its walls."""
    rays = cameras.image_rays(frame)
    leave = torch.where(rays.direction > 0, HALF - rays.origin, -HALF - rays.origin) / rays.direction
    point = rays.origin + leave.amin(dim=1)[:, None] * rays.direction
    shade = torch.zeros(len(point))
    for number, length in enumerate((5.0, 9.0, 13.0, 17.0)):
        turned = point @ torch.tensor([[1.0, 0.3 * number, -0.4], [0.2, 1.0, 0.5 * number], [-0.6, 0.1, 1.0]])
        shade += torch.sin(length * turned).prod(dim=1)
    return ((shade / 8 + 0.5).clamp(0, 1) * 255).byte().view(SIDE, SIDE, 1).expand(-1, -1, 3)


def room(poses: list[torch.Tensor]) -> Views:
    n = len(poses)
    focal = torch.full((n, 2), SIDE / 2 / math.tan(math.radians(35)))
    cameras = Cameras(torch.stack(poses), focal, torch.full((n, 2), SIDE / 2), SIDE, SIDE)
    images = torch.stack([room_picture(cameras, frame) for frame in range(n)])
    return Views(tuple(f"v{i}" for i in range(n)), images, 255, cameras, None, True)


def outward(n: int = 24, radius: float = 0.15) -> Views:
    angle = [2 * math.pi * i / n for i in range(n)]
    eyes = [torch.tensor([radius * math.cos(a), radius * math.sin(a), 0.04 * math.sin(5 * a)]) for a in angle]
    return room([look_at(eye, eye + torch.tensor([math.cos(a), math.sin(a), 0.1]), UP) for eye, a in zip(eyes, angle)])


def inward(n: int = 30) -> Views:
    angle = [2 * math.pi * i / n for i in range(n)]
    eyes = [torch.tensor([1.2 * math.cos(a), 1.2 * math.sin(a), 0.3]) for a in angle]
    return room([look_at(eye, torch.tensor([0.3, 0.0, 0.1]), UP) for eye in eyes])


def scene(views: Views, points: torch.Tensor | None = None) -> Scene:
    return Scene("transforms", {"train": views}, points)


@pytest.mark.parametrize("make", [inward, outward])
@pytest.mark.parametrize("number", range(len(MIXED_UP)))
def test_poses_of_another_convention_are_refused_with_its_mend(make, number):
    views = make()
    # Each convention turns its own mix-up back: the way there is the way back, but for the order.
    convention = MIXED_UP[number]
    turned = dataclasses.replace(views, cameras=mixed_up(number, views.cameras))
    assert torch.allclose(relative_turns(convention.turned(turned.cameras)), relative_turns(views.cameras), atol=1e-4)
    with pytest.raises(InputError, match="the poses do not fit the pictures") as error:
        checked_scene(scene(turned))
    assert convention.mend in str(error.value) and "\n" not in str(error.value)


def mixed_up(number: int, cameras: Cameras) -> Cameras:
    """Returns cameras as they are read from a file that holds the true ones in another convention."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose = torch.cat([cameras.world_from_camera, torch.tensor([0.0, 0, 0, 1]).expand(len(cameras), 1, 4)], dim=1)
    opengl = pose @ flip
    in_file = (pose, torch.linalg.inv(opengl), torch.linalg.inv(pose))[number]
    return dataclasses.replace(cameras, world_from_camera=(in_file @ flip)[:, :3].contiguous())


def relative_turns(cameras: Cameras) -> torch.Tensor:
    turn = cameras.world_from_camera[:, :, :3]
    return turn[0].T @ turn


def test_right_poses_pass_and_those_that_look_at_one_place_are_left_as_they_are():
    asked = scene(inward())
    assert checked_scene(asked) is asked


def test_cameras_that_look_outwards_get_the_depths_that_their_pictures_show():
    views = outward()
    assert angle_to_attention(views.cameras) > 90
    checked = checked_scene(scene(views))
    near, far = checked.splits["train"].depths[0].tolist()
    assert 0.8 < near < 2 and 1.7 < far < 3.2  # walls are 1.85 to 3 away
    assert any(note.startswith("depths:") for note in checked.notes)
    space = contracted_space(checked.splits["train"], 16)[0].contraction
    assert 1 < space.radius < 3 and 0.5 < space.near < 1.85


def test_axes_that_meet_by_chance_near_a_pair_of_places_do_not_tell_the_distance():
    generator = torch.Generator().manual_seed(0)
    poses = []
    for number in range(14):
        eye = torch.tensor([1.2, 0.12 * (number % 2), 0.3])
        poses.append(look_at(eye, torch.tensor([0.3, 0.0, 0.1]) + 0.2 * torch.randn(3, generator=generator), UP))
    views = room(poses)
    assert contracted_space(views, 16)[0].contraction.radius < 0.6
    checked = checked_scene(scene(views)).splits["train"]
    assert contracted_space(checked, 16)[0].contraction.radius > 1.5  # the wall is 3.2 away
    assert checked_scene(scene(views), bounds=2.0).splits["train"] is views


def test_pictures_of_nothing_are_warned_of_not_refused():
    views = outward()
    blank = dataclasses.replace(views, images=torch.full_like(views.images, 128))
    assert any("give scene.bounds" in note for note in checked_scene(scene(blank)).notes)


def test_the_sweep_finds_the_wall_that_a_row_of_cameras_faces():
    ahead = torch.tensor([0.0, 1.0, 0.0])
    eyes = [torch.tensor([0.1 * i - 0.5, 0.0, 0.0]) for i in range(11)]
    views = room([look_at(eye, eye + ahead, UP) for eye in eyes])
    matches = sweep(views, views.cameras)
    assert matches.part > 0.8
    assert abs(matches.depth.median().item() - HALF) < 0.3


@pytest.mark.parametrize(("width", "height"), [(5, 3), (1, 1), (1200, 4)])
def test_pictures_too_small_for_a_patch_are_swept_without_a_match(width, height):
    poses = outward(4).cameras.world_from_camera
    half = torch.tensor([[width / 2, height / 2]]).repeat(4, 1)
    cameras = Cameras(poses, torch.full((4, 2), 2.0 * width), half, width, height)
    images = torch.randint(255, (4, height, width, 3), dtype=torch.uint8)
    assert sweep(Views(tuple("abcd"), images, 255, cameras, None, True), cameras).part == 0


def test_silhouettes_that_do_not_meet_are_asked_of_the_pictures(ball_scene):
    views = load_blender(ball_scene, "train")
    assert checked_scene(scene(views)).splits["train"] is views


def test_a_principal_point_outside_of_its_picture_is_refused():
    views = inward(3)
    away = dataclasses.replace(views.cameras, center=torch.full((3, 2), SIDE + 1.0))
    with pytest.raises(InputError, match=r'camera of "v0": the principal point \(81, 81\) lies outside'):
        check_each(dataclasses.replace(views, cameras=away))


def test_a_pinhole_that_shows_half_of_space_is_refused_and_a_fisheye_is_not():
    views = inward(3)
    wide = dataclasses.replace(views.cameras, focal=torch.full((3, 2), 1.3))
    with pytest.raises(InputError, match="which no lens but a fisheye is"):
        check_each(dataclasses.replace(views, cameras=wide))
    lens = torch.zeros(3, 12)
    lens[:, 0] = 1
    check_each(dataclasses.replace(views, cameras=dataclasses.replace(wide, lens=lens)))


def test_a_cube_that_no_camera_sees_stands_where_they_look():
    cameras = cameras_round(12)
    assert given_box(cameras, 0.5).corner.tolist() == [-0.5] * 3
    moved = cameras.world_from_camera.clone()
    moved[:, :, 3] += 300.0
    far = dataclasses.replace(cameras, world_from_camera=moved)
    assert torch.allclose(given_box(far, 0.5).corner, torch.full((3,), 299.5), atol=1e-2)

    origin = dataclasses.replace(cameras, origin=(1e6, 0.0, 0.0))
    assert torch.allclose(given_box(origin, 0.5).corner, torch.full((3,), -0.5), atol=1e-4)


def test_a_cube_that_no_camera_sees_is_refused_where_cameras_look_apart():
    views = outward()
    moved = views.cameras.world_from_camera.clone()
    moved[:, :, 3] += 300.0
    with pytest.raises(InputError, match="no camera sees the cube"):
        given_box(dataclasses.replace(views.cameras, world_from_camera=moved), 0.5)


def test_cameras_in_one_place_are_refused_before_anything_is_said_of_them_unless_bounds_are_given():
    angle = [2 * math.pi * i / 12 for i in range(12)]
    views = room([look_at(torch.zeros(3), torch.tensor([math.cos(a), math.sin(a), 0.1]), UP) for a in angle])
    with pytest.raises(InputError, match="stand in one place"):
        checked_scene(scene(views))
    assert checked_scene(scene(views), bounds=2.0).splits["train"] is views
