"""Artifacts on a section: dust and pen by their colour, rims of bubbles by their shape.

Both searches work at the pixel size of the outlines (about 8 um). A stain has one colour at any strength: the
ratio of its optical densities in red, green and blue. Dust is grey; ink has a colour of its own. Folds have
a module of their own, `folds`.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pipeline.core.model import Bool, Float32, Float64, Int32, Int64, UInt8
from pipeline.sections.colours import object_sums, plane_means
from pipeline.sections.folds import find_folds
from pipeline.sections.kernels import above_median
from pipeline.sections.medians import median
from pipeline.sections.objects_by_size import drop_small
from pipeline.sections.objects_labelled import AREA, HEIGHT, WIDTH, box_part, connected_objects
from pipeline.sections.scan import object_outline
from pipeline.sections.statistics import Artifact

DARK_SHARE = 2.0  # times the OD of most tissue: the colour of paler objects is lost in noise
LEAST_OBJECT_UM2 = 250.0  # um2: larger than a cell
LEAST_CHROMA = 0.1  # a stain that is greyer than this cannot be distinguished from dust
GREY_SHARE, GREY_CHROMA = 0.4, 0.12  # of the tissue's chroma, and at most: the darkest stain has 0.2
RARE_SHARE = 1e-3  # of the stained area: more grey than this is not dust
SATURATED_OD = 0.8  # OD of a channel: grey level 40 of 255
WIDE_UM = 60.0  # um from the edge: neither a speck of dust nor cells side by side are as wide
LEAST_INK_UM2 = 2000.0  # um2
INK_ANGLE_DEG = 15.0  # degrees between the colours of ink and stain

STAIN, GREY, INK = 0, 1, 2  # positions in NAMES
NAMES = ("stain", "dust", "ink")

BUBBLE_CONTRAST = 12  # grey levels of a rim over its surroundings
BUBBLE_SURROUNDINGS_UM = 75.0  # um: side of the window of the surroundings
BUBBLES_UM2 = (2e4, 2e6)  # um2: anything larger is the outline of the brain
ROUND_UM, ROUGH_UM = 9.0, 32.0  # um: median and 90th percentile of the distance from an ellipse
RIM_UM = 20.0  # um: width of the band that is left out is twice as much


def foreign_objects(density: Float32, typical: float, um: float) -> tuple[Bool, list[Artifact]]:
    """Find dark objects whose colour is not that of the stain.

    Parameters
    ----------
    density : (3, h, w) float32, OD
        Optical density in red, green and blue.
    typical : float, OD
        Optical density of most tissue.
    um : float, um
        Pixel size.

    Returns
    -------
    foreign : (h, w) bool
        Where dust and ink lie.
    artifacts : list of Artifact
        "dust" where grey, "ink" where coloured or grey and wide, then "fold".

    Notes
    -----
    Dust is rare: where much is dark and grey, the stain itself is grey and nothing counts as dust. The centre
    of a black object is saturated and has no colour; its colour is measured along its edges.
    """
    mean = plane_means(density)
    dark = (mean > DARK_SHARE * typical).view(np.uint8)
    labels, boxes = connected_objects(dark, 8)
    sums = object_sums(density, labels, len(boxes), SATURATED_OD)
    areas = np.asarray(boxes[:, AREA] * (um * um), np.float64)
    kinds = _kinds(sums, areas, _stain_colour(density, typical))
    narrow = boxes[:, [WIDTH, HEIGHT]].min(axis=1) * um <= WIDE_UM
    for index in np.flatnonzero((kinds == GREY) & ~narrow):
        if _depth(labels, boxes[index], int(index)) * um > WIDE_UM:
            kinds[index] = INK
    stained_um2 = float(np.count_nonzero(mean > 0.5 * typical)) * um * um
    if areas[kinds == GREY].sum() > RARE_SHARE * stained_um2:
        kinds[kinds == GREY] = STAIN
    kinds[0] = STAIN  # the background
    found = []
    for index in np.flatnonzero(kinds):
        outline = object_outline(labels, boxes[index], int(index), um)
        found.append(Artifact(NAMES[kinds[index]], float(areas[index]), outline))
    foreign = np.asarray((kinds > 0)[labels]) if found else np.zeros(mean.shape, np.bool_)
    return foreign, found + find_folds(density, typical, ~foreign, um)


def _depth(labels: Int32, box: Int32, index: int) -> float:
    """Return the largest distance (px) inside an object from its edge."""
    inside = (labels[box_part(box, 1)] == index).view(np.uint8)
    return float(cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5).max())


def _stain_colour(density: Float32, typical: float) -> Float64:
    """Return the colour of the stained tissue, a unit vector (3,); the median resists foreign objects."""
    sample = density[:, ::4, ::4]
    stained = sample[:, plane_means(sample) > 0.5 * typical].T.copy()
    if stained.size == 0:
        return np.full(3, 3.0**-0.5)
    units = stained / np.linalg.norm(stained, axis=1, keepdims=True)
    colour = np.array([median(plane) for plane in units.T])
    return np.asarray(colour / np.linalg.norm(colour))


def _kinds(colours: Float64, areas: Float64, stain: Float64) -> Int64:
    """Return STAIN, GREY or INK for every object, (n,).

    `colours` are the summed optical densities (n, 3), `areas` in um2 (n,), `stain` the unit vector of the
    stain.
    """
    lengths = np.maximum(np.linalg.norm(colours, axis=1), 1e-9)
    angle = np.degrees(np.arccos(np.clip(np.nan_to_num(colours @ stain / lengths), -1, 1)))
    chroma, own = _chroma(colours), float(_chroma(stain[None])[0])
    coloured = (own >= LEAST_CHROMA) & (lengths > 1e-9)
    dull = chroma < min(GREY_SHARE * own, GREY_CHROMA)
    grey = coloured & dull & (areas >= LEAST_OBJECT_UM2)
    ink = (angle > INK_ANGLE_DEG) & (areas >= LEAST_INK_UM2)
    return np.where(ink, INK, np.where(grey, GREY, STAIN))


def _chroma(colours: Float64) -> Float64:
    """Return by what share green exceeds the mean of red and blue, (n,): 0 for grey, 0.3 for NBT/BCIP."""
    return np.asarray(2 * colours[:, 1] / np.maximum(colours[:, 0] + colours[:, 2], 1e-9) - 1)


def bubble_rims(dark: UInt8, um: float) -> list[Artifact]:
    """Find the rims of bubbles: dark closed curves that follow an ellipse.

    Parameters
    ----------
    dark : (h, w) uint8
        Darkness.
    um : float, um
        Pixel size.

    Returns
    -------
    list of Artifact
        "bubble"; the outline is that of the rim alone, not of what is seen through the bubble.

    Notes
    -----
    Layers of cells close to rings too, but unevenly: the distance of the ring from its fitted ellipse
    separates them. The fit is OpenCV's least-squares ellipse.

    References
    ----------
    Fitzgibbon A, Fisher R (1995). A buyer's guide to conic fitting. British Machine Vision Conference,
    513-522.
    """
    side = 2 * round(BUBBLE_SURROUNDINGS_UM / um / 2) + 1
    if side < 5:
        return []
    rim = above_median(dark, side, BUBBLE_CONTRAST)
    rim = cv2.morphologyEx(rim, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    # A rim around a hole has at least two pixels in each of its columns and rows.
    drop_small(rim, int(2 * BUBBLES_UM2[0] ** 0.5 / um), 0)
    if not rim.any():
        return []
    return [_rim(*ellipse, um) for ellipse in _elliptic_holes(rim, um)]


def _elliptic_holes(
    rim: UInt8, um: float
) -> Iterator[tuple[tuple[float, float], tuple[float, float], float]]:
    """Yield centre (px), axes (px) and angle (degree) of those holes that are ellipses."""
    contours, hierarchy = cv2.findContours(np.pad(rim, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, links in zip(contours, hierarchy[0] if contours else (), strict=True):
        # An entry without a parent is an outer contour, not a hole.
        if links[3] < 0 or not BUBBLES_UM2[0] <= cv2.contourArea(contour) * um * um <= BUBBLES_UM2[1]:
            continue
        (x, y), axes, angle = cv2.fitEllipse(contour.astype(np.float32))
        away = _distance_from_ellipse(contour[:, 0] - (x, y), axes, angle) * um
        if np.median(away) <= ROUND_UM and np.percentile(away, 90) <= ROUGH_UM:
            yield (x - 1, y - 1), axes, angle  # without the margin of one pixel


def _distance_from_ellipse(points: Float64, axes: tuple[float, float], angle_deg: float) -> Float64:
    """Return the approximate distance (px) of points (n, 2) from an ellipse about the origin, (n,)."""
    turn = np.deg2rad(angle_deg)
    u = points @ (np.cos(turn), np.sin(turn))
    v = points @ (-np.sin(turn), np.cos(turn))
    relative = np.hypot(2 * u / max(axes[0], 1e-6), 2 * v / max(axes[1], 1e-6))
    return np.asarray(np.abs(relative - 1) * np.sqrt(axes[0] * axes[1]) / 2)


def _rim(centre: tuple[float, float], axes: tuple[float, float], angle_deg: float, um: float) -> Artifact:
    """Return the band along an ellipse as one polygon: once around outside, then back inside."""
    turn = np.linspace(0, 2 * np.pi, 73)
    a = np.deg2rad(angle_deg)
    rings = []
    for reach, direction in ((RIM_UM * 1.5, 1), (-RIM_UM * 0.5, -1)):
        u, v = (axes[0] / 2 * um + reach) * np.cos(turn), (axes[1] / 2 * um + reach) * np.sin(turn)
        x = (centre[0] + 0.5) * um + u * np.cos(a) - v * np.sin(a)
        y = (centre[1] + 0.5) * um + u * np.sin(a) + v * np.cos(a)
        rings.append(np.stack([x, y], axis=1)[::direction])
    outline = tuple((round(float(x), 1), round(float(y), 1)) for x, y in np.concatenate(rings))
    area = float(cv2.contourArea(rings[0].astype(np.float32)) - cv2.contourArea(rings[1].astype(np.float32)))
    return Artifact("bubble", area, outline)
