"""Volumes of any program: NRRD, MetaImage, NIfTI and TIFF, brought to (P, I, R) and um.

NRRD and MetaImage are read as Allen's references are: the first axis in the file is P, then I, then R, in um.
The axes of a NIfTI are turned by its affine.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile

from pipeline.core.errors import DataError
from pipeline.formats.volumes import metaimage, nrrd
from pipeline.formats.volumes.labels import MOST_SPACING
from pipeline.system.files import check_plain
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

ENDINGS = (".nrrd", ".mhd", ".nii", ".nii.gz", ".tif", ".tiff")
MM_UM = 1000.0
OPTION = "add --spacing-um"
_NOT_STATED = (1.0, 1.0, 1.0)  # what programs write that know no voxel size
# SimpleITK's points rise to left, posterior and superior; ours to posterior, inferior and right.
_LPS_TO_PIR = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
COLOURS = "S"  # samples of a pixel, the last axis in tifffile's naming of axes
NIFTI_1, NIFTI_2 = 348, 540  # bytes of the header, with which it begins
QFORM = 6  # numbers of its affine
Spacing = tuple[float, float, float]


class _Layout(NamedTuple):
    """Where a NIfTI header has its voxel sizes, the codes of its affines and their 18 numbers, bytes."""

    size: int
    number: str  # as `struct` names it
    code: str
    sizes: int
    codes: int
    affine: int


NIFTI_LAYOUTS = {
    NIFTI_1: _Layout(NIFTI_1, "f", "h", 80, 252, 256),
    NIFTI_2: _Layout(NIFTI_2, "d", "i", 112, 344, 352),
}


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume, read from a file.

    Attributes
    ----------
    values : (P, I, R) array
        Values as stored; voxel i lies at i x spacing.
    spacing_um : (3,) float, um
        Voxel size along P, I and R.
    path : Path
        The file.
    """

    values: npt.NDArray[Any]
    spacing_um: Spacing
    path: Path

    @property
    def box_um(self) -> Spacing:
        """Size of the box, voxels x spacing, (3,) um."""
        p, i, r = (n * um for n, um in zip(self.values.shape, self.spacing_um, strict=True))
        return p, i, r


def is_volume_name(path: Path) -> bool:
    """Check whether a file's name ends as that of a volume.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        By its ending alone.
    """
    return path.name.lower().endswith(ENDINGS)


def read_volume(path: Path, spacing_um: float | None = None, *, remedy: str = OPTION) -> Volume:
    """Read a volume.

    Parameters
    ----------
    path : Path
        `.nrrd`, `.mhd`, `.nii`, `.nii.gz`, `.tif` or `.tiff`.
    spacing_um : float, um, optional
        Voxel size of a file that states none.
    remedy : str
        What to do where neither is known, for the message.

    Returns
    -------
    Volume
        Its values and their places.

    Raises
    ------
    DataError
        Where the file is missing, damaged, of another kind or states no voxel size that can be used.
    """
    name = path.name.lower()
    if name.endswith(".nrrd"):
        values, spacing = nrrd.read_nrrd(path)
        stated = spacing if nrrd.states_spacing(path) else None
        return _checked(path, values, _as_um(path, stated), spacing_um, remedy)
    if name.endswith(".mhd"):
        values, spacing, _ = metaimage.read_metaimage(path)
        stated = spacing if metaimage.states_spacing(path) else None
        return _checked(path, values, _as_um(path, stated), spacing_um, remedy)
    if name.endswith((".nii", ".nii.gz")):
        return _checked(path, *_nifti(path), spacing_um, remedy)
    if name.endswith((".tif", ".tiff")):
        return _checked(path, _tiff(path), None, spacing_um, remedy)
    raise DataError(f"{path}: expected a volume ({', '.join(ENDINGS)}), got another ending; convert it")


def _as_um(path: Path, stated: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return the spacing of an NRRD or MetaImage in um: numbers below 1 are in mm, as in our references."""
    if stated is None or tuple(stated) == _NOT_STATED:
        named = re.search(r"_(\d+(?:\.\d+)?)(?:um)?\.\w+$", path.name)
        return (float(named[1]),) * 3 if named else None
    return tuple(stated) if max(stated) >= 1.0 else tuple(MM_UM * s for s in stated)


def _checked(
    path: Path,
    values: npt.NDArray[Any],
    stated: tuple[float, ...] | None,
    spacing_um: float | None,
    remedy: str,
) -> Volume:
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        raise DataError(
            f"{path}: expected one volume of three dimensions, got {values.dtype} of shape {values.shape};"
            " save one channel of one volume"
        )
    if min(values.shape) < 2:
        raise DataError(f"{path}: expected at least 2 voxels along each axis, got shape {values.shape}")
    spacing = stated or ((spacing_um,) * 3 if spacing_um is not None else None)
    if spacing is None:
        raise DataError(f"{path}: expected a voxel size in its header, got none; {remedy}")
    if not all(0 < s < MOST_SPACING for s in spacing):
        got = " x ".join(f"{s:g}" for s in spacing)
        raise DataError(
            f"{path}: expected voxel sizes above 0 and below {MOST_SPACING:g} um, got {got} um; correct its"
            " header"
        )
    p, i, r = (float(f"{s:.6g}") for s in spacing)  # NIfTI states them in 32 bits
    return Volume(values, (p, i, r), path)


def _nifti(path: Path) -> tuple[npt.NDArray[Any], tuple[float, ...] | None]:
    """Read a NIfTI, its axes turned to the nearest of P, I and R."""
    check_plain(path, "a NIfTI volume")
    _check_affine(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        what = " ".join(str(error).split())
        if "orthonormal" in what:
            raise DataError(
                f"{path}: expected an affine with three axes at right angles, got another; correct it, or"
                " resample the volume"
            ) from error
        raise DataError(f"{path}: expected a whole NIfTI volume, got {what[-160:]}") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(
            f"{path}: expected one volume of three dimensions, got size {image.GetSize()} with"
            f" {image.GetNumberOfComponentsPerPixel()} values a voxel; save one channel of one volume"
        )
    values = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0)
    axes = _LPS_TO_PIR @ np.array(image.GetDirection()).reshape(3, 3)  # columns: file axes in (P, I, R)
    order = _nearest_axes(axes)
    signs = [axes[k, order[k]] for k in range(3)]
    turned = values.transpose(order)[tuple(slice(None, None, 1 if s > 0 else -1) for s in signs)]
    spacing = tuple(MM_UM * image.GetSpacing()[k] for k in order)
    placed = any(_code(reader, name) > 0 for name in ("qform_code", "sform_code"))
    unknown = not placed and image.GetSpacing() == _NOT_STATED
    return np.ascontiguousarray(turned), None if unknown else spacing


def _check_affine(path: Path) -> None:
    """Refuse an affine that holds no numbers: ITK prints pages about it before it fails, or passes it on.

    Places of the fields are those of nifti1.h and nifti2.h; what is damaged otherwise is left to ITK.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            head = file.read(NIFTI_2)
    except (OSError, EOFError, zlib.error):
        return
    for order in "<>":
        layout = NIFTI_LAYOUTS.get(struct.unpack(f"{order}i", head[:4])[0]) if len(head) >= NIFTI_1 else None
        if layout is None or len(head) < layout.size:
            continue
        one = layout.number
        sizes = struct.unpack_from(f"{order}3{one}", head, layout.sizes)
        qform, sform = struct.unpack_from(f"{order}2{layout.code}", head, layout.codes)
        numbers = struct.unpack_from(f"{order}18{one}", head, layout.affine)  # of the qform, then the sform
        used = (
            *sizes,
            *(numbers[:QFORM] if qform > 0 else ()),
            *(numbers[QFORM:] if sform > 0 else ()),
        )
        if not all(math.isfinite(number) for number in used):
            raise DataError(
                f"{path}: expected numbers in its affine, got NaN or infinity; correct its header"
            )


def _code(reader: Any, name: str) -> int:
    return int(reader.GetMetaData(name)) if reader.HasMetaDataKey(name) else 0


def _nearest_axes(axes: npt.NDArray[np.float64]) -> tuple[int, int, int]:
    """Return the file axis nearest to each of P, I and R, each taken once."""
    orders = [(a, b, c) for a in range(3) for b in range(3) for c in range(3) if len({a, b, c}) == 3]
    return max(orders, key=lambda order: sum(abs(axes[k, order[k]]) for k in range(3)))


def _tiff(path: Path) -> npt.NDArray[Any]:
    """Read the pages of a TIFF as (P, I, R): a page is a coronal plane."""
    check_plain(path, "a TIFF volume")
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            colours = file.series[0].axes.endswith(COLOURS)
            values = np.squeeze(np.asarray(file.asarray()))
    except Exception as error:  # decoders raise errors of many types on damaged bytes
        what = " ".join(str(error).split())[:160]
        raise DataError(f"{path}: expected a whole TIFF volume, got {what}") from error
    if colours:
        raise DataError(f"{path}: expected grey pages, got pages in colours; save one channel")
    return values
