"""A field in its cube: what can be rendered, filmed and meshed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nerf.config import RenderSettings
from nerf.fields.radiance import RadianceField
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering, composite, distance_at, transmittance
from nerf.ops.march import Samples, march
from nerf.rendering.losses import distortion_loss, faded, near_part
from nerf.rendering.occupancy import OccupancyGrid

RAYS_AT_ONCE = 2048  # through the field: bounds the memory of their samples to some hundred MB
PIXELS_AT_ONCE = 2**18  # of a picture, whose rays are made together
NEGLIGIBLE_WEIGHT = 1e-4  # of a sample, in any ray
PART_OF_HEAVIEST = 0.5  # of the samples of a ray: what weighs as much is never too light
# Of a ray's light is left where it meets the surface. On the built-in scene distances have no bias at this level; where
# only half is left, they are too great by 0.1 % of the scene's size.
SURFACE_LEVEL = 0.75
RENDERED = ("rgb", "opacity", "depth")


@dataclass(frozen=True)
class Picture:
    """What one camera sees: rgb (H, W, 3) over black, opacity (H, W), depth (H, W) in scene units times opacity."""

    rgb: Tensor
    opacity: Tensor
    depth: Tensor

    def over(self, background: float) -> Tensor:
        """Returns RGB (H, W, 3) in [0, 1] with a grey background, 0 black to 1 white."""
        return (self.rgb + (1 - self.opacity[:, :, None]) * background).clamp(0, 1)


def box_numbers(box: SceneBox) -> Tensor:
    """Returns a cube as float64 numbers: corner and side and, contracted, center, radius and near."""
    # float64 holds Python's numbers exactly: a resumed run must not see another cube.
    numbers = [*box.corner.tolist(), box.side]
    if box.contraction is not None:
        numbers += [*box.contraction.center.tolist(), box.contraction.radius, box.contraction.near]
    return torch.tensor(numbers, dtype=torch.float64)


def box_of_numbers(numbers: Tensor) -> SceneBox:
    """Returns the cube that `box_numbers` wrote."""
    contraction = None
    if len(numbers) > 4:
        contraction = Contraction(numbers[4:7].float(), numbers[7].item(), numbers[8].item())
    return SceneBox(numbers[:3].float(), numbers[3].item(), contraction)


class RadianceModel(nn.Module):
    """A radiance field, the cube it fills in the world, and the cells of the cube that are not empty."""

    def __init__(self, field: RadianceField, occupancy: OccupancyGrid, box: SceneBox, settings: RenderSettings) -> None:
        super().__init__()
        self.field, self.occupancy, self.box, self.settings = field, occupancy, box, settings

    @property
    def carved(self) -> bool:
        """Whether silhouettes say what is empty; without them nothing tells what is behind a surface."""
        return self.box.contraction is None and not bool(self.occupancy.hull.all())

    def step_length(self, progress: float = 1.0) -> float:
        """Returns the march's step, scene units: from first_steps to steps along the diagonal, geometrically."""
        part = min(1.0, progress / self.settings.refined_by) if self.settings.refined_by > 0 else 1.0
        steps = self.settings.first_steps ** (1 - part) * self.settings.steps**part
        return self.box.diagonal / steps

    def active_levels(self, progress: float) -> int:
        """Returns how many levels of the grid take part in training: the coarsest ones.

        A level joins when the step has come as near to its final length as the level's cells are to the finest.
        """
        levels = self.field.encoding.levels
        finest = levels[-1].resolution * self.step_length() / self.step_length(progress)
        return max(1, sum(level.resolution <= finest for level in levels))

    def density(self, point: Tensor) -> Tensor:
        """Returns density (N,) per scene unit at world points (N, 3); 0 outside the cube and in empty cells."""
        unit = self.box.unit_from_world(point)
        inside = ((unit >= 0) & (unit <= 1)).all(dim=1)
        unit = unit.clamp(0, 1)
        known = inside & self.occupancy.occupied.flatten()[self.occupancy.cell_rows(unit)]
        density = torch.zeros(len(point))
        density[known] = self.unit_density(unit[known])
        density /= self.box.unit_length(point)
        return density

    def unit_density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per cube side at positions (N, 3) in the unit cube."""
        return self.field.density(position)[0]

    def color(self, point: Tensor, direction: Tensor) -> Tensor:
        """Returns RGB (N, 3) at world points (N, 3) seen along unit directions (N, 3)."""
        unit = self.box.unit_from_world(point).clamp(0, 1)
        return self.field.color(direction, self.field.density(unit)[1])

    def samples(self, rays: Rays, step: float, offset: Tensor) -> Samples:
        """Returns the samples of rays that matter: in occupied cells, in front of the surface, not too light.

        Most samples lie behind a surface or in all but empty space; a first pass without gradients finds and drops
        them. Too light is what weighs less than `minimum_weight` in its ray's colour, unless the whole ray is fog: less
        than half of its heaviest sample. What is dropped counts as empty.
        """
        minimum = self.settings.minimum_weight
        samples = march(rays, self.box, self.occupancy.occupied, step, offset)
        with torch.no_grad():
            position = self.unit_positions(rays, samples)
            sigma = self.field.density(position)[0] / self.box.side
            reached = transmittance(sigma * step, samples.ray, len(rays))
            seen = reached >= self.settings.minimum_transmittance
            weight = torch.where(seen, reached * -torch.expm1(-sigma * step), 0)
            heaviest = weight.new_zeros(len(rays)).scatter_reduce(0, samples.ray, weight, "amax")
            least = (PART_OF_HEAVIEST * heaviest).clamp(NEGLIGIBLE_WEIGHT, max(NEGLIGIBLE_WEIGHT, minimum))
        return samples.where(seen & (weight >= least[samples.ray]))

    def unit_positions(self, rays: Rays, samples: Samples) -> Tensor:
        """Returns positions (S, 3) of samples in the unit cube."""
        return self.box.unit_from_world(samples.positions(rays)).clamp(0, 1)

    def shade(
        self, rays: Rays, samples: Samples, code: Tensor | None = None, near: float = 0.0
    ) -> tuple[Rendering, Tensor, Tensor]:
        """Returns the rendering of R rays through S samples, unit positions (S, 3) and density per cube side (S,).

        Differentiable in the field's parameters, in rays, whose samples stay at their t, and in code (R, code_size).
        near: scene units; gradients of samples that are nearer to their camera fade, see `near_part`.
        """
        position = self.unit_positions(rays, samples)
        density, features = self.field.density(position)
        rgb = self.field.color(rays.direction[samples.ray], features, None if code is None else code[samples.ray])
        if near > 0:
            part = near_part(samples.t, near)
            density, rgb = faded(density, part), faded(rgb, part[:, None])
        return composite(density / self.box.side, rgb, samples), position, density

    def distortion(self, rays: Rays, samples: Samples, density: Tensor) -> Tensor:
        """Returns the distortion loss of R rays through S samples of density (S,) per cube side, cube sides."""
        return distortion_loss(
            density, self.box.marched(rays, samples.ray, samples.t), samples, samples.step / self.box.side
        )

    def render(
        self, rays: Rays, code: Tensor | None = None, step: float | None = None, offset: Tensor | None = None
    ) -> Rendering:
        """Returns what R rays see.

        Args:
            rays: R rays.
            code: (R, code_size), what the colour network sees beside the direction; zero if None.
            step: length of a step, scene units; the final one if None.
            offset: (R,) in [0, 1), the place of a sample in its step; the middle if None.

        Differentiable once in the field's parameters, in rays (and so in poses), whose samples stay at their t, and in
        code: any loss can be written on it. The built-in losses have a faster road, see `nerf.tasks`.
        """
        step = self.step_length() if step is None else step
        offset = torch.full((len(rays),), 0.5) if offset is None else offset
        parts = []
        for start in range(0, max(len(rays), 1), RAYS_AT_ONCE):
            some = slice(start, start + RAYS_AT_ONCE)
            samples = self.samples(rays[some], step, offset[some])
            parts.append(self.shade(rays[some], samples, None if code is None else code[some])[0])
        return Rendering(*(torch.cat([getattr(part, name) for part in parts]) for name in RENDERED))

    @torch.no_grad()
    def surface(self, rays: Rays) -> Tensor:
        """Returns where R rays meet the surface, (R,) scene units along the ray; infinite where most light goes on."""
        parts = [torch.empty(0)]
        for start in range(0, len(rays), RAYS_AT_ONCE):
            part = rays[start : start + RAYS_AT_ONCE]
            samples = self.samples(part, self.step_length(), torch.full((len(part),), 0.5))
            position = self.unit_positions(part, samples)
            parts.append(distance_at(self.unit_density(position) / self.box.side, samples, SURFACE_LEVEL))
        return torch.cat(parts)

    def distances(self, cameras: Cameras, frame: int) -> Tensor:
        """Returns where the rays of one camera meet the surface, (H, W) scene units, infinite where they do not."""
        return self.surface(cameras.image_rays(frame)).view(*cameras.size[frame].flip(0).tolist())

    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns what one camera sees; the memory it takes beside the picture does not grow with the picture."""
        width, height = cameras.size[frame].tolist()
        size = (height, width)
        pixels = range(0, height * width, PIXELS_AT_ONCE)
        parts = [self.render(cameras.image_rays(frame, start, start + PIXELS_AT_ONCE)) for start in pixels]
        rendering = Rendering(*(torch.cat([getattr(part, name) for part in parts]) for name in RENDERED))
        return Picture(rendering.rgb.view(*size, 3), rendering.opacity.view(size), rendering.depth.view(size))
