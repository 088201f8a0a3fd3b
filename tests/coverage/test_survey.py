"""What is missing is suggested, what is there is not, and words, page and files say so."""

import json
import math
import shutil

import pytest
import torch

from nerf.cli.main import main
from nerf.coverage import page as coverage_page
from nerf.coverage import survey as coverage_survey
from nerf.coverage import viewpoints as coverage_viewpoints
from nerf.coverage.page import finder, layer, verdict, write_page
from nerf.coverage.sights import CLASSES, GOOD, Photographs
from nerf.coverage.suggestions import described, told_apart
from nerf.coverage.survey import survey
from nerf.coverage.viewpoints import Stand, viewpoints
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.up import Up, find_up
from nerf.scenes import Views
from tests.ball import ball_model, cameras_round

UP = Up(torch.tensor([0.0, 0.0, 1.0]), "for a test")


def names_of(cameras):
    return [f"r_{frame}" for frame in range(len(cameras))]


def azimuth(camera):
    x, y, _ = camera.world_from_camera[0, :, 3].tolist()
    return math.degrees(math.atan2(y, x))


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Fewer places, seen with fewer pixels: the ball is rendered by the slow reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage_viewpoints, "DIRECTIONS", 40)
        patch.setattr(coverage_survey, "SIDE", 24)
        patch.setattr(coverage_page, "FINDER", 64)
        yield


@pytest.fixture(scope="module")
def full():
    return cameras_round(count=48, size=24)


@pytest.fixture(scope="module")
def gap(full):
    """Cameras without those of a quarter round the x axis."""
    x, y, _ = full.world_from_camera[:, :, 3].unbind(1)
    return full[torch.atan2(y, x).abs() > math.pi / 4]


@pytest.fixture(scope="module")
def found(gap):
    return survey(ball_model(), gap, names_of(gap), UP, None, 4)


def test_suggestions_fill_the_gap(found):
    assert len(found.suggestions) == 4
    assert len(found.suggested) == 4 and all(abs(azimuth(found.suggested[n : n + 1])) < 50 for n in range(4))
    assert found.after >= found.shares["good"]
    assert found.shares.keys() == {*CLASSES} and sum(found.shares.values()) == pytest.approx(1)


def test_a_full_capture_is_told_that_it_is_enough(full):
    found = survey(ball_model(), full, names_of(full), UP, None, 5)
    assert not found.suggestions
    assert "enough" in verdict(found)


def test_pictures_held_sideways_are_asked_for_upright(gap):
    pose = gap.world_from_camera
    right, down, forward, eye = pose.unbind(2)
    sideways = torch.stack([down, -right, forward, eye], dim=2)
    wide = Cameras(sideways, gap.focal, torch.tensor([[16.0, 12.0]] * len(gap)), 32, 24)
    found = survey(ball_model(), wide, names_of(gap), find_up(wide), None, 2)
    assert find_up(wide).sideways and len(found.suggestions) == 2
    assert (found.suggested.width, found.suggested.height) == (24, 32)


def test_the_same_capture_gets_the_same_suggestions(found, gap):
    again = survey(ball_model(), gap, names_of(gap), UP, None, 4)
    assert [each.sentence for each in again.suggestions] == [each.sentence for each in found.suggestions]
    assert torch.equal(again.classes, found.classes)


def test_photographs_that_do_not_show_what_the_scene_shows_disagree(full):
    images = torch.full((len(full), 24, 24, 4), 255, dtype=torch.uint8)
    images[..., :3] = 0
    views = Views(tuple(names_of(full)), images, 255, full)
    found = survey(ball_model(), full, names_of(full), UP, views, 1)
    assert found.shares["disagreeing"] > 0.8


def test_what_a_mask_hides_does_not_disagree(full):
    images = torch.full((len(full), 24, 24, 4), 255, dtype=torch.uint8)
    images[..., :3] = 0
    used = torch.zeros(len(full), 24, 24, dtype=torch.bool)
    found = survey(ball_model(), full, names_of(full), UP, Views(tuple(names_of(full)), images, 255, full, used), 1)
    assert found.shares["disagreeing"] == 0


def test_pictures_of_the_same_name_are_told_apart_by_their_folders():
    assert told_apart(["a/1.jpg", "a/2.jpg"]) == ["1.jpg", "2.jpg"]
    assert told_apart(["a/1.jpg", "b/1.jpg"]) == ["a/1.jpg", "b/1.jpg"]


def test_who_looks_away_from_one_another_is_told_why_nothing_is_suggested():
    eyes = cameras_round(count=24, size=48, distance=0.1).world_from_camera
    outwards = torch.cat([-eyes[:, :, :1], eyes[:, :, 1:2], -eyes[:, :, 2:3], eyes[:, :, 3:]], dim=2)
    model = ball_model(side=8.0)
    model.field.density = lambda position: (600.0 * ((position - 0.5).norm(dim=1) > 0.4), position - 0.5)
    cameras = Cameras(outwards, torch.full((24, 2), 40.0), torch.full((24, 2), 24.0), 48, 48)
    found = survey(model, cameras, names_of(cameras), UP, None, 5)
    assert not found.suggestions and "no common thing" in verdict(found)


def test_nobody_is_sent_into_matter_or_behind_it(gap):
    photographs = Photographs.of(ball_model(), gap)
    places = viewpoints(ball_model(), gap, photographs, UP.direction)
    away = places.world_from_camera[:, :, 3].norm(dim=1)
    assert len(places) > 40 and away.min() > 1.0  # cameras stand at 2, places at 2 and at 1.2


def test_words_lead_from_the_nearest_photograph():
    up = torch.tensor([0.0, 0.0, 1.0])

    def at(degrees, height, distance):
        turn = math.radians(degrees)
        eye = distance * torch.tensor([math.cos(turn), math.sin(turn), height])
        return look_at(eye, torch.zeros(3), up)

    there = torch.stack([at(0, 0.2, 2.0), at(180, 0.2, 2.0)])
    new = torch.stack([at(-40, 0.2, 2.0), at(-40, 0.7, 1.0), at(170, 0.2, 2.0)])
    lens = [torch.full((3, 2), 50.0), torch.full((3, 2), 24.0)]
    stand = Stand(torch.zeros(3), up, there[:, :, 3])
    first, second, third = described(stand, ["front", "back"], Cameras(new, *lens, 48, 48), [(0.3, 0.2)] * 3)
    # Who stands on the x axis and looks at the origin has the y axis to the right.
    assert first.sentence.startswith(
        "from front go 40 degrees to the left; it shows 30% of the surface and tells 0.2 times"
    )
    assert first.bridges == 1 and "on the way take 1 more" in first.sentence
    assert second.nearest == "suggestion 1" and "24 degrees higher, to 0.6 times the distance" in second.sentence
    assert third.sentence.startswith("from back go 10 degrees to the") and third.bridges == 0


def test_the_page_shows_what_the_finder_should_and_colours_what_is_not_good(found, tmp_path):
    write_page(tmp_path / "page.html", "<b>", found)
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;" in page and page.count("class=shot") == 4 and page.count("data:image/jpeg") == 8
    assert all(name in page for name in CLASSES) and verdict(found) in page
    rgb, tinted = finder(found, 0)
    changed = (rgb != tinted).any(dim=2)
    assert changed.any() == bool((found.classes != GOOD).any()) and not changed.all()


def test_a_page_of_the_scene_gets_points_of_what_is_not_good(found):
    facts = layer(found)
    assert len(facts["points"]) == len(facts["colors"]) == len(CLASSES) - 1
    bad = (found.classes != GOOD).sum().item()
    assert 0 < sum(len(points) // 6 for points in facts["points"]) <= bad
    assert len(facts["suggested"]) == len(facts["words"]) == 4 and len(facts["suggested"][0]) == 13


def test_the_command_writes_page_table_and_points(ball_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(ball_run, run)
    assert main(["check", str(run), "--after", "--suggest", "2", "--out", str(tmp_path / "seen.html")]) == 0
    said = capsys.readouterr().out
    assert "not the whole of error" in said and "seen.json and seen.points.ply" in said
    table = json.loads((tmp_path / "seen.json").read_text())
    assert table["shares"].keys() == {*CLASSES} and len(table["frames"]) in (0, 2)
    for frame in table["frames"]:
        assert {"transform_matrix", "fl_x", "words", "nearest"} <= frame.keys()
    import trimesh

    assert len(trimesh.load(tmp_path / "seen.points.ply").vertices) > 100


def test_files_of_others_are_not_replaced(ball_run, tmp_path, capsys):
    (tmp_path / "seen.json").write_text('{"mine": 1}')
    assert main(["check", str(ball_run), "--after", "--out", str(tmp_path / "seen.html")]) == 2
    assert "not written by nerf, and would be replaced" in capsys.readouterr().err
    assert main(["check", str(ball_run), "--after", "--out", str(tmp_path / "seen.json")]) == 2
    assert "a page is a .html file" in capsys.readouterr().err
    assert main(["export", str(ball_run), "--mesh", str(tmp_path / "m.ply"), "--coverage"]) == 2
    assert "give --page FILE, too" in capsys.readouterr().err


def test_after_and_before_do_not_mix(ball_run, capsys):
    assert main(["check", str(ball_run), "--after", "--downscale", "2"]) == 2
    assert "leave out --config, --downscale and settings" in capsys.readouterr().err
    assert main(["check", str(ball_run), "--suggest", "3"]) == 2
    assert "goes with --after" in capsys.readouterr().err
