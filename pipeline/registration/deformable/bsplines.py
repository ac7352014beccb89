"""Smooth displacements: tensor products of cubic B-splines on a lattice, and their bending energy.

Notes
-----
Free-form deformation with a bending penalty, after Rueckert et al. (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from pipeline.core.model import Float64, Int64
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from scipy import interpolate
else:
    interpolate = LazyModule("scipy.interpolate")


@dataclass(frozen=True, eq=False)
class Lattice:
    """Control points of a spline in d dimensions; outside their box the value at its edge holds.

    Attributes
    ----------
    origin_um : (d,) float64, um
        Lower corner of the box.
    spacing_um : (d,) float64, um
        Distance between control points.
    shape : tuple of d int
        Control points along each axis; the first one lies a spacing below the box.
    """

    origin_um: Float64
    spacing_um: Float64
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of control points."""
        return int(np.prod(self.shape))

    def matrix(self, points_um: Float64) -> sparse.csr_array:
        """Return the matrix that takes coefficients to values at points.

        Parameters
        ----------
        points_um : (n, d) float64, um
            Points; those outside the box are moved to its edge.

        Returns
        -------
        (n, size) csr_array
            4 ** d weights in each row, which sum to 1.
        """
        if not len(points_um):
            return sparse.csr_array((0, self.size))
        cells = np.array(self.shape) - 3  # n control points span n - 3 cells
        at = np.clip((points_um - self.origin_um) / self.spacing_um, 0.0, cells)
        knots = tuple(np.arange(-3.0, count + 1.0) for count in self.shape)
        found = interpolate.NdBSpline.design_matrix(at, knots, 3)
        # scipy infers the number of columns, which is too small where no point reaches the last control point
        return sparse.csr_array((found.data, found.indices, found.indptr), shape=(len(at), self.size))

    def basis(self, points_um: Float64) -> tuple[Int64, Float64]:
        """Return which control points act on points, and their spline weights.

        Parameters
        ----------
        points_um : (n, d) float64, um
            Points; those outside the box are moved to its edge.

        Returns
        -------
        index : (n, 4 ** d) int64
            Flat indices of the control points, in C order.
        weight : (n, 4 ** d) float64
            Their weights, which sum to 1.
        """
        matrix = self.matrix(points_um)
        rows = len(points_um), 4 ** len(self.shape)
        return matrix.indices.astype(np.int64).reshape(rows), matrix.data.reshape(rows)


def lattice_over(low_um: Float64, high_um: Float64, spacing_um: Sequence[float]) -> Lattice:
    """Return the lattice that covers a box.

    Parameters
    ----------
    low_um, high_um : (d,) float64, um
        Corners of the box.
    spacing_um : sequence of d float, um
        Wanted distance between control points.

    Returns
    -------
    Lattice
        Whole cells that fill the box, as near to the wanted spacing as they get.
    """
    span = np.maximum(np.asarray(high_um) - low_um, 1.0)  # um; a box of one section has no depth
    cells = np.maximum(1, np.rint(span / np.asarray(spacing_um))).astype(int)
    return Lattice(np.asarray(low_um, dtype=np.float64), span / cells, tuple(int(c) + 3 for c in cells))


def bending(lattice: Lattice) -> sparse.csr_matrix:
    """Return the bending energy as a quadratic form of the coefficients.

    The energy is the sum of squared second differences, the mixed ones counted twice (Rueckert et al. 1999).
    Differences are taken per spacing, so that the form measures how much neighbours differ at any spacing.

    Parameters
    ----------
    lattice : Lattice
        Control points.

    Returns
    -------
    (size, size) csr_matrix
        The form, for one component of the displacement.
    """
    axes = range(len(lattice.shape))
    total = sparse.csr_matrix((lattice.size, lattice.size))
    for a in axes:
        second = _along(lattice.shape, {a: _difference(lattice.shape[a], 2)})
        total = total + second.T @ second
        for b in range(a):
            steps = {a: _difference(lattice.shape[a], 1), b: _difference(lattice.shape[b], 1)}
            mixed = _along(lattice.shape, steps)
            total = total + 2.0 * (mixed.T @ mixed)
    return total.tocsr()


def _difference(count: int, order: int) -> sparse.csr_matrix:
    """Return the matrix of first or second differences along one axis of `count` points."""
    stencil = {1: [-1.0, 1.0], 2: [1.0, -2.0, 1.0]}[order]
    return sparse.diags(stencil, list(range(order + 1)), shape=(count - order, count)).tocsr()


def _along(shape: Sequence[int], steps: dict[int, sparse.csr_matrix]) -> sparse.csr_matrix:
    """Return the Kronecker product that applies a matrix to each axis in `steps`, the identity elsewhere."""
    matrix: sparse.csr_matrix = sparse.identity(1, format="csr")
    for axis, count in enumerate(shape):
        matrix = sparse.kron(matrix, steps.get(axis, sparse.identity(count)), format="csr")
    return matrix
