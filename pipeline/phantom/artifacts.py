"""Artifacts of a slide: lost pieces, tears, folds, bubbles, dust and uneven light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64, UInt8
from pipeline.phantom.options import RenderOptions

CLEAN, GONE, BUBBLE, DUST, FOLD = 0, 1, 2, 3, 4  # codes in `SectionTruth.artifacts`
TEAR_UM, FOLD_UM = (40.0, 130.0), (40.0, 160.0)  # widths, um; a tear tapers to a point, a fold does not
BAND_UM, BAND_DARKNESS = 150.0, (60.0, 120.0)  # width of a band, um; range of its added darkness, grey levels


@dataclass(frozen=True, eq=False)
class Slide:
    """Where artifacts may fall on one section.

    Attributes
    ----------
    width_px : int, px
        Width of the drawn image.
    height_px : int, px
        Height of the drawn image.
    resolution_um : float, um
        Size of a drawn pixel.
    step_px : int, px
        Spacing of the nodes of `tissue`.
    tissue : (rows, columns) bool
        Coarse map of the tissue; node (j, i) is pixel (x, y) = (i * step_px, j * step_px).
    """

    width_px: int
    height_px: int
    resolution_um: float
    step_px: int
    tissue: Bool

    def px(self, length_um: float) -> float:
        """Convert a length from um to pixels.

        Parameters
        ----------
        length_um : float, um
            Length on the slide.

        Returns
        -------
        float, px
            The length in drawn pixels, not rounded.
        """
        return length_um / self.resolution_um

    def pick(self, rng: np.random.Generator, *, border: bool) -> Float64 | None:
        """Draw a random place in the tissue or on its border.

        Parameters
        ----------
        rng : Generator
            Source of the draw.
        border : bool
            Take only nodes on the rim of the tissue.

        Returns
        -------
        (2,) float64, px, or None
            The place of a node, (x, y); None where no node qualifies.
        """
        wanted = self.tissue & ~ndimage.binary_erosion(self.tissue) if border else self.tissue
        nodes = np.argwhere(wanted)
        if len(nodes) == 0:
            return None
        return self.step_px * nodes[rng.integers(len(nodes)), ::-1].astype(np.float64)


def gone(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> UInt8:
    """Draw missing tissue: lost pieces at the rim, and tears that start there.

    Parameters
    ----------
    slide : Slide
        Size and tissue of the section.
    options : RenderOptions
        `losses` and `tears` are the means of the Poisson-distributed counts.
    rng : Generator
        Source of all draws.

    Returns
    -------
    (h, w) uint8
        1 where glass shows instead of tissue.
    """
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
    """Return the (48, 2) int32 px vertices of a disc with an irregular rim."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    # Higher harmonics are weaker, so the rim is irregular but not ragged.
    wobble = sum(rng.uniform(-0.3, 0.3) / k * np.sin(k * turn + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5, 8))
    reach = radius_px * (1 + wobble)
    return np.rint(middle + np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)).astype(np.int32)


def _tear(raster: UInt8, slide: Slide, start: Float64, rng: np.random.Generator) -> None:
    """Draw one tear into `raster`; its width falls linearly from the border to zero."""
    course, width = _course(slide, start, TEAR_UM, rng)
    steps = len(course) - 1
    for k in range(steps):
        _line(raster, course[k : k + 2], 1, slide.px(width) * (1 - k / steps))


def _course(
    slide: Slide, start: Float64, widths_um: tuple[float, float], rng: np.random.Generator
) -> tuple[Float64, float]:
    """Draw a wandering line that starts outside the border and runs inward, (n, 2) px, and its width, um."""
    inward = slide.step_px * np.argwhere(slide.tissue).mean(axis=0)[::-1] - start
    heading = np.arctan2(inward[1], inward[0]) + rng.uniform(-0.5, 0.5)
    steps, width = int(rng.integers(6, 18)), rng.uniform(*widths_um)
    # The line starts 150 um before the border node, in the glass, so that it crosses the whole rim.
    course = [start - slide.px(150.0) * np.array([np.cos(heading), np.sin(heading)])]
    for _ in range(steps):
        heading += rng.normal(0, 0.25)
        course.append(course[-1] + slide.px(140.0) * np.array([np.cos(heading), np.sin(heading)]))
    return np.array(course), float(width)


def _line(raster: UInt8, course: Float64, value: int, width_px: float) -> None:
    points = np.rint(course).astype(np.int32)
    cv2.polylines(raster, [points], False, value, max(round(width_px), 1))


def fold(pixels: UInt8, tissue: Bool, slide: Slide, options: RenderOptions, rng: np.random.Generator) -> Bool:
    """Fold tissue over itself, two or three layers thick, along lines that start at its border.

    Light passes the layers one after the other, so their optical densities add up, separately for each
    colour channel (the Beer-Lambert law). The upper layers are copies of the picture itself, displaced to
    the right by 320 and 480 um.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
        The picture; changed in place.
    tissue : (h, w) bool
        Where there is tissue to fold.
    slide : Slide
        Size and coarse tissue map of the section.
    options : RenderOptions
        `folds` is the mean of the Poisson-distributed count.
    rng : Generator
        Source of all draws.

    Returns
    -------
    (h, w) bool
        Where tissue lies over itself.
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
            # Transmittance of another layer: its light relative to bare glass. Products of transmittances are
            # sums of optical densities.
            other = np.roll(pixels, round(layer * slide.px(FOLD_UM[1])), axis=1)[folded] / glass
            through *= np.where(layers[folded] >= layer, np.minimum(other.T, 1.0), 1.0).T
        pixels[folded] = np.rint(through).astype(np.uint8)
    return folded


def bands(slide: Slide, options: RenderOptions, rng: np.random.Generator) -> Float32 | None:
    """Draw bands of solid expression, 150 um wide.

    Parameters
    ----------
    slide : Slide
        Size and coarse tissue map of the section.
    options : RenderOptions
        `bands` is the mean of the Poisson-distributed count.
    rng : Generator
        Source of all draws.

    Returns
    -------
    (h, w) float32 or None
        Darkness that the bands add, grey levels; None where the count is zero.
    """
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

    Parameters
    ----------
    slide : Slide
        Size and coarse tissue map of the section.
    options : RenderOptions
        `bubbles` and `dust` are the means of the Poisson-distributed counts.
    rng : Generator
        Source of all draws.

    Returns
    -------
    added : (h, w) float32 or None
        Darkness to add, grey levels, negative inside bubbles; None where both counts are zero.
    kinds : (h, w) uint8
        CLEAN, BUBBLE or DUST.
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
    """Draw one bubble: an ellipse that is 8 grey levels paler inside, with a dark rim 18 um wide."""
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
    """Draw one speck of dust: in one case of five a fibre 8 um wide, else a grain of 8 to 30 um radius."""
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
    """Draw the illumination of a section: a random quadratic surface.

    Parameters
    ----------
    slide : Slide
        Its tissue map gives the shape of the lattice.
    options : RenderOptions
        `uneven_light` is the largest deviation from 1, as a fraction.
    rng : Generator
        Source of the coefficients.

    Returns
    -------
    (rows, columns) float32
        Light at the nodes of the lattice, relative to even light (1), within 1 +- `uneven_light`.
    """
    rows, columns = slide.tissue.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    a, b, c, d = rng.normal(size=4)
    shape = a * x + b * y - abs(c) * (x * x + y * y) + d * x * y
    span = np.ptp(shape)
    even = np.zeros_like(shape) if span == 0 else 2 * (shape - shape.min()) / span - 1
    return np.asarray(1 + options.uneven_light * even, np.float32)
