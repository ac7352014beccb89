"""Padding: what a scanner or an image editor put where nothing was scanned.

Padding is of one value and has straight edges: strips at a side, the corners of a turned picture, tiles that
were not scanned. Glass may be of one value too, where light saturates or noise is lost; but tissue bounds it,
which is darker and has no straight outline.
"""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.sections.objects_labelled import AREA, connected_objects

LEAST_SHARE = 0.002  # of the image: less of one value is not looked at
MOST_SHARE = 0.9  # of the image: more of one value is the image itself
MOST_VALUES = 6  # the commonest values that are looked at
SAMPLE_PX = 3  # the common values are those of every third pixel of every third row
ENOUGH_PX = 400  # shorter side of the image that is looked at
MARGIN_PX = 2  # around padding: pixels that hold some of it
SURROUNDINGS_PX = 9, 14  # from padding: beyond the blocks of a JPEG that hold both
STEP_SHARES = 0.35, 0.1, 0.0  # of the step to the surroundings, by which the edge of padding may differ
MOST_TOLERANCE = 25.0  # grey levels
EDGE_PX = 10  # around flat pixels: how far the edge of padding may be blurred
STRAIGHT_PX = 2.0  # how far an edge may leave a straight line
LEAST_STRAIGHT = 0.8  # share of the edges that is straight
LEAST_FLAT = 0.4  # share of padding that is of one value exactly
TILE_PX = 8  # least side of an unscanned tile
BLACK, WHITE = 12, 250  # grey levels of unscanned tiles
STRIP_SPREAD, STRIP_STEP = 3.0, 8.0  # grey levels, within a thin strip and to the row after the next
BRIGHTER_WHITE, BRIGHTER = 40.0, 12.0  # grey levels by which white and other padding may exceed the glass


def find_padding(pixels: UInt8) -> Bool:
    """Find what was put around or into a scan where nothing was scanned.

    Parameters
    ----------
    pixels : (h, w[, 3]) uint8
        The whole section, reduced or not.

    Returns
    -------
    (h, w) bool
        True in padding, and `MARGIN_PX` around it, of every so many pixels where the image is large.

    Examples
    --------
    >>> scan = np.random.default_rng(0).normal(235, 2, (80, 100)).astype(np.uint8)
    >>> scan[:, 70:] = 0
    >>> bool(find_padding(scan)[:, 68:].all()), bool(find_padding(scan)[:, :68].any())
    (True, False)
    """
    step = max(1, min(pixels.shape[:2]) // ENOUGH_PX)
    if step > 1:  # straight edges need no more pixels
        return enlarged(find_padding(np.ascontiguousarray(pixels[::step, ::step])), step, pixels.shape[:2])
    spread = cv2.subtract(cv2.dilate(pixels, _square(1)), cv2.erode(pixels, _square(1)))
    none = (0.0,) * (spread.shape[2] if spread.ndim == 3 else 1)
    flat = np.asarray(cv2.inRange(spread, none, none) & 1, np.uint8)
    found = np.zeros(flat.shape, np.uint8)
    luma = ~darkness(pixels)
    flat |= _at_sides(flat.shape) & (luma <= BLACK)  # no glass is black: slivers need not be flat
    for value in _common_values(pixels, flat):
        found |= _of_value(pixels, luma, flat, value)
    found |= _thin_strips(luma)
    return np.asarray(cv2.dilate(found, _square(MARGIN_PX)), np.uint8).view(np.bool_)


def enlarged(mask: Bool, step: int, shape: tuple[int, ...]) -> Bool:
    """Return a mask of a reduced image at the size of the image.

    Parameters
    ----------
    mask : (h, w) bool
        Mask of the reduced image.
    step : int, px
        Pixels of the image per pixel of the mask, along each axis.
    shape : (int, int), px
        Height and width of the image.

    Returns
    -------
    (height, width) bool
        The mask with every pixel repeated; False beyond it.
    """
    if step == 1 and mask.shape == shape[:2]:
        return mask
    size = mask.shape[1] * step, mask.shape[0] * step
    whole = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)[: shape[0], : shape[1]]
    lacking = [(0, n - have) for n, have in zip(shape, whole.shape, strict=False)]
    return np.pad(whole, lacking).view(np.bool_)


def _square(radius: int) -> UInt8:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _thin_strips(luma: UInt8) -> UInt8:
    """Return strips of a few even rows or columns at a side, set off from what follows, (h, w): 1 there.

    They are too thin to hold flat pixels once a JPEG has touched them. Light falls off over more pixels.
    """
    found = np.zeros(luma.shape, np.uint8)
    for side in range(4):  # each side is the upper one once; `view` writes into `found`
        turned, view = np.rot90(luma, side), np.rot90(found, side)
        rows = turned[: EDGE_PX + 2].astype(np.float32)
        level, spread = np.median(rows, axis=1), rows.std(axis=1)
        for last in range(1, len(rows) - 1):
            even = np.ptp(level[:last]) <= STRIP_SPREAD and spread[:last].max() <= STRIP_SPREAD
            if even and abs(level[last + 1] - level[last - 1]) >= STRIP_STEP:
                view[: last + 1] = 1
                break
    return found


def _at_sides(shape: tuple[int, ...]) -> UInt8:
    """Return the band of `EDGE_PX` along the sides of an image, (h, w): 1 where it is."""
    band = np.ones(shape, np.uint8)
    band[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX] = 0
    return band


def _common_values(pixels: UInt8, flat: UInt8) -> list[tuple[int, ...]]:
    """Return the values that fill much of an image with flat pixels, the commonest first."""
    sample = flat[::SAMPLE_PX, ::SAMPLE_PX] > 0
    values = pixels[::SAMPLE_PX, ::SAMPLE_PX].reshape(*sample.shape, -1)[sample]
    if len(values) < LEAST_SHARE * sample.size:
        return []
    shifts = 8 * np.arange(values.shape[1])
    unique, counts = np.unique((values.astype(np.int64) << shifts).sum(axis=1), return_counts=True)
    shares = counts / sample.size
    order = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    common = unique[[n for n in order if LEAST_SHARE <= shares[n] <= MOST_SHARE]]
    return [tuple(int(v) for v in packed >> shifts & 255) for packed in common]


def _of_value(pixels: UInt8, luma: UInt8, flat: UInt8, value: tuple[int, ...]) -> UInt8:
    """Return the padding of one value, (h, w): 1 where it is."""
    seed = cv2.inRange(pixels, value, value) & flat  # 1 where both
    grey = float(np.mean(value))
    around = _surroundings(seed, luma)
    for share in STEP_SHARES:
        tolerance = min(share * abs(around - grey), MOST_TOLERANCE)
        sides, tiles = _ruled(_grown(pixels, seed, value, tolerance), seed)
        if sides.any() or tiles.any():
            break
    as_glass = around < grey - (BRIGHTER_WHITE if min(value) >= WHITE else BRIGHTER)
    if as_glass:
        sides[:] = 0
    pure = max(value) <= BLACK or min(value) >= WHITE
    return sides | tiles if pure or sides.any() else sides


def _surroundings(seed: UInt8, luma: UInt8) -> float:
    """Return the luma beside flat pixels of one value, of the brightest tenth: glass, where there is some."""
    near, far = (cv2.dilate(seed, _square(radius)) for radius in SURROUNDINGS_PX)
    beside = luma[(far & ~near & 1) > 0]
    return float(np.percentile(beside, 90)) if beside.size else 0.0


def _grown(pixels: UInt8, seed: UInt8, value: tuple[int, ...], tolerance: float) -> UInt8:
    """Return the pixels of about a value near flat ones or a side of the image, (h, w): 1 where they are."""
    low, high = (tuple(float(v + sign * int(tolerance)) for v in value) for sign in (-1, 1))
    near = cv2.dilate(seed, _square(EDGE_PX)) | _at_sides(seed.shape)  # slivers taper off
    return np.asarray(cv2.inRange(pixels, low, high) & near | seed, np.uint8)


def _ruled(region: UInt8, seed: UInt8) -> tuple[UInt8, UInt8]:
    """Return the parts of a region that have straight edges: those at a side of the image, and those inside.

    Parts of which little is flat do not count: glass is flat here and there.
    """
    labels, boxes = connected_objects(region, 4)
    boxes[np.bincount(labels[seed > 0], minlength=len(boxes)) < LEAST_FLAT * boxes[:, AREA]] = 0
    sides, tiles = (np.zeros(len(boxes), np.bool_) for _ in range(2))
    height, width = region.shape
    for index in np.flatnonzero(boxes[:, AREA] >= TILE_PX**2):
        x, y, w, h = (int(n) for n in boxes[index, :AREA])
        part = (labels[y : y + h, x : x + w] == index).view(np.uint8)
        if x > 0 and y > 0 and x + w < width and y + h < height:
            tiles[index] = min(w, h) >= TILE_PX and _is_straight(part, (x, y), region.shape)
        else:
            sides[index] = _is_straight(part, (x, y), region.shape)
    if boxes[sides, AREA].sum() < LEAST_SHARE * region.size:
        sides[:] = False
    return np.take(sides, labels).view(np.uint8), np.take(tiles, labels).view(np.uint8)


def _is_straight(part: UInt8, corner: tuple[int, int], shape: tuple[int, ...]) -> bool:
    """Return whether the edges of a part inside the image are straight.

    `corner` is the place of the part in the image of `shape`, (x, y) px. An edge is straight where it is
    longer than the chord of a curve as wide as the image, within `STRAIGHT_PX`, or where it follows rows or
    columns.
    """
    contours, _ = cv2.findContours(np.pad(part, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    longest_chord = 3.0 * (STRAIGHT_PX * min(shape)) ** 0.5
    total = straight = 0.0
    for contour in contours:
        points = cv2.approxPolyDP(contour, STRAIGHT_PX, closed=True)[:, 0].astype(np.float64) - 1 + corner
        inner = _edges(points, shape)
        length = np.hypot(*inner.T)
        along = (np.abs(inner).min(axis=1) <= 1) & (length >= TILE_PX)
        total += float(length.sum())
        own = float(length[(length >= longest_chord) | along].sum())
        if length.sum() > longest_chord and own < LEAST_STRAIGHT * length.sum():
            return False
        straight += own
    return 0.0 < LEAST_STRAIGHT * total <= straight


def _edges(points: Float64, shape: tuple[int, ...]) -> Float64:
    """Return the edges of a polygon that do not lie on a side of the image, (n, 2) px."""
    ends = np.roll(points, -1, axis=0)
    outer = np.zeros(len(points), np.bool_)
    for axis, last in ((0, shape[1] - 1), (1, shape[0] - 1)):
        for side in (0, last):
            outer |= (np.abs(points[:, axis] - side) <= 1) & (np.abs(ends[:, axis] - side) <= 1)
    return np.asarray((ends - points)[~outer])
