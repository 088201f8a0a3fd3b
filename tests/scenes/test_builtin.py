"""The built-in scene on a small size: its files, its cameras, its pictures and its ground truth agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from nerf.scenes import builtin, raytracing
from nerf.scenes.digger import digger_triangles

SIZE = 48
COUNTS = {"train": 6, "val": 1, "test": 2}


def write_small(folder: Path) -> Path:
    counts = {f"n_{split}": count for split, count in COUNTS.items()}
    builtin.write_builtin_scene(folder, size=SIZE, progress=False, **counts)
    return folder


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Larger triangles and fewer occlusion rays, so that preparing the digger takes a second or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "MAX_EDGE", 0.12)
        patch.setattr(raytracing, "OCCLUSION_RAYS", 8)
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("builtin") / "digger")


@pytest.fixture(scope="module")
def surface() -> raytracing.ShadedSurface:
    """The digger without ambient occlusion, which takes the longest and is not what is tested with it."""
    triangles = digger_triangles()
    nothing = np.zeros(len(triangles.corners), dtype=bool)
    nothing[:12] = True
    return raytracing.ShadedSurface.bake(raytracing.RayTracer(triangles.corners), triangles, nothing)


def poses_of(scene: Path, split: str) -> np.ndarray:
    frames = json.loads((scene / f"transforms_{split}.json").read_text())["frames"]
    return np.array([frame["transform_matrix"] for frame in frames])


def all_poses() -> np.ndarray:
    return np.concatenate([builtin.train_cameras(100), builtin.val_cameras(10), builtin.test_cameras(25)])


def mesh_of(scene: Path) -> tuple[np.ndarray, np.ndarray]:
    open3d = raytracing.load_open3d()

    mesh = open3d.io.read_triangle_mesh(str(scene / "ground_truth" / "mesh.ply"))
    assert mesh.has_vertex_colors()
    return np.asarray(mesh.vertices), np.asarray(mesh.triangles)


def test_every_frame_named_in_the_transforms_has_its_picture(scene: Path) -> None:
    for split, count in COUNTS.items():
        transforms = json.loads((scene / f"transforms_{split}.json").read_text())
        assert transforms["camera_angle_x"] == 0.6911112070083618
        assert transforms["generator"] == "nerf built-in scene"
        assert len(transforms["frames"]) == count
        for frame in transforms["frames"]:
            image = imageio.imread(scene / f"{frame['file_path']}.png")
            assert image.shape == (SIZE, SIZE, 4)
            assert image.dtype == np.uint8


def test_writing_twice_gives_the_same_bytes(scene: Path, tmp_path: Path) -> None:
    again = write_small(tmp_path / "again")
    names = {path.relative_to(scene) for path in scene.rglob("*") if path.is_file()}
    assert names == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert [name for name in sorted(names) if (scene / name).read_bytes() != (again / name).read_bytes()] == []


def test_cameras_are_upright_rotations_looking_at_the_origin_from_the_given_radius() -> None:
    poses = all_poses()
    rotations, centres = poses[:, :3, :3], poses[:, :3, 3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (len(poses), 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    np.testing.assert_allclose(centres, builtin.CAMERA_RADIUS * rotations[:, :, 2])
    assert (rotations[:, 2, 1] > 0).all()
    elevations = np.degrees(np.arcsin(centres[:, 2] / builtin.CAMERA_RADIUS))
    assert elevations.min() > -20 and elevations.max() < 85


def test_no_two_cameras_stand_at_the_same_place() -> None:
    centres = all_poses()[:, :3, 3]
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1) + 10 * np.eye(len(centres))
    assert distances.min() > 0.05


def test_the_whole_model_is_inside_every_picture() -> None:
    corners = digger_triangles().corners.reshape(-1, 3)
    assert np.abs(corners).max() < 1.2
    homogeneous = np.concatenate([corners, np.ones((len(corners), 1))], axis=1)
    for world_from_camera in all_poses()[::5]:
        in_camera = homogeneous @ np.linalg.inv(world_from_camera).T
        assert np.abs(in_camera[:, :2] / in_camera[:, 2:3]).max() < np.tan(0.5 * raytracing.CAMERA_ANGLE_X)


def test_the_pixel_above_the_centre_looks_upwards_and_the_centre_looks_at_the_origin() -> None:
    world_from_camera = builtin.test_cameras(4)[1]
    rays = raytracing.camera_rays(world_from_camera, 9, (0.5, 0.5))
    np.testing.assert_allclose(rays[4, 4, 3:], -world_from_camera[:3, 2], atol=1e-6)
    assert rays[3, 4, 3:] @ world_from_camera[:3, 1] > 0
    assert rays[4, 5, 3:] @ world_from_camera[:3, 0] > 0
    edge = raytracing.camera_rays(world_from_camera, 9, (0.0, 0.5))[4, 0, 3:]
    assert np.arccos(edge @ -world_from_camera[:3, 2]) == pytest.approx(0.5 * raytracing.CAMERA_ANGLE_X, abs=1e-5)


def test_depth_unprojects_onto_the_ground_truth_mesh(scene: Path) -> None:
    open3d = raytracing.load_open3d()

    vertices, triangles = mesh_of(scene)
    ground_truth = open3d.t.geometry.RaycastingScene()
    ground_truth.add_triangles(vertices.astype(np.float32), triangles.astype(np.uint32))
    for index, world_from_camera in enumerate(poses_of(scene, "test")):
        depth = np.load(scene / "ground_truth" / "test" / f"r_{index}_depth.npy")
        assert depth.dtype == np.float32
        rays = raytracing.camera_rays(world_from_camera, SIZE, (0.5, 0.5))
        points = (rays[..., :3] + depth[..., None] * rays[..., 3:])[depth > 0]
        assert len(points) > 100
        distances = ground_truth.compute_distance(points.astype(np.float32)).numpy()
        # Six train cameras leave some nooks unseen, and what they do not see is not in the mesh.
        assert np.mean(distances < 1e-4) > 0.9, np.mean(distances < 1e-4)


def test_normals_are_unit_and_face_the_camera_exactly_where_there_is_depth(scene: Path) -> None:
    for index, world_from_camera in enumerate(poses_of(scene, "test")):
        depth = np.load(scene / "ground_truth" / "test" / f"r_{index}_depth.npy")
        normal = np.load(scene / "ground_truth" / "test" / f"r_{index}_normal.npy")
        assert normal.dtype == np.float16
        lengths = np.linalg.norm(normal.astype(np.float32), axis=-1)
        np.testing.assert_allclose(lengths, depth > 0, atol=2e-3)
        directions = raytracing.camera_rays(world_from_camera, SIZE, (0.5, 0.5))[..., 3:]
        assert (normal * directions).sum(axis=-1).max() < 2e-3


def test_alpha_is_full_inside_nothing_outside_and_partial_on_the_outline(scene: Path) -> None:
    depth = np.load(scene / "ground_truth" / "test" / "r_0_depth.npy")
    alpha = imageio.imread(scene / "test" / "r_0.png")[..., 3]
    neighbourhoods = np.lib.stride_tricks.sliding_window_view(depth > 0, (5, 5)).sum(axis=(2, 3))
    inner = alpha[2:-2, 2:-2]
    assert (inner[neighbourhoods == 0] == 0).all()
    # A gap narrower than a pixel may show the background amid the digger, so not quite all are opaque.
    assert np.mean(inner[neighbourhoods == 25] == 255) > 0.97
    assert ((alpha > 0) & (alpha < 255)).any()
    assert (alpha[depth > 0] > 0).all()


def test_the_mesh_is_welded_fine_and_free_of_hidden_surface(scene: Path) -> None:
    vertices, triangles = mesh_of(scene)
    assert len(vertices) < 1.2 * len(triangles)
    corners = vertices[triangles]
    edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=-1)
    assert edges.max() < builtin.MAX_EDGE + 1e-4
    whole = digger_triangles().corners
    area, whole_area = (
        np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]), axis=1).sum() for c in (corners, whole)
    )
    assert 0.2 < area / whole_area < 0.8


def test_gloss_makes_a_colour_depend_on_the_view(surface: raytracing.ShadedSurface) -> None:
    def seen_along(direction: np.ndarray) -> np.ndarray:
        target = np.array([0.95, -0.585, -0.594])  # bare baseplate near its corner, in the sun
        ray = np.concatenate([target - 2 * direction, direction]).astype(np.float32)[None]
        hit = surface.geometry.nearest(ray)
        np.testing.assert_allclose(hit["primitive_normals"], [[0, 0, 1]], atol=1e-5)
        return surface.radiance(hit, ray, raytracing.SUN_DIRECTION)

    mirrored = raytracing.SUN_DIRECTION * [1, 1, -1]
    glint = seen_along(mirrored)
    dull = seen_along(np.array([0.0, 0.0, -1.0]))
    assert (glint > dull + 0.1).all()


def test_the_digger_casts_a_shadow_on_the_baseplate(surface: raytracing.ShadedSurface) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-0.98, 0.98, 60), np.linspace(-0.62, 0.62, 40)), axis=-1).reshape(-1, 2)
    rays = np.zeros((len(grid), 6), dtype=np.float32)
    rays[:, :2], rays[:, 2], rays[:, 5] = grid, 3.0, -1.0
    hit = surface.geometry.nearest(rays)
    on_plate = np.abs(hit["t_hit"] - 3.594) < 1e-3
    hit = {name: values[on_plate] for name, values in hit.items()}
    red = surface.radiance(hit, rays[on_plate], raytracing.SUN_DIRECTION)[:, 0]
    dark, bright = np.quantile(red, [0.05, 0.95])
    assert bright > 2 * dark


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "digger" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        write_small(kept.parent)
    assert [path.name for path in tmp_path.rglob("*")] == ["digger", "kept.txt"]
    assert kept.read_text() == "mine"


def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(builtin, "_write_mesh", fail)
    with pytest.raises(OSError, match="no space left"):
        write_small(tmp_path / "digger")
    assert list(tmp_path.iterdir()) == []
