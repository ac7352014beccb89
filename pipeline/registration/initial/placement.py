"""From a way to lie to a seat for every section: by outline, by stain, by what the neighbours say."""

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

_RELOCATE_DICE = 0.75
_NEAR_DEG = 10.0
_RESEATS = 3
_BETTER = 0.02
_DARKEST = 3.0
_LEVELLED = 3


def placed(chosen: Mapping[int, Attempt], seen: Seen) -> tuple[Task, State]:
    """Put every section where the way of its series and its outline say, in the volume of the first way."""
    first = next(iter(chosen.values()))
    laid = {series: (one.way.turn_deg or 0.0, one.way.mirrored) for series, one in chosen.items()}
    nominal, options = seen.laid(laid), first.options
    task = Task(first.atlas, seen.tissues, nominal, seen.known, options, laid, seen.held)
    state = State(nominal, seen.z_um, first.volume)
    masks = [t.mask.astype(np.float32) for t in seen.tissues]
    search = PoseSearch(task.atlas, [task.atlas.outline_table()] * len(masks), options.threads)
    own = np.array([chosen[t.series].way.turn_deg is None for t in seen.thumbnails])
    reach = np.where(own, 180.0, options.rotation_range_deg)
    found = search.landscape(masks, nominal, state, ANGLES_DEG)
    poses, _ = found.poses(np.zeros(len(masks)), reach[:, None])
    state = fit_outlines(task, state.replaced(poses), COARSE_SIGMA_UM).state
    return levelled(task, state), state


def levelled(task: Task, state: State) -> Task:
    """Return the task with the series' nominal poses moved so that they follow one another.

    Series of a specimen may be framed unlike on their slides. What is between them is no jump of the tissue.
    """
    series = np.array([t.series for t in task.tissues])
    if np.unique(series).size < 2:
        return task
    parts = rigid_parts(state, task.nominal)
    level = np.zeros_like(parts)
    for _ in range(_LEVELLED):
        away = parts - level - smooth_parts(state.z_um, parts - level)
        for s in np.unique(series):
            level[series == s] += np.median(away[series == s], axis=0)
    moves = [affine.rigid2d(float(np.rad2deg(turn / LENGTH_UM)), (x, y)) for x, y, turn in level]
    nominal = [affine.compose(move, start) for move, start in zip(moves, task.nominal, strict=True)]
    return replace(task, nominal=np.array(nominal))


def reseated(task: Task, state: State) -> State:
    """Look for every section at all angles by its stain; what sits clearly better elsewhere moves there."""
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
