"""Results of searches: columns of equal length, best experiment first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import Bool, Float64, Int64


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The experiments that a search found, best first.

    Attributes
    ----------
    columns : mapping of str to (n,) array
        Columns by name.
    notes : tuple of str
        Limitations that a reader of the numbers must know.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, kept: Bool) -> SearchResult:
        """Return some of the rows.

        Parameters
        ----------
        kept : (n,) bool
            Which rows.

        Returns
        -------
        SearchResult
            These rows in their order, with the same notes.
        """
        return SearchResult({name: column[kept] for name, column in self.columns.items()}, self.notes)

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per experiment, of plain Python values."""
        values = (column.tolist() for column in self.columns.values())
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]


@dataclass(frozen=True, eq=False)
class StructureNetwork(SearchResult):
    """How alike structures express, in the order of the ontology.

    Attributes
    ----------
    columns : mapping of str to (n,) array
        structure_id, acronym, name and voxels.
    notes : tuple of str
        Limitations that a reader of the numbers must know.
    r : (n, n) float64
        Pearson's r between the mean energies of two structures over experiments; NaN where there is none.
    shared : (n, n) int64
        Number of experiments with data in both.
    """

    r: Float64 = field(kw_only=True)
    shared: Int64 = field(kw_only=True)

    def with_matrix(self) -> SearchResult:
        """Return the columns with one more for each structure, its r with every other, by acronym."""
        names = [str(name) for name in self.columns["acronym"]]
        return SearchResult({**self.columns, **dict(zip(names, self.r.T, strict=True))}, self.notes)

    def edges(self, least: float) -> list[tuple[int, int]]:
        """Return the pairs of structures that are at least so alike.

        Parameters
        ----------
        least : float
            Least r of an edge.

        Returns
        -------
        list of (int, int)
            Positions of both structures, the first before the second.
        """
        found = np.argwhere(np.triu(np.nan_to_num(self.r, nan=-2.0), 1) >= least)
        return [(int(a), int(b)) for a, b in found]
