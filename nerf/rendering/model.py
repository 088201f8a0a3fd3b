"""A field in its scene box: what can be rendered, filmed and meshed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from nerf.checkpoints import checked
from nerf.config import RenderSettings, Settings
from nerf.errors import InputError
from nerf.fields.table import FieldMaker, new_field
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering
from nerf.rendering.occupancy import OccupancyGrid
from nerf.rendering.radiance_engine import ChangeTracker, EngineMaker, RadianceEngine, RayBatch
from nerf.seeding import generator

if TYPE_CHECKING:
    from nerf.fields.radiance import RadianceField

PIXELS_AT_ONCE = 2**18  # of a picture, whose rays are made together
# Of a ray's light is left where it meets the surface. On the built-in scene distances have no bias at this level; where
# only half is left, they are too great by 0.1 % of the scene's size.
SURFACE_LEVEL = 0.75
LEAST_DENSITY = 1e-3  # per side of the cube, beside which less does not turn a normal


@dataclass(frozen=True)
class Picture:
    """What one camera sees."""

    rgb: Tensor  # (H, W, 3), over black
    opacity: Tensor  # (H, W)
    depth: Tensor  # (H, W), distance along the ray in scene units, times opacity

    def over(self, background: float) -> Tensor:
        """Returns RGB (H, W, 3) in [0, 1] with a grey background, 0 black to 1 white."""
        return (self.rgb + (1 - self.opacity[:, :, None]) * background).clamp(0, 1)


class LearnsFrom(Protocol):
    """What a model learns from, as far as the model knows it: tensors that a checkpoint loads."""

    def tensors(self) -> list[Tensor]: ...


class RadianceModel(nn.Module):
    """A radiance field, the box it fills in the world, the cells of it that are not empty, and what computes them."""

    def __init__(
        self,
        field: RadianceField,
        occupancy: OccupancyGrid,
        box: SceneBox,
        settings: RenderSettings,
        make_engine: EngineMaker,
    ) -> None:
        super().__init__()
        self.field = field
        self.occupancy = occupancy
        self.box = box
        self.settings = settings
        self.make_engine = make_engine
        self.learns: LearnsFrom | None = None  # what the engine trains on; none while it only renders
        # An engine and what it knows, shared by shallow copies of the model.
        self._engine: tuple[RadianceEngine, ChangeTracker] | None = None

    def engine(self) -> RadianceEngine:
        """Returns the engine on the tensors as they are now."""
        if self._engine is None or self._engine[1].moved(self):
            tracked = self.learns.tensors() if self.learns is not None else []
            self._engine = self.make_engine(self), ChangeTracker(self, tracked)
        engine, tracker = self._engine
        if tracker.written():
            engine.refresh()
            tracker.remember()
        return engine

    def learn_from(self, arrays: LearnsFrom) -> None:
        """Says what the model is to be trained on."""
        self.learns = arrays
        self.forget_engine()

    def forget_engine(self) -> None:
        """Lets go of the engine, and of what it alone has learned: the next one begins with the model's tensors."""
        self._engine = None

    def copy_back(self) -> None:
        """Makes the modules' tensors what the engine has learned."""
        if self._engine is not None and self._engine[0].copy_back():
            self._engine[1].remember()

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
        levels = self.field.levels
        finest = levels[-1].resolution * self.step_length() / self.step_length(progress)
        return max(1, sum(level.resolution <= finest for level in levels))

    def density(self, point: Tensor) -> Tensor:
        """Returns density (N,) per scene unit at world points (N, 3); 0 outside the box and in empty cells."""
        self.copy_back()
        known = self.may_hold(point)
        density = torch.zeros(len(point))
        density[known] = self.unit_density(self.box.unit_from_world(point[known]))
        density /= self.box.unit_length(point)
        return density

    def may_hold(self, point: Tensor) -> Tensor:
        """Returns (N,) bool: whether world points (N, 3) lie in occupied cells."""
        unit = self.box.unit_from_world(point)
        inside = ((unit >= 0) & (unit <= 1)).all(dim=1)
        return inside & self.occupancy.occupied.flatten()[self.occupancy.cell_rows(unit.clamp(0, 1))]

    @torch.no_grad()
    def unit_density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per side of the box at positions (N, 3) in the unit cube."""
        return self.engine().density(position)

    def outward(self, position: Tensor, reach: float) -> Tensor:
        """Returns which way is out of the surface, (N, 3) unit vectors in the world, at positions (N, 3).

        position, reach: in the unit cube. The normal goes down the logarithm of the density, over so long a way.
        """
        ways = 0.5 * reach * torch.eye(3)
        ends = [[self.unit_density((position + sign * way).clamp(0, 1)) for sign in (-1, 1)] for way in ways]
        normal = torch.stack(
            [(below + LEAST_DENSITY).log() - (above + LEAST_DENSITY).log() for below, above in ends], 1
        )
        step = 0.1 * reach * torch.nn.functional.normalize(normal, dim=1)
        outside = self.box.world_from_unit((position + step).clamp(0, 1))
        return torch.nn.functional.normalize(outside - self.box.world_from_unit(position), dim=1)

    def color(self, point: Tensor, direction: Tensor) -> Tensor:
        """Returns RGB (N, 3) at world points (N, 3) seen along unit directions (N, 3)."""
        self.copy_back()
        unit = self.box.unit_from_world(point).clamp(0, 1)
        return self.field.color(direction, self.field.density(unit)[1])

    def render(
        self, rays: Rays, code: Tensor | None = None, step: float | None = None, offset: Tensor | None = None
    ) -> Rendering:
        """Returns what R rays see.

        Args:
            rays: R rays.
            code: (R, code_size), what the colour network sees beside the direction; zero if None.
            step: length of a step, scene units; the final one if None.
            offset: (R,) in [0, 1), the position of a sample in its step; the middle if None.

        Differentiable once in the field's parameters, in rays (and so in poses), whose samples stay at their t, and in
        code: any loss can be written on it. Nothing is kept for the way back but the rays. The built-in losses have a
        faster road, see `nerf.training.radiance`.

        Raises:
            ValueError: sizes differ, or a number is not finite.
        """
        batch = RayBatch(
            rays.origin.contiguous(),
            rays.direction.contiguous(),
            torch.full((len(rays),), 0.5) if offset is None else offset.contiguous(),
            None if code is None else code.contiguous(),
        )
        expected = [(len(rays), 3), (len(rays), 3), (len(rays),), (len(rays), self.field.code_size)]
        for name, part, shape in zip(RayBatch._fields, batch, expected):
            if part is not None and (part.shape != shape or not torch.isfinite(part).all()):
                raise ValueError(f"render: {name}: expected finite numbers {shape}, got {tuple(part.shape)}")
        step = self.step_length() if step is None else step
        return Rendering(*_Render.apply(self, step, *batch, *self.field.parameters()))

    @torch.no_grad()
    def surface(self, rays: Rays) -> Tensor:
        """Returns where R rays meet the surface, (R,) scene units along the ray; infinite where most light goes on."""
        return self.engine().surface(rays, self.step_length(), SURFACE_LEVEL)

    def distances(self, cameras: Cameras, frame: int, wanted: Tensor | None = None) -> Tensor:
        """Returns where the rays of one camera meet the surface, (H, W) scene units, infinite where they do not.

        wanted: (H, W) bool, the pixels that matter, the others being infinite; all if None.
        """
        rays = cameras.image_rays(frame)
        if wanted is None:
            distance = self.surface(rays)
        else:
            distance = torch.full((len(rays),), torch.inf)
            distance[wanted.flatten()] = self.surface(rays[wanted.flatten()])
        return distance.view(*cameras.size[frame].flip(0).tolist())

    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns what one camera sees; the memory it takes beside the picture does not grow with the picture."""
        width, height = cameras.size[frame].tolist()
        size = (height, width)
        found = torch.zeros(height * width, 5)
        for start in range(0, height * width, PIXELS_AT_ONCE):
            part = self.render(cameras.image_rays(frame, start, start + PIXELS_AT_ONCE))
            seen = torch.cat([part.rgb, part.opacity[:, None], part.depth[:, None]], dim=1)
            found[start : start + PIXELS_AT_ONCE] = seen
        rgb, opacity, depth = found.split([3, 1, 1], dim=1)
        return Picture(rgb.reshape(*size, 3), opacity.reshape(size), depth.reshape(size))


class _Render(torch.autograd.Function):
    """Rendering by the model's engine, and its vjp, which traces the rays anew."""

    @staticmethod
    def forward(ctx: Any, model: RadianceModel, step: float, *tensors: Any) -> tuple[Tensor, ...]:
        ctx.model = model
        ctx.step = step
        ctx.save_for_backward(*tensors)  # parameters too: torch then sees if they change before the way back
        return model.engine().render(RayBatch(*tensors[:4]), step)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        names = [*RayBatch._fields, *(name for name, _ in ctx.model.field.named_parameters())]
        needed = dict(zip(names, ctx.needs_input_grad[2:], strict=True))
        if needed["offset"]:
            raise ValueError("render: not differentiable in offset")

        batch = RayBatch(*ctx.saved_tensors[:4])
        found = ctx.model.engine().render_vjp(batch, ctx.step, grads, needed)
        return None, None, *(found[name] if needed[name] else None for name in names)


def new_model(
    settings: Settings,
    box: SceneBox,
    hull: Tensor | None = None,
    code_size: int = 0,
    *,
    make_engine: EngineMaker,
    make_field: FieldMaker = new_field,
) -> RadianceModel:
    """Returns a model with its first parameters, drawn from the seed.

    Args:
        settings: of the whole run.
        box: the scene's.
        hull: (G, G, G) bool, the cells that can hold matter; all of them if None.
        code_size: numbers of a code beside the direction, see `RadianceField`.
        make_engine: what computes the model.
        make_field: what holds its parameters.

    Raises:
        InputError: the settings leave `render.steps` to a capture, see `nerf.training.radiance.resolved_settings`.
    """
    if settings.render.steps == 0:
        raise InputError("render.steps is 0, which only a capture's cameras decide; give a number")
    field = make_field(settings.field, generator(settings.train.seed, "parameters"), code_size)
    if hull is None:
        hull = torch.ones((settings.render.occupancy_resolution,) * 3, dtype=torch.bool)
    return RadianceModel(field, OccupancyGrid(hull), box, settings.render, make_engine)


def model_state(model: RadianceModel) -> dict[str, Tensor]:
    """Returns the tensors of a model by name: ``field.*``, ``occupancy.*`` and ``cube``."""
    return {**{name: value.detach() for name, value in model.state_dict().items()}, "cube": box_numbers(model.box)}


def model_shapes(settings: Settings) -> dict[str, torch.Size]:
    """Returns the shapes of a model's largest tensors by name, as a checkpoint has them; takes no memory."""
    with torch.device("meta"):
        field = new_field(settings.field, torch.Generator())
    tensors = field.portable(dict(field.named_parameters()))
    cells = torch.Size([settings.render.occupancy_resolution] * 3)
    return {"occupancy.hull": cells, **{f"field.{name}": value.shape for name, value in tensors.items()}}


def load_model_state(model: RadianceModel, tensors: dict[str, Tensor]) -> None:
    """Takes over the tensors of a model, exactly.

    Raises:
        InputError: a tensor is missing, has another shape than the settings say, or is not finite.
    """
    model.forget_engine()
    found = {name: checked(tensors, name, value.shape) for name, value in model.state_dict().items()}
    model.field.load_tensors({name.removeprefix("field."): value for name, value in found.items()})
    for name, value in model.occupancy.named_buffers():
        value.copy_(found[f"occupancy.{name}"])
    contracted = tensors.get("cube", torch.empty(0)).shape == (9,)
    model.box = box_of_numbers(checked(tensors, "cube", torch.Size([9 if contracted else 4])))


def box_numbers(box: SceneBox) -> Tensor:
    """Returns a scene box as float64 numbers: corner and side and, contracted, center, radius and near."""
    # float64 holds Python's numbers exactly: a resumed run must not see another box.
    numbers = [*box.corner.tolist(), box.side]
    if box.contraction is not None:
        numbers += [*box.contraction.center.tolist(), box.contraction.radius, box.contraction.near]
    return torch.tensor(numbers, dtype=torch.float64)


def box_of_numbers(numbers: Tensor) -> SceneBox:
    """Returns the scene box that `box_numbers` wrote.

    Raises:
        InputError: it has no extent, or a number that is not finite as float32.
    """
    single = numbers.float()
    sizes = {"side": single[3]} | ({"radius": single[7]} if len(numbers) > 4 else {})
    for name, size in sizes.items():
        if not size > 0:
            raise InputError(f'checkpoint: tensor "cube": {name} is {size:g}, expected more than 0; train again')
    if not torch.isfinite(single).all() or (len(numbers) > 4 and single[8] < 0):
        raise InputError(f'checkpoint: tensor "cube" is no box: {numbers.tolist()}; train again')

    contraction = None
    if len(numbers) > 4:
        contraction = Contraction(numbers[4:7].float(), numbers[7].item(), numbers[8].item())
    return SceneBox(numbers[:3].float(), numbers[3].item(), contraction)
