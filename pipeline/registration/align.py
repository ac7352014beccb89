"""From thumbnails to a SeriesAlignment: usable sections, orientation, fit, verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import SeriesAlignment, Status
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.hand_placement import Correction
from pipeline.registration.deformable import refine
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import FitProblem, Solution, fit_outlines, fit_stains
from pipeline.registration.fit.neighbour_prior import rigid_parts
from pipeline.registration.fit.template import fit_template
from pipeline.registration.initial.orientation import (
    CoarseFit,
    UsableSections,
    convention_notes,
    rotation_notes,
)
from pipeline.registration.initial.placement import initial_placement, placed_by_neighbours, placed_by_stain
from pipeline.registration.initial.plane_and_half import check_plane, choose_orientation
from pipeline.registration.leave_out import fit_without_outliers
from pipeline.registration.model.hand_placed import fixed_planes_of, with_corrections
from pipeline.registration.model.painted_atlas import atlas_of
from pipeline.registration.model.state import TransformState, known_with_margin
from pipeline.registration.model.stated_positions import StatedPositions
from pipeline.registration.options import AlignmentOptions
from pipeline.registration.quality.calibration_range import outside_calibration
from pipeline.registration.quality.measures import overlaps
from pipeline.registration.refusals import (
    check_background,
    check_extent,
    check_fit,
    check_numbers,
    check_positions,
    check_usable,
    far_numbers,
)
from pipeline.registration.result import aligned_sections, series_part
from pipeline.sections.thumbnail import SectionThumbnail, reduced
from pipeline.sections.thumbnail_tissue import TissueImage, tissue_image
from pipeline.system.threads import each

_WORKING_UM = 36.0  # um; largest pixel after block reduction; coarser thumbnails stay as they are

# refines a placement by outline; gets the reference for its template
Aligner = Callable[[FitProblem, TransformState, ReferenceSpace], Solution]


def _joint(problem: FitProblem, state: TransformState, reference: ReferenceSpace) -> Solution:
    return fit_stains(problem, state)


# the values of the option `aligner`
ALIGNERS: dict[str, Aligner] = {"joint": _joint, "template": fit_template}


@dataclass(frozen=True, eq=False)
class Series:
    """The sections of a series in order of z, and the corrections that a person gave for them.

    Attributes
    ----------
    thumbnails : tuple of SectionThumbnail
        Sections in ascending z, finer ones reduced by block means to at most 36 um a pixel.
    tissues : tuple of TissueImage
        Tissue mask and stain of each of `thumbnails`.
    options : AlignmentOptions
        Options and hints of this series.
    corrections : mapping of int to Correction
        Placements by hand, by section number.
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

        Parameters
        ----------
        thumbnails : sequence of SectionThumbnail
            Sections in any order.
        options : AlignmentOptions
            Options and hints of this series.
        corrections : mapping of int to Correction, optional
            Placements by hand, by section number.
        number : int
            Position of the series in its specimen; each series has a stain of its own.

        Returns
        -------
        Series
            The sections in ascending z, with their tissue masks.

        Raises
        ------
        AlignmentError
            Where two sections have one number.
        """
        # every section carries the number of its series: the stain tables are kept by it
        own = (replace(reduced(t, _WORKING_UM), series=number) for t in thumbnails)
        ordered = sorted(own, key=lambda t: t.z_um)
        check_numbers(ordered)
        tissues = each(tissue_image, ordered, options.threads)
        return Series(tuple(ordered), tuple(tissues), options, corrections or {})

    @property
    def usable_indices(self) -> list[int]:
        """Indices of the sections that show tissue and are not flagged as failed."""
        return [k for k, t in enumerate(self.tissues) if not (t.blank or self.thumbnails[k].failed)]

    @property
    def usable(self) -> UsableSections:
        """The usable sections, with what the fit needs of each."""
        usable_indices = self.usable_indices
        return UsableSections(
            thumbnails=tuple(self.thumbnails[k] for k in usable_indices),
            tissues=tuple(self.tissues[k] for k in usable_indices),
            known=tuple(known_with_margin(self.tissues[k]) for k in usable_indices),
            fixed_planes=fixed_planes_of(self.corrections, [self.thumbnails[k] for k in usable_indices]),
            stated=StatedPositions.of(self.thumbnails),
        )


@dataclass(frozen=True, eq=False)
class ChosenOrientation:
    """The orientation of a series, and the notes on how it was chosen.

    Attributes
    ----------
    coarse_fit : CoarseFit
        Best coarse fit: orientation, volume and scores.
    notes : tuple of str
        What the images decided or contradicted, for the reader.
    doubt : str
        What the images leave undecided: no section passes; empty for nothing.
    """

    coarse_fit: CoarseFit
    notes: tuple[str, ...]
    doubt: str = ""


def align_series(
    thumbnails: Sequence[SectionThumbnail],
    reference: ReferenceSpace,
    options: AlignmentOptions,
    corrections: Mapping[int, Correction] | None = None,
) -> SeriesAlignment:
    """Align a series from its images alone, except for sections that a person has placed.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        All sections of the series, in any order.
    reference : ReferenceSpace
        Annotation and ontology to align to.
    options : AlignmentOptions
        Options and hints.
    corrections : mapping of int to Correction, optional
        Placements by hand, by section number; these sections are held there.

    Returns
    -------
    SeriesAlignment
        One Alignment2d for every thumbnail, one Alignment3d, measures and notes.

    Raises
    ------
    ConfigError
        Where `options.aligner` is not one of `ALIGNERS`.
    AlignmentError
        Where too few sections show tissue, the reference cannot hold it, or nothing fits.
    """
    if options.aligner not in ALIGNERS:
        raise ConfigError(f"alignment: unknown aligner {options.aligner!r}; known: {', '.join(ALIGNERS)}")
    return align_alone(Series.of(thumbnails, options, corrections), reference)


def align_alone(series: Series, reference: ReferenceSpace) -> SeriesAlignment:
    """Align a series by its own sections; see `align_series`.

    Parameters
    ----------
    series : Series
        Sections, options and corrections.
    reference : ReferenceSpace
        Annotation and ontology to align to.

    Returns
    -------
    SeriesAlignment
        One Alignment2d for every section of the series.
    """
    usable = series.usable
    chosen = orientation_of(series, usable, reference)
    number = series.thumbnails[0].series
    return fit_together({number: series}, {number: chosen}, usable, reference)[number]


def orientation_of(series: Series, usable: UsableSections, reference: ReferenceSpace) -> ChosenOrientation:
    """Find the orientation of a series: direction of its numbers, common rotation, mirroring, half.

    Parameters
    ----------
    series : Series
        The whole series, for the checks and options.
    usable : UsableSections
        Its usable sections.
    reference : ReferenceSpace
        Annotation to try the orientations on.

    Returns
    -------
    ChosenOrientation
        Best coarse fit and the notes on it.

    Raises
    ------
    AlignmentError
        Where the background is dark, too few sections show tissue, the tissue is too large or the series too
        long for the reference, or the other plane of section fits better.
    """
    options = series.options
    # refuse what cannot work before any fit is tried
    check_background(series.thumbnails)
    check_usable(series.thumbnails, series.tissues, series.usable_indices, options)
    atlas = atlas_of(reference, options.plane_of_section, options.hemisphere)
    far = far_numbers(atlas, usable.thumbnails, options.hemisphere)
    if far:  # a mistyped number must not stretch the series beyond the brain
        usable = usable.select([k for k, t in enumerate(usable.thumbnails) if t.section_number not in far])
    check_extent(atlas, usable.thumbnails, usable.tissues, options.hemisphere)
    check_positions(atlas, usable.thumbnails)
    options = options.scaled(atlas.size)
    coarse_fit, notes, doubt = choose_orientation(reference, atlas, usable, options)
    # the declared plane fits poorly: try the other one before trusting it
    kept = check_plane(reference, usable, coarse_fit)
    return ChosenOrientation(coarse_fit, (*notes, *kept, *options.trusted_in_vain), doubt)


def fit_together(
    series: Mapping[int, Series],
    chosen: Mapping[int, ChosenOrientation],
    usable: UsableSections,
    reference: ReferenceSpace,
) -> dict[int, SeriesAlignment]:
    """Fit all sections of one or more series and one 3-D affine.

    The 3-D affine starts from that of the first series in `chosen`.

    Parameters
    ----------
    series : mapping of int to Series
        The series by their number in the specimen.
    chosen : mapping of int to ChosenOrientation
        Orientation of each series, the most reliable first.
    usable : UsableSections
        Usable sections of all series, in ascending z.
    reference : ReferenceSpace
        Annotation and template to align to.

    Returns
    -------
    dict of int to SeriesAlignment
        The alignment of each series; all share one Alignment3d.

    Raises
    ------
    AlignmentError
        Where the outlines do not fit, or too many sections belong to another brain.
    """
    first = next(iter(chosen.values())).coarse_fit
    far = far_numbers(first.atlas, usable.thumbnails, first.options.hemisphere)
    usable, (problem, solution), outliers = fit_without_outliers(
        usable, lambda some: _fit(chosen, some, reference), far
    )
    # the failed and blank sections come back in: they get a pose from their neighbours
    ordered = sorted((t for one in series.values() for t in one.thumbnails), key=lambda t: t.z_um)
    index_of = {t.section_number: k for k, t in enumerate(ordered)}
    # indices into `ordered` of the sections that were fitted
    fitted = [index_of[t.section_number] for t in usable.thumbnails]
    whole = aligned_sections(ordered, fitted, problem, solution)
    explained = (
        replace(s, reason=outliers.get(s.alignment2d.section_number, s.reason)) for s in whole.sections
    )
    whole = replace(whole, sections=tuple(explained))
    # a turn far from `rotate_deg` contradicts the manifest and is noted
    turned = _rotations_beyond_hints(usable, problem, solution, whole)
    parts = {}
    for number, one in chosen.items():
        notes = _notes(one, [(t, turn) for t, turn in turned if t.series == number], usable)
        own = {t.section_number for t in series[number].thumbnails}
        parts[number] = series_part(whole, own, solution, number, notes)
    # matrices stay; a displacement field comes on top
    deformed = whole if problem.options.deformable == "none" else refine(problem, ordered, fitted, whole)
    corrections = {n: c for one in series.values() for n, c in one.corrections.items()}
    # sections placed by hand end exactly where they were put, whatever the fit did
    final = with_corrections(deformed, corrections, {t.section_number: t.z_um for t in ordered})
    return {
        number: _finished(part, final, chosen[number].doubt, corrections) for number, part in parts.items()
    }


def _fit(
    chosen: Mapping[int, ChosenOrientation], usable: UsableSections, reference: ReferenceSpace
) -> tuple[FitProblem, Solution]:
    """Place every section by outline, then refine by the chosen aligner.

    Raises
    ------
    AlignmentError
        Where the outlines do not fit before or after the refinement.
    """
    problem, state = initial_placement({number: one.coarse_fit for number, one in chosen.items()}, usable)
    # stain first, since an outline alone cannot distinguish a section from one upside down
    state = placed_by_neighbours(problem, placed_by_stain(problem, state))
    state = fit_outlines(problem, state, problem.options.outline_sigma_um).state
    state = placed_by_neighbours(problem, state)  # a finer fit exposes misplaced sections
    # before the stain stages, which cannot mend a wrong outline
    check_fit(problem.atlas, _dice(problem, state), state.volume, reference.name)
    solution = ALIGNERS[problem.options.aligner](problem, state, reference)
    check_fit(problem.atlas, _dice(problem, solution.state), solution.state.volume, reference.name)
    return problem, solution


def _notes(
    chosen: ChosenOrientation, turned: Sequence[tuple[SectionThumbnail, float]], usable: UsableSections
) -> tuple[str, ...]:
    """Return the notes on the orientation of a series, and on what its errors rest."""
    fit = chosen.coarse_fit
    conventions = convention_notes(fit.orientation, fit.options)
    outside = outside_calibration(usable.thumbnails, fit.atlas.size)
    return (*chosen.notes, *conventions, *rotation_notes(turned), *outside)


def _rotations_beyond_hints(
    usable: UsableSections, problem: FitProblem, solution: Solution, whole: SeriesAlignment
) -> list[tuple[SectionThumbnail, float]]:
    """Return the sections that were placed, each with its turn beyond its hint, in degrees."""
    failed = {s.alignment2d.section_number for s in whole.sections if s.status is Status.FAIL}
    # rigid parts hold the turn as an arc at 3 mm
    turns = np.rad2deg(rigid_parts(solution.state, problem.nominal)[:, 2] / LENGTH_UM)
    pairs = zip(usable.thumbnails, turns.tolist(), strict=True)
    return [(one, turn) for one, turn in pairs if one.section_number not in failed]


def _finished(
    part: SeriesAlignment, final: SeriesAlignment, doubt: str, corrections: Mapping[int, Correction]
) -> SeriesAlignment:
    """Return one series as refinement and corrections left its sections; where in doubt, none passes."""
    numbers = {s.alignment2d.section_number for s in part.sections}
    sections = [s for s in final.sections if s.alignment2d.section_number in numbers]
    deformed = any(s.deformation is not None for s in sections)
    if doubt:  # not about sections that a person has placed
        sections = [
            replace(s, status=Status.CHECK, reason=doubt)
            if s.status is Status.PASS and s.alignment2d.section_number not in corrections
            else s
            for s in sections
        ]
    return replace(
        part,
        sections=tuple(sections),
        notes=(*part.notes, *((doubt,) if doubt else ()), *final.notes),
        deformable=final.deformable if deformed else "none",
    )


def _dice(problem: FitProblem, state: TransformState) -> list[float]:
    """Dice coefficient of tissue and annotation for every fitted section."""
    return [o.dice for o in overlaps(problem.atlas, state, problem.tissues, problem.options.threads)]
