"""The live view: what visitors get of a training and of a run, and that a watched training has the same bits."""

import json
import shutil
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.geometry.scene_box import crop_box
from nerf.rendering.crop import within
from nerf.rendering.witnesses import thumbnails
from nerf.report import listen
from nerf.runs import RunFolder
from nerf.video.keyframes import read_keys
from nerf.viewer.asked import command
from nerf.viewer.jobs import Jobs
from nerf.viewer.live import LiveView, Shown
from nerf.viewer.watching import SHARE, TrainingView, serve
from nerf.workflows.trained import open_run
from tests.backends.small_scene import ball_task
from tests.conftest import SMALL, write_ball_scene
from tests.viewer.visitor import visiting


def trained(folder, observers=(), steps=150):
    """Returns the tensors of a checkpoint, of a training that observers watch."""
    from nerf.config import TrainSettings
    from nerf.training.trainer import Trainer

    run = RunFolder(folder)
    folder.mkdir()
    settings = TrainSettings(steps=steps, preview_seconds=0, checkpoint_seconds=1e9)
    Trainer(ball_task(), settings, 300, run, list(observers)).run_to_budget(lambda step: None)
    return run.load_checkpoint()[0]


class Visited(TrainingView):
    """A training that a scripted visitor watches: it asks for fields and pictures, pauses and saves."""

    def begun(self, trainer):
        super().begun(trainer)
        self.fields, self.paused, self.failed = [], 0, []
        self.thread = threading.Thread(target=self._visit)
        self.thread.start()
        while not self.live.wanted(trainer.step):  # the first step waits until somebody watches
            self.live.wait(0.01, trainer.step)

    def _visit(self):
        try:
            with visiting(self.live.server) as talk:
                step = -1
                for _ in range(2):
                    found, content = talk.ask("field", after=step)
                    step = found["step"]
                    self.fields.append((step, found["facts"], content))
                talk.ask("picture", view=0, side=32, moving=True)
                talk.send(json.dumps({"ask": "do", "what": "pause"}))
                assert len(talk.ask("field", after=-1)[1]) == len(content)
                self.paused = self._trainer.step
                talk.send(json.dumps({"ask": "do", "what": "save"}))
                talk.send(json.dumps({"ask": "do", "what": "resume"}))
        except BaseException as error:
            self.failed.append(error)
            self._paused = False

    def ended(self, end):
        super().ended(end)
        self.thread.join(60)


def test_a_watched_training_has_the_bits_of_one_that_nobody_watches(tmp_path, monkeypatch):
    monkeypatch.setattr("nerf.viewer.watching.SHARE", 10.0)  # this training is too short for a visitor otherwise
    alone = trained(tmp_path / "alone")
    view = Visited("127.0.0.1", 0)
    watched = trained(tmp_path / "watched", [view])
    view.close()
    assert view.failed == [] and not view.thread.is_alive()
    assert alone.keys() == watched.keys()
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    (first, facts, one), (second, _, two) = view.fields
    assert first < second and one != two
    assert len(one) == facts["rows"] * facts["texels"] * 4 + sum(facts["blocks"].values()) + facts["cells"] ** 3 // 8


def test_showing_takes_a_twentieth_of_the_training_at_the_most(tmp_path):
    """Work is only begun when there is time for it."""
    view = TrainingView("127.0.0.1", 0)
    done = []

    class Clock:
        step = 7
        seconds = 0.0
        stopping = False

    class Live:
        def wanted(self, step):
            return "field"

        def work(self, model, step):
            done.append(Clock.seconds)

    view.live, view._trainer = Live(), Clock
    view._costs = {"field": 1.0}
    view._spent = 1.0
    for Clock.seconds in (1.0, 30.0, 39.9, 40.1):
        view.stepped(7, None)
    assert SHARE == 0.05 and done == [40.1]


def test_a_paused_training_still_ends_when_it_is_told_to(tmp_path):
    view = TrainingView("127.0.0.1", 0)

    class Impatient(TrainingView):
        def begun(self, trainer):
            super().begun(trainer)
            self._pause()
            threading.Timer(0.5, trainer.stop).start()

    view = Impatient("127.0.0.1", 0)
    trained(tmp_path / "run", [view])
    view.close()
    assert RunFolder(tmp_path / "run").load_checkpoint()[1]["step"] == 1


@pytest.fixture
def shown(ball_run, tmp_path):
    """Gives a visitor to a copy of a run, and the run."""
    shutil.copytree(ball_run, tmp_path / "run")
    run = open_run(tmp_path / "run", "reference")
    photographs = torch.rand(len(run.cameras), 40, 40, 3, generator=torch.Generator().manual_seed(0))
    up = torch.tensor([0.0, 0.0, 1.0])
    live = LiveView(
        Shown(
            "<b>ball</b>", run.folder.path, run.cameras, run.record["views"], up, lambda frame: photographs[frame], 1.0
        ),
        {},
        "127.0.0.1",
        0,
    )
    live.jobs = Jobs(live.server.tell)

    class Ended(Exception):
        pass

    over = threading.Event()
    wait = live.wait

    def waited(seconds, step):
        if over.is_set():
            raise Ended
        wait(0.05, step)

    live.wait = waited

    def served():
        with pytest.raises(Ended):
            serve(live, run.model, run.facts["step"])

    thread = threading.Thread(target=served)
    thread.start()
    with visiting(live.server) as talk:
        talk.show = lambda **what: setattr(live, "shown", replace(live.shown, **what))
        yield talk, run, photographs
    over.set()
    thread.join()
    live.close()


def test_a_photographs_camera_shows_what_the_model_shows_through_its_lens(shown):
    talk, run, photographs = shown
    found, content = talk.ask("picture", view=2, side=48, moving=False)
    drawn = numpy.asarray(Image.open(BytesIO(content)), dtype=float) / 255
    with torch.no_grad():
        exact = run.model.picture(thumbnails(run.cameras[2:3], 48), 0).over(1.0).numpy()
    assert (found["width"], found["height"]) == (48, 48) and abs(drawn - exact).mean() < 0.02
    truth = Image.open(BytesIO(talk.ask("photograph", view=2, side=20)[1]))
    assert truth.size == (20, 20)


def test_a_picture_of_the_program_is_cut_as_the_page_is(shown):
    talk, run, _ = shown
    box = [-1, -1, -1, 1, 1, 0]
    drawn = []
    for crop in (None, box, None):
        content = talk.ask("picture", view=2, side=48, moving=False, crop=crop)[1]
        drawn.append(numpy.asarray(Image.open(BytesIO(content)), dtype=float) / 255)
    with torch.no_grad():
        cut, gone = within(run.model, crop_box(box))
        exact = cut.picture(thumbnails(run.cameras[2:3], 48), 0).over(1.0).numpy()
    assert abs(drawn[1] - exact).mean() < 0.02 < abs(drawn[0] - exact).mean() and 0.3 < gone < 0.7
    assert numpy.array_equal(drawn[0], drawn[2])
    assert "is not below" in talk.ask("picture", view=2, side=48, crop=[1, 1, 1, 0, 0, 0])[0]["error"]


def test_sparse_points_are_shown_where_the_scene_has_some(shown):
    talk, run, _ = shown
    assert "no sparse points" in talk.ask("points")[0]["error"]
    points = torch.rand(50_000, 3, dtype=torch.float64)
    talk.show(points=lambda: points)
    found, content = talk.ask("points")
    sent = numpy.frombuffer(content, numpy.float32).reshape(-1, 3)
    assert found["count"] == len(sent) == 16_667 and numpy.allclose(sent, points[::3])


def test_photographs_are_scored_one_by_one(shown):
    talk, run, _ = shown
    talk.ask("score_", n=0)
    talk.send(json.dumps({"ask": "score"}))
    scores = {}
    while len(scores) < len(run.cameras):
        found, _ = talk.receive()
        if "score" in found:
            scores[found["score"]] = found["psnr"]
    assert all(0 < value < 30 for value in scores.values())
    about = talk.ask("about")[0]["about"]
    assert about["title"] == "<b>ball</b>" and len(about["scores"]) == len(about["names"]) == len(run.cameras)


def test_a_track_of_the_users_is_not_replaced(shown):
    talk, run, _ = shown
    (run.folder.path / "view.track.json").write_text("mine")
    keys = [{"pose": pose, "time": k} for k, pose in enumerate(talk.ask("about")[0]["about"]["poses"][:2])]
    found, _ = talk.ask("path", keys=keys, loop=False, seconds=1, frames=3, save=True)
    assert "exists already" in found["error"] and (run.folder.path / "view.track.json").read_text() == "mine"


def test_times_that_no_path_can_have_are_an_answer_not_the_end(shown):
    talk, _, _ = shown
    keys = [{"pose": pose, "time": k} for k, pose in zip((0, 1e-300), talk.ask("about")[0]["about"]["poses"])]
    assert talk.ask("path", keys=keys, loop=False, seconds=1, frames=3)[0]["error"]
    assert "about" in talk.ask("about")[0]


def test_a_field_that_no_browser_evaluates_is_refused_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr("nerf.viewer.shader.MOST_BLOCK", 64)
    with pytest.raises(InputError, match="too wide for a browser"):
        trained(tmp_path / "run", [TrainingView("127.0.0.1", 0)])


def test_what_cannot_be_shown_is_said_to_who_asked_and_ends_nothing(shown, monkeypatch):
    talk, run, photographs = shown

    def broken(*_):
        raise RuntimeError("out of\nluck")

    with monkeypatch.context() as patch:
        patch.setattr("nerf.viewer.live.browser_field", broken)
        patch.setattr("nerf.viewer.drawing.jpeg", broken)
        assert talk.ask("field", after=-1)[0]["error"] == "out of luck"
        assert talk.ask("picture", view=1, side=32, moving=False)[0]["error"] == "out of luck"
        patch.setattr("nerf.viewer.live.psnr", broken)
        talk.send(json.dumps({"ask": "score"}))
        assert talk.receive()[0] == {"error": "out of luck"}
    assert talk.ask("picture", view=1, side=32, moving=False)[1] and talk.ask("field", after=-1)[1]


def test_key_frames_become_a_track_that_render_takes(shown):
    talk, run, _ = shown
    poses = talk.ask("about")[0]["about"]["poses"]
    keys = [{"pose": pose, "time": 2.0 * k} for k, pose in enumerate(poses[:3])]
    found, _ = talk.ask("path", keys=keys, loop=False, seconds=4, frames=5, save=True)
    assert numpy.allclose(numpy.array(found["path"])[[0, 2, 4], :13], numpy.array(poses[:3]), atol=1e-4)
    read = read_keys(run.folder.path / "view.track.json", run.cameras, torch.tensor([0.0, 0.0, 1.0]))
    assert torch.allclose(read.poses, run.cameras.world_from_camera[:3], atol=1e-5) and read.when.tolist() == [0, 2, 4]


@pytest.mark.parametrize("loop", [False, True])
def test_key_frames_that_were_saved_are_there_again(shown, loop):
    talk, _, _ = shown
    keys = [{"pose": pose, "time": 1.5 * k} for k, pose in enumerate(talk.ask("about")[0]["about"]["poses"][:3])]
    assert "no key frames have been saved" in talk.ask("keys")[0]["error"]
    talk.ask("path", keys=keys, loop=loop, seconds=5 if loop else 3, frames=5, save=True)
    found, _ = talk.ask("keys")
    assert found["loop"] is loop and [key["time"] for key in found["keys"]] == [0, 1.5, 3]
    assert numpy.allclose([key["pose"] for key in found["keys"]], [key["pose"] for key in keys], atol=1e-4)


def test_saved_key_frames_that_cannot_be_read_are_said(shown):
    talk, run, _ = shown
    (run.folder.path / "view.track.json").write_text("{}")
    assert "expected" in talk.ask("keys")[0]["error"]
    frame = {"eye": [3, 0, 1], "target": [0, 0, 0]}
    (run.folder.path / "view.track.json").write_text(json.dumps({"frames": [frame] * 501}))
    assert "more than 500" in talk.ask("keys")[0]["error"]
    (run.folder.path / "view.track.json").write_text(json.dumps({"frames": [frame] * 2}))
    assert [key["time"] for key in talk.ask("keys")[0]["keys"]] == [0, 2]


def test_a_film_that_waits_keeps_the_key_frames_it_was_asked_with(shown):
    talk, run, _ = shown
    poses = talk.ask("about")[0]["about"]["poses"]
    facts = {"what": "film", "path": "keys", "frames": 4, "fps": 4, "width": 32, "height": 32, "loop": False}
    for first, name in ((0, "film-1.keys.json"), (3, "film-2.keys.json")):
        keys = [{"pose": pose, "time": k} for k, pose in enumerate(poses[first : first + 2])]
        talk.send(json.dumps({"ask": "job", "keys": keys, "seconds": 1, **facts}))
        assert talk.ask("about")[0]["about"]["jobs"][-1]["command"].endswith(str(run.folder.path / name))
    for first, name in ((0, "film-1.keys.json"), (3, "film-2.keys.json")):
        read = read_keys(run.folder.path / name, run.cameras, torch.tensor([0.0, 0.0, 1.0]))
        assert torch.allclose(read.poses, run.cameras.world_from_camera[first : first + 2], atol=1e-5)
    assert not (run.folder.path / "view.track.json").exists()


def test_a_film_of_key_frames_is_the_one_that_a_terminal_makes_of_them(shown, tmp_path):
    talk, run, _ = shown
    keys = [{"pose": pose, "time": k} for k, pose in enumerate(talk.ask("about")[0]["about"]["poses"][:2])]
    path = talk.ask("path", keys=keys, loop=False, seconds=1, frames=4, save=True)[0]["path"]
    facts = {"what": "film", "path": "keys", "frames": 4, "fps": 4, "width": 32, "height": 32, "loop": False}
    talk.send(json.dumps({"ask": "job", "keys": keys, "seconds": 1, **facts}))
    while (job := talk.receive()[0].get("job", {"state": ""}))["state"] != "done":
        assert job["state"] not in ("failed", "cancelled"), job["line"]
    words = ["render", str(run.folder.path), "--path", "keys", "--keys", str(run.folder.path / "view.track.json")]
    words += ["--out", str(tmp_path / "film.mp4"), "--size", "32x32", "--frames", "4", "--fps", "4"]
    assert main(words) == 0
    assert (tmp_path / "film.mp4").read_bytes() == (run.folder.path / "film-1.mp4").read_bytes()
    filmed = read_keys(run.folder.path / "film-1.track.json", run.cameras, torch.tensor([0.0, 0.0, 1.0])).poses
    assert numpy.allclose(filmed.transpose(1, 2).reshape(4, 12), numpy.array(path)[:, :12], atol=1e-4)


def test_a_crop_box_is_kept_with_the_run_and_forgotten(shown):
    talk, run, _ = shown
    assert talk.ask("about")[0]["about"]["crop"] is None
    assert talk.ask("crop", crop=[-1, -1, -1, 1, 1, 0.25])[0]["kept"]
    assert run.folder.load_crop().high.tolist() == [1, 1, 0.25]
    assert talk.ask("about")[0]["about"]["crop"] == [-1, -1, -1, 1, 1, 0.25]
    assert "is not below" in talk.ask("crop", crop=[1, 1, 1, 0, 0, 0])[0]["error"]
    assert not talk.ask("crop", crop=None)[0]["kept"] and run.folder.load_crop() is None


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"keys": []}, "expected 2 to"),
        ({"keys": [{"pose": [0.0] * 13, "time": 0}] * 2}, "times must increase"),
        ({"keys": [{"pose": [0.0] * 13, "time": k} for k in (0, 1)]}, "no rotation"),
        ({"keys": [{"pose": [1e300] * 13, "time": k} for k in (0, 1)]}, "expected a number"),
        ({"keys": [{"pose": "x" * 13, "time": 0}] * 2}, "expected 13 numbers"),
    ],
)
def test_key_frames_that_are_none_are_refused(shown, facts, says):
    talk, run, _ = shown
    found, _ = talk.ask("path", loop=False, seconds=4, frames=5, save=True, **facts)
    assert says in found["error"] and not (run.folder.path / "view.track.json").exists()


@pytest.mark.parametrize(
    ("ask", "facts"),
    [
        ("picture", {"view": 99, "side": 64}),
        ("picture", {"view": 0, "side": 1e9}),
        ("picture", {"view": 0.5, "side": 64}),
        ("picture", {"view": True, "side": 64}),
        ("picture", {"pose": [0] * 12, "focal": 1, "width": 64, "height": 64}),
        ("photograph", {"view": "../0", "side": 64}),
        ("field", {"after": "x"}),
        ("do", {"what": "pause"}),
        ("job", {"what": "../film"}),
        ("job", {"what": "film", "path": "--out=x", "frames": 3, "fps": 3, "width": 32, "height": 32}),
        ("job", {"what": "mesh", "resolution": "16 --out x"}),
        ("job", {"what": "points", "crop": [0, 0, 0, 1, 1]}),
        ("crop", {"crop": [0, 0, 0, 1, 1, "1"]}),
        ("result", {"job": 7}),
        ("pictures", {}),
    ],
)
def test_what_will_not_do_is_refused_in_one_line(shown, ask, facts):
    found, content = shown[0].ask(ask, **facts)
    assert "\n" not in found["error"] and content is None


def test_commands_have_the_words_that_a_user_would_type():
    run = Path("runs/mine")
    crop = [-1, -1, -1, 1, 1, 0.25]
    words, file = command({"what": "points", "crop": crop}, run, (1000.0, 0.0, 0.0), ())
    assert file == run / "points-1.ply"
    assert words == ["export", str(run), "--points", str(file), "--crop", "999", "-1", "-1", "1001", "1", "0.25"]
    assert command({"what": "points"}, run, (0.0, 0.0, 0.0), {file})[1] == run / "points-2.ply"
    tiny = command({"what": "points", "crop": [-1e-5, -1, -1, 1, 1, 1]}, run, (0.0, 0.0, 0.0), ())[0]
    assert tiny[tiny.index("--crop") + 1] == "-0.00001"
    asked = {"what": "film", "path": "keys", "frames": 9, "fps": 24, "width": 64, "height": 48}
    assert command(asked, run, (0.0, 0.0, 0.0), ())[0][-4:] == ["--fps", "24", "--keys", str(run / "film-1.keys.json")]
    assert command({"what": "mesh", "resolution": 64}, run, (0.0, 0.0, 0.0), ())[0][-2:] == ["--resolution", "64"]


def test_the_command_shows_a_run_until_it_is_interrupted(ball_run, tmp_path, monkeypatch):
    shutil.copytree(ball_run, tmp_path / "run")
    met = []

    def interrupted(live, model, step):
        with visiting(live.server) as talk:
            met.append(talk.ask("about")[0]["about"])
        raise KeyboardInterrupt

    monkeypatch.setattr("nerf.workflows.view.serve", interrupted)
    said = []
    with listen(lambda topic, text: said.append(text)):
        assert main(["view", str(tmp_path / "run"), "--port", "0", "--backend", "reference"]) == 0
    assert met[0]["curve"] and met[0]["jobs"] == [] and len(met[0]["names"]) == 12
    assert any("ssh -C -L" in text for text in said)


def test_train_shows_itself_and_ends_as_it_would(tmp_path):
    scene = write_ball_scene(tmp_path / "ball")
    words = ["--steps", "40", "--out", str(tmp_path / "run"), "--view", "--port", "0", *SMALL, "output.video="]
    said = []
    with listen(lambda topic, text: said.append(text)):
        assert main(["train", "--scene", str(scene), *words, "output.mesh="]) == 0
    assert any(text.startswith("view: http://127.0.0.1:") for text in said)
    assert not any("of its time" in text for text in said)  # nobody watched: it cost nothing


def test_who_cannot_listen_says_so_before_the_training(tmp_path):
    with pytest.raises(InputError, match="--host"):
        trained(tmp_path / "run", [TrainingView("192.0.2.1", 0)])
