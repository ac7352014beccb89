"""From the measures of a section to the error to expect, in um, and a cautious verdict.

The logarithm of the median error of a section is a line in a few measures. Its coefficients come from
rendered series of all families of `workflows/benchmark_alignment.py`, with sections given wrong numbers
among them; `workflows/calibrate_quality.py` fits them anew and prints how they do on seeds held out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.model import Float64, Status

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
# From 9 series, whole and damaged, of the sagittal, shape and caudal families (seeds 11, 12, 14): 186
# sections, 15 of them more than 300 um off.
STAINED = (-4.883, 0.834, 0.926, 0.060, 0.475, 0.432, 0.646, 0.0)
OUTLINE = (1.527, 0.0, 0.0, 0.0, 0.843, 0.319, 0.0, 0.0)
# Beyond a millimetre a section is nowhere; between the two it counts in the grid, and asks to be looked at.
PASS_UM, FAIL_UM = 175.0, 1000.0
_FAR_UM = 3000.0


def terms(measures: Mapping[str, float]) -> Float64:
    """Return the values that the coefficients weigh, (8,), in the order of `TERMS`."""

    def log_um(name: str, floor: float) -> float:
        return float(np.log(min(measures.get(name, _FAR_UM), _FAR_UM) + floor))

    usual = max(measures["pose_deviation_usual_um"], 100.0)
    return np.array(
        [
            1.0,
            log_um("local_shift_um", 10.0),
            log_um("uncertainty_um", 10.0),
            log_um("plane_shift_um", 20.0),
            log_um("boundary_um", 20.0),
            np.log(1.02 - measures["dice"]),
            np.log(np.clip(measures.get("stain_residual", 1.0), 0.5, 5.0)),
            np.log1p(measures["pose_deviation_um"] / usual),
        ]
    )


def estimated_error_um(measures: Mapping[str, float]) -> float:
    """Return the median distance, in um, by which the pixels of a section may be expected to be off."""
    weights = STAINED if "stain_residual" in measures else OUTLINE
    return float(np.clip(np.exp(terms(measures) @ np.array(weights)), 1.0, _FAR_UM))


def status_of(measures: Mapping[str, float], minimum_dice: float) -> Status:
    """Return fail where the outline hardly fits or all is lost, pass where the expected error is small."""
    if measures["dice"] < minimum_dice or measures["estimated_error_um"] > FAIL_UM:
        return Status.FAIL
    return Status.PASS if measures["estimated_error_um"] <= PASS_UM else Status.CHECK
