"""Metadata. The version lives in nerf/__init__.py; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "nerf" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="nerf",
    version=VERSION,
    description="3D reconstruction from posed photographs with implicit neural representations, fast on a plain CPU",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["nerf", "nerf.*"]),
    install_requires=[
        "torch>=2.10",
        "numpy>=1.26",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.5",
        "libusb-package>=1.0.26",  # open3d's wheel links libusb, which a bare machine lacks
        "open3d>=0.18",
        "pillow>=10",
        "pyyaml>=6",
        "safetensors>=0.4.3",
        "scikit-image>=0.22",
        "scipy>=1.11",
        "tqdm>=4.65",
        "trimesh>=4.0",
    ],
    extras_require={
        "test": ["pytest>=8", "ruff>=0.6"],
        # It has no wheel: pip builds it, which needs a CUDA toolkit and torch installed before.
        "tcnn": ["tinycudann @ git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"],
    },
    entry_points={"console_scripts": ["nerf = nerf.cli:main"]},
)
