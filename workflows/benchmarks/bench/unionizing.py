"""Structure sums: against a mask a structure, against a loop of `np.bincount`, and on a whole annotation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.timing import Row, duel, duel_of_minima, seconds
from pipeline.core.model import BOTH, MIDLINE_UM, SUM_FIELDS, Bool, ExpressionSums, Float32, UInt8, UInt32
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.inputs.references import open_reference
from pipeline.quantification.unionize import LabelIndex, unionize_columns, unionize_energy
from pipeline.search.sources import labels_reference
from pipeline.search.synthetic import GridMaker

CORES = os.cpu_count() or 1
GRIDS, DIFFERENT = 1000, 20
CALLS = 50  # of ours against one of theirs: a single call is as short as what disturbs it
FINEST_MS = 250.0


def rows(rounds: int) -> list[Row]:
    """Unionize one grid of the phantom, the same everywhere; the rest on the real reference where it is."""
    folder = reference_folder()
    phantom = open_reference(None, 100.0)
    space = labels_reference(folder, []) if folder else phantom
    labels, sides = space.grid_labels(), hemispheres(space.grid)
    index = LabelIndex.of(labels, space.ontology)
    maker = GridMaker.of(space)
    many = np.stack([maker.grid(number % DIFFERENT) for number in range(GRIDS)])
    found = [one_grid(phantom, ">= 45", rounds)] + ([one_grid(space, ">= 100", rounds)] if folder else [])
    found += [many_grids(many, labels, index, sides, threads, rounds) for threads in sorted({1, CORES})]
    return found + ([finest(folder, rounds)] if folder else [])


def reference_folder() -> Path | None:
    """Return the folder of the real reference; None where it is not known."""
    data = os.environ.get("ISH_DATA")
    return Path(data) / "reference" if data else None


def one_grid(space: ReferenceSpace, bound: str, rounds: int) -> Row:
    """Sum one grid over every structure, both hemispheres and each."""
    labels, sides, ontology = space.grid_labels(), hemispheres(space.grid), space.ontology
    index, grid = LabelIndex.of(labels, ontology), GridMaker.of(space).grid(0)
    covered = ~np.isnan(grid)
    energy = np.nan_to_num(grid).astype(np.float64)
    sums = ExpressionSums(np.where(covered, 1e4, 0), energy * 80, energy * 1e4, np.where(covered, 5e5, 0))
    inside = {s.id: np.array(list(ontology.descendants(s.id)), np.uint32) for s in ontology.structures}
    ours = unionize_columns(1, sums, covered, index, sides)
    theirs = masked(sums, covered, labels, inside)
    both = ours["hemisphere_id"] == BOTH
    off = max(
        abs(theirs[structure][at] / value - 1)
        for at, name in enumerate(SUM_FIELDS)
        for structure, value in zip(
            ours["structure_id"][both].tolist(), ours[name][both].tolist(), strict=True
        )
        if value
    )
    fast: Callable[[], object] = lambda: [  # noqa: E731
        unionize_columns(1, sums, covered, index, sides) for _ in range(CALLS)
    ]
    slow: Callable[[], object] = lambda: masked(sums, covered, labels, inside)  # noqa: E731
    a, b, ratio = duel_of_minima(fast, slow, rounds, time.thread_time)
    what, agreement = f"unionize a 200 um grid, {len(inside)} structures", f"within {off:.1e}"
    against = "a mask a structure, both hemispheres only"
    return Row("unionize", what, against, a * 1e3 / CALLS, b * 1e3, ratio * CALLS, bound, agreement)


def masked(
    sums: ExpressionSums, covered: Bool, labels: UInt32, inside: dict[int, UInt32]
) -> dict[int, list[float]]:
    """Return the four sums of every structure, each by a mask of its own.

    The masks are written into the same two arrays. With `np.isin` and a new array a mask it takes twice as
    long, or five times where the allocator returns every array to the system: that would time page faults.
    """
    arrays = [np.asarray(array).reshape(-1) for array in sums.arrays().values()]
    mask, one = np.empty(labels.shape, np.bool_), np.empty(labels.shape, np.bool_)
    found = {}
    for structure, ids in inside.items():
        mask.fill(False)
        for label in ids:
            np.logical_or(mask, np.equal(labels, label, out=one), out=mask)
        places = np.flatnonzero(np.logical_and(mask, covered, out=mask))
        found[structure] = [float(array[places].sum()) for array in arrays]
    return found


def many_grids(
    many: Float32, labels: UInt32, index: LabelIndex, sides: UInt8, threads: int, rounds: int
) -> Row:
    """Sum a thousand grids: count, sum and squares of every structure and hemisphere."""
    few = many[: GRIDS // 10]
    table = unionize_energy(few, index, sides)
    place = np.isin(index.structure_ids, table.structure_ids)
    counts, totals, _ = np.moveaxis(np.stack(binned(few, labels, sides, index))[:, place].sum(axis=2), -1, 0)
    with np.errstate(invalid="ignore"):
        off = np.nanmax(np.abs(table.mean[..., BOTH - 1] / (totals / counts) - 1))
    fast: Callable[[], object] = lambda: unionize_energy(many, index, sides, threads)  # noqa: E731
    slow: Callable[[], object] = lambda: binned(few, labels, sides, index)  # noqa: E731
    a, b, ratio = duel(fast, slow, rounds, time.process_time if threads == 1 else time.perf_counter)
    cores = "1 core" if threads == 1 else f"{threads} cores"
    what, bound = f"unionize {GRIDS} grids, {cores}", "" if threads == 1 else ">= 20"
    against, times = "a loop of np.bincount (time of a tenth, x 10)", GRIDS / len(few)
    return Row("unionize", what, against, a * 1e3, b * 1e3 * times, ratio * times, bound, f"within {off:.1e}")


def binned(grids: Float32, labels: UInt32, sides: UInt8, index: LabelIndex) -> list[npt.NDArray[np.float64]]:
    """Sum grids by bincounts of label and side, then up the tree."""
    _, inverse = np.unique(labels, return_inverse=True)
    keys = inverse.reshape(-1) * 2 + (np.broadcast_to(sides, labels.shape).reshape(-1) - 1)
    found = []
    weights = np.empty((3, labels.size))  # kept: new arrays for every grid would time page faults
    for grid in grids:
        there, values, squares = weights
        np.equal(grid.reshape(-1), grid.reshape(-1), out=there, casting="unsafe")
        values[:] = grid.reshape(-1)
        np.nan_to_num(values, copy=False)
        np.square(values, out=squares)
        direct = [np.bincount(keys, weights=w, minlength=2 * len(index.label_ids)) for w in weights]
        found.append(index.propagate(np.stack(direct, axis=1).reshape(-1, 2, 3)))
    return found


def finest(folder: Path, rounds: int) -> Row:
    """Sum the finest annotation of a reference, from labels and four arrays to the table."""
    space = open_reference(folder, None)
    labels = space.annotation
    sides = side_of(space)
    values = (labels % 97).astype(np.float32)
    covered = values > 3
    sums = ExpressionSums(values, values, values, values)

    def whole() -> None:
        unionize_columns(1, sums, covered, LabelIndex.of(labels, space.ontology), sides)

    whole()
    took = sorted(seconds(whole, time.thread_time) for _ in range(rounds))[rounds // 2] * 1e3
    what = f"unionize the {space.annotation_um:g} um annotation, labels indexed too"
    return Row("unionize", what, "what was asked", took, FINEST_MS, FINEST_MS / took, ">= 1")


def side_of(space: ReferenceSpace) -> UInt8:
    """Return the hemisphere of every plane of the annotation."""
    right = np.arange(space.annotation.shape[2]) * space.annotation_um >= MIDLINE_UM
    return np.where(right, 2, 1).astype(np.uint8)
