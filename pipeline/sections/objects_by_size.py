"""Connected objects of a mask: drop the small ones, then fill small holes. Memory grows with the runs of 1.

The mask is read once: after the objects, its holes are the gaps between the runs that are left.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Int32, Int64, UInt8

RUN_STRIDE = 256  # px of a row that are skipped together where nothing changes


def drop_small(mask: UInt8, least_object: int, least_hole: int) -> None:
    """Clear the objects of fewer pixels, then fill the holes of fewer, in place.

    Parameters
    ----------
    mask : (H, W) uint8
        0 and 1; changed in place.
    least_object : int, px
        Smaller objects go. Corners join pixels of an object (8 neighbours).
    least_hole : int, px
        Smaller holes are filled. Corners do not join pixels of a hole (4 neighbours).
    """
    # One kernel that calls the others would compile them all once more.
    runs = _runs(mask)
    large = _large(*runs, 1, least_object)
    _set_runs(mask, *runs, ~large, 0)
    if least_hole <= 1:  # no hole is smaller than one pixel
        return
    row, start, stop = runs
    gaps = _gaps(row[large], start[large], stop[large], mask.shape)
    _set_runs(mask, *gaps, ~_large(*gaps, 0, least_hole), 1)


@kernel
def _set_runs(mask: UInt8, row: Int32, start: Int32, stop: Int32, chosen: Bool, value: int) -> None:
    """Write a value into the chosen runs of a mask, in place."""
    for n in range(row.size):
        if chosen[n]:
            for x in range(start[n], stop[n]):
                mask[row[n], x] = value


@kernel
def _runs(mask: UInt8) -> tuple[Int32, Int32, Int32]:
    """Return row, start and stop of every run of ones, in reading order."""
    row, start, stop = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    n = 0
    for y in range(mask.shape[0]):
        while n + mask.shape[1] // 2 + 1 > row.size:  # a row has at most a run for every second pixel
            row, start, stop = _longer(row), _longer(start), _longer(stop)
        end = _add_runs(mask[y], start, stop, n)
        row[n:end] = y
        n = end
    return row[:n], start[:n], stop[:n]


@kernel
def _add_runs(line: UInt8, start: Int32, stop: Int32, n: int) -> int:
    """Enter start and stop of every run of a row from place `n` on; return the place after the last."""
    inside = line[0] != 0
    if inside:
        start[n] = 0
    for left in range(1, line.size, RUN_STRIDE):
        right = min(left + RUN_STRIDE, line.size)
        if not _varies(line[left - 1 : right]):
            continue
        for x in range(left, right):
            if (line[x] != 0) != inside:
                if inside:
                    stop[n] = x
                    n += 1
                else:
                    start[n] = x
                inside = not inside
    if inside:
        stop[n] = line.size
        n += 1
    return n


@kernel
def _longer(values: Int32) -> Int32:
    """Return the array with room for four times as many values."""
    longer = np.empty(values.size * 4, np.int32)
    for n in range(values.size):  # an assignment of arrays takes numba seconds to compile
        longer[n] = values[n]
    return longer


@kernel
def _varies(line: UInt8) -> bool:
    """Whether a row changes from one pixel to the next; the loop stays in eight bits and vectorises."""
    found = np.uint8(0)
    for x in range(1, line.size):
        found = np.uint8(found | np.uint8(line[x] ^ line[x - 1]))
    return bool(found != 0)


@kernel
def _gaps(row: Int32, start: Int32, stop: Int32, shape: tuple[int, int]) -> tuple[Int32, Int32, Int32]:
    """Return row, start and stop of every run of zeros, from those of ones."""
    height, width = shape
    most = row.size + height  # one gap before each run, and one at the end of each row
    rows, starts, stops = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    count, n = 0, 0
    for y in range(height):
        left = 0
        while left <= width:
            here = n < row.size and row[n] == y
            right = start[n] if here else width
            if right > left:
                rows[count], starts[count], stops[count] = y, left, right
                count += 1
            left = stop[n] if here else width + 1
            n += here
    return rows[:count], starts[:count], stops[:count]


@kernel
def _large(row: Int32, start: Int32, stop: Int32, reach: int, least: int) -> Bool:
    """Return which runs belong to objects of at least so many pixels; `reach` 1 joins corners."""
    parent, area = _joined(row, start, stop, reach)
    large = np.empty(row.size, np.bool_)
    for n in range(row.size):
        large[n] = area[_root(parent, n)] >= least
    return large


@kernel
def _joined(row: Int32, start: Int32, stop: Int32, reach: int) -> tuple[Int64, Int64]:
    """Return the union-find forest of the runs, and each root's area in pixels.

    Two pointers, `above` and `n`, pass over the runs of two neighbouring rows together.
    """
    parent, area = np.arange(row.size), np.zeros(row.size, np.int64)
    above = 0
    for n in range(row.size):
        area[n] = stop[n] - start[n]
        while row[above] < row[n] - 1 or (row[above] == row[n] - 1 and stop[above] + reach <= start[n]):
            above += 1
        other = above
        while row[other] == row[n] - 1 and start[other] < stop[n] + reach:
            a, b = _root(parent, n), _root(parent, other)
            if a != b:
                parent[max(a, b)] = min(a, b)  # the first run in reading order stays the root
                area[min(a, b)] += area[max(a, b)]
            other += 1
    return parent, area


@kernel
def _root(parent: Int64, run: int) -> int:
    """Return the root of a run, with path halving (Tarjan and van Leeuwen 1984)."""
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
