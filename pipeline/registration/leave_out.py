"""Fit a series without the sections that do not belong: wrong numbers, other organs, other brains."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

import numpy as np

from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.initial.orientation import UsableSections
from pipeline.registration.quality.misnumbered import (
    compare_places,
    misnumbered_reason,
    misnumbered_sections,
    number_at,
    numbered_rightly,
    too_many,
)
from pipeline.registration.quality.outliers import outlier_sections
from pipeline.registration.refusals import check_one_brain

Fit = tuple[FitProblem, Solution]


def fit_without_outliers(
    usable: UsableSections, fit: Callable[[UsableSections], Fit], far: Set[int] = frozenset()
) -> tuple[UsableSections, Fit, dict[int, str]]:
    """Fit, leave out the sections that do not belong and fit the rest anew, until all belong.

    Wrong numbers go first, since sections far from their place can look like another brain. One whose number
    proves right once the others are fitted without it comes back.

    Parameters
    ----------
    usable : UsableSections
        The sections.
    fit : callable
        Fits some of them.
    far : set of int
        Section numbers that cannot be right, see `refusals.far_numbers`.

    Returns
    -------
    usable : UsableSections
        The sections that stayed in the fit.
    fit : (FitProblem, Solution)
        What was fitted, and the result.
    outliers : dict of int to str
        Why each other section was left out, by section number.

    Raises
    ------
    AlignmentError
        Where nothing fits, or too many sections do not belong.
    """
    misnumbered, cleared, others = set(far), set[int](), dict[int, str]()
    while True:
        kept = _without(usable, misnumbered | others.keys())
        numbers = [t.section_number for t in kept.thumbnails]
        problem, solution = fit(kept)
        wrong = {numbers[k] for k in misnumbered_sections(problem, solution, kept.thumbnails)} - cleared
        if wrong and too_many(len((misnumbered | wrong) - far), len(usable.thumbnails)):
            # round after round more: spacing or fit are wrong, not the numbers
            misnumbered, cleared = set(far), {t.section_number for t in usable.thumbnails} - far
            continue
        if wrong:
            misnumbered |= wrong
            continue
        found = outlier_sections(problem, solution)
        others |= {numbers[k]: why for k, why in found.items()}
        # many outliers mean that the series is a mixture, not that sections are odd
        check_one_brain(others, len(usable.thumbnails))
        if found:
            continue
        reasons = _reasons(usable, (problem, solution), misnumbered, numbers)
        right = {n for n, why in reasons.items() if not why}
        if not right:
            return kept, (problem, solution), others | reasons
        misnumbered, cleared = misnumbered - right, cleared | right


def _without(usable: UsableSections, numbers: Set[int]) -> UsableSections:
    """Return the sections but those of some numbers."""
    kept = [k for k, t in enumerate(usable.thumbnails) if t.section_number not in numbers]
    return usable if len(kept) == len(usable.thumbnails) else usable.select(kept)


def _reasons(usable: UsableSections, fit: Fit, misnumbered: Set[int], right: Sequence[int]) -> dict[int, str]:
    """Return why sections were left out, by number; an empty reason where the number is right after all."""
    chosen = [k for k, t in enumerate(usable.thumbnails) if t.section_number in misnumbered]
    if not chosen:
        return {}
    thickness = float(np.median([t.z_um / t.section_number for t in usable.thumbnails if t.section_number]))
    reasons = {}
    places = compare_places(*fit, [(usable.thumbnails[k], usable.tissues[k]) for k in chosen])
    for k, place in zip(chosen, places, strict=True):
        number = usable.thumbnails[k].section_number
        meant = number_at(place.z_um, thickness, right)
        reasons[number] = "" if numbered_rightly(place) else misnumbered_reason(number, meant)
    return reasons
