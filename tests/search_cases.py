"""A small brain with random experiments, and the plain way to answer a search: voxel by voxel, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.model import Bool, Float32, Float64, Structure, UInt32
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace, structure_mask
from pipeline.search.on_disk.experiments import Experiment

_NODES = [
    (997, "root", None), (8, "grey", 997), (1, "CTX", 8), (2, "L1", 1), (3, "L2", 1), (4, "TH", 8),
    (5, "VP", 4), (6, "fiber", 997), (7, "void", 997),
]  # fmt: skip
ONTOLOGY = Ontology(
    tuple(
        Structure(id_, acronym, acronym, parent, at, "FFFFFF")
        for at, (id_, acronym, parent) in enumerate(_NODES)
    )
)
UNKNOWN = 555


def space(seed: int = 0, planes: int = 6) -> ReferenceSpace:
    """Return a brain of patches on a (planes, 5, 58) grid: some labels are parents, one is unknown."""
    rng = np.random.default_rng(seed)
    choice = np.array([0, 0, 1, 2, 3, 4, 5, 6, UNKNOWN], np.uint32)
    patches = rng.choice(choice, (planes, 4, 20)).repeat(3, axis=2)
    return ReferenceSpace(9, "patches", patches[: planes - 1, :, :57], 200.0, ONTOLOGY)


@dataclass(frozen=True)
class Case:
    """Experiments with their grids, and the labels that they lie in."""

    space: ReferenceSpace
    experiments: list[Experiment]
    grids: list[Float32]

    @property
    def pairs(self) -> list[tuple[Experiment, Float32]]:
        return list(zip(self.experiments, self.grids, strict=True))

    @property
    def labels(self) -> UInt32:
        return np.where(self.space.grid_labels() == UNKNOWN, 997, self.space.grid_labels()).astype(np.uint32)

    def chosen(self, voxels: str) -> list[int]:
        """Return which experiments a voxel set speaks of."""
        planes = [e.plane_of_section for e in self.experiments]
        return [i for i, plane in enumerate(planes) if voxels != "coronal" or plane == "coronal"]

    def member(self, voxels: str) -> Bool:
        """Return the voxels of a set, as its definition says."""
        brain = self.labels > 0
        if voxels == "grid":
            return np.ones_like(brain)
        covered = sum((~np.isnan(self.grids[i])).astype(int) for i in self.chosen(voxels))
        return np.asarray(brain & (covered >= 0.8 * len(self.chosen(voxels)) - 1e-9))

    def mask(self, structures: Sequence[str]) -> Bool:
        return structure_mask(self.labels, ONTOLOGY, structures)


def experiments(seed: int, count: int, *, missing: bool = True, brain: ReferenceSpace | None = None) -> Case:
    """Make experiments: slabs and single voxels are missing, two in three see the left half only."""
    rng = np.random.default_rng(seed)
    brain = brain or space(seed)
    shape, found, grids = brain.grid.shape, [], []
    for number in range(count):
        coronal = bool(rng.random() < 1 / 3)
        grid = np.exp(rng.normal(0, 1.5, shape)) * (rng.random(shape) < rng.random() + 0.1)
        if missing:
            grid[rng.random(shape) < 0.03] = np.nan
            grid[:, :, rng.random(shape[2]) < 0.05] = np.nan
            if not coronal:
                grid[:, :, shape[2] // 2 :] = np.nan
        found.append(Experiment(100 + number, f"Gene{number}", "coronal" if coronal else "sagittal"))
        grids.append(grid.astype(np.float32))
    return Case(brain, found, grids)


def pearson(a: Any, b: Any) -> tuple[float, int]:
    """Return r over the voxels where neither is NaN, and how many; NaN where r is not defined."""
    both = ~np.isnan(a) & ~np.isnan(b)
    x, y = a[both].astype(np.float64), b[both].astype(np.float64)
    if x.size < 2 or x.min() == x.max() or y.min() == y.max():
        return float("nan"), int(both.sum())
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y))), int(both.sum())


def mean(grid: Float32, inside: Bool) -> tuple[float, int]:
    """Return the mean over the voxels of a mask that have data, and how many these are."""
    values: Float64 = grid[inside & ~np.isnan(grid)].astype(np.float64)
    return (float(values.mean()) if values.size else float("nan")), int(values.size)
