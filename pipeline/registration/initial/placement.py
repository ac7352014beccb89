"""Initial placement of every section for a given orientation: outline, then stain, then neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import FitProblem, fit_outlines, stain_now
from pipeline.registration.fit.neighbour_prior import rigid_parts, smooth_parts
from pipeline.registration.initial.orientation import (
    ANGLES_DEG,
    HINT_DEG,
    CoarseFit,
    UsableSections,
    coarse_sigmas_um,
)
from pipeline.registration.initial.pose_search import PoseSearch
from pipeline.registration.initial.upright import turned_together
from pipeline.registration.model.state import TransformState
from pipeline.registration.quality.measures import overlaps

_POOR_DICE = 0.75  # sections below are placed anew
_NEAR_DEG = 10.0  # degrees; search range about the neighbours' rotation, to either side
_FINE_STEP_DEG = 2.5  # degrees; step of that search
_STAIN_ROUNDS = 3  # rounds of the search by stain
_LEAST_SCORE_GAIN = 0.02  # for which a section moves
_LARGEST_STAIN = 3.0  # stain over gain is clipped here: a dark fold or bubble must not dominate the score
_FRAME_ROUNDS = 3  # rounds: offsets of one series change the neighbours' lines of the others


def initial_placement(
    chosen: Mapping[int, CoarseFit], usable: UsableSections
) -> tuple[FitProblem, TransformState]:
    """Place every section by the orientation of its series and its outline.

    Parameters
    ----------
    chosen : mapping of int to CoarseFit
        Orientation of each series, by its number; the first gives the volume and the options.
    usable : UsableSections
        The sections of all series.

    Returns
    -------
    problem : FitProblem
        The sections, with nominal poses that follow one another across series.
    state : TransformState
        Transforms after a coarse outline fit.
    """
    first = next(iter(chosen.values()))
    # Common rotation and mirroring; 0 degrees where each section has a rotation of its own.
    turn_and_mirror = {
        series: (one.orientation.turn_deg or 0.0, one.orientation.mirrored) for series, one in chosen.items()
    }
    nominal, options = usable.nominal_by_series(turn_and_mirror), first.options
    problem = FitProblem(
        first.atlas, usable.tissues, nominal, usable.known, options, turn_and_mirror, usable.fixed_planes,
        usable.stated,
    )  # fmt: skip
    state = TransformState(nominal, usable.z_um, first.volume)
    masks = [t.mask.astype(np.float32) for t in usable.tissues]
    search = PoseSearch(problem.atlas, [problem.atlas.outline_table()] * len(masks), options.threads)
    own = np.array([chosen[t.series].orientation.turn_deg is None for t in usable.thumbnails])
    # Degrees: all angles where each section is rotated by itself.
    reach = np.where(own, 180.0, options.rotation_range_deg)
    found = search.landscape(masks, nominal, state, ANGLES_DEG)
    near = np.zeros(len(masks))
    if options.trusted_up:
        poses, _ = found.poses(near, reach[:, None])
    else:
        poses = turned_together(problem, state, found, near, reach[:, None])
    state = fit_outlines(problem, state.replaced(poses), coarse_sigmas_um(problem.atlas)).state
    return with_common_frame(problem, state), state


def with_common_frame(problem: FitProblem, state: TransformState) -> FitProblem:
    """Return the problem with nominal poses in which the series follow one another: shifted and rotated.

    Series of one specimen may be framed differently on their slides. An offset between them is then no
    displacement of the tissue, and the neighbour prior must not see it.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Transforms after a coarse outline fit.

    Returns
    -------
    FitProblem
        The same problem where there is only one series.
    """
    series = np.array([t.series for t in problem.tissues])
    if np.unique(series).size < 2:
        return problem
    parts = rigid_parts(state, problem.nominal)
    offsets = np.zeros_like(parts)
    for _ in range(_FRAME_ROUNDS):
        # Median offset of a series from the line through all neighbours.
        away = parts - offsets - smooth_parts(state.z_um, parts - offsets)
        for s in np.unique(series):
            offsets[series == s] += np.median(away[series == s], axis=0)
    # Arc at LENGTH_UM to degrees.
    moves = [affine.rigid2d(float(np.rad2deg(turn / LENGTH_UM)), (x, y)) for x, y, turn in offsets]
    nominal = [affine.compose(move, start) for move, start in zip(moves, problem.nominal, strict=True)]
    return replace(problem, nominal=np.array(nominal))


def placed_by_stain(problem: FitProblem, state: TransformState) -> TransformState:
    """Search all angles for every section by its stain, and move those that fit clearly better elsewhere.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Transforms after a coarse outline fit.

    Returns
    -------
    TransformState
        Transforms, fitted to outlines again after every round that moved a section.
    """
    # a trusted hint of the manifest holds for every section
    reach_deg = HINT_DEG if problem.options.trusted_up else 180.0
    for _ in range(_STAIN_ROUNDS):
        model = stain_now(problem, state)
        tables = [model.table(k) for k in range(len(problem.tissues))]
        pictures = [
            np.clip(np.where(t.mask, t.stain / np.float32(g), 0.0), 0.0, _LARGEST_STAIN).astype(np.float32)
            for t, g in zip(problem.tissues, model.gains, strict=True)
        ]
        search = PoseSearch(problem.atlas, tables, problem.options.threads)
        present = search.scores(pictures, state)
        found = search.landscape(pictures, problem.nominal, state, ANGLES_DEG)
        poses, scores = found.poses(np.zeros(len(pictures)), reach_deg)
        better = scores > present + _LEAST_SCORE_GAIN
        if not better.any():
            return state
        state = state.replaced(np.where(better[:, None, None], poses, state.sections))
        state = fit_outlines(problem, state, coarse_sigmas_um(problem.atlas)[1:]).state
    return state


def placed_by_neighbours(problem: FitProblem, state: TransformState) -> TransformState:
    """Place badly fitting sections anew, near the rotation of their neighbours; keep what is better.

    Each such section (Dice below 0.75) is tried at its best outline pose within 10 degrees of its neighbours'
    rotation, and at the very pose that its neighbours predict.

    Parameters
    ----------
    problem : FitProblem
        The sections.
    state : TransformState
        Current transforms.

    Returns
    -------
    TransformState
        Unchanged where all sections fit well, or fewer than two do.
    """
    before = overlaps(problem.atlas, state, problem.tissues, problem.options.threads)
    good = np.array([o.dice >= _POOR_DICE for o in before])
    if good.all() or good.sum() < 2:
        return state
    parts = smooth_parts(state.z_um, rigid_parts(state, problem.nominal), good)
    search = PoseSearch(problem.atlas, [problem.atlas.outline_table()], 1)
    sections = state.sections.copy()
    for k in np.flatnonzero(~good):
        turn = float(np.rad2deg(parts[k, 2] / LENGTH_UM))
        # A series of one section: the search and the overlap take whole series.
        one = TransformState(state.sections[k : k + 1], state.z_um[k : k + 1], state.volume)
        nominal, tissue = problem.nominal[k : k + 1], [problem.tissues[k]]
        mask = problem.tissues[k].mask.astype(np.float32)
        angles = turn + np.arange(-_NEAR_DEG, _NEAR_DEG + 1.0, _FINE_STEP_DEG)
        found, _ = search.landscape([mask], nominal, one, angles).poses()
        predicted = affine.compose(affine.rigid2d(turn, (parts[k, 0], parts[k, 1])), problem.nominal[k])
        best = before[k].dice
        for pose in (found[0], predicted):
            dice = overlaps(problem.atlas, one.replaced(pose[None]), tissue, 1)[0].dice
            # Dice decides between the present pose, the searched one and the neighbours'.
            if dice >= best:
                best, sections[k] = dice, pose
    return state.replaced(sections)
