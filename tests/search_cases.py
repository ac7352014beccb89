"""A small brain with random experiments, and the plain way to answer a search: voxel by voxel, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.index import Experiment
from pipeline.model import Float32, Structure
from pipeline.ontology import Ontology
from pipeline.reference import ReferenceSpace, structure_mask

_NODES = [
    (997, "root", None), (8, "grey", 997), (1, "CTX", 8), (2, "L1", 1), (3, "L2", 1), (4, "TH", 8),
    (5, "VP", 4), (6, "fiber", 997), (7, "empty", 997),
]  # fmt: skip
ONTOLOGY = Ontology(
    tuple(
        Structure(id_, acronym, acronym, parent, order, "FFFFFF")
        for order, (id_, acronym, parent) in enumerate(_NODES)
    )
)
SHAPE = (11, 9, 12)
UNKNOWN = 555


def space(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> ReferenceSpace:
    """Return a brain of patches; CTX and TH have voxels of their own, one label is not in the ontology."""
    rng = np.random.default_rng(seed)
    patches = rng.choice(np.array([0, 0, 1, 2, 3, 4, 5, 6, UNKNOWN], np.uint32), [-(-n // 2) for n in shape])
    labels = patches.repeat(2, 0).repeat(2, 1).repeat(2, 2)[: shape[0], : shape[1], : shape[2]]
    # 1040 um between planes put the midline in the middle of 12 planes; the grid is the annotation itself
    return ReferenceSpace(9, "patches", labels, 1040.0, ONTOLOGY)


@dataclass(frozen=True)
class Case:
    """Experiments with their grids."""

    space: ReferenceSpace
    experiments: list[Experiment]
    grids: list[Float32]

    def pairs(self) -> list[tuple[Experiment, Float32]]:
        return list(zip(self.experiments, self.grids, strict=True))


def experiments(seed: int, count: int, labels: np.ndarray, *, missing: bool = True) -> Case:  # type: ignore[type-arg]
    """Make grids with slabs and single voxels missing; two in three see the left half only."""
    rng = np.random.default_rng(seed)
    found, grids = [], []
    for number in range(count):
        coronal = bool(rng.random() < 1 / 3)
        grid = np.exp(rng.normal(0, 1.5, labels.shape)) * (rng.random(labels.shape) < rng.random())
        if missing:
            grid[rng.random(labels.shape[0]) < 0.05] = np.nan
            grid[rng.random(labels.shape) < 0.03] = np.nan
            if not coronal:
                grid[:, :, labels.shape[2] // 2 :] = np.nan
        found.append(Experiment(100 + number, f"Gene{number}", "coronal" if coronal else "sagittal"))
        grids.append(grid.astype(np.float32))
    return found, grids  # type: ignore[return-value]
