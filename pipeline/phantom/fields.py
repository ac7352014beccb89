"""Smooth random displacements: cubic B-splines over white noise, scaled to a stated r.m.s. length."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64
from pipeline.geometry import affine

LEAST_JACOBIAN = 0.2


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A displacement that is smooth everywhere.

    Parameters
    ----------
    coefficients : (d, n1, .., nd) float64, um     of the spline, one knot every `spacing_um`
    origin_um : (d,) float64                       place of the first knot
    trend : (d, d + 1) float64                     affine part that is taken off
    """

    coefficients: Float64
    spacing_um: float
    origin_um: Float64
    trend: Float64 = field(default=None)  # type: ignore[arg-type]

    def __call__(self, points: Float64) -> Float64:
        """Return the displacement at points (..., d) um, in um; the edge value holds beyond the knots."""
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
    """Draw a displacement whose r.m.s. length over `points` is `rms_um`, without any affine part.

    Parameters
    ----------
    points : (n, d) float64, um     where tissue is: the affine part is removed and the length taken there
    scale_um : float, um            knot spacing; features are about this large

    Raises
    ------
    ConfigError
        where so large a displacement at so small a scale would fold the tissue.
    """
    low, high = points.min(axis=0) - 2 * scale_um, points.max(axis=0) + 2 * scale_um
    knots = np.ceil((high - low) / scale_um).astype(int) + 1
    raw = SmoothField(rng.standard_normal((low.size, *knots)), scale_um, low)
    shift = raw(points)
    design = np.column_stack([points, np.ones(len(points))])
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
    """Return the least determinant of the Jacobian of x -> x + displacement(x) over points (n, d)."""
    dimensions, step = points.shape[-1], 1.0
    columns = []
    for axis in range(dimensions):
        ahead = np.zeros(dimensions)
        ahead[axis] = step
        columns.append((displacement(points + ahead) - displacement(points - ahead)) / (2 * step) + ahead)
    return float(np.linalg.det(np.stack(columns, axis=-1)).min())
