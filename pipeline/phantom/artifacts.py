"""What goes wrong on a slide: lost pieces, tears, folds, bubbles, dust; uneven light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64, UInt8
from pipeline.phantom.options import RenderOptions

CLEAN, GONE, BUBBLE, DUST, FOLD = 0, 1, 2, 3, 4
TEAR_UM, FOLD_UM = (40.0, 130.0), (40.0, 160.0)
BAND_UM, BAND_DARKNESS = 150.0, (60.0, 120.0)


@dataclass(frozen=True, eq=False)
class Slide:
    """Where artefacts may fall.

    Parameters
    ----------
    tissue : (rows, columns) bool   coarse map of the tissue, one node every `step_px`
    """

    width_px: int
    height_px: int
    resolution_um: float
    step_px: int
    tissue: Bool

    def px(self, length_um: float) -> float:
        """Return a length in pixels."""
        return length_um / self.resolution_um

    def pick(self, rng: np.random.Generator, *, border: bool) -> Float64 | None:
        """Return a random place in the tissue or on its border, (x, y) px."""
        wanted = self.tissue & ~ndimage.binary_erosion(self.tissue) if border else self.tissue
        nodes = np.argwhere(wanted)
        if len(nodes) == 0:
            return None
        return self.step_px * nodes[rng.integers(len(nodes)), ::-1].astype(np.float64)


def gone(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> UInt8:
    """Draw what is not there: lost pieces at the rim, tears across; (h, w) uint8, 1 where glass shows."""
    raster = np.zeros((slide.height_px, slide.width_px), np.uint8)
    for _ in range(rng.poisson(options.losses)):
        middle = slide.pick(rng, border=True)
        if middle is not None:
            cv2.fillPoly(raster, [_blob(middle, slide.px(rng.uniform(250.0, 700.0)), rng)], 1)
    for _ in range(rng.poisson(options.tears)):
        start = slide.pick(rng, border=True)
        if start is not None:
            _tear(raster, slide, start, rng)
    return raster


def _blob(
    middle: Float64, radius_px: float, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    wobble = sum(rng.uniform(-0.3, 0.3) / k * np.sin(k * turn + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5, 8))
    reach = radius_px * (1 + wobble)
    return np.rint(middle + np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)).astype(np.int32)


def _tear(raster: UInt8, slide: Slide, start: Float64, rng: np.random.Generator) -> None:
    course, width = _course(slide, start, TEAR_UM, rng)
    steps = len(course) - 1
    for k in range(steps):
        _line(raster, course[k : k + 2], 1, slide.px(width) * (1 - k / steps))


def _course(
    slide: Slide, start: Float64, widths_um: tuple[float, float], rng: np.random.Generator
) -> tuple[Float64, float]:
    """Draw a wandering line from the border of the tissue inward, (n, 2) px, and a width, um."""
    inward = slide.step_px * np.argwhere(slide.tissue).mean(axis=0)[::-1] - start
    heading = np.arctan2(inward[1], inward[0]) + rng.uniform(-0.5, 0.5)
    steps, width = int(rng.integers(6, 18)), rng.uniform(*widths_um)
    course = [start - slide.px(150.0) * np.array([np.cos(heading), np.sin(heading)])]
    for _ in range(steps):
        heading += rng.normal(0, 0.25)
        course.append(course[-1] + slide.px(140.0) * np.array([np.cos(heading), np.sin(heading)]))
    return np.array(course), float(width)


def _line(raster: UInt8, course: Float64, value: int, width_px: float) -> None:
    points = np.rint(course).astype(np.int32)
    cv2.polylines(raster, [points], False, value, max(round(width_px), 1))


def fold(pixels: UInt8, tissue: Bool, slide: Slide, options: RenderOptions, rng: np.random.Generator) -> Bool:
    """Lay tissue over itself, two or three layers, along lines from its border; (h, w) bool, where it does.

    Light passes the layers one after the other: their optical densities add up, colour by colour.

    Parameters
    ----------
    pixels : (h, w, 3) uint8            changed in place
    tissue : (h, w) bool
    """
    layers = np.ones(tissue.shape, np.uint8)
    for _ in range(rng.poisson(options.folds)):
        start = slide.pick(rng, border=True)
        if start is not None:
            course, width = _course(slide, start, FOLD_UM, rng)
            _line(layers, course, int(rng.integers(2, 4)), slide.px(width))
    folded = np.asarray((layers > 1) & tissue)
    if folded.any():
        glass = np.median(pixels[~tissue], axis=0) if not tissue.all() else np.full(3, 255.0)
        through = pixels[folded].astype(np.float64)
        for layer in (2, 3):
            other = np.roll(pixels, round(layer * slide.px(FOLD_UM[1])), axis=1)[folded] / glass
            through *= np.where(layers[folded] >= layer, np.minimum(other.T, 1.0), 1.0).T
        pixels[folded] = np.rint(through).astype(np.uint8)
    return folded


def bands(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> Float32 | None:
    """Draw bands of solid expression, 150 um wide; (h, w) float32, the darkness that they add, or None."""
    count = rng.poisson(options.bands)
    if count == 0:
        return None
    added = np.zeros((slide.height_px, slide.width_px), np.float32)
    for _ in range(count):
        start = slide.pick(rng, border=True)
        if start is not None:
            band = np.zeros(added.shape, np.uint8)
            _line(band, _course(slide, start, (BAND_UM, BAND_UM), rng)[0], 1, slide.px(BAND_UM))
            added[band > 0] = rng.uniform(*BAND_DARKNESS)
    return added


def soil(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> tuple[Float32 | None, UInt8]:
    """Draw bubbles and dust.

    Returns
    -------
    added : (h, w) float32 or None      darkness to add, None where there is nothing
    kinds : (h, w) uint8                CLEAN, BUBBLE or DUST
    """
    kinds = np.zeros((slide.height_px, slide.width_px), np.uint8)
    bubbles, specks = rng.poisson(options.bubbles), rng.poisson(options.dust)
    if bubbles + specks == 0:
        return None, kinds
    added = np.zeros(kinds.shape, np.float32)
    for _ in range(bubbles):
        _bubble(added, kinds, slide, rng)
    for _ in range(specks):
        _speck(added, kinds, slide, rng)
    return added, kinds


def _bubble(added: Float32, kinds: UInt8, slide: Slide, rng: np.random.Generator) -> None:
    middle = slide.pick(rng, border=False)
    if middle is None:
        return
    centre = tuple(int(v) for v in np.rint(middle))
    radius = slide.px(rng.uniform(120.0, 500.0))
    axes = (max(round(radius), 2), max(round(radius * rng.uniform(0.7, 1.0)), 2))
    turn, rim = float(rng.uniform(0, 180)), max(round(slide.px(18.0)), 1)
    inside = np.zeros(kinds.shape, np.uint8)
    cv2.ellipse(inside, centre, axes, turn, 0, 360, 1, -1)
    added[inside > 0] -= 8.0
    kinds[inside > 0] = BUBBLE
    cv2.ellipse(inside, centre, axes, turn, 0, 360, 2, rim)
    added[inside == 2] = rng.uniform(40.0, 120.0)
    kinds[inside == 2] = BUBBLE


def _speck(added: Float32, kinds: UInt8, slide: Slide, rng: np.random.Generator) -> None:
    spot = np.zeros(kinds.shape, np.uint8)
    x, y = rng.uniform(0, slide.width_px), rng.uniform(0, slide.height_px)
    if rng.random() < 0.2:
        turn = rng.uniform(0, 6.3) + np.cumsum(rng.normal(0, 0.4, 12))
        path = np.cumsum(slide.px(30.0) * np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0) + np.array(
            [x, y]
        )
        cv2.polylines(spot, [np.rint(path).astype(np.int32)], False, 1, max(round(slide.px(8.0)), 1))
    else:
        radius = slide.px(rng.uniform(8.0, 30.0))
        cv2.fillPoly(spot, [_blob(np.array([x, y]), radius, rng)], 1)
    added[spot > 0] = rng.uniform(90.0, 190.0)
    kinds[spot > 0] = DUST


def light(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> Float32:
    """Return the light at the nodes of the lattice, (rows, columns) float32; 1 = even."""
    rows, columns = slide.tissue.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    a, b, c, d = rng.normal(size=4)
    shape = a * x + b * y - abs(c) * (x * x + y * y) + d * x * y
    span = np.ptp(shape)
    even = np.zeros_like(shape) if span == 0 else 2 * (shape - shape.min()) / span - 1
    return np.asarray(1 + options.uneven_light * even, np.float32)
