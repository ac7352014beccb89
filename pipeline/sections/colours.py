"""Compiled passes over optical densities: of red, green and blue, plane by plane, and of blocks of pixels."""

from __future__ import annotations

import numba
import numpy as np

from pipeline.core.model import Bool, Float32, Float64, Int32, UInt8


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def optical_planes(colours: UInt8, light: Float64, tables: Float64, valid: Bool) -> Float32:
    """Return the optical density of every colour over its own light.

    Parameters
    ----------
    colours : (h, w, 3) uint8
    light : (h, w) float64                  log10, how it varies
    tables : (3, 256) float64               log10 of a grey level over how much there is of each colour
    valid : (h, w) bool

    Returns
    -------
    (3, h, w) float32, OD                   0 where not valid
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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def plane_means(planes: Float32) -> Float32:
    """Return the mean (h, w) of three planes (3, h, w)."""
    height, width = planes.shape[1:]
    out = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            out[y, x] = (planes[0, y, x] + planes[1, y, x] + planes[2, y, x]) * np.float32(1 / 3)
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def red_and_all(planes: Float32, scale: np.float32) -> Float32:
    """Return red, and the sum of three planes (3, h, w), times a factor, (2, h, w); below 0 counts as 0."""
    height, width = planes.shape[1:]
    out = np.empty((2, height, width), np.float32)
    none = np.float32(0)
    for y in range(height):
        for x in range(width):
            red = max(planes[0, y, x], none) * scale
            out[0, y, x] = red
            out[1, y, x] = red + (max(planes[1, y, x], none) + max(planes[2, y, x], none)) * scale
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def object_sums(planes: Float32, labels: Int32, count: int, most: float) -> Float64:
    """Add up the densities of every object where all three stay below a limit.

    Parameters
    ----------
    planes : (3, h, w) float32, OD
    labels : (h, w) int32                   0 is no object
    count : int                             labels are below it
    most : float, OD

    Returns
    -------
    (count, 3) float64
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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def above_blocks(values: Float32, limits: Float32, factor: int) -> Bool:
    """Compare pixels with a limit of their block.

    Parameters
    ----------
    values : (h, w) float32                 whole blocks
    limits : (h // factor, w // factor) float32
    factor : int, px                        side of a block

    Returns
    -------
    (h, w) bool
    """
    height, width = values.shape
    out, limit = np.empty((height, width), np.bool_), np.empty(width, np.float32)
    for i in range(limits.shape[0]):
        for j in range(limits.shape[1]):
            limit[j * factor : (j + 1) * factor] = limits[i, j]
        for y in range(i * factor, (i + 1) * factor):
            for x in range(width):
                out[y, x] = values[y, x] > limit[x]
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def block_shares(where: Bool, planes: tuple[Float32, ...], factor: int) -> Float32:
    """Return what part of every block counts, and the means of planes that are 0 elsewhere.

    Parameters
    ----------
    where : (h, w) bool                     whole blocks
    planes : n x (h, w) float32
    factor : int, px                        side of a block

    Returns
    -------
    (1 + n, h // factor, w // factor) float32
    """
    rows, columns, width = where.shape[0] // factor, where.shape[1] // factor, where.shape[1]
    out = np.empty((1 + len(planes), rows, columns), np.float32)
    lines = np.empty((1 + len(planes), width), np.float32)
    for i in range(rows):
        lines[:] = 0
        for y in range(i * factor, (i + 1) * factor):
            for x in range(width):
                lines[0, x] += np.float32(where[y, x])
            for k in range(len(planes)):
                for x in range(width):
                    lines[1 + k, x] += planes[k][y, x] if where[y, x] else np.float32(0)
        for k in range(lines.shape[0]):
            for j in range(columns):
                out[k, i, j] = lines[k, j * factor : (j + 1) * factor].sum() / np.float32(factor * factor)
    return out
