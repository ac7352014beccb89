"""From thumbnails to a SeriesAlignment: what is usable, how the series lies, the fit, the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline import affine
from pipeline.errors import AlignmentError, ConfigError
from pipeline.model import Plane, SeriesAlignment
from pipeline.reference import ReferenceSpace
from pipeline.registration.atlas import Atlas, atlas_of
from pipeline.registration.checks import POOR_DICE, check_extent, check_fit, check_numbers, check_usable
from pipeline.registration.corrections import Correction, planes_of, with_corrections
from pipeline.registration.deformable import refine
from pipeline.registration.inputs import AlignmentOptions, Hemisphere, SectionThumbnail, reduced
from pipeline.registration.joint import Solution, Task, fit_outlines, fit_stains, stain_now
from pipeline.registration.pose import PoseSearch
from pipeline.registration.quality import overlaps
from pipeline.registration.result import series_alignment
from pipeline.registration.scene import State, each, known_with_margin
from pipeline.registration.smoothness import rigid_parts, smooth_parts
from pipeline.registration.solver import LENGTH_UM
from pipeline.registration.template import fit_template
from pipeline.registration.tissue import tissue_image
from pipeline.registration.ways import (
    ANGLES_DEG,
    COARSE_SIGMA_UM,
    Attempt,
    Seen,
    assumed,
    attempts,
    choose,
)

_RELOCATE_DICE = 0.75
_NEAR_DEG = 10.0
_WORKING_UM = 36.0
_DOUBTFUL_DICE, _DOUBTFUL_STAIN = 0.95, 0.30
_LEAST_DICE, _HALF_DICE, _CLEARLY = 0.62, 0.93, 0.05
_HALVES = {"left": "a left half", "right": "a right half", "both": "both halves"}
_RESEATS = 3
_BETTER = 0.02
_DARKEST = 3.0

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
    chosen, notes = _choose(reference, atlas, seen, options)
    _check_plane(reference, seen, chosen)
    task, state = _placed(chosen, seen)
    state = _relocated(task, _reseated(task, state))
    state = fit_outlines(task, state, options.outline_sigma_um).state
    state = _relocated(task, state)
    check_fit(task.atlas, _dice(task, state), state.volume, reference.name)
    solution = ALIGNERS[options.aligner](task, state, reference)
    check_fit(task.atlas, _dice(task, solution.state), solution.state.volume, reference.name)
    notes = (*notes, *assumed(chosen.way, chosen.options))
    alignment = series_alignment(ordered, usable, task, solution, notes)
    if options.deformable != "none":
        alignment = refine(task, ordered, usable, alignment)
    return with_corrections(alignment, corrections or {}, {t.section_number: t.z_um for t in ordered})


def _dice(task: Task, state: State) -> list[float]:
    return [o.dice for o in overlaps(task.atlas, state, task.tissues, task.options.threads)]


def _choose(
    reference: ReferenceSpace, atlas: Atlas, seen: Seen, options: AlignmentOptions
) -> tuple[Attempt, tuple[str, ...]]:
    """Find how the series lies; coronal sections that do not fill the brain may be halves."""
    best, notes = choose(attempts(atlas, seen, options))
    if options.plane_of_section == "sagittal" or not _LEAST_DICE < best.dice <= _HALF_DICE:
        return best, notes
    sides: tuple[Hemisphere, ...] = ("left", "right", "both")
    for side in sides:
        if side == options.hemisphere:
            continue
        other = replace(options, hemisphere=side)
        one, said = choose(attempts(atlas_of(reference, "coronal", side), seen, other))
        if one.score > best.score + _CLEARLY:
            dice = f"Dice {one.dice:.2f}, as declared {best.dice:.2f}"
            shown = f"the images show sections of {_HALVES[side]} ({dice})"
            best, notes = one, (*said, f"{shown}, the manifest says hemisphere: {options.hemisphere}")
    return best, notes


def _check_plane(reference: ReferenceSpace, seen: Seen, chosen: Attempt) -> None:
    """Where the fit is doubtful, refuse a series that the other plane fits better."""
    if chosen.dice >= _DOUBTFUL_DICE and chosen.explained >= _DOUBTFUL_STAIN:
        return
    options = chosen.options
    plane: Plane = "sagittal" if options.plane_of_section == "coronal" else "coronal"
    hemisphere: Hemisphere = "left" if plane == "sagittal" else "both"
    other = AlignmentOptions(plane_of_section=plane, hemisphere=hemisphere, threads=options.threads)
    best = max(attempts(atlas_of(reference, plane, hemisphere), seen, other), key=lambda one: one.score)
    if best.score > chosen.score and best.dice > POOR_DICE:
        raise AlignmentError(
            f"alignment: declared {options.plane_of_section}, but the {plane} planes of {reference.name} fit"
            f" better ({best.words()}; as declared, {chosen.words()}); check plane_of_section"
        )


def _placed(chosen: Attempt, seen: Seen) -> tuple[Task, State]:
    """Put every section where the chosen way and its outline say."""
    way, options = chosen.way, chosen.options
    turn = way.turn_deg or 0.0
    nominal = seen.nominal(way.mirrored, turn)
    task = Task(chosen.atlas, seen.tissues, nominal, seen.known, options, turn, way.mirrored, seen.held)
    state = State(nominal, seen.z_um, chosen.volume)
    masks = [t.mask.astype(np.float32) for t in seen.tissues]
    search = PoseSearch(task.atlas, [task.atlas.outline_table()] * len(masks), options.threads)
    reach = 180.0 if way.turn_deg is None else options.rotation_range_deg
    found = search.landscape(masks, nominal, state, ANGLES_DEG)
    poses, _ = found.poses(np.zeros(len(masks)), reach)
    return task, fit_outlines(task, state.replaced(poses), COARSE_SIGMA_UM).state


def _reseated(task: Task, state: State) -> State:
    """Look for every section at all angles by its stain; what sits clearly better elsewhere moves there."""
    for _ in range(_RESEATS):
        model = stain_now(task, state)
        tables = [model.table] * len(task.tissues)
        pictures = [
            np.clip(np.where(t.mask, t.stain / np.float32(g), 0.0), 0.0, _DARKEST).astype(np.float32)
            for t, g in zip(task.tissues, model.gains, strict=True)
        ]
        search = PoseSearch(task.atlas, tables, task.options.threads)
        present = search.scores(pictures, state)
        poses, scores = search.landscape(pictures, task.nominal, state, ANGLES_DEG).poses()
        better = scores > present + _BETTER
        if not better.any():
            return state
        state = state.replaced(np.where(better[:, None, None], poses, state.sections))
        state = fit_outlines(task, state, COARSE_SIGMA_UM[1:]).state
    return state


def _relocated(task: Task, state: State) -> State:
    """Seat again the sections that sit badly, near the turn their neighbours have; keep what is better."""
    before = overlaps(task.atlas, state, task.tissues, task.options.threads)
    good = np.array([o.dice >= _RELOCATE_DICE for o in before])
    if good.all() or good.sum() < 2:
        return state
    parts = smooth_parts(state.z_um, rigid_parts(state, task.nominal), good)
    search = PoseSearch(task.atlas, [task.atlas.outline_table()], 1)
    sections = state.sections.copy()
    for k in np.flatnonzero(~good):
        turn = float(np.rad2deg(parts[k, 2] / LENGTH_UM))
        one = State(state.sections[k : k + 1], state.z_um[k : k + 1], state.volume)
        nominal, tissue = task.nominal[k : k + 1], [task.tissues[k]]
        mask = task.tissues[k].mask.astype(np.float32)
        angles = turn + np.arange(-_NEAR_DEG, _NEAR_DEG + 1.0, 2.5)
        found, _ = search.landscape([mask], nominal, one, angles).poses()
        held = affine.compose(affine.rigid2d(turn, (parts[k, 0], parts[k, 1])), task.nominal[k])
        best = before[k].dice
        for pose in (found[0], held):
            dice = overlaps(task.atlas, one.replaced(pose[None]), tissue, 1)[0].dice
            if dice >= best:
                best, sections[k] = dice, pose
    return state.replaced(sections)
