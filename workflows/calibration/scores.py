"""Errors of a structure table against exact truth, by class of size: what section energy is judged by."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.model import BOTH, Float64

CLASSES = ((1, 4), (5, 12), (13, 40), (41, 150), (151, 1000), (1001, 10**9))  # voxels of the 200 um grid
LEAST_LEVEL = 0.15  # of the brain's energy: structures below express next to nothing
LEAST_COVERAGE = 0.5
FLOOR_SHARE, FLOOR = 0.02, 0.01  # e0 = share x energy of the brain + grey levels

Row = Mapping[str, float]


def read_truth(path: Path) -> dict[tuple[int, int], Row]:
    """Read `exact_truth.csv` by structure and hemisphere."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    return {(int(row["structure_id"]), int(row["hemisphere_id"])): row for row in rows}


def log_errors(
    table: Mapping[str, Sequence[Any]], truth: Mapping[tuple[int, int], Row], column: str, root: int
) -> list[Float64]:
    """Return ln((E + e0) / (T + e0)) of the rows that count, one array for each class of size."""
    brain = truth[root, BOTH]["energy"]
    e0 = FLOOR_SHARE * brain + FLOOR
    errors: list[list[float]] = [[] for _ in CLASSES]
    columns = (table[name] for name in ("structure_id", "hemisphere_id", column, "coverage"))
    for structure, side, found, coverage in zip(*columns, strict=True):
        true = truth.get((structure, side))
        if true is None or true["energy"] < LEAST_LEVEL * brain or coverage < LEAST_COVERAGE:
            continue
        for errors_of_class, (least, most) in zip(errors, CLASSES, strict=True):
            if least <= true["grid_voxels"] <= most and found is not None and np.isfinite(found):
                errors_of_class.append(float(np.log((found + e0) / (true["energy"] + e0))))
    return [np.array(each) for each in errors]
