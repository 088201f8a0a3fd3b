"""An analytic ball in place of a learned one, with cameras round it: what the exporters' tests share."""

import torch

from nerf.backends.reference import ReferenceEngine
from nerf.config import RenderSettings
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from tests.conftest import DISTANCE, RADIUS, ball_color


class BallField(torch.nn.Module):
    """A ball of radius 0.5 in a cube of side 1.2, dense only in a shell, as learned balls are."""

    code_size = 0

    def density(self, position):
        radius = (position * 1.2 - 0.6).norm(dim=1)
        shell = torch.sigmoid((RADIUS - radius) * 400) * torch.sigmoid((radius - 0.6 * RADIUS) * 400)
        return 600 * shell, position * 1.2 - 0.6

    def color(self, direction, features, code=None):
        return torch.from_numpy(ball_color((features / RADIUS).numpy())).float()


def ball_model(side=1.2, hull=True):
    """Returns the ball in a cube about the origin; with a side other than 1.2 it is as much larger."""
    cells = torch.ones(32, 32, 32, dtype=torch.bool)
    if hull:
        cells[0] = False
    box = SceneBox(torch.full((3,), -side / 2), side)
    return RadianceModel(BallField(), OccupancyGrid(cells), box, RenderSettings(steps=400), ReferenceEngine)


def cameras_round(count=24, size=48, distance=DISTANCE):
    """Returns cameras on a sphere about the origin, that look at it."""
    k = torch.arange(count) + 0.5
    height, turn = 1 - 2 * k / count, 2.39996 * k  # the golden angle spreads any number
    across = (1 - height**2).sqrt()
    eyes = distance * torch.stack([across * turn.cos(), across * turn.sin(), height], dim=1)
    poses = torch.stack([look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])) for eye in eyes])
    return Cameras(poses, torch.full((count, 2), 1.1 * size), torch.full((count, 2), size / 2), size, size)
