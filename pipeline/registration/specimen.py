"""The series of one specimen, cut in turns from one brain: one Alignment3d, each with a stain of its own.

Every series first finds by itself how it lies. Those that agree on the direction of the section numbers are
fitted together, so that sections of one anchor those of another; who does not fit in is aligned apart, which
is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.errors import AlignmentError
from pipeline.core.model import SeriesAlignment
from pipeline.core.reference_space import ReferenceSpace
from pipeline.registration.align import Chosen, Series, align_alone, fit_together, way_of
from pipeline.registration.initial.orientation import Attempt, Seen
from pipeline.registration.refusals import check_numbers

Outcome = SeriesAlignment | AlignmentError
_WORSE = 0.04
APART = "aligned apart from the other series of its specimen"


def align_specimen(series: Sequence[Series], reference: ReferenceSpace) -> list[Outcome]:
    """Align the series of a specimen together; series k has number k (see `Series.of`).

    Returns
    -------
    for each series its alignment, or why it has none
    """
    seen = {number: one.seen for number, one in enumerate(series)}
    chosen, apart = _ways(series, seen, reference)
    found: dict[int, Outcome] = {}
    while len(chosen) > 1:
        mine = {number: series[number] for number in chosen}
        try:
            check_numbers([t for one in mine.values() for t in one.thumbnails])
            together = fit_together(mine, chosen, _merged([seen[n] for n in sorted(chosen)]), reference)
        except AlignmentError as error:
            apart |= dict.fromkeys(chosen, str(error))
            chosen = {}
            break
        strays = _strays(chosen, together)
        if not strays:
            found = dict(together)
            break
        apart |= strays
        chosen = {number: one for number, one in chosen.items() if number not in strays}
    return [found[n] if n in found else _apart(one, reference, apart.get(n)) for n, one in enumerate(series)]


def _ways(
    series: Sequence[Series], seen: Mapping[int, Seen], reference: ReferenceSpace
) -> tuple[dict[int, Chosen], dict[int, str]]:
    """Return how the series lie that go together, the surest first, and why others do not.

    A series of too few sections to find its way lies as the surest of the others does.
    """
    found: dict[int, Chosen] = {}
    apart, few = {}, []
    for number, one in enumerate(series):
        if len(one.usable) < one.options.minimum_sections:
            few += [number] if one.usable else []
            continue
        try:
            found[number] = way_of(one, seen[number], reference)
        except AlignmentError as error:
            apart[number] = str(error)
    order = sorted(found, key=lambda n: (-found[n].attempt.score, n))
    chosen = {}
    for number in order:
        attempt, first = found[number].attempt, found[order[0]].attempt
        if _agree(attempt, first):
            chosen[number] = found[number]
        else:
            apart[number] = f"by its images it lies {attempt.words()}, but the surest of them {first.words()}"
    if chosen:
        first = chosen[order[0]].attempt
        chosen |= {n: Chosen(replace(first, options=series[n].options), ()) for n in few}
    return chosen, apart


def _agree(one: Attempt, other: Attempt) -> bool:
    """Whether two series can be of one volume: the same half, numbered the same way."""
    return one.way.sign == other.way.sign and one.options.hemisphere == other.options.hemisphere


def _merged(seen: Sequence[Seen]) -> Seen:
    """Return the sections of all series in order of z."""
    thumbnails = [t for one in seen for t in one.thumbnails]
    order = np.argsort([t.z_um for t in thumbnails], kind="stable")
    starts = np.cumsum([0, *(len(one.thumbnails) for one in seen)])
    held = {int(starts[n]) + k: plane for n, one in enumerate(seen) for k, plane in one.held.items()}
    tissues = [t for one in seen for t in one.tissues]
    known = [k for one in seen for k in one.known]
    return Seen(tuple(thumbnails), tuple(tissues), tuple(known), held).at([int(k) for k in order])


def _strays(chosen: Mapping[int, Chosen], together: Mapping[int, SeriesAlignment]) -> dict[int, str]:
    """Return the series whose outlines fit clearly worse together than they did alone, and that in words."""
    strays = {}
    for number, one in chosen.items():
        dice, alone = together[number].measures["median_dice"], one.attempt.dice
        if dice < alone - _WORSE:
            strays[number] = f"its outlines fit worse together (Dice {dice:.2f}) than alone ({alone:.2f})"
    return strays


def _apart(series: Series, reference: ReferenceSpace, why: str | None) -> Outcome:
    try:
        alignment = align_alone(series, reference)
    except AlignmentError as error:
        return error
    if why is None:
        return alignment
    return replace(alignment, notes=(f"{APART}: {why}", *alignment.notes))
