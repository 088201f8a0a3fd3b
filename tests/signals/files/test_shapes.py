import numpy
import pytest
import torch
import trimesh

from nerf.errors import InputError
from nerf.signals.files.shapes import MARGIN, Surface, intersection_over_union, read_shape


def test_a_box_has_its_exact_distances_with_the_right_sign(tmp_path):
    file = tmp_path / "box.obj"
    trimesh.creation.box((2, 4, 1)).apply_translation((10, 0, 0)).export(file)
    shape = read_shape(file)
    side = 4 / (1 - 2 * MARGIN)
    assert shape.side == pytest.approx(side) and numpy.allclose(shape.corner, numpy.array([10, 0, 0]) - side / 2)
    found = Surface(shape.corners).distance(
        torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5 + 1 / side], [0.5, 0.99, 0.5]])
    )
    assert torch.allclose(found, torch.tensor([-0.5 / side, 0.5 / side, 0.49 - 2 / side]), atol=1e-6)


def ball(radius, x=0.0, inverted=False):
    made = trimesh.creation.icosphere(2, radius)
    made.apply_translation((x, 0, 0))
    if inverted:
        made.invert()
    return made


@pytest.mark.parametrize(
    ("bodies", "inside"),
    [
        ([ball(1, inverted=True)], [True, True, False]),
        ([ball(1), ball(1, 3)], [True, True, True]),
        ([ball(1), ball(1, 3, inverted=True)], [True, True, True]),
        ([ball(1), ball(1)], [True, True, False]),
        ([ball(1), ball(0.5, inverted=True)], [False, True, False]),
        ([ball(1), ball(1, 0.5)], [True, True, False]),
        ([ball(1, inverted=True), ball(1, 0.5, inverted=True)], [True, True, False]),
    ],
    ids=["inside out", "two bodies", "one of two inside out", "twice the same", "a cavity", "overlapping", "both so"],
)
def test_what_is_inside_does_not_depend_on_which_way_triangles_face(tmp_path, bodies, inside):
    trimesh.util.concatenate(bodies).export(tmp_path / "bodies.stl")
    shape = read_shape(tmp_path / "bodies.stl")
    points = torch.tensor([[0.0, 0, 0], [0.75, 0, 0], [3, 0, 0]])
    found = Surface(shape.corners).distance((points - torch.from_numpy(shape.corner).float()) / shape.side)
    assert (found < 0).tolist() == inside


def test_how_much_lies_in_two_bodies_is_told(tmp_path):
    for bodies, part in (([ball(1), ball(1, 1)], 1.309 / 7.07), ([ball(1), ball(0.5, inverted=True)], 0)):
        trimesh.util.concatenate(bodies).export(tmp_path / "bodies.stl")
        surface = Surface(read_shape(tmp_path / "bodies.stl").corners)
        points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
        assert surface.overlap(points) == pytest.approx(part, abs=0.02)  # 4 standard errors of 8000 points


def test_points_lie_on_the_surface_evenly_by_area_and_samples_half_near_it(tmp_path):
    file = tmp_path / "box.obj"
    trimesh.creation.box((1, 1, 0.1)).export(file)
    surface = Surface(read_shape(file).corners)
    random = torch.Generator().manual_seed(0)
    point = surface.points(4000, random)
    assert surface.distance(point).abs().max() < 1e-5
    rim = ((point[:, :2] - 0.5).abs().max(1).values > 0.45 - 1e-4).float().mean().item()
    assert rim == pytest.approx(0.4 / 2.4, abs=0.02)  # the part of the area; 4000 draws: 0.006 of standard error
    sample = surface.samples(4000, random)
    assert sample.min() >= 0 and sample.max() <= 1
    assert 0.5 < (surface.distance(sample).abs() < 0.06).float().mean() < 0.75


def test_a_textured_mesh_whose_seams_split_vertices_counts_as_closed(tmp_path):
    mesh = trimesh.creation.box()
    lines = [f"v {x} {y} {z}" for x, y, z in mesh.vertices] + [f"vt {k / 12} 0" for k in range(36)]
    lines += [
        "f " + " ".join(f"{v + 1}/{3 * k + c + 1}" for c, v in enumerate(face)) for k, face in enumerate(mesh.faces)
    ]
    (tmp_path / "seams.obj").write_text("\n".join(lines))
    assert len(read_shape(tmp_path / "seams.obj").corners) == 12


def test_a_mesh_with_holes_is_refused_with_their_number(tmp_path):
    ball = trimesh.creation.icosphere(2)
    keep = numpy.ones(len(ball.faces), bool)
    keep[[0, 200]] = False
    trimesh.Trimesh(ball.vertices, ball.faces[keep]).export(tmp_path / "holes.ply")
    with pytest.raises(InputError, match=r"2 holes \(6 open edges\).*Close Holes.*normals"):
        read_shape(tmp_path / "holes.ply")


def test_points_with_normals_are_read_and_those_without_are_refused(tmp_path):
    places = trimesh.creation.icosphere(2).vertices
    text = "\n".join(" ".join(map(str, (*place, *place))) for place in places)
    (tmp_path / "ball.xyzn").write_text(text)
    shape = read_shape(tmp_path / "ball.xyzn")
    assert len(shape.corners) == 0 and numpy.allclose(shape.points, 0.5 + 0.45 * shape.normals, atol=1e-5)
    trimesh.PointCloud(places).export(tmp_path / "bare.ply")
    with pytest.raises(InputError, match="without normals"):
        read_shape(tmp_path / "bare.ply")


@pytest.mark.parametrize("name", ["cut.ply", "text.ply", "text.obj", "nan.obj", "a.txt", "missing.obj"])
def test_a_bad_shape_is_refused_in_one_line(tmp_path, name):
    file = tmp_path / name
    if name == "cut.ply":
        trimesh.creation.icosphere(2).export(file)
        file.write_bytes(file.read_bytes()[:-200])
    elif name == "nan.obj":
        file.write_text("v 0 0 0\nv nan 1 0\nv 1 0 0\nf 1 2 3\n")
    elif name != "missing.obj":
        file.write_text("no shape")
    with pytest.raises(InputError) as caught:
        read_shape(file)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_intersection_over_union_of_a_case_by_hand():
    a = torch.tensor([1, 1, 1, 0]).bool()
    b = torch.tensor([0, 1, 1, 1]).bool()
    assert intersection_over_union(a, b) == 0.5 and intersection_over_union(a & ~a, b & ~b) == 1


@pytest.mark.parametrize("suffix", [".stl", ".glb", ".ply"])
def test_a_shape_that_single_precision_turned_into_stairs_is_refused(tmp_path, suffix):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    ball.apply_translation([448262, 5411932, 200]).export(tmp_path / f"far{suffix}")
    with pytest.raises(InputError, match="2 large and so far from the origin that its numbers.*steps of 0.5"):
        read_shape(tmp_path / f"far{suffix}")


def test_a_shape_far_from_the_origin_in_double_precision_keeps_its_form(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    near = numpy.sort(ball.vertices[:, 1])
    ball.apply_translation([448262, 5411932, 200]).export(tmp_path / "far.obj", digits=8)
    shape = read_shape(tmp_path / "far.obj")
    heights = numpy.unique(shape.corners[..., 1].astype(numpy.float64) * shape.side + shape.corner[1] - 5411932)
    assert len(numpy.unique(near.round(6))) <= len(heights) and numpy.abs(heights).max() == pytest.approx(1, abs=1e-5)
