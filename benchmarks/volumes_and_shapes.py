"""Signed distances, CT and MRI beside the classical methods: ``python benchmarks/volumes_and_shapes.py FOLDER``.

FOLDER holds the public files of CASES. Each case is one run of ``nerf fit`` with the signal's own settings, which are
the same for all files. FBP's filter, SART's iterations and total variation's weight are the best by the truth: in
favour of the baselines. Cases whose file is absent are skipped, and counted.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy
from PIL import Image

from nerf.cli.main import main as nerf
from nerf.signals import baselines
from nerf.signals.ct import Tomography
from nerf.signals.files.voxels import read_volume
from nerf.signals.mri import MagneticResonance
from nerf.signals.registry import signal_class
from nerf.signals.settings import read_fit_settings

CT = "example_ct_sm.nii.gz"
SLICE = "CT_small.dcm"
T1 = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
ONE = "tomography.slices=1"
NOISE = "tomography.photons=1e5"
LONGER = ["train.steps=1000", "optimizer.horizon=1000"]  # thirty slices share the steps
CASES = [
    ("sdf", "ngp_armadillo.obj", []),
    ("sdf", "fandisk.obj", []),
    ("tomography", CT, [ONE]),
    ("tomography", CT, [ONE, NOISE]),
    ("tomography", SLICE, []),
    ("tomography", SLICE, [NOISE]),
    ("tomography", CT, LONGER),
    ("tomography", CT, [NOISE, *LONGER]),
    ("mri", T1, []),
]


def row(signal: str, file: Path, words: list[str], budget: list[str], out: Path) -> str:
    """Returns the figures of one fit, and how far it is from the best of the classical methods, if there are any."""
    if nerf(["fit", signal, str(file), "--out", str(out), *budget, *words]) != 0:
        return "failed"

    metrics = json.loads((out / "metrics.json").read_text())
    known = ("psnr", "iou", "iou_near", "chamfer_percent", "watertight", "training_seconds", "parameters", "steps")
    classical = ("fbp", "sart", "zero-filled", "tv")
    shown = {name: metrics[name] for name in known if name in metrics}
    beside = {name: score for name, score in metrics.items() if name.startswith(classical)}

    text = ", ".join(f"{name} {value:.4g}" for name, value in {**shown, **beside}.items())
    for name, score in beside.items():
        text += f"; {metrics['psnr'] - score:+.2f} dB against {name}"
    return text


def picture(signal: str, source: Path, words: list[str], out: Path) -> numpy.ndarray:
    """Returns a picture of a run: a shape, or of a middle slice truth, two classical methods and ours, side by side."""
    if signal == "sdf":
        nerf(["decode", str(out), "--out", str(out / "a.png")])
        return numpy.asarray(Image.open(out / "a.png"))

    # The classical methods, of the same measurement.
    chosen = signal_class(signal)
    read = chosen.read(source, read_fit_settings(None, words, chosen.defaults))
    if isinstance(read, MagneticResonance):
        k = read.measurement.k
        mask = read.measurement.mask
        best = baselines.total_variation_reconstruction(k, mask, 1e-4).permute(1, 2, 0)
        volumes = [baselines.zero_filled(k).permute(1, 2, 0), best]
    elif isinstance(read, Tomography):
        scan = read.measurement.scan
        sinogram = read.measurement.sinogram
        *_, best = baselines.sart_iterations(scan, sinogram, 10)
        volumes = [baselines.filtered_back_projection(scan, sinogram), best]
    else:
        raise ValueError(f"{signal}: no picture of it")

    # Panels of the middle slice, in one scale of grey.
    ours = read_volume(out / "decoded.nii.gz").values
    shown = [*(read.in_units_of_file(volume).numpy() for volume in (read.truth, *volumes)), ours]
    low = shown[0].min()
    high = numpy.percentile(shown[0], 99.8)
    up = -1 if read.affine[1, 1] > 0 else 1  # rows of a picture run from front to back
    panels = [((volume[:, ::up, volume.shape[2] // 2].T - low) / (high - low)).clip(0, 1) for volume in shown]
    return (numpy.concatenate(panels, axis=1) * 255 + 0.5).astype(numpy.uint8)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-seconds", help="seconds of training, each case (default: each signal's own steps)")
    parser.add_argument("--only", default="", help="text that occurs in the titles of the cases to run")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each case")
    arguments = parser.parse_args()

    budget = ["--max-seconds", arguments.max_seconds] if arguments.max_seconds else []
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    rows = []
    skipped = 0
    for signal, name, words in CASES:
        title = " ".join([signal, name, *words])
        if arguments.only not in title:
            continue
        if not (arguments.folder / name).is_file():
            skipped += 1
            continue

        with tempfile.TemporaryDirectory() as out:
            rows.append(f"{title}: {row(signal, arguments.folder / name, words, budget, Path(out))}")
            if arguments.pictures:
                shown = Image.fromarray(picture(signal, arguments.folder / name, words, Path(out)))
                shown.save(arguments.pictures / f"{title.replace(' ', '-')}.png")
        print(rows[-1], flush=True)

    print("\n".join(["", *rows, f"{skipped} cases skipped: their files are not there"]))


if __name__ == "__main__":
    main()
