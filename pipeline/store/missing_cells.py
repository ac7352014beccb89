"""What the sections of a grid lack, cell by cell: `missing_tissue.zarr`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.core.model import Float64
from pipeline.store.arrays import read_bundle, write_bundle
from pipeline.store.run import MISSING_CELLS, RunFolder


def write_missing_cells(
    run: RunFolder,
    sections: Sequence[int],
    shares: Mapping[int, Float64],
    darkness: Mapping[int, float],
    digest: str,
) -> None:
    """Write which sections the grid has, and which share of their cells is missing tissue.

    Parameters
    ----------
    run : RunFolder
        Run folder.
    sections : sequence of int
        Numbers of all sections in the grid.
    shares : mapping of int to (rows, columns) float64
        Share of each cell that was found missing, by section number; none for a section that lacks nothing.
    darkness : mapping of int to float, 0-255
        Mean darkness of the glass in its place.
    digest : str
        Digest of the task.
    """
    attributes = {
        "sections": list(sections),
        "darkness": {str(number): value for number, value in darkness.items()},
        "ish_pipeline": {"digest": digest},
    }
    arrays = {str(number): share.astype(np.float32) for number, share in shares.items()}
    write_bundle(run.file(MISSING_CELLS), arrays, attributes)


def read_missing_cells(run: RunFolder) -> tuple[list[int], dict[int, tuple[Float64, float]]]:
    """Read which sections the grid has, and what they lack.

    Parameters
    ----------
    run : RunFolder
        Run folder.

    Returns
    -------
    sections : list of int
        Numbers of all sections in the grid.
    lacking : dict of int to ((rows, columns) float64, float)
        Share of each cell that is missing tissue and the darkness of the glass there, by section number.

    Raises
    ------
    MissingResultError
        Where a run of an earlier version has no such output.
    DataError
        Where it is damaged.
    """
    arrays, attributes = read_bundle(run.require(MISSING_CELLS))
    lacking = {
        int(name): (share.astype(np.float64), float(attributes["darkness"][name]))
        for name, share in arrays.items()
    }
    return [int(number) for number in attributes["sections"]], lacking
