"""Expression per brain structure: sums by label, then every ancestor, then ratios.

A structure is its own voxels and all that is inside it; many labels are themselves parents. Voxels without
data count in no denominator. A structure's density is that of its pixels, not the mean over its voxels.
Labels come in runs along the fastest axis in memory; one pass over the runs sums a grid.

Source: Allen's StructureUnionize model (Lein et al. 2007; Ng et al. 2009) and the identities of its rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import (
    BOTH,
    LEFT,
    RIGHT,
    SUM_FIELDS,
    Bool,
    ExpressionSums,
    Float32,
    Float64,
    Int64,
    StructureUnionize,
    UInt8,
    UInt32,
    ratio,
)
from pipeline.core.ontology import Ontology

HEMISPHERES = (LEFT, RIGHT, BOTH)
_ENERGY, _ENERGY_SQUARED, _COVERED, _VOXELS = range(len(SUM_FIELDS), len(SUM_FIELDS) + 4)
_QUANTITIES = len(SUM_FIELDS) + 4
_SMALLEST_TABLE = 1 << 12  # slots of the hash table of labels
_LANES = 8  # count, sum and squares of the left, a spare, the same of the right: one vector register


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """Which structures every label counts for, ready for any number of grids over the same labels.

    Attributes
    ----------
    shape : (P, I, R)
        Shape of the label grid.
    axes : tuple of three int
        The axes from the slowest to the fastest in memory.
    label_ids : (labels,) uint32
        The distinct labels, ascending.
    runs : (runs, 3) int32
        Start and stop in memory order, position in `label_ids`; label 0 has no run.
    structure_ids : tuple of int
        All structures, in graph order.
    own : (labels,) int64
        Position in `structure_ids` that a label counts for; -1 for label 0.
    climb : (pairs, 2) int64
        Positions of structures that hold voxels and of their parents, children first.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    label_ids: UInt32
    runs: npt.NDArray[np.int32]
    structure_ids: tuple[int, ...]
    own: Int64
    climb: Int64

    @classmethod
    def of(cls, labels: UInt32, ontology: Ontology) -> LabelIndex:
        """Index a label grid.

        Parameters
        ----------
        labels : (P, I, R) uint32
            Structure ids; those that the ontology lacks count for its root, 0 counts for nothing.
        ontology : Ontology
            The structures and their hierarchy.

        Returns
        -------
        LabelIndex
            Runs of labels and their structures.
        """
        axes = tuple(int(axis) for axis in np.argsort([-abs(s) for s in labels.strides], kind="stable"))
        flat = labels.transpose(axes).reshape(-1)
        label_ids, runs = _runs(flat, labels.shape[axes[-1]])
        ordered = sorted(ontology.structures, key=lambda s: s.graph_order)
        position = {s.id: i for i, s in enumerate(ordered)}
        root = position[ontology.roots[0].id]
        own = [-1 if label == 0 else position.get(label, root) for label in label_ids.tolist()]
        held = {a for at in own if at >= 0 for a in ontology.path(ordered[at].id)}
        deepest_first = sorted(held, key=lambda s: -len(ontology.path(s)))
        above = [(s, ontology.by_id[s].parent_id) for s in deepest_first]
        climb = [(position[s], position[parent]) for s, parent in above if parent is not None]
        pairs = np.array(climb, np.int64).reshape(-1, 2)
        return cls(labels.shape, axes, label_ids, runs, tuple(position), np.array(own, np.int64), pairs)

    def flat(self, grid: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a grid in the memory order of the labels.

        Parameters
        ----------
        grid : (P, I, R) ndarray
            A grid of the same shape.

        Returns
        -------
        (voxels,) ndarray
            Its values; a view where its own memory order allows.

        Raises
        ------
        DataError
            For a grid of another shape.
        """
        if grid.shape != self.shape:
            raise DataError(
                f"unionize: the grid has {grid.size} voxels {grid.shape}, the labels"
                f" {int(np.prod(self.shape))} {self.shape}; take labels of the grid's own resolution"
            )
        return grid.transpose(self.axes).reshape(-1)

    def sides(self, hemisphere: UInt8) -> tuple[Int64, int]:
        """Return the side of every plane of R, and the distance in memory between neighbours along R.

        Parameters
        ----------
        hemisphere : (R,) uint8
            1 left, 2 right.

        Returns
        -------
        side : (R,) int64
            0 left, 1 right.
        step : int, voxels
            Distance in memory.

        Raises
        ------
        DataError
            For another number of planes or another hemisphere.
        """
        side = np.asarray(hemisphere, np.int64) - LEFT
        if side.shape != self.shape[-1:] or side.min() < 0 or side.max() > 1:
            raise DataError(
                f"unionize: expected hemisphere {LEFT} or {RIGHT} for each of {self.shape[-1]} planes of R,"
                f" got {np.unique(hemisphere).tolist()} for {len(hemisphere)}"
            )
        behind = self.axes[self.axes.index(2) + 1 :]
        return side, int(np.prod([self.shape[axis] for axis in behind], dtype=np.int64))

    def propagate(self, direct: Float64) -> Float64:
        """Add each label's sums to its structure and every ancestor.

        Parameters
        ----------
        direct : (labels, ...) float64
            Sums by label.

        Returns
        -------
        (structures, ...) float64
            Sums by structure, in graph order.
        """
        totals = np.zeros((len(self.structure_ids), *direct.shape[1:]))
        rows = totals.reshape(len(totals), -1)
        held = np.flatnonzero(self.own >= 0)
        _add_rows(np.stack([held, self.own[held]], axis=1), direct.reshape(len(direct), -1), rows)
        _add_rows(self.climb, rows, rows)
        return totals


def unionize(
    section_data_set_id: int, sums: ExpressionSums, covered: Bool, index: LabelIndex, hemisphere: UInt8
) -> list[StructureUnionize]:
    """Sum a grid over the structure hierarchy, per hemisphere and for both.

    Parameters
    ----------
    section_data_set_id : int
        Number of the series, for the rows.
    sums : ExpressionSums of (P, I, R)
        Sums of every voxel.
    covered : (P, I, R) bool
        Where voxels have data.
    index : LabelIndex
        Labels of the same grid.
    hemisphere : (R,) uint8
        1 left, 2 right, along R.

    Returns
    -------
    list of StructureUnionize
        In graph order, hemispheres 1, 2, 3 within a structure; structures without a pixel are left out.
    """
    columns = unionize_columns(section_data_set_id, sums, covered, index, hemisphere)
    return [StructureUnionize(*row) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]


def unionize_columns(
    section_data_set_id: int, sums: ExpressionSums, covered: Bool, index: LabelIndex, hemisphere: UInt8
) -> dict[str, npt.NDArray[Any]]:
    """Return the rows of `unionize` as columns, for tables and many grids.

    Parameters
    ----------
    section_data_set_id : int
        Number of the series, for the rows.
    sums : ExpressionSums of (P, I, R)
        Sums of every voxel.
    covered : (P, I, R) bool
        Where voxels have data.
    index : LabelIndex
        Labels of the same grid.
    hemisphere : (R,) uint8
        1 left, 2 right, along R.

    Returns
    -------
    dict of str to (rows,) ndarray
        One array for each field of StructureUnionize, in its order.

    Raises
    ------
    DataError
        Where shapes differ, or `hemisphere` holds another number.
    """
    inside = index.flat(covered)
    arrays = [index.flat(np.asarray(array)) for array in sums.arrays().values()]
    side, step = index.sides(hemisphere)
    direct = np.zeros((len(index.label_ids), 2, _QUANTITIES))
    _accumulate(index.runs, side, _turns(side), step, inside, *arrays, direct)
    left_right = index.propagate(direct)
    totals = np.concatenate([left_right, left_right.sum(axis=1, keepdims=True)], axis=1)
    structure, column = np.nonzero(totals[:, :, 0] > 0)
    return {
        "section_data_set_id": np.full(len(structure), section_data_set_id, np.int64),
        "structure_id": np.array(index.structure_ids, np.int64)[structure],
        "hemisphere_id": np.array(HEMISPHERES, np.int64)[column],
        **_fields(totals[structure, column]),
    }


def _fields(totals: Float64) -> dict[str, npt.NDArray[Any]]:
    """Return Allen's fields of (rows, quantities), in the order of StructureUnionize."""
    sums = ExpressionSums(*(totals[:, q] for q in range(len(SUM_FIELDS))))
    mean, cv = _mean_and_cv(totals[:, _COVERED], totals[:, _ENERGY], totals[:, _ENERGY_SQUARED])
    return {
        "sum_pixels": sums.sum_pixels,
        "sum_expressing_pixels": sums.sum_expressing_pixels,
        "sum_pixel_intensity": sums.sum_pixel_intensity,
        "sum_expressing_pixel_intensity": sums.sum_expressing_pixel_intensity,
        "expression_density": sums.density,
        "expression_intensity": sums.intensity,
        "expression_energy": sums.energy,
        "voxel_energy_mean": mean,
        "voxel_energy_cv": cv,
        "coverage": totals[:, _COVERED] / totals[:, _VOXELS],
    }


def _mean_and_cv(count: Float64, total: Float64, squares: Float64) -> tuple[Float64, Float64]:
    mean = ratio(total, count)
    variance = ratio(squares, count) - mean**2
    return mean, ratio(np.sqrt(np.maximum(variance, 0.0)), mean)


@dataclass(frozen=True, eq=False)
class EnergyTable:
    """Voxel energy of many grids over the structure hierarchy; hemispheres 1, 2, 3 along the last axis.

    Attributes
    ----------
    structure_ids : (structures,) int64
        Structures that have a voxel, in graph order.
    voxels : (structures, 2) float64
        Number of voxels, left and right.
    lanes : (grids, structures, 8) float64
        Count, sum and sum of squares over voxels with data: left in lanes 0-2, right in 4-6.
    """

    structure_ids: Int64
    voxels: Float64
    lanes: Float64

    @property
    def count(self) -> Float64:
        """Voxels with data, (grids, structures, 3)."""
        return _both(self.lanes[..., 0:5:4])

    @property
    def mean(self) -> Float64:
        """Mean over voxels with data, (grids, structures, 3); NaN where there is none."""
        return ratio(_both(self.lanes[..., 1:6:4]), self.count)

    @property
    def cv(self) -> Float64:
        """Standard deviation over mean, (grids, structures, 3); NaN where the mean is not positive."""
        squares = _both(self.lanes[..., 2:7:4])
        return _mean_and_cv(self.count, _both(self.lanes[..., 1:6:4]), squares)[1]

    @property
    def coverage(self) -> Float64:
        """Share of the structure's voxels with data, (grids, structures, 3); NaN where it has no voxel."""
        return ratio(self.count, _both(self.voxels))


def unionize_energy(grids: Float32, index: LabelIndex, hemisphere: UInt8, threads: int = 1) -> EnergyTable:
    """Sum many energy grids over the structure hierarchy.

    Parameters
    ----------
    grids : (grids, P, I, R) float32
        Energy; NaN = no data.
    index, hemisphere : LabelIndex, (R,) uint8
        As `unionize` takes them.
    threads : int
        Threads that share the grids; the numbers do not depend on it.

    Returns
    -------
    EnergyTable
        Mean, coefficient of variation and coverage of every grid.
    """
    order, stretches = _sorted_voxels(index, hemisphere)
    voxels = np.zeros((len(index.structure_ids), 2))
    np.add.at(voxels, (stretches[:, 2], stretches[:, 3]), stretches[:, 1] - stretches[:, 0])
    _add_rows(index.climb, voxels, voxels)
    present = np.flatnonzero(voxels.sum(axis=1))
    place = np.full(len(voxels), -1)
    place[present] = np.arange(len(present))
    stretches[:, 2], climb = place[stretches[:, 2]], place[index.climb]
    lanes = np.empty((len(grids), len(present), _LANES))

    def some(share: slice) -> None:
        near = np.empty(int(np.prod(index.shape)), np.float32)  # one grid and its sums, close to the core
        values, totals = np.empty(len(order), np.float32), np.empty(lanes.shape[1:])
        for grid, row in zip(grids[share], lanes[share], strict=True):
            near[:], totals[:] = index.flat(grid), 0.0
            _sum_sorted(near, order, stretches, values, totals)
            _add_rows(climb, totals, totals)
            row[:] = totals

    edges = np.linspace(0, len(grids), threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, (slice(start, stop) for start, stop in pairwise(edges))))
    return EnergyTable(np.array(index.structure_ids, np.int64)[present], voxels[present], lanes)


def _both(left_right: Float64) -> Float64:
    """Append the sum of both hemispheres along the last axis."""
    return np.concatenate([left_right, left_right.sum(axis=-1, keepdims=True)], axis=-1)


def _sorted_voxels(index: LabelIndex, hemisphere: UInt8) -> tuple[npt.NDArray[np.int32], Int64]:
    """Return the labelled voxels sorted by label and side, neighbours near one another.

    Returns (labelled,) int32 places in memory order, and (stretches, 4) int64: start and stop among them,
    position in `structure_ids`, side.
    """
    starts, stops, labels = index.runs.T.astype(np.int64)
    lengths = stops - starts
    voxels = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    side, step = index.sides(hemisphere)
    key = np.repeat(labels, lengths) * 2 + side[(voxels // step) % len(side)]
    count = np.bincount(key, minlength=2 * len(index.label_ids))
    keys = np.flatnonzero(count)
    keys = keys[
        np.argsort((np.bincount(key, voxels, len(count)) / np.maximum(count, 1))[keys], kind="stable")
    ]
    rank = np.zeros(len(count), np.min_scalar_type(len(keys)))  # few bits sort fast
    rank[keys] = np.arange(len(keys))
    ends = np.cumsum(count[keys])
    stretches = np.stack([ends - count[keys], ends, index.own[keys // 2], keys % 2], axis=1)
    return voxels[np.argsort(rank[key], kind="stable")].astype(np.int32), stretches


def _turns(side: Int64) -> Int64:
    """Return, along R, where the side next changes."""
    turns = np.full(side.size, side.size)
    for at in range(side.size - 2, -1, -1):
        turns[at] = turns[at + 1] if side[at] == side[at + 1] else at + 1
    return turns


@kernel(reorder=True)
def _accumulate(  # type: ignore[no-untyped-def]
    runs, side, turns, step, covered, pixels, expressing, bright, intensity, out
):
    """Add each run's quantities to `out` (labels, 2, quantities); `step` is the distance along R."""
    for run in range(runs.shape[0]):
        start, stop, label = runs[run]
        while start < stop:
            r = (start // step) % side.size
            end = min(stop, start + turns[r] - r) if step == 1 else stop
            a = b = c = d = e = ee = n = 0.0
            for v in range(start, end):
                at = np.uint64(v)
                there = covered[at]
                p = np.float64(pixels[at]) if there else 0.0
                x = np.float64(bright[at]) if there else 0.0
                filled = p > 0.0
                energy = x / p if filled else 0.0
                a += p
                b += np.float64(expressing[at]) if there else 0.0
                c += x
                d += np.float64(intensity[at]) if there else 0.0
                e += energy
                ee += energy * energy
                n += 1.0 if filled else 0.0
            cell = out[label, side[r]]
            cell[0] += a
            cell[1] += b
            cell[2] += c
            cell[3] += d
            cell[4] += e
            cell[5] += ee
            cell[6] += n
            cell[7] += end - start
            start = end


@kernel
def _sum_sorted(near, order, stretches, values, totals):  # type: ignore[no-untyped-def]
    """Add count, sum and sum of squares of every label to its structure: left in lanes 0-2, right in 4-6."""
    for v in range(order.size):
        values[v] = near[np.uint32(order[v])]
    for stretch in range(stretches.shape[0]):
        start, stop, structure, side = stretches[stretch]
        n, total, squares = _moments(values[start:stop])
        totals[structure, 4 * side] += n
        totals[structure, 4 * side + 1] += total
        totals[structure, 4 * side + 2] += squares


@kernel(reorder=True)
def _moments(values):  # type: ignore[no-untyped-def]
    n = total = squares = 0.0
    for v in range(values.size):
        value = np.float64(values[v])
        there = value == value
        value = value if there else np.float64(0)
        n += 1.0 if there else 0.0
        total += value
        squares += value * value
    return n, total, squares


@kernel
def _add_rows(pairs, rows, totals):  # type: ignore[no-untyped-def]
    """Add rows to totals, from one place to another, in the order of the pairs."""
    for pair in range(pairs.shape[0]):
        source, target = rows[pairs[pair, 0]], totals[pairs[pair, 1]]
        for k in range(source.size):
            target[k] += source[k]


def _runs(flat: UInt32, row: int) -> tuple[UInt32, npt.NDArray[np.int32]]:
    """Return the distinct labels, and the runs of labels other than 0, cut at the ends of rows."""
    flat = np.ascontiguousarray(flat, np.uint32)
    runs = np.empty((_changes(flat) + flat.size // row, 3), np.int32)
    size, distinct = _SMALLEST_TABLE, -1
    while distinct < 0:
        keys, seen = np.zeros(size, np.uint32), np.full(size, -1, np.int32)
        count, distinct = _scan(flat, row, keys, seen, runs)
        size *= 4
    runs = runs[:count]
    found, at = keys[seen >= 0], seen[seen >= 0]
    order = np.argsort(found)
    labelled = int((runs[:, 1] - runs[:, 0]).sum(dtype=np.int64))
    outside = [0] if labelled < flat.size else []
    rank = np.empty(distinct, np.int32)
    rank[at[order]] = np.arange(distinct) + len(outside)
    runs[:, 2] = rank[runs[:, 2]]
    return np.concatenate([np.array(outside, np.uint32), found[order]]), runs


@kernel
def _changes(flat):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(flat.size - 1):
        count += flat[i] != flat[i + 1]
    return count


@kernel
def _scan(flat, row, keys, seen, runs):  # type: ignore[no-untyped-def]
    """Write runs, number labels by a hash table; return (runs, distinct), or (0, -1) if it is too small."""
    mask = np.uint64(keys.size - 1)
    distinct, count = 0, 0
    for begin in range(0, flat.size, row):
        line = flat[begin : begin + row]
        start = 0
        while start < row:
            label = line[start]
            stop = start + 1
            while stop < row and line[stop] == label:
                stop += 1
            if label != 0:
                slot = (label * np.uint64(0x9E3779B1) >> np.uint64(8)) & mask  # 2^32 / golden ratio (Knuth)
                while seen[slot] >= 0 and keys[slot] != label:  # linear probing
                    slot = (slot + np.uint64(1)) & mask
                if seen[slot] < 0:
                    if 2 * distinct >= keys.size:
                        return 0, -1
                    keys[slot], seen[slot] = label, distinct
                    distinct += 1
                runs[count, 0], runs[count, 1], runs[count, 2] = begin + start, begin + stop, seen[slot]
                count += 1
            start = stop
    return count, distinct
