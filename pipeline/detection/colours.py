"""Compiled passes over the optical densities of red, green and blue, which lie plane by plane."""

from __future__ import annotations

import numba
import numpy as np

from pipeline.model import Bool, Float64, Int32, UInt8


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def optical_planes(colours: UInt8, light: Float64, offsets: Float64, table: Float64, valid: Bool) -> Float64:
    """Return the optical density of every colour over its own light.

    Parameters
    ----------
    colours : (h, w, 3) uint8
    light : (h, w) float64                  log10, how it varies
    offsets : (3,) float64                  log10, how much of each colour
    table : (256,) float64                  log10 of a grey level
    valid : (h, w) bool

    Returns
    -------
    (3, h, w) float64, OD                   0 where not valid
    """
    height, width = light.shape
    out = np.empty((3, height, width))
    for y in range(height):
        for k in range(3):
            for x in range(width):
                density = light[y, x] + offsets[k] - table[colours[y, x, k]]
                out[k, y, x] = density if valid[y, x] else 0.0
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def plane_means(planes: Float64) -> Float64:
    """Return the mean (h, w) of three planes (3, h, w)."""
    height, width = planes.shape[1:]
    out = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            out[y, x] = (planes[0, y, x] + planes[1, y, x] + planes[2, y, x]) / 3
    return out


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def object_sums(planes: Float64, labels: Int32, count: int, most: float) -> Float64:
    """Add up the densities of every object where all three stay below a limit.

    Parameters
    ----------
    planes : (3, h, w) float64, OD
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
            red, green, blue = planes[0, y, x], planes[1, y, x], planes[2, y, x]
            if label and red < most and green < most and blue < most:
                out[label, 0] += red
                out[label, 1] += green
                out[label, 2] += blue
    return out
