"""NIfTI volumes of a reference, in mm, with the affine of RAS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.system.lazy import LazyModule
from pipeline.system.whole_files import replacing

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = LazyModule("SimpleITK")

MM_UM = 1000.0
_MOST_ID = np.iinfo(np.int32).max
# Columns: where P, I and R point in left, posterior and superior, the axes of SimpleITK. In RAS they are
# -y, -z and +x.
_PIR_IN_LPS = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def write_nifti(path: Path, values: npt.NDArray[Any], spacing_um: float) -> None:
    """Write a volume whose axes stay P, I and R; the affine says so.

    Parameters
    ----------
    path : Path
        `.nii.gz`; appears whole or not at all.
    values : (P, I, R) array
        Voxels; unsigned 32-bit ids become int32, which every reader of NIfTI takes.
    spacing_um : float, um
        Voxel size.

    Raises
    ------
    DataError
        Where an id does not fit into int32.
    """
    check_ids(values)
    stored = values.astype(np.int32) if values.dtype == np.uint32 else values
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(stored.transpose(2, 1, 0)))
    image.SetSpacing([float(spacing_um) / MM_UM] * 3)
    image.SetDirection(_PIR_IN_LPS)
    with replacing(path) as fresh:
        SimpleITK.WriteImage(image, str(fresh), True)


def check_ids(values: npt.NDArray[Any]) -> None:
    """Refuse structure ids that NIfTI's int32 does not hold.

    Parameters
    ----------
    values : array of any shape
        Structure ids, or other values, which pass.

    Raises
    ------
    DataError
        Where an id is above 2147483647.
    """
    if values.dtype == np.uint32 and values.size and int(values.max()) > _MOST_ID:
        raise DataError(
            f"--format nifti: expected structure ids up to {_MOST_ID}, got {values.max()}; leave nifti out"
        )
