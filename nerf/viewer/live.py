"""What browsers are shown of a scene: fields, pictures, photographs, figures. What they ask for, and what is answered.

Visitors ask in threads of their own. All that needs the model waits until the thread that owns it calls `work`, between
two steps of a training or whenever it likes; nothing here touches a model at another time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf.errors import InputError, nearest
from nerf.geometry.cameras import Cameras
from nerf.rendering.metrics import psnr
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails
from nerf.runs import RunFolder
from nerf.viewer.asked import command, crop_of, flag, keys_of, path_of, saved_keys, whole, write_film_keys
from nerf.viewer.drawing import LARGEST_SIDE, STILL_QUALITY, CutModel, Drawing, Pace, asked_drawing
from nerf.viewer.jobs import Jobs
from nerf.viewer.page import jpeg, poses, scene_facts
from nerf.viewer.server import PATIENCE, Message, Server, Visitor
from nerf.viewer.shader import browser_field

MOST_DECIBELS = 99.0  # that are told: equal pictures have infinitely many
SCORED_SIDE = 160  # pixels of the longer side of the pictures that are scored
RANGE_VIEWS = 8  # whose distances tell which depths are coloured
RANGE_SIDE = 32  # pixels of their longer side
MOST_POINTS = 20_000  # sparse points that are sent


@dataclass(frozen=True)
class Shown:
    """The scene that is shown."""

    title: str
    run: Path
    cameras: Cameras  # of the training views
    names: Sequence[str]  # of the photographs
    up: Tensor  # (3,)
    photograph: Callable[[int], Tensor]  # (H, W, 3) in [0, 1], or InputError
    ground: float  # grey behind what photographs show, where they have alpha
    track: Cameras | None = None  # the path that is played; None: the training cameras
    points: Callable[[], Tensor | None] = lambda: None  # (N, 3), sparse points of the scene if any, or InputError


class LiveView:
    """A server, and the work that its visitors make."""

    def __init__(self, shown: Shown, controls: dict[str, Callable[[], None]], host: str, port: int) -> None:
        """controls: what visitors may do to a training: pause, resume, save, stop."""
        self.shown = shown
        self.controls = controls
        self.jobs: Jobs | None = None
        self.curve: list[tuple[int, float]] = []  # steps and figures
        self.state: dict[str, Any] = {"phase": "training"}

        self._due = threading.Condition()
        self._fields: dict[Visitor, Any] = {}  # who waits for the next field, and the message that asked
        self._drawings: dict[tuple[Visitor, bool], Drawing] = {}  # the latest of each, of a photograph's camera or not
        self._distance: Tensor | None = None  # of what some cameras see
        self._scoring: int | None = None  # the photograph that is scored next
        self._scores: dict[int, float] = {}
        self._pace = Pace()
        self._cut = CutModel()
        self._did = ""  # the kind of work that was done last
        self._last: tuple[int, bytes, Message] | None = None  # step, stream and facts of the last field
        self._has: dict[Visitor, int] = {}  # step of the field that a visitor has
        self._asks = {  # what answers
            "about": self._about,
            "field": self._want_field,
            "picture": self._want_picture,
            "photograph": self._photograph,
            "points": self._points,
            "score": self._want_scores,
            "do": self._do,
            "path": self._path,
            "keys": self._saved_keys,
            "job": self._job,
            "cancel": self._cancel,
            "crop": self._crop,
            "result": self._result,
        }
        self.server = Server(self._answer, self._left, host, port)

    # For the thread that owns the model.

    def wanted(self, step: int) -> str:
        """Returns what `work` would do next for somebody who waits: picture, field or score; "" for nothing.

        step: how many steps have been taken; who has the field of that step waits for another.
        """
        with self._due:
            kinds = ["picture"] * bool(self._drawings)
            kinds += ["field"] * any(self._lacks(visitor, step) for visitor in self._fields)
            kinds += ["score"] * (self._scoring is not None)
        # None of them is to wait for the end of another.
        return next((kind for kind in kinds if kind != self._did), kinds[0] if kinds else "")

    def wait(self, seconds: float, step: int) -> None:
        """Waits until something is wanted, but no longer than that."""
        with self._due:
            if not self.wanted(step):
                self._due.wait(seconds)

    def work(self, model: Callable[[], RadianceModel], step: int) -> None:
        """Does one small piece of what is wanted; what cannot be done is told to who asked, and ends nothing else.

        model: returns what is shown as it is after `step` steps.
        """
        with self._due:
            kind = self.wanted(step)
            drawing = next(iter(self._drawings.values()), None)
            fields = {visitor: asked for visitor, asked in self._fields.items() if self._lacks(visitor, step)}
            self._did = kind
        try:
            if kind == "picture" and drawing is not None:
                self._draw(drawing, model(), step)
            elif kind == "field":
                self._send_field(fields, model, step)
            elif kind == "score" and self._scoring is not None:
                self._score(self._scoring, model())
        except Exception as error:
            asked = {drawing.visitor: drawing.identity} if kind == "picture" and drawing is not None else fields
            self._give_up(kind, asked, " ".join(f"{error}".split()))

    def _give_up(self, kind: str, asked: dict[Visitor, Any], reason: str) -> None:
        """Forgets what is wanted of a kind, and says why to who asked."""
        with self._due:
            if kind == "picture":
                self._drawings = {place: each for place, each in self._drawings.items() if each.visitor not in asked}
            elif kind == "field":
                self._fields = {visitor: each for visitor, each in self._fields.items() if visitor not in asked}
            else:
                self._scoring = None
        for visitor, identity in asked.items() if kind != "score" else ():
            visitor.send({"id": identity, "error": reason})
        if kind == "score":
            self.server.tell({"error": reason})

    def changed(self) -> None:
        """Notes that the model is another one, whatever its step."""
        with self._due:
            self._last = None
            self._has.clear()
            self._due.notify_all()

    def tell(self, state: Message) -> None:
        """Tells all visitors how things stand."""
        self.state |= state
        self.server.tell({"state": self.state}, passing="phase" not in state)

    def figure(self, step: int, value: float, name: str) -> None:
        """Adds to the curve."""
        self.curve.append((step, round(value, 2)))
        self.tell({"step": step, "name": name, "value": round(value, 2)})

    def close(self) -> None:
        """Ends the jobs and the server."""
        if self.jobs is not None:
            self.jobs.close()
        self.server.close()

    def _lacks(self, visitor: Visitor, step: int) -> bool:
        """Returns whether a visitor has another field than that of a step, and has taken what came before."""
        return self._has.get(visitor) != step and not visitor.busy

    def _send_field(self, asked: dict[Visitor, Any], model: Callable[[], RadianceModel], step: int) -> None:
        if self._last is None or self._last[0] != step:
            self._last = (step, *self._field(model()))
        _, stream, facts = self._last
        for visitor in asked:
            with self._due:
                if visitor not in self._fields:
                    continue  # it has left meanwhile
                identity = self._fields.pop(visitor)
                self._has[visitor] = step
            visitor.send({"id": identity, "step": step, "facts": facts}, stream)

    @torch.no_grad()
    def _field(self, model: RadianceModel) -> tuple[bytes, Message]:
        """Returns the stream and the facts of a field."""
        shown = self.shown
        if self._distance is None or not self._distance.isfinite().any():
            some = torch.linspace(0, len(shown.cameras) - 1, min(RANGE_VIEWS, len(shown.cameras))).round().long()
            small = thumbnails(shown.cameras[some], RANGE_SIDE)
            self._distance = torch.stack([model.distances(small, frame) for frame in range(len(small))])
        distance = self._distance
        if not distance.isfinite().any():  # the field has not learned anything yet
            distance = model.box.core.side * torch.tensor([0.1, 2.0])
        track = shown.cameras if shown.track is None else shown.track
        seen = browser_field(model)
        return seen.stream, scene_facts(model, seen, shown.cameras, track, shown.up, distance)

    def _draw(self, drawing: Drawing, model: RadianceModel, step: int) -> None:
        """Renders a strip of a picture, and sends it if that was the last."""
        if not drawing.advance(self._cut(model, step, drawing.crop), self._pace):
            return
        drawing.visitor.send(*drawing.finished())
        with self._due:
            for place in [place for place, each in self._drawings.items() if each is drawing]:
                del self._drawings[place]

    @torch.no_grad()
    def _score(self, frame: int, model: RadianceModel) -> None:
        """Compares one photograph, small, with what the model shows of it."""
        small = thumbnails(self.shown.cameras[frame : frame + 1], SCORED_SIDE)
        rgb = model.picture(small, 0).over(self.shown.ground)
        figure = psnr(rgb, shrunk(self.shown.photograph(frame), *rgb.shape[:2]))
        self._scores[frame] = round(min(figure, MOST_DECIBELS), 2)
        self.server.tell({"score": frame, "psnr": self._scores[frame]})
        self._scoring = frame + 1 if frame + 1 < len(self.shown.names) else None

    # In the threads of the visitors.

    def _left(self, visitor: Visitor) -> None:
        with self._due:
            self._fields.pop(visitor, None)
            for place in ((visitor, False), (visitor, True)):
                self._drawings.pop(place, None)
            self._has.pop(visitor, None)
            if not self.server.visitors:
                self._scoring = None

    def _answer(self, visitor: Visitor, message: Message) -> None:
        """Answers a message, or notes what is wanted."""
        asked = message.get("ask")
        try:
            if not isinstance(asked, str) or asked not in self._asks:
                raise InputError(f"nobody answers {str(asked)[:40]!r}{nearest(str(asked), self._asks)}")
            self._asks[asked](visitor, message)
        except (InputError, ValueError, ArithmeticError) as error:
            visitor.send({"id": message.get("id"), "error": " ".join(str(error).split())})

    def _about(self, visitor: Visitor, message: Message) -> None:
        shown = self.shown
        facts = {
            "title": shown.title,
            "names": list(shown.names),
            "poses": poses(shown.cameras),
            "sizes": shown.cameras.size.tolist(),
            "curve": list(self.curve),
            "scores": dict(self._scores),
            "state": self.state,
            "controls": list(self.controls),
            "crop": self._kept_crop(),
            "jobs": None if self.jobs is None else self.jobs.facts(),
        }
        visitor.send({"id": message.get("id"), "about": facts})

    def _kept_crop(self) -> list[float] | None:
        """Returns the run's crop box, six numbers relative to the cameras' origin; None where none can be read."""
        try:
            crop = RunFolder(self.shown.run).load_crop()
        except InputError:
            return None
        about = None if crop is None else crop.about(self.shown.cameras.origin)
        return None if about is None else [*about.low.tolist(), *about.high.tolist()]

    def _want_field(self, visitor: Visitor, message: Message) -> None:
        with self._due:
            self._has[visitor] = whole(message, "after", -1, 2**31)
            self._fields[visitor] = message.get("id")
            self._due.notify_all()

    def _want_picture(self, visitor: Visitor, message: Message) -> None:
        """Notes a picture that is wanted."""
        drawing = asked_drawing(visitor, message, self.shown.cameras, self.shown.ground)
        with self._due:
            before = self._drawings.pop((visitor, "view" in message), None)
            self._drawings[visitor, "view" in message] = drawing
            self._due.notify_all()
        if before is not None:
            visitor.send({"id": before.identity, "superseded": True})

    def _photograph(self, visitor: Visitor, message: Message) -> None:
        frame = whole(message, "view", 0, len(self.shown.names) - 1)
        small = thumbnails(self.shown.cameras[frame : frame + 1], whole(message, "side", 16, LARGEST_SIDE))
        width, height = small.size[0].tolist()
        picture = shrunk(self.shown.photograph(frame), height, width)
        facts = {"id": message.get("id"), "width": width, "height": height}
        visitor.send(facts, jpeg(picture, STILL_QUALITY), PATIENCE)

    def _points(self, visitor: Visitor, message: Message) -> None:
        """Answers with the sparse points of the scene, float32, evenly chosen where there are too many."""
        points = self.shown.points()
        if points is None:
            raise InputError("the scene has no sparse points: they come with a COLMAP model")
        some = points[:: -(-len(points) // MOST_POINTS)].float().contiguous()
        visitor.send({"id": message.get("id"), "count": len(some)}, some.numpy().tobytes(), PATIENCE)

    def _want_scores(self, visitor: Visitor, message: Message) -> None:
        with self._due:
            if self._scoring is None:
                self._scoring = 0
            self._due.notify_all()

    def _do(self, visitor: Visitor, message: Message) -> None:
        what = message.get("what")
        act = self.controls.get(what) if isinstance(what, str) else None
        if act is None:
            raise InputError(f"nothing can be done by {str(what)[:40]!r}{nearest(str(what), tuple(self.controls))}")
        act()
        with self._due:
            self._due.notify_all()

    def _path(self, visitor: Visitor, message: Message) -> None:
        """Answers with the path that a film through key frames takes; writes them down if that is asked."""
        keys, cameras = keys_of(message, self.shown.cameras)
        path = path_of(keys.keys, whole(message, "frames", 2, 2000))
        facts: Message = {"id": message.get("id"), "path": poses(path)}
        if flag(message, "save"):
            facts["file"] = str(keys.save(self.shown.run, cameras))
        visitor.send(facts)

    def _saved_keys(self, visitor: Visitor, message: Message) -> None:
        shown = self.shown
        visitor.send({"id": message.get("id"), **saved_keys(shown.run, shown.cameras, shown.up)})

    def _job(self, visitor: Visitor, message: Message) -> None:
        if self.jobs is None:
            raise InputError("films and meshes are made when the training has ended")
        words, file = command(message, self.shown.run, self.shown.cameras.origin, self.jobs.files())
        write_film_keys(message, file, self.shown.cameras)
        self.jobs.add(words, file)

    def _crop(self, visitor: Visitor, message: Message) -> None:
        """Keeps a crop box with the run, or forgets it; all later outputs obey it."""
        box = None if message.get("crop") is None else crop_of(message, self.shown.cameras.origin)
        RunFolder(self.shown.run).save_crop(box)
        visitor.send({"id": message.get("id"), "kept": box is not None})

    def _cancel(self, visitor: Visitor, message: Message) -> None:
        if self.jobs is not None:
            self.jobs.cancel(whole(message, "job", 1, 2**31))

    def _result(self, visitor: Visitor, message: Message) -> None:
        if self.jobs is None:
            raise InputError("there is no such result")
        name, content = self.jobs.result(whole(message, "job", 1, 2**31))
        visitor.send({"id": message.get("id"), "name": name}, content, PATIENCE)


def shrunk(rgb: Tensor, height: int, width: int) -> Tensor:
    """Returns a picture (H, W, 3) in another size, each pixel the mean of what it covers."""
    if rgb.shape[:2] == (height, width):
        return rgb
    return torch.nn.functional.interpolate(rgb.permute(2, 0, 1)[None], (height, width), mode="area")[0].permute(1, 2, 0)
