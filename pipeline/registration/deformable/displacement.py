"""Displacement fields of a series: one of the whole brain, and one of each section within its plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from pipeline.core.model import Float32, Float64
from pipeline.registration.deformable.bsplines import Lattice, bending, lattice_over

_RIDGE = 0.3  # weight of the size of a coefficient beside its bending
_LEAST_DETERMINANT = 0.2  # of the volume's Jacobian; below it a displacement is close to folding
_SCALE_BACK = 0.8  # factor on a displacement that comes close to folding


@dataclass(frozen=True)
class Stiffness:
    """Prior of a displacement field: Gaussian on size and bending of its coefficients.

    Attributes
    ----------
    node_um : float, um
        Distance between control points.
    spread_um : float, um
        Expected size of a displacement.
    bending : float
        Weight of the bending energy against size; above 1 neighbours move alike.
    """

    node_um: float
    spread_um: float
    bending: float

    def precision(self, lattice: Lattice) -> sparse.csr_matrix:
        """Return the quadratic form of the prior for one component of the displacement.

        Parameters
        ----------
        lattice : Lattice
            Control points.

        Returns
        -------
        (size, size) csr_matrix, 1/um2
            Inverse covariance of the coefficients.
        """
        ridge = _RIDGE * sparse.identity(lattice.size)
        form: sparse.csr_matrix = (ridge + self.bending * bending(lattice)).tocsr() / self.spread_um**2
        return form


@dataclass(frozen=True, eq=False)
class DisplacementFields:
    """The displacement fields of all sections; 0 as `zero_fields` returns them.

    Attributes
    ----------
    z_um : (n,) float64, um
        Position of each section.
    plane : Lattice
        Control points over (x, y) of the volume.
    own : (n, plane.size, 2) float64, um
        Coefficients of the sections.
    whole : Lattice
        Control points over (x, y, z) of the volume.
    shape : (whole.size, 3) float64, um
        Coefficients of the whole brain.
    """

    z_um: Float64
    plane: Lattice
    own: Float64
    whole: Lattice
    shape: Float64

    def at(self, k: int, points_um: Float64) -> Float64:
        """Return the displacement at places of a section, its own and the whole brain's.

        Parameters
        ----------
        k : int
            Index of the section.
        points_um : (n, 2) float64, um
            (x, y) of the volume.

        Returns
        -------
        (n, 3) float64, um
            Along x, y, z of the volume.
        """
        found = self.shape_at(points_um, float(self.z_um[k]))
        found[:, :2] += self.plane.matrix(points_um) @ self.own[k]  # a section's own field stays in its plane
        return found

    def shape_at(self, points_um: Float64, z_um: float) -> Float64:
        """Return the displacement of the whole brain on a plane.

        Parameters
        ----------
        points_um : (n, 2) float64, um
            (x, y) of the volume.
        z_um : float, um
            Position of the plane.

        Returns
        -------
        (n, 3) float64, um
            Along x, y, z of the volume.
        """
        if not self.shape.any():
            return np.zeros((len(points_um), 3))
        places = np.column_stack([points_um, np.full(len(points_um), z_um)])
        return np.asarray(self.whole.matrix(places) @ self.shape)

    def least_stretch(self) -> float:
        """Return how close the displacement U of the whole brain comes to folding.

        Returns
        -------
        float
            Least of det(I + grad U) and of its stretch along z, at half the spacing; 1 without U.
        """
        if not self.shape.any():
            return 1.0
        shape = tuple(2 * (n - 3) + 1 for n in self.whole.shape)  # n - 3 cells, two steps each
        half = 0.5 * self.whole.spacing_um
        axes = [o + h * np.arange(n) for o, h, n in zip(self.whole.origin_um, half, shape, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        moved = (points + self.whole.matrix(points) @ self.shape).reshape(*shape, 3)
        # by central differences; moved includes the identity
        jacobian = np.stack([np.gradient(moved, h, axis=a) for a, h in enumerate(half)], axis=-1)
        return float(min(np.linalg.det(jacobian).min(), jacobian[..., 2, 2].min()))

    def unfolded(self) -> DisplacementFields:
        """Return the fields with the whole brain's part scaled down until it is clear of folding.

        Returns
        -------
        DisplacementFields
            The same fields where nothing comes close.
        """
        fields = self
        while fields.least_stretch() < _LEAST_DETERMINANT:
            fields = replace(fields, shape=_SCALE_BACK * fields.shape)
        return fields


def zero_fields(
    z_um: Float64, box_um: tuple[Float64, Float64], in_plane: Stiffness, whole: Stiffness
) -> DisplacementFields:
    """Return fields of no displacement.

    Parameters
    ----------
    z_um : (n,) float64, um
        Position of each section.
    box_um : ((2,) float64, (2,) float64), um
        Lower and upper corner of the tissue in (x, y) of the volume.
    in_plane, whole : Stiffness
        Give the control point spacing of the sections and of the whole brain.

    Returns
    -------
    DisplacementFields
        All coefficients 0.
    """
    low, high = box_um
    plane = lattice_over(low, high, [in_plane.node_um] * 2)
    ends = np.append(low, z_um.min()), np.append(high, z_um.max())
    solid = lattice_over(*ends, [whole.node_um] * 3)
    own = np.zeros((len(z_um), plane.size, 2))
    return DisplacementFields(z_um, plane, own, solid, np.zeros((solid.size, 3)))


def displacement_nodes(
    fields: DisplacementFields, k: int, to_volume: Float64, shape: Sequence[int], step_px: float
) -> Float32:
    """Sample the displacement of a section on a lattice over its image.

    Parameters
    ----------
    fields : DisplacementFields
        Displacement fields.
    k : int
        Index of the section.
    to_volume : (2, 3) float64, px -> um
        Pixels to (x, y) of the volume.
    shape : (int, int)
        Rows and columns of nodes.
    step_px : float, px
        Distance between nodes.

    Returns
    -------
    (3, rows, columns) float32, um
        Along x, y, z of the volume.
    """
    x, y = np.meshgrid(step_px * np.arange(shape[1]), step_px * np.arange(shape[0]))
    points = np.stack([x, y], axis=-1).reshape(-1, 2) @ to_volume[:, :2].T + to_volume[:, 2]
    return np.ascontiguousarray(fields.at(k, points).T.reshape(3, *shape), dtype=np.float32)
