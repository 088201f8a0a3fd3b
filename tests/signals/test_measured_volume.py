import json
from pathlib import Path

import numpy
import pytest
import torch

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.signals.baselines import zero_filled
from nerf.signals.ct import Tomography, _say_units, read_sinogram, scanned
from nerf.signals.files.voxels import VoxelVolume, read_volume, write_nifti
from nerf.signals.measured_volume import positive, total_variation, volume_psnr, voxel_positions
from nerf.signals.mri import MagneticResonance, measured
from nerf.signals.registry import signal_class
from nerf.signals.scanners.ct import hounsfield
from nerf.signals.settings import FitSettings, read_fit_settings
from nerf.signals.signal import DecodeRequest, SignalTask

pytest.importorskip("nibabel")

SMALL = [
    "field.levels=4", "field.base_resolution=4", "field.finest_resolution=32", "field.log2_table_size=12",
    "field.width=16", "optimizer.final_factor=0.1", "train.samples=4096",
]  # fmt: skip
AFFINE = numpy.array([[-2.0, 0, 0, 40], [0, 2, 0, -30], [0, 0, 3, 7], [0, 0, 0, 1]])


def small(kind: str) -> FitSettings:
    return read_fit_settings(None, SMALL, signal_class(kind).defaults)


def phantom(slices: int) -> VoxelVolume:
    """Returns (32, 30, slices) Hounsfield units: a disc of -200 with a smaller one of -700 in it, in air."""
    x, y = torch.meshgrid(torch.arange(32) - 16.0, torch.arange(30) - 15.0, indexing="ij")
    disc = (x.square() + y.square() < 130).float() * 0.8 - (x.square() + (y - 4).square() < 16).float() * 0.5
    return VoxelVolume(hounsfield(disc[..., None].repeat(1, 1, slices)).numpy(), AFFINE)


def trained(signal, kind: str, steps: int) -> SignalTask:
    task = SignalTask(signal, small(kind))
    for step in range(steps):
        task.train_step(step, step / steps)
    return task


@pytest.mark.parametrize(("beam", "slices"), [("parallel", 1), ("fan", 3), ("cone", 3)])
def test_a_phantom_is_found_from_its_line_integrals(beam, slices):
    signal = Tomography(scanned(phantom(slices), beam, 12), 0.1, 2)
    found = signal.values(trained(signal, "tomography", 60).field)
    assert found.shape == signal.truth.shape and found.min() >= 0
    assert volume_psnr(found, signal.truth) > 18  # nothing at all has 8.6


def test_the_filtered_misfit_is_about_the_mean_squared_error_of_the_image():
    signal = Tomography(scanned(phantom(1), "parallel", 60), 0.1, 1)
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(1, 32, 30, generator=random), 3, 1, 1)[0][..., None]
    misfit = signal.misfit(signal.truth + 0.1 * smooth, 0, random).item()
    assert misfit == pytest.approx((0.1 * smooth).square().mean().item(), rel=0.4)


def test_slices_are_found_from_part_of_their_k_space():
    volume = VoxelVolume(phantom(4).values + 1000, AFFINE)
    signal = MagneticResonance(measured(volume, "radial", 3), 0.1)
    bound = volume_psnr(zero_filled(signal.measurement.k).permute(1, 2, 0), signal.truth)
    assert volume_psnr(signal.values(trained(signal, "mri", 80).field), signal.truth) > bound + 2


def test_classical_methods_stand_beside_with_what_was_chosen_for_them():
    ct = Tomography(scanned(phantom(1), "parallel", 20, 1e5), 0.1, 3).baseline_scores()
    assert [name.split(" (")[0] for name in ct] == ["fbp", "sart"] and min(ct.values()) > 10
    volume = VoxelVolume(phantom(2).values + 1000, AFFINE)
    mr = MagneticResonance(measured(volume, "cartesian", 3, 0.01), 0.1).baseline_scores()
    assert [name.split(" (")[0] for name in mr] == ["zero-filled", "tv of slices", "tv of the volume"]
    assert mr["zero-filled"] < max(mr.values())


def test_a_fan_beam_has_no_baseline_and_says_so():
    signal = Tomography(scanned(phantom(1), "fan", 8), 0.1, 3)
    assert signal.baseline_scores() == {}
    assert "no baselines: scikit-image" in signal.describe()


def test_a_finer_volume_lies_where_the_voxels_were(tmp_path):
    signal = Tomography(scanned(phantom(3), "parallel", 8), 0.1, 1)
    task = SignalTask(signal, small("tomography"))
    recalled = Tomography.recall(json.loads(json.dumps(signal.record())), small("tomography"))
    recalled.export(task.field, tmp_path / "fine.nii", DecodeRequest(resolution=64))
    fine = read_volume(tmp_path / "fine.nii")
    assert fine.values.shape == (64, 60, 6)
    for corner in numpy.ndindex(2, 2, 2):  # of the outermost voxels' outer faces
        old, new = (numpy.array(corner) * shape - 0.5 for shape in (signal.shape, fine.values.shape))
        assert numpy.allclose(AFFINE @ [*old, 1], fine.affine @ [*new, 1], atol=1e-4)
    values = signal.values(task.field)
    assert torch.allclose(recalled.in_units_of_file(values), 1000 * (values - 1))


def test_the_command_scans_fits_and_writes_hounsfield_units(tmp_path, capsys):
    write_nifti(tmp_path / "a.nii.gz", phantom(1))
    run = tmp_path / "run"
    words = ["fit", "tomography", str(tmp_path / "a.nii.gz"), "--out", str(run), "--backend", "reference", *SMALL]
    assert main([*words, "--steps", "40", "tomography.views=12", "tomography.sart_iterations=2"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["psnr"] > 15 and sum(name.startswith(("fbp", "sart")) for name in metrics) == 2
    written = read_volume(run / "decoded.nii.gz")
    assert numpy.allclose(written.affine, AFFINE) and written.values.min() >= -1000
    assert "12 parallel views" in capsys.readouterr().out


def test_given_sinograms_are_fitted_without_a_truth(tmp_path):
    measurement = scanned(phantom(1), "parallel", 10)
    file = tmp_path / "a.npz"
    degrees = numpy.degrees(measurement.scan.angles.numpy())
    numpy.savez(file, sinogram=measurement.sinogram[..., 0].numpy(), angles=degrees)
    again = read_sinogram(file, "parallel", 2.0)
    assert torch.allclose(again.scan.angles, measurement.scan.angles) and again.truth is None
    signal = Tomography(again, 0.1, 1)
    task = trained(signal, "tomography", 40)
    figures = signal.evaluate(task.field)
    assert figures["psnr"] > 20 and "no truth" in figures["psnr_of"]
    side = again.scan.detectors
    x, y = 32, 30
    found = signal.values(task.field)[side // 2 - 16 :, side // 2 - 15 :][:x, :y]
    assert volume_psnr(found, measurement.truth) > 15


@pytest.mark.parametrize("case", ["text", "names", "even", "nan", "angles"])
def test_a_bad_sinogram_is_refused_in_one_line(tmp_path, case):
    file = tmp_path / "a.npz"
    sinogram = numpy.ones((5, 8 if case == "even" else 9))
    if case == "nan":
        sinogram[0] = numpy.nan
    if case == "text":
        file.write_text("no sinogram")
    else:
        name = "picture" if case == "names" else "sinogram"
        numpy.savez(file, **{name: sinogram, "angles": numpy.arange(4 if case == "angles" else 5)})
    with pytest.raises(InputError) as caught:
        read_sinogram(file, "parallel", 1.0)
    assert "\n" not in str(caught.value) and "a.npz" in str(caught.value)


def test_total_variation_of_a_step_is_its_height_over_the_voxels():
    step = torch.zeros(11, 6, 1)
    step[5:] = 2.0
    assert total_variation(step).item() == pytest.approx(2.0 / 10, abs=2e-3)


def test_voxels_keep_their_proportions_in_the_unit_cube_and_values_stay_above_0():
    place = voxel_positions((10, 5, 4), numpy.array([1.0, 1.0, 2.5]))
    assert place.min() >= 0 and place.max() <= 1
    assert torch.allclose(place[1, 0, 0] - place[0, 0, 0], torch.tensor([0.1, 0, 0]))
    assert torch.allclose(place[0, 0, 1] - place[0, 0, 0], torch.tensor([0, 0, 0.25]))
    assert positive(torch.tensor([-3.0, 2.0])).tolist() == pytest.approx([0, 2], abs=1e-3)


def test_a_volume_without_air_says_how_its_values_are_taken(capsys):
    raw = numpy.zeros((8, 8, 1), numpy.float32)
    raw[2:6] = 1100
    _say_units(Path("raw.nii"), VoxelVolume(raw, numpy.eye(4)))
    assert "raw.nii: values from 0 to 1100 are taken as Hounsfield units" in capsys.readouterr().out
    _say_units(Path("ct.nii"), VoxelVolume(raw - 1024, numpy.eye(4)))
    assert capsys.readouterr().out == ""


def test_a_volume_that_absorbs_nothing_is_refused(tmp_path, capsys):
    numpy.save(tmp_path / "air.npy", numpy.linspace(-3000, -2000, 24 * 24).reshape(24, 24).astype(numpy.int16))
    assert main(["fit", "tomography", str(tmp_path / "air.npy"), "--out", str(tmp_path / "run"), "--steps", "2"]) == 2
    assert "nothing to reconstruct" in capsys.readouterr().err
