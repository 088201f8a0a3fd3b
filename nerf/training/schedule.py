"""How far training has come, as a function of the step: what anneals follows it."""

from __future__ import annotations

from dataclasses import dataclass, field

from nerf.errors import InputError


@dataclass
class Schedule:
    """How far training has come, in [0, 1], as a function of the step alone: what anneals follows it.

    In settings and checkpoints it is called the pace. A list of knots (step, progress there, progress per step from
    there on). With a budget of steps there is one knot; with a budget of seconds knots are added as the speed is seen.
    The knots are saved, so that the same steps can be repeated bit for bit whatever the clock says.
    """

    knots: list[tuple[int, float, float]] = field(default_factory=list)

    def progress(self, step: int) -> float:
        """Returns the progress before `step`."""
        knot = next((knot for knot in reversed(self.knots) if knot[0] <= step), self.knots[0])
        return min(1.0, knot[1] + (step - knot[0]) * knot[2])

    def replan(self, step: int, steps_left: float) -> None:
        """Aims at progress 1 after `steps_left` more steps."""
        here = self.progress(step)
        self.knots.append((step, here, (1 - here) / max(steps_left, 1.0)))

    def text(self) -> str:
        """Returns the knots as one line, exactly."""
        return "; ".join(f"{step} {progress!r} {slope!r}" for step, progress, slope in self.knots)

    @staticmethod
    def parse(text: str) -> Schedule:
        """Returns the schedule that `text` wrote.

        Raises:
            InputError: it is not such a line.
        """
        try:
            knots = [(int(a), float(b), float(c)) for a, b, c in (knot.split() for knot in text.split(";"))]
        except ValueError:
            knots = []
        steps = [knot[0] for knot in knots]
        numbers = [number for knot in knots for number in knot[1:]]
        if steps[:1] != [0] or steps != sorted(steps) or not all(0 <= number <= 1 for number in numbers):
            raise InputError('train.pace: expected "step progress slope; ..." as a run\'s repeat.yaml has it')
        return Schedule(knots)
