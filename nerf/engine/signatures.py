"""The engine's flat C interface: every struct and every function, once.

The structs have the layout of their namesakes in ``src/``.
Pointers to arrays are plain addresses; whoever fills them in keeps the tensors alive.
"""

from __future__ import annotations

from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_uint64, c_void_p

MOST_LEVELS, DENSITY_LAYERS, MOST_COLOR_LAYERS, LARGEST_CODE = 32, 2, 5, 64
BACKGROUNDS = {"black": 0, "white": 1, "random": 2}
STAGES = ("draw", "trace", "density", "gather", "color", "composite", "backward", "weights", "scatter", "adam")
STAGES += ("cameras",)


class Level(Structure):
    """One level of the grid, see `nerf.ops.hash_grid.Level`."""

    _fields_ = [("scale", c_float), ("resolution", c_int32), ("rows", c_int32), ("hashed", c_int32)]


class FieldShape(Structure):
    """The sizes of a radiance field."""

    _fields_ = [
        ("n_levels", c_int32),
        ("features", c_int32),
        ("density_width", c_int32),
        ("geometry_features", c_int32),
        ("color_width", c_int32),
        ("color_layers", c_int32),
        ("direction_degree", c_int32),
        ("code_size", c_int32),
        ("levels", Level * MOST_LEVELS),
    ]


class Parameters(Structure):
    """Where the parameters of a field are, or things of their shapes."""

    _fields_ = [
        ("table", c_void_p),
        ("density", c_void_p * DENSITY_LAYERS),
        ("color", c_void_p * MOST_COLOR_LAYERS),
    ]


class OccupancyArrays(Structure):
    """Where the arrays of an occupancy grid are."""

    _fields_ = [("hull", c_void_p), ("occupied", c_void_p), ("value", c_void_p), ("resolution", c_int32)]


class RadianceSpec(Structure):
    """A model: its sizes, its arrays and its cube."""

    _fields_ = [
        ("shape", FieldShape),
        ("parameters", Parameters),
        ("occupancy", OccupancyArrays),
        ("corner", c_float * 3),
        ("side", c_float),
        ("minimum_transmittance", c_float),
        ("minimum_weight", c_float),
        ("center", c_float * 3),
        ("radius", c_float),
        ("near", c_float),
    ]


class Pixels(Structure):
    """Training pictures, their cameras, and the pixels that may be drawn."""

    _fields_ = [
        ("images", c_void_p),
        ("candidates", c_void_p),
        ("poses", c_void_p),
        ("focal", c_void_p),
        ("center", c_void_p),
        ("lens", c_void_p),
        ("n_candidates", c_int64),
        ("width", c_int32),
        ("height", c_int32),
        ("channels", c_int32),
        ("bytes", c_int32),
        ("white", c_float),
    ]


class DrawnRays(Structure):
    """Where drawn rays go."""

    _fields_ = [
        ("origin", c_void_p),
        ("direction", c_void_p),
        ("offset", c_void_p),
        ("rgba", c_void_p),
        ("frame", c_void_p),
    ]


class StepCall(Structure):
    """One training step."""

    _fields_ = [
        ("pixels", POINTER(Pixels)),
        ("gradients", POINTER(Parameters)),
        ("first_moments", POINTER(Parameters)),
        ("second_moments", POINTER(Parameters)),
        ("seed", c_uint64),
        ("first_ray", c_int64),
        ("number", c_int64),
        ("step_length", c_float),
        ("rate", c_float),
        ("beta1", c_float),
        ("beta2", c_float),
        ("epsilon", c_float),
        ("distortion", c_float),
        ("near", c_float),
        ("n_rays", c_int32),
        ("rays_per_tile", c_int32),
        ("levels", c_int32),
        ("background", c_int32),
        ("threads", c_int32),
        ("colors", c_void_p),
        ("view_gradients", c_void_p),
        ("n_views", c_int32),
        ("turns", c_int32),
    ]


class StepReport(Structure):
    """What a training step did; seconds by stage, of all threads together.

    marched: samples that the density network looked at. reached: those of them in front of where their ray ends.
    samples: those of them that are not too light, from which alone the field learns. On CUDA nobody counts `reached`.
    """

    _fields_ = [
        ("loss", c_double),
        ("samples", c_int64),
        ("marched", c_int64),
        ("reached", c_int64),
        ("seconds", c_double * len(STAGES)),
    ]


class OccupancyCall(Structure):
    """One update of the occupancy grid."""

    _fields_ = [
        ("seed", c_uint64),
        ("number", c_uint64),
        ("step_length", c_float),
        ("levels", c_int32),
        ("prune", c_int32),
        ("threads", c_int32),
    ]


class RenderCall(Structure):
    """Rays to render, and where their colours go; or, on the way back, the gradients by their colours."""

    _fields_ = [
        ("origin", c_void_p),
        ("direction", c_void_p),
        ("offset", c_void_p),
        ("code", c_void_p),
        ("rgb", c_void_p),
        ("opacity", c_void_p),
        ("depth", c_void_p),
        ("n_rays", c_int64),
        ("step_length", c_float),
        ("threads", c_int32),
    ]


class RenderGradients(Structure):
    """Where the gradients of a rendering go, arrays of zeros; null where they are not wanted."""

    _fields_ = [("parameters", Parameters), ("origin", c_void_p), ("direction", c_void_p), ("code", c_void_p)]


class BakedScene(Structure):
    """A baked model."""

    _fields_ = [
        ("opacity", c_void_p),
        ("color", c_void_p),
        ("brick", c_void_p),
        ("distance", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("resolution", c_int32),
        ("corners", c_int32),
        ("corner", c_float * 3),
        ("side", c_float),
        ("step", c_float),
        ("minimum_transmittance", c_float),
        ("minimum_weight", c_float),
    ]


class BakedCall(Structure):
    """A camera to render a baked model by, and where its picture goes."""

    _fields_ = [
        ("cameras", POINTER(Pixels)),
        ("rgb", c_void_p),
        ("opacity", c_void_p),
        ("depth", c_void_p),
        ("frame", c_int32),
        ("threads", c_int32),
    ]


class SurfaceCall(Structure):
    """Rays whose surface is sought, and where the distances go."""

    _fields_ = [
        ("origin", c_void_p),
        ("direction", c_void_p),
        ("distance", c_void_p),
        ("n_rays", c_int64),
        ("step_length", c_float),
        ("level", c_float),
        ("threads", c_int32),
    ]


class HashGridCall(Structure):
    """Positions to encode, or the way back."""

    _fields_ = [
        ("levels", POINTER(Level)),
        ("position", c_void_p),
        ("table", c_void_p),
        ("out", c_void_p),
        ("grad_position", c_void_p),
        ("grad_table", c_void_p),
        ("n", c_int64),
        ("dimensions", c_int32),
        ("n_levels", c_int32),
        ("features", c_int32),
        ("threads", c_int32),
    ]


class MlpCall(Structure):
    """Inputs of a multilayer perceptron, or the way back."""

    _fields_ = [
        ("widths", POINTER(c_int32)),
        ("weights", POINTER(c_void_p)),
        ("input", c_void_p),
        ("out", c_void_p),
        ("grad_input", c_void_p),
        ("grad_weights", POINTER(c_void_p)),
        ("n", c_int64),
        ("n_layers", c_int32),
        ("threads", c_int32),
    ]


class HarmonicsCall(Structure):
    """Directions to expand, or the way back."""

    _fields_ = [
        ("direction", c_void_p),
        ("out", c_void_p),
        ("grad_direction", c_void_p),
        ("n", c_int64),
        ("degree", c_int32),
    ]


def _march_fields(number: type) -> list[tuple[str, type]]:
    return [
        ("origin", c_void_p),
        ("direction", c_void_p),
        ("offset", c_void_p),
        ("occupied", c_void_p),
        ("count", c_void_p),
        ("first", c_void_p),
        ("t", c_void_p),
        ("corner", number * 3),
        ("side", number),
        ("step", number),
        ("center", number * 3),
        ("radius", number),
        ("near", number),
        ("n_rays", c_int64),
        ("resolution", c_int32),
        ("threads", c_int32),
    ]


class MarchCallFloat(Structure):
    """Rays to march, in float."""

    _fields_ = _march_fields(c_float)


class MarchCallDouble(Structure):
    """Rays to march, in double."""

    _fields_ = _march_fields(c_double)


class CompositeCall(Structure):
    """Samples to composite, or the way back."""

    _fields_ = [
        ("thickness", c_void_p),
        ("rgb", c_void_p),
        ("t", c_void_p),
        ("first", c_void_p),
        ("pixel", c_void_p),
        ("grad_thickness", c_void_p),
        ("grad_rgb", c_void_p),
        ("n_rays", c_int64),
        ("threads", c_int32),
    ]


# name -> (what it returns, what it takes). A function that returns c_int returns 0 unless it failed.
FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "nerf_last_error": (c_char_p, ()),
    "nerf_processor_has": (c_int, (c_char_p,)),
    "nerf_draw": (c_int, (POINTER(Pixels), c_uint64, c_int64, c_int64, POINTER(DrawnRays))),
    "nerf_radiance_new": (c_void_p, (POINTER(RadianceSpec),)),
    "nerf_radiance_free": (None, (c_void_p,)),
    "nerf_radiance_refresh": (c_int, (c_void_p, c_int)),
    "nerf_radiance_step": (c_int, (c_void_p, POINTER(StepCall), POINTER(StepReport))),
    "nerf_radiance_descend": (c_int, (c_void_p, POINTER(StepCall))),
    "nerf_radiance_update_occupancy": (c_int, (c_void_p, POINTER(OccupancyCall))),
    "nerf_radiance_render": (c_int, (c_void_p, POINTER(RenderCall))),
    "nerf_radiance_render_vjp": (c_int, (c_void_p, POINTER(RenderCall), POINTER(RenderGradients))),
    "nerf_radiance_surface": (c_int, (c_void_p, POINTER(SurfaceCall))),
    "nerf_radiance_density": (c_int, (c_void_p, c_void_p, c_int64, c_void_p, c_int)),
    "nerf_baked_render": (c_int, (POINTER(BakedScene), POINTER(BakedCall))),
    "nerf_hash_grid_float": (c_int, (POINTER(HashGridCall),)),
    "nerf_hash_grid_double": (c_int, (POINTER(HashGridCall),)),
    "nerf_mlp_float": (c_int, (POINTER(MlpCall), c_int)),
    "nerf_mlp_double": (c_int, (POINTER(MlpCall), c_int)),
    "nerf_march_float": (c_int, (POINTER(MarchCallFloat),)),
    "nerf_march_double": (c_int, (POINTER(MarchCallDouble),)),
    "nerf_composite_float": (c_int, (POINTER(CompositeCall), c_int)),
    "nerf_composite_double": (c_int, (POINTER(CompositeCall), c_int)),
    "nerf_spherical_harmonics_float": (c_int, (POINTER(HarmonicsCall),)),
    "nerf_spherical_harmonics_double": (c_int, (POINTER(HarmonicsCall),)),
}
