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
BRIGHTEST_PERCENT = 99.5  # percentile of positive values at which a colour scale ends
# (axis of projection, its name). The other two axes run down and right, in the order P, I, R; along R they
# are exchanged.
ALONG = ((0, "P"), (1, "I"), (2, "R"))


@dataclass(frozen=True, eq=False)
class Projection:
    """A picture of one pixel per voxel, and the outline of the brain in the same coordinates."""

    along: str
    down: str
    right: str
    width: int
    height: int
    uri: str
    outline: str


@dataclass(frozen=True, eq=False)
class ProjectionRow:
    """The three projections of one quantity on one scale, 0 to `highest`; `maximum` is that of the grid."""

    quantity: str
    highest: float
    maximum: float
    views: tuple[Projection, ...]


def projections(grid: Mapping[str, Float32], reference: ReferenceSpace | None) -> list[ProjectionRow]:
    """Return the maximum projections of energy and density.

    Parameters
    ----------
    grid : mapping of str to (P, I, R) float32
        Grids by name, -1 where there is no data.
    reference : ReferenceSpace or None
        Gives the outline of the brain, where its grid has the same shape.

    Returns
    -------
    list of ProjectionRow
        One row per quantity.
    """
    shape = grid["energy"].shape
    brain = None
    if reference is not None and reference.grid.shape == shape:
        brain = reference.labels_at(reference.grid) > 0
    return [_row(name, grid[name], brain) for name in QUANTITIES]


def _row(quantity: str, values: Float32, brain: Bool | None) -> ProjectionRow:
    """Return the projections of one quantity on a common scale."""
    flat = [project(values, axis) for axis, _ in ALONG]
    highest = brightest(np.concatenate([view.ravel() for view in flat]))
    views = tuple(
        _view(view, name, highest, None if brain is None else np.asarray(brain.any(axis=axis)))
        for view, (axis, name) in zip(flat, ALONG, strict=True)
    )
    return ProjectionRow(quantity, highest, max(float(values.max()), 0.0), views)


def brightest(values: Float32) -> float:
    """Return the end of a colour scale: a high percentile of the positive values.

    Parameters
    ----------
    values : float32 array of any shape
        Values; zero and negative ones are ignored.

    Returns
    -------
    float
        The end of the scale; 0 where nothing is positive.

    Examples
    --------
    >>> brightest(np.array([-1, 0, 0, 0, 3], np.float32))
    3.0
    """
    positive = values[values > 0]
    return float(np.percentile(positive, BRIGHTEST_PERCENT)) if positive.size else 0.0


def project(values: Float32, axis: int) -> Float32:
    """Return the largest value along an axis.

    Parameters
    ----------
    values : (P, I, R) float32
        A grid, -1 where there is no data.
    axis : int
        Axis of projection: 0, 1, 2 for P, I, R.

    Returns
    -------
    float32 array of the other two axes
        Maximum; -1 where no voxel has data.
    """
    return np.asarray(values.max(axis=axis))


def _view(values: Float32, along: str, highest: float, brain: Bool | None) -> Projection:
    """Return the picture of one projection."""
    if along == "R":  # P runs to the right, as in a sagittal section
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
