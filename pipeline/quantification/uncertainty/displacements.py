"""Random displacements of sections that obey the error that the alignment expects.

Half of the variance is a smooth field in 3-D, which neighbouring sections share; half is a smooth field of
each section alone. Both are cubic B-splines with random coefficients (Rueckert et al. 1999, as in the
phantom). Draws come in pairs of opposite sign, so that their mean holds only what is not linear.

References
----------
Rueckert D. et al. (1999) Nonrigid registration using free-form deformations: application to breast MR images.
IEEE Transactions on Medical Imaging 18, 712-721.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float32, Float64

COMMON_UM, OWN_UM = 2500.0, 1500.0  # knot spacing of the field in 3-D, and of the field of a section
NORMAL = 0.5  # displacement along the cutting axis, over that within the plane
# Root mean square along one axis over the median length in the plane, for normal displacements:
# 1 / sqrt(2 ln 2).
AXIS_OF_MEDIAN = 0.849
LEAST_UM = 15.0  # um; no section is placed better than this
UNKNOWN_UM = 60.0  # um; expected error of a section whose alignment states none
# Variance of a cubic B-spline with white coefficients of variance 1, for each dimension: the mean over a
# knot interval of the sum of squared weights.
VARIANCE = 151 / 315
LOWEST_KNOT, HIGHEST_KNOT = -10, 24  # knots that are drawn, in units of their spacing: -15 to 36 mm


@dataclass(frozen=True, eq=False)
class Displacements:
    """Draws of the common field and of the fields of all sections.

    Attributes
    ----------
    draws : int
        Number of draws, even; draw 2 k + 1 is the opposite of draw 2 k.
    seed : int
        Seed of the coefficients.
    z_um : (sections,) float64, um
        Positions of the sections along the cutting axis.
    error_um : (sections,) float64, um
        Expected median error of each section, in the plane.
    """

    draws: int
    seed: int
    z_um: Float64
    error_um: Float64

    @classmethod
    def of(
        cls, z_um: Sequence[float], error_um: Sequence[float | None], draws: int = 16, seed: int = 1
    ) -> Displacements:
        """Prepare draws for a series.

        Parameters
        ----------
        z_um : sequence of float, um
            Position of each section.
        error_um : sequence of float or None, um
            Expected error of each section; None where the alignment states none.
        draws : int
            Number of draws, even.
        seed : int
            Seed.

        Returns
        -------
        Displacements
            The draws.
        """
        errors = [
            UNKNOWN_UM if e is None or not np.isfinite(e) else max(float(e), LEAST_UM) for e in error_um
        ]
        return cls(draws, seed, np.asarray(z_um, np.float64), np.asarray(errors, np.float64))

    def common(self, axes_um: Sequence[Float64]) -> Float32:
        """Return the common field on a lattice of volume positions, in units of the axis error.

        Parameters
        ----------
        axes_um : three of (n,) float64, um
            Positions of the lattice along x, y and z of the volume.

        Returns
        -------
        (draws, 3, nx, ny, nz) float32
            Displacement along x, y, z with unit variance in the plane, half of it counted.
        """
        rng = np.random.default_rng([self.seed, 0])
        weights = [_weights(axis, COMMON_UM) for axis in axes_um]
        knots = rng.standard_normal((self.draws // 2, 3, *(w.shape[1] for w in weights)))
        field = np.einsum("dcijk,xi,yj,zk->dcxyz", knots, *weights, optimize=True)
        return _paired(field / np.sqrt(VARIANCE**3 * 2))

    def own(self, section: int, axes_um: Sequence[Float64]) -> Float32:
        """Return the field of one section on a lattice in its plane, in units of the axis error.

        Parameters
        ----------
        section : int
            Position in `z_um`.
        axes_um : two of (n,) float64, um
            Positions of the lattice along x and y of the volume.

        Returns
        -------
        (draws, 3, nx, ny) float32
            Displacement along x, y, z with unit variance in the plane, half of it counted.
        """
        rng = np.random.default_rng([self.seed, 1, section])
        weights = [_weights(axis, OWN_UM) for axis in axes_um]
        knots = rng.standard_normal((self.draws // 2, 3, *(w.shape[1] for w in weights)))
        field = np.einsum("dcij,xi,yj->dcxy", knots, *weights, optimize=True)
        return _paired(field / np.sqrt(VARIANCE**2 * 2))


def scale_um(error_um: float | Float64) -> Float64:
    """Return the standard deviations along x, y and z of a section with an expected median error.

    Parameters
    ----------
    error_um : float or (n,) float64, um
        Expected median error in the plane.

    Returns
    -------
    (3,) or (3, n) float64, um
        Along x, y, z of the volume.
    """
    each = AXIS_OF_MEDIAN * np.asarray(error_um, np.float64)
    return np.stack([each, each, NORMAL * each])


def _paired(field: Float64) -> Float32:
    """Return every draw and its opposite, one after the other."""
    both = np.stack([field, -field], axis=1)
    return both.reshape(-1, *field.shape[1:]).astype(np.float32)


def _weights(places_um: Float64, spacing_um: float) -> Float64:
    """Return the cubic B-spline weights of the knots that reach the places, (places, knots).

    Knots lie at whole multiples of the spacing, so that a place has the same displacement on every lattice.
    """
    at = np.asarray(places_um, np.float64) / spacing_um
    first, last = LOWEST_KNOT, HIGHEST_KNOT
    away = np.abs(np.clip(at, first + 1, last - 1)[:, None] - np.arange(first, last + 1))
    weight = np.where(away < 1, (4 - 6 * away**2 + 3 * away**3) / 6, np.clip(2 - away, 0, None) ** 3 / 6)
    return np.asarray(weight, np.float64)
