"""What lies on a section and is no stain: dust and pen by their colour, rims of bubbles by their shape.

Both work at the level of the outlines (about 8 um). A stain has one colour, whatever its strength: the
ratio of the optical densities of red, green and blue. Dust is grey; ink has a colour of its own. Folds have
a room of their own, `folds`.
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

DARK_SHARE = 2.0  # times the OD of most tissue: paler things have no colour to speak of
LEAST_OBJECT_UM2 = 250.0  # larger than a cell
LEAST_CHROMA = 0.1  # a stain that is greyer than this cannot be told from dust
GREY_SHARE, GREY_CHROMA = 0.4, 0.12  # of the tissue's chroma, and at most: the darkest stain has 0.2
RARE_SHARE = 1e-3  # of the stained area: more grey than this is no dust
SATURATED_OD = 0.8  # of a channel: 40 of 255
WIDE_UM = 60.0  # from the edge: no speck of dust, no cells side by side
LEAST_INK_UM2 = 2000.0
INK_ANGLE_DEG = 15.0

STAIN, GREY, INK = 0, 1, 2
NAMES = ("stain", "dust", "ink")

BUBBLE_CONTRAST = 12  # grey levels of a rim over its surroundings
BUBBLE_SURROUNDINGS_UM = 75.0
BUBBLES_UM2 = (2e4, 2e6)  # what is larger is a brain
ROUND_UM, ROUGH_UM = 9.0, 32.0  # median and 90th percentile of the distance from an ellipse
RIM_UM = 20.0


def foreign_objects(density: Float32, typical: float, um: float) -> tuple[Bool, list[Artifact]]:
    """Find dark objects that have not the colour of the stain.

    Parameters
    ----------
    density : (3, h, w) float32, OD         of red, green and blue
    typical : float, OD                     of most tissue
    um : float, um                          pixel size

    Returns
    -------
    (h, w) bool                             where they are
    list of Artifact                        "dust" where grey, "ink" where coloured or grey and wide, "fold"

    Dust is rare: where much is dark and grey, the stain itself is grey. What is black is told by its
    edges, where it is not.
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
    kinds[0] = STAIN
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
    """Return the colour of the stained tissue, a unit vector: the median resists what is foreign."""
    sample = density[:, ::4, ::4]
    stained = sample[:, plane_means(sample) > 0.5 * typical].T.copy()
    if stained.size == 0:
        return np.full(3, 3.0**-0.5)
    units = stained / np.linalg.norm(stained, axis=1, keepdims=True)
    colour = np.array([median(plane) for plane in units.T])
    return np.asarray(colour / np.linalg.norm(colour))


def _kinds(colours: Float64, areas: Float64, stain: Float64) -> Int64:
    """Return STAIN, GREY or INK for every object, from its summed optical densities (n, 3)."""
    lengths = np.maximum(np.linalg.norm(colours, axis=1), 1e-9)
    angle = np.degrees(np.arccos(np.clip(np.nan_to_num(colours @ stain / lengths), -1, 1)))
    chroma, own = _chroma(colours), float(_chroma(stain[None])[0])
    coloured = (own >= LEAST_CHROMA) & (lengths > 1e-9)
    dull = chroma < min(GREY_SHARE * own, GREY_CHROMA)
    grey = coloured & dull & (areas >= LEAST_OBJECT_UM2)
    ink = (angle > INK_ANGLE_DEG) & (areas >= LEAST_INK_UM2)
    return np.where(ink, INK, np.where(grey, GREY, STAIN))


def _chroma(colours: Float64) -> Float64:
    """Return how much more green a colour takes out than red and blue: 0 for grey, 0.3 for NBT/BCIP."""
    return np.asarray(2 * colours[:, 1] / np.maximum(colours[:, 0] + colours[:, 2], 1e-9) - 1)


def bubble_rims(dark: UInt8, um: float) -> list[Artifact]:
    """Find the rims of bubbles: dark closed curves that follow an ellipse.

    Layers of cells close to rings too, but run unevenly: their distance from an ellipse tells.

    Parameters
    ----------
    dark : (h, w) uint8
    um : float, um                          pixel size

    Returns
    -------
    list of Artifact                        "bubble"; the outline is that of the rim alone, not of what
                                            is seen through the bubble
    """
    side = 2 * round(BUBBLE_SURROUNDINGS_UM / um / 2) + 1
    if side < 5:
        return []
    rim = above_median(dark, side, BUBBLE_CONTRAST)
    rim = cv2.morphologyEx(rim, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    # What goes around a hole has two pixels in every column of it, and in every row.
    drop_small(rim, int(2 * BUBBLES_UM2[0] ** 0.5 / um), 0)
    if not rim.any():
        return []
    return [_rim(*ellipse, um) for ellipse in _elliptic_holes(rim, um)]


def _elliptic_holes(
    rim: UInt8, um: float
) -> Iterator[tuple[tuple[float, float], tuple[float, float], float]]:
    """Yield centre, axes (px) and angle (deg) of the holes that are ellipses."""
    contours, hierarchy = cv2.findContours(np.pad(rim, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, links in zip(contours, hierarchy[0] if contours else (), strict=True):
        if links[3] < 0 or not BUBBLES_UM2[0] <= cv2.contourArea(contour) * um * um <= BUBBLES_UM2[1]:
            continue
        (x, y), axes, angle = cv2.fitEllipse(contour.astype(np.float32))
        away = _distance_from_ellipse(contour[:, 0] - (x, y), axes, angle) * um
        if np.median(away) <= ROUND_UM and np.percentile(away, 90) <= ROUGH_UM:
            yield (x - 1, y - 1), axes, angle


def _distance_from_ellipse(points: Float64, axes: tuple[float, float], angle_deg: float) -> Float64:
    """Return about how far points (n, 2) lie from an ellipse about the origin."""
    turn = np.deg2rad(angle_deg)
    u = points @ (np.cos(turn), np.sin(turn))
    v = points @ (-np.sin(turn), np.cos(turn))
    relative = np.hypot(2 * u / max(axes[0], 1e-6), 2 * v / max(axes[1], 1e-6))
    return np.asarray(np.abs(relative - 1) * np.sqrt(axes[0] * axes[1]) / 2)


def _rim(centre: tuple[float, float], axes: tuple[float, float], angle_deg: float, um: float) -> Artifact:
    """Return the band along an ellipse as one polygon: around outside, back around inside."""
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
