"""Voxel sets and structure sums: computed once over all experiments, so that a search is fast.

A voxel set holds the brain voxels that at least 80 % of its experiments cover. Within it, sums of every
experiment over every structure of the tree answer a differential search without reading a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, Float64, Int64, UInt8, ratio
from pipeline.search.kernels.codes import MISSING, UInt16, decode
from pipeline.search.kernels.order import VoxelOrder, block_runs

COVERED_PERCENT = 80  # of the experiments must have data in a voxel of a set


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that lie together in memory: slots first_slot, first_slot + 1 … of an index.

    Attributes
    ----------
    first_slot : int
        Slot of the first row.
    codes : (rows, padded) uint16
        Upper 16 bits of the brain voxels.
    fine : (rows, padded * 3 / 2) uint8
        Lower 12 bits of the brain voxels.
    outside : (rows, outside) uint8
        Steps of the square root outside the brain.
    """

    first_slot: int
    codes: UInt16
    fine: UInt8
    outside: UInt8

    def rows(self, slots: Int64) -> tuple[Int64, slice]:
        """Return which rows of this block are among some slots.

        Parameters
        ----------
        slots : (n,) int64
            Slots of the index, ascending.

        Returns
        -------
        rows : (m,) int64
            Rows of this block.
        where : slice
            Where these stand in `slots`.
        """
        low, high = np.searchsorted(slots, [self.first_slot, self.first_slot + len(self.codes)])
        return slots[low:high] - self.first_slot, slice(int(low), int(high))


@dataclass(frozen=True, eq=False)
class Scales:
    """Factors that turn codes into energies, one value per experiment (see `codes.Row`).

    Attributes
    ----------
    exponent : (n,) int64
        Exponent of the brain voxels.
    outside_scale : (n,) float64
        Energy of one step outside the brain.
    outside_error : (n,) float64
        Norm of the rounding errors outside the brain, in units of energy.
    """

    exponent: Int64
    outside_scale: Float64
    outside_error: Float64

    def take(self, chosen: slice | Int64) -> Scales:
        """Return the scales of some experiments.

        Parameters
        ----------
        chosen : slice or (m,) int64
            Which experiments.

        Returns
        -------
        Scales
            Their scales.
        """
        return Scales(self.exponent[chosen], self.outside_scale[chosen], self.outside_error[chosen])


@dataclass(frozen=True, eq=False)
class SetSums:
    """Sums over the voxels of a set, for each structure and experiment.

    Attributes
    ----------
    slots : (experiments,) int64
        Slots of the experiments, ascending.
    member : (padded,) bool
        The voxels of the set, in storage order.
    total : (structures, experiments) float32
        Sum of energy over voxels with data.
    squares : (structures, experiments) float32
        Sum of squared energy, or None where it is not kept.
    count : (structures, experiments) uint16 or uint32
        Number of voxels with data.
    """

    slots: Int64
    member: Bool
    total: Float32
    squares: Float32 | None
    count: npt.NDArray[np.unsignedinteger]

    def over(self, positions: Int64) -> Float64:
        """Return the sums over disjoint structures.

        Parameters
        ----------
        positions : (m,) int64
            Positions of structures in `VoxelOrder.structure_ids`.

        Returns
        -------
        (2 or 3, experiments) float64
            Number of voxels, sum of energy and, where kept, sum of squared energy.
        """
        kept = (self.count, self.total) if self.squares is None else (self.count, self.total, self.squares)
        return np.stack([array[positions].sum(axis=0, dtype=np.float64) for array in kept])

    def means(self, positions: Int64) -> Float64:
        """Return the mean energy of structures in every experiment.

        Parameters
        ----------
        positions : (m,) int64
            Positions of structures in `VoxelOrder.structure_ids`.

        Returns
        -------
        (m, experiments) float64
            NaN where an experiment has no voxel of the structure.
        """
        return ratio(self.total[positions], self.count[positions])


def count_covered(blocks: Sequence[Block], slots: Int64, length: int) -> Int64:
    """Count the experiments with data at each brain voxel.

    Parameters
    ----------
    blocks : sequence of Block
        Rows of the index.
    slots : (experiments,) int64
        Slots of the experiments that count, ascending.
    length : int
        Length of a row, padded.

    Returns
    -------
    (length,) int64
        Number of experiments.
    """
    counts = np.zeros(length, np.int32)
    for block in blocks:
        rows, _ = block.rows(slots)
        _count(block.codes, rows, counts)
    return counts.astype(np.int64)


def covered_set(counts: Int64, experiments: int) -> Bool:
    """Return the voxels that at least 80 % of the experiments cover.

    Parameters
    ----------
    counts : (padded,) int64
        Number of experiments with data at each voxel.
    experiments : int
        Number of all experiments.

    Returns
    -------
    (padded,) bool
        The voxels of the set; none where there is no experiment.
    """
    # In whole numbers: exactly 80 % is in.
    return (counts > 0) & (100 * counts >= COVERED_PERCENT * experiments)


def empty_sums(order: VoxelOrder, slots: Int64, member: Bool, *, squares: bool = True) -> SetSums:
    """Return sums of the right shape, to be filled by `fill_sums`.

    Parameters
    ----------
    order : VoxelOrder
        Storage order of the voxels.
    slots : (experiments,) int64
        Slots of the experiments, ascending.
    member : (padded,) bool
        The voxels of the set.
    squares : bool
        Whether to keep sums of squares.

    Returns
    -------
    SetSums
        Zeros.
    """
    shape = (len(order.structure_ids), len(slots))
    # A count never exceeds the number of brain voxels, so that 16 bits do for up to 65 535 of them.
    small = np.uint16 if len(order.brain) <= np.iinfo(np.uint16).max else np.uint32
    total, count = np.zeros(shape, np.float32), np.zeros(shape, small)
    return SetSums(slots, member, total, np.zeros(shape, np.float32) if squares else None, count)


def fill_sums(sums: SetSums, block: Block, exponents: Int64, order: VoxelOrder) -> None:
    """Sum the experiments of one block over every structure, in place.

    Parameters
    ----------
    sums : SetSums
        Receives the sums of the block's experiments.
    block : Block
        Rows of the index.
    exponents : (experiments,) int64
        Exponents of all experiments of `sums`.
    order : VoxelOrder
        Storage order of the voxels.
    """
    rows, columns = block.rows(sums.slots)
    if not len(rows):
        return
    shape = (len(rows), len(order.structure_ids), 3)
    found = np.zeros(shape)
    runs, bases = block_runs(sums.member), (exponents[columns] << 22).astype(np.uint32)
    segments = _segments(order, runs)
    _sum_rows(block.codes, block.fine, rows, bases, sums.member, runs, segments, order.parents, found)
    sums.count[:, columns] = found[:, :, 0].T
    sums.total[:, columns] = found[:, :, 1].T
    if sums.squares is not None:
        sums.squares[:, columns] = found[:, :, 2].T


def _segments(order: VoxelOrder, runs: Int64) -> Int64:
    """Return (segments, 3) int64: structure, start and stop of its own voxels within the runs."""
    own = [
        (structure, int(start), int(stop))
        for side in order.bounds
        for structure, (start, stop) in enumerate(pairwise(side))
        if stop > start
    ]
    cut = [
        (structure, max(start, low), min(stop, high))
        for structure, start, stop in own
        for low, high in runs.tolist()
        if start < high and stop > low
    ]
    return np.array(cut, np.int64).reshape(-1, 3)


@kernel
def _count(codes, rows, counts):  # type: ignore[no-untyped-def]
    """Add 1 to the count of every voxel with data, for each row."""
    for row in rows:
        line = codes[row]
        for v in range(line.size):
            counts[v] += line[v] != MISSING


@kernel
def _sum_rows(  # type: ignore[no-untyped-def]
    codes, fine, rows, bases, member, runs, segments, parents, out
):
    """Write count, sum and sum of squares of every row over every structure, descendants included."""
    values = np.empty(codes.shape[1], np.float32)
    for i in range(rows.size):
        row = rows[i]
        for run in range(runs.shape[0]):
            start, stop = runs[run]
            decode(codes[row], fine[row], bases[i], start, stop, values[start:stop])
        for s in range(segments.shape[0]):
            structure, start, stop = segments[s]
            _add(values[start:stop], member[start:stop], out[i, structure])
        # Children come after parents: backwards, a structure is complete before it is added to its parent.
        for structure in range(parents.size - 1, 0, -1):
            out[i, parents[structure]] += out[i, structure]


@kernel(reorder=True)
def _add(values, member, out):  # type: ignore[no-untyped-def]
    """Add count, sum and sum of squares of a segment to `out`, over voxels of the set with data."""
    count = total = squares = 0.0
    for v in range(values.size):
        value = np.float64(values[v])
        there = member[v] and value == value
        value = value if there else np.float64(0)
        count += 1.0 if there else 0.0
        total += value
        squares += value * value
    out[0] += count
    out[1] += total
    out[2] += squares
