import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.report import listen
from nerf.signals.ct import scanned
from nerf.signals.files.voxels import VoxelVolume, read_volume, write_nifti

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")


def a_volume() -> VoxelVolume:
    values = numpy.random.default_rng(0).normal(size=(9, 10, 4)).astype(numpy.float32)
    affine = numpy.array([[0, -2, 0, 5], [3, 0, 0, -7], [0, 0, 4, 1], [0, 0, 0, 1]], float)
    return VoxelVolume(values, affine)


def write_slice(file, z: float, values: numpy.ndarray | None, **changes) -> None:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[file.name])

    data.Rows = 9
    data.Columns = 8
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit = 15
    data.PixelRepresentation = 0

    data.RescaleSlope = 2
    data.RescaleIntercept = -1024
    data.PixelSpacing = [0.5, 0.25]
    data.SliceThickness = 3
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [10, 20, z]

    for name, value in changes.items():
        setattr(data, name, value)
    if values is not None:
        data.PixelData = values.astype(numpy.uint16).tobytes()
    data.save_as(file, enforce_file_format=True)


def test_a_nifti_file_comes_back_with_its_affine(tmp_path):
    volume = a_volume()
    for name in ("a.nii", "a.nii.gz"):
        write_nifti(tmp_path / name, volume)
        again = read_volume(tmp_path / name)
        assert (again.values == volume.values).all() and numpy.allclose(again.affine, volume.affine, atol=1e-6)
    assert numpy.allclose(again.spacing, [3, 2, 4])
    assert numpy.allclose(again.middle(2).affine @ [0, 0, 0, 1], again.affine @ [0, 0, 1, 1])
    assert (again.middle(2).values == volume.values[:, :, 1:3]).all() and again.middle(0) is again


def test_dicom_slices_are_sorted_by_height_scaled_and_turned_to_right_front_head(tmp_path):
    rows = numpy.arange(72).reshape(9, 8)
    write_slice(tmp_path / "1.dcm", 6.0, rows + 100)
    write_slice(tmp_path / "2.dcm", 4.0, rows)
    volume = read_volume(tmp_path)
    assert volume.values.shape == (8, 9, 2)
    assert volume.values[3, 2, 0] == 2 * rows[2, 3] - 1024 and volume.values[3, 2, 1] == 2 * (rows[2, 3] + 100) - 1024
    # Columns step by PixelSpacing[1], rows by PixelSpacing[0]; left and back become minus right and minus front.
    assert numpy.allclose(volume.affine @ [3, 2, 1, 1], [-10 - 3 * 0.25, -20 - 2 * 0.5, 6, 1])


def test_slices_of_a_tilted_gantry_lie_aslant_in_what_is_written_and_are_said_to(tmp_path):
    said = []
    for number in range(3):
        values = numpy.arange(72) + number
        write_slice(tmp_path / f"{number}.dcm", 0, values, ImagePositionPatient=[10, 20 + 2 * number, 5 * number])
    with listen(lambda topic, text: said.append(text)):
        volume = read_volume(tmp_path)
    assert numpy.allclose(volume.affine @ [0, 0, 2, 1], [-10, -24, 10, 1])
    assert volume.lean == pytest.approx(numpy.degrees(numpy.arctan(2 / 5)))
    assert len(said) == 1 and "aslant, 21.8 degrees" in said[0]

    write_nifti(tmp_path / "a.nii.gz", volume)
    assert read_volume(tmp_path / "a.nii.gz").lean == pytest.approx(volume.lean, abs=1e-3)  # float32 in the header
    with pytest.raises(InputError, match="a cone beam crosses slices"):
        scanned(volume, "cone", 4)
    assert scanned(volume, "fan", 4).affine is volume.affine


def test_slices_beside_their_row_are_refused(tmp_path):
    for number, aside in enumerate((0, 0, 1, 0)):
        position = [10 + aside, 20, 3 * number]
        write_slice(tmp_path / f"{number}.dcm", 0, numpy.arange(72) + number, ImagePositionPatient=position)
    with pytest.raises(InputError, match="do not lie in a row: their corners are up to 1 mm beside one"):
        read_volume(tmp_path)


def test_a_folder_of_folders_names_those_that_hold_slices(tmp_path):
    series = tmp_path / "disc" / "ST1" / "SE2"
    series.mkdir(parents=True)
    (tmp_path / "disc" / "README").write_text("about the disc")
    (tmp_path / "disc" / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file in it$"):
        read_volume(tmp_path)
    write_slice(series / "IM1", 0, numpy.arange(72))
    with pytest.raises(InputError, match="no DICOM file in it, but in disc/ST1/SE2 inside it"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("nan", "not finite"), ("constant", "nothing to fit"), ("cut", "cut off"), ("text", "cannot be read"),
        ("huge", "more than"), ("pixels", "without pixel data"), ("short", "cannot be read"), ("gap", "evenly spaced"),
        ("not dicom", "not a DICOM"), ("rows", "cannot be read"), ("thickness", "could not convert"),
        ("missing", "not found"), ("pickle", "cannot be read"), ("words", "real numbers"),
    ],
)  # fmt: skip
def test_a_bad_volume_is_refused_in_one_line(tmp_path, case, words):
    file = tmp_path / "a.nii.gz"
    values = a_volume().values.copy()
    if case in ("nan", "constant"):
        values[:] = 3.0
        values[0, 0, 0] = numpy.nan if case == "nan" else 3.0
        write_nifti(file, VoxelVolume(values, numpy.eye(4)))
    elif case == "cut":
        write_nifti(file, a_volume())
        file.write_bytes(file.read_bytes()[:-300])
    elif case == "text":
        file.write_text("no volume")
    elif case == "huge":
        file = tmp_path / "a.nii"
        image = nibabel.Nifti1Image(numpy.zeros((8, 8, 2), numpy.uint8), numpy.eye(4))
        image.header["dim"][1:4] = 20000
        file.write_bytes(image.header.binaryblock + b"\0" * 200)
    elif case in ("pixels", "short"):
        file = tmp_path / "a.dcm"
        write_slice(file, 0, None if case == "pixels" else numpy.zeros((9, 8)))
        if case == "short":
            file.write_bytes(file.read_bytes()[:-40])
    elif case in ("rows", "thickness"):
        file = tmp_path / "a.dcm"
        write_slice(file, 0, numpy.zeros((9, 8)))
        whole, damaged = {
            "rows": (b"\x28\0\x10\0US\x02\0", b"\x28\0\x10\0US\x01\0"),
            "thickness": (b"\x18\0\x50\0DS\x04\x003.0 ", b"\x18\0\x50\0DS\x04\x003.\xb0 "),
        }[case]
        assert file.read_bytes().count(whole) == 1
        file.write_bytes(file.read_bytes().replace(whole, damaged))
    elif case == "gap":
        file = tmp_path
        for z in (0, 3, 9):
            write_slice(tmp_path / f"{z}.dcm", z, numpy.arange(72))
    elif case == "not dicom":
        file = tmp_path / "a.dcm"
        file.write_bytes(b"x" * 400)
    elif case in ("pickle", "words"):
        file = tmp_path / "a.npy"
        numpy.save(file, numpy.array([[{}] * 9] * 9) if case == "pickle" else numpy.full((9, 9), "a"))

    with pytest.raises(InputError, match=words) as caught:
        read_volume(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_colours_are_no_volume(tmp_path):
    voxels = numpy.zeros((9, 9, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(voxels, numpy.eye(4)), tmp_path / "rgb.nii.gz")
    with pytest.raises(InputError, match="its voxels are colours"):
        read_volume(tmp_path / "rgb.nii.gz")


def test_a_deflated_slice_is_read_and_one_that_swells_is_refused(tmp_path, monkeypatch):
    values = numpy.arange(72, dtype=numpy.uint16).reshape(9, 8)
    write_slice(tmp_path / "a.dcm", 0, values)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "deflated.dcm")
    assert numpy.array_equal(read_volume(tmp_path / "deflated.dcm").values, read_volume(tmp_path / "a.dcm").values)

    monkeypatch.setattr("nerf.signals.files.voxels.MOST_INFLATED", 2**20)
    data.ImageComments = "x"
    data.add_new((0x0009, 0x1001), "OB", bytes(2**24))
    data.save_as(tmp_path / "bomb.dcm")
    assert (tmp_path / "bomb.dcm").stat().st_size < 2**16
    with monkeypatch.context() as patch:
        patch.setattr(pydicom, "dcmread", None)  # which would inflate it
        with pytest.raises(InputError, match="inflates to more than 1 MiB"):
            read_volume(tmp_path / "bomb.dcm")


def test_a_compression_that_no_decoder_reads_is_named(tmp_path):
    write_slice(tmp_path / "a.dcm", 0, numpy.zeros((9, 8)))
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.PixelData = pydicom.encaps.encapsulate([b"no such stream "])
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    data["PixelData"].VR = "OB"
    data.save_as(tmp_path / "b.dcm")
    with pytest.raises(InputError, match="compressed as MPEG2 .*, and no decoder here reads them; decompress it first"):
        read_volume(tmp_path / "b.dcm")


def test_reading_an_array_warns_of_nothing(tmp_path, recwarn):
    numpy.save(tmp_path / "a.npy", a_volume().values)
    torch.from_numpy(read_volume(tmp_path / "a.npy").values)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_a_slice_without_suffix_is_known_by_its_content(tmp_path):
    values = numpy.arange(72, dtype=numpy.uint16).reshape(9, 8)
    write_slice(tmp_path / "IM0001", 0, values)
    assert read_volume(tmp_path / "IM0001").values.shape == (8, 9, 1)
    (tmp_path / "notes").write_text("no scan")
    with pytest.raises(InputError, match="not a volume"):
        read_volume(tmp_path / "notes")


def test_slices_of_two_series_are_not_mixed(tmp_path):
    for number in range(4):
        values = numpy.full((9, 8), number, numpy.uint16)
        write_slice(tmp_path / f"{number}.dcm", number, values, SeriesInstanceUID=f"1.2.{number % 2}")
    with pytest.raises(InputError, match="slices of 2 series; keep those of one"):
        read_volume(tmp_path)


@pytest.mark.parametrize("step", [numpy.nan, 1e30, 0.0, 5e3])
def test_a_header_whose_voxels_cannot_lie_so_is_refused(tmp_path, step):
    file = tmp_path / "a.nii"
    write_nifti(file, a_volume())
    data = bytearray(file.read_bytes())
    data[280:328] = numpy.array([[1, 0, 0, 0], [0, step, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()  # srow_x, _y and _z
    file.write_bytes(data)
    with pytest.raises(InputError, match="its header puts voxels .* mm apart; correct the header"):
        read_volume(file)
