"""The page: what a browser draws of it is what the engine renders, and it asks nobody for anything."""

import json
import re

import pytest
import torch

from nerf.backends.choice import choose_backend
from nerf.config import read_settings
from nerf.errors import InputError
from nerf.exporters import page
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox, crop_box
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.crop import within
from nerf.rendering.metrics import psnr
from nerf.rendering.witnesses import without_clouds
from nerf.viewer.page import FORMAT
from nerf.viewer.shader import Quantised, plain_field
from tests.ball import cameras_round
from tests.browser import NONE, browser, needs_browser

SMALL = ["field.levels=4", "field.log2_table_size=12", "field.base_resolution=4", "field.finest_resolution=32"]
SMALL += ["field.density_width=16", "field.color_width=16", "render.steps=96", "render.occupancy_resolution=16"]
VIEWS = 24
FIELDS = {
    "as they are": [],
    "unbounded": [],
    "one feature": ["field.features_per_level=1", "field.direction_degree=1"],
    "two features, two layers": ["field.features_per_level=2", "field.color_layers=2", "field.direction_degree=2"],
    "eight features, four layers": ["field.features_per_level=8", "field.color_layers=4", "field.direction_degree=3"],
    "wide": ["field.density_width=64", "field.color_width=64", "field.geometry_features=20"],
}


def lump(words=(), bounded=True):
    """Returns a model of a ball of random colours, dense enough to have a surface."""
    settings = read_settings(None, [*SMALL, *words])
    ball = None if bounded else Contraction(torch.tensor([0.1, 0.0, -0.1]), 1.5, 0.1)
    box = SceneBox(torch.full((3,), -0.6), 1.2) if bounded else SceneBox(ball.center - 1.5, 3.0, ball)
    axis = (torch.arange(16) + 0.5) / 16
    place = box.world_from_unit(torch.cartesian_prod(axis, axis, axis)).view(16, 16, 16, 3)
    cells = place.norm(dim=-1) < 0.5
    model = choose_backend("native").model(settings, box, cells)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.field.parameters():
            spread = 1.0 if parameter is model.field.encoding.table else 2.0 / parameter.shape[1] ** 0.5
            parameter.copy_(spread * torch.randn(parameter.shape, generator=random))
        model.field.density_mlp.weights[1][0] = model.field.density_mlp.weights[1][0].abs()
    return model


def written(model, folder, sides=slice(None), **choices):
    """Returns the file of a model's page."""
    cameras = cameras_round(VIEWS)[sides]
    request = ExportRequest({}, SurfaceRequest(32), **choices)
    context = ExportContext(model, cameras, [f"{i}.png" for i in range(len(cameras))], request)
    assert "MiB" in page.write(context, folder / "scene.html")
    return folder / "scene.html"


@needs_browser
@pytest.mark.parametrize("name", FIELDS)
def test_the_page_draws_what_the_engine_renders(tmp_path, name):
    bounded = name not in ("unbounded", "wide")
    model = lump(FIELDS[name], bounded)
    file = written(model, tmp_path)
    clear = without_clouds(model, cameras_round(VIEWS))[0]
    cameras = cameras_round(3, size=40)
    with browser(f"file://{file}") as page_seen, torch.no_grad():
        for frame in range(3):
            pose = cameras.world_from_camera[frame].T.reshape(12).tolist()
            lens = [*cameras.focal[frame].tolist(), *cameras.center[frame].tolist()]
            drawn = torch.from_numpy(page_seen.picture(pose, lens, 40, 40).copy())[..., :3] / 255
            exact = clear.picture(cameras, frame).over(1.0 if bounded else 0.0)
            assert exact.std() > 0.05
            assert psnr(drawn, exact) > 40

            away = page_seen.picture(pose, lens, 40, 40, 3).copy().view("<f4")[..., 0]
            distance = clear.distances(cameras, frame)
            both = torch.from_numpy(away > 0) & distance.isfinite()
            assert (torch.from_numpy(away > 0) == distance.isfinite()).float().mean() > 0.97
            off = (torch.from_numpy(away.copy()) - distance)[both].abs()
            assert off.quantile(0.9) < 2 * model.step_length()

            # Its crop box cuts where that of every other output does.
            page_seen.value("(element('high0').value = 0.1, element('high0').oninput())")
            high = page_seen.value("cut.high[0]")
            cut = within(clear, crop_box([-9, -9, -9, high, 9, 9]))[0].distances(cameras, frame)
            away = torch.from_numpy(page_seen.picture(pose, lens, 40, 40, 3).copy().view("<f4")[..., 0].copy())
            both = (away > 0) & cut.isfinite()
            assert both.sum() > 20 and ((away > 0) == cut.isfinite()).float().mean() > 0.97
            rays = cameras.image_rays(frame)
            point = rays.origin + away.view(-1, 1) * rays.direction
            assert point[(away > 0).flatten(), 0].max() < high + 1e-3
            assert (away - cut)[both].abs().quantile(0.9) < 2 * model.step_length()
            page_seen.value("uncut()")
        assert page_seen.errors == []
        asked = [address for address in page_seen.requests if not address.startswith("data:")]
        assert asked == [f"file://{file}"]


@needs_browser
def test_the_page_is_moved_by_mouse_wheel_keys_and_buttons_and_outlives_its_context(tmp_path):
    with browser(f"file://{written(lump(), tmp_path)}") as seen:
        first = seen.value("pose()")
        seen.mouse("mousePressed", 160, 150, button="left", buttons=1, clickCount=1)
        seen.mouse("mouseMoved", 190, 155, button="left", buttons=1)
        seen.mouse("mouseReleased", 190, 155, button="left", clickCount=1)
        turned = seen.value("pose()")
        assert turned != first
        seen.mouse("mouseWheel", 160, 150, deltaX=0, deltaY=240)
        farther = seen.value("camera.away")
        assert farther > seen.value("firstAway") * 1.1
        seen.call("Input.dispatchKeyEvent", type="keyDown", key="w")
        seen.value("new Promise(done => setTimeout(done, 400))")
        seen.call("Input.dispatchKeyEvent", type="keyUp", key="w")
        assert seen.value("pose()") != turned

        seen.value("element('home').click()")
        assert seen.value("pose()") == pytest.approx(first, abs=1e-5)
        seen.value("element('view').click()")
        assert seen.value("pose()") == pytest.approx(seen.value("head.views[0]"), abs=1e-5)
        seen.value("element('play').click()")
        seen.value("new Promise(done => setTimeout(done, 1500))")
        assert seen.value("playing !== null")
        seen.value("element('play').click()")

        # A double click turns about what is there; a place without anything changes nothing.
        seen.value("element('home').click()")
        seen.value("canvas.dispatchEvent(new MouseEvent('dblclick', {clientX: 2, clientY: 238}))")
        assert seen.value("pose()") == pytest.approx(first, abs=1e-5)
        where = "{clientX: canvas.clientWidth / 2 + 9, clientY: canvas.clientHeight / 2}"
        seen.value(f"canvas.dispatchEvent(new MouseEvent('dblclick', {where}))")
        assert seen.value("Math.hypot(...camera.pivot)") < 0.7

        # What is cut is not drawn.
        lens = "lensOf(camera.view, 40, 40)"
        whole = seen.value(f"picture(pose(), {lens}, 40, 40, 3).reduce((sum, x) => sum + (x > 0), 0)")
        seen.value("(() => { const i = element('high2'); i.value = 0; i.oninput(); })()")
        half = seen.value(f"picture(pose(), {lens}, 40, 40, 3).reduce((sum, x) => sum + (x > 0), 0)")
        assert 0 < half < 0.9 * whole

        before = seen.value(f"picture(pose(), {lens}, 40, 40).join()")
        seen.value("(window.lost = gl.getExtension('WEBGL_lose_context')).loseContext()")
        seen.value("new Promise(done => setTimeout(done, 200))")
        assert "waiting" in seen.value("element('message').textContent")
        seen.value("lost.restoreContext()")
        seen.value("new Promise(done => setTimeout(done, 1500))")
        assert seen.value(f"picture(pose(), {lens}, 40, 40).join()") == before
        assert seen.value("benchmark(40), element('message').textContent").endswith("times for a pixel")
        assert seen.errors == []


@needs_browser
def test_the_layer_of_coverage_has_spots_and_leads_through_the_suggestions(tmp_path):
    one_side = cameras_round(VIEWS).world_from_camera[:, 0, 3] > 0.3
    painted = "over.getContext('2d').getImageData(0, 0, over.width, over.height).data.some((value) => value > 0)"
    with browser(f"file://{written(lump(), tmp_path, one_side, coverage=True)}") as seen:
        assert seen.value("head.coverage.suggested.length") == 5
        assert seen.value("head.coverage.points.flat().length") > 60
        assert not seen.value(painted)

        # The first push shows the layer, further ones the suggestions, and one more hides it.
        push = "element('coverage').click(), new Promise(done => setTimeout(done, 700))"
        first = seen.value("pose()")
        seen.value(push)
        assert seen.value(painted) and "seen well" in seen.value("element('message').textContent")
        assert seen.value("pose()") == first
        seen.value(push)
        assert seen.value("pose()") == pytest.approx(seen.value("head.coverage.suggested[0]"), abs=1e-5)
        assert seen.value("element('message').textContent").startswith("1: from ")
        for _ in range(5):
            seen.value(push)
        assert not seen.value(painted) and seen.value("element('message').hidden")
        assert seen.errors == []


def test_a_page_without_the_layer_has_nothing_of_it(tmp_path):
    text = written(lump(), tmp_path).read_text()
    assert "coverage" not in text


@needs_browser
def test_fingers_turn_pinch_and_move_the_scene_on_a_narrow_screen(tmp_path):
    with browser(f"file://{written(lump(), tmp_path)}", size=(320, 480)) as seen:
        seen.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
        assert seen.value("document.documentElement.scrollWidth") <= 320
        low = seen.value("Math.max(...[...element('bar').children].map(each => each.getBoundingClientRect().right))")
        assert low <= 320

        def touched(*steps):
            for number, points in enumerate(steps):
                kind = "touchStart" if number == 0 else "touchMove"
                seen.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])
            seen.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

        before = seen.value("[camera.azimuth, camera.away]")
        touched([(160, 250)], [(190, 250)], [(220, 250)])
        turned = seen.value("[camera.azimuth, camera.away]")
        assert turned[0] != before[0] and turned[1] == pytest.approx(before[1])
        touched([(140, 250), (180, 250)], [(100, 250), (220, 250)])
        assert seen.value("camera.away") < 0.6 * turned[1]
        pivot = seen.value("camera.pivot")
        touched([(140, 250), (180, 250)], [(140, 300), (180, 300)])
        assert seen.value("camera.pivot") != pivot
        assert seen.errors == []


@needs_browser
def test_without_webgl_the_page_is_its_poster_and_a_sentence(tmp_path):
    with browser(f"file://{written(lump(), tmp_path)}", flags=NONE, size=(320, 480)) as seen:
        assert "WebGL2" in seen.value("element('message').textContent")
        assert seen.value("element('poster').naturalWidth") > 0 and seen.value("element('canvas').hidden")
        assert seen.value("document.documentElement.scrollWidth") <= 320


def test_the_same_scene_is_the_same_page_and_holds_no_path(tmp_path):
    one = written(lump(), tmp_path)
    text = one.read_text(encoding="utf-8")
    (tmp_path / "again").mkdir()
    assert written(lump(), tmp_path / "again").read_text(encoding="utf-8") == text
    assert str(tmp_path) not in text and "0.png" not in text
    assert not re.findall(r"(?:https?:)?//[a-z0-9.]+\.[a-z]", text.split('id="stream"')[0])
    head = json.loads(re.search(r'<script id="head" type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    assert head["format"] == FORMAT and len(head["track"]) == page.TRACK


def test_bytes_are_within_half_a_step_of_the_table():
    field = plain_field(lump())
    table = Quantised.of(field)
    half_a_step = torch.cat([span.expand(rows, -1) for span, rows in zip(table.span / 510, table.rows)])
    assert (table.features() - field.encoding.table).abs().le(half_a_step * 1.001 + 1e-7).all()


def test_what_a_browser_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match="narrower networks"):
        written(lump(["field.color_width=256", "field.color_layers=2"]), tmp_path)
    with pytest.raises(InputError, match=r"a page is a \.html file"):
        page.check(tmp_path / "scene.htmlx", ExportRequest({}, SurfaceRequest(32)))
