"""Lines of samples and what each resampled one is made of, along rows and columns independently.

Samples lie on a line from 0 to its length, sample k from k to k + 1. A resampled line begins anywhere and has
any step: larger than 1 reduces, smaller than 1 enlarges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.kernels import kernel
from pipeline.core.model import Float32, Float64, Int64, UInt8

SNAP = 1e-6  # of a sample: positions this near to an edge between samples are at it


@dataclass(frozen=True, eq=False)
class Taps:
    """Which samples each output sample is made of.

    Attributes
    ----------
    first : (n,) int64
        First sample of each output sample.
    count : (n,) int64
        Number of samples; 0 where the output lies beyond the line.
    weights : (sum of count,) float32
        Weight of each sample, output after output; they need not add up to 1.
    total : (n,) float32
        Sum of the weights of each output sample.
    """

    first: Int64
    count: Int64
    weights: Float32
    total: Float32

    @property
    def span(self) -> tuple[int, int]:
        """First sample, and the one after the last, that any output needs; (0, 0) for none."""
        used = self.count > 0
        if not used.any():
            return 0, 0
        return int(self.first[used].min()), int((self.first + self.count)[used].max())

    def shifted(self, by: int) -> Taps:
        """Return the same taps for a line that begins `by` samples later.

        Parameters
        ----------
        by : int
            Samples that the other line lacks.

        Returns
        -------
        Taps
            Taps with other positions.
        """
        return Taps(self.first - by, self.count, self.weights, self.total)


def area_taps(begin: float, step: float, count: int, length: int) -> Taps:
    """Return taps that average: each output sample takes what lies between its edges.

    Parameters
    ----------
    begin : float, samples
        Where the first output sample begins.
    step : float, samples
        Samples for each output sample, 1 or more.
    count : int
        Number of output samples.
    length : int
        Number of samples of the line; what lies beyond is left out.

    Returns
    -------
    Taps
        Weights are the lengths of the overlaps.

    Examples
    --------
    >>> taps = area_taps(0.0, 1.5, 2, 3)
    >>> taps.first.tolist(), taps.count.tolist(), taps.weights.tolist()
    ([0, 1], [2, 2], [1.0, 0.5, 0.5, 1.0])
    """
    edges = _snapped(begin + step * np.arange(count + 1, dtype=np.float64))
    low, high = np.clip(edges[:-1], 0, length), np.clip(edges[1:], 0, length)
    first = np.floor(low).astype(np.int64)
    number = np.where(high > low, np.ceil(high).astype(np.int64) - first, 0)
    owner, sample = _each(first, number)
    weights = np.minimum(high[owner], sample + 1) - np.maximum(low[owner], sample)
    return _taps(first, number, owner, weights)


def linear_taps(begin: float, step: float, count: int, length: int) -> Taps:
    """Return taps that interpolate linearly between the centres of samples.

    Parameters
    ----------
    begin : float, samples
        Where the first output sample begins.
    step : float, samples
        Samples for each output sample, less than 1.
    count : int
        Number of output samples.
    length : int
        Number of samples of the line; outputs centred beyond it take nothing.

    Returns
    -------
    Taps
        One or two samples each; within half a sample of the ends, the last sample alone.
    """
    centre = begin + step * (np.arange(count, dtype=np.float64) + 0.5)
    inside = (centre >= 0) & (centre <= length)
    at = np.clip(centre - 0.5, 0, length - 1)
    first = np.floor(at).astype(np.int64)
    share = at - first
    number = np.where(inside, np.where(share > 0, 2, 1), 0)
    owner, sample = _each(first, number)
    weights = np.where(sample == first[owner], 1.0 - share[owner], share[owner])
    return _taps(first, number, owner, weights)


def nearest_taps(begin: float, step: float, count: int, length: int) -> Taps:
    """Return taps that repeat samples.

    Parameters
    ----------
    begin : float, samples
        Where the first output sample begins.
    step : float, samples
        Samples for each output sample, less than 1.
    count : int
        Number of output samples.
    length : int
        Number of samples of the line; outputs centred beyond it take nothing.

    Returns
    -------
    Taps
        One sample each.
    """
    centre = begin + step * (np.arange(count, dtype=np.float64) + 0.5)
    first = np.floor(_snapped(centre)).astype(np.int64)
    number = ((first >= 0) & (first < length)).astype(np.int64)
    return _taps(first, number, np.flatnonzero(number), np.ones(int(number.sum())))


def _snapped(positions: Float64) -> Float64:
    whole = np.rint(positions)
    return np.where(np.abs(positions - whole) < SNAP, whole, positions)


def _each(first: Int64, number: Int64) -> tuple[Int64, Int64]:
    """Return output and sample of every tap."""
    owner = np.repeat(np.arange(first.size), number)
    starts = np.cumsum(number) - number
    return owner, np.arange(owner.size) - starts[owner] + first[owner]


def _taps(first: Int64, number: Int64, owner: Int64, weights: Float64) -> Taps:
    total = np.bincount(owner, weights, minlength=first.size)
    return Taps(first, number, weights.astype(np.float32), total.astype(np.float32))


def mean_of(pixels: UInt8, rows: Taps, columns: Taps, fill: int) -> UInt8:
    """Return the weighted mean of the pixels of each output pixel, rounded half up.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        The pixels that the taps count.
    rows, columns : Taps
        Of n and of m output samples.
    fill : int
        Value where there are no pixels.

    Returns
    -------
    (n, m) or (n, m, 3) uint8
        The resampled image.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    flat = np.require(pixels, requirements=["C", "W"]).reshape(pixels.shape[0], -1)  # kernels know one layout
    down = (rows.first, rows.count, rows.weights, rows.total)
    across = (columns.first, columns.count, columns.weights, columns.total)
    out: UInt8 = _mean(flat, channels, *down, *across, fill)
    return out[..., 0] if pixels.ndim == 2 else out


def largest_of(pixels: UInt8, rows: Taps, columns: Taps, fill: int) -> UInt8:
    """Return the largest of the pixels of each output pixel, however small their weight.

    Parameters
    ----------
    pixels : (h, w) uint8
        The pixels that the taps count.
    rows, columns : Taps
        Of n and of m output samples.
    fill : int
        Value where there are no pixels.

    Returns
    -------
    (n, m) uint8
        The resampled image.
    """
    down, across = (rows.first, rows.count), (columns.first, columns.count)
    return np.asarray(_largest(np.require(pixels, requirements=["C", "W"]), *down, *across, fill))


def prepare() -> None:
    """Compile the kernels, or load their machine code, so that no request waits for it."""
    one = area_taps(0.0, 1.0, 1, 1)
    for pixels in (np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)):
        mean_of(pixels, one, one, 0)
    largest_of(np.zeros((1, 1), np.uint8), one, one, 0)


@kernel
def _mean(
    flat: UInt8,
    channels: int,
    row_first: Int64,
    row_count: Int64,
    row_weights: Float32,
    row_total: Float32,
    first: Int64,
    count: Int64,
    weights: Float32,
    total: Float32,
    fill: int,
) -> UInt8:
    """Add up rows, many columns a register; then the columns of the sum."""
    out = np.full((row_first.size, first.size, channels), np.uint8(fill), np.uint8)
    line = np.empty(flat.shape[1], np.float32)
    at = 0
    for i in range(row_first.size):
        line.fill(np.float32(0.0))
        for k in range(row_count[i]):
            weight, row = row_weights[at + k], flat[row_first[i] + k]
            for x in range(line.size):
                line[x] += weight * np.float32(row[x])
        at += row_count[i]
        if row_total[i] > 0:
            if channels == 3:
                _across_rgb(line, first, count, weights, total, row_total[i], out[i])
            else:
                _across_grey(line, first, count, weights, total, row_total[i], out[i])
    return out


# Indices without sign spare the test for negative ones; with it both loops take twice as long.
@kernel(reorder=True)  # type: ignore[untyped-decorator]
def _across_rgb(
    line: Float32, first: Int64, count: Int64, weights: Float32, total: Float32, rows: float, out: UInt8
) -> None:
    half, one, two, three = np.float32(0.5), np.uint64(1), np.uint64(2), np.uint64(3)
    tap = np.uint64(0)
    for j in range(np.uint64(first.size)):
        number, start = np.uint64(count[j]), three * np.uint64(first[j])
        red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for k in range(number):
            weight, x = weights[tap + k], start + three * k
            red += weight * line[x]
            green += weight * line[x + one]
            blue += weight * line[x + two]
        tap += number
        if number > 0:
            area = rows * total[j]
            out[j, 0] = np.uint8(red / area + half)
            out[j, 1] = np.uint8(green / area + half)
            out[j, 2] = np.uint8(blue / area + half)


@kernel(reorder=True)  # type: ignore[untyped-decorator]
def _across_grey(
    line: Float32, first: Int64, count: Int64, weights: Float32, total: Float32, rows: float, out: UInt8
) -> None:
    tap = np.uint64(0)
    for j in range(np.uint64(first.size)):
        number, start = np.uint64(count[j]), np.uint64(first[j])
        summed = np.float32(0.0)
        for k in range(number):
            summed += weights[tap + k] * line[start + k]
        tap += number
        if number > 0:
            out[j, 0] = np.uint8(summed / (rows * total[j]) + np.float32(0.5))


@kernel
def _largest(
    pixels: UInt8, row_first: Int64, row_count: Int64, first: Int64, count: Int64, fill: int
) -> UInt8:
    """Take the largest of rows, many columns a register; then of the columns of that."""
    out = np.full((row_first.size, first.size), np.uint8(fill), np.uint8)
    line = np.empty(pixels.shape[1], np.uint8)
    for i in range(row_first.size):
        if row_count[i] == 0:
            continue
        line.fill(np.uint8(0))
        for k in range(row_count[i]):
            row = pixels[row_first[i] + k]
            for x in range(line.size):
                line[x] = max(line[x], row[x])
        for j in range(first.size):
            if count[j] > 0:
                most = np.uint8(0)
                for k in range(count[j]):
                    most = max(most, line[first[j] + k])
                out[i, j] = most
    return out
