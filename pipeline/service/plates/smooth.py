"""Rounded outlines: every boundary between two labels is smoothed once, and junctions stay where they are.

The boundary crosses each line between the centres of two neighbouring pixels of different labels once. That
crossing may move along its line, strictly between the two centres; nothing else moves (a planar relative of
surface nets, Gibson 1998). So whatever is smoothed, parts share their boundary exactly, boundaries do not
cross, and every pixel centre stays in its label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float64, UInt32
from pipeline.service.plates.cracks import EAST, NORTH, SOUTH, WEST, Cracks, Rings, origins

UInt8 = npt.NDArray[np.uint8]

MOST_PX = 0.4  # how far a crossing moves from the middle between two pixel centres; 0.5 would reach one
TOLERANCE_PX = 0.035  # of the straight pieces that replace several crossings; 0.4 + 0.035 stays below 0.5
LONGEST = 60  # crossings that one straight piece may replace
ROUNDS = 20  # of smoothing, each a step inwards and a step outwards
INWARDS, OUTWARDS = 0.55, -0.58  # weights of these steps, which together keep areas (Taubin 1995)
X_STEP, Y_STEP = (1, 0, -1, 0), (0, 1, 0, -1)


def smooth(cracks: Cracks) -> Rings:
    """Return rounded rings of a cut label image.

    Parameters
    ----------
    cracks : Cracks
        Boundaries of the image.

    Returns
    -------
    Rings
        One ring for each ring of `cracks`, in the same order. Neighbouring rings share the vertices of their
        common boundary. Filled by the even-odd rule they give every pixel centre its label.
    """
    if not len(cracks.steps):
        return cracks.corners()
    spokes = _spokes(cracks.labels)
    order, starts, closed = _arcs(spokes)
    shift, kept = _relax(order, starts, closed, spokes.shape[1])
    return _assembled(cracks, spokes, shift, kept)


def _assembled(cracks: Cracks, spokes: UInt8, shift: Float64, kept: Bool) -> Rings:
    """Return rings of the junctions and the kept crossings that the cracks pass."""
    x, y, direction = origins(cracks.steps, cracks.labels.shape[1])
    column, row = x - (direction == WEST), y - (direction == NORTH)
    upright = (direction == SOUTH) | (direction == NORTH)
    crack = 2 * (row * spokes.shape[1] + column) + upright
    moved = shift[crack]
    points = np.empty((len(x), 2, 2))
    points[:, 0, 0], points[:, 0, 1] = x, y
    points[:, 1, 0] = column + np.where(upright, moved, 0.5)
    points[:, 1, 1] = row + np.where(upright, 0.5, moved)
    chosen = np.column_stack([_DEGREE[spokes[y, x]] != 2, kept[crack]]).ravel()
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen)])
    return Rings(points.reshape(-1, 2)[chosen], counts[2 * cracks.starts], cracks.ring_labels, cracks.parts)


def _spokes(labels: UInt32) -> UInt8:
    """Return which cracks meet at each corner of pixels, (H + 1, W + 1), bit d for direction d."""
    framed = np.pad(labels, 1)
    across = (framed[:-1, 1:-1] != framed[1:, 1:-1]).astype(np.uint8)  # (H + 1, W) level cracks
    upright = (framed[1:-1, :-1] != framed[1:-1, 1:]).astype(np.uint8)  # (H, W + 1)
    spokes = np.zeros((labels.shape[0] + 1, labels.shape[1] + 1), np.uint8)
    spokes[:, :-1] |= across << EAST
    spokes[:, 1:] |= across << WEST
    spokes[:-1] |= upright << SOUTH
    spokes[1:] |= upright << NORTH
    return spokes


_DEGREE = np.array([bin(n).count("1") for n in range(16)], np.uint8)


@kernel
def _arcs(spokes: UInt8) -> Any:
    """Return the cracks of all arcs, each from junction to junction, then those of closed arcs.

    A crack is 4 x (corner at which it is entered) + direction. `closed` tells which arcs have no junction.
    """
    height, width = spokes.shape
    left = spokes.copy()
    total = 0
    for y in range(height):
        for x in range(width):
            total += (spokes[y, x] & 1) + ((spokes[y, x] >> 1) & 1)
    order = np.empty(total, np.int64)
    starts = np.zeros(total + 1, np.int64)
    closed = np.zeros(total, np.bool_)
    count, arcs = 0, 0
    for loops in range(2):
        for y in range(height):
            for x in range(width):
                if loops == 0 and _is_plain(spokes[y, x]):
                    continue
                for d in range(4):
                    if left[y, x] >> d & 1:
                        count = _follow(spokes, left, order, count, x, y, d)
                        closed[arcs] = loops == 1
                        arcs += 1
                        starts[arcs] = count
    return order, starts[: arcs + 1].copy(), closed[:arcs].copy()


@kernel(inline=True)
def _is_plain(spokes):  # type: ignore[no-untyped-def]
    """Tell whether two cracks meet at a corner, or none: no junction."""
    return (spokes & 1) + (spokes >> 1 & 1) + (spokes >> 2 & 1) + (spokes >> 3 & 1) in (0, 2)


@kernel
def _follow(spokes, left, order, count, x, y, d):  # type: ignore[no-untyped-def]
    """Append the cracks of one arc to `order`, and take them out of `left`."""
    width = spokes.shape[1]
    while left[y, x] >> d & 1:
        order[count] = 4 * (y * width + x) + d
        count += 1
        left[y, x] &= ~np.uint8(1 << d)
        x, y = x + X_STEP[d], y + Y_STEP[d]
        back = (d + 2) % 4
        left[y, x] &= ~np.uint8(1 << back)
        if not _is_plain(spokes[y, x]):
            break
        for other in range(4):
            if other != back and spokes[y, x] >> other & 1:
                d = other
    return count


@kernel
def _relax(order, starts, closed, width):  # type: ignore[no-untyped-def]
    """Return how far the crossing of each crack moves, px, and which crossings stay as vertices."""
    corners = 0
    for n in range(len(order)):
        corners = max(corners, order[n] // 4)
    shift = np.zeros(2 * (corners + width + 2), np.float64)
    kept = np.zeros(len(shift), np.bool_)
    for arc in range(len(closed)):
        length = starts[arc + 1] - starts[arc]
        at = np.empty((length + 2, 2), np.float64)  # with what lies before and behind the arc
        upright = np.empty(length + 2, np.bool_)
        ids = np.empty(length + 2, np.int64)
        _lay(order[starts[arc] : starts[arc + 1]], width, at, upright, ids)
        moved = np.zeros(length + 2, np.float64)
        rounds = min(ROUNDS, (length - 4) // 2) if closed[arc] else ROUNDS  # small islands would vanish
        for _ in range(rounds):
            _step(at, upright, moved, closed[arc], INWARDS)
            _step(at, upright, moved, closed[arc], OUTWARDS)
        chosen = _straighten(at, upright, closed[arc])
        for n in range(1, length + 1):
            shift[ids[n]] = moved[n]
            kept[ids[n]] = chosen[n]
    return shift, kept


@kernel
def _lay(order, width, at, upright, ids):  # type: ignore[no-untyped-def]
    """Fill in the middle and the id of every crack, and the corners at which the arc begins and ends."""
    for n in range(len(order)):
        corner, d = order[n] // 4, order[n] % 4
        x, y = corner % width, corner // width
        if n == 0:
            at[0, 0], at[0, 1] = x, y
        at[n + 1, 0], at[n + 1, 1] = x + 0.5 * X_STEP[d], y + 0.5 * Y_STEP[d]
        upright[n + 1] = d % 2 == 1
        ids[n + 1] = 2 * ((y - (d == 3)) * width + x - (d == 2)) + d % 2
        at[n + 2, 0], at[n + 2, 1] = x + X_STEP[d], y + Y_STEP[d]


@kernel
def _step(at, upright, moved, closed, weight):  # type: ignore[no-untyped-def]
    """Move every crossing by a share of its way to the line through its neighbours."""
    last = len(at) - 1
    if closed:
        at[0], at[last] = at[last - 1], at[1]
    before_x, before_y = at[0, 0], at[0, 1]
    for n in range(1, last):
        along, across = (1, 0) if upright[n] else (0, 1)
        a, c = (before_y, before_x) if upright[n] else (before_x, before_y)
        share = (at[n, along] - a) / (at[n + 1, along] - a)
        line = c + share * (at[n + 1, across] - c)
        before_x, before_y = at[n, 0], at[n, 1]
        middle = at[n, across] - moved[n]
        wanted = moved[n] + weight * (line - at[n, across])
        moved[n] = min(max(wanted, -MOST_PX), MOST_PX)
        at[n, across] = middle + moved[n]


@kernel
def _straighten(at, upright, closed):  # type: ignore[no-untyped-def]
    """Choose vertices: the longest straight pieces that pass every crossing between them near enough."""
    last = len(at) - 1
    chosen = np.zeros(len(at), np.bool_)
    if closed:
        at[last] = at[1]
    longest = min(LONGEST, max((last - 1) // 3, 1)) if closed else LONGEST
    here = 1 if closed else 0
    while here < last:
        chosen[here] = True
        there = here + 1
        while there < last and there - here < longest and _passes(at, upright, here, there + 1):
            there += 1
        here = there
    return chosen


@kernel
def _passes(at, upright, here, there):  # type: ignore[no-untyped-def]
    """Tell whether a straight piece passes every crossing between its ends near enough."""
    for n in range(here + 1, there):
        along, across = (1, 0) if upright[n] else (0, 1)
        run = at[there, along] - at[here, along]
        if run == 0.0:
            return False
        share = (at[n, along] - at[here, along]) / run
        line = at[here, across] + share * (at[there, across] - at[here, across])
        if not 0.0 < share < 1.0 or abs(line - at[n, across]) > TOLERANCE_PX:
            return False
    return True
