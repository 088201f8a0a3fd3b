import math

import pytest
import torch

from nerf.geometry.cameras import Cameras, look_at
from tests.splatting.clouds import cloud


def turned(axis, angle):
    x, y, z = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0).tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(angle * skew)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize(("axis", "angle"), [((1.0, 2.0, -0.5), 0.7), ((0.0, 1.0, 1.0), math.pi), ((1.0, 0, 0), 0.0)])
def test_moved_splats_look_the_same_from_moved_cameras(degree, axis, angle):
    splats, turn, scale = cloud(degree=degree), turned(axis, angle), 2.5
    pose = look_at(torch.tensor([2.0, -3.0, 1.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))[None]
    moved = torch.cat([turn.float() @ pose[:, :, :3], (scale * turn.float() @ pose[:, :, 3:])], dim=2)
    before, after = (
        Cameras(poses, torch.tensor([[60.0, 60.0]]), torch.tensor([[24.0, 20.0]]), 48, 40) for poses in (pose, moved)
    )
    expected = splats.seen(before, 0, 0.1)
    assert expected[..., 3].mean() > 0.2
    assert torch.allclose(splats.moved(turn, scale).seen(after, 0, 0.1 * scale), expected, atol=2e-3)


def test_colours_are_the_mean_over_all_directions():
    splats = cloud(degree=1)
    assert torch.allclose(splats.rgb, (0.5 + 0.28209479 * splats.harmonics[:, 0]).clamp(0, 1))
    assert len(splats[splats.opacity > 0.5]) == int((splats.logit > 0).sum())
