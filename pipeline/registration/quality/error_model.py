"""From the measures of a section to the error to expect, in um, and a cautious verdict.

The logarithm of the median error of a section is a line in a few measures. Its coefficients come from
rendered series of all families of `workflows/benchmarks/benchmark_alignment.py`, with sections given wrong
numbers among them; `workflows/calibration/error_model.py` fits them anew and prints how they do on seeds held
out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.core.model import Float64, Status

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
# From 54 series, whole and damaged, of 16 families (seeds 101, 102): 1,678 sections, 120 of them more than
# 300 um off. What judges a family was held to account by fits that had not seen it: of 1,550 sections called
# pass 5 were wrong by more than 300 um, and 99.4 % of those within 150 um were called pass.
STAINED = (-0.051, 0.880, 0.0, 0.325, 0.303, 0.693, 0.865, 0.0)
OUTLINE = (5.453, 0.0, 0.0, 0.0, 0.505, 1.183, 0.0, 0.0)
# Far out the estimate is itself good to a factor of two only; beyond this a section is nowhere, between the
# two it counts in the grid, and asks to be looked at.
PASS_UM, FAIL_UM = 150.0, 1600.0
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
