"""Which further photographs would tell most, one after the other, and in which words to ask for them.

A photograph tells as much as it raises the logarithm of the determinant of what is known of each point of the surface
(D-optimality): most of points that nobody saw, little of those that many saw, and less of what an earlier suggestion
tells as well. So the greedy choice is at least 1 - 1/e as good as the best (Nemhauser, Wolsey and Fisher 1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.coverage.sights import GOOD, Photographs, Sights, across
from nerf.coverage.viewpoints import Stand
from nerf.geometry.cameras import Cameras

MOST_POINTS = 12_000  # of the surface, that are asked
UNSEEN = 0.05  # what is known of a point that nobody sees, of what one typical photograph tells across its line
MOST_WEIGHT = 0.5  # of what the best photograph of a typical point tells, that one is worth at most, however near
ENOUGH = 0.9  # of the surface that is seen well: with less, further photographs are worth taking anyway; else if
WORTH = 3.0  # times what the photographs there are tell, each beside all others, in the median: more is worth the way
LEAST_GAIN = 1e-4  # of a point, in the mean: what tells less is not asked for
BRIDGE = 25.0  # degrees to the next photograph, up to which it can be matched with this one; on the way there,
EVERY = 20.0  # degrees one each
SAME = 4.0  # degrees, that nobody needs to be told
SAME_DISTANCE = 0.12  # likewise, of the distance


@dataclass(frozen=True)
class Suggestion:
    """How to take a photograph that is to be taken."""

    nearest: str  # photograph, or suggestion, from which to start
    left: float  # degrees to go to the left of it round the scene, as one sees it from there; below 0: to the right
    higher: float  # degrees
    farther: float  # times its distance
    apart: float  # degrees from it, as seen from the middle of the scene
    shows: float  # part of the surface
    tells: float  # times what each photograph there tells beside all others, in the median

    @property
    def bridges(self) -> int:
        """How many photographs are to be taken on the way, so that this one is matched with its nearest."""
        return 0 if self.apart <= BRIDGE else math.ceil(self.apart / EVERY) - 1

    @property
    def sentence(self) -> str:
        """How to take it."""
        ways = []
        if abs(self.left) > SAME:
            ways.append(f"{abs(self.left):.0f} degrees to the {'left' if self.left > 0 else 'right'}")
        if abs(self.higher) > SAME:
            ways.append(f"{abs(self.higher):.0f} degrees {'higher' if self.higher > 0 else 'lower'}")
        if abs(self.farther - 1) > SAME_DISTANCE:
            ways.append(f"to {self.farther:.1f} times the distance")
        going = f"from {self.nearest} go {', '.join(ways)}" if ways else f"beside {self.nearest}"
        bridges = f"; on the way take {self.bridges} more, one every {EVERY:.0f} degrees" if self.bridges else ""
        told = f" and tells {self.tells:.1f} times what the others do" if math.isfinite(self.tells) else ""
        much = f"it shows {self.shows:.0%} of the surface{told}"
        return f"{going}; {much}{bridges}"


@dataclass(frozen=True)
class Surface:
    """Points of a surface, of equal areas."""

    point: Tensor  # (N, 3), world
    normal: Tensor  # (N, 3), unit, outwards

    def __len__(self) -> int:
        return len(self.point)

    def __getitem__(self, which: Tensor) -> Surface:
        return Surface(self.point[which], self.normal[which])


def told_apart(files: Sequence[str]) -> list[str]:
    """Returns the names of files, with their folders where two have the same name."""
    names = [PurePosixPath(file).name for file in files]
    return names if len(set(names)) == len(names) else list(files)


def choose(
    surface: Surface, sights: Sights, photographs: Photographs, places: Photographs, count: int
) -> list[tuple[int, float]]:
    """Returns which places tell most of a surface beside its photographs, one after the other, and how much.

    How much is counted in what the photographs there are tell, each beside all others, in the median.
    None if most of the surface is seen well and a further photograph would tell little more than those there do.

    Args:
        surface: N points.
        sights: how photographs see them.
        photographs: those.
        places: what there is to see from where one might stand.
        count: how many are chosen.
    """
    some = torch.linspace(0, len(surface) - 1, min(len(surface), MOST_POINTS)).round().long()
    surface, sights = surface[some], sights[some]
    unit = max(sights.typical()[0] ** 2, torch.finfo().tiny)

    def told(look: Photographs) -> list[tuple[Tensor, Tensor]]:
        found = [look.information(frame, surface.point, surface.normal) for frame in range(len(look.cameras))]
        weights = [(weight / unit).clamp(max=MOST_WEIGHT) for _, weight in found]
        rows = [row for row, _ in found]
        return [
            (row, across(look.directions(frame, surface.point[row]), weight))
            for frame, (row, weight) in enumerate(zip(rows, weights))
        ]

    known = UNSEEN * torch.eye(3).repeat(len(surface), 1, 1)
    there = told(photographs)
    for row, more in there:
        known[row] += more
    usual = torch.tensor([-_gain(known, row, -more) for row, more in there]).median().item()

    # Gains only fall: one that is greatest though it was computed anew is the greatest.
    further = told(places)
    gains = [_gain(known, row, more) for row, more in further]
    good = (sights.classes(sights.typical()) == GOOD).float().mean().item()
    if good > ENOUGH and max(gains) < WORTH * usual:
        return []
    chosen: list[tuple[int, float]] = []
    while len(chosen) < min(count, len(further)):
        fresh: set[int] = set()
        while (best := max(range(len(gains)), key=gains.__getitem__)) not in fresh:
            gains[best] = _gain(known, *further[best])
            fresh.add(best)
        if gains[best] < LEAST_GAIN * max(1.0, len(surface)):
            break
        row, more = further[best]
        known[row] += more
        chosen.append((best, gains[best] / usual if usual > 0 else math.inf))
        gains[best] = -math.inf
    return chosen


def _gain(known: Tensor, row: Tensor, more: Tensor) -> float:
    """Returns by how much the logarithms of determinants of `known` (N, 3, 3) rise together with `more` at rows."""
    before = known[row]
    return (_determinant(before + more) / _determinant(before)).log().sum().item()


def _determinant(matrix: Tensor) -> Tensor:
    """Returns the determinants (N,) of (N, 3, 3)."""
    return (matrix[:, 0] * torch.linalg.cross(matrix[:, 1], matrix[:, 2])).sum(1)


def described(
    stand: Stand, names: Sequence[str], chosen: Cameras, told: Sequence[tuple[float, float]]
) -> list[Suggestion]:
    """Returns suggestions in words, each from the photograph or the earlier suggestion that is nearest to it.

    Args:
        stand: where the photographs stand.
        names: of the photographs (F).
        chosen: of the suggestions.
        told: what each shows and tells, see `Suggestion`.
    """
    offset = stand.offset
    known = list(names)
    found = []
    for number, (shows, tells) in enumerate(told):
        new = chosen.world_from_camera[number, :, 3] - stand.center
        cosine = (normalize(offset, dim=1) @ normalize(new, dim=0)).clamp(-1, 1)
        nearest = int(cosine.argmax())

        # The way there: round the scene, up, and away from it.
        old = offset[nearest]
        around = torch.atan2(torch.linalg.cross(old, new) @ stand.up, old @ new - (old @ stand.up) * (new @ stand.up))
        rise = (normalize(torch.stack([new, old]), dim=1) @ stand.up).clamp(-1, 1).asin().rad2deg()
        found.append(
            Suggestion(
                nearest=known[nearest],
                left=-around.rad2deg().item(),
                higher=(rise[0] - rise[1]).item(),
                farther=(new.norm() / old.norm()).item(),
                apart=cosine[nearest].acos().rad2deg().item(),
                shows=shows,
                tells=tells,
            )
        )
        offset = torch.cat([offset, new[None]])
        known.append(f"suggestion {number + 1}")
    return found
