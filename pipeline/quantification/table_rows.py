"""Sums by structure, taken to the rows of a structure table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import LEFT, Float64, Int64
from pipeline.quantification.unionize import LabelIndex


class TableRows:
    """The rows of a structure table among the structures of labels.

    Parameters
    ----------
    index : LabelIndex
        Labels and the structures that they count for.
    structure_id, hemisphere_id : (rows,) int64
        Rows of the table; 1 left, 2 right, 3 both.
    """

    def __init__(self, index: LabelIndex, structure_id: Int64, hemisphere_id: Int64) -> None:
        position = {structure: at for at, structure in enumerate(index.structure_ids)}
        self._at = np.array([position.get(s, -1) for s in structure_id.tolist()], np.int64)
        self._side = hemisphere_id - LEFT

    def take(self, values: npt.NDArray[Any], lacking: float) -> npt.NDArray[Any]:
        """Return the values of the rows.

        Parameters
        ----------
        values : (structures, 3, ...) array
            Values left, right and of both sides.
        lacking : float
            Value of structures that are not there.

        Returns
        -------
        (rows, ...) array
            One for each row.
        """
        found = values[np.maximum(self._at, 0), self._side]
        found[self._at < 0] = lacking
        return found


def both_sides(left_right: Float64) -> Float64:
    """Append the sum of both sides.

    Parameters
    ----------
    left_right : (structures, 2, ...) float64
        Sums left and right.

    Returns
    -------
    (structures, 3, ...) float64
        Left, right, both.
    """
    return np.concatenate([left_right, left_right.sum(axis=1, keepdims=True)], axis=1)
