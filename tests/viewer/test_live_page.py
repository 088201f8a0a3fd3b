"""The live page in a browser: it draws the field as it comes, jumps to photographs, and plays key frames."""

import shutil
import threading

import pytest

from nerf.report import listen
from nerf.workflows.trained import open_run
from nerf.workflows.view import view
from tests.browser import NONE, SOFTWARE, browser, needs_browser

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(params=["drawn here", "drawn by the program"])
def seen(request, ball_run, tmp_path, monkeypatch):
    """Gives a browser that watches a copy of a run, and whether it has WebGL."""
    shutil.copytree(ball_run, tmp_path / HOSTILE)
    shutil.copytree(ball_run.parent / "ball", tmp_path / "ball")
    run = open_run(tmp_path / HOSTILE, "reference")
    said = []
    over = threading.Event()

    def served(live, model, step):
        live.tell({"phase": "done"})
        while not over.is_set():
            live.wait(0.05, step)
            live.work(lambda: model, step)

    monkeypatch.setattr("nerf.workflows.view.serve", served)
    with listen(lambda topic, text: said.append(text)):
        thread = threading.Thread(target=view, args=(run, tmp_path / "ball", "127.0.0.1", 0))
        thread.start()
        while not any(text.startswith("view: http") for text in said):
            over.wait(0.05)
    address = next(text for text in said if text.startswith("view: http")).split()[1]
    drawn_here = request.param == "drawn here"
    with browser(address, flags=SOFTWARE if drawn_here else NONE, size=(900, 500)) as page:
        yield page, run, drawn_here
    over.set()
    thread.join()


WAIT = """new Promise(done => {
    let n = 0;
    const look = () => (%s) || ++n > 1000 ? done(%s) : setTimeout(look, 100);
    look();
})"""


def met(page, condition):
    return page.value(WAIT % (condition, condition))


@needs_browser
def test_the_live_page_shows_the_scene_its_photographs_and_its_key_frames(seen):
    page, run, drawn_here = seen
    assert page.value("!!gl") == drawn_here and page.value("element('link').textContent") == ""
    assert page.value("element('list').children.length") == len(run.cameras)

    # The first picture has a ball in it.
    if drawn_here:
        drawn = "picture(pose(), lensOf(camera.view, 40, 40), 40, 40, 3).reduce((sum, x) => sum + (x > 0), 0)"
        assert page.value(drawn) > 100
    else:
        pixels = "flat.getContext('2d').getImageData(0, 0, flat.width, flat.height).data"
        assert met(page, f"!flat.hidden && new Set({pixels}).size > 50")

    # A photograph's camera: its picture beside the scene through the same lens.
    page.value("jump(3)")
    assert met(page, "!pairLayer.hidden && shownPair.width > 0")
    assert page.value("pose().slice(0, 12)") == pytest.approx(
        run.cameras.world_from_camera[3].T.reshape(12).tolist(), abs=1e-4
    )
    for way in ("beside", "difference", "photograph", "scene", "wipe"):
        page.value("element('way').click()")
        assert page.value("element('way').textContent") == way
    page.value("element('closepair').click()")

    # Key frames: two views, played by the program's own path.
    page.value("(lookFrom(about.poses[0]), addKey(), lookFrom(about.poses[1]), addKey(), saveKeys())")
    assert met(page, "element('told').textContent.startsWith('saved:')")
    page.value("playKeys()")
    assert page.value("head.track.length") == 20
    assert page.value("head.track[0].slice(0, 12)") == pytest.approx(page.value("keys[0].pose.slice(0, 12)"), abs=1e-4)
    page.value("(keys.splice(0, 9), showKeys(), loadKeys())")
    assert page.value("[keys.length, keys[1].time, element('keylist').children.length]") == [2, 2, 2]

    # What else is drawn over the scene.
    page.value("(element('bounds').checked = true, redraw())")
    assert met(page, "over.getContext('2d').getImageData(0, 0, over.width, over.height).data.some(x => x > 0)")
    page.value("(element('sparse').checked = true, element('sparse').onchange())")
    assert met(page, "element('told').textContent.includes('no sparse points')")
    assert not page.value("element('sparse').checked")

    # A crop box: kept with the run, and there again with the next visit.
    page.value("(element('high2').value = 0, element('high2').oninput(), keepCrop())")
    assert met(page, "element('told').textContent.includes('is kept')")
    box = run.folder.load_crop()
    assert abs(box.high[2].item()) < 0.01 and box.low[2].item() < -1
    page.value("(uncut(), cutBy(about.crop))")
    assert page.value("cut.high[2]") == pytest.approx(box.high[2].item()) and page.value("cut.low[2]") < -1e29

    # Words of strangers are words.
    assert page.value("element('title').textContent") == HOSTILE
    assert page.value("document.querySelectorAll('#panel img').length") == 0
    assert page.errors == []
    host = page.value("location.host")
    assert [address for address in page.requests if host not in address and not address.startswith("data:")] == []


@needs_browser
def test_on_a_narrow_screen_the_scene_has_the_room_and_the_panel_opens_on_demand(seen):
    page, _, drawn_here = seen
    page.call("Emulation.setDeviceMetricsOverride", width=320, height=480, deviceScaleFactor=1, mobile=True)
    page.call("Page.reload")
    page.value("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
    page.value("ready")
    assert page.value("panel.hidden") and page.value("document.documentElement.scrollWidth") <= 320
    page.value("[...element('bar').children].at(-1).click()")
    assert not page.value("panel.hidden") and page.value("panel.clientWidth") <= 0.9 * 320


@needs_browser
def test_scores_colour_the_cameras_and_sort_the_photographs(seen):
    page, run, _ = seen
    page.value("(socket.send(JSON.stringify({ask: 'score'})), 0)")
    assert met(page, f"scores.size === {len(run.cameras)}")
    page.value("(element('order').value = 'worst first', showPhotographs())")
    values = page.value("[...element('list').children].map(row => parseFloat(row.querySelector('.score').textContent))")
    assert values == sorted(values)
    assert values[0] > 10, values
