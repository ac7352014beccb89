"""From pixels to the 200 um grid: sums per cell, smoothing, assembly in the reference space.

Only sums travel. A section is summed into fine square cells of its own frame (`accumulate`, integers);
the cells are averaged over the 200 um window and smoothed in plane (`smooth`); every voxel of the
reference grid then gathers from the sections near it (`assemble`), with a Gaussian weight along the
cutting axis. Sampling the fine map at the voxel's own place interpolates once, where pasting 200 um
cells into a volume and resampling that would interpolate twice. Ratios come last, in ExpressionSums.

Source: the stated algorithm of the Allen Mouse Brain Atlas ("Informatics Data Processing": sums per
200 x 200 um division, in-plane smoothing, smoothing in z, transform to the reference space).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.core.errors import DataError
from pipeline.core.intensity import alike
from pipeline.core.model import (
    SUM_FIELDS,
    Alignment3d,
    Bool,
    ExpressionSums,
    Float64,
    Grid,
    Int64,
    SectionAlignment,
    UInt8,
)
from pipeline.geometry import affine
from pipeline.geometry.deformation import largest_z_um, volume_to_section

CELL_UM = 200.0
FINE_UM = 50.0
TRUNCATE_SIGMA = 4.0
LEAST_REACH_UM = 50.0
STRIP_PX = 8192  # of a row, summed at a time: shorter ones are read from memory half as fast
MOST_ROWS = 256  # of 255 each fit 16 bits

Rows = tuple[UInt8, UInt8, UInt8, UInt8]


@dataclass(frozen=True, eq=False)
class SectionCells:
    """Sums of one section over square cells of `pitch_px` stored pixels, anchored at the image's origin.

    Parameters
    ----------
    sums : ExpressionSums of (rows, columns)   in stored pixels: int64 as accumulated, float64 smoothed
    resolution_um : float                      of a pixel in the manifest's frame
    factor : int                               manifest pixels per stored pixel, along one axis
    rectangle_px : (x0, y0, x1, y1)            the scan inside the stored image, x1 and y1 exclusive
    """

    sums: ExpressionSums
    pitch_px: int
    factor: int
    resolution_um: float
    rectangle_px: tuple[int, int, int, int]

    @property
    def pitch_um(self) -> float:
        """Width of a cell in um."""
        return self.pitch_px * self.factor * self.resolution_um

    @property
    def voxel_factor(self) -> float:
        """Stored pixels of one fine cell to manifest pixels of the 200 um cell that a voxel holds."""
        return (cell_width_px(self.resolution_um) / self.pitch_px) ** 2


@dataclass(frozen=True, eq=False)
class PlacedSection:
    """Smoothed cells of a section with its place: z in the volume, and the alignment of its pixels."""

    cells: SectionCells
    z_um: float
    alignment: SectionAlignment


def cell_width_px(resolution_um: float) -> int:
    """Return the odd width of Allen's 200 um cell in pixels.

    >>> cell_width_px(1.07), cell_width_px(1.049), cell_width_px(1.63)
    (187, 191, 123)
    """
    return 2 * round(CELL_UM / resolution_um / 2) + 1


def fine_pitch_px(stored_resolution_um: float) -> int:
    """Return the width of a fine cell in stored pixels, about 50 um and at least one."""
    return max(1, round(FINE_UM / stored_resolution_um))


def accumulate(darkness: UInt8, expression: UInt8, valid: Bool, pitch_px: int) -> ExpressionSums:
    """Sum a section over square cells, exactly.

    Parameters
    ----------
    darkness : (H, W) uint8       255 - luma
    expression : (H, W) uint8     0 where not expressing, else the intensity
    valid : (H, W) bool           inside scan and tissue box, outside dark polygons
    pitch_px : int                width of a cell; the last row and column of cells may be narrower

    Returns
    -------
    ExpressionSums of (ceil(H / pitch), ceil(W / pitch)) int64
    """
    if not darkness.shape == expression.shape == valid.shape:
        raise DataError(
            f"gridding: expected one shape, got {darkness.shape}, {expression.shape}, {valid.shape}"
        )
    rows, columns = (-(-n // pitch_px) for n in darkness.shape)
    totals = np.zeros((4, rows, columns), np.int64)
    _accumulate(darkness, expression, alike(valid).view(np.uint8), pitch_px, totals)
    return ExpressionSums(**dict(zip(SUM_FIELDS, totals, strict=True)))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _accumulate(darkness: UInt8, expression: UInt8, valid: UInt8, pitch: int, totals: Int64) -> None:
    """Add up the rows of a cell column by column, then the columns; sums of a strip stay in a cache."""
    (height, width), last = darkness.shape, valid.shape[0] - 1
    strip = max(1, STRIP_PX // pitch) * pitch
    lines, nothing = np.empty((4, strip), np.uint16), np.zeros(strip, np.uint8)
    top = 0
    while top < height:
        bottom = min(height, (top // pitch + 1) * pitch, top + MOST_ROWS)
        for left in range(0, width, strip):
            part = slice(left, min(width, left + strip))
            none = nothing[: part.stop - left]
            lines[:] = 0
            for y in range(top, bottom, 4):
                v0, v1, v2, v3 = _four(valid, y, last, part)
                counted = (
                    v0,
                    v1 if y + 1 < bottom else none,
                    v2 if y + 2 < bottom else none,
                    v3 if y + 3 < bottom else none,
                )
                rows = _four(darkness, y, height - 1, part), _four(expression, y, height - 1, part)
                _add_rows(*rows, counted, lines)
            _add_columns(lines, pitch, none.size, totals[:, top // pitch, left // pitch :])
        top = bottom


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _four(image: UInt8, y: int, last: int, part: slice) -> Rows:
    """Return a part of four rows of an image; the last one stands for those beyond it."""
    return (
        image[min(y, last), part],
        image[min(y + 1, last), part],
        image[min(y + 2, last), part],
        image[min(y + 3, last), part],
    )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_rows(dark: Rows, level: Rows, valid: Rows, lines: npt.NDArray[np.uint16]) -> None:
    """Add four rows to the four sums of every column. Casts keep lanes narrow: many fit a register."""
    (d0, d1, d2, d3), (l0, l1, l2, l3), (v0, v1, v2, v3) = dark, level, valid
    pixels, expressing, intensity, darkness = lines[0], lines[1], lines[2], lines[3]
    for x in range(d0.size):
        m0, m1, m2, m3 = np.uint8(-v0[x]), np.uint8(-v1[x]), np.uint8(-v2[x]), np.uint8(-v3[x])
        a, b, c, d = np.uint8(l0[x] & m0), np.uint8(l1[x] & m1), np.uint8(l2[x] & m2), np.uint8(l3[x] & m3)
        count = np.uint8(np.uint8(v0[x] + v1[x]) + np.uint8(v2[x] + v3[x]))
        pixels[x] = np.uint16(pixels[x] + count)
        count = np.uint8(np.uint8(np.uint8(a != 0) + np.uint8(b != 0)) + np.uint8(c != 0))
        expressing[x] = np.uint16(expressing[x] + np.uint8(count + np.uint8(d != 0)))
        pair, other = np.uint16(np.uint16(a) + np.uint16(b)), np.uint16(np.uint16(c) + np.uint16(d))
        intensity[x] = np.uint16(intensity[x] + np.uint16(pair + other))
        pair = np.uint16(np.uint16(d0[x] & m0) + np.uint16(d1[x] & m1))
        other = np.uint16(np.uint16(d2[x] & m2) + np.uint16(d3[x] & m3))
        darkness[x] = np.uint16(darkness[x] + np.uint16(pair + other))


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_columns(lines: npt.NDArray[np.uint16], pitch: int, width: int, totals: Int64) -> None:
    for k in range(4):
        for column in range((width + pitch - 1) // pitch):
            total = np.uint32(0)
            for x in range(column * pitch, min(width, (column + 1) * pitch)):
                total = np.uint32(total + lines[k, x])
            totals[k, column] += np.int64(total)


def window(width: float, sigma: float) -> Float64:
    """Return a box of `width` convolved with a Gaussian of `sigma`, both in samples, summing to 1.

    >>> window(4.0, 0.0)
    array([0.125, 0.25 , 0.25 , 0.25 , 0.125])
    """
    half = width / 2
    reach = int(np.ceil(half + TRUNCATE_SIGMA * sigma - 0.5))
    edges = np.arange(-reach, reach + 2) - 0.5
    if sigma <= 0:
        weights = np.diff(np.clip(edges, -half, half))
    else:
        fine = 16
        at = np.linspace(-reach - 0.5, reach + 0.5, (2 * reach + 1) * fine + 1)
        at = (at[1:] + at[:-1]) / 2
        box = (np.abs(at) < half).astype(float)
        weights = ndimage.gaussian_filter1d(box, sigma * fine, mode="constant", truncate=TRUNCATE_SIGMA)
        weights = weights.reshape(-1, fine).sum(axis=1)
    return np.asarray(weights / weights.sum())


def smooth(cells: SectionCells, smoothing_um: float) -> SectionCells:
    """Average the fine cells over the 200 um window and a Gaussian; nothing lies outside the image."""
    kernel = window(max(1.0, CELL_UM / cells.pitch_um), smoothing_um / cells.pitch_um)

    def operator(values: npt.NDArray[np.int64]) -> Float64:
        spread = ndimage.convolve1d(values.astype(np.float64), kernel, axis=0, mode="constant")
        return np.asarray(ndimage.convolve1d(spread, kernel, axis=1, mode="constant"))

    return SectionCells(
        cells.sums.map(operator), cells.pitch_px, cells.factor, cells.resolution_um, cells.rectangle_px
    )


def assemble(
    sections: Sequence[PlacedSection],
    alignment3d: Alignment3d,
    grid: Grid,
    spacing_um: float,
    z_smoothing_um: float,
) -> tuple[ExpressionSums, Bool]:
    """Gather smoothed sections on a grid of the reference space.

    Parameters
    ----------
    sections : the usable sections, smoothed
    spacing_um : float    of the manifest's sections; decides how far a section reaches along z

    Returns
    -------
    ExpressionSums of grid.shape, float64; a fully covered voxel holds one 200 um cell of pixels;
    0 where there is no data
    covered : grid.shape bool    where voxels have data
    """
    volume = affine.apply(alignment3d.reference_to_volume, grid.points_um())
    reach = max(spacing_um / 2, LEAST_REACH_UM) + 1e-6
    offset, places = _places(sections, volume, max(reach, TRUNCATE_SIGMA * z_smoothing_um))
    nearest = offset.argmin(axis=1)
    least = offset.min(axis=1)
    covered = least <= reach
    within = covered.copy()
    totals = np.zeros((len(SUM_FIELDS), len(volume)))
    weights = np.zeros(len(volume))
    for number, (section, (near, points)) in enumerate(zip(sections, places, strict=True)):
        own = nearest[near] == number
        covered[near[own]] &= _inside(section, points[own])
        weight = _z_weight(offset[near, number], least[near], z_smoothing_um)
        used = (weight > 0) & within[near]
        totals[:, near[used]] += weight[used] * _sample(section, points[used])
        weights[near[used]] += weight[used]
    totals = np.divide(totals, weights, out=np.zeros_like(totals), where=weights > 0) * covered
    sums = ExpressionSums(*(t.reshape(grid.shape) for t in totals))
    return sums, covered.reshape(grid.shape)


def _places(
    sections: Sequence[PlacedSection], volume: Float64, limit_um: float
) -> tuple[Float64, list[tuple[Int64, Float64]]]:
    """Return how far volume points lie from every section along z, and where in those within the limit.

    Returns
    -------
    offset : (n, m) float64, um         at least the limit where it is not worked out
    places : m x (indices of points, stored px (k, 2))
    """
    offset = np.abs(volume[:, 2:3] - np.array([section.z_um for section in sections]))
    places = []
    for number, section in enumerate(sections):
        near = np.flatnonzero(offset[:, number] <= limit_um + largest_z_um(section.alignment))
        points, away = volume_to_section(section.alignment, volume[near], section.z_um)
        offset[near, number] = np.abs(away)
        places.append((near, points / section.cells.factor))
    return offset, places


def _z_weight(offset: Float64, least: Float64, sigma_um: float) -> Float64:
    """Gaussian along z, relative to the nearest section so that no voxel in reach is left empty."""
    if sigma_um <= 0:
        return (offset <= least).astype(np.float64)
    weight = np.exp((least**2 - offset**2) / (2 * sigma_um**2))
    return np.where(offset <= np.maximum(least, TRUNCATE_SIGMA * sigma_um), weight, 0.0)


def _inside(section: PlacedSection, points: Float64) -> Bool:
    x0, y0, x1, y1 = section.cells.rectangle_px
    x, y = points.T
    return np.asarray((x >= x0 - 0.5) & (x <= x1 - 0.5) & (y >= y0 - 0.5) & (y <= y1 - 0.5))


def _sample(section: PlacedSection, points: Float64) -> Float64:
    x, y = (points.T + 0.5) / section.cells.pitch_px - 0.5
    fields = section.cells.sums.arrays().values()
    sampled = [ndimage.map_coordinates(field, (y, x), order=1, mode="grid-constant") for field in fields]
    return np.asarray(sampled) * section.cells.voxel_factor
