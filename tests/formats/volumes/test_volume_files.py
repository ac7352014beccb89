"""Volumes of other programs: the same voxels at the same places, whatever the form."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import tifffile

from pipeline.core.errors import DataError
from pipeline.formats.volumes.metaimage import write_labels
from pipeline.formats.volumes.nifti import write_nifti
from pipeline.formats.volumes.nrrd_writer import write_nrrd
from pipeline.formats.volumes.volume_files import read_volume

VOXELS = np.arange(5 * 4 * 3, dtype=np.uint16).reshape(5, 4, 3)


def ras(path: Path, order: tuple[int, int, int], flips: tuple[int, int, int]) -> None:
    """Write VOXELS as a NIfTI whose file axes are a permutation and reversal of P, I, R at 20, 30, 40 um."""
    pir_in_lps = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    spacing = np.array([0.02, 0.03, 0.04])
    file = VOXELS.transpose(order)[tuple(slice(None, None, f) for f in flips)]
    image = sitk.GetImageFromArray(np.ascontiguousarray(file.transpose(2, 1, 0)))
    image.SetSpacing(spacing[list(order)].tolist())
    image.SetDirection((pir_in_lps[:, order] * np.array(flips)).ravel().tolist())
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 2, 0), (1, -1, 1))]
)
def test_a_nifti_is_turned_by_its_affine(
    tmp_path: Path, order: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    ras(tmp_path / "brain.nii.gz", order, flips)
    found = read_volume(tmp_path / "brain.nii.gz")
    assert np.array_equal(found.values, VOXELS)
    assert found.spacing_um == (20.0, 30.0, 40.0)
    assert found.box_um == (100.0, 120.0, 120.0)


def test_a_written_nifti_points_to_posterior_inferior_and_right(tmp_path: Path) -> None:
    write_nifti(tmp_path / "labels.nii.gz", VOXELS.astype(np.uint32), 25.0)
    image = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert image.GetPixelID() == sitk.sitkInt32
    one = np.array(image.TransformIndexToPhysicalPoint((1, 2, 1)))  # left, posterior, superior, in mm
    assert np.allclose(one, [-0.025, 0.025, -0.05])
    assert np.array_equal(read_volume(tmp_path / "labels.nii.gz").values, VOXELS)


def test_ids_beyond_int32_are_refused_as_nifti(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="up to 2147483647, got 2147483653"):
        write_nifti(tmp_path / "labels.nii.gz", np.full((2, 2, 2), 2**31 + 5, np.uint32), 25.0)


def test_nrrd_and_metaimage_have_p_first(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", VOXELS, 25.0)
    write_labels(tmp_path / "b.mhd", VOXELS.astype(np.uint32), 50.0)
    first, second = read_volume(tmp_path / "a.nrrd"), read_volume(tmp_path / "b.mhd")
    assert np.array_equal(first.values, VOXELS)
    assert np.array_equal(second.values, VOXELS)
    assert (first.spacing_um, second.spacing_um) == ((25.0,) * 3, (50.0,) * 3)


def test_spacings_may_differ_by_axis(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(VOXELS.transpose(2, 1, 0)))
    image.SetSpacing((60.0, 10.0, 12.5))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").spacing_um == (60.0, 10.0, 12.5)


def test_millimetres_are_told_by_numbers_below_one(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(VOXELS.transpose(2, 1, 0)))
    image.SetSpacing((0.025,) * 3)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").spacing_um == (25.0,) * 3


def test_a_tiff_needs_a_voxel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, photometric="minisblack")
    assert np.array_equal(read_volume(tmp_path / "a.tif", 30.0).values, VOXELS)
    with pytest.raises(DataError, match=r"a\.tif: expected a voxel size in its header, got none; add --spac"):
        read_volume(tmp_path / "a.tif")


def test_a_header_without_a_voxel_size_is_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(VOXELS.transpose(2, 1, 0)))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))  # 1 along every axis, for want of a better number
    with pytest.raises(DataError, match="expected a voxel size in its header, got none"):
        read_volume(tmp_path / "a.nrrd")
    assert read_volume(tmp_path / "a.nrrd", 40.0).spacing_um == (40.0,) * 3
    (tmp_path / "a.nrrd").rename(tmp_path / "brain_50.nrrd")
    assert read_volume(tmp_path / "brain_50.nrrd").spacing_um == (50.0,) * 3


@pytest.mark.parametrize("name", ["a.nrrd", "a.mhd", "a.nii.gz", "a.tif", "a.png"])
def test_what_is_no_volume_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no volume")
    with pytest.raises(DataError, match="expected") as caught:
        read_volume(tmp_path / name, 10.0)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="expected"):
        read_volume(tmp_path / "missing" / name, 10.0)


@pytest.mark.parametrize("field", [80, 280])  # pixdim[1] and the first number of srow_x
def test_an_affine_without_numbers_is_refused_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], field: int
) -> None:
    ras(tmp_path / "a.nii.gz", (0, 1, 2), (1, 1, 1))
    document = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    struct.pack_into("<f", document, field, float("nan"))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(document)))
    with pytest.raises(DataError, match="expected numbers in its affine, got NaN"):
        read_volume(tmp_path / "a.nii.gz")
    assert capfd.readouterr() == ("", "")  # ITK prints the matrix that it cannot decompose


def test_an_affine_without_right_angles_is_refused(tmp_path: Path) -> None:
    ras(tmp_path / "a.nii.gz", (0, 1, 2), (1, 1, 1))
    document = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    struct.pack_into("<12f", document, 280, *12 * [0.0])
    struct.pack_into("<2h", document, 252, 0, 1)  # the sform counts, the qform does not
    (tmp_path / "a.nii").write_bytes(bytes(document))
    with pytest.raises(DataError, match="expected an affine with three axes at right angles, got another"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("shape", [(6, 5, 3), (4, 6, 5, 3)])
def test_colours_are_no_planes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric="rgb")
    with pytest.raises(DataError, match="expected grey pages, got pages in colours; save one channel"):
        read_volume(tmp_path / "a.tif", 30.0)


def test_a_voxel_size_beyond_all_brains_is_refused_with_both_bounds(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", VOXELS, 1e9)
    with pytest.raises(DataError, match=r"expected voxel sizes above 0 and below \S+ um, got 1e\+09 x"):
        read_volume(tmp_path / "a.nrrd")
