"""Voxel sets and structure sums: what is computed once over all experiments, so that a search is short.

A voxel set holds the brain voxels that at least 80 % of its experiments cover. The sums of every
experiment over every structure of the tree, within the set, answer a differential search without
touching a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.core.model import Bool, Float32, Float64, Int64, UInt8
from pipeline.search.kernels.codes import MISSING, UInt16, decode
from pipeline.search.kernels.order import VoxelOrder, block_runs

COVERED_PERCENT = 80
_REORDER = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that lie together in memory: slots first_slot, first_slot + 1 … of an index.

    Parameters
    ----------
    codes : (rows, padded) uint16
    fine : (rows, padded * 3 / 2) uint8
    outside : (rows, outside) uint8
    """

    first_slot: int
    codes: UInt16
    fine: UInt8
    outside: UInt8

    def rows(self, slots: Int64) -> tuple[Int64, slice]:
        """Return which rows of this block are among ascending `slots`, and where these stand in them."""
        low, high = np.searchsorted(slots, [self.first_slot, self.first_slot + len(self.codes)])
        return slots[low:high] - self.first_slot, slice(int(low), int(high))


@dataclass(frozen=True, eq=False)
class Scales:
    """What turns codes into energies, one value an experiment (see `codes.Row`)."""

    exponent: Int64
    outside_scale: Float64
    outside_error: Float64

    def take(self, chosen: slice | Int64) -> Scales:
        """Return the scales of some experiments."""
        return Scales(self.exponent[chosen], self.outside_scale[chosen], self.outside_error[chosen])


@dataclass(frozen=True, eq=False)
class SetSums:
    """What is known of a voxel set's experiments, structure by structure.

    Parameters
    ----------
    slots : (experiments,) int64               ascending
    member : (padded,) bool                    the voxels of the set, in kept order
    total : (structures, experiments) float32  sum of energy over valid voxels
    squares : (structures, experiments) float32 sum of its square, or None where it is not kept
    count : (structures, experiments) uint     valid voxels
    """

    slots: Int64
    member: Bool
    total: Float32
    squares: Float32 | None
    count: npt.NDArray[np.unsignedinteger]

    def over(self, positions: Int64) -> Float64:
        """Return count, sum and, where kept, squares over disjoint structures, (2 or 3, experiments)."""
        kept = (self.count, self.total) if self.squares is None else (self.count, self.total, self.squares)
        return np.stack([array[positions].sum(axis=0, dtype=np.float64) for array in kept])


def count_covered(blocks: Sequence[Block], slots: Int64, length: int) -> Int64:
    """Return how many of the experiments have data at each brain voxel, (padded,) int64."""
    counts = np.zeros(length, np.int32)
    for block in blocks:
        rows, _ = block.rows(slots)
        _count(block.codes, rows, counts)
    return counts.astype(np.int64)


def covered_set(counts: Int64, experiments: int) -> Bool:
    """Return the voxels that at least 80 % of the experiments cover; none where there is no experiment."""
    return (counts > 0) & (100 * counts >= COVERED_PERCENT * experiments)


def empty_sums(order: VoxelOrder, slots: Int64, member: Bool, *, squares: bool = True) -> SetSums:
    """Return sums of the right shape, to be filled by `fill_sums`; `squares` says whether to keep those."""
    shape = (len(order.structure_ids), len(slots))
    small = np.uint16 if len(order.brain) <= np.iinfo(np.uint16).max else np.uint32
    total, count = np.zeros(shape, np.float32), np.zeros(shape, small)
    return SetSums(slots, member, total, np.zeros(shape, np.float32) if squares else None, count)


def fill_sums(sums: SetSums, block: Block, exponents: Int64, order: VoxelOrder) -> None:
    """Sum the experiments of one block over every structure.

    Parameters
    ----------
    exponents : (experiments,) int64   of the rows of `sums`
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
    """Return (segments, 3) int64: the structure, start and stop of own voxels within blocks that are read."""
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


@njit(cache=True, nogil=True)
def _count(codes, rows, counts):  # type: ignore[no-untyped-def]
    for row in rows:
        line = codes[row]
        for v in range(line.size):
            counts[v] += line[v] != MISSING


@njit(cache=True, nogil=True)
def _sum_rows(  # type: ignore[no-untyped-def]
    codes, fine, rows, bases, member, runs, segments, parents, out
):
    values = np.empty(codes.shape[1], np.float32)
    for i in range(rows.size):
        row = rows[i]
        for run in range(runs.shape[0]):
            start, stop = runs[run]
            decode(codes[row], fine[row], bases[i], start, stop, values[start:stop])
        for s in range(segments.shape[0]):
            structure, start, stop = segments[s]
            _add(values[start:stop], member[start:stop], out[i, structure])
        for structure in range(parents.size - 1, 0, -1):
            out[i, parents[structure]] += out[i, structure]


@njit(cache=True, nogil=True, fastmath=_REORDER)
def _add(values, member, out):  # type: ignore[no-untyped-def]
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
