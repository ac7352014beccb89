"""Smooth outlines of an image of codes, as SVG paths.

Outlines are traced by marching squares (contourpy), closed, and simplified (Douglas and Peucker 1973).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from contourpy import LineType, contour_generator
from scipy import ndimage

from pipeline.core.model import Bool, Float64, UInt8
from pipeline.report.coarse_atlas import FIRST, OUTSIDE

LEAST_AREA_PX = 12.0  # smaller rings are dropped, px2
TOLERANCE_PX = 0.3  # of the simplification
MARGIN = 6  # px around a structure, twice the largest sigma, so that the blur is hardly cut off


@dataclass(frozen=True)
class Outline:
    """The boundary of one code: an SVG path in tenths of a pixel, where pixel (x, y) covers x..x+1, y..y+1.

    `code` is 0 for the outline of everything annotated.
    """

    code: int
    path: str


def outlines(codes: UInt8, sigma_px: float = 0.7) -> tuple[Outline, ...]:
    """Return the outlines of an image of coarse codes.

    Parameters
    ----------
    codes : (H, W) uint8
        Coarse codes as `CoarseAtlas.at` returns them.
    sigma_px : float, px
        Standard deviation of the Gaussian that rounds off voxels before the line is drawn at one half.

    Returns
    -------
    tuple of Outline
        Everything annotated first, then each code; those without a boundary are left out.
    """
    found = [Outline(OUTSIDE, mask_path(codes != OUTSIDE, sigma_px))]
    for code, box in enumerate(ndimage.find_objects(codes), start=1):
        if code >= FIRST and box is not None:
            top, left = (max(side.start - MARGIN, 0) for side in box)
            part = codes[top : box[0].stop + MARGIN, left : box[1].stop + MARGIN]
            found.append(Outline(code, mask_path(part == code, sigma_px, (top, left))))
    return tuple(o for o in found if o.path)


def mask_path(mask: Bool, sigma_px: float = 0.7, corner: tuple[int, int] = (0, 0)) -> str:
    """Return the boundary of a mask as an SVG path.

    Parameters
    ----------
    mask : (H, W) bool
        The mask.
    sigma_px : float, px
        Standard deviation of the Gaussian that rounds off the mask; 0 leaves it as it is.
    corner : (int, int), px
        Row and column in the image at which `mask` begins.

    Returns
    -------
    str
        Closed rings in tenths of a pixel of the image; empty where there is none.

    Examples
    --------
    >>> mask_path(np.pad(np.ones((4, 4), bool), 3), sigma_px=0.0)
    'M30 35l5 -5l30 0l5 5l0 30l-5 5l-30 0l-5 -5z'
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return ""
    top, left = max(int(rows[0]) - MARGIN, 0), max(int(columns[0]) - MARGIN, 0)
    part = mask[top : rows[-1] + 1 + MARGIN, left : columns[-1] + 1 + MARGIN].astype(np.float32)
    if sigma_px > 0:
        part = cv2.GaussianBlur(part, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    # A rim of zeros closes outlines that reach the edge of the image.
    drawn = contour_generator(z=np.pad(part, 1), name="serial", line_type=LineType.Separate)
    lines = cast(list[Float64], drawn.lines(0.5))
    offset = np.array([corner[1] + left - 0.5, corner[0] + top - 0.5])
    return "".join(_ring(line + offset) for line in lines if _area(line) >= LEAST_AREA_PX)


def _area(line: Float64) -> float:
    """Return the area of a closed ring by the shoelace formula, px2."""
    x, y = line.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def _ring(line: Float64) -> str:
    """Return a closed ring as relative steps in whole tenths of a pixel, the shortest text."""
    points = np.ascontiguousarray(line[:-1], np.float32)[:, None]
    kept = np.rint(10 * cv2.approxPolyDP(points, TOLERANCE_PX, closed=True)[:, 0]).astype(int)
    x, y = kept[0]
    return f"M{x} {y}" + "".join(f"l{dx} {dy}" for dx, dy in np.diff(kept, axis=0).tolist()) + "z"
