"""Metadata. The version lives in nerf/__init__.py; tool settings live in pyproject.toml."""

import importlib.util
import re
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "nerf" / "__init__.py").read_text(encoding="utf-8"))[1]


def engine_build():
    """Returns the module nerf/engine/build.py, loaded by its path: nerf may need what is not installed yet."""
    spec = importlib.util.spec_from_file_location("engine_build", HERE / "nerf" / "engine" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class BuildEngine(build_ext):
    """Builds the native engine's libraries; without a compiler nerf is installed all the same, for its slow backend."""

    def run(self):
        engine = engine_build()
        place = HERE if self.inplace or self.editable_mode else Path(self.build_lib)
        try:
            self.built = engine.build(place / "nerf" / "engine")
        except engine.BuildError as error:
            self.built = []
            self.warn(f"the native engine is not built, training will be slow: {error}")

    def get_outputs(self):
        return [str(path) for path in getattr(self, "built", [])]

    def get_output_mapping(self):
        return {}


TCNN = "749dd70c5afc5a9dadb85e5652ed65d55e0ba187"  # a commit, whose code nobody can change
# The compiler of the CUDA kernels, 70 MB; it needs neither a GPU nor a driver.
CUDA = [
    "cuda-bindings>=12.8; sys_platform != 'darwin'",
    "nvidia-cuda-nvrtc>=13; sys_platform != 'darwin'",
]
HDR = ["OpenEXR>=3.5.2"]  # 3.4.14 alone mended 15 known holes in its reader
HEIC = ["pillow-heif>=1.3"]  # CVE-2026-28231
MEDICAL = ["nibabel>=5", "pydicom>=3.0.2"]  # CVE-2026-32711


class PlatformWheel(bdist_wheel):
    """The libraries depend on the platform, not on the version of Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    name="nerf",
    version=VERSION,
    description="3D reconstruction from posed photographs with implicit neural representations, fast on a plain CPU",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["nerf", "nerf.*"]),
    package_data={"nerf.engine": ["src/*.h", "src/*.cpp", "src/cuda/*"], "nerf.viewer": ["client/*"]},
    ext_modules=[Extension("nerf.engine.library", sources=[])],
    cmdclass={"build_ext": BuildEngine, "bdist_wheel": PlatformWheel},
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.8",  # brings ffmpeg 9.0; older ones bring 7.0 of 2024, with known holes
        "libusb-package>=1.0.26",  # open3d's wheel links libusb, which a bare machine lacks
        "open3d>=0.18",
        # Older ones have known holes in readers of JPEG and TIFF (CVE-2026-112403, 112395); Python 3.10 gets no newer.
        "pillow>=13; python_version >= '3.11'",
        "pillow>=12.3; python_version < '3.11'",
        "pyyaml>=6",
        "safetensors>=0.4.3",
        "scikit-image>=0.22",
        "scipy>=1.11",
        "tqdm>=4.66.3",  # CVE-2024-34062
        "trimesh>=5.0",  # older ones follow names in a mesh out of its folder
        "websockets>=13",  # nerf view, and the browser of tests
    ],
    extras_require={
        "sfm": ["pycolmap>=3.12"],
        "compress": ["constriction>=0.4"],
        "hdr": [*HDR],
        "heic": [*HEIC],
        "texture": ["xatlas>=0.0.9"],
        "medical": [*MEDICAL],
        "test": [
            "pytest>=9.0.3",  # CVE-2025-71176
            "pytest-xdist>=3.8",  # tests in several processes
            "pyright[nodejs]>=1.1.400",  # with its own node: nothing is fetched when it runs
            "ruff>=0.6",
            "constriction>=0.4",
            "pycolmap>=3.12",
            "xatlas>=0.0.9",
            *HDR,
            *HEIC,
            *MEDICAL,
            *CUDA,
        ],
        "cuda": [*CUDA],
        "plot": ["matplotlib>=3.8"],  # of benchmarks
        # It has no wheel: pip builds it, which needs a CUDA toolkit and torch installed before.
        "tcnn": [f"tinycudann @ git+https://github.com/NVlabs/tiny-cuda-nn/@{TCNN}#subdirectory=bindings/torch"],
    },
    entry_points={"console_scripts": ["nerf = nerf.cli.main:main"]},
)
