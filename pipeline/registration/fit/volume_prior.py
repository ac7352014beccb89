"""What is expected of the map of the volume to the reference before an image is looked at."""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Float64
from pipeline.geometry.scales import scales_of
from pipeline.registration.fit.gauss_newton import (
    LENGTH_UM,
    N_VOLUME,
    NORMAL_SHIFT,
    VOLUME_CENTRE_UM,
    VolumePrior,
)
from pipeline.registration.model.painted_atlas import NORMAL_AXIS
from pipeline.registration.model.state import TransformState
from pipeline.registration.model.stated_positions import StatedPositions

# Scale of z over the geometric mean of the in-plane scales, and its standard deviation: 0.86, 0.88, 0.93 and
# 1.01 in four real brains. Knives compress sections, which makes the scales of the planes the larger ones.
_Z_SCALE, Z_SCALE_SPREAD = 0.94, 0.07
_USUAL_DEVIATIONS = 1.5  # standard deviations beyond which that prior weighs less than half
# Scales in the plane: 0.99 to 1.24 in them. It only keeps a few sections with little outline from growing.
_PLANE_SCALE, _PLANE_SCALE_SPREAD = 1.05, 0.05
_TILT_SPREAD = 0.1  # of a plane; 6 degrees
# A series that lies wrong explains its own stain, since the table is estimated where it lies. So along z the
# data weigh this factor (of standard deviations) less against that prior than the residuals alone would say:
# windows of six to fifteen sections of a real brain lay 10 to 18 standard deviations from where the whole
# brain puts them.
OVERCONFIDENCE = 7.0


def volume_prior(state: TransformState, plane: str, stated: StatedPositions) -> VolumePrior:
    """Return the prior of the volume: scales as of brains, that of z some percent less, and little tilt.

    Sections have a stated thickness, and tissue shrinks along z much as it does in its planes. A few
    sections hardly show their own distance; left free, it follows the shape of the brain. Positions that
    the manifest states decide where the volume lies along the normal.

    Parameters
    ----------
    state : TransformState
        Present transforms.
    plane : {"coronal", "sagittal"}
        Plane of section.
    stated : StatedPositions
        Positions along the normal.

    Returns
    -------
    VolumePrior
        Steps to the expected values; shear is free, and so is the shift where nothing is stated.
    """
    x, y, z = scales_of(state.volume)
    target, spread = np.zeros(N_VOLUME), np.full(N_VOLUME, np.inf)
    target[:2] = LENGTH_UM * np.log(_PLANE_SCALE / np.array([x, y]))
    spread[:2] = LENGTH_UM * _PLANE_SCALE_SPREAD
    along = state.volume[NORMAL_AXIS[plane]]
    target[4:6] = -LENGTH_UM * along[:2] / along[2]
    spread[4:6] = LENGTH_UM * _TILT_SPREAD
    away = float(np.log(_Z_SCALE * np.sqrt(x * y) / z))
    target[-1] = LENGTH_UM * away
    # far from what is expected the prior lets go, as a Cauchy distribution does: a thickness may be wrong
    surprise = away / (_USUAL_DEVIATIONS * Z_SCALE_SPREAD)
    spread[-1] = LENGTH_UM * Z_SCALE_SPREAD / OVERCONFIDENCE * np.sqrt(1.0 + surprise**2)
    if len(stated):
        _expect_stated(target, spread, along, float(np.mean(state.z_um)), stated)
    return VolumePrior(target, spread)


def _expect_stated(
    target: Float64, spread: Float64, along: Float64, z_um: float, stated: StatedPositions
) -> None:
    """Put stated positions into a prior: its shift along the normal and its stretch; changed in place.

    `along` is the row of the volume's map for the normal, `z_um` the middle of the series.
    """
    slope, offset_um = stated.line(float(along[2]))
    position_um, slope_spread = stated.spreads(z_um)
    now_um = float(along @ [*VOLUME_CENTRE_UM, z_um, 1.0])
    target[NORMAL_SHIFT] = (offset_um + slope * z_um - now_um) / along[2]
    spread[NORMAL_SHIFT] = position_um / abs(along[2]) / OVERCONFIDENCE
    if np.isfinite(slope_spread):
        target[-1] = LENGTH_UM * (slope / along[2] - 1.0)
        spread[-1] = LENGTH_UM * slope_spread / abs(along[2]) / OVERCONFIDENCE
