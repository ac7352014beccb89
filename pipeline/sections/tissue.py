"""Tissue against glass: one definition for detection (8 um a pixel) and registration (25-60 um a pixel).

Everything is optical density over the fitted glass (Beer-Lambert), so light and exposure cancel. Tissue is at
least 0.4 times as dense as most of it and lies in large pieces. A large pale area that touches such a piece
is tissue too, where it stands clearly above the noise of the glass.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.blocks import block_majority, block_mean_float
from pipeline.core.intensity import LOG_GREY, LOG_LUMA
from pipeline.core.model import Bool, Float32, Float64, Int32, Polygon, UInt8
from pipeline.sections.colours import optical_planes
from pipeline.sections.glass import TISSUE_SHARE
from pipeline.sections.medians import MAD_TO_SIGMA, median, median_of_rising
from pipeline.sections.objects_labelled import AREA, box_part, connected_objects
from pipeline.sections.statistics import SectionContext

TISSUE_SMOOTHING_UM = 10.0  # um: Gaussian sigma
TISSUE_CLOSING_UM = 60.0  # um: radius
PALE_SHARE = 0.4  # of the threshold: a closed gap must still show this much
LEAST_OD = 0.012  # OD, three grey levels: less is dirt or unevenness of the glass
LEAST_TISSUE_UM2 = 2.5e5  # um2
LEAST_SHARE = 0.02  # of the largest piece: smaller ones are shreds
BLACK_FACTOR = 4.0  # times as dense as the largest piece: ink

PALE_UM = 32.0  # pixel size at which pale parts are looked for
PALE_SMOOTHING_UM = 50.0  # Gaussian sigma before
PALE_NOISES = 4.0  # least density of pale tissue, in units of the noise of the glass
PALE_LEVEL = 0.05  # and as a share of the tissue's density
PALE_HALF_WIDTH_UM = 120.0  # narrower rims are the blur of the tissue


def log_glass_map(context: SectionContext, shape: tuple[int, ...], um: float) -> Float64:
    """Return log10 of the luma of glass over pixels that begin at the section's corner.

    Parameters
    ----------
    context : SectionContext
        Statistics with the fitted glass.
    shape : (int, int)
        Rows and columns.
    um : float, um
        Pixel size.

    Returns
    -------
    (h, w) float64
        log10 of luma at the centres of the pixels.
    """
    y, x = ((np.arange(n) + 0.5) * um for n in shape)
    return context.log_glass_grid(x, y)


def over_glass(context: SectionContext, dark: UInt8, um: float) -> tuple[Float64, Float32]:
    """Return the light of the glass and the optical density over it.

    Parameters
    ----------
    context : SectionContext
        Statistics with the fitted glass.
    dark : (h, w) uint8
        Darkness, from the section's corner on.
    um : float, um
        Pixel size.

    Returns
    -------
    log_glass : (h, w) float64
        log10 of the luma of empty glass.
    density : (h, w) float32, OD
        Optical density.
    """
    log_glass = log_glass_map(context, dark.shape, um)
    return log_glass, np.asarray(cv2.subtract(log_glass, cv2.LUT(dark, LOG_LUMA), dtype=cv2.CV_32F))


def colour_densities(
    colours: UInt8, dark: UInt8, log_glass: Float64, density: Float32, valid: Bool
) -> Float32 | None:
    """Return the optical density of red, green and blue over the glass of the same colour.

    Parameters
    ----------
    colours : (h, w, 3) uint8
        The image.
    dark : (h, w) uint8
        Its darkness.
    log_glass : (h, w) float64
        log10 of the luma of glass.
    density : (h, w) float32, OD
        Density of the luma, by which empty glass is told.
    valid : (h, w) bool
        Pixels that count.

    Returns
    -------
    (3, h, w) float32, OD, or None
        0 where not valid; None where no glass is seen.
    """
    glass = cv2.inRange(density, -LEAST_OD / 2, LEAST_OD / 2) & valid.view(np.uint8)
    if not glass.any():
        return None
    luma = 255.0 - cv2.mean(dark, glass)[0]
    offsets = np.log10(np.maximum(cv2.mean(colours, glass)[:3], 1.0)) - np.log10(luma)
    return np.asarray(optical_planes(colours, log_glass, LOG_GREY - offsets[:, None], valid))


def find_tissue(density: Float32, valid: Bool, um: float) -> Bool:
    """Return where tissue is: stained, in large pieces, holes filled.

    Parameters
    ----------
    density : (h, w) float32, OD
        Optical density over the glass.
    valid : (h, w) bool
        Pixels that count.
    um : float, um
        Pixel size.

    Returns
    -------
    (h, w) bool
        True in tissue; all False where nothing is stained.
    """
    counted = density if valid.all() else np.where(valid, density, np.float32(0))
    smooth = cv2.GaussianBlur(counted, (0, 0), max(TISSUE_SMOOTHING_UM / um, 0.1))
    stained = np.sort(smooth[valid & (smooth > LEAST_OD)])  # sorted once for the three medians below
    if stained.size == 0:
        return np.zeros(valid.shape, np.bool_)
    threshold = LEAST_OD
    for _ in range(3):
        above = stained[np.searchsorted(stained, threshold, side="right") :]
        threshold = max(LEAST_OD, TISSUE_SHARE * median_of_rising(above))
    closed = _closed(valid & (smooth > threshold), TISSUE_CLOSING_UM / um)
    kept = (closed & (smooth > PALE_SHARE * threshold)).view(np.uint8)
    pieces, boxes = connected_objects(kept, 4)
    areas = np.asarray(boxes[:, AREA] * (um * um), np.float64)
    large = areas >= max(LEAST_TISSUE_UM2, LEAST_SHARE * areas.max())
    if large.sum() > 1:
        large[large] = _alike(density, pieces, np.flatnonzero(large), boxes)
    tissue = _filled(np.take(large, pieces))
    return _filled(tissue | _pale_parts(counted, valid, tissue, um)) if tissue.any() else tissue


def _pale_parts(density: Float32, valid: Bool, tissue: Bool, um: float) -> Bool:
    """Return large pale areas that touch the tissue, (h, w) bool, found in pixels of about `PALE_UM`."""
    factor = max(1, min(round(PALE_UM / um), *density.shape))
    pixel_um = factor * um
    coarse = block_mean_float(density, factor)
    known, dense = block_majority(valid, factor), block_majority(tissue, factor)
    smooth = cv2.GaussianBlur(coarse, (0, 0), max(PALE_SMOOTHING_UM / pixel_um, 0.7))
    glass = smooth[known & ~dense & (np.abs(smooth) < LEAST_OD)]
    noise = MAD_TO_SIGMA * float(np.median(np.abs(glass))) if glass.size else 0.0
    least = max(
        LEAST_OD, PALE_NOISES * noise, PALE_LEVEL * float(np.median(smooth[dense])) if dense.any() else 0.0
    )
    radius = max(1, round(PALE_HALF_WIDTH_UM / pixel_um))
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    around = cv2.dilate(dense.view(np.uint8), ball)  # the blur of the tissue reaches so far
    pale = cv2.morphologyEx((known & (smooth > least)).view(np.uint8) & ~around & 1, cv2.MORPH_OPEN, ball)
    pieces, boxes = connected_objects(pale, 4)
    areas = np.asarray(boxes[:, AREA] * pixel_um**2, np.float64)
    touching = np.bincount(pieces[cv2.dilate(around, ball) > 0], minlength=len(areas)) > 0
    kept = np.take(
        (areas >= max(LEAST_TISSUE_UM2, LEAST_SHARE * dense.sum() * pixel_um**2)) & touching, pieces
    )
    if not kept.any():
        return np.zeros(tissue.shape, np.bool_)
    grown = cv2.morphologyEx((kept | dense).view(np.uint8), cv2.MORPH_CLOSE, cv2.dilate(ball, ball)) & known
    whole = np.kron(grown, np.ones((factor, factor), np.uint8))[: tissue.shape[0], : tissue.shape[1]]
    return np.asarray(whole.view(np.bool_) & valid)


def _filled(region: Bool) -> Bool:
    """Fill the holes of a region; background joined to the border along rows and columns is not a hole."""
    around = np.pad(region.view(np.uint8), 1)
    cv2.floodFill(around, None, (0, 0), 2, flags=4)
    return np.asarray(around[1:-1, 1:-1] != 2)


def _alike(density: Float32, pieces: Int32, indices: npt.NDArray[np.intp], boxes: Int32) -> Bool:
    """Return which pieces are about as dense as the largest; the stroke of a pen on the glass is denser."""
    parts = {index: box_part(boxes[index]) for index in indices}
    medians = np.array([median(density[part][pieces[part] == n]) for n, part in parts.items()])
    return np.asarray(medians <= BLACK_FACTOR * medians[np.argmax(boxes[indices, AREA])])


def _closed(region: Bool, radius_px: float) -> Bool:
    """Close gaps of a region up to twice a radius: the dark line of the pia then encloses pale tissue."""
    if radius_px < 1 or not region.any():
        return region
    box = np.array(cv2.boundingRect(region.view(np.uint8)), np.int32)
    reach = math.ceil(radius_px) + 1
    part = box_part(box, reach)  # beyond it nothing closes
    middle = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    middle[reach, reach] = 0
    away = cv2.distanceTransform(middle, cv2.DIST_L2, cv2.DIST_MASK_5)
    ball = (away <= radius_px).view(np.uint8)
    closed = region.copy()
    closed[part] = cv2.morphologyEx(region[part].view(np.uint8), cv2.MORPH_CLOSE, ball)
    return closed


def outlines_um(region: Bool, um: float) -> tuple[Polygon, ...]:
    """Return the outer outlines of a region.

    Parameters
    ----------
    region : (h, w) bool
        The region.
    um : float, um
        Pixel size.

    Returns
    -------
    tuple of polygons
        Corners (x, y) in um from the section's corner.

    Notes
    -----
    Outlines are simplified within 0.75 px (Douglas and Peucker 1973).
    """
    contours, _ = cv2.findContours(region.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    plain = (cv2.approxPolyDP(contour, 0.75, closed=True)[:, 0, :] for contour in contours)
    return tuple(tuple(map(tuple, np.round((c + 0.5) * um, 1).tolist())) for c in plain)
