"""NRRD volumes as Allen's references are: gzip, axes P, I, R, directions in um, origin 0; also of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import Float32
from pipeline.system.files import check_plain
from pipeline.system.lazy import LazyModule
from pipeline.system.whole_files import replacing

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

TYPES = {"u1": "unsigned char", "u2": "unsigned short", "u4": "unsigned int", "f4": "float"}  # by dtype
LEVEL = 4  # of deflate: labels lose little by it
HEADER = """NRRD0004
# Complete NRRD file format specification at:
# http://teem.sourceforge.net/nrrd/format.html
type: {kind}
dimension: {dimension}
space: left-posterior-superior
sizes: {sizes}
space directions: {vector}({um},0,0) (0,{um},0) (0,0,{um})
kinds: {kinds}
endian: little
encoding: gzip
space origin: (0,0,0)

"""


def write_nrrd(path: Path, volume: npt.NDArray[Any], spacing_um: float) -> None:
    """Write a volume as Allen writes its annotation: gzip, P fastest.

    Parameters
    ----------
    path : Path
        File; appears whole or not at all.
    volume : (P, I, R) uint8, uint16, uint32 or float32, or (P, I, R, 3) float32
        Values, or vectors, whose components come fastest in the file; voxel i lies at i x spacing.
    spacing_um : float, um
        Voxel size.
    """
    vectors = volume.ndim == 4
    stored = np.moveaxis(volume, 3, 0) if vectors else volume
    head = HEADER.format(
        kind=TYPES[volume.dtype.str[1:]],
        dimension=stored.ndim,
        sizes=" ".join(map(str, stored.shape)),
        vector="none " if vectors else "",
        um=f"{spacing_um:g}",
        kinds=f"{'vector ' if vectors else ''}domain domain domain",
    )
    with replacing(path) as fresh, fresh.open("wb") as file:
        file.write(head.encode("ascii"))
        file.write(imagecodecs.gzip_encode(in_order(stored), level=LEVEL))


def in_order(volume: npt.NDArray[Any]) -> Any:
    """Return the values of a volume as bytes.

    Parameters
    ----------
    volume : array of any shape
        Values.

    Returns
    -------
    (n,) uint8
        The first axis fastest, little-endian.
    """
    little = volume.astype(volume.dtype.newbyteorder("<"), copy=False)
    return little.ravel(order="F").view(np.uint8)


def read_vectors(path: Path) -> tuple[Float32, float]:
    """Read a volume of vectors of three components.

    Parameters
    ----------
    path : Path
        `.nrrd`.

    Returns
    -------
    vectors : (P, I, R, 3) float32
        Vectors.
    spacing_um : float, um
        Distance of the nodes.

    Raises
    ------
    DataError
        Where the file is missing, damaged or not such a volume.
    """
    check_plain(path, "a displacement file")
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        what = " ".join(str(error).split())[-160:]
        raise DataError(f"{path}: expected a whole NRRD of vectors, got {what}") from error
    spacing = image.GetSpacing()
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3 or len(set(spacing)) != 1:
        raise DataError(
            f"{path}: expected three components a voxel at one spacing, got"
            f" {image.GetNumberOfComponentsPerPixel()} at {spacing}"
        )
    vectors = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    return np.ascontiguousarray(vectors, np.float32), float(spacing[0])
