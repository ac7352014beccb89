"""Volumes of structure ids: what every form of reference must hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import UInt32
from pipeline.core.ontology import MOST_ID

MOST_SPACING = 1e6  # of a voxel, in any unit


def structure_ids(volume: npt.NDArray[Any], path: Path) -> UInt32:
    """Return the values of a volume as structure ids.

    Parameters
    ----------
    volume : array of any shape
        Values as stored.
    path : Path
        File of the volume, for messages.

    Returns
    -------
    uint32 of the same shape
        The same values; no copy where they are of that type already.

    Raises
    ------
    DataError
        Where the values are not whole numbers, or one of them is negative or above 32 bits.
    """
    if volume.dtype.kind not in "iu":
        raise DataError(f"{path}: expected whole structure ids, got {volume.dtype}; is it a template?")
    if volume.dtype != np.uint32 and volume.size and (volume.min() < 0 or volume.max() > MOST_ID):
        raise DataError(f"{path}: expected structure ids of 32 bits, got {volume.min()} to {volume.max()}")
    return volume.astype(np.uint32, copy=False)


def is_cubic(spacing: Sequence[float]) -> bool:
    """Check that voxels have one size along all three axes.

    Parameters
    ----------
    spacing : sequence of float
        Size along each axis, in any unit.

    Returns
    -------
    bool
        False too where a size is not finite, not above 0, or absurdly large.

    Examples
    --------
    >>> [is_cubic(sizes) for sizes in ([25.0] * 3, [25.0, float("nan"), 25.0], [0.0] * 3, [25.0] * 2)]
    [True, False, False, False]
    """
    if len(spacing) != 3 or not all(0 < size < MOST_SPACING for size in spacing):
        return False
    return max(spacing) - min(spacing) <= 1e-6 * max(spacing)
