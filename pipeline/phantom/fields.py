"""Smooth random displacements: cubic B-splines with random coefficients, scaled to a given r.m.s. length.

The transformation model is that of Rueckert et al. (1999), with white noise for control points.

References
----------
Rueckert D. et al. (1999) Nonrigid registration using free-form deformations: application to breast MR images.
IEEE Transactions on Medical Imaging 18, 712-721.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64
from pipeline.geometry import affine

LEAST_JACOBIAN = 0.2  # least local ratio of volumes (areas in 2-D); 0 is where tissue starts to fold


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A displacement field that is smooth everywhere.

    Attributes
    ----------
    coefficients : (d, n_1, .., n_d) float64, um
        B-spline coefficients, one knot every `spacing_um`.
    spacing_um : float, um
        Knot spacing.
    origin_um : (d,) float64, um
        Position of the first knot.
    trend : (d, d + 1) float64 or None
        Affine part that is subtracted.
    """

    coefficients: Float64
    spacing_um: float
    origin_um: Float64
    trend: Float64 = field(default=None)  # type: ignore[arg-type]

    def __call__(self, points: Float64) -> Float64:
        """Return the displacement at points; beyond the knots the value at the edge holds.

        Parameters
        ----------
        points : (..., d) float64, um
            Positions.

        Returns
        -------
        (..., d) float64, um
            Displacement at each point.
        """
        index = np.moveaxis((points - self.origin_um) / self.spacing_um, -1, 0)
        parts = [
            ndimage.map_coordinates(c, index, order=3, prefilter=False, mode="nearest")
            for c in self.coefficients
        ]
        shift = np.stack(parts, axis=-1)
        return np.asarray(
            shift if self.trend is None else shift - affine.apply(self.trend, points), np.float64
        )


def random_field(rng: np.random.Generator, points: Float64, rms_um: float, scale_um: float) -> SmoothField:
    """Draw a displacement field without affine part, of a given r.m.s. length over `points`.

    Parameters
    ----------
    rng : Generator
        Source of the coefficients.
    points : (n, d) float64, um
        Where tissue is; the affine part is removed and the r.m.s. length is measured there.
    rms_um : float, um
        Wanted r.m.s. length of the displacement.
    scale_um : float, um
        Knot spacing; features are about this large.

    Returns
    -------
    SmoothField
        The displacement field.

    Raises
    ------
    ConfigError
        Where so large a displacement at so small a scale would fold the tissue.
    """
    low, high = points.min(axis=0) - 2 * scale_um, points.max(axis=0) + 2 * scale_um
    knots = np.ceil((high - low) / scale_um).astype(int) + 1
    raw = SmoothField(rng.standard_normal((low.size, *knots)), scale_um, low)
    shift = raw(points)
    design = np.column_stack([points, np.ones(len(points))])
    # The affine part belongs to the alignment; with it removed, the alignment stays the best affine fit.
    trend = np.asarray(np.linalg.lstsq(design, shift, rcond=None)[0].T, np.float64)
    left = shift - affine.apply(trend, points)
    gain = rms_um / float(np.sqrt(np.square(left).sum(axis=1).mean()))
    found = SmoothField(raw.coefficients * gain, scale_um, low, trend * gain)
    if least_jacobian(found, points) < LEAST_JACOBIAN:
        raise ConfigError(
            f"phantom: a displacement of {rms_um:g} um at a scale of {scale_um:g} um folds the tissue;"
            " lower the one or raise the other"
        )
    return found


def least_jacobian(displacement: SmoothField, points: Float64) -> float:
    """Return the least Jacobian determinant of the map x -> x + displacement(x).

    Parameters
    ----------
    displacement : SmoothField
        The displacement field.
    points : (n, d) float64, um
        Where the determinant is taken, by central differences of +- 1 um.

    Returns
    -------
    float
        The least local ratio of volumes (areas in 2-D); 0 or less where the map folds.
    """
    dimensions, step = points.shape[-1], 1.0
    columns = []
    for axis in range(dimensions):
        ahead = np.zeros(dimensions)
        ahead[axis] = step
        columns.append((displacement(points + ahead) - displacement(points - ahead)) / (2 * step) + ahead)
    return float(np.linalg.det(np.stack(columns, axis=-1)).min())
