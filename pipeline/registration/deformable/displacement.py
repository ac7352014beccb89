"""How the sections are bent: a displacement of the whole brain, and one of each section in its plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pipeline.core.model import Float32, Float64
from pipeline.registration.deformable.bsplines import Lattice, bending, lattice_over

_RIDGE = 0.3
_LEAST_DETERMINANT = 0.2
_SHRINK = 0.8


@dataclass(frozen=True)
class Stiffness:
    """What is expected of displacements before the images are seen.

    Parameters
    ----------
    node_um : float, um         between control points
    spread_um : float, um       expected size of a displacement
    bending : float             weight of bending against size: above 1 neighbours move alike
    """

    node_um: float
    spread_um: float
    bending: float

    def precision(self, lattice: Lattice) -> sparse.csr_matrix:
        """Return the prior's quadratic form for one component, 1/um2."""
        ridge = _RIDGE * sparse.identity(lattice.size)
        form: sparse.csr_matrix = (ridge + self.bending * bending(lattice)).tocsr() / self.spread_um**2
        return form


@dataclass(frozen=True, eq=False)
class Bend:
    """The displacement of every section; 0 as `straight` returns it.

    Parameters
    ----------
    z_um : (n,) float64, um
    plane : over (x, y) of the volume
    own : (n, plane.size, 2) float64, um        coefficients of the sections
    whole : over (x, y, z) of the volume
    shape : (whole.size, 3) float64, um         coefficients of the whole brain
    """

    z_um: Float64
    plane: Lattice
    own: Float64
    whole: Lattice
    shape: Float64

    def at(self, k: int, points_um: Float64) -> Float64:
        """Return the displacement at places of section `k`, (n, 2) um of the volume, (n, 3) um."""
        found = self.shape_at(points_um, float(self.z_um[k]))
        found[:, :2] += self.plane.matrix(points_um) @ self.own[k]
        return found

    def shape_at(self, points_um: Float64, z_um: float) -> Float64:
        """Return the displacement of the whole brain on a plane, (n, 3) um."""
        if not self.shape.any():
            return np.zeros((len(points_um), 3))
        places = np.column_stack([points_um, np.full(len(points_um), z_um)])
        return np.asarray(self.whole.matrix(places) @ self.shape)

    def least_stretch(self) -> float:
        """Return the least of det(I + grad U) and of its stretch along z, U the whole brain's part."""
        if not self.shape.any():
            return 1.0
        shape = tuple(2 * (n - 3) + 1 for n in self.whole.shape)
        half = 0.5 * self.whole.spacing_um
        axes = [o + h * np.arange(n) for o, h, n in zip(self.whole.origin_um, half, shape, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        moved = (points + self.whole.matrix(points) @ self.shape).reshape(*shape, 3)
        jacobian = np.stack([np.gradient(moved, h, axis=a) for a, h in enumerate(half)], axis=-1)
        return float(min(np.linalg.det(jacobian).min(), jacobian[..., 2, 2].min()))

    def unfolded(self) -> Bend:
        """Return the bend with the whole brain's part weakened until it is well clear of folding."""
        bent = self
        while bent.least_stretch() < _LEAST_DETERMINANT:
            bent = Bend(self.z_um, self.plane, self.own, self.whole, _SHRINK * bent.shape)
        return bent


def straight(z_um: Float64, box_um: tuple[Float64, Float64], in_plane: Stiffness, whole: Stiffness) -> Bend:
    """Return no displacement, over a box of the volume's (x, y)."""
    low, high = box_um
    plane = lattice_over(low, high, [in_plane.node_um] * 2)
    ends = np.append(low, z_um.min()), np.append(high, z_um.max())
    solid = lattice_over(*ends, [whole.node_um] * 3)
    own = np.zeros((len(z_um), plane.size, 2))
    return Bend(z_um, plane, own, solid, np.zeros((solid.size, 3)))


def nodes_of(bend: Bend, k: int, to_volume: Float64, shape: Sequence[int], step_px: float) -> Float32:
    """Return the displacement of section `k` on a lattice over an image, (3, rows, columns) float32 um.

    Parameters
    ----------
    to_volume : (2, 3) float64      px to volume um
    shape : (rows, columns)         nodes
    """
    x, y = np.meshgrid(step_px * np.arange(shape[1]), step_px * np.arange(shape[0]))
    points = np.stack([x, y], axis=-1).reshape(-1, 2) @ to_volume[:, :2].T + to_volume[:, 2]
    return np.ascontiguousarray(bend.at(k, points).T.reshape(3, *shape), dtype=np.float32)
