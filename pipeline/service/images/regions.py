"""Any region of an image at any size."""

from __future__ import annotations

import math

import numpy as np

from pipeline.core.model import UInt8
from pipeline.service.http.answers import RequestError
from pipeline.service.images.resampling import (
    Taps,
    area_taps,
    largest_of,
    linear_taps,
    mean_of,
    nearest_taps,
)
from pipeline.service.images.sources import BLACK, WHITE, Level, Pixels, Size
from pipeline.service.served import LIMITS

Box = tuple[float, float, float, float]  # left, top, width, height, px of the frame
LARGEST_SIDE = 65_500  # px: the most that JPEG encoders take


def clipped(size: Size, box: Box) -> Box:
    """Return the part of a box that lies inside the frame.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frame, px.
    box : (float, float, float, float)
        Left, top, width and height, px of the frame; pixel i lies from i to i + 1.

    Returns
    -------
    (float, float, float, float)
        The same, cut at the edges of the frame.

    Raises
    ------
    RequestError
        Where a number is not finite, a side not positive, or the box wholly outside.

    Examples
    --------
    >>> clipped((100, 80), (90, -5, 20, 10))
    (90, 0, 10, 5)
    """
    left, top, width, height = box
    if not all(math.isfinite(v) and abs(v) < 2**31 for v in box):
        raise RequestError(f"expected a region in pixels of the image, got {_listed(box)}")
    if width <= 0 or height <= 0:
        raise RequestError(f"expected a region with pixels, got width {width:g} and height {height:g}")
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, size[0]), min(top + height, size[1])
    if x1 <= x0 or y1 <= y0:
        raise RequestError(
            f"expected a region inside the image of {size[0]} x {size[1]} px, got {_listed(box)}"
        )
    return x0, y0, x1 - x0, y1 - y0


def reduction(size: Size, box: Box, out: Size) -> float:
    """Return how many pixels of the frame an output pixel spans, along the axis where they are fewer.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frame, px.
    box : (float, float, float, float)
        Region inside the frame.
    out : (int, int)
        Width and height of the output, px.

    Returns
    -------
    float
        The coarsest scale that has enough pixels for the output.
    """
    return min(_step(box[axis], box[axis + 2], out[axis], size[axis]) for axis in (0, 1))


def region(source: Pixels, box: Box, out: Size, most: int = LIMITS.region_px) -> UInt8:
    """Return a region of an image at a size.

    Parameters
    ----------
    source : Pixels
        The image.
    box : (float, float, float, float)
        Left, top, width and height, px of the frame; it is cut at the edges of the frame.
    out : (int, int)
        Width and height of the output, px.
    most : int
        Pixels that the output may have.

    Returns
    -------
    (height, width) or (height, width, 3) uint8
        Reduced by the mean, masks by the maximum so that single cells stay visible; enlarged linearly, masks
        by repetition. White where the file has no pixels, masks 0.

    Raises
    ------
    RequestError
        Where the numbers make no region, or it has too many pixels.

    Notes
    -----
    An output size that is the region's divided by a whole number and rounded up, as tiles at the edge have,
    keeps that whole number as its step: its last pixel spans fewer pixels of the image.
    """
    box = clipped(source.size, box)
    check_out(out, most)
    steps = [_step(box[axis], box[axis + 2], out[axis], source.size[axis]) for axis in (0, 1)]
    index = level_for(source, min(steps))
    level = source.levels[index]
    _check_decoded(level, box)
    copied = _stored_part(level, box, steps, out)
    if copied is not None:
        return source.read(index, *copied)
    columns, rows = (
        _taps(source, box[axis] / level.scale, steps[axis] / level.scale, out[axis], length)
        for axis, length in ((0, level.width), (1, level.height))
    )
    (top, bottom), (left, right) = rows.span, columns.span
    fill = BLACK if source.is_mask else WHITE
    if bottom == top or right == left:
        return np.full((out[1], out[0]), fill, np.uint8)
    pixels = source.read(index, slice(top, bottom), slice(left, right))
    resample = largest_of if source.is_mask else mean_of
    return resample(pixels, rows.shifted(top), columns.shifted(left), fill)


def level_for(source: Pixels, step: float) -> int:
    """Return the coarsest level that is not coarser than a reduction, else the finest.

    Parameters
    ----------
    source : Pixels
        The image.
    step : float
        Pixels of the frame for each output pixel.

    Returns
    -------
    int
        Index of the level.
    """
    fine = [i for i, level in enumerate(source.levels) if level.scale <= step * (1 + 1e-9)]
    return fine[-1] if fine else 0


def check_out(out: Size, most: int = LIMITS.region_px) -> None:
    """Refuse a size of an answer that has no pixels, or too many.

    Parameters
    ----------
    out : (int, int)
        Width and height, px.
    most : int
        Pixels that it may have.

    Raises
    ------
    RequestError
        Where the size is out of bounds.
    """
    width, height = out
    if width < 1 or height < 1:
        raise RequestError(f"expected a size with pixels, got {width} x {height}")
    if max(out) > LARGEST_SIDE or width * height > most:
        raise RequestError(
            f"expected at most {most} px and {LARGEST_SIDE} a side, got {width} x {height};"
            " ask for a smaller size or a part"
        )


def _step(start: float, length: float, count: int, whole: int) -> float:
    """Return the pixels of the frame for each output pixel along an axis."""
    least = max(1, math.ceil(length / count))
    at_edge = start + length >= whole
    # Several steps may round up to the same count; the tiles of viewers have powers of two.
    for step in (2 ** (least - 1).bit_length(), least):
        if math.ceil(length / step) == count and (length % step == 0 or at_edge):
            return float(step)
    return length / count


def _stored_part(level: Level, box: Box, steps: list[float], out: Size) -> tuple[slice, slice] | None:
    """Return the rows and columns of a level that are the output as they are, where there are such."""
    left, top = box[0] / level.scale, box[1] / level.scale
    plain = steps == [level.scale] * 2 and left == int(left) and top == int(top)
    columns, rows = slice(int(left), int(left) + out[0]), slice(int(top), int(top) + out[1])
    return (rows, columns) if plain and columns.stop <= level.width and rows.stop <= level.height else None


def _check_decoded(level: Level, box: Box) -> None:
    decoded = (box[2] / level.scale + 1) * (box[3] / level.scale + 1)
    if decoded > LIMITS.decoded_px:
        raise RequestError(
            f"expected at most {LIMITS.decoded_px} px to decode, got {decoded:.0f}; ask for a smaller part"
        )


def _taps(source: Pixels, begin: float, step: float, count: int, length: int) -> Taps:
    if step >= 1:
        return area_taps(begin, step, count, length)
    return (nearest_taps if source.is_mask else linear_taps)(begin, step, count, length)


def _listed(box: Box) -> str:
    return ", ".join(f"{v:g}" for v in box)
