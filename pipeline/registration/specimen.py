"""Series of one specimen, cut alternately from one brain: one Alignment3d, one stain for each series.

The orientation of every series is first found on its own. Series that agree on the direction of the section
numbers are fitted together, so that sections of one series anchor those of another. A series that does not
fit in is aligned on its own, with a note.
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

Outcome = SeriesAlignment | AlignmentError  # what becomes of one series
_WORSE = 0.04  # loss of median Dice in the common fit that separates a series
APART = "aligned apart from the other series of its specimen"  # opens the note


def align_specimen(series: Sequence[Series], reference: ReferenceSpace) -> list[Outcome]:
    """Align the series of a specimen together.

    Parameters
    ----------
    series : sequence of Series
        Series k was made with number k, see `Series.of`.
    reference : ReferenceSpace
        Annotation and ontology to align to.

    Returns
    -------
    list of SeriesAlignment or AlignmentError
        For each series its alignment, or why it has none.
    """
    seen = {number: one.seen for number, one in enumerate(series)}
    chosen, apart = _ways(series, seen, reference)
    found: dict[int, Outcome] = {}
    # fit the series in common; drop those that lose by it and fit again
    while len(chosen) > 1:
        mine = {number: series[number] for number in chosen}
        try:
            check_numbers([t for one in mine.values() for t in one.thumbnails])
            together = fit_together(mine, chosen, _merged([seen[n] for n in sorted(chosen)]), reference)
        except AlignmentError as error:
            # no common fit: every series is aligned on its own
            apart |= dict.fromkeys(chosen, str(error))
            chosen = {}
            break
        # a wrong partner pulls the others as well, so the rest is refitted
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
    """Return the orientations of the series that go together, the best fit first, and why others do not.

    A series with too few sections for an orientation of its own takes that of the best-fitting series.
    """
    found: dict[int, Chosen] = {}
    apart, few = {}, []
    for number, one in enumerate(series):
        if len(one.usable) < one.options.minimum_sections:
            few += [number] if one.usable else []  # a series without any tissue is not fitted at all
            continue
        try:
            found[number] = way_of(one, seen[number], reference)
        except AlignmentError as error:
            apart[number] = str(error)
    # by score, then by number, so that the result does not vary
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
    """Whether two series can share a volume: same half, section numbers in the same direction."""
    return one.way.sign == other.way.sign and one.options.hemisphere == other.options.hemisphere


def _merged(seen: Sequence[Seen]) -> Seen:
    """Return the sections of all series in ascending z."""
    thumbnails = [t for one in seen for t in one.thumbnails]
    order = np.argsort([t.z_um for t in thumbnails], kind="stable")
    # first index of each series in the concatenated lists
    starts = np.cumsum([0, *(len(one.thumbnails) for one in seen)])
    held = {int(starts[n]) + k: plane for n, one in enumerate(seen) for k, plane in one.held.items()}
    tissues = [t for one in seen for t in one.tissues]
    known = [k for one in seen for k in one.known]
    return Seen(tuple(thumbnails), tuple(tissues), tuple(known), held).at([int(k) for k in order])


def _strays(chosen: Mapping[int, Chosen], together: Mapping[int, SeriesAlignment]) -> dict[int, str]:
    """Return the series whose outlines fit clearly worse together than alone, with the reason."""
    strays = {}
    for number, one in chosen.items():
        dice, alone = together[number].measures["median_dice"], one.attempt.dice
        if dice < alone - _WORSE:
            strays[number] = f"its outlines fit worse together (Dice {dice:.2f}) than alone ({alone:.2f})"
    return strays


def _apart(series: Series, reference: ReferenceSpace, why: str | None) -> Outcome:
    """Align one series on its own; the reason goes first among its notes."""
    try:
        alignment = align_alone(series, reference)
    except AlignmentError as error:
        return error
    if why is None:
        return alignment
    return replace(alignment, notes=(f"{APART}: {why}", *alignment.notes))
