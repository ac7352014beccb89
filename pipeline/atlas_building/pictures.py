"""Pictures of the page of a built reference: planes beside or over each other, ratios in colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipeline.atlas_building.displacement import sampled
from pipeline.atlas_building.result import Picture
from pipeline.atlas_building.straightening import Midline
from pipeline.core.model import Float32, Float64, UInt8
from pipeline.formats.volumes.volume_files import Volume

WIDTH_PX = 640  # longer side of a plane, about
GAP_PX = 12  # between two planes
GREYS = (0.5, 99.7)  # percentiles shown as black and white
PLANES = (("coronal", 0), ("horizontal", 1))
MIDLINE_COLOUR = (232, 70, 60)  # RGB
LARGER, SMALLER, SAME = (178, 24, 43), (33, 102, 172), (247, 247, 247)  # RGB, of ratios
MOST_RATIO = 2.0  # that has its full colour
EDGE_SHARE = 0.02  # of the greys, above which a ratio is shown


def magnified(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a plane with each pixel repeated, so that its longer side has about `WIDTH_PX`.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) array
        Grey or RGB.

    Returns
    -------
    (H, W) or (H, W, 3) array
        The same picture.
    """
    times = max(1, round(WIDTH_PX / max(pixels.shape[:2])))
    return np.repeat(np.repeat(pixels, times, 0), times, 1)


def beside(one: UInt8, other: UInt8) -> UInt8:
    """Return two RGB planes of one height beside each other.

    Parameters
    ----------
    one, other : (H, w, 3) uint8
        Left and right.

    Returns
    -------
    (H, W, 3) uint8
        With a white gap between them.
    """
    gap = np.full((len(one), GAP_PX, 3), 255, np.uint8)
    return np.concatenate([one, gap, other], axis=1)


def over(one: Float32, other: Float32, greys: tuple[float, float]) -> UInt8:
    """Return two planes over each other: the first in magenta, the second in green; what agrees is grey.

    Parameters
    ----------
    one, other : (h, w) float32
        Values.
    greys : (float, float)
        Values shown as black and white.

    Returns
    -------
    (h, w, 3) uint8
        RGB.
    """
    low, high = greys
    a, b = (np.clip((v - low) / max(high - low, 1e-9), 0, 1) * 255 for v in (one, other))
    return np.stack([a, b, a], axis=-1).astype(np.uint8)


def ratio_colours(ratio: Float32, shown: npt.NDArray[np.bool_]) -> UInt8:
    """Return ratios in colours: red above 1, blue below, white at 1.

    Parameters
    ----------
    ratio : (h, w) float32
        Above 0.
    shown : (h, w) bool
        The others are black.

    Returns
    -------
    (h, w, 3) uint8
        RGB, full at `MOST_RATIO` and its inverse.
    """
    share = np.clip(np.log(np.maximum(ratio, 1e-6)) / np.log(MOST_RATIO), -1, 1)[..., None]
    full = np.where(share > 0, np.array(LARGER), np.array(SMALLER))
    rgb = np.array(SAME) + np.abs(share) * (full - np.array(SAME))
    return np.where(shown[..., None], rgb, 0).astype(np.uint8)


def jacobian_pictures(jacobian: Float32, template: Float32, um: float) -> Iterator[Picture]:
    """Draw the determinant of a displacement in tissue.

    Parameters
    ----------
    jacobian, template : (P, I, R) float32
        On one grid.
    um : float, um
        Its voxel size.

    Yields
    ------
    Picture
        A coronal and a horizontal plane through the middle.
    """
    edges = [np.median(np.take(template, at, axis)) for axis in range(3) for at in (0, -1)]
    around = float(np.median(edges))
    for name, axis in PLANES:
        at = template.shape[axis] // 2
        grey = np.abs(np.take(template, at, axis) - around)
        shown = ndimage.binary_fill_holes(grey > EDGE_SHARE * 4 * float(np.percentile(grey, 99)))
        yield Picture(
            f"Jacobian, {name} plane at {'PI'[axis]} {at * um:g} µm",
            f"Red where the source is larger, blue where it is smaller; full colour at {MOST_RATIO:g} and"
            f" 1/{MOST_RATIO:g}, white at 1.",
            np.asarray(magnified(ratio_colours(np.take(jacobian, at, axis), np.asarray(shown))), np.uint8),
        )


def midline_pictures(grey: Volume, midline: Midline, surface: Mapping[str, Any]) -> Iterator[Picture]:
    """Draw the midline in the input, and the halves over each other before and after.

    Parameters
    ----------
    grey : Volume
        The input.
    midline : Midline
        As found.
    surface : mapping
        Of midline.json.

    Yields
    ------
    Picture
        Two planes of the input, then two of the halves.
    """
    greys = _greys(grey.values)
    middle = midline.tissue_um.mean(axis=0)
    for name, axis in PLANES:
        at = min(round(middle[axis] / grey.spacing_um[axis]), grey.values.shape[axis] - 1)
        pixels = _with_line(grey, axis, at, surface, greys)
        place = f"{name} plane at {'PI'[axis]} {at * grey.spacing_um[axis]:g} µm"
        yield Picture(f"The midline in the input, {place}", "Red: the surface of midline.json.", pixels)
    for name, axis in PLANES:
        at_um = midline.frame.box_um[axis] / 2
        shown = [_halves(grey, midline, axis, at_um, is_warped) for is_warped in (False, True)]
        pixels = beside(*(np.asarray(magnified(over(a, b, greys)), np.uint8) for a, b in shown))
        yield Picture(
            f"The halves over each other, {name} plane at {'PI'[axis]} {at_um:g} µm",
            "Left about the best plane, right after the half-way warp. Magenta: the right half; green: the"
            " mirror image of the left one; grey: both alike. The midline is at the left.",
            pixels,
        )


def _greys(values: npt.NDArray[Any]) -> tuple[float, float]:
    step = max(1, min(values.shape) // 64)
    low, high = np.percentile(values[::step, ::step, ::step], GREYS)
    return float(low), float(high)


def _with_line(
    grey: Volume, axis: int, at: int, surface: Mapping[str, Any], greys: tuple[float, float]
) -> UInt8:
    """Return a plane of the input, (rows P or I, columns R), with the surface drawn in it."""
    plane = np.take(grey.values, at, axis).astype(np.float32)
    spacing = [grey.spacing_um[k] for k in range(3) if k != axis]
    if not np.isclose(spacing[0], spacing[1]):  # drawn with square pixels
        plane = ndimage.zoom(plane, np.array(spacing) / min(spacing), order=1)
    um = min(spacing)
    shade = np.clip((plane - greys[0]) / max(greys[1] - greys[0], 1e-9), 0, 1) * 255
    rgb = np.asarray(magnified(np.repeat(shade[..., None], 3, axis=2)), np.uint8)
    times = len(rgb) // len(plane)
    rows_um = (np.arange(len(rgb)) / times) * um
    fixed = np.full(len(rgb), at * grey.spacing_um[axis])
    columns = _surface_at(surface, *((fixed, rows_um) if axis == 0 else (rows_um, fixed))) / um * times
    for shift in (0, 1):
        rgb[np.arange(len(rgb)), np.clip(np.rint(columns).astype(int) + shift, 0, rgb.shape[1] - 1)] = (
            MIDLINE_COLOUR
        )
    return rgb


def _surface_at(surface: Mapping[str, Any], p_um: Float64, i_um: Float64) -> Float64:
    """Return R of the surface of midline.json at places, um."""
    steps = [surface[name][1] - surface[name][0] for name in ("p_um", "i_um")]
    places = np.stack([p_um / steps[0], i_um / steps[1]])
    return np.asarray(ndimage.map_coordinates(np.array(surface["r_um"]), places, order=1, mode="nearest"))


def _halves(
    grey: Volume, midline: Midline, axis: int, at_um: float, is_warped: bool
) -> tuple[Float32, Float32]:
    """Return the right half of a plane of the result and the mirror image of its left one."""
    um = midline.to_source.spacing_um
    along = 1 - axis  # P or I, the axis that the plane has beside R
    rows = np.arange(0.0, midline.frame.box_um[along], um / 2)
    far = np.arange(0.0, midline.frame.middle_um, um / 2)
    found = []
    for side in (1.0, -1.0):
        points = np.empty((len(rows), len(far), 3))
        points[..., axis], points[..., along] = at_um, rows[:, None]
        points[..., 2] = midline.frame.middle_um + side * far
        flat = points.reshape(-1, 3)
        there = midline.to_source.apply(flat) if is_warped else midline.frame.to_input(flat)
        values = sampled(grey.values, there / np.asarray(grey.spacing_um))
        found.append(np.asarray(values.reshape(points.shape[:2]), np.float32))
    return found[0], found[1]


def deviation_pictures(variance: Float32, um: float) -> Iterator[Picture]:
    """Draw the standard deviation between brains.

    Parameters
    ----------
    variance : (P, I, R) float32
        Between the brains, in the values of the template.
    um : float, um
        Voxel size.

    Yields
    ------
    Picture
        A coronal and a horizontal plane through the middle.
    """
    for name, axis in PLANES:
        at = variance.shape[axis] // 2
        plane = np.sqrt(np.maximum(np.take(variance, at, axis), 0))
        top = max(float(np.percentile(plane, 99.5)), 1e-9)
        yield Picture(
            f"Standard deviation between the brains, {name} plane at {'PI'[axis]} {at * um:g} µm",
            f"After brightness was evened; white is {top:.3g} or more, in the values of the template.",
            np.asarray(magnified(255 * np.clip(plane / top, 0, 1)), np.uint8),
        )
