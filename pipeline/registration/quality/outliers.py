"""Outlier sections: another plane, another organ, or another place than the section number says.

Where a section lies as it should, its stain follows the stain table of its series about as well as that of
the other sections does. The correlation to expect follows from how much the table varies on its plane. A
section that follows the table far less does not belong to this brain at this place. It would pull the others,
so it is left out of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float64, Status
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.model.stain_table import StainModel, plane_labels
from pipeline.registration.model.state import LevelImage, TransformState, level_image
from pipeline.registration.quality.measures import overlaps, verdicts
from pipeline.registration.quality.mixtures import StainSample, mixed_sections
from pipeline.system.threads import each

_PIXEL_UM = 100.0  # um; pixel and blur of the comparison
_LEAST_PIXELS = 400  # 4 mm2 of tissue on annotation
_TISSUE_SHARE = 0.5  # of a pixel that is tissue: lost tissue is not compared
_LEAST_CORRELATION = 0.30  # least correlation to expect of a plane, and least median correlation of a series
# Share of the usual correlation below which a section is an outlier: where its verdict is CHECK, where its
# outline is also worse than usual, where its verdict is FAIL.
_SHARE_OF_CHECK, _SHARE_OF_POOR_OUTLINE, _SHARE_OF_FAIL = 0.30, 0.45, 0.60
_POOR_OUTLINE_DICE = 0.05  # below the median Dice: an outline worse than usual
_LEAST_SECTIONS = 4  # sections needed for what is usual


@dataclass(frozen=True)
class StainCorrelation:
    """How well a section's stain follows the stain table of its series.

    Attributes
    ----------
    found : float
        Pearson correlation of stain and painted table; NaN where too little is seen.
    expected : float
        The correlation if only the noise of the series stood between them.
    """

    found: float
    expected: float

    @property
    def share(self) -> float:
        """Found over expected; NaN on a plane where the table hardly varies."""
        return self.found / self.expected if self.expected >= _LEAST_CORRELATION else float("nan")


def stain_samples(problem: FitProblem, state: TransformState, model: StainModel) -> list[StainSample]:
    """Sample the stain and the labels of every section under the present alignment, at 100 um.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    state : TransformState
        Placement of its n sections.
    model : StainModel
        Gives the gain of each section.

    Returns
    -------
    list of StainSample
        Pixels inside tissue and annotation, one for each section.
    """

    def image_of(k: int) -> tuple[LevelImage, LevelImage]:
        tissue, known = problem.tissues[k], problem.known[k]
        mask = tissue.mask.astype(np.float32)
        return tuple(level_image(tissue, known, i, _PIXEL_UM, _PIXEL_UM) for i in (tissue.stain, mask))  # type: ignore[return-value]

    pairs = each(image_of, range(len(problem.tissues)), problem.options.threads)
    images = [stain for stain, _ in pairs]
    labels = plane_labels(problem.atlas, state, images, problem.options.threads)
    found = []
    for k, (image, mask) in enumerate(pairs):
        inside = (image.weights > 0) & (labels[k] > 0) & (mask.values > _TISSUE_SHARE)
        values = (image.values[inside] / model.gains[k]).astype(np.float32)
        found.append(StainSample(labels[k][inside], values))
    return found


def stain_correlations(model: StainModel, samples: Sequence[StainSample]) -> list[StainCorrelation]:
    """Compare every section with the stain table of its series.

    Parameters
    ----------
    model : StainModel
        Stain tables and noise.
    samples : sequence of StainSample
        Stain and labels of every section.

    Returns
    -------
    list of StainCorrelation
        One for each section.
    """
    found = []
    for k, sample in enumerate(samples):
        table, noise = model.table(k)[sample.labels], float(model.noises[model.series[k]])
        found.append(_stain_correlation(table.astype(np.float64), sample.values.astype(np.float64), noise))
    return found


def _stain_correlation(table: Float64, values: Float64, noise: float) -> StainCorrelation:
    """Compare the stain of one section with its painted table.

    The stain is the table plus noise. So the expected correlation is s / sqrt(s^2 + noise^2), where s is the
    standard deviation of the table over the plane.
    """
    if table.size < _LEAST_PIXELS or table.std() == 0.0 or values.std() == 0.0:
        return StainCorrelation(float("nan"), 0.0)
    spread = float(table.std())
    return StainCorrelation(float(np.corrcoef(table, values)[0, 1]), spread / float(np.hypot(spread, noise)))


def outlier_sections(problem: FitProblem, solution: Solution) -> dict[int, str]:
    """Find the outlier sections of a fit.

    A section with verdict PASS is never an outlier, however little its plane shows. Sections placed by hand
    are not judged.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.

    Returns
    -------
    dict of int to str
        Indices of the outlier sections, each with the reason; empty where there is no stain to judge by.
    """
    model = solution.model
    if model is None:
        return {}
    samples = stain_samples(problem, solution.state, model)
    correlations = stain_correlations(model, samples)
    dice = [o.dice for o in overlaps(problem.atlas, solution.state, problem.tissues, problem.options.threads)]
    found: dict[int, tuple[float, str]] = {}
    outliers: dict[int, str] = {}
    for series in np.unique(model.series):
        own = [int(k) for k in np.flatnonzero(model.series == series) if k not in problem.fixed_planes]
        found |= _weakly_correlated(own, correlations, dice)
        outliers |= mixed_sections(problem, solution, own, samples)
    if outliers or not found:  # a table of two stains makes single sections look odd: split the mixture first
        return outliers
    judged = verdicts(problem, solution.state, model)  # costly: only where there is a candidate
    return {
        k: why
        for k, (share, why) in found.items()
        if judged[k].status is Status.FAIL
        or (share < _least_share(dice, k) and judged[k].status is Status.CHECK)
    }


def _least_share(dice: Sequence[float], k: int) -> float:
    """Return the share of the usual correlation below which a section of verdict CHECK is an outlier."""
    return (
        _SHARE_OF_POOR_OUTLINE if dice[k] < float(np.median(dice)) - _POOR_OUTLINE_DICE else _SHARE_OF_CHECK
    )


def _weakly_correlated(
    own: Sequence[int], correlations: Sequence[StainCorrelation], dice: Sequence[float]
) -> dict[int, tuple[float, str]]:
    """Return sections that follow the table less than the others do, each with its share and the reason."""
    comparable = [k for k in own if np.isfinite(correlations[k].share)]
    if len(comparable) < _LEAST_SECTIONS:
        return {}
    usual = float(np.median([correlations[k].share for k in comparable]))
    usual_r = float(np.median([correlations[k].found for k in comparable]))
    if usual_r < _LEAST_CORRELATION:  # this stain follows no structure: nothing to judge by
        return {}
    found = {}
    for k in comparable:
        share = correlations[k].share / usual  # against its own series: a faint stain is no fault
        if share < _SHARE_OF_FAIL:
            reason = (
                "does not match this brain at this position: its stain follows the structures with r"
                f" {correlations[k].found:.2f} (the others {usual_r:.2f}), its outline has Dice {dice[k]:.2f}"
            )
            found[k] = (share, reason)
    return found
