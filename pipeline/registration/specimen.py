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
from pipeline.registration.align import ChosenOrientation, Series, align_alone, fit_together, orientation_of
from pipeline.registration.initial.orientation import CoarseFit, UsableSections
from pipeline.registration.model.stated_positions import StatedPositions
from pipeline.registration.refusals import check_numbers

Outcome = SeriesAlignment | AlignmentError  # what becomes of one series
_LARGEST_LOSS = 0.04  # of median Dice in the common fit: a larger one separates a series
SEPARATE = "aligned separately from the other series of its specimen"  # opens the note


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
    usable = {number: one.usable for number, one in enumerate(series)}
    chosen, separate = _orientations(series, usable, reference)
    found: dict[int, Outcome] = {}
    # fit the series in common; drop those that lose by it and fit again
    while len(chosen) > 1:
        mine = {number: series[number] for number in chosen}
        try:
            check_numbers([t for one in mine.values() for t in one.thumbnails])
            together = fit_together(mine, chosen, _merged([usable[n] for n in sorted(chosen)]), reference)
        except AlignmentError as error:
            # no common fit: every series is aligned on its own
            separate |= dict.fromkeys(chosen, str(error))
            chosen = {}
            break
        # a wrong partner pulls the others as well, so the rest is refitted
        worse = _worse_together(chosen, together)
        if not worse:
            found = dict(together)
            break
        separate |= worse
        chosen = {number: one for number, one in chosen.items() if number not in worse}
    return [
        found[n] if n in found else _alone(one, reference, separate.get(n)) for n, one in enumerate(series)
    ]


def _orientations(
    series: Sequence[Series], usable: Mapping[int, UsableSections], reference: ReferenceSpace
) -> tuple[dict[int, ChosenOrientation], dict[int, str]]:
    """Return the orientations of the series that go together, the best fit first, and why others do not.

    A series with too few sections for an orientation of its own takes that of the best-fitting series.
    """
    found: dict[int, ChosenOrientation] = {}
    separate, few = {}, []
    for number, one in enumerate(series):
        if len(one.usable_indices) < one.options.minimum_sections:
            few += [number] if one.usable_indices else []  # a series without any tissue is not fitted at all
            continue
        try:
            found[number] = orientation_of(one, usable[number], reference)
        except AlignmentError as error:
            separate[number] = str(error)
    # by score, then by number, so that the result does not vary
    order = sorted(found, key=lambda n: (-found[n].coarse_fit.score, n))
    chosen = {}
    for number in order:
        coarse_fit, first = found[number].coarse_fit, found[order[0]].coarse_fit
        if _same_half_and_direction(coarse_fit, first):
            chosen[number] = found[number]
        else:
            found_as = f"its orientation from the images is {coarse_fit.describe()}"
            separate[number] = f"{found_as}, that of the best-fitting series {first.describe()}"
    if chosen:
        first = chosen[order[0]].coarse_fit
        chosen |= {n: ChosenOrientation(replace(first, options=series[n].options), ()) for n in few}
    return chosen, separate


def _same_half_and_direction(one: CoarseFit, other: CoarseFit) -> bool:
    """Whether two series can share a volume: same half, section numbers in the same direction."""
    return (
        one.orientation.sign == other.orientation.sign and one.options.hemisphere == other.options.hemisphere
    )


def _merged(usable: Sequence[UsableSections]) -> UsableSections:
    """Return the sections of all series in ascending z."""
    thumbnails = [t for one in usable for t in one.thumbnails]
    order = np.argsort([t.z_um for t in thumbnails], kind="stable")
    # first index of each series in the concatenated lists
    starts = np.cumsum([0, *(len(one.thumbnails) for one in usable)])
    fixed_planes = {
        int(starts[n]) + k: plane for n, one in enumerate(usable) for k, plane in one.fixed_planes.items()
    }
    tissues = [t for one in usable for t in one.tissues]
    known = [k for one in usable for k in one.known]
    whole = UsableSections(
        tuple(thumbnails), tuple(tissues), tuple(known), fixed_planes, StatedPositions.of(thumbnails)
    )
    return whole.select([int(k) for k in order])


def _worse_together(
    chosen: Mapping[int, ChosenOrientation], together: Mapping[int, SeriesAlignment]
) -> dict[int, str]:
    """Return the series whose outlines fit clearly worse together than alone, with the reason."""
    worse = {}
    for number, one in chosen.items():
        dice, alone = together[number].measures["median_dice"], one.coarse_fit.dice
        if dice < alone - _LARGEST_LOSS:
            worse[number] = f"its outlines fit worse jointly (Dice {dice:.2f}) than alone ({alone:.2f})"
    return worse


def _alone(series: Series, reference: ReferenceSpace, why: str | None) -> Outcome:
    """Align one series on its own; the reason goes first among its notes."""
    try:
        alignment = align_alone(series, reference)
    except AlignmentError as error:
        return error
    if why is None:
        return alignment
    return replace(alignment, notes=(f"{SEPARATE}: {why}", *alignment.notes))
