"""The toy digger of the built-in scene: bricks turned into coloured triangles.

Conventions. The model is laid out in stud pitches (one pitch is the distance between two studs of a
brick; a brick is 1.2 pitches high, a plate 0.4) with x forwards, y to the left, z up and the underside
of the baseplate at z = 0. `digger_triangles` returns it in the world frame of Blender: right-handed,
z up, centred about the origin, in scene units. Triangles are wound counter-clockwise seen from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

STUD_PITCH = 0.09  # scene units
MODEL_CENTER = (0.0, 0.0, 7.0)  # stud pitches; becomes the origin of the world
PLATE = 0.4
BRICK = 1.2
BEVEL = 0.04
STUD_RADIUS = 0.3
STUD_HEIGHT = 0.2
STUD_SIDES = 14


Point = Sequence[float] | np.ndarray  # x, y, z in a part's frame


class Plastic(NamedTuple):
    """A material."""

    color: tuple[float, float, float]  # sRGB in 0..1
    reflectance: float = 0.04  # seen face-on; that of common plastic


YELLOW = Plastic((0.97, 0.76, 0.08))
DARK_GREY = Plastic((0.34, 0.35, 0.37))
LIGHT_GREY = Plastic((0.66, 0.68, 0.69))
BLACK = Plastic((0.15, 0.15, 0.16))
CHROME = Plastic((0.80, 0.81, 0.83), 0.25)
GLASS = Plastic((0.40, 0.56, 0.66), 0.16)
LAMP = Plastic((0.99, 0.96, 0.80), 0.10)
RED = Plastic((0.80, 0.13, 0.10))
ORANGE = Plastic((0.96, 0.46, 0.08))
WHITE = Plastic((0.95, 0.95, 0.93))
GREEN = Plastic((0.27, 0.58, 0.24))
TAN = Plastic((0.87, 0.78, 0.58))
DARK_TAN = Plastic((0.69, 0.58, 0.40))
EARTHS = (Plastic((0.45, 0.29, 0.18)), Plastic((0.55, 0.37, 0.23)), Plastic((0.37, 0.24, 0.16)))


@dataclass(frozen=True)
class Triangles:
    """A triangle soup; all float64."""

    corners: np.ndarray  # (T, 3, 3) world positions, scene units
    normals: np.ndarray  # (T, 3, 3) unit shading normals at the corners
    colors: np.ndarray  # (T, 3) sRGB in 0..1
    reflectances: np.ndarray  # (T,) seen face-on


def digger_triangles() -> Triangles:
    """Returns the whole model, baseplate included, as `Triangles` in the world frame (scene units)."""
    world_from_model = np.eye(4)
    world_from_model[:3, :3] *= STUD_PITCH
    world_from_model[:3, 3] = -STUD_PITCH * np.array(MODEL_CENTER)
    model = Bricks(world_from_model)
    _build_ground(model)

    undercarriage = model.at((-2.5, 0.0, 0.6))
    for side in (-1, 1):
        _build_track(undercarriage, side)
    _build_chassis(undercarriage)

    house = undercarriage.at((0.0, 0.0, 3.3), yaw=20.0)
    _build_engine(house)
    _build_counterweight(house)
    _build_cab(house)
    _build_front_deck(house)
    arm = house.at((0.0, -0.7, 0.0))
    _build_boom(arm)
    _build_stick(arm)
    _build_bucket(arm.at((10.55, 0.0, 2.55), pitch=-12.0))
    return model.triangles()


@dataclass
class Bricks:
    """Collects solids given in a part's own frame; frames made by `at` add to the same collection."""

    world_from_part: np.ndarray
    pieces: list[tuple[np.ndarray, np.ndarray, Plastic]] = field(default_factory=list)

    def at(self, origin: Sequence[float], *, yaw: float = 0.0, pitch: float = 0.0) -> Bricks:
        """Returns a frame at `origin` turned by `yaw` degrees about z, then tipped by `pitch` degrees (x
        towards z) about its own y axis."""
        turn = np.radians(yaw)
        tip = np.radians(pitch)
        yaw_rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        pitch_rotation = np.array([[np.cos(tip), 0, -np.sin(tip)], [0, 1, 0], [np.sin(tip), 0, np.cos(tip)]])
        part_from_child = np.eye(4)
        part_from_child[:3, :3] = yaw_rotation @ pitch_rotation
        part_from_child[:3, 3] = origin
        return Bricks(self.world_from_part @ part_from_child, self.pieces)

    def triangles(self) -> Triangles:
        """Returns everything collected so far as one `Triangles`."""
        counts = [len(corners) for corners, _, _ in self.pieces]
        return Triangles(
            corners=np.concatenate([corners for corners, _, _ in self.pieces]),
            normals=np.concatenate([normals for _, normals, _ in self.pieces]),
            colors=np.repeat([plastic.color for _, _, plastic in self.pieces], counts, axis=0),
            reflectances=np.repeat([plastic.reflectance for _, _, plastic in self.pieces], counts),
        )

    def extrude(
        self, profile: np.ndarray, part_from_profile: np.ndarray, length: float, plastic: Plastic,
        *, smooth: bool = False, bevel: float = BEVEL,
    ) -> None:  # fmt: skip
        """Adds a solid: a convex counter-clockwise profile (N, 2) in the xy plane, swept along +z."""
        corners, normals = _extruded(profile, length, smooth, bevel)
        world_from_profile = self.world_from_part @ part_from_profile
        normals = normals @ world_from_profile[:3, :3].T
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        corners = corners @ world_from_profile[:3, :3].T + world_from_profile[:3, 3]
        self.pieces.append((corners, normals, plastic))

    def block(self, low: Sequence[float], high: Sequence[float], plastic: Plastic) -> None:
        """Adds a bevelled box without studs, from corner `low` to corner `high`."""
        x0, y0, z0 = low
        x1, y1, z1 = high
        cut = BEVEL
        profile = [(x0 + cut, y0), (x1 - cut, y0), (x1, y0 + cut), (x1, y1 - cut)]
        profile += [(x1 - cut, y1), (x0 + cut, y1), (x0, y1 - cut), (x0, y0 + cut)]
        part_from_profile = np.eye(4)
        part_from_profile[2, 3] = z0
        self.extrude(np.array(profile), part_from_profile, z1 - z0, plastic)

    def slab(self, profile: Sequence[tuple[float, float]], y0: float, y1: float, plastic: Plastic) -> None:
        """Adds a convex side view (x, z), counter-clockwise with x to the right and z up, from y0 to y1."""
        part_from_profile = np.array([[1.0, 0, 0, 0], [0, 0, -1, y1], [0, 1, 0, 0], [0, 0, 0, 1]])
        self.extrude(np.array(profile), part_from_profile, y1 - y0, plastic)

    def cylinder(self, start: Point, end: Point, radius: float, plastic: Plastic, sides: int = 20) -> None:
        """Adds a round bar from `start` to `end`."""
        axis = np.subtract(end, start)
        length = float(np.linalg.norm(axis))
        forward = axis / length
        helper = np.array([1.0, 0, 0]) if abs(forward[0]) < 0.9 else np.array([0, 1.0, 0])
        across = np.cross(forward, helper)
        across /= np.linalg.norm(across)

        part_from_profile = np.eye(4)
        part_from_profile[:3, :3] = np.stack([across, np.cross(forward, across), forward], axis=1)
        part_from_profile[:3, 3] = start

        angles = 2 * np.pi * np.arange(sides) / sides
        circle = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.extrude(circle, part_from_profile, length, plastic, smooth=True)

    def studs(self, low: Sequence[float], high: Sequence[float], z: float, plastic: Plastic) -> None:
        """Adds the grid of studs that fits the rectangle from `low` (x, y) to `high` (x, y) at height z."""
        columns, rows = (max(1, int(high[axis] - low[axis] + 1e-6)) for axis in (0, 1))
        for x in (low[0] + high[0]) / 2 + np.arange(columns) - (columns - 1) / 2:
            for y in (low[1] + high[1]) / 2 + np.arange(rows) - (rows - 1) / 2:
                self.cylinder((x, y, z), (x, y, z + STUD_HEIGHT), STUD_RADIUS, plastic, STUD_SIDES)

    def brick(self, low: Sequence[float], high: Sequence[float], plastic: Plastic) -> None:
        """Adds a bevelled box with studs on its top."""
        self.block(low, high, plastic)
        self.studs(low[:2], high[:2], high[2], plastic)

    def courses(
        self,
        low: Sequence[float],
        high: Sequence[float],
        count: int,
        plastic: Plastic,
        brick_length: float = 4.0,
    ) -> None:
        """Adds `count` courses of bricks laid along x in running bond; only the topmost has studs."""
        for course, z in enumerate(np.linspace(low[2], high[2], count + 1)[:-1]):
            z_top = z + (high[2] - low[2]) / count
            offset = brick_length / 2 if course % 2 else brick_length
            cuts = [low[0], *np.arange(low[0] + offset, high[0] - 0.3, brick_length), high[0]]
            for x0, x1 in zip(cuts[:-1], cuts[1:], strict=True):
                self.block((x0, low[1], z), (x1, high[1], z_top), plastic)
        self.studs(low[:2], high[:2], high[2], plastic)

    def ram(self, start: Point, end: Point, split: float) -> None:
        """Adds a hydraulic ram: a thick barrel up to the fraction `split`, then a bright rod."""
        middle = np.asarray(start) + split * np.subtract(end, start)
        self.cylinder(start, middle, 0.33, DARK_GREY)
        self.cylinder(start, np.asarray(start) + 0.9 * (middle - start), 0.37, LIGHT_GREY)
        self.cylinder(middle, end, 0.17, CHROME)
        for x, y, z in (start, end):
            self.cylinder((x, y - 0.3, z), (x, y + 0.3, z), 0.36, BLACK)


def _extruded(profile: np.ndarray, length: float, smooth: bool, bevel: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns corners and normals, both (T, 3, 3), of a profile (N, 2) swept from z = 0 to z = length."""
    count = len(profile)
    edges = np.roll(profile, -1, axis=0) - profile
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    mitre = outward + np.roll(outward, 1, axis=0)
    mitre /= (mitre * outward).sum(axis=1, keepdims=True)
    inset = profile - bevel * mitre
    at_start = mitre / np.linalg.norm(mitre, axis=1, keepdims=True) if smooth else outward
    at_end = np.roll(at_start, -1, axis=0) if smooth else outward
    up = np.array([0.0, 0.0, 1.0])
    down = np.array([0.0, 0.0, -1.0])

    def lifted(points: np.ndarray, z: float) -> np.ndarray:
        return np.concatenate([points, np.full((count, 1), z)], axis=1)

    rings = [lifted(inset, 0), lifted(profile, bevel), lifted(profile, length - bevel), lifted(inset, length)]
    corners = []
    normals = []

    # Bevel, side and bevel: two triangles an edge.
    for lower, upper in ((0, 1), (1, 2), (2, 3)):
        a = rings[lower]
        b = np.roll(a, -1, axis=0)
        d = rings[upper]
        c = np.roll(d, -1, axis=0)
        # Bevels blend from the side's normal into the cap's, which makes the edge look rounded.
        low_start, low_end = (lifted(n, 0) if lower else np.broadcast_to(down, a.shape) for n in (at_start, at_end))
        top_start, top_end = (lifted(n, 0) if upper < 3 else np.broadcast_to(up, a.shape) for n in (at_start, at_end))
        corners += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
        normals += [
            np.stack([low_start, low_end, top_end], axis=1),
            np.stack([low_start, top_end, top_start], axis=1),
        ]

    # The caps: fans about their centres.
    for ring, normal in ((rings[0][::-1], down), (rings[3], up)):
        center = np.broadcast_to(ring.mean(axis=0), ring.shape)
        fan = np.stack([center, ring, np.roll(ring, -1, axis=0)], axis=1)
        corners.append(fan)
        normals.append(np.broadcast_to(normal, fan.shape))
    return np.concatenate(corners), np.concatenate(normals)


def _build_ground(model: Bricks) -> None:
    model.brick((-11, -7, 0), (11, 7, PLATE), TAN)
    for x0, y0, x1, y1 in (
        (-11, 3, -7, 5),
        (-10, -7, -6, -5),
        (1, -7, 3, -5),
        (8, -3, 11, -1),
        (-3, 5, 1, 7),
    ):
        model.brick((x0, y0, PLATE), (x1, y1, 2 * PLATE), DARK_TAN)
    _build_heap(model)
    model.courses((3, -6, PLATE), (9, -4, PLATE + 2 * BRICK), 2, RED, 4.0)
    model.brick((5, -6, PLATE + 2 * BRICK), (9, -4, PLATE + 3 * BRICK), RED)
    for x, y in ((9.5, -0.5), (1.5, 6.5), (-8.5, 5.5)):
        _build_cone(model.at((x, y, PLATE)))
    for x, y, plastic in (
        (-10.5, -6.5, WHITE),
        (-9.5, -6.5, RED),
        (-10.5, -5.5, YELLOW),
        (-10.5, 6.5, WHITE),
    ):
        _build_flower(model.at((x, y, PLATE)), plastic)


def _build_heap(model: Bricks) -> None:
    """Loose earth in front of the bucket: columns of single-stud bricks, lower towards the rim."""
    generator = np.random.default_rng(7)
    for x in range(2, 11):
        for y in range(0, 7):
            distance = np.hypot((x - 6.2) / 1.15, y - 3.4)
            plates = int(round(5.2 * (1 - distance / 3.6) + generator.uniform(-0.9, 0.9)))
            if plates < 1:
                continue
            earth = EARTHS[generator.integers(len(EARTHS))]
            model.brick((x, y, PLATE), (x + 1, y + 1, PLATE * (1 + plates)), earth)


def _build_cone(part: Bricks) -> None:
    part.block((-0.5, -0.5, 0.2), (0.5, 0.5, 0.45), BLACK)
    for layer, radius in enumerate((0.40, 0.34, 0.28, 0.22, 0.16)):
        z = 0.45 + 0.32 * layer
        part.cylinder((0, 0, z), (0, 0, z + 0.32), radius, WHITE if layer in (1, 3) else ORANGE, 16)


def _build_flower(part: Bricks, petals: Plastic) -> None:
    part.cylinder((0, 0, 0), (0, 0, 0.6), 0.48, GREEN, 16)
    part.cylinder((0, 0, 0.6), (0, 0, 1.3), 0.14, GREEN, 10)
    for angle in np.radians(np.arange(0, 360, 72)):
        x, y = 0.3 * np.cos(angle), 0.3 * np.sin(angle)
        part.cylinder((x, y, 1.3), (x, y, 1.5), 0.2, petals, 10)
    part.cylinder((0, 0, 1.3), (0, 0, 1.6), 0.19, ORANGE, 10)


def _build_track(part: Bricks, side: int) -> None:
    """A belt of 34 ribbed links round two big wheels, with rollers and a frame between."""
    inner, outer = sorted((side * 1.9, side * 4.3))
    half = 3.7  # length of a straight run
    radius = 1.36  # of the bends
    straight = 2 * half
    bend = np.pi * radius
    links = 34
    pitch = 2 * (straight + bend) / links
    for link in range(links):
        along = (link + 0.5) * pitch
        if along < straight:
            origin = (half - along, 0, 1.5 + radius)
            angle = 180.0
        elif along < straight + bend:
            turn = (along - straight) / radius
            origin = (-half - radius * np.sin(turn), 0, 1.5 + radius * np.cos(turn))
            angle = 180 + np.degrees(turn)
        elif along < 2 * straight + bend:
            origin = (along - straight - bend - half, 0, 1.5 - radius)
            angle = 0.0
        else:
            turn = (along - 2 * straight - bend) / radius
            origin = (half + radius * np.sin(turn), 0, 1.5 - radius * np.cos(turn))
            angle = np.degrees(turn)
        plate = part.at(origin, pitch=angle)
        reach = 0.43 * pitch
        plate.block((-reach, inner, -0.10), (reach, outer, 0.12), DARK_GREY)
        plate.block((-0.11, inner + 0.1, -0.26), (0.11, outer - 0.1, -0.06), DARK_GREY)
    edge = side * 4.3
    rollers = [(-half, 1.5, 1.2), (half, 1.5, 1.2), (-1.85, 0.9, 0.62), (0, 0.9, 0.62), (1.85, 0.9, 0.62)]
    for x, z, wheel_radius in rollers:
        part.cylinder((x, inner + 0.15, z), (x, outer - 0.15, z), wheel_radius, BLACK, 28)
        _build_hub(part, (x, edge, z), wheel_radius, side)
    part.block((-2.7, inner + 0.3, 1.2), (2.7, outer - 0.3, 2.3), YELLOW)
    for x in (-1.8, -0.6, 0.6, 1.8):
        part.cylinder((x, edge - side * 0.4, 1.85), (x, edge - side * 0.1, 1.85), STUD_RADIUS, YELLOW, STUD_SIDES)


def _build_hub(part: Bricks, center: tuple[float, float, float], wheel_radius: float, side: int) -> None:
    """A grey disc with a yellow cap and six black holes on the outer face of a wheel."""
    x, y, z = center

    def disc(at_x: float, at_z: float, rise: float, radius: float, plastic: Plastic) -> None:
        part.cylinder((at_x, y - side * 0.2, at_z), (at_x, y + side * rise, at_z), radius, plastic, 20)

    disc(x, z, 0.02, 0.72 * wheel_radius, LIGHT_GREY)
    disc(x, z, 0.10, 0.30 * wheel_radius, YELLOW)
    for angle in np.radians(np.arange(30, 360, 60)):
        hole_x = x + 0.52 * wheel_radius * np.cos(angle)
        hole_z = z + 0.52 * wheel_radius * np.sin(angle)
        disc(hole_x, hole_z, 0.05, 0.11 * wheel_radius, BLACK)


def _build_chassis(part: Bricks) -> None:
    part.courses((-3, -1.9, 0.8), (3, 1.9, 2.7), 2, DARK_GREY, 2.0)
    for x in (-2.2, 2.2):
        part.block((x - 0.5, -2.4, 1.4), (x + 0.5, 2.4, 2.4), LIGHT_GREY)
    part.cylinder((0, 0, 2.6), (0, 0, 3.3), 2.2, LIGHT_GREY, 40)
    part.cylinder((0, 0, 2.85), (0, 0, 3.1), 2.5, DARK_GREY, 40)
    for angle in np.arange(0, 360, 15):
        part.at((0, 0, 2.85), yaw=float(angle)).block((2.4, -0.15, 0), (2.62, 0.15, 0.25), DARK_GREY)


def _build_engine(house: Bricks) -> None:
    house.block((-5.5, -3.5, 0), (4.5, 3.5, 0.4), DARK_GREY)
    house.courses((-5.5, -3.5, 0.4), (4.5, 3.5, 0.8), 1, YELLOW, 5.0)
    house.courses((-5.5, -3.5, 0.8), (-0.5, 3.5, 4.4), 3, YELLOW, 2.0)
    for side in (-1, 1):
        y0, y1 = sorted((side * 3.4, side * 3.55))
        house.block((-4.8, y0, 1.2), (-1.2, y1, 3.9), BLACK)
        for z in np.arange(1.4, 3.8, 0.42):
            low, high = sorted((side * 3.45, side * 3.72))
            house.block((-4.7, low, z), (-1.3, high, z + 0.2), LIGHT_GREY)
        for x in (-4.95, -1.05):
            low, high = sorted((side * 3.4, side * 3.75))
            house.block((x - 0.15, low, 1.0), (x + 0.15, high, 4.1), YELLOW)
        for x in (-5.2, -3.2, -1.0):
            house.cylinder((x, side * 3.3, 4.3), (x, side * 3.3, 5.5), 0.09, BLACK, 10)
        house.cylinder((-5.25, side * 3.3, 5.5), (-0.95, side * 3.3, 5.5), 0.1, BLACK, 10)
    house.brick((-4.5, -0.5, 4.4), (-1.5, 2.5, 4.8), YELLOW)
    house.block((-4.2, -0.2, 4.8), (-1.8, 2.2, 5.05), DARK_GREY)
    for x in np.arange(-4.0, -1.9, 0.36):
        house.block((x, -0.1, 5.0), (x + 0.17, 2.1, 5.2), LIGHT_GREY)
    house.cylinder((-2.0, -2.0, 4.4), (-2.0, -2.0, 4.9), 0.5, DARK_GREY)
    house.cylinder((-2.0, -2.0, 4.9), (-2.0, -2.0, 6.6), 0.32, CHROME)
    house.cylinder((-2.0, -2.0, 5.3), (-2.0, -2.0, 6.1), 0.42, LIGHT_GREY)
    house.cylinder((-2.0, -2.0, 6.6), (-2.0, -2.0, 7.0), 0.38, BLACK)
    house.cylinder((-4.0, -2.0, 4.4), (-4.0, -2.0, 5.1), 0.42, BLACK)
    house.cylinder((-4.0, -2.0, 5.1), (-4.0, -2.0, 5.3), 0.5, LIGHT_GREY)


def _build_counterweight(house: Bricks) -> None:
    side_view = [(-7.1, 1.3), (-6.5, 0.5), (-5.5, 0.5), (-5.5, 3.6), (-6.7, 3.6), (-7.1, 3.2)]
    for y in (-3.3, -1.1, 1.1):
        house.slab(side_view, y, y + 2.2, DARK_GREY)
    house.studs((-6.6, -3.1), (-5.5, 3.1), 3.6, DARK_GREY)
    for stripe in range(8):
        y = -3.2 + 0.8 * stripe
        part_from_profile = np.array([[0.0, 0, -1, -7.02], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
        leaning = [(-y - 0.8, 1.4), (-y - 0.4, 1.4), (-y, 2.2), (-y - 0.4, 2.2)]
        house.extrude(np.array(leaning), part_from_profile, 0.16, YELLOW if stripe % 2 else BLACK)
    for side in (-1, 1):
        house.cylinder((-7.0, side * 2.7, 2.75), (-7.25, side * 2.7, 2.75), 0.3, RED, 16)
        house.cylinder((-7.0, side * 1.9, 2.75), (-7.25, side * 1.9, 2.75), 0.3, ORANGE, 16)
    house.block((-7.2, -0.7, 2.45), (-7.0, 0.7, 3.05), WHITE)


def _build_cab(house: Bricks) -> None:
    """On the left of the boom: one course of bricks, windows between pillars, a studded roof."""
    y0, y1, sill, top = 0.5, 3.5, 2.0, 5.7
    house.courses((0.0, y0, 0.8), (4.2, y1, sill), 1, YELLOW, 2.0)
    house.slab([(0.15, sill), (4.0, sill), (3.45, top), (0.15, top)], y0 + 0.12, y1 - 0.12, GLASS)
    for y in (y0, y1 - 0.36):
        house.block((0.0, y, sill), (0.4, y + 0.36, top), YELLOW)
        house.block((1.75, y + 0.02, sill), (2.05, y + 0.34, top), YELLOW)
        house.slab([(3.82, sill), (4.2, sill), (3.65, top), (3.27, top)], y, y + 0.36, YELLOW)
    house.block((2.05, y1 - 0.3, sill + 1.0), (3.85, y1 - 0.02, sill + 1.2), YELLOW)
    house.block((0.05, y0 + 0.3, sill), (0.3, y1 - 0.3, sill + 0.6), YELLOW)
    house.slab([(3.80, sill + 0.5), (4.1, sill + 0.5), (4.06, sill + 0.72), (3.76, sill + 0.72)], y0, y1, YELLOW)
    house.cylinder((2.35, y1 - 0.05, 2.9), (2.35, y1 + 0.2, 2.9), 0.12, BLACK, 10)
    house.cylinder((2.35, y1 + 0.14, 2.9), (3.0, y1 + 0.14, 2.9), 0.09, BLACK, 10)
    house.brick((-0.2, y0 - 0.15, top), (4.0, y1 + 0.15, top + PLATE), YELLOW)
    house.block((0.3, 0.9, top + PLATE), (2.3, 3.1, top + 2 * PLATE), LIGHT_GREY)
    house.cylinder((1.3, 2.0, top + 0.8), (1.3, 2.0, top + 1.0), 0.42, BLACK)
    house.cylinder((1.3, 2.0, top + 1.0), (1.3, 2.0, top + 1.65), 0.33, ORANGE)
    for y in (1.0, 3.0):
        house.block((3.75, y - 0.3, top + 0.35), (4.05, y + 0.3, top + 0.9), BLACK)
        house.cylinder((4.0, y, top + 0.63), (4.2, y, top + 0.63), 0.24, LAMP, 16)
    house.cylinder((3.9, y1, 3.2), (4.3, y1 + 0.7, 3.4), 0.07, BLACK, 8)
    house.block((4.2, y1 + 0.4, 3.1), (4.32, y1 + 1.0, 4.2), BLACK)
    house.block((0.6, y1, -0.5), (2.2, y1 + 0.5, -0.3), LIGHT_GREY)
    for x in (0.8, 2.0):
        house.block((x - 0.1, y1 - 0.1, -0.5), (x + 0.1, y1 + 0.1, 0.3), LIGHT_GREY)


def _build_front_deck(house: Bricks) -> None:
    house.courses((0.0, -3.5, 0.8), (3.0, -1.9, 3.2), 2, YELLOW, 2.0)
    house.slab([(3.0, 0.8), (4.5, 0.8), (4.5, 1.2), (3.0, 3.2)], -3.5, -1.9, YELLOW)
    house.block((0.5, -3.62, 1.0), (2.5, -3.4, 2.8), LIGHT_GREY)
    for z in (1.3, 1.75, 2.2):
        house.block((0.7, -3.72, z), (2.3, -3.5, z + 0.2), DARK_GREY)
    house.block((4.4, -3.4, 0.1), (4.8, -1.8, 0.7), BLACK)
    for y in (-3.0, -2.2, 1.3, 2.7):
        house.cylinder((4.4, y, 0.45), (4.95, y, 0.45), 0.27, LAMP if y < 0 else DARK_GREY, 16)
    for y in (-1.85, 0.15):
        house.slab([(0.6, 0.8), (3.6, 0.8), (3.2, 2.4), (1.7, 2.9)], y, y + 0.3, DARK_GREY)


def _beam(part: Bricks, start: tuple[float, float], end: tuple[float, float], half: tuple[float, float]) -> Bricks:
    """Adds bricks in two courses from (x, z) `start` to `end`; returns the beam's frame, x along it."""
    run = end[0] - start[0]
    rise = end[1] - start[1]
    length = float(np.hypot(run, rise))
    half_width, half_height = half
    beam = part.at((start[0], 0, start[1]), pitch=float(np.degrees(np.arctan2(rise, run))))
    beam.courses((0, -half_width, -half_height), (length, half_width, half_height), 2, YELLOW, 2.0)
    return beam


def _pin(part: Bricks, x: float, z: float, half_width: float) -> None:
    part.cylinder((x, -half_width, z), (x, half_width, z), 0.55, DARK_GREY, 24)
    part.cylinder((x, -half_width - 0.12, z), (x, half_width + 0.12, z), 0.3, LIGHT_GREY, 16)


def _build_boom(arm: Bricks) -> None:
    lower = _beam(arm, (2.2, 1.8), (4.4, 7.8), (0.75, 0.85))
    upper = _beam(arm, (4.4, 8.0), (8.9, 9.5), (0.75, 0.8))
    arm.slab([(3.5, 7.2), (4.5, 6.8), (5.5, 7.5), (5.2, 9.1), (4.1, 8.9)], -0.85, 0.85, YELLOW)
    for pin_x, pin_z in ((2.3, 1.9), (4.5, 7.9), (8.9, 9.5)):
        _pin(arm, pin_x, pin_z, 0.95)
    for side in (-1, 1):
        arm.ram((3.7, side * 0.98, 1.7), (4.75, side * 0.98, 6.4), 0.58)
        y0, y1 = sorted((side * 0.7, side * 0.82))
        lower.block((1.0, y0, -0.12), (5.6, y1, 0.12), BLACK)
        upper.block((1.2, y0, -0.12), (4.0, y1, 0.12), BLACK)
    arm.cylinder((4.75, -1.2, 6.4), (4.75, 1.2, 6.4), 0.2, LIGHT_GREY, 14)
    arm.block((4.6, -0.4, 8.6), (5.4, 0.4, 9.6), DARK_GREY)
    arm.ram((5.0, 0.0, 9.5), (8.75, 0.0, 11.1), 0.6)
    lamp = lower.at((3.2, 0.0, 0.85))
    lamp.block((-0.35, -0.9, 0.15), (0.1, 0.9, 0.4), BLACK)
    for y in (-0.6, 0.6):
        lamp.cylinder((-0.1, y, 0.5), (-0.1, y, 1.0), 0.3, LAMP, 16)


def _build_stick(arm: Bricks) -> None:
    stick = _beam(arm, (8.6, 11.1), (10.6, 4.3), (0.6, 0.6))
    for y in (-0.85, 0.6):
        stick.block((0.9, y, -0.5), (3.0, y + 0.25, 0.5), DARK_GREY)
    stick.block((-0.3, -0.45, -0.45), (0.3, 0.45, 0.45), DARK_GREY)
    stick.block((2.3, -0.35, 0.4), (3.0, 0.35, 1.2), DARK_GREY)
    stick.ram((2.7, 0.0, 1.05), (6.2, 0.0, 1.25), 0.62)
    _pin(arm, 10.55, 4.4, 0.8)


def _build_bucket(bucket: Bricks) -> None:
    """A scoop open towards the machine: curved back of flat strips, two cheeks, a lip with teeth."""
    half_width = 1.8
    radius = 1.75
    angles = np.radians(np.linspace(105, -95, 9))
    rim = [(radius * np.cos(angle), radius * np.sin(angle)) for angle in angles]
    for (x0, z0), (x1, z1) in zip(rim[:-1], rim[1:], strict=True):
        strip = bucket.at((x0, 0, z0), pitch=float(np.degrees(np.arctan2(z1 - z0, x1 - x0))))
        length = float(np.hypot(x1 - x0, z1 - z0))
        strip.block((-0.06, -half_width, -0.12), (length + 0.06, half_width, 0.12), DARK_GREY)
    for y in (-half_width, half_width - 0.22):
        bucket.slab(rim[::-1], y, y + 0.22, LIGHT_GREY)
    for y in (-1.0, 1.0):
        bucket.slab([(1.5, -1.0), (1.95, -0.6), (1.95, 0.6), (1.5, 1.0)], y - 0.12, y + 0.12, LIGHT_GREY)
    x, z = rim[-1]
    bucket.block((x - 0.4, -half_width - 0.05, z - 0.14), (x + 0.3, half_width + 0.05, z + 0.14), LIGHT_GREY)
    for y in np.linspace(-half_width + 0.25, half_width - 0.25, 5):
        tooth = [(x - 1.15, z - 0.08), (x - 0.2, z - 0.2), (x - 0.2, z + 0.2)]
        bucket.slab(tooth, y - 0.2, y + 0.2, CHROME)
    for y in (-0.9, 0.66):
        bucket.slab([(-0.7, 1.3), (0.7, 1.3), (0.5, 2.2), (-0.4, 2.3)], y, y + 0.24, DARK_GREY)
    bucket.cylinder((0.6, -0.8, 2.45), (0.6, 0.8, 2.45), 0.22, LIGHT_GREY, 14)
    generator = np.random.default_rng(11)
    for y in (-0.95, -0.32, 0.32, 0.95):
        for x in (-0.7, -0.1, 0.5):
            z = -1.0 + 0.35 * generator.random()
            clod = bucket.at((x, y, z), yaw=float(generator.uniform(0, 90)))
            clod.brick((-0.38, -0.38, -0.5), (0.38, 0.38, 0.35), EARTHS[generator.integers(len(EARTHS))])
