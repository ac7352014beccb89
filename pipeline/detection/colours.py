"""Compiled passes over the optical densities of red, green and blue, which lie plane by plane."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from pipeline.model import Bool, Float64, UInt8

Int32 = npt.NDArray[np.int32]
NINTH = 1 / 9
LEAST_SUM = 1e-3  # OD


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


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def red_shares(planes: Float64, typical: float, dense: float) -> tuple[Float64, Bool]:
    """Blur 3 x 3, mirrored at the border pixels, and compare colours; densities below 0 count as 0.

    Sums of columns are carried from row to row, as box filters do: each row is read once.

    Parameters
    ----------
    planes : (3, h, w) float64, OD
    typical : float, OD
    dense : float                           times `typical`

    Returns
    -------
    (h, w) float64, 0-1                     red over the sum of all three, or over LEAST_SUM
    (h, w) bool                             whether the mean of all three exceeds `dense` x `typical`
    """
    height, width = planes.shape[1:]
    share, above = np.empty((height, width)), np.empty((height, width), np.bool_)
    lines, sums, row = np.zeros((3, 3, width)), np.zeros((3, width)), np.empty((3, width + 2))
    for at in range(-1, height + 1):
        y = min(abs(at), height - 1) if at < height else max(height - 2, 0)
        _clipped_row(planes, y, typical, row)
        new, old = lines[at % 3], lines[(at - 2) % 3]
        for k in range(3):
            for x in range(width):
                new[k, x] = row[k, x] + row[k, x + 1] + row[k, x + 2]
                sums[k, x] += new[k, x]
        if at < 1:
            continue
        for x in range(width):
            share[at - 1, x] = sums[0, x] * NINTH / max(sums[1, x] * NINTH, LEAST_SUM)
            above[at - 1, x] = sums[2, x] * NINTH > dense
        sums -= old
    return share, above


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _clipped_row(planes: Float64, y: int, typical: float, out: Float64) -> None:
    """Write red, the sum and the mean over `typical` of a row, and its mirrored neighbours at both ends."""
    width = planes.shape[2]
    for x in range(width):
        red, green, blue = planes[0, y, x], planes[1, y, x], planes[2, y, x]
        out[0, x + 1] = max(red, 0.0)
        out[1, x + 1] = max(red, 0.0) + max(green, 0.0) + max(blue, 0.0)
        out[2, x + 1] = max((red + green + blue) / 3 / typical, 0.0)
    out[:, 0] = out[:, min(2, width)]
    out[:, width + 1] = out[:, max(width - 1, 1)]
