"""From thumbnails to a SeriesAlignment: what is usable, how the series lies, the fit, the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.registration.deformable import refine
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import Solution, Task, fit_outlines, fit_stains
from pipeline.registration.fit.neighbour_prior import rigid_parts
from pipeline.registration.fit.template import fit_template
from pipeline.registration.initial.orientation import Attempt, Seen, assumed, turned_otherwise
from pipeline.registration.initial.placement import placed, relocated, reseated
from pipeline.registration.initial.plane_and_half import check_plane, choose_way
from pipeline.registration.model.hand_placed import Correction, planes_of, with_corrections
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.model.state import State, known_with_margin
from pipeline.registration.options import AlignmentOptions
from pipeline.registration.quality.measures import overlaps
from pipeline.registration.quality.outliers import strangers
from pipeline.registration.refusals import (
    check_background,
    check_extent,
    check_fit,
    check_numbers,
    check_one_brain,
    check_usable,
)
from pipeline.registration.result import aligned_sections, part_of
from pipeline.sections.thumbnail import SectionThumbnail, reduced
from pipeline.sections.thumbnail_tissue import TissueImage, tissue_image
from pipeline.system.threads import each

_WORKING_UM = 36.0

Aligner = Callable[[Task, State, ReferenceSpace], Solution]


def _joint(task: Task, state: State, reference: ReferenceSpace) -> Solution:
    return fit_stains(task, state)


ALIGNERS: dict[str, Aligner] = {"joint": _joint, "template": fit_template}


@dataclass(frozen=True, eq=False)
class Series:
    """A series that is to be aligned: its sections, in order of z, and what a person has placed of them.

    Parameters
    ----------
    tissues : of `thumbnails`, one each
    corrections : by section number
    """

    thumbnails: tuple[SectionThumbnail, ...]
    tissues: tuple[TissueImage, ...]
    options: AlignmentOptions
    corrections: Mapping[int, Correction] = field(default_factory=dict)

    @staticmethod
    def of(
        thumbnails: Sequence[SectionThumbnail],
        options: AlignmentOptions,
        corrections: Mapping[int, Correction] | None = None,
        number: int = 0,
    ) -> Series:
        """Return the series as number `number` of its specimen.

        Raises
        ------
        AlignmentError
            where two sections have one number.
        """
        own = (replace(reduced(t, _WORKING_UM), series=number) for t in thumbnails)
        ordered = sorted(own, key=lambda t: t.z_um)
        check_numbers(ordered)
        tissues = each(tissue_image, ordered, options.threads)
        return Series(tuple(ordered), tuple(tissues), options, corrections or {})

    @property
    def usable(self) -> list[int]:
        """The places of the sections that show tissue."""
        return [k for k, t in enumerate(self.tissues) if not (t.blank or self.thumbnails[k].failed)]

    @property
    def seen(self) -> Seen:
        """The sections that show tissue."""
        usable = self.usable
        return Seen(
            thumbnails=tuple(self.thumbnails[k] for k in usable),
            tissues=tuple(self.tissues[k] for k in usable),
            known=tuple(known_with_margin(self.tissues[k]) for k in usable),
            held=planes_of(self.corrections, [self.thumbnails[k] for k in usable]),
        )


@dataclass(frozen=True, eq=False)
class Chosen:
    """How a series lies, and what is to be said of it."""

    attempt: Attempt
    notes: tuple[str, ...]


def align_series(
    thumbnails: Sequence[SectionThumbnail],
    reference: ReferenceSpace,
    options: AlignmentOptions,
    corrections: Mapping[int, Correction] | None = None,
) -> SeriesAlignment:
    """Align a series from nothing, but for the sections that a person has placed, by section number.

    Raises
    ------
    AlignmentError
        where too few sections show tissue, the reference cannot hold it, or nothing fits.
    """
    if options.aligner not in ALIGNERS:
        raise ConfigError(f"alignment: no aligner {options.aligner!r}; there are {', '.join(ALIGNERS)}")
    return align_alone(Series.of(thumbnails, options, corrections), reference)


def align_alone(series: Series, reference: ReferenceSpace) -> SeriesAlignment:
    """Align a series by its own sections; see `align_series`."""
    seen = series.seen
    chosen = way_of(series, seen, reference)
    number = series.thumbnails[0].series
    return fit_together({number: series}, {number: chosen}, seen, reference)[number]


def way_of(series: Series, seen: Seen, reference: ReferenceSpace) -> Chosen:
    """Find how a series lies; AlignmentError where it lies nowhere."""
    options = series.options
    check_background(series.thumbnails)
    check_usable(series.thumbnails, series.tissues, series.usable, options)
    atlas = atlas_of(reference, options.plane_of_section, options.hemisphere)
    check_extent(atlas, seen.thumbnails, seen.tissues, options.hemisphere)
    attempt, notes = choose_way(reference, atlas, seen, options)
    check_plane(reference, seen, attempt)
    return Chosen(attempt, notes)


def fit_together(
    series: Mapping[int, Series],
    chosen: Mapping[int, Chosen],
    seen: Seen,
    reference: ReferenceSpace,
) -> dict[int, SeriesAlignment]:
    """Fit all sections of one or more series and one 3-D affine, to begin with that of the first chosen.

    Parameters
    ----------
    seen : the sections of all series that show tissue, in order of z

    Returns
    -------
    the alignment of each series; all have the same Alignment3d

    Raises
    ------
    AlignmentError
        where the outlines do not fit.
    """
    seen, (task, solution), foreign = _without_strangers(chosen, seen, reference)
    ordered = sorted((t for one in series.values() for t in one.thumbnails), key=lambda t: t.z_um)
    places = {t.section_number: k for k, t in enumerate(ordered)}
    usable = [places[t.section_number] for t in seen.thumbnails]
    whole = aligned_sections(ordered, usable, task, solution)
    whole = replace(
        whole,
        sections=tuple(
            replace(s, reason=foreign.get(s.alignment2d.section_number, "")) for s in whole.sections
        ),
    )
    turned = _turns(seen, task, solution, whole)
    parts = {}
    for number, one in chosen.items():
        against = turned_otherwise([(t, turn) for t, turn in turned if t.series == number])
        notes = (*one.notes, *assumed(one.attempt.way, one.attempt.options), *against)
        own = {t.section_number for t in series[number].thumbnails}
        parts[number] = part_of(whole, own, solution, number, notes)
    bent = whole if task.options.deformable == "none" else refine(task, ordered, usable, whole)
    mended = {n: c for one in series.values() for n, c in one.corrections.items()}
    final = with_corrections(bent, mended, {t.section_number: t.z_um for t in ordered})
    return {number: _finished(part, final) for number, part in parts.items()}


def _without_strangers(
    chosen: Mapping[int, Chosen], seen: Seen, reference: ReferenceSpace
) -> tuple[Seen, tuple[Task, Solution], dict[int, str]]:
    """Fit, leave out what does not belong, and fit the rest anew, until nothing strange is found.

    Returns
    -------
    the sections that were fitted; the fit; why others were left out, by section number
    """
    count, foreign = len(seen.thumbnails), dict[int, str]()
    while True:
        fit = _fitted(chosen, seen, reference)
        found = strangers(*fit)
        foreign |= {seen.thumbnails[k].section_number: why for k, why in found.items()}
        check_one_brain(foreign, count)
        if not found:
            return seen, fit, foreign
        seen = seen.at([k for k in range(len(seen.thumbnails)) if k not in found])


def _fitted(chosen: Mapping[int, Chosen], seen: Seen, reference: ReferenceSpace) -> tuple[Task, Solution]:
    task, state = placed({number: one.attempt for number, one in chosen.items()}, seen)
    state = relocated(task, reseated(task, state))
    state = fit_outlines(task, state, task.options.outline_sigma_um).state
    state = relocated(task, state)
    check_fit(task.atlas, _dice(task, state), state.volume, reference.name)
    solution = ALIGNERS[task.options.aligner](task, state, reference)
    check_fit(task.atlas, _dice(task, solution.state), solution.state.volume, reference.name)
    return task, solution


def _turns(
    seen: Seen, task: Task, solution: Solution, whole: SeriesAlignment
) -> list[tuple[SectionThumbnail, float]]:
    """Return the sections that are placed, each with its turn beyond its hint, in degrees."""
    failed = {s.alignment2d.section_number for s in whole.sections if s.status is Status.FAIL}
    turns = np.rad2deg(rigid_parts(solution.state, task.nominal)[:, 2] / LENGTH_UM)
    pairs = zip(seen.thumbnails, turns.tolist(), strict=True)
    return [(one, turn) for one, turn in pairs if one.section_number not in failed]


def _finished(part: SeriesAlignment, final: SeriesAlignment) -> SeriesAlignment:
    """Return a series with its sections as they are in the end."""
    numbers = {s.alignment2d.section_number for s in part.sections}
    sections = tuple(s for s in final.sections if s.alignment2d.section_number in numbers)
    bent = any(s.deformation is not None for s in sections)
    return replace(
        part,
        sections=sections,
        notes=(*part.notes, *final.notes),
        deformable=final.deformable if bent else "none",
    )


def _dice(task: Task, state: State) -> list[float]:
    return [o.dice for o in overlaps(task.atlas, state, task.tissues, task.options.threads)]
