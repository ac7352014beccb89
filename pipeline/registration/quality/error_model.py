"""Expected error of a section, in um, from its measures, and a cautious verdict.

The logarithm of a section's median error is linear in a few measures. What residuals do not show is added,
see `undecided`. `workflows/benchmarks/benchmark_verdicts.py` measures series of known places, and
`workflows/calibration/error_model.py` fits the coefficients to them. `calibration_range` says which series
are unlike those.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.core.model import Float64, Status

# names of the regressors, in the order of the coefficients
TERMS = (
    "constant",
    "local shift",
    "uncertainty",
    "plane shift",
    "boundary",
    "lost overlap",
    "stain",
    "stray",
)
# Coefficients of `TERMS` for sections with stain. Fitted on rendered series of six families (coronal, at any
# turn, of one half; sagittal, upside down; another shape; seeds 11 and 12), whole and as windows of ten
# sections; each series weighs the same.
STAINED = (-14.74, 2.633, 1.669, 0.0, 0.179, 0.64, 0.0, 0.0)
# Measures of what the residuals do not show, um, and how often each counts. The posterior is too sure of a
# common place; that factor was fitted with the coefficients. With 1.5 for a section's own place, 14 of 24
# sections that neighbours had exchanged were put under check, and one more right one in a hundred.
UNDECIDED = {"normal_common_um": 1.9, "normal_own_um": 1.5, "mirrored_um": 1.0}
OUTLINE = (5.453, 0.0, 0.0, 0.0, 0.505, 1.183, 0.0, 0.0)  # coefficients for an outline alone
# Large estimates are good to a factor of two only. Beyond `FAIL_UM` the position of a section is unknown;
# between the two limits the section counts in the grid and is marked for a look.
PASS_UM, FAIL_UM = 225.0, 1600.0
_FAR_UM = 3000.0  # um; larger or missing measures count as this
# Lengths enter as logarithms, each with a floor, um, below which differences are noise.
_SHIFT_FLOOR_UM, _DISTANCE_FLOOR_UM = 10.0, 20.0
_LEAST_USUAL_UM = 100.0  # um; in a very regular series a small deviation is no alarm
_DICE_OFFSET = 1.02  # keeps the logarithm finite at a Dice of 1
_RESIDUAL_RANGE = (0.5, 5.0)  # in units of the noise; values are clipped to it


def terms(measures: Mapping[str, float]) -> Float64:
    """Return the regressors of the error model.

    Parameters
    ----------
    measures : mapping of str to float
        Measures of a section, see `verdicts`; needs `dice`, `pose_deviation_um` and
        `pose_deviation_usual_um`, others may be missing.

    Returns
    -------
    (8,) float64
        One value for each of `TERMS`.
    """

    def log_um(name: str, floor: float) -> float:
        return float(np.log(min(measures.get(name, _FAR_UM), _FAR_UM) + floor))

    usual = max(measures["pose_deviation_usual_um"], _LEAST_USUAL_UM)
    return np.array(
        [
            1.0,
            log_um("local_shift_um", _SHIFT_FLOOR_UM),
            log_um("uncertainty_um", _SHIFT_FLOOR_UM),
            log_um("plane_shift_um", _DISTANCE_FLOOR_UM),
            log_um("boundary_um", _DISTANCE_FLOOR_UM),
            np.log(_DICE_OFFSET - measures["dice"]),
            np.log(np.clip(measures.get("stain_residual", 1.0), *_RESIDUAL_RANGE)),
            np.log1p(measures["pose_deviation_um"] / usual),
        ]
    )


def estimated_error_um(measures: Mapping[str, float]) -> float:
    """Return the expected median distance of a section's pixels from their true place.

    Parameters
    ----------
    measures : mapping of str to float
        Measures of a section; with `stain_residual` the coefficients for stain apply.

    Returns
    -------
    float, um
        Expected error, 1 to 3000 um.
    """
    return float(np.clip(np.hypot(seen_error_um(measures), undecided_um(measures)), 1.0, _FAR_UM))


def seen_error_um(measures: Mapping[str, float]) -> float:
    """Return the error that the residuals of a section show.

    Parameters
    ----------
    measures : mapping of str to float
        Measures of a section; with `stain_residual` the coefficients for stain apply.

    Returns
    -------
    float, um
        Expected error without what is undecided.
    """
    weights = STAINED if "stain_residual" in measures else OUTLINE
    return float(np.exp(terms(measures) @ np.array(weights)))


def undecided_um(measures: Mapping[str, float]) -> float:
    """Return what the images leave undecided about a section's place, see `undecided`.

    Parameters
    ----------
    measures : mapping of str to float
        Measures of a section; those of `UNDECIDED` count, where they are there.

    Returns
    -------
    float, um
        Root of the sum of their squares, each times its factor.
    """
    return float(np.linalg.norm([factor * measures.get(name, 0.0) for name, factor in UNDECIDED.items()]))


def status_of(measures: Mapping[str, float], minimum_dice: float) -> Status:
    """Return the verdict on a section.

    Parameters
    ----------
    measures : mapping of str to float
        Needs `dice` and `estimated_error_um`.
    minimum_dice : float
        Dice coefficient below which a section fails.

    Returns
    -------
    Status
        FAIL where the outline hardly fits or the expected error exceeds 1600 um, PASS up to 225 um, else
        CHECK.
    """
    if measures["dice"] < minimum_dice or measures["estimated_error_um"] > FAIL_UM:
        return Status.FAIL
    return Status.PASS if measures["estimated_error_um"] <= PASS_UM else Status.CHECK
