"""Memory of the verbs: refused beforehand where it is not there."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.system.machine_memory import SHARE, limit_bytes

MOST_VOXELS = 1.2e9  # of a result whose memory is estimated from its shape alone: a mouse brain at 10 um
# Measured with carry: 2.7e9 bytes at the peak for 77 million voxels (a mouse brain at 25 um), and as many
# labels of the source.
BASE_BYTES = 0.8e9  # of matching, whatever the voxel size of the result
BYTES_A_VOXEL = 28.0  # of the result, its input, and what is being written


def check_fits(path: Path, voxels: float, held_bytes: float = 0.0) -> None:
    """Refuse a result that does not fit into the memory here.

    Parameters
    ----------
    path : Path
        What its size comes from.
    voxels : float
        Of the result.
    held_bytes : float
        Of further inputs that are held in memory.

    Raises
    ------
    DataError
        With both figures.
    """
    base, limit = BASE_BYTES + held_bytes, SHARE * limit_bytes()
    need = base + voxels * BYTES_A_VOXEL
    if need > limit:
        most = max(0.0, limit - base) / BYTES_A_VOXEL
        raise DataError(
            f"{path}: expected at most {most:.2g} voxels, got {voxels:.3g}, which take {need / 1e9:.3g} GB"
            f" where {limit / 1e9:.3g} can be used; take larger voxels"
        )
