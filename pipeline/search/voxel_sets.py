"""The sums of each voxel set of an index: as stored, or computed again where that is missing or damaged."""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import Int64
from pipeline.search.build import VOXEL_SETS, sum_set
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.kernels.sums import Scales, SetSums
from pipeline.search.on_disk.snapshot import IndexSnapshot


class VoxelSets:
    """Voxel sets of an open index, by the names of `VOXEL_SETS`.

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
        stored = {name: snapshot.stored_sums(name) for name in VOXEL_SETS}
        self._stored = {name: found for name, found in stored.items() if found is not None}
        self._sums = {name: found.sums for name, found in self._stored.items()}
        self._at: dict[str, Int64] = {}  # places of a voxel set's experiments in the table

    def sums(self, voxels: str) -> SetSums:
        """Return the sums of a voxel set, computed where they are not stored.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        SetSums
            Its sums.

        Raises
        ------
        ConfigError
            Where there is no such set.
        MissingResultError
            Where the set has no experiment.
        """
        if voxels not in VOXEL_SETS:
            raise ConfigError(f"voxels {voxels!r}: expected one of {', '.join(VOXEL_SETS)}")
        if voxels not in self._sums:
            self._sums[voxels] = self._computed(voxels)
        found = self._sums[voxels]
        if not len(found.slots):
            kind = "coronal experiment" if voxels == "coronal" else "experiment"
            raise MissingResultError(f"{self._snapshot.path}: holds no {kind} yet; add some with `ish index`")
        return found

    def checked(self, voxels: str, positions: Int64) -> SetSums:
        """Return the sums of a voxel set, computed again from the rows where they are damaged at `positions`.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.
        positions : (n,) int64
            Positions of structures in the order of voxels.

        Returns
        -------
        SetSums
            Sums that hold at these positions.
        """
        if voxels in self._stored:
            try:
                self._stored[voxels].check(positions.tolist())
            except DataError:
                del self._stored[voxels]
                self._sums[voxels] = self._computed(voxels)
        return self._sums[voxels]

    def places(self, voxels: str) -> Int64:
        """Return the places of a voxel set's experiments in the table.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        (n,) int64
            Their rows.
        """
        if voxels not in self._at:
            self._at[voxels] = np.searchsorted(self._snapshot.slots, self.sums(voxels).slots)
        return self._at[voxels]

    def scales(self, voxels: str) -> Scales:
        """Return the scales of a voxel set's experiments.

        Parameters
        ----------
        voxels : str
            One of `VOXEL_SETS`.

        Returns
        -------
        Scales
            One an experiment.
        """
        return self._snapshot.scales.take(self.places(voxels))

    def _computed(self, voxels: str) -> SetSums:
        return sum_set(voxels, self._order, self._snapshot.table, self._snapshot.blocks)
