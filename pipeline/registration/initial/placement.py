"""Initial placement of every section for a given orientation: outline, then stain, then neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import Task, fit_outlines, stain_now
from pipeline.registration.fit.neighbour_prior import rigid_parts, smooth_parts
from pipeline.registration.initial.orientation import ANGLES_DEG, COARSE_SIGMA_UM, Attempt, Seen
from pipeline.registration.initial.pose_search import PoseSearch
from pipeline.registration.model.state import State
from pipeline.registration.quality.measures import overlaps

_RELOCATE_DICE = 0.75  # sections below are placed anew
_NEAR_DEG = 10.0  # search range about the neighbours' rotation, either way
_RESEATS = 3  # rounds of the search by stain
_BETTER = 0.02  # gain in score for which a section moves
_DARKEST = 3.0  # stain over gain is clipped here, so that a dark fold or bubble does not dominate the score
_LEVELLED = 3  # rounds: offsets of one series change the neighbours' lines of the others


def placed(chosen: Mapping[int, Attempt], seen: Seen) -> tuple[Task, State]:
    """Place every section by the orientation of its series and its outline.

    Parameters
    ----------
    chosen : mapping of int to Attempt
        Orientation of each series, by its number; the first gives the volume and the options.
    seen : Seen
        The sections of all series.

    Returns
    -------
    task : Task
        The sections, with nominal poses that follow one another across series.
    state : State
        Transforms after a coarse outline fit.
    """
    first = next(iter(chosen.values()))
    # Common rotation and mirroring; 0 degrees where each section has a rotation of its own.
    laid = {series: (one.way.turn_deg or 0.0, one.way.mirrored) for series, one in chosen.items()}
    nominal, options = seen.laid(laid), first.options
    task = Task(first.atlas, seen.tissues, nominal, seen.known, options, laid, seen.held)
    state = State(nominal, seen.z_um, first.volume)
    masks = [t.mask.astype(np.float32) for t in seen.tissues]
    search = PoseSearch(task.atlas, [task.atlas.outline_table()] * len(masks), options.threads)
    own = np.array([chosen[t.series].way.turn_deg is None for t in seen.thumbnails])
    # Degrees: all angles where each section is rotated by itself.
    reach = np.where(own, 180.0, options.rotation_range_deg)
    found = search.landscape(masks, nominal, state, ANGLES_DEG)
    poses, _ = found.poses(np.zeros(len(masks)), reach[:, None])
    state = fit_outlines(task, state.replaced(poses), COARSE_SIGMA_UM).state
    return levelled(task, state), state


def levelled(task: Task, state: State) -> Task:
    """Return the task with each series' nominal poses shifted and rotated so that series follow one another.

    Series of one specimen may be framed differently on their slides. An offset between them is then no
    displacement of the tissue, and the neighbour prior must not see it.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Transforms after a coarse outline fit.

    Returns
    -------
    Task
        The same task where there is only one series.
    """
    series = np.array([t.series for t in task.tissues])
    if np.unique(series).size < 2:
        return task
    parts = rigid_parts(state, task.nominal)
    level = np.zeros_like(parts)
    for _ in range(_LEVELLED):
        # Median offset of a series from the line through all neighbours.
        away = parts - level - smooth_parts(state.z_um, parts - level)
        for s in np.unique(series):
            level[series == s] += np.median(away[series == s], axis=0)
    # Arc at LENGTH_UM to degrees.
    moves = [affine.rigid2d(float(np.rad2deg(turn / LENGTH_UM)), (x, y)) for x, y, turn in level]
    nominal = [affine.compose(move, start) for move, start in zip(moves, task.nominal, strict=True)]
    return replace(task, nominal=np.array(nominal))


def reseated(task: Task, state: State) -> State:
    """Search all angles for every section by its stain, and move those that fit clearly better elsewhere.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Transforms after a coarse outline fit.

    Returns
    -------
    State
        Transforms, fitted to outlines again after every round that moved a section.
    """
    for _ in range(_RESEATS):
        model = stain_now(task, state)
        tables = [model.table(k) for k in range(len(task.tissues))]
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


def relocated(task: Task, state: State) -> State:
    """Place badly fitting sections anew, near the rotation of their neighbours; keep what is better.

    Each such section (Dice below 0.75) is tried at its best outline pose within 10 degrees of its neighbours'
    rotation, and at the very pose that its neighbours predict.

    Parameters
    ----------
    task : Task
        The sections.
    state : State
        Current transforms.

    Returns
    -------
    State
        Unchanged where all sections fit well, or fewer than two do.
    """
    before = overlaps(task.atlas, state, task.tissues, task.options.threads)
    good = np.array([o.dice >= _RELOCATE_DICE for o in before])
    if good.all() or good.sum() < 2:
        return state
    parts = smooth_parts(state.z_um, rigid_parts(state, task.nominal), good)
    search = PoseSearch(task.atlas, [task.atlas.outline_table()], 1)
    sections = state.sections.copy()
    for k in np.flatnonzero(~good):
        turn = float(np.rad2deg(parts[k, 2] / LENGTH_UM))
        # A series of one section: the search and the overlap take whole series.
        one = State(state.sections[k : k + 1], state.z_um[k : k + 1], state.volume)
        nominal, tissue = task.nominal[k : k + 1], [task.tissues[k]]
        mask = task.tissues[k].mask.astype(np.float32)
        # Steps of 2.5 degrees: the range is small, so the search can be finer.
        angles = turn + np.arange(-_NEAR_DEG, _NEAR_DEG + 1.0, 2.5)
        found, _ = search.landscape([mask], nominal, one, angles).poses()
        held = affine.compose(affine.rigid2d(turn, (parts[k, 0], parts[k, 1])), task.nominal[k])
        best = before[k].dice
        for pose in (found[0], held):
            dice = overlaps(task.atlas, one.replaced(pose[None]), tissue, 1)[0].dice
            # Dice decides between the present pose, the searched one and the neighbours'.
            if dice >= best:
                best, sections[k] = dice, pose
    return state.replaced(sections)
