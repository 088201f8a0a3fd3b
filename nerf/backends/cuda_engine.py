"""The CUDA kernels on a model: the order of the launches.

A training step is: draw rays -> count, scan, fill their samples -> densities of all -> weigh, scan, gather those that
matter -> encode, both networks, compositing, loss -> the same back -> Adam over what has a gradient. Scans and
sums are torch's, on the same stream. Launches go to a `Launcher`: a GPU, or the shim of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nerf.backends.cuda_arrays import SAMPLE_ARRAYS, DeviceModel
from nerf.engine.kernels import BLOCK, GROUP, SampleArrays, padded
from nerf.engine.signatures import BACKGROUNDS, DENSITY_LAYERS
from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.rendering.occupancy import CELLS_PER_PROBE
from nerf.rendering.radiance_engine import OccupancyUpdate, RayBatch, StepResult, TrainingStep
from nerf.report import say

RAYS_AT_ONCE = 2**14  # of a picture; fewer where memory runs out
POSITIONS_AT_ONCE = 2**20
STRIPES = 64  # among which the samples are shared out when gradients by weights are summed
MEMORY_TAKEN = 0.8  # of what is free, at most


class CudaEngine(DeviceModel):
    """The device's side of a model."""

    rays_at_once = RAYS_AT_ONCE

    def _room(self, name: str, n: int) -> dict[str, Tensor]:
        """Returns room for n samples of a set and points the kernels to it; what fills the last block is harmless."""
        room = max(BLOCK, padded(n, BLOCK))
        found = {array: self.batch.get(f"{name}.{array}", (room,)) for array in SAMPLE_ARRAYS}
        found["ray"] = self.batch.get(f"{name}.ray", (room,), torch.int32)
        for array in ("x", "y", "z"):
            found[array][n:room] = 0.5
        found["ray"][n:room] = 0
        work = self.work
        blocks = room // BLOCK
        arrays = {array: tensor.data_ptr() for array, tensor in found.items()}
        work.samples = SampleArrays(**arrays, first=work.samples.first, n=n)

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
        work = self.work
        room = max(BLOCK, padded(n, BLOCK))
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
        for name in ("offset", "loss", "least", "distance", "measured", "count"):
            dtype = torch.int64 if name == "count" else torch.float32
            setattr(self.work, name, self.batch.get(name, (max(n_rays, 1),), dtype).data_ptr())
        self.work.code = None

    def _trace(self, step_length: float, levels: int) -> tuple[int, int]:
        """Finds the samples that matter, and their densities; returns how many were marched, and kept."""
        work = self.work
        work.step = step_length
        work.levels = levels
        work.probed = None
        self._launch("march_count", work.n_rays)
        n_marched = self._scan("first_marched")
        self._room("marched", n_marched)
        self._launch("march_fill", work.n_rays)
        self._densities()
        work.weight = self.batch.get("weight", (max(n_marched, 1),)).data_ptr()
        self._launch("weigh", work.n_rays)
        work.marched = work.samples
        n_used = self._scan("first_used")
        self._room("used", n_used)
        self._launch("gather", work.n_rays)
        self._densities()
        return n_marched, n_used

    def _shade(self) -> None:
        """Finds what the rays see."""
        self._launch("shade", padded(self.work.samples.n, BLOCK))
        self._launch("composite_rays", self.work.n_rays)

    def most_samples(self) -> int | None:
        """Returns how many samples a step can have in the memory that is free."""
        return int(self.launcher.free_bytes() * MEMORY_TAKEN) // self.bytes_per_sample()

    def step(self, step: TrainingStep) -> StepResult:
        """Takes a whole step; where memory runs out, with half the rays, and says so.

        Raises:
            InputError: there is no room for a single ray.
        """
        result = self._forward_and_back(step)
        return self._descend(step, result)

    def gradients(self, step: TrainingStep) -> tuple[dict[str, Tensor], StepResult]:
        """Returns the gradients of a step's loss by the field's parameters, on the device; see `RadianceEngine`."""
        result = self._forward_and_back(step)
        return self._taken_gradients(), replace(result, loss=self.batch.held["total_loss"].item())

    def descend(self, step: TrainingStep, gradients: Mapping[str, Tensor]) -> None:
        """Moves the parameters by Adam, down the gradients that `gradients` returned for the same step."""
        self.arrays.held["grad_table"].copy_(gradients["encoding.table"])
        for name, split in self._layers():
            left, right = self._gradient_blocks(name, split)
            left.copy_(gradients[name][:, :split])
            right.copy_(gradients[name][:, split:])
        self._descend(step, StepResult(math.nan, self.work.n_rays, self.work.samples.n))

    def _half(self, n_rays: int, what: str) -> int:
        """Lets go of the batch that memory did not hold, and returns the rays of the next; says so."""
        self.batch.held.clear()
        if n_rays < 2:
            raise InputError("CUDA: no memory for a single ray; lower field.log2_table_size") from None
        say("memory", f"CUDA: out of memory; halved to {n_rays // 2} {what}")
        return n_rays // 2

    def _taken_gradients(self) -> dict[str, Tensor]:
        """Returns the gradients by parameter that have been added up, on the device, and clears the table's."""
        table = self.arrays.held["grad_table"]
        found = {"encoding.table": table.clone()}
        table.zero_()
        for name, split in self._layers():
            found[name] = torch.cat(self._gradient_blocks(name, split), dim=1)
        return found

    def _gradient_blocks(self, name: str, split: int) -> tuple[Tensor, Tensor]:
        """Returns a layer's gradients on the device: by the inputs before `split`, and by those after it."""
        outputs, inputs = self.parameters[name].shape
        grad = self.arrays.held[f"grad.{name}"].view(padded(outputs), -1)[:outputs]
        return grad[:, :split], grad[:, padded(split) : padded(split) + inputs - split]

    def _clear_network_gradients(self) -> None:
        for name, _ in self._layers():
            self.arrays.held[f"grad.{name}"].zero_()

    def _back(self) -> None:
        """Goes from the gradients by the pixels to those by the parameters, which are added to what is there."""
        work = self.work
        room = padded(work.samples.n, BLOCK)
        work.grad_weight = None
        if work.distortion > 0 or (work.distance_weight > 0 and work.pixels.distances):
            for name in ("marched_at", "grad_weight"):
                setattr(work, name, self.batch.get(name, (max(room, 1),)).data_ptr())
            self._launch("weights_losses", work.n_rays)
        self._launch("composite_rays_vjp", work.n_rays)
        self._launch("network_vjp", room)
        layers = work.layers[: work.n_layers]
        tiles = [padded(y.outputs) * (padded(y.split) + padded(y.inputs - y.split)) // GROUP**2 for y in layers]
        self._launch("weights_vjp_tiles", min(room, STRIPES * BLOCK), max(tiles), len(layers))
        self._launch("encode_vjp", work.samples.n, work.levels)

    def _forward_and_back(self, step: TrainingStep) -> StepResult:
        """Finds a step's loss and its gradients, with half the rays for as long as memory does not hold them."""
        n_rays = step.n_rays
        while True:
            try:
                return self._try_forward_and_back(step, n_rays)
            except torch.OutOfMemoryError:
                n_rays = self._half(n_rays, "rays a step")

    def _try_forward_and_back(self, step: TrainingStep, n_rays: int) -> StepResult:
        work = self.work
        train = self.learns.settings.train

        # What the kernels are told of the step.
        work.seed = train.seed
        work.first_ray = self.learns.rays_drawn
        work.background = BACKGROUNDS[train.background]
        work.loss_scale = 1 / (3 * max(n_rays, 1))
        work.distortion = train.distortion / max(n_rays, 1)
        work.distance_weight = step.distance / max(n_rays, 1)
        work.near = self.learns.near

        # Forward to the loss.
        self._rays(n_rays)
        self._launch("draw_rays", n_rays)
        n_marched, n_used = self._trace(step.step_length, step.levels)
        self._shade()
        self._launch("photometric", n_rays)
        total = self.batch.get("total_loss", (1,), torch.float64)
        total[0] = self.batch.held["loss"][:n_rays].sum(dtype=torch.float64)
        work.total_loss = total.data_ptr()

        # And back to the parameters.
        self._room_for_gradients(n_used)
        self._clear_network_gradients()
        self._back()
        return StepResult(math.nan, n_rays, n_used, n_marched)

    def _descend(self, step: TrainingStep, result: StepResult) -> StepResult:
        """Moves the parameters by the gradients that lie in the device's arrays; returns the result with its loss."""
        work = self.work
        adam = self.learns.settings.optimizer
        work.number = step.number
        work.rate = step.rate
        work.beta1 = adam.beta1
        work.beta2 = adam.beta2
        work.epsilon = adam.epsilon
        self._launch("begin_step", 1)
        self._launch("adam_table", self.n_rows * self.words_per_row)
        self._launch_layers("adam_network")
        self._launch_layers("pack_network")
        self._launch("observe", result.samples)
        self.ahead = True
        self.learns.rays_drawn += result.n_rays
        return replace(result, loss=self.batch.held["total_loss"].item())

    def update_occupancy(self, update: OccupancyUpdate) -> None:
        """Updates the occupancy grid, see `OccupancyGrid.update`."""
        self.ahead = True
        work = self.work
        cells = self.work.resolution**3
        self._launch("decay_cells", cells)
        if work.n_hull_cells == 0:
            return

        # Probe random cells of the hull.
        n = -(-work.n_hull_cells // CELLS_PER_PROBE)
        work.seed = update.seed
        work.update = update.number
        work.levels = update.levels
        work.step = update.step_length
        self._room("marched", n)
        work.probed = self.batch.get("probed", (n,), torch.int32).data_ptr()
        work.total_loss = None
        self._launch("probe_cells", n)
        self._densities()
        self._launch("observe", n)
        work.probed = None

        # Decide which cells are occupied, by the mean over the hull.
        if update.prune:
            value = self.arrays.held["value"]
            hull = self.arrays.held["hull"]
            total = torch.where(hull, value, 0).sum(dtype=torch.float64)
            mean = self.batch.get("mean", (1,))
            mean[0] = total / work.n_hull_cells
            work.mean = mean.data_ptr()
            self._launch("choose_cells", cells)
            self._pack_cells()

    def _traced(self, rays: RayBatch, step_length: float, back: bool = False) -> Iterator[slice]:
        """Traces parts of some rays after each other, with room for the way back if asked; yields which each has."""
        start = 0
        while start < len(rays.origin):
            some = slice(start, start + self.rays_at_once)
            code = None if rays.code is None else rays.code[some]
            part = RayBatch(rays.origin[some], rays.direction[some], rays.offset[some], code)
            n_rays = len(part.origin)
            try:
                self._trace_part(part, step_length)
                if back:
                    self._room_for_gradients(self.work.samples.n)
            except torch.OutOfMemoryError:
                self.rays_at_once = self._half(n_rays, "rays of a picture at once")
                continue
            yield slice(start, start + n_rays)
            start += n_rays

    def _trace_part(self, rays: RayBatch, step_length: float) -> None:
        n_rays = len(rays.origin)
        self._rays(n_rays)
        for name in ("origin", "direction", "offset"):
            self.batch.held[name][:n_rays].copy_(getattr(rays, name))
        if rays.code is not None and rays.code.numel():
            code = self.batch.get("code", rays.code.shape)
            code[:n_rays].copy_(rays.code)
            self.work.code = code.data_ptr()
        self._trace(step_length, self.levels)

    def render(self, rays: RayBatch, step_length: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays, on the CPU.

        step_length: scene units.
        """
        parts = [torch.empty(0, 5)]
        for _ in self._traced(rays, step_length):
            self._shade()
            parts.append(self.batch.held["pixel"][: self.work.n_rays].to("cpu", copy=True))
        pixel = torch.cat(parts)
        return pixel[:, :3].contiguous(), pixel[:, 3].contiguous(), pixel[:, 4].contiguous()

    def render_vjp(
        self, rays: RayBatch, step_length: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns, see `RadianceEngine`."""
        self._put_gradients()
        self._clear_network_gradients()
        self.work.distortion = self.work.distance_weight = self.work.near = 0
        by_pixel = torch.cat([grads[0], grads[1][:, None], grads[2][:, None]], dim=1)
        by_ray = [name for name in ("origin", "direction", "code") if needed[name]]
        found = {name: torch.zeros_like(getattr(rays, name)) for name in by_ray}
        for part in self._traced(rays, step_length, back=True):
            self._shade()
            self.batch.held["grad_pixel"][: self.work.n_rays].copy_(by_pixel[part])
            self._back()
            if by_ray:
                self._rays_vjp()
            for name in by_ray:
                found[name][part].copy_(self.batch.held[f"grad_{name}"][: self.work.n_rays])
        return found | {name: grad.cpu() for name, grad in self._taken_gradients().items()}

    def _rays_vjp(self) -> None:
        """Finds the gradients by the rays and their codes, after `_back`."""
        work = self.work
        inputs = padded(work.layers[DENSITY_LAYERS].split)
        inputs += padded(work.layers[DENSITY_LAYERS].inputs - work.layers[DENSITY_LAYERS].split)
        blocks = max(1, padded(work.samples.n, BLOCK) // BLOCK)
        work.grad_inputs = self.batch.get("grad_inputs", (blocks, inputs, BLOCK)).data_ptr()
        work.grad_position = self.batch.get("grad_position", (blocks * BLOCK, 3)).data_ptr()
        for name, width in {"origin": 3, "direction": 3, "code": work.shape.code_size}.items():
            setattr(work, f"grad_{name}", self.batch.get(f"grad_{name}", (work.n_rays, width)).data_ptr())
        self._launch("samples_vjp", work.samples.n)
        self._launch("rays_vjp", work.n_rays)
        if work.shape.code_size:
            self._launch("codes_vjp", work.n_rays, work.shape.code_size)

    def surface(self, rays: Rays, step_length: float, level: float) -> Tensor:
        """Returns the distance (R,) at which `level` of the light is left, on the CPU. step_length: scene units."""
        self.work.light_left = level
        parts = [torch.empty(0)]
        for _ in self._traced(RayBatch(rays.origin, rays.direction, torch.full((len(rays),), 0.5), None), step_length):
            self._launch("surface_rays", self.work.n_rays)
            parts.append(self.batch.held["distance"][: self.work.n_rays].to("cpu", copy=True))
        return torch.cat(parts)

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per cube side at positions (N, 3) in [0, 1], on the CPU."""
        parts = [torch.empty(0)]
        self.work.levels = self.levels
        for part in position.split(POSITIONS_AT_ONCE):
            arrays = self._room("marched", len(part))
            for axis, name in enumerate("xyz"):
                arrays[name][: len(part)].copy_(part[:, axis])
            self._densities()
            parts.append(arrays["density"][: len(part)].to("cpu", copy=True))
        return torch.cat(parts)

    def state(self) -> dict[str, Tensor]:
        """Returns how many rays were drawn: each has random numbers of its own."""
        return {"rays_drawn": torch.tensor(self.learns.rays_drawn)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state` returned; of the reference backend's checkpoint no ray was drawn in our order."""
        self.learns.rays_drawn = int(tensors.get("rays_drawn", 0))
