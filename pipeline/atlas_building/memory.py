"""Memory of the verbs: refused beforehand where it is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core.errors import DataError
from pipeline.system.machine_memory import SHARE, limit_bytes


@dataclass(frozen=True)
class Need:
    """What a verb takes at its peak.

    Attributes
    ----------
    base_bytes : float
        Whatever the voxel size: the program, and matching on a coarse grid.
    bytes_a_voxel : float
        Of the result: its volumes, inputs of as many voxels, and what is being written.
    """

    base_bytes: float
    bytes_a_voxel: float


NEEDS: Mapping[str, Need] = {
    "build": Need(1.0e9, 28.0),
    "symmetrise": Need(0.7e9, 28.0),
    "interpolate": Need(0.5e9, 28.0),
    "average": Need(0.8e9, 28.0),
    "carry": Need(0.8e9, 28.0),
}


def needed_bytes(verb: str, box_um: Sequence[float], spacing_um: float, held_bytes: float = 0.0) -> float:
    """Return what a verb takes at its peak.

    Parameters
    ----------
    verb : str
        Of `NEEDS`.
    box_um : (3,) float, um
        Box of the result.
    spacing_um : float, um
        Its voxel size.
    held_bytes : float
        Of inputs that are held in memory beside one of as many voxels.

    Returns
    -------
    float
        Bytes.
    """
    return NEEDS[verb].base_bytes + held_bytes + _voxels(box_um, spacing_um) * NEEDS[verb].bytes_a_voxel


def check_fits(
    verb: str, path: Path, box_um: Sequence[float], spacing_um: float, held_bytes: float = 0.0
) -> None:
    """Refuse a result that does not fit into the memory here.

    Parameters
    ----------
    verb : str
        Of `NEEDS`.
    path : Path
        What the size of the result comes from.
    box_um : (3,) float, um
        Its box.
    spacing_um : float, um
        Its voxel size.
    held_bytes : float
        Of inputs that are held in memory beside one of as many voxels.

    Raises
    ------
    DataError
        With both figures, and the voxel size that fits.
    """
    need, limit = needed_bytes(verb, box_um, spacing_um, held_bytes), SHARE * limit_bytes()
    if need <= limit:
        return
    left = limit - NEEDS[verb].base_bytes - held_bytes
    most = max(0.0, left) / NEEDS[verb].bytes_a_voxel
    fits = "take fewer or smaller inputs"
    if most > 0:
        fits = f"take voxels of {np.ceil((np.prod(box_um) / most) ** (1 / 3)):.0f} um or more"
    raise DataError(
        f"{path}: {verb} expected at most {most:.2g} voxels, got {_voxels(box_um, spacing_um):.3g} of"
        f" {spacing_um:g} um, which take {need / 1e9:.3g} GB where {limit / 1e9:.3g} can be used;"
        f" {fits}, or a machine with more memory"
    )


def _voxels(box_um: Sequence[float], spacing_um: float) -> float:
    return float(np.prod(np.asarray(box_um, np.float64) / spacing_um))
