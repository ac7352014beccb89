"""Compiled passes over pixels. All of them work on integers, so that any tiling gives the same result."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float64, Int16, Int32, Int64, UInt8

FIXED_POINT_SCALE = 256  # values at the nodes of a lattice are stated in 1/256 of a grey level


def window_rank(values: UInt8, floor: UInt8, step: int, window: int, percent: int) -> Int32:
    """Rank filter at every `step`-th pixel.

    Parameters
    ----------
    values : (h, w) uint8
        The image.
    floor : (rows, columns) uint8
        Values at or below it do not count in the window of that node.
    step : int, px
        Node (i, j) is the centre of a step x step block.
    window : int, px
        Side of the square window.
    percent : int, 0-100
        Rank to return.

    Returns
    -------
    (rows, columns) int32
        FIXED_POINT_SCALE x the value at that rank, interpolated within its grey level; -1 where under a
        quarter of the window counts.
    """
    return np.asarray(window_ranks(values, floor, step, window, np.array([percent]))[0])


@kernel
def window_ranks(values: UInt8, floor: UInt8, step: int, window: int, percents: Int64) -> Int32:
    """Return `window_rank` at several percents; pixels are counted once.

    Parameters
    ----------
    values : (h, w) uint8
        The image.
    floor : (rows, columns) uint8
        Values at or below it do not count in the window of that node; 255 leaves the node out.
    step, window : int, px
        As `window_rank`.
    percents : (n,) int64, 0-100
        Ranks to return.

    Returns
    -------
    (percents, rows, columns) int32
        As `window_rank`, for each rank.
    """
    height, width = values.shape
    out = np.full((percents.size, *floor.shape), -1, np.int32)
    before = (window - step) // 2
    counts = np.empty(256, np.int32)
    for i in range(floor.shape[0]):
        top = i * step - before
        rows = slice(max(0, top), min(height, top + window))
        for j in range(floor.shape[1]):
            if floor[i, j] == 255:
                continue
            left = j * step - before
            _count(values[rows, max(0, left) : min(width, left + window)], counts)
            counts[: floor[i, j] + 1] = 0
            total = counts.sum()
            # A rank of fewer pixels than a quarter of the window says little of its surroundings.
            if total and total * 4 >= window * window:
                for k in range(percents.size):
                    out[k, i, j] = _rank(counts, total * percents[k])
    return out


@kernel
def _count(part: UInt8, counts: Int32) -> None:
    """Count the pixels of each grey level, (256,), in place."""
    counts[:] = 0
    for y in range(part.shape[0]):
        for x in range(part.shape[1]):
            counts[part[y, x]] += 1


@kernel
def _rank(counts: Int32, behind: int) -> int:
    """Return FIXED_POINT_SCALE x the value that has `behind` hundredths of a pixel below it."""
    value = 0
    while behind >= counts[value] * 100 and value < 255:
        behind -= counts[value] * 100
        value += 1
    # The pixels of a grey level are taken as spread evenly over half a level on either side of it.
    inside = FIXED_POINT_SCALE * behind // max(counts[value] * 100, 1)
    return int(max(0, FIXED_POINT_SCALE * value - FIXED_POINT_SCALE // 2 + inside))


def above_median(values: UInt8, side: int, least: int) -> UInt8:
    """Compare pixels with the median of their surroundings.

    Parameters
    ----------
    values : (h, w) uint8
        The image.
    side : int, px
        Side of the square window: odd, at most 255. Border pixels are repeated outwards.
    least : int, 1-255, grey levels
        Least difference from the median.

    Returns
    -------
    (h, w) uint8
        1 where value - median >= least, else 0.

    Notes
    -----
    A pixel exceeds the median by `least` where more than half of its window lies at least that far below it.
    Counting such pixels is quicker than sorting the window.
    """
    padded = cv2.copyMakeBorder(values, *(side // 2,) * 4, cv2.BORDER_REPLICATE)
    return np.asarray(_above_median(values, padded, side, least))


@kernel
def _above_median(values: UInt8, padded: UInt8, side: int, least: int) -> UInt8:
    """Compare all pixels of a row at once, each with its own limit: the loops over x vectorise."""
    height, width = values.shape
    out, limit, row_count = np.empty((height, width), np.uint8), values[0].copy(), values[0].copy()
    count = np.empty(width, np.uint16)  # 255 x 255 pixels fit 16 bits; those of one row of the window fit 8
    for y in range(height):
        count[:] = 0
        for x in range(width):
            limit[x] = max(values[y, x], np.uint8(least)) - np.uint8(least)
        for dy in range(side):
            row_count[:] = 0
            for dx in range(side):
                line = padded[y + dy, dx : dx + width]
                for x in range(width):
                    row_count[x] = np.uint8(row_count[x] + np.uint8(line[x] <= limit[x]))
            for x in range(width):
                count[x] = np.uint16(count[x] + np.uint16(row_count[x]))
        for x in range(width):
            out[y, x] = (count[x] > side * side // 2) & (values[y, x] >= least)
    return out


@kernel
def middle_halves(values: UInt8, valid: UInt8, side: int, table: Float64) -> Float64:
    """Return the mean of table[values] over the middle half, by rank, of every block.

    Parameters
    ----------
    values : (h, w) uint8
        The image.
    valid : (h, w) uint8
        1 where a pixel counts, else 0.
    side : int, px
        Side of a block; the last of a row or column may be narrower.
    table : (256,) float64
        What each grey level stands for, rising or falling.

    Returns
    -------
    (ceil(h / side), ceil(w / side)) float64
        Mean of each block; NaN where no more than half of it counts.
    """
    height, width = values.shape
    out = np.full(((height + side - 1) // side, (width + side - 1) // side), np.nan)
    counts = np.empty(256, np.int64)
    for i in range(out.shape[0]):
        bottom = min((i + 1) * side, height)
        for j in range(out.shape[1]):
            right = min((j + 1) * side, width)
            counts[:] = 0
            for y in range(i * side, bottom):
                for x in range(j * side, right):
                    counts[values[y, x]] += valid[y, x]
            total = counts.sum()
            if 2 * total <= (bottom - i * side) * (right - j * side):
                continue
            first, last = total // 4, total - total // 4  # ranks of the middle half
            before, mean = 0, 0.0
            for value in range(256):
                inside = min(before + counts[value], last) - max(before, first)
                mean += max(inside, 0) * table[value]
                before += counts[value]
            out[i, j] = mean / (last - first)
    return out


@kernel
def depths_at(region: UInt8, y: Int64, x: Int64, reach: int) -> Int32:
    """Return how deep inside a region its pixels at some rows and columns lie.

    Parameters
    ----------
    region : (h, w) uint8
        1 inside, else 0; beyond the image is outside.
    y : (rows,) int64, px
        Rows, rising.
    x : (columns,) int64, px
        Columns.
    reach : int, px
        Depths are cut off at this value.

    Returns
    -------
    (rows, columns) int32, px2
        Square of the distance to the nearest pixel outside; at most reach x reach.

    Notes
    -----
    The exact Euclidean distance, first along columns, then along rows.

    References
    ----------
    Saito T, Toriwaki J (1994). New algorithms for Euclidean distance transformation of an n-dimensional
    digitized picture with applications. Pattern Recognition 27, 1551-1565.
    """
    height, width = region.shape
    out = np.empty((y.size, x.size), np.int32)
    vertical = np.empty((y.size, width + 2 * reach), np.int32)  # px to the nearest outside in the same column
    for direction in (1, -1):  # down the image, then up
        run, i = np.zeros(width + 2 * reach, np.int32), 0 if direction == 1 else y.size - 1
        for row in range(height) if direction == 1 else range(height - 1, -1, -1):
            for k in range(width):
                run[reach + k] = (run[reach + k] + np.int32(1)) * np.int32(region[row, k])
            while 0 <= i < y.size and y[i] == row:
                for k in range(run.size):
                    vertical[i, k] = run[k] if direction == 1 else min(vertical[i, k], run[k])
                i += direction
    for i in range(y.size):
        for j in range(x.size):
            least = reach * reach
            for k in range(2 * reach + 1):
                least = min(least, (k - reach) ** 2 + vertical[i, x[j] + k] ** 2)
            out[i, j] = least
    return out


def above_surface(values: UInt8, nodes: Int32, spacing: int, first: tuple[int, int]) -> UInt8:
    """Compare pixels with a surface that is interpolated between nodes.

    Parameters
    ----------
    values : (h, w) uint8
        The image.
    nodes : (rows, columns) int32
        FIXED_POINT_SCALE x the threshold, 0-255, at the centres of spacing x spacing blocks.
    spacing : int, px
        Spacing of the nodes, at most 64.
    first : (int, int), px
        (y, x): where on the lattice of nodes `values` begins.

    Returns
    -------
    (h, w) uint8
        1 where the value exceeds the bilinear surface, else 0.
    """
    mask = np.ones(values.shape, np.uint8)
    keep_above(mask, values, nodes, spacing, first)
    return mask


@kernel
def keep_above(mask: UInt8, values: UInt8, nodes: Int32, spacing: int, first: tuple[int, int]) -> None:
    """Clear a mask in place where values do not exceed a surface.

    Parameters
    ----------
    mask : (h, w) uint8
        0 and 1; changed in place.
    values : (h, w) uint8
        The image.
    nodes, spacing, first : (rows, columns) int32, int, (int, int)
        The surface, as `above_surface` takes it.

    Notes
    -----
    Between nodes the surface is known to 1/32 of a grey level, in 16 bits: a vector register holds many of
    them. Its rounding depends on the place alone, so tiles agree.
    """
    width, scale = values.shape[1], 2 * spacing
    upper, change = np.empty(width, np.int16), np.empty(width, np.int16)
    stretch = -2
    for y in range(values.shape[0]):
        halves = (
            2 * (y + first[0]) + 1 - spacing
        )  # distance from the first node in half pixels: a whole number
        row = min(max(halves // scale, -1), nodes.shape[0] - 1)
        if row != stretch:  # another pair of rows of nodes; beyond the outer ones their value holds
            stretch = row
            _along_row(nodes[max(row, 0)], spacing, first[1], upper)
            _along_row(nodes[min(row + 1, nodes.shape[0] - 1)], spacing, first[1], change)
            for x in range(width):
                change[x] = np.int16(2 * (change[x] - upper[x]))
        part = (halves - row * scale) * 32768 // scale if 0 <= row < nodes.shape[0] - 1 else 0
        _above_line(values[y], upper, change, np.int16(part), mask[y])


@kernel
def _along_row(nodes: Int32, spacing: int, first: int, out: Int16) -> None:
    """Interpolate a row of nodes at every pixel, in 1/64 of a grey level, 0-255.

    Beyond the outer nodes their value holds.
    """
    scale, x = 2 * spacing, 0
    unit = np.float32(64 / (FIXED_POINT_SCALE * scale))
    while x < out.size:  # from node to node: in between, the level changes by equal steps
        halves = 2 * (first + x) + 1 - spacing
        node = min(max(halves // scale, -1), nodes.size - 1)
        here, there = nodes[max(node, 0)], nodes[min(node + 1, nodes.size - 1)]
        level = np.int32(here * scale + (there - here) * (halves - node * scale))
        step = np.int32(2 * (there - here))
        count = min(out.size - x, max(1, (scale * (node + 1) - halves + 1) // 2))
        for k in range(count):
            out[x + k] = np.int16(np.float32(level + np.int32(k) * step) * unit + np.float32(0.5))
        x += count


@kernel
def _above_line(values: UInt8, upper: Int16, change: Int16, part: int, out: UInt8) -> None:
    """Compare a row with a surface that lies part / 2^15 of the direction from one row of nodes to the next.

    The level has changed by half of `change` there. A value exceeds a level where it exceeds its whole part.
    """
    for x in range(values.size):  # the upper half of a product of 16 bits is one instruction
        level = np.int16(upper[x] + np.int16((np.int32(change[x]) * np.int32(part)) >> np.int32(16)))
        out[x] &= values[x] > np.uint8(level >> np.int16(6))


@kernel
def clear_outside(mask: UInt8, inside: UInt8, factor: int, first: tuple[int, int]) -> None:
    """Clear a mask in place where a coarse map is 0.

    Parameters
    ----------
    mask : (h, w) uint8
        0 and 1; changed in place.
    inside : (rows, columns) uint8
        0 or 1 for blocks of factor x factor pixels.
    factor : int, px
        Side of a block.
    first : (int, int), px
        (y, x): where on the blocks the mask begins.
    """
    height, width = mask.shape
    last = (width - 1 + first[1]) // factor
    for block in range(first[0] // factor, (height - 1 + first[0]) // factor + 1):
        row, column = inside[block], first[1] // factor
        top, bottom = max(0, block * factor - first[0]), min(height, (block + 1) * factor - first[0])
        while column <= last:
            start = column
            while column <= last and row[column] == 0:  # blocks side by side are cleared together
                column += 1
            if column > start:
                left, right = max(0, start * factor - first[1]), min(width, column * factor - first[1])
                for y in range(top, bottom):
                    mask[y, left:right] = 0
            column += 1
