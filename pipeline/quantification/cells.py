"""Sums of a section over fine square cells of its own frame, as exact integers; the 200 um grid samples them.

Source: the algorithm that the Allen Mouse Brain Atlas states (Lein et al. 2007; Ng et al. 2009; white paper
"Informatics Data Processing": sums per 200 x 200 um division).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.intensity import alike
from pipeline.core.kernels import kernel
from pipeline.core.model import SUM_FIELDS, Bool, ExpressionSums, Float64, Int64, UInt8

CELL_UM = 200.0  # width of a division of the Allen grid, um
FINE_UM = 50.0  # wanted width of a fine cell, um
STRIP_PX = 8192  # pixels of a row summed at a time; shorter strips halve the memory bandwidth
MOST_ROWS = 256  # rows that fit 16 bits: 256 x 255 < 65536

Rows = tuple[UInt8, UInt8, UInt8, UInt8]


@dataclass(frozen=True, eq=False)
class SectionCells:
    """Sums of one section over square cells, anchored at the image's origin.

    Attributes
    ----------
    sums : ExpressionSums of (rows, columns)
        Counted in stored pixels: int64 as accumulated, float64 once smoothed.
    pitch_px : int
        Width of a cell in stored pixels.
    factor : int
        Manifest pixels per stored pixel, along one axis.
    resolution_um : float, um
        Size of a pixel in the manifest's frame.
    rectangle_px : (x0, y0, x1, y1)
        The scan inside the stored image, in stored pixels; x1 and y1 exclusive.
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
        """Factor from stored pixels of a fine cell to manifest pixels of the 200 um cell of a voxel."""
        return (cell_width_px(self.resolution_um) / self.pitch_px) ** 2


def cell_width_px(resolution_um: float) -> int:
    """Return the odd width of Allen's 200 um cell in pixels.

    Parameters
    ----------
    resolution_um : float, um
        Size of a manifest pixel.

    Returns
    -------
    int, px
        2 x round(100 um / resolution) + 1.

    Examples
    --------
    >>> cell_width_px(1.07), cell_width_px(1.049), cell_width_px(1.63)
    (187, 191, 123)
    """
    return 2 * round(CELL_UM / resolution_um / 2) + 1


def fine_pitch_px(stored_resolution_um: float) -> int:
    """Return the width of a fine cell in stored pixels.

    Parameters
    ----------
    stored_resolution_um : float, um
        Size of a stored pixel.

    Returns
    -------
    int, px
        About 50 um, at least one pixel.
    """
    return max(1, round(FINE_UM / stored_resolution_um))


def accumulate(darkness: UInt8, expression: UInt8, valid: Bool, pitch_px: int) -> ExpressionSums:
    """Sum a section over square cells, exactly.

    Parameters
    ----------
    darkness : (H, W) uint8
        255 - luma.
    expression : (H, W) uint8
        0 where not expressing, else the intensity (darkness).
    valid : (H, W) bool
        Inside scan and tissue box, outside dark polygons.
    pitch_px : int, px
        Width of a cell; the last row and column of cells may be narrower.

    Returns
    -------
    ExpressionSums of (ceil(H / pitch), ceil(W / pitch)) int64
        Pixels, expressing pixels, and the intensity of either.

    Raises
    ------
    DataError
        Where the three arrays differ in shape.
    """
    if not darkness.shape == expression.shape == valid.shape:
        raise DataError(
            f"gridding: expected one shape, got {darkness.shape}, {expression.shape}, {valid.shape}"
        )
    rows, columns = (-(-n // pitch_px) for n in darkness.shape)
    totals = np.zeros((4, rows, columns), np.int64)
    counted = alike(valid).view(np.uint8)
    counted.flags.writeable = False  # as a broadcast row is: one type to compile for
    _accumulate(darkness, expression, counted, pitch_px, totals)
    return ExpressionSums(**dict(zip(SUM_FIELDS, totals, strict=True)))


def share_in_cells(mask: Bool, step_px: int, cells: SectionCells) -> Float64:
    """Return which share of each cell a mask of the section covers.

    Parameters
    ----------
    mask : (h, w) bool
        Mask of the stored image, reduced.
    step_px : int, px
        Stored pixels per pixel of the mask, along each axis.
    cells : SectionCells
        Cells of the section.

    Returns
    -------
    (rows, columns) float64
        From 0 to 1; cells at the far edges as if they went on beyond the image.
    """
    rows, columns = (
        _overlaps(count, cells.pitch_px, length, step_px)
        for count, length in zip(cells.sums.sum_pixels.shape, mask.shape, strict=True)
    )
    return np.asarray(rows @ mask.astype(np.float64) @ columns.T)


def _overlaps(cells: int, pitch: int, pixels: int, step: int) -> Float64:
    """Return which share of each cell each pixel of a mask fills along an axis, (cells, pixels)."""
    starts, edges = np.arange(cells)[:, None] * pitch, np.arange(pixels)[None] * step
    ends = edges + step
    ends[:, -1] = max(int(ends[0, -1]), cells * pitch)  # the last pixel goes on beyond the image
    common = np.minimum(starts + pitch, ends) - np.maximum(starts, edges)
    return np.asarray(np.maximum(common, 0) / pitch)


def without(cells: SectionCells, share: Float64, darkness: float) -> SectionCells:
    """Take empty glass out of the sums of cells: there was tissue, and it is missing.

    Parameters
    ----------
    cells : SectionCells
        Sums as accumulated.
    share : (rows, columns) float64, 0-1
        Which share of each cell is missing tissue.
    darkness : float, 0-255
        Mean darkness of the missing tissue, that is of the glass seen in its place.

    Returns
    -------
    SectionCells
        The sums of what is left. Glass does not express: expressing pixels go only where a whole cell goes.
    """
    sums, left = cells.sums, 1.0 - np.clip(share, 0.0, 1.0)
    gone = (1.0 - left) * sums.sum_pixels
    kept = left > 0.0
    pixels = np.maximum(sums.sum_pixels - gone, np.where(kept, sums.sum_expressing_pixels, 0))
    intensity = np.maximum(sums.sum_pixel_intensity - gone * darkness, sums.sum_expressing_pixel_intensity)
    expressing = sums.sum_expressing_pixels, sums.sum_expressing_pixel_intensity
    arrays = (pixels, *expressing, intensity)
    return replace(cells, sums=ExpressionSums(*(np.where(kept, array, 0.0) for array in arrays)))


@kernel
def _accumulate(darkness: UInt8, expression: UInt8, valid: UInt8, pitch: int, totals: Int64) -> None:
    """Add up the rows of a cell column by column, then the columns; the sums of a strip stay in the cache."""
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
            for y in range(top, bottom, 4):  # four rows at once: a quarter of the passes over the sums
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


@kernel
def _four(image: UInt8, y: int, last: int, part: slice) -> Rows:
    """Return a part of four rows of an image; beyond the image the last row is repeated."""
    return (
        image[min(y, last), part],
        image[min(y + 1, last), part],
        image[min(y + 2, last), part],
        image[min(y + 3, last), part],
    )


@kernel
def _add_rows(dark: Rows, level: Rows, valid: Rows, lines: npt.NDArray[np.uint16]) -> None:
    """Add four rows to the four sums of every column.

    Casts keep the lanes narrow, so that many of them fit a vector register.
    """
    (d0, d1, d2, d3), (l0, l1, l2, l3), (v0, v1, v2, v3) = dark, level, valid
    pixels, expressing, intensity, darkness = lines[0], lines[1], lines[2], lines[3]
    for x in range(d0.size):
        # 255 where valid, else 0: a mask of bits
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


@kernel
def _add_columns(lines: npt.NDArray[np.uint16], pitch: int, width: int, totals: Int64) -> None:
    """Add the columns of each cell to its four totals."""
    for k in range(4):
        for column in range((width + pitch - 1) // pitch):
            total = np.uint32(0)
            for x in range(column * pitch, min(width, (column + 1) * pitch)):
                total = np.uint32(total + lines[k, x])
            totals[k, column] += np.int64(total)
