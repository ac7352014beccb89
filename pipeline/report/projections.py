"""Maximum projections of the grid along P, I and R."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Bool, Float32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.report.outlines import mask_path
from pipeline.report.pictures import magma_rgba, png_uri

QUANTITIES = ("energy", "density")
BRIGHTEST_PERCENT = 99.5
GRID_UM = 200.0
# (axis looked along, its name); the other two axes go down and right, P down where both remain
ALONG = ((0, "P"), (1, "I"), (2, "R"))


@dataclass(frozen=True, eq=False)
class Projection:
    """A picture of one pixel a voxel, and the outline of the brain in the same coordinates."""

    along: str
    down: str
    right: str
    width: int
    height: int
    uri: str
    outline: str


@dataclass(frozen=True, eq=False)
class ProjectionRow:
    """The three projections of one quantity on one scale, 0 to `highest`; `maximum` is the grid's."""

    quantity: str
    highest: float
    maximum: float
    views: tuple[Projection, ...]


def projections(grid: Mapping[str, Float32], reference: ReferenceSpace | None) -> list[ProjectionRow]:
    """Return the maximum projections of energy and density, (P, I, R) float32 with -1 for no data."""
    shape = grid["energy"].shape
    brain = None
    if reference is not None and reference.grid.shape == shape:
        brain = reference.labels_at(reference.grid) > 0
    return [_row(name, grid[name], brain) for name in QUANTITIES]


def _row(quantity: str, values: Float32, brain: Bool | None) -> ProjectionRow:
    flat = [project(values, axis) for axis, _ in ALONG]
    highest = brightest(np.concatenate([view.ravel() for view in flat]))
    views = tuple(
        _view(view, name, highest, None if brain is None else np.asarray(brain.any(axis=axis)))
        for view, (axis, name) in zip(flat, ALONG, strict=True)
    )
    return ProjectionRow(quantity, highest, max(float(values.max()), 0.0), views)


def brightest(values: Float32) -> float:
    """Return where a colour scale ends: a high percentile of what expresses; 0 where nothing does.

    >>> brightest(np.array([-1, 0, 0, 0, 3], np.float32))
    3.0
    """
    positive = values[values > 0]
    return float(np.percentile(positive, BRIGHTEST_PERCENT)) if positive.size else 0.0


def project(values: Float32, axis: int) -> Float32:
    """Return the largest value along an axis; -1 where no voxel has data."""
    return np.asarray(values.max(axis=axis))


def _view(values: Float32, along: str, highest: float, brain: Bool | None) -> Projection:
    if along == "R":  # P would run down: turn it to run right, as a sagittal section lies
        values, brain = values.T, None if brain is None else brain.T
    left = "PIR".replace(along, "")
    down, right = (left[1], left[0]) if along == "R" else (left[0], left[1])
    height, width = values.shape
    return Projection(
        along=along,
        down=down,
        right=right,
        width=width,
        height=height,
        uri=png_uri(magma_rgba(values, values >= 0, highest)),
        outline="" if brain is None else mask_path(brain),
    )
