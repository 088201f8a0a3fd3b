"""The CUDA kernels' side of a model: its arrays on the device, and the order of the launches.

A training step is: draw rays -> count, scan, fill their samples -> densities of all -> count, scan, gather those that
light reaches -> encode, both networks, compositing, loss -> the same back -> Adam over what has a gradient. Scans and
sums are torch's, on the same stream. Launches go to a `Launcher`: a GPU, or the shim of the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nerf.cameras import Rays
from nerf.engine.kernels import BLOCK, GROUP, Launcher, LayerArrays, SampleArrays, Work, grid_of, padded
from nerf.engine.signatures import OccupancyCall, StepCall, StepReport
from nerf.errors import InputError
from nerf.native_rendering import field_shape
from nerf.ops.composite import Rendering
from nerf.rendering import RadianceModel
from nerf.scenes import Views

RAYS_AT_ONCE = 2**16  # of a picture
POSITIONS_AT_ONCE = 2**20
CELLS_PER_PROBE = 16  # see src/probes.h
STRIPES = 64  # among which the samples are shared out when gradients by weights are summed
MARCHED_PER_USED = 8  # at most, early in training; where it is more, memory runs out and the batch is halved
PLACES = ("x", "y", "z", "t", "density")


@dataclass(frozen=True)
class Lesson:
    """What a model learns from: pictures, the flat indices of the pixels to draw, and Adam's moments by name."""

    views: Views
    candidates: Tensor
    moments: dict[str, dict[str, Tensor]]

    def tensors(self) -> list[Tensor]:
        """Returns the moments."""
        return [moment for moments in self.moments.values() for moment in moments.values()]


@dataclass
class Arrays:
    """The device's arrays by name: kept from call to call, made anew when they must be larger."""

    launcher: Launcher
    held: dict[str, Tensor] = field(default_factory=dict)

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns an array whose first length is at least that of `shape`; zero at first, then what was left in it."""
        held = self.held.get(name)
        if held is None or held.shape[1:] != shape[1:] or held.shape[0] < shape[0]:
            room = shape[0] if held is None else max(shape[0], held.shape[0] * 5 // 4)
            held = None
            self.held.pop(name, None)  # gone before its successor is made
            self.held[name] = held = self.launcher.zeros((room, *shape[1:]), dtype)
        return held

    def put(self, name: str, value: Tensor) -> int:
        """Copies a tensor to the device and returns its address there."""
        self.held[name] = array = self.launcher.zeros(tuple(value.shape), value.dtype)
        array.copy_(value)
        return array.data_ptr()


class CudaEngine:
    """The device's side of a model, with the interface of the native engine."""

    def __init__(self, model: RadianceModel, launcher: Launcher, lesson: Lesson | None) -> None:
        self.model, self.launcher, self.lesson = model, launcher, lesson
        self.arrays, self.batch = Arrays(launcher), Arrays(launcher)
        self.parameters = dict(model.field.named_parameters())
        self.work = work = Work(shape=field_shape(model.field), side=model.cube.side)
        self.levels, self.features = work.shape.n_levels, work.shape.features
        rows = [level.rows for level in work.shape.levels[: self.levels]]
        work.first_row[: self.levels] = [sum(rows[:level]) for level in range(self.levels)]
        self.n_rows = sum(rows)
        self.words_per_row = max(1, self.features // 2)
        minimum = model.settings.minimum_transmittance
        work.greatest_thickness = -math.log(minimum) if minimum > 0 else math.inf
        work.corner[:] = model.cube.corner.tolist()
        work.resolution = model.occupancy.resolution
        work.n_layers = len(self._layers())
        self.refresh()

    def _layers(self) -> list[tuple[str, int]]:
        """Returns the layers' names and their `split`, see LayerShape in src/layer.h."""
        density, color = self.model.field.density_mlp.weights, self.model.field.color_mlp.weights
        splits = [weight.shape[1] for weight in [*density, *color]]
        splits[len(density)] = density[-1].shape[0]
        names = [f"density_mlp.weights.{i}" for i in range(len(density))]
        return list(zip([*names, *(f"color_mlp.weights.{i}" for i in range(len(color)))], splits))

    def refresh(self) -> None:
        """Copies the model's tensors to the device."""
        work, put = self.work, self.arrays.put
        moments = self.lesson.moments if self.lesson else {}
        for key, tensors in {"": self.parameters, **moments}.items():
            for name, tensor in tensors.items():
                put(key + name, tensor.detach())
        at = {name: tensor.data_ptr() for name, tensor in self.arrays.held.items()}
        work.table = at["encoding.table"]
        work.table_first_moment = at.get("exp_avgencoding.table")
        work.table_second_moment = at.get("exp_avg_sqencoding.table")
        work.packed = self.arrays.get("packed", (self.n_rows * self.words_per_row,), torch.int32).data_ptr()
        for index, (name, split) in enumerate(self._layers()):
            outputs, inputs = self.parameters[name].shape
            size = padded(outputs) * (padded(split) + padded(inputs - split))
            forms = {form: self.arrays.get(f"{form}.{name}", (size,)).data_ptr() for form in ("forward", "transposed")}
            work.layers[index] = LayerArrays(
                weights=at[name],
                **forms,
                first_moment=at.get("exp_avg" + name),
                second_moment=at.get("exp_avg_sq" + name),
                outputs=outputs,
                inputs=inputs,
                split=split,
            )
        self._put_cells()
        if self.lesson:
            self._put_lesson(self.lesson)
        self._launch("pack_table", self.n_rows * self.words_per_row)
        self._launch_layers("pack_network")

    def _put_cells(self) -> None:
        work, occupancy, side = self.work, self.model.occupancy, padded(self.work.resolution, 4) // 4
        for name in ("hull", "occupied", "value"):
            setattr(work, name, self.arrays.put(name, getattr(occupancy, name)))
        cells = occupancy.hull.flatten().nonzero().squeeze(1).to(torch.int32)
        work.hull_cells, work.n_hull_cells = self.arrays.put("hull_cells", cells), len(cells)
        work.blocks = self.arrays.get("blocks", (side**3,), torch.uint8).data_ptr()
        self._launch("coarsen_cells", side**3)

    def _put_lesson(self, lesson: Lesson) -> None:
        pixels, views, put = self.work.pixels, lesson.views, self.arrays.put
        if "images" not in self.arrays.held:
            pixels.images, pixels.candidates = put("images", views.images), put("candidates", lesson.candidates)
            cameras = views.cameras
            pixels.poses = put("poses", cameras.world_from_camera)
            pixels.focal, pixels.center = put("focal", cameras.focal), put("center", cameras.center)
            pixels.n_candidates, pixels.width, pixels.height = len(lesson.candidates), cameras.width, cameras.height
            pixels.channels, pixels.bytes, pixels.white = (
                views.images.shape[-1],
                views.images.element_size(),
                views.white,
            )
        self.work.adam = self.arrays.get("adam", (8,)).data_ptr()
        self.work.grad_table = self.arrays.get("grad_table", (self.n_rows, self.features)).data_ptr()
        for index, (name, _) in enumerate(self._layers()):
            layer = self.work.layers[index]
            size = self.arrays.held[f"forward.{name}"].shape[0]
            layer.grad_weights = self.arrays.get(f"grad.{name}", (size,)).data_ptr()

    @torch.no_grad()
    def copy_back(self) -> None:
        """Copies what training changes from the device into the model's tensors."""
        moments = self.lesson.moments if self.lesson else {}
        for key, tensors in {"": self.parameters, **moments}.items():
            for name, tensor in tensors.items():
                tensor.copy_(self.arrays.held[key + name])
        for name in ("occupied", "value"):
            getattr(self.model.occupancy, name).copy_(self.arrays.held[name])

    def _launch(self, kernel: str, threads: int, across: int = 1, deep: int = 1) -> None:
        if threads > 0:
            self.launcher.launch(kernel, self.work, grid_of(threads, across, deep))

    def _launch_layers(self, kernel: str) -> None:
        layers = self.work.layers[: self.work.n_layers]
        self._launch(kernel, max(layer.outputs * layer.inputs for layer in layers), len(layers))

    def _room(self, name: str, n: int) -> dict[str, Tensor]:
        """Returns room for n samples of a set and points the kernels to it; what fills the last block is harmless."""
        room = max(BLOCK, padded(n, BLOCK))
        found = {place: self.batch.get(f"{name}.{place}", (room,)) for place in PLACES}
        found["ray"] = self.batch.get(f"{name}.ray", (room,), torch.int32)
        for place in ("x", "y", "z"):
            found[place][n:room] = 0.5
        found["ray"][n:room] = 0
        self.work.samples = SampleArrays(**{place: tensor.data_ptr() for place, tensor in found.items()}, n=n)
        work, blocks = self.work, room // BLOCK

        def rows(what: str, count: int) -> int:
            return self.batch.get(what, (blocks, padded(count), BLOCK)).data_ptr()

        for index in range(work.n_layers):
            layer = work.layers[index]
            inputs = padded(layer.split) + padded(layer.inputs - layer.split)
            layer.in_ = rows(f"in.{index}", inputs)
        for index in range(work.n_layers - 1):
            work.layers[index].out = work.layers[index + 1].in_
        work.layers[work.n_layers - 1].out = rows("rgb", GROUP)
        for what in ("passing", "reaching"):
            setattr(work, what, self.batch.get(what, (room,)).data_ptr())
        return found

    def _room_for_gradients(self, n: int) -> None:
        work, room = self.work, max(BLOCK, padded(n, BLOCK))
        blocks = room // BLOCK
        grads = [
            self.batch.get(f"grad_out.{index}", (blocks, padded(work.layers[index].outputs), BLOCK))
            for index in range(work.n_layers)
        ]
        for layer, grad in zip(work.layers, grads):
            layer.grad_out = grad.data_ptr()
        encoded = padded(work.layers[0].inputs)
        work.grad_encoding = self.batch.get("grad_encoding", (blocks, encoded, BLOCK)).data_ptr()
        thickness = self.batch.get("grad_thickness", (room,))
        work.grad_thickness = thickness.data_ptr()
        # What fills the last block must leave no gradient.
        grads[-1][blocks - 1].zero_()
        thickness[n:room] = 0

    def _densities(self) -> None:
        room = padded(self.work.samples.n, BLOCK)
        self._launch("encode", room, self.levels)
        self._launch("density", room)

    def _scan(self, name: str) -> int:
        """Turns the rays' counts into where their samples begin; returns how many there are."""
        n_rays = self.work.n_rays
        first = self.batch.get(name, (n_rays + 1,), torch.int64)[: n_rays + 1]
        torch.cumsum(self.batch.held["count"][:n_rays], 0, out=first[1:])
        self.work.samples.first = first.data_ptr()
        return int(first[-1])

    def _rays(self, n_rays: int) -> None:
        self.work.n_rays = n_rays
        widths = {"origin": 3, "direction": 3, "rgba": 4, "pixel": 5, "grad_pixel": 5}
        for name, width in widths.items():
            setattr(self.work, name, self.batch.get(name, (max(n_rays, 1), width)).data_ptr())
        for name, dtype in {"offset": torch.float32, "loss": torch.float32, "count": torch.int64}.items():
            setattr(self.work, name, self.batch.get(name, (max(n_rays, 1),), dtype).data_ptr())

    def _trace_and_shade(self, step_length: float) -> tuple[int, int]:
        """Finds the samples that light reaches and what the rays see; returns how many were marched, and reached."""
        work = self.work
        work.step, work.probed = step_length, None
        self._launch("march_count", work.n_rays)
        n_marched = self._scan("first_marched")
        first = work.samples.first
        self._room("marched", n_marched)
        work.samples.first = first
        self._launch("march_fill", work.n_rays)
        self._densities()
        self._launch("reach", work.n_rays)
        work.marched = work.samples
        n_used = self._scan("first_used")
        first = work.samples.first
        self._room("used", n_used)
        work.samples.first = first
        self._launch("gather", work.n_rays)
        self._densities()
        self._launch("shade", padded(n_used, BLOCK))
        self._launch("composite_rays", work.n_rays)
        return n_marched, n_used

    def step(self, call: StepCall) -> StepReport:
        """Takes a training step. Where memory runs out it takes half the rays, says so, and leaves in `call` how many.

        Raises:
            InputError: there is no room for a single ray.
        """
        while True:
            try:
                return self._descend(call, *self._forward_and_back(call))
            except torch.OutOfMemoryError:
                # What is held of this batch is let go before the next is made.
                self.batch.held.clear()
                if call.n_rays < 2:
                    raise InputError("CUDA: no memory for a single ray; lower field.log2_table_size") from None
                call.n_rays //= 2
                print(f"CUDA: out of memory; the batch is halved to {call.n_rays} rays", flush=True)

    def gradients(self, call: StepCall) -> tuple[dict[str, Tensor], StepReport]:
        """Returns the gradients of a step by parameter, without taking it."""
        report = self._forward_and_back(call)[0]
        report.loss = self.batch.held["total_loss"].item()
        table = self.arrays.held["grad_table"]
        found = {"encoding.table": table.clone()}
        table.zero_()
        for name, split in self._layers():
            outputs, inputs = self.parameters[name].shape
            grad = self.arrays.held[f"grad.{name}"].view(padded(outputs), -1)[:outputs]
            found[name] = torch.cat([grad[:, :split], grad[:, padded(split) : padded(split) + inputs - split]], dim=1)
        return found, report

    def _forward_and_back(self, call: StepCall) -> tuple[StepReport]:
        work, n_rays = self.work, call.n_rays
        work.seed, work.first_ray, work.background = call.seed, call.first_ray, call.background
        work.loss_scale = 1 / (3 * max(n_rays, 1))
        self._rays(n_rays)
        self._launch("draw_rays", n_rays)
        n_marched, n_used = self._trace_and_shade(call.step_length)
        self._launch("photometric", n_rays)
        total = self.batch.get("total_loss", (1,), torch.float64)
        total[0] = self.batch.held["loss"][:n_rays].sum(dtype=torch.float64)
        work.total_loss = total.data_ptr()
        self._room_for_gradients(n_used)
        self._launch("composite_rays_vjp", n_rays)
        room = padded(n_used, BLOCK)
        self._launch("network_vjp", room)
        for name, _ in self._layers():
            self.arrays.held[f"grad.{name}"].zero_()
        layers = work.layers[: work.n_layers]
        tiles = [padded(y.outputs) * (padded(y.split) + padded(y.inputs - y.split)) // GROUP**2 for y in layers]
        self._launch("weights_vjp_tiles", min(room, STRIPES * BLOCK), max(tiles), len(layers))
        self._launch("encode_vjp", n_used, self.levels)
        return (StepReport(samples=n_used, marched=n_marched),)

    def _descend(self, call: StepCall, report: StepReport) -> StepReport:
        work = self.work
        for name in ("rate", "beta1", "beta2", "epsilon", "number"):
            setattr(work, name, getattr(call, name))
        self._launch("begin_step", 1)
        self._launch("adam_table", self.n_rows * self.words_per_row)
        self._launch_layers("adam_network")
        self._launch_layers("pack_network")
        self._launch("observe", report.samples)
        report.loss = self.batch.held["total_loss"].item()
        return report

    def update_occupancy(self, call: OccupancyCall) -> None:
        """Updates the occupancy grid, see `OccupancyGrid.update`."""
        work, cells = self.work, self.work.resolution**3
        self._launch("decay_cells", cells)
        if work.n_hull_cells == 0:
            return
        n = -(-work.n_hull_cells // CELLS_PER_PROBE)
        work.seed, work.update, work.step = call.seed, call.number, call.step_length * work.side
        self._room("marched", n)
        work.probed = self.batch.get("probed", (n,), torch.int32).data_ptr()
        work.total_loss = None
        self._launch("probe_cells", n)
        self._densities()
        self._launch("observe", n)
        work.probed = None
        if call.prune:
            value, hull = self.arrays.held["value"], self.arrays.held["hull"]
            total = torch.where(hull, value, 0).sum(dtype=torch.float64)
            mean = self.batch.get("mean", (1,))
            mean[0] = total / work.n_hull_cells
            work.mean = mean.data_ptr()
            self._launch("choose_cells", cells)
            self._launch("coarsen_cells", len(self.arrays.held["blocks"]))

    def render(self, rays: Rays, step_length: float) -> Rendering:
        """Returns what R rays see, on the CPU. step_length: scene units."""
        parts = [torch.empty(0, 5)]
        for start in range(0, len(rays), RAYS_AT_ONCE):
            part = rays[start : start + RAYS_AT_ONCE]
            self._rays(len(part))
            held = self.batch.held
            held["origin"][: len(part)].copy_(part.origin)
            held["direction"][: len(part)].copy_(part.direction)
            held["offset"][: len(part)] = 0.5
            self._trace_and_shade(step_length)
            parts.append(held["pixel"][: len(part)].cpu())
        pixel = torch.cat(parts)
        return Rendering(pixel[:, :3].contiguous(), pixel[:, 3].contiguous(), pixel[:, 4].contiguous())

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per cube side at positions (N, 3) in [0, 1], on the CPU."""
        parts = [torch.empty(0)]
        for part in position.split(POSITIONS_AT_ONCE):
            places = self._room("marched", len(part))
            for axis, name in enumerate("xyz"):
                places[name][: len(part)].copy_(part[:, axis])
            self._densities()
            parts.append(places["density"][: len(part)].cpu())
        return torch.cat(parts)

    def bytes_per_sample(self) -> int:
        """Returns the memory that one sample in front of the surface takes, with the marched ones behind it."""
        layers = self.work.layers[: self.work.n_layers]
        inputs = sum(padded(layer.split) + padded(layer.inputs - layer.split) for layer in layers)
        forward = 4 * (inputs + GROUP + len(PLACES) + 3)
        back = 4 * (sum(padded(layer.outputs) for layer in layers) + padded(layers[0].inputs) + 1)
        return MARCHED_PER_USED * (forward + 4 * (len(PLACES) + 1)) + back
