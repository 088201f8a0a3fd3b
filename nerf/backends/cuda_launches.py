"""The CUDA kernels on a model: the order of the launches.

A training step is: draw rays -> count, scan, fill their samples -> densities of all -> weigh, scan, gather those that
matter -> encode, both networks, compositing, loss -> the same back -> Adam over what has a gradient. Scans and
sums are torch's, on the same stream. Launches go to a `Launcher`: a GPU, or the shim of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nerf.backends.cuda_arrays import DeviceModel
from nerf.backends.native_model import RayBatch
from nerf.engine.kernels import BLOCK, GROUP, SampleArrays, padded
from nerf.engine.signatures import DENSITY_LAYERS, OccupancyCall, StepCall, StepReport
from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.rendering.occupancy import CELLS_PER_PROBE

RAYS_AT_ONCE = 2**14  # of a picture; fewer where memory runs out
POSITIONS_AT_ONCE = 2**20
STRIPES = 64  # among which the samples are shared out when gradients by weights are summed
MARCHED_PER_USED = 8  # at most, early in training; where it is more, memory runs out and the batch is halved
PLACES = ("x", "y", "z", "t", "density")


class CudaEngine(DeviceModel):
    """The device's side of a model, with the interface of the native engine."""

    rays_at_once = RAYS_AT_ONCE

    def _room(self, name: str, n: int) -> dict[str, Tensor]:
        """Returns room for n samples of a set and points the kernels to it; what fills the last block is harmless."""
        room = max(BLOCK, padded(n, BLOCK))
        found = {place: self.batch.get(f"{name}.{place}", (room,)) for place in PLACES}
        found["ray"] = self.batch.get(f"{name}.ray", (room,), torch.int32)
        for place in ("x", "y", "z"):
            found[place][n:room] = 0.5
        found["ray"][n:room] = 0
        work, blocks = self.work, room // BLOCK
        arrays = {place: tensor.data_ptr() for place, tensor in found.items()}
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
        for name in ("offset", "loss", "least", "distance", "count"):
            dtype = torch.int64 if name == "count" else torch.float32
            setattr(self.work, name, self.batch.get(name, (max(n_rays, 1),), dtype).data_ptr())
        self.work.code = None

    def _trace(self, step_length: float, levels: int) -> tuple[int, int]:
        """Finds the samples that matter, and their densities; returns how many were marched, and kept."""
        work = self.work
        work.step, work.levels, work.probed = step_length, levels, None
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

    def step(self, call: StepCall) -> StepReport:
        """Takes a training step. Where memory runs out it takes half the rays, says so, and leaves in `call` how many.

        Raises:
            InputError: there is no room for a single ray.
        """
        while True:
            try:
                return self._descend(call, *self._forward_and_back(call))
            except torch.OutOfMemoryError:
                call.n_rays = self._half(call.n_rays, "rays a step")

    def _half(self, n_rays: int, what: str) -> int:
        """Lets go of the batch that memory did not hold, and returns the rays of the next; says so."""
        self.batch.held.clear()
        if n_rays < 2:
            raise InputError("CUDA: no memory for a single ray; lower field.log2_table_size") from None
        print(f"CUDA: out of memory; halved to {n_rays // 2} {what}", flush=True)
        return n_rays // 2

    def gradients(self, call: StepCall) -> tuple[dict[str, Tensor], StepReport]:
        """Returns the gradients of a step by parameter, without taking it."""
        report = self._forward_and_back(call)[0]
        report.loss = self.batch.held["total_loss"].item()
        return self._taken_gradients(), report

    def _taken_gradients(self) -> dict[str, Tensor]:
        """Returns the gradients by parameter that have been added up, on the device, and clears the table's."""
        table = self.arrays.held["grad_table"]
        found = {"encoding.table": table.clone()}
        table.zero_()
        for name, split in self._layers():
            outputs, inputs = self.parameters[name].shape
            grad = self.arrays.held[f"grad.{name}"].view(padded(outputs), -1)[:outputs]
            found[name] = torch.cat([grad[:, :split], grad[:, padded(split) : padded(split) + inputs - split]], dim=1)
        return found

    def _clear_network_gradients(self) -> None:
        for name, _ in self._layers():
            self.arrays.held[f"grad.{name}"].zero_()

    def _back(self) -> None:
        """Goes from the gradients by the pixels to those by the parameters, which are added to what is there."""
        work = self.work
        room = padded(work.samples.n, BLOCK)
        work.grad_weight = None
        if work.distortion > 0:
            for name in ("marched_at", "grad_weight"):
                setattr(work, name, self.batch.get(name, (max(room, 1),)).data_ptr())
            self._launch("distort", work.n_rays)
        self._launch("composite_rays_vjp", work.n_rays)
        self._launch("network_vjp", room)
        layers = work.layers[: work.n_layers]
        tiles = [padded(y.outputs) * (padded(y.split) + padded(y.inputs - y.split)) // GROUP**2 for y in layers]
        self._launch("weights_vjp_tiles", min(room, STRIPES * BLOCK), max(tiles), len(layers))
        self._launch("encode_vjp", work.samples.n, work.levels)

    def _forward_and_back(self, call: StepCall) -> tuple[StepReport]:
        work, n_rays = self.work, call.n_rays
        work.seed, work.first_ray, work.background = call.seed, call.first_ray, call.background
        work.loss_scale, work.distortion = 1 / (3 * max(n_rays, 1)), call.distortion / max(n_rays, 1)
        work.near = call.near
        self._rays(n_rays)
        self._launch("draw_rays", n_rays)
        n_marched, n_used = self._trace(call.step_length, call.levels)
        self._shade()
        self._launch("photometric", n_rays)
        total = self.batch.get("total_loss", (1,), torch.float64)
        total[0] = self.batch.held["loss"][:n_rays].sum(dtype=torch.float64)
        work.total_loss = total.data_ptr()
        self._room_for_gradients(n_used)
        self._clear_network_gradients()
        self._back()
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
        work.seed, work.update, work.levels = call.seed, call.number, call.levels
        work.step = call.step_length * work.space.side
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
            self._pack_cells()

    def _traced(self, rays: RayBatch, step: float, back: bool = False) -> Iterator[slice]:
        """Traces parts of some rays after each other, with room for the way back if asked; yields which each has."""
        start = 0
        while start < len(rays.origin):
            part = RayBatch(*(None if value is None else value[start : start + self.rays_at_once] for value in rays))
            n_rays = len(part.origin)
            try:
                self._trace_part(part, step)
                if back:
                    self._room_for_gradients(self.work.samples.n)
            except torch.OutOfMemoryError:
                self.rays_at_once = self._half(n_rays, "rays of a picture at once")
                continue
            yield slice(start, start + n_rays)
            start += n_rays

    def _trace_part(self, rays: RayBatch, step: float) -> None:
        n_rays = len(rays.origin)
        self._rays(n_rays)
        for name in ("origin", "direction", "offset"):
            self.batch.held[name][:n_rays].copy_(getattr(rays, name))
        if rays.code is not None and rays.code.numel():
            code = self.batch.get("code", rays.code.shape)
            code[:n_rays].copy_(rays.code)
            self.work.code = code.data_ptr()
        self._trace(step, self.levels)

    def render(self, rays: RayBatch, step: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays, on the CPU. step: scene units."""
        parts = [torch.empty(0, 5)]
        for _ in self._traced(rays, step):
            self._shade()
            parts.append(self.batch.held["pixel"][: self.work.n_rays].to("cpu", copy=True))
        pixel = torch.cat(parts)
        return pixel[:, :3].contiguous(), pixel[:, 3].contiguous(), pixel[:, 4].contiguous()

    def render_vjp(
        self, rays: RayBatch, step: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns, see `Engine.render_vjp`."""
        self._put_gradients()
        self._clear_network_gradients()
        self.work.distortion = self.work.near = 0
        by_pixel = torch.cat([grads[0], grads[1][:, None], grads[2][:, None]], dim=1)
        by_ray = [name for name in ("origin", "direction", "code") if needed[name]]
        found = {name: torch.zeros_like(getattr(rays, name)) for name in by_ray}
        for part in self._traced(rays, step, back=True):
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
            places = self._room("marched", len(part))
            for axis, name in enumerate("xyz"):
                places[name][: len(part)].copy_(part[:, axis])
            self._densities()
            parts.append(places["density"][: len(part)].to("cpu", copy=True))
        return torch.cat(parts)

    def bytes_per_sample(self) -> int:
        """Returns the memory that one sample in front of the surface takes, with the marched ones behind it."""
        layers = self.work.layers[: self.work.n_layers]
        inputs = sum(padded(layer.split) + padded(layer.inputs - layer.split) for layer in layers)
        forward = 4 * (inputs + GROUP + len(PLACES) + 3)
        back = 4 * (sum(padded(layer.outputs) for layer in layers) + padded(layers[0].inputs) + 1)
        return MARCHED_PER_USED * (forward + 4 * (len(PLACES) + 1)) + back
