"""Which pixels of a scan count: the scan's own rectangle, tissue box, dark polygons."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Int32, Polygon, UInt8

# Share of white pixels inside the scan: where glass is scanned as white, white lines at the border are glass
# and no padding.
WHITE_INSIDE = 0.01
DARK_RIM = 170  # median darkness along the border of an image: no glass is as dark
_SUBPIXEL_BITS = 4  # corners of polygons are rounded to 1/16 px

Rectangle = tuple[int, int, int, int]


def scan_rectangle(pixels: npt.NDArray[np.uint8]) -> Rectangle:
    """Find the rectangle of the scan inside white padding.

    Parameters
    ----------
    pixels : (H, W, 3) or (H, W) uint8
        The image.

    Returns
    -------
    tuple of 4 int, px
        (x0, y0, x1, y1): the scan has x0 <= x < x1 and y0 <= y < y1.

    Notes
    -----
    Padding is whole rows and columns at the border that are exactly white, around a scan whose own glass is
    not. Where the inside has white pixels here and there as well, nothing counts as padding.

    Examples
    --------
    >>> scan = np.full((4, 6), 230, np.uint8); scan[:, :2] = 255
    >>> scan_rectangle(scan)
    (2, 0, 6, 4)
    """
    height, width = pixels.shape[:2]
    whole = (0, 0, width, height)
    if not _white_border(pixels):
        return whole
    ink = (pixels != 255).any(axis=2) if pixels.ndim == 3 else pixels != 255
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if rows.size == 0:
        return whole
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    inside_white = 1.0 - float(ink[y0:y1, x0:x1].mean())
    return whole if inside_white > WHITE_INSIDE else (x0, y0, x1, y1)


def _white_border(pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether one of the four border lines is white all along."""
    sides = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    return any(bool((side == 255).all()) for side in sides)


def valid_region(
    shape: tuple[int, int],
    tissue_box: tuple[float, float, float, float] | None,
    polygons: Sequence[Polygon],
    padding: Rectangle | None,
) -> Bool:
    """Return which pixels count: inside the tissue box and the scan, outside every dark polygon.

    Parameters
    ----------
    shape : (int, int), px
        Height and width of the image.
    tissue_box : tuple of 4 float, px, or None
        (x, y, width, height); None is the whole image.
    polygons : sequence of polygons, px
        Corners (x, y), pixel centres at integers; the edge of a polygon is dark too.
    padding : tuple of 4 int, px, or None
        (x0, y0, x1, y1): the scan's rectangle, as `scan_rectangle` returns it.

    Returns
    -------
    (H, W) bool
        True where a pixel counts. Read-only where all rows are alike: one row that is repeated takes no
        memory.
    """
    x0, y0, x1, y1 = padding or (0, 0, shape[1], shape[0])
    if tissue_box is not None:
        left, top, width, height = tissue_box
        x0, x1 = max(x0, round(left)), min(x1, round(left + width))
        y0, y1 = max(y0, round(top)), min(y1, round(top + height))
    columns = np.zeros(shape[1], np.bool_)
    columns[max(0, x0) : max(0, x1)] = True
    if y0 <= 0 and y1 >= shape[0] and not polygons:
        return np.broadcast_to(columns, shape)
    valid = np.zeros(shape, np.bool_)
    valid[max(0, y0) : max(0, y1)] = columns
    fill_polygons(valid.view(np.uint8), polygons, 0)
    return valid


def fill_polygons(canvas: UInt8, polygons: Sequence[Polygon], value: int) -> None:
    """Paint polygons on an image in place, one over the other.

    Parameters
    ----------
    canvas : (h, w) uint8
        The image; changed in place.
    polygons : sequence of polygons, px
        Corners (x, y), pixel centres at integers.
    value : int
        What to paint.
    """
    for polygon in polygons:
        if len(polygon) > 2:
            points = np.rint(np.asarray(polygon) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(canvas, [points], value, shift=_SUBPIXEL_BITS)


def object_outline(labels: Int32, box: Int32, index: int, um: float) -> Polygon:
    """Return the outline of an object, one pixel wider than the object.

    Parameters
    ----------
    labels : (h, w) int32
        Number of the object at every pixel.
    box : (5,) int32, px
        Its left, top, width, height, area.
    index : int
        Number of the object.
    um : float, um
        Pixel size.

    Returns
    -------
    polygon
        Corners (x, y) in um from the section's corner.
    """
    x, y, width, height = (int(v) for v in box[:4])
    # A margin of two pixels: one for the dilation, one so that no object touches the border.
    part = np.pad((labels[y : y + height, x : x + width] == index).astype(np.uint8), 2)
    part = cv2.dilate(part, np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(((float(p) + x - 1.5) * um, (float(q) + y - 1.5) * um) for p, q in contours[0][:, 0, :])


def check_background(pixels: UInt8, padding: Bool | None = None) -> None:
    """Refuse a section on a dark background, where dark pixels are not stain.

    Parameters
    ----------
    pixels : (h, w[, 3]) uint8
        The whole section, reduced.
    padding : (h, w) bool, optional
        Padding, which is no background.

    Raises
    ------
    DataError
        Where the border is mostly dark.
    """
    if padding is None or not padding.any():
        rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    else:
        rim = pixels[outermost(~padding)]
    if rim.size and np.median(darkness(rim[None])) > DARK_RIM:
        raise DataError(
            "expected stained tissue on a bright background, got a dark background: fluorescence, an inverted"
            " stain, or black padding around the scan? such images are not read yet"
        )


def outermost(region: Bool) -> Bool:
    """Return the outermost pixels of a region.

    Parameters
    ----------
    region : (h, w) bool
        The region.

    Returns
    -------
    (h, w) bool
        Pixels of the region with a neighbour that is not, or none because the image ends.
    """
    inner = cv2.erode(np.pad(region.view(np.uint8), 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    return np.asarray(region & (inner == 0))
