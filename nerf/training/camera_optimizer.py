"""What is learned of each picture beside the scene: where its camera stood, and how it shows colours.

Poses: a gradient by a small turn w of the camera, R <- exp(w) R, and by a small move of its centre, both along the
world's axes, moves the pose by Adam. How pictures show colours: gain * colour + offset by channel, where there is
something. In display colours that is what exposure and white balance do, but for the darkest and the saturated parts:
with l ** (1 / 2.4) a factor on light is a factor on colour + 0.055.

The scene could turn with all cameras, or brighten while all pictures darken, and nothing would be told apart: the mean
pose change and the mean log gain and offset of all pictures are held at zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from nerf.checkpoints import checked
from nerf.config import Settings
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering
from nerf.scenes import Views

BETA1 = 0.9  # of the pictures' Adam
BETA2 = 0.99
EPSILON = 1e-15  # below any root of a second moment that a gradient has left
LAST_RATE = 0.01  # of the rates, at the end of the training
POSE_SLACK = 0.05  # of a picture's longer side: how far silhouettes may be from where a pose to be refined puts them
SIZES = (6, 6)  # of a view's gradient: turn and move, gain and offset
STATE = ("views.pose", "views.color", "adam.views.exp_avg", "adam.views.exp_avg_sq")


def rotations(turn: Tensor) -> Tensor:
    """Returns the matrices (F, 3, 3) of rotations about the axes `turn` (F, 3) by their lengths, radians."""
    x, y, z = turn.unbind(1)
    zero = torch.zeros_like(x)
    return torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3))


def perturbed_rays(rays: Rays, turn: Tensor, move: Tensor) -> Rays:
    """Returns rays whose cameras are turned by `turn` (R, 3) radians and moved by `move` (R, 3), to first order."""
    return Rays(rays.origin + move, rays.direction + torch.linalg.cross(turn, rays.direction))


def apply_exposure(rendering: Rendering, color: Tensor, target: Tensor | None = None) -> Rendering:
    """Returns a rendering of R rays as their pictures show it; color: (R, 6), gain and offset.

    target: (R, 3 or 4), what the pictures have there. Where it is saturated, more light than shows is cut off.
    """
    opacity = rendering.opacity[:, None]
    rgb = color[:, :3] * rendering.rgb + color[:, 3:] * opacity
    if target is not None:
        rgb = torch.where(target[:, :3] >= 1, torch.minimum(rgb, opacity), rgb)
    return dataclasses.replace(rendering, rgb=rgb)


class CameraOptimizer:
    """Poses and colours of F pictures on their way.

    views: what to learn from; its cameras are this object's and change in place. colors: (F, 6) float32, gain and
    offset. gradients: (F, 12) float32, of the step in hand: turn, move, gain, offset. refines, exposes: what is
    learned; bends: whether the lens changes, too, see `nerf.training.lens_refinement`.
    """

    def __init__(self, views: Views, settings: Settings, box: SceneBox) -> None:
        self.refines = settings.capture.poses == "refine"
        self.exposes = settings.capture.exposure == "learn"
        self.bends = settings.capture.lens == "refine"
        cameras = views.cameras
        if self.refines or self.bends:
            changing = ("world_from_camera", "focal", "center", "lens")
            cameras = dataclasses.replace(cameras, **{name: getattr(cameras, name).clone() for name in changing})
        self.views = dataclasses.replace(views, cameras=cameras)
        self.given = views.cameras
        self._lens: Callable[[Cameras], Cameras] | None = None  # the change of the lens that all share
        self.colors = torch.tensor([1.0, 1, 1, 0, 0, 0]).repeat(len(views), 1)
        self.gradients = torch.zeros(len(views), sum(SIZES))
        # In double precision thousands of small rotations leave a rotation.
        self._pose = self.given.world_from_camera.double()
        self._color = torch.zeros(len(views), SIZES[1])  # log gain and offset
        self._moments = torch.zeros(2, len(views), sum(SIZES))
        middle = box.corner + box.side / 2 if box.contraction is None else box.contraction.center
        distance = (self.given.world_from_camera[:, :, 3] - middle).norm(dim=1).median().item()
        rates = settings.capture.pose_rate, settings.capture.exposure_rate
        self._rate = torch.tensor([rates[0]] * 3 + [rates[0] * distance] * 3 + [rates[1]] * 6)

    def __bool__(self) -> bool:
        """Whether anything is learned by gradients."""
        return self.refines or self.exposes

    def descend(self, number: int, progress: float) -> None:
        """Takes Adam's step `number` (from 1) by `gradients`, with rates that fall with the progress."""
        grad = self.gradients
        grad[:, 6:9] *= self.colors[:, :3]  # of the log gain
        first, second = self._moments
        first.lerp_(grad, 1 - BETA1)
        second.lerp_(grad.square(), 1 - BETA2)
        root = (second / (1 - BETA2**number)).sqrt_() + EPSILON
        move = -(LAST_RATE**progress) * self._rate * (first / (1 - BETA1**number)) / root
        move -= move.mean(0)
        if self.refines:
            change = move[:, :6].double()
            self._pose[:, :, :3] = rotations(change[:, :3]) @ self._pose[:, :, :3]
            self._pose[:, :, 3] += change[:, 3:]
        if self.exposes:
            self._color += move[:, 6:]
        self._publish()

    def with_lens(self, change: Callable[[Cameras], Cameras]) -> Cameras:
        """Returns the cameras at their poses of now with a change of their lens."""
        return change(dataclasses.replace(self.given, world_from_camera=self._pose.float()))

    def change_lens(self, change: Callable[[Cameras], Cameras]) -> None:
        """Gives all cameras a change of their lens in place of the one before."""
        self._lens = change
        self._publish()

    def _publish(self) -> None:
        cameras = self.views.cameras
        if self._lens is not None:
            now = self.with_lens(self._lens)
            for name in ("world_from_camera", "focal", "center", "lens"):
                getattr(cameras, name).copy_(getattr(now, name))
        elif self.refines:
            cameras.world_from_camera.copy_(self._pose)
        self.colors[:, :3] = self._color[:, :3].exp()
        self.colors[:, 3:] = self._color[:, 3:]

    def state(self) -> dict[str, Tensor]:
        """Returns what a step changes, by name; nothing if nothing is learned."""
        return dict(zip(STATE, (self._pose, self._color, *self._moments))) if self else {}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly."""
        for name, tensor in self.state().items():
            tensor.copy_(checked(tensors, name, tensor.shape))
        self._publish()

    def found(self) -> list[str]:
        """Returns lines for the user that say what was found."""
        lines = []
        if self.refines:
            before = self.given.world_from_camera.double()
            after = self._pose
            turn = 0.5 * ((before[:, :, :3].mT @ after[:, :, :3]).diagonal(dim1=1, dim2=2).sum(1) - 1)
            degrees = turn.clamp(-1, 1).acos().rad2deg()
            moved = (after - before)[:, :, 3].norm(dim=1)
            lines.append(
                f"poses: turned by {degrees.median():.2f} degrees in the median ({degrees.max():.2f} at most), "
                f"moved by {moved.median():.3g} ({moved.max():.3g} at most)"
            )
        if self.exposes:
            stops = 2.4 * self._color[:, :3].mean(1) / torch.log(torch.tensor(2.0))
            lines.append(f"exposure: pictures differ from {stops.min():+.2f} to {stops.max():+.2f} stops")
        return lines


def refined_poses(cameras: Cameras, tensors: dict[str, Tensor]) -> Cameras:
    """Returns training cameras with the poses that a checkpoint has learned, if it has."""
    if STATE[0] not in tensors:
        return cameras
    pose = checked(tensors, STATE[0], cameras.world_from_camera.shape)
    return dataclasses.replace(cameras, world_from_camera=pose.float())
