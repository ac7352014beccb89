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
from pipeline.registration.fit.joint import Solution, Task
from pipeline.registration.model.stain_table import StainModel, plane_labels
from pipeline.registration.model.state import LevelImage, State, level_image
from pipeline.registration.quality.measures import overlaps, verdicts
from pipeline.registration.quality.mixtures import Look, parted
from pipeline.system.threads import each

_PIXEL_UM = 100.0  # pixel and blur of the comparison, um
_LEAST_PIXELS = 400  # 4 mm2 of tissue on annotation
_TELLING = 0.30  # least correlation to expect of a plane, and least median correlation of a series
# Share of the usual correlation below which a section is an outlier: where its verdict is CHECK,
# where its outline is also worse than usual, where its verdict is FAIL.
_STRANGE, _DOUBTFUL, _FAILED = 0.30, 0.45, 0.60
_LOST_DICE = 0.05  # below the median Dice: an outline worse than usual
_LEAST_OTHERS = 4  # sections needed for what is usual


@dataclass(frozen=True)
class Likeness:
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
        return self.found / self.expected if self.expected >= _TELLING else float("nan")


def looks(task: Task, state: State, model: StainModel) -> list[Look]:
    """Sample the stain and the labels of every section under the present alignment, at 100 um.

    Parameters
    ----------
    task : Task
        What was fitted.
    state : State
        Placement of its n sections.
    model : StainModel
        Gives the gain of each section.

    Returns
    -------
    list of Look
        Pixels inside tissue and annotation, one for each section.
    """

    def image_of(k: int) -> tuple[LevelImage, LevelImage]:
        tissue, known = task.tissues[k], task.known[k]
        mask = tissue.mask.astype(np.float32)
        return tuple(level_image(tissue, known, i, _PIXEL_UM, _PIXEL_UM) for i in (tissue.stain, mask))  # type: ignore[return-value]

    pairs = each(image_of, range(len(task.tissues)), task.options.threads)
    images = [stain for stain, _ in pairs]
    labels = plane_labels(task.atlas, state, images, task.options.threads)
    found = []
    for k, (image, mask) in enumerate(pairs):
        inside = (image.weights > 0) & (labels[k] > 0) & (mask.values > 0.5)  # lost tissue is not compared
        values = (image.values[inside] / model.gains[k]).astype(np.float32)
        found.append(Look(labels[k][inside], values))
    return found


def likenesses(model: StainModel, seen: Sequence[Look]) -> list[Likeness]:
    """Compare every section with the stain table of its series.

    Parameters
    ----------
    model : StainModel
        Stain tables and noise.
    seen : sequence of Look
        Stain and labels of every section.

    Returns
    -------
    list of Likeness
        One for each section.
    """
    found = []
    for k, look in enumerate(seen):
        table, noise = model.table(k)[look.labels], float(model.noises[model.series[k]])
        found.append(_likeness(table.astype(np.float64), look.values.astype(np.float64), noise))
    return found


def _likeness(table: Float64, values: Float64, noise: float) -> Likeness:
    """Compare the stain of one section with its painted table.

    The stain is the table plus noise. So the expected correlation is s / sqrt(s^2 + noise^2), where s is the
    standard deviation of the table over the plane.
    """
    if table.size < _LEAST_PIXELS or table.std() == 0.0 or values.std() == 0.0:
        return Likeness(float("nan"), 0.0)
    spread = float(table.std())
    return Likeness(float(np.corrcoef(table, values)[0, 1]), spread / float(np.hypot(spread, noise)))


def strangers(task: Task, solution: Solution) -> dict[int, str]:
    """Find the outlier sections of a fit.

    A section with verdict PASS is never an outlier, however little its plane tells. Sections placed by hand
    are not judged.

    Parameters
    ----------
    task : Task
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
    seen = looks(task, solution.state, model)
    likes = likenesses(model, seen)
    dice = [o.dice for o in overlaps(task.atlas, solution.state, task.tissues, task.options.threads)]
    found: dict[int, tuple[float, str]] = {}
    foreign: dict[int, str] = {}
    for series in np.unique(model.series):
        own = [int(k) for k in np.flatnonzero(model.series == series) if k not in task.held]
        found |= _unlike(own, likes, dice)
        foreign |= parted(task, solution, own, seen)
    if foreign or not found:  # a table of two stains makes single sections look odd: split the mixture first
        return foreign
    judged = verdicts(task, solution.state, model)  # costly: only where there is a candidate
    return {
        k: why
        for k, (share, why) in found.items()
        if judged[k].status is Status.FAIL or (share < _limit(dice, k) and judged[k].status is Status.CHECK)
    }


def _limit(dice: Sequence[float], k: int) -> float:
    """Return the share of the usual correlation below which a section of verdict CHECK is an outlier."""
    return _DOUBTFUL if dice[k] < float(np.median(dice)) - _LOST_DICE else _STRANGE


def _unlike(
    own: Sequence[int], likes: Sequence[Likeness], dice: Sequence[float]
) -> dict[int, tuple[float, str]]:
    """Return sections that follow the table less than the others do, each with its share and the reason."""
    telling = [k for k in own if np.isfinite(likes[k].share)]
    if len(telling) < _LEAST_OTHERS:
        return {}
    usual = float(np.median([likes[k].share for k in telling]))
    usual_r = float(np.median([likes[k].found for k in telling]))
    if usual_r < _TELLING:  # this stain follows no structure: nothing to judge by
        return {}
    found = {}
    for k in telling:
        share = likes[k].share / usual  # against its own series: a faint stain is no fault
        if share < _FAILED:
            words = (
                "does not look like this brain at this place: its stain follows the structures with r"
                f" {likes[k].found:.2f} (the others {usual_r:.2f}), its outline with Dice {dice[k]:.2f}"
            )
            found[k] = (share, words)
    return found
