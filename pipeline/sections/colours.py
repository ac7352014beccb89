"""Compiled passes over optical densities: of red, green and blue, plane by plane, and of blocks of pixels."""

from __future__ import annotations

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float32, Float64, Int32, UInt8


@kernel
def optical_planes(colours: UInt8, light: Float64, tables: Float64, valid: Bool) -> Float32:
    """Return the optical density of every colour over its own light.

    Parameters
    ----------
    colours : (h, w, 3) uint8
        Red, green and blue.
    light : (h, w) float64
        log10 of the luma of empty glass.
    tables : (3, 256) float64
        For each colour, log10 of every grey level, less log10 of the ratio of that colour's light to luma.
    valid : (h, w) bool
        Pixels that count.

    Returns
    -------
    (3, h, w) float32, OD
        Optical density; 0 where not valid.
    """
    height, width = light.shape
    out = np.zeros((3, height, width), np.float32)
    for y in range(height):
        for x in range(width):
            if valid[y, x]:
                out[0, y, x] = light[y, x] - tables[0, colours[y, x, 0]]
                out[1, y, x] = light[y, x] - tables[1, colours[y, x, 1]]
                out[2, y, x] = light[y, x] - tables[2, colours[y, x, 2]]
    return out


@kernel
def plane_means(planes: Float32) -> Float32:
    """Return the mean of three planes.

    Parameters
    ----------
    planes : (3, h, w) float32
        The planes.

    Returns
    -------
    (h, w) float32
        Their mean, pixel by pixel.
    """
    height, width = planes.shape[1:]
    out = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            out[y, x] = (planes[0, y, x] + planes[1, y, x] + planes[2, y, x]) * np.float32(1 / 3)
    return out


@kernel
def red_and_all(planes: Float32, scale: np.float32) -> Float32:
    """Return the first of three planes and the sum of all, scaled.

    Parameters
    ----------
    planes : (3, h, w) float32
        Red, green and blue; values below 0 count as 0.
    scale : float32
        Factor of both results.

    Returns
    -------
    (2, h, w) float32
        Red, then the sum.
    """
    height, width = planes.shape[1:]
    out = np.empty((2, height, width), np.float32)
    none = np.float32(0)  # a float32: a plain 0 would make the maximum float64
    for y in range(height):
        for x in range(width):
            red = max(planes[0, y, x], none) * scale
            out[0, y, x] = red
            out[1, y, x] = red + (max(planes[1, y, x], none) + max(planes[2, y, x], none)) * scale
    return out


@kernel
def object_sums(planes: Float32, labels: Int32, count: int, most: float) -> Float64:
    """Add up the densities of every object over the pixels where all three stay below a limit.

    Parameters
    ----------
    planes : (3, h, w) float32, OD
        Optical densities.
    labels : (h, w) int32
        Number of the object; 0 is none.
    count : int
        All labels are below it.
    most : float, OD
        The limit: at and above it a channel is saturated.

    Returns
    -------
    (count, 3) float64, OD
        Sums by object and colour.
    """
    out = np.zeros((count, 3))
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label == 0:
                continue
            red, green, blue = planes[0, y, x], planes[1, y, x], planes[2, y, x]
            if red < most and green < most and blue < most:
                out[label, 0] += red
                out[label, 1] += green
                out[label, 2] += blue
    return out


@kernel
def above_blocks(values: Float32, limits: Float32, factor: int) -> Bool:
    """Compare pixels with a limit of their block.

    Parameters
    ----------
    values : (h, w) float32
        Pixels of whole blocks.
    limits : (h // factor, w // factor) float32
        One limit for each block.
    factor : int, px
        Side of a block.

    Returns
    -------
    (h, w) bool
        True where a value exceeds its limit.
    """
    height, width = values.shape
    out, limit = np.empty((height, width), np.bool_), np.empty(width, np.float32)
    for i in range(limits.shape[0]):
        for j in range(limits.shape[1]):
            # One limit a pixel of the row: the comparison below then vectorises.
            limit[j * factor : (j + 1) * factor] = limits[i, j]
        for y in range(i * factor, (i + 1) * factor):
            for x in range(width):
                out[y, x] = values[y, x] > limit[x]
    return out


@kernel
def block_shares(where: Bool, planes: tuple[Float32, ...], factor: int) -> Float32:
    """Return which share of every block counts, and block means of planes.

    Parameters
    ----------
    where : (h, w) bool
        Pixels that count, of whole blocks.
    planes : tuple of (h, w) float32
        Planes; elsewhere they count as 0.
    factor : int, px
        Side of a block.

    Returns
    -------
    (1 + planes, h // factor, w // factor) float32
        The share, 0 to 1, then the mean of each plane over all pixels of the block.
    """
    rows, columns, width = where.shape[0] // factor, where.shape[1] // factor, where.shape[1]
    out = np.empty((1 + len(planes), rows, columns), np.float32)
    lines = np.empty((1 + len(planes), width), np.float32)
    for i in range(rows):
        lines[:] = 0
        for y in range(i * factor, (i + 1) * factor):
            # Columns are summed first, along the row in memory; blocks are cut from the sums afterwards.
            for x in range(width):
                lines[0, x] += np.float32(where[y, x])
            for k in range(len(planes)):
                for x in range(width):
                    lines[1 + k, x] += planes[k][y, x] if where[y, x] else np.float32(0)
        for k in range(lines.shape[0]):
            for j in range(columns):
                out[k, i, j] = lines[k, j * factor : (j + 1) * factor].sum() / np.float32(factor * factor)
    return out
