"""Rows of an index that passed their checksums, and what the seed of a correlation holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.core.errors import DataError, PipelineError
from pipeline.core.model import Float32
from pipeline.search.kernels.codes import Row, check_grid, decode_brain, decode_outside, encode_brain
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.notes import ROUGH_SEED
from pipeline.search.on_disk.snapshot import IndexSnapshot
from pipeline.search.sources import read_grid_file


class CheckedRows:
    """Rows of an open index, each verified once, and what a seed holds.

    Parameters
    ----------
    snapshot : IndexSnapshot
        The index.
    order : VoxelOrder
        Order of its voxels.
    """

    def __init__(self, snapshot: IndexSnapshot, order: VoxelOrder) -> None:
        self._snapshot = snapshot
        self._order = order
        self._intact: set[int] = set()  # places whose rows passed their checksums

    def at(self, place: int) -> Row:
        """Return the row of the experiment at a place of the table.

        Parameters
        ----------
        place : int
            Its place.

        Returns
        -------
        Row
            The row.

        Raises
        ------
        DataError
            Where it is damaged.
        """
        if place not in self._intact:
            self._snapshot.check_row(place)
            self._intact.add(place)
        return self._snapshot.row(place)

    def of_slot(self, slot: int) -> Row:
        """Return the row of a slot, as `at` does.

        Parameters
        ----------
        slot : int
            Slot of the experiment.

        Returns
        -------
        Row
            The row.
        """
        return self.at(int(np.searchsorted(self._snapshot.slots, slot)))

    def seed(
        self, seed: int | str | Path | Float32, everywhere: bool
    ) -> tuple[Float32, Float32, tuple[str, ...]]:
        """Return what a seed holds.

        Parameters
        ----------
        seed : int, str, Path or (P, I, R) float32
            An id of the index, a file or folder with a grid, or a grid.
        everywhere : bool
            Read the voxels outside the brain too.

        Returns
        -------
        (n,) float32, (m,) float32, tuple of str
            Brain voxels, those outside (empty where they are not wanted), and notes.

        Raises
        ------
        DataError
            Where the seed is not in the index or cannot be read.
        """
        if isinstance(seed, np.ndarray):
            return self._parts(check_grid(seed, self._order.shape), everywhere)
        at = self._place_of(seed)
        if at is None:
            noted: list[str] = []
            brain, beyond, notes = self._parts(self._read(Path(str(seed)), noted.append), everywhere)
            return brain, beyond, (*notes, *(f"seed {line}" for line in noted))
        row = self.at(at)
        if not everywhere:
            return decode_brain(row), np.empty(0, np.float32), ()
        own = self.own_outside(int(self._snapshot.slots[at]))
        if own is None:
            return decode_brain(row), decode_outside(row), (ROUGH_SEED,)
        return decode_brain(row), own, ()

    def _parts(self, grid: Float32, everywhere: bool) -> tuple[Float32, Float32, tuple[str, ...]]:
        brain, outside = self._order.split(grid)
        return brain, outside if everywhere else outside[:0], ()

    def _place_of(self, seed: int | str | Path) -> int | None:
        """Return the place of a seed in the table; None where it is a file."""
        if isinstance(seed, Path) or not str(seed).strip().isdigit():
            if not Path(str(seed)).exists():
                raise DataError(f"seed {seed}: expected an id of the index or a grid file, got no such file")
            return None
        at = np.flatnonzero(self._snapshot.table.columns["section_data_set_id"] == int(seed))
        if not len(at):
            raise DataError(
                f"seed {seed}: not among the {len(self._snapshot.table)} experiments of {self._snapshot.path}"
            )
        return int(at[0])

    def _read(self, path: Path, note: Callable[[str], None] = lambda line: None) -> Float32:
        try:
            return check_grid(
                read_grid_file(path, self._snapshot.subject.spacing_um, note), self._order.shape
            )
        except PipelineError as error:
            raise DataError(f"seed {path}: {str(error).removeprefix(f'{path}: ')}") from None

    def own_outside(self, slot: int) -> Float32 | None:
        """Return an experiment's voxels outside the brain from its own grid.

        A grid whose brain voxels differ from those of the index is not the grid that was indexed.

        Parameters
        ----------
        slot : int
            Slot of the experiment.

        Returns
        -------
        (m,) float32 or None
            The voxels; None where its grid is not available.
        """
        source = str(self._snapshot.table.columns["source"][np.searchsorted(self._snapshot.slots, slot)])
        try:
            grid = self._read(Path(source)) if source else None
        except PipelineError:
            return None
        if grid is None:
            return None
        brain, outside = self._order.split(grid)
        return outside if self.of_slot(slot).holds_brain(*encode_brain(brain)) else None
