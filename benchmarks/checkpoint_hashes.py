"""Prints a hash of what short trainings leave: two versions of the program that agree here compute the same bits.

    python benchmarks/checkpoint_hashes.py --scenes FOLDER --picture FILE [--repository OTHER_CHECKOUT]

FOLDER holds the public scenes lego, fox and fern; what is not there is skipped and counted. Each run has a budget of
steps, one seed and one thread count, and is made by ``python -m nerf`` inside the checkout that is measured. Hashed are
the names, shapes, types and bytes of all tensors of the checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import safe_open

REPOSITORY = Path(__file__).parents[1]
NO_OUTPUTS = ("output.video=", "output.mesh=", "train.preview_seconds=0")
RUNS = {
    "built-in, native": ("train", "--scene", "lego", "--steps", "200"),
    "built-in, reference": ("train", "--scene", "lego", "--steps", "20", "--backend", "reference"),
    "lego, native": ("train", "--scene", "{scenes}/lego", "--downscale", "4", "--steps", "200"),
    "lego, reference": (
        *("train", "--scene", "{scenes}/lego", "--downscale", "4", "--steps", "20"),
        *("--backend", "reference"),
    ),
    "fox, native": ("train", "--scene", "{scenes}/fox", "--downscale", "4", "--steps", "100"),
    "fox, poses and exposures": (
        *("train", "--scene", "{scenes}/fox", "--downscale", "4", "--steps", "60"),
        *("capture.poses=refine", "capture.exposure=learn"),
    ),
    "fern, native": ("train", "--scene", "{scenes}/fern", "--downscale", "4", "--steps", "100"),
    "fit image, native": ("fit", "image", "{picture}", "--steps", "100"),
    "fit image, reference": ("fit", "image", "{picture}", "--steps", "10", "--backend", "reference"),
}


def checkpoint_hash(run: Path) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of a run's tensors."""
    digest = hashlib.sha256()
    with safe_open(run / "checkpoint.safetensors", framework="pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def run_hash(words: tuple[str, ...], repository: Path) -> str:
    """Returns the hash of one training by the program in a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        more = NO_OUTPUTS if words[0] == "train" else ("train.preview_seconds=0",)
        command = [sys.executable, "-m", "nerf", *words, "--out", str(run), *more]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
        return checkpoint_hash(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, default=Path("scenes"))
    parser.add_argument("--picture", type=Path, default=Path("picture.png"))
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    arguments = parser.parse_args()

    skipped = 0
    for name, words in RUNS.items():
        places = {"scenes": arguments.scenes.resolve(), "picture": arguments.picture.resolve()}
        filled = tuple(word.format(**places) for word in words)
        if not all(Path(word).exists() for word, form in zip(filled, words) if "{" in form):
            skipped += 1
            continue
        print(f"{name:28} {run_hash(filled, arguments.repository.resolve())}", flush=True)
    print(f"{len(RUNS) - skipped} runs, {skipped} skipped")


if __name__ == "__main__":
    main()
