"""Displacement fields from one box to another: a point x of a lies at x + d(x) of b.

d is linear between the nodes of a regular grid from the origin on, and that of the nearest node outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float32, Float64, frozen

SLAB = 2_000_000  # points looked up at a time
_ROUNDS = 60  # of the inversion
_CLOSE_UM = 0.5  # change of the inverse at which it has converged


@dataclass(frozen=True, eq=False)
class Displacement:
    """A displacement field over the box of a.

    Attributes
    ----------
    vectors : (P, I, R, 3) float32, um
        (dP, dI, dR) at the nodes.
    spacing_um : float, um
        Distance of the nodes; node i lies at i x spacing.
    """

    vectors: Float32
    spacing_um: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "vectors", frozen(self.vectors, np.float32))
        if self.vectors.ndim != 4 or self.vectors.shape[3] != 3 or min(self.vectors.shape[:3]) < 2:
            raise DataError(
                f"displacement: expected (P, I, R, 3) of 2 nodes or more, got {self.vectors.shape}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes along P, I and R."""
        p, i, r, _ = self.vectors.shape
        return p, i, r

    def apply(self, points_um: npt.NDArray[Any]) -> Float64:
        """Return where points of a lie in b.

        Parameters
        ----------
        points_um : (n, 3) array, um
            (P, I, R) in a.

        Returns
        -------
        (n, 3) float64, um
            (P, I, R) in b.
        """
        points = np.asarray(points_um, np.float64)
        moved = np.empty_like(points)
        for start in range(0, len(points), SLAB):
            part = points[start : start + SLAB]
            nodes = part.T / self.spacing_um
            for k in range(3):
                d = ndimage.map_coordinates(self.vectors[..., k], nodes, np.float64, 1, mode="nearest")
                moved[start : start + SLAB, k] = part[:, k] + d
        return moved

    def holds(self, points_um: npt.NDArray[Any]) -> Bool:
        """Tell which points lie in the box of a.

        Parameters
        ----------
        points_um : (n, 3) array, um
            (P, I, R).

        Returns
        -------
        (n,) bool
            False for points that are not finite too.
        """
        last = (np.array(self.shape) - 1) * self.spacing_um
        points = np.asarray(points_um, np.float64)
        return np.asarray(((points >= 0) & (points <= last)).all(axis=1))


def node_shape(box_um: Sequence[float], spacing_um: float) -> tuple[int, int, int]:
    """Return how many nodes cover a box.

    Parameters
    ----------
    box_um : (3,) float, um
        Voxels x voxel size; the last voxel lies one voxel before its end.
    spacing_um : float, um
        Distance of the nodes.

    Returns
    -------
    (3,) int
        So many that the last node lies at the end of the box or beyond.

    Examples
    --------
    >>> node_shape((13200.0, 8000.0, 11400.0), 200.0)
    (67, 41, 58)
    """
    p, i, r = (max(2, math.ceil(round(side / spacing_um, 6)) + 1) for side in box_um)
    return p, i, r


def grid_points(shape: Sequence[int], spacing_um: Sequence[float], planes: slice) -> Float64:
    """Return the places of voxels.

    Parameters
    ----------
    shape : (3,) int
        Voxels along P, I and R.
    spacing_um : (3,) float, um
        Voxel size.
    planes : slice
        Planes of P whose voxels are wanted, with start and stop.

    Returns
    -------
    (n, 3) float64, um
        (P, I, R), R fastest.
    """
    axes = [np.arange(planes.start, planes.stop), np.arange(shape[1]), np.arange(shape[2])]
    grid = np.meshgrid(*(a * um for a, um in zip(axes, spacing_um, strict=True)), indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3).astype(np.float64)


def slabs(shape: Sequence[int]) -> Iterator[slice]:
    """Split a grid along P into parts of bounded size.

    Parameters
    ----------
    shape : (3,) int
        Voxels along P, I and R.

    Yields
    ------
    slice
        Planes of P.
    """
    step = max(1, SLAB // (shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def from_affine(matrix: npt.NDArray[Any], shape: Sequence[int], spacing_um: float) -> Displacement:
    """Return an affine map as a field.

    Parameters
    ----------
    matrix : (3, 4) array, um to um
        From a to b.
    shape : (3,) int
        Nodes.
    spacing_um : float, um
        Distance of the nodes.

    Returns
    -------
    Displacement
        The same map, exact between nodes too.
    """
    vectors = np.empty((*shape, 3), np.float32)
    for planes in slabs(shape):
        points = grid_points(shape, [spacing_um] * 3, planes)
        moved = points @ matrix[:, :3].T + matrix[:, 3]
        vectors[planes] = (moved - points).reshape(-1, *shape[1:], 3)
    return Displacement(vectors, spacing_um)


def compose(
    first: Displacement, second: Displacement, shape: Sequence[int] | None = None, spacing_um: float = 0.0
) -> Displacement:
    """Return one field for two in a row: second(first(x)).

    Parameters
    ----------
    first, second : Displacement
        From a to b, and from b to c.
    shape : (3,) int, optional
        Nodes of the result; default those of `first`.
    spacing_um : float, um
        Distance of the nodes; with `shape`.

    Returns
    -------
    Displacement
        From a to c, exact at its nodes.
    """
    nodes, um = (first.shape, first.spacing_um) if shape is None else (tuple(shape), spacing_um)
    vectors = np.empty((*nodes, 3), np.float32)
    for planes in slabs(nodes):
        points = grid_points(nodes, [um] * 3, planes)
        vectors[planes] = (second.apply(first.apply(points)) - points).reshape(-1, *nodes[1:], 3)
    return Displacement(vectors, um)


def invert(field: Displacement, shape: Sequence[int], spacing_um: float) -> Displacement:
    """Return the inverse of a field without folds.

    Parameters
    ----------
    field : Displacement
        From a to b.
    shape : (3,) int
        Nodes of the inverse, over the box of b.
    spacing_um : float, um
        Their distance.

    Returns
    -------
    Displacement
        From b to a. At every node y it is the x of field(x) = y, by fixed-point iteration on what an affine
        map leaves over (Chen et al. 2008).
    """
    matrix = nearest_affine(field)
    back = np.asarray(np.linalg.inv(matrix[:, :3]), np.float64)
    vectors = np.empty((*shape, 3), np.float32)
    for planes in slabs(shape):
        points = grid_points(shape, [spacing_um] * 3, planes)
        vectors[planes] = (_origins(field, points, matrix, back) - points).reshape(-1, *shape[1:], 3)
    return Displacement(vectors, spacing_um)


def _origins(field: Displacement, points: Float64, matrix: Float64, back: Float64) -> Float64:
    """Return where a field takes its points from."""
    found = (points - matrix[:, 3]) @ back.T
    active = np.arange(len(points))
    for _ in range(_ROUNDS):
        step = (points[active] - field.apply(found[active])) @ back.T
        found[active] += step
        active = active[np.abs(step).max(axis=1) > _CLOSE_UM]
        if not len(active):
            break
    return found


def nearest_affine(field: Displacement) -> Float64:
    """Return the affine map that lies nearest to a field.

    Parameters
    ----------
    field : Displacement
        From a to b.

    Returns
    -------
    (3, 4) float64, um to um
        Least squares over every fourth node along each axis.
    """
    step = max(1, min(field.shape) // 8)
    vectors = field.vectors[::step, ::step, ::step].reshape(-1, 3).astype(np.float64)
    shape = [len(range(0, n, step)) for n in field.shape]
    points = grid_points(shape, [field.spacing_um * step] * 3, slice(0, shape[0]))
    there = np.column_stack([points, np.ones(len(points))])
    return np.asarray(np.linalg.lstsq(there, points + vectors, rcond=None)[0].T)


def determinants(field: Displacement) -> Float32:
    """Return the determinant of the Jacobian of a field at every node.

    Parameters
    ----------
    field : Displacement
        From a to b.

    Returns
    -------
    (P, I, R) float32
        Volume in b of a small piece of a over its volume in a, by central differences; 0 or below: folds.
    """
    jacobian = [
        [np.gradient(field.vectors[..., k], field.spacing_um, axis=axis) for axis in range(3)]
        for k in range(3)
    ]
    for k in range(3):
        jacobian[k][k] = jacobian[k][k] + 1.0
    (a, b, c), (d, e, f), (g, h, i) = jacobian
    return np.asarray(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g), np.float32)


def warp(
    values: npt.NDArray[Any],
    spacing_um: Sequence[float],
    field: Displacement,
    grid: tuple[Sequence[int], Sequence[float]],
    order: int = 1,
) -> npt.NDArray[Any]:
    """Bring a volume of the source to a grid of the target.

    Parameters
    ----------
    values : (P, I, R) array
        Volume of the source.
    spacing_um : (3,) float, um
        Its voxel size.
    field : Displacement
        From target to source.
    grid : (shape, spacing_um)
        Voxels of the target along P, I and R, and their size along each.
    order : int
        1 linear; 0 the nearest voxel, for labels.

    Returns
    -------
    (P, I, R) array
        Of the same type for order 0, else float32; 0 where the source has nothing.
    """
    shape, um = grid
    out = np.empty(tuple(shape), values.dtype if order == 0 else np.float32)
    source = values if order == 0 else np.asarray(values, np.float32)
    for planes in slabs(shape):
        places = field.apply(grid_points(shape, um, planes)) / np.asarray(spacing_um)
        out[planes] = sampled(source, places, order).reshape(-1, *shape[1:])
    return out


def sampled(values: npt.NDArray[Any], places: Float64, order: int = 1) -> npt.NDArray[Any]:
    """Sample a volume.

    Parameters
    ----------
    values : (P, I, R) array
        The volume.
    places : (n, 3) float64, voxels
        (P, I, R).
    order : int
        1 linear; 0 the nearest voxel.

    Returns
    -------
    (n,) array
        0 outside the volume, which ends half a voxel beyond its last voxel.
    """
    last = np.array(values.shape) - 1
    inside = ((places >= -0.5) & (places <= last + 0.5)).all(axis=1)
    if order == 0:
        at = np.clip(np.rint(places[inside]).astype(np.intp), 0, last)
        found = values[tuple(at.T)]
    else:
        found = ndimage.map_coordinates(values, places[inside].T, np.float32, 1, mode="nearest")
    out = np.zeros(len(places), found.dtype)
    out[inside] = found
    return out
