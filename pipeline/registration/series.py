"""From thumbnails to a SeriesAlignment: what is usable, how the series lies, the fit, the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline import affine
from pipeline.errors import AlignmentError, ConfigError
from pipeline.model import Bool, Float64, Plane, SeriesAlignment
from pipeline.reference import ReferenceSpace
from pipeline.registration.atlas import Atlas, atlas_of
from pipeline.registration.checks import POOR_DICE, check_extent, check_fit, check_numbers, check_usable
from pipeline.registration.corrections import Correction, planes_of, with_corrections
from pipeline.registration.deformable import refine
from pipeline.registration.inputs import AlignmentOptions, Hemisphere, SectionThumbnail, reduced
from pipeline.registration.joint import Solution, Task, fit_outlines, fit_stains, stain_explained
from pipeline.registration.pose import (
    Hypothesis,
    PoseSearch,
    first_volume,
    fit_profile,
    hypotheses,
    middle_span_um,
)
from pipeline.registration.quality import overlaps
from pipeline.registration.result import series_alignment
from pipeline.registration.scene import State, each, known_with_margin
from pipeline.registration.smoothness import rigid_parts, smooth_parts
from pipeline.registration.solver import LENGTH_UM
from pipeline.registration.template import fit_template
from pipeline.registration.tissue import TissueImage, tissue_image

_COARSE_SIGMA_UM = (400.0, 250.0)
_RELOCATE_DICE = 0.75
_ANGLE_STEP_DEG, _NEAR_DEG = 4.0, 8.0
_ALIKE = 0.02
_WORKING_UM = 36.0
_DOUBTFUL_DICE, _DOUBTFUL_STAIN = 0.95, 0.30

Aligner = Callable[[Task, State, ReferenceSpace], Solution]


def _joint(task: Task, state: State, reference: ReferenceSpace) -> Solution:
    return fit_stains(task, state)


ALIGNERS: dict[str, Aligner] = {"joint": _joint, "template": fit_template}


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
    ordered = sorted((reduced(t, _WORKING_UM) for t in thumbnails), key=lambda t: t.z_um)
    check_numbers(ordered)
    tissues = each(tissue_image, ordered, options.threads)
    usable = [k for k, t in enumerate(tissues) if not (t.blank or ordered[k].failed)]
    check_usable(ordered, tissues, usable, options)
    atlas = atlas_of(reference, options.plane_of_section, options.hemisphere)
    seen = Seen(
        thumbnails=tuple(ordered[k] for k in usable),
        tissues=tuple(tissues[k] for k in usable),
        known=tuple(known_with_margin(tissues[k]) for k in usable),
        held=planes_of(corrections or {}, [ordered[k] for k in usable]),
    )
    check_extent(atlas, seen.thumbnails, seen.tissues, options.hemisphere)
    attempt, notes = choose_hypothesis(atlas, seen, options)
    _check_plane(reference, seen, attempt)
    task, state = attempt.task, _relocated(attempt.task, attempt.state)
    state = fit_outlines(task, state, options.outline_sigma_um).state
    state = _relocated(task, state)
    check_fit(atlas, _dice(task, state), state.volume, reference.name)
    solution = ALIGNERS[options.aligner](task, state, reference)
    check_fit(atlas, _dice(task, solution.state), solution.state.volume, reference.name)
    alignment = series_alignment(ordered, usable, task, solution, notes)
    if options.deformable != "none":
        alignment = refine(task, ordered, usable, alignment)
    return with_corrections(alignment, corrections or {}, {t.section_number: t.z_um for t in ordered})


def _dice(task: Task, state: State) -> list[float]:
    return [o.dice for o in overlaps(task.atlas, state, task.tissues, task.options.threads)]


@dataclass(frozen=True, eq=False)
class Seen:
    """The sections that show tissue, in order of z."""

    thumbnails: tuple[SectionThumbnail, ...]
    tissues: tuple[TissueImage, ...]
    known: tuple[Bool, ...]
    held: Mapping[int, Float64]


@dataclass(frozen=True, eq=False)
class Attempt:
    """One hypothesis, coarsely fitted.

    Parameters
    ----------
    dice : mean over the sections
    explained : share of the stain's variance that labels and gains explain
    """

    hypothesis: Hypothesis
    task: Task
    state: State
    dice: float
    explained: float

    @property
    def score(self) -> float:
        """Outlines tell most ways apart, the stain tells upside down: both count."""
        return self.dice + self.explained

    def words(self) -> str:
        """Say what was tried and how it fits."""
        way = self.hypothesis.words(self.task.options)
        return f"{way}: Dice {self.dice:.2f}, stain explained {self.explained:.2f}"


def choose_hypothesis(atlas: Atlas, seen: Seen, options: AlignmentOptions) -> tuple[Attempt, tuple[str, ...]]:
    """Fit every way the hints leave open coarsely; the best, Allen's own order where two are alike."""
    fitted = [_coarse(h, atlas, seen, options) for h in hypotheses(options)]
    best = max(fitted, key=lambda attempt: attempt.score)
    if fitted[0].score > best.score - _ALIKE:
        best = fitted[0]
    if len(fitted) == 1:
        return best, ()
    others = "; ".join(attempt.words() for attempt in fitted if attempt is not best)
    return best, (f"taken from the images: {best.words()} (against {others})",)


def _check_plane(
    reference: ReferenceSpace,
    seen: Seen,
    chosen: Attempt,
) -> None:
    """Where the fit is doubtful, refuse a series that the other plane fits better."""
    if chosen.dice >= _DOUBTFUL_DICE and chosen.explained >= _DOUBTFUL_STAIN:
        return
    options = chosen.task.options
    plane: Plane = "sagittal" if options.plane_of_section == "coronal" else "coronal"
    hemisphere: Hemisphere = "left" if plane == "sagittal" else "both"
    other = AlignmentOptions(plane_of_section=plane, hemisphere=hemisphere, threads=options.threads)
    best, _ = choose_hypothesis(atlas_of(reference, plane, hemisphere), seen, other)
    if best.score > chosen.score and best.dice > POOR_DICE:
        raise AlignmentError(
            f"alignment: declared {options.plane_of_section}, but the {plane} planes of {reference.name} fit"
            f" better ({best.words()}; as declared, {chosen.words()}); check plane_of_section"
        )


def _coarse(
    hypothesis: Hypothesis,
    atlas: Atlas,
    seen: Seen,
    options: AlignmentOptions,
) -> Attempt:
    nominal = np.array([t.hinted(hypothesis.turn_deg) for t in seen.thumbnails])
    z_um = np.array([t.z_um for t in seen.thumbnails])
    areas = np.array([t.area_um2 for t in seen.tissues])
    profile = fit_profile(atlas, z_um, areas, hypothesis.sign, middle_span_um(atlas, options.hemisphere))
    task = Task(atlas, seen.tissues, nominal, hypothesis.turn_deg, seen.known, options, seen.held)
    state = State(nominal, z_um, first_volume(atlas, profile))
    search = _search(task, 0.0, options.rotation_range_deg)
    state = state.replaced(search.poses(seen.tissues, nominal, state)[0])
    state = fit_outlines(task, state, _COARSE_SIGMA_UM).state
    dice = float(np.mean(_dice(task, state)))
    return Attempt(hypothesis, task, state, dice, stain_explained(task, state))


def _search(task: Task, middle_deg: float, reach_deg: float) -> PoseSearch:
    angles = middle_deg + np.arange(-reach_deg, reach_deg + 1e-9, _ANGLE_STEP_DEG)
    return PoseSearch(task.atlas, tuple(float(a) for a in angles), task.options.threads)


def _relocated(task: Task, state: State) -> State:
    """Seat again the sections that sit badly, near the turn their neighbours have; keep what is better."""
    before = overlaps(task.atlas, state, task.tissues, task.options.threads)
    good = np.array([o.dice >= _RELOCATE_DICE for o in before])
    if good.all() or good.sum() < 2:
        return state
    parts = smooth_parts(state.z_um, rigid_parts(state, task.nominal), good)
    sections = state.sections.copy()
    for k in np.flatnonzero(~good):
        turn = float(np.rad2deg(parts[k, 2] / LENGTH_UM))
        one = State(state.sections[k : k + 1], state.z_um[k : k + 1], state.volume)
        nominal, tissue = task.nominal[k : k + 1], [task.tissues[k]]
        found, _ = _search(task, turn, _NEAR_DEG).poses(tissue, nominal, one)
        held = affine.compose(affine.rigid2d(turn, (parts[k, 0], parts[k, 1])), task.nominal[k])
        best = before[k].dice
        for pose in (found[0], held):
            dice = overlaps(task.atlas, one.replaced(pose[None]), tissue, 1)[0].dice
            if dice >= best:
                best, sections[k] = dice, pose
    return state.replaced(sections)
