"""Sections that do not belong: of another plane, another organ, another place than their number says.

The stain of a section that lies where it should follows the series' own stain table on its plane about as
well as that of the others does. How well it can is known from how much the table varies on the plane. What
follows it far less is no section of this brain at this place; it would pull the others, so it is left out of
the fit.
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

_PIXEL_UM = 100.0
_LEAST_PIXELS = 400
_TELLING = 0.30  # the least correlation that a plane must let expect, and that the others must reach
_STRANGE, _DOUBTFUL, _FAILED = 0.30, 0.45, 0.60
_LOST_DICE = 0.05
_LEAST_OTHERS = 4


@dataclass(frozen=True)
class Likeness:
    """How well a section's stain follows the series' table on its plane.

    Parameters
    ----------
    found : correlation of stain and painted table; nan where too little is seen
    expected : what it would be if only the noise of the series stood between them
    """

    found: float
    expected: float

    @property
    def share(self) -> float:
        """Found over expected, nan where the plane tells nothing."""
        return self.found / self.expected if self.expected >= _TELLING else float("nan")


def looks(task: Task, state: State, model: StainModel) -> list[Look]:
    """Return what is seen of every section under the present alignment, at 100 um."""

    def image_of(k: int) -> tuple[LevelImage, LevelImage]:
        tissue, known = task.tissues[k], task.known[k]
        mask = tissue.mask.astype(np.float32)
        return tuple(level_image(tissue, known, i, _PIXEL_UM, _PIXEL_UM) for i in (tissue.stain, mask))  # type: ignore[return-value]

    pairs = each(image_of, range(len(task.tissues)), task.options.threads)
    images = [stain for stain, _ in pairs]
    labels = plane_labels(task.atlas, state, images, task.options.threads)
    found = []
    for k, (image, mask) in enumerate(pairs):
        inside = (image.weights > 0) & (labels[k] > 0) & (mask.values > 0.5)  # a piece lost says nothing
        values = (image.values[inside] / model.gains[k]).astype(np.float32)
        found.append(Look(labels[k][inside], values))
    return found


def likenesses(model: StainModel, seen: Sequence[Look]) -> list[Likeness]:
    """Return how well every section follows the table."""
    found = []
    for k, look in enumerate(seen):
        table, noise = model.table(k)[look.labels], float(model.noises[model.series[k]])
        found.append(_likeness(table.astype(np.float64), look.values.astype(np.float64), noise))
    return found


def _likeness(table: Float64, values: Float64, noise: float) -> Likeness:
    if table.size < _LEAST_PIXELS or table.std() == 0.0 or values.std() == 0.0:
        return Likeness(float("nan"), 0.0)
    spread = float(table.std())
    return Likeness(float(np.corrcoef(table, values)[0, 1]), spread / float(np.hypot(spread, noise)))


def strangers(task: Task, solution: Solution) -> dict[int, str]:
    """Return the places of the sections that do not belong, with the reason in words.

    None where there is no stain to go by. What may pass is no stranger, however little its plane tells.
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
    if foreign or not found:  # a table of two stains makes single sections strange: first the parts
        return foreign
    judged = verdicts(task, solution.state, model)
    return {
        k: why
        for k, (share, why) in found.items()
        if judged[k].status is Status.FAIL or (share < _limit(dice, k) and judged[k].status is Status.CHECK)
    }


def _limit(dice: Sequence[float], k: int) -> float:
    """Return the share of the usual likeness below which a section that need not fail is a stranger."""
    return _DOUBTFUL if dice[k] < float(np.median(dice)) - _LOST_DICE else _STRANGE


def _unlike(
    own: Sequence[int], likes: Sequence[Likeness], dice: Sequence[float]
) -> dict[int, tuple[float, str]]:
    """Return the sections that are less like the table than the others are, with their share and in words."""
    telling = [k for k in own if np.isfinite(likes[k].share)]
    if len(telling) < _LEAST_OTHERS:
        return {}
    usual = float(np.median([likes[k].share for k in telling]))
    usual_r = float(np.median([likes[k].found for k in telling]))
    if usual_r < _TELLING:
        return {}
    found = {}
    for k in telling:
        share = likes[k].share / usual
        if share < _FAILED:
            words = (
                "does not look like this brain at this place: its stain follows the structures with r"
                f" {likes[k].found:.2f} (the others {usual_r:.2f}), its outline with Dice {dice[k]:.2f}"
            )
            found[k] = (share, words)
    return found
