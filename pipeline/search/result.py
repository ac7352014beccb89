"""Result of a search: columns of equal length, best experiment first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


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

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per experiment, of plain Python values."""
        values = (column.tolist() for column in self.columns.values())
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]
