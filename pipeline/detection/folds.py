"""Folds: tissue that lies on itself, two or three layers of it.

The layers' optical densities add up, colour by colour: a fold is much denser than the tissue around and
nearly of its colour. A structure or a band that expresses takes out a larger share of red than the tissue
around, larger by what is usual for so much more density on the section. So neither density nor colour alone
tells them apart, but how much of the usual rise of the red share came with the density: about a fifth in a
fold, nearly all of it in a band. Tissue around that is redder than usual itself would make folds of plain
structures in it; it counts as hardly redder than usual.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.detection.components import AREA, connected_objects
from pipeline.detection.context import Artifact
from pipeline.detection.medians import median
from pipeline.detection.region import object_outline
from pipeline.model import Bool, Float32, Float64

FOLDED, DENSER = 1.6, 1.5  # times as dense as most tissue, and as the tissue around
RISEN = 0.55  # of the usual rise of the red share: less has a fold
REDDER = 0.15  # of that rise: by so much the tissue around counts as redder than usual, and no more
LEAST_RISE = 0.004  # what is less cannot be told from noise
TREND_RED = 0.008  # from pale to stained tissue; where it rises less, stain has no colour of its own
PALE, STAINED = 0.9, 2.0  # times as dense as most tissue
LEVEL_UM = 56.0  # over which colour is averaged
LEAST_UM2 = 6000.0
FILLED = 1.6  # times its own area: more has a fold not inside its outline

COARSE = 4  # surroundings are averaged over blocks of so many pixels
WIDE_UM, CLEAR = 500.0, 1.35  # what is so much denser than this neighbourhood does not count as surroundings
AROUND_UM, LEAST_AROUND = 120.0, 0.03  # Gaussian sigma, and the weight of the tissue in it
PALEST = 0.4  # times as dense as most tissue: paler is a tear or a ventricle

BINS, LOW, HIGH = 3, -3, 10  # of density: so many to a doubling, first and last
FEWEST = 20  # pixels in a bin


def find_folds(density: Float64, typical: float, where: Bool, um: float) -> list[Artifact]:
    """Find what is much denser than the tissue around, and hardly redder.

    Parameters
    ----------
    density : (3, h, w) float64, OD     of red, green and blue
    typical : float, OD                 of most tissue
    where : (h, w) bool                 pixels to look at
    um : float, um                      pixel size

    Returns
    -------
    list of Artifact                    "fold"; none where stain changes no colour
    """
    whole = tuple(slice(0, n // COARSE * COARSE) for n in where.shape)
    density, where = density[:, *whole], where[whole]
    if where.size == 0:
        return []
    red, dense = _smoothed(density, typical)
    share = np.asarray(red / np.maximum(dense, 1e-3), np.float32)
    tissue = where & (dense > PALEST)
    trend = _red_trend(share[tissue], dense[tissue])
    pale, stained = _of_trend(trend, np.array([PALE, STAINED]))
    if stained - pale < TREND_RED:
        return []
    about, share_about = _surroundings(red, dense, tissue, um)
    maybe = tissue & (dense > FOLDED) & (about > 0) & (dense > DENSER * about)
    usual = _of_trend(trend, about[maybe])
    rise = np.maximum(_of_trend(trend, dense[maybe]) - usual, LEAST_RISE)
    start = np.minimum(share_about[maybe], usual + REDDER * rise)
    risen = np.zeros(where.shape, np.float32)
    risen[maybe] = (share[maybe] - start) / rise
    side = 2 * round(LEVEL_UM / um / 2) + 1
    summed, count = (cv2.blur(p, (side, side)) for p in (risen, maybe.astype(np.float32)))
    return _objects(maybe & (summed < RISEN * count), um)


def _smoothed(density: Float64, typical: float) -> tuple[Float32, Float32]:
    """Return the OD of red and of all colours, both (h, w), over 3 x 3 pixels; all is 1 in most tissue."""
    unit = np.float32(1 / (3 * typical))
    red, green, blue = (np.maximum(plane.astype(np.float32), 0) for plane in density)
    red, every = (cv2.blur(plane, (3, 3)) * unit for plane in (red, red + green + blue))
    return red, every


def _red_trend(share: Float32, dense: Float32) -> Float64:
    """Return the median red share in every bin of density of pixels (n,).

    From most tissue on it never falls: where folds fill the densest bins, they do not set the rule.
    """
    share, dense = share[::5], dense[::5]
    bins = np.floor(np.log2(dense) * BINS + 0.5).astype(np.int64)
    every = np.arange(LOW, HIGH + 1)
    found = [share[bins == k] for k in every]
    full = np.array([values.size >= FEWEST for values in found])
    if not full.any():
        return np.zeros(every.size)
    medians = [median(found[k]) for k in np.flatnonzero(full)]
    trend = np.interp(every, every[full], medians)
    trend[-LOW:] = np.maximum.accumulate(trend[-LOW:])
    return np.asarray(trend)


def _of_trend(trend: Float64, dense: npt.ArrayLike) -> Float64:
    """Return the usual red share at some densities."""
    steps = np.log2(np.maximum(dense, 1e-3)) * BINS
    return np.asarray(np.interp(steps, np.arange(LOW, HIGH + 1), trend))


def _surroundings(red: Float32, dense: Float32, tissue: Bool, um: float) -> tuple[Float32, Float32]:
    """Return density and red share of the tissue around, (h, w) each; 0 where there is none.

    What is clearly denser than a wide neighbourhood is left out, and what it may have blurred.
    """
    weight = tissue.astype(np.float32)
    side = 2 * round(WIDE_UM / (COARSE * um) / 2) + 1
    part, wide = (_coarse(plane) for plane in (weight, weight * dense))
    wide = part * np.log(np.maximum(wide, 1e-3) / np.maximum(part, 1e-3))
    wide = np.exp(cv2.blur(wide, (side, side)) / np.maximum(cv2.blur(part, (side, side)), 1e-3))
    clear = (dense > CLEAR * _fine(wide, dense.shape)).view(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    weight[cv2.dilate(cv2.morphologyEx(clear, cv2.MORPH_OPEN, kernel), kernel) > 0] = 0
    sums = (_coarse(plane) for plane in (weight, weight * dense, weight * red))
    part, all_od, red_od = (cv2.GaussianBlur(plane, (0, 0), AROUND_UM / (COARSE * um)) for plane in sums)
    about = np.where(part > LEAST_AROUND, all_od / np.maximum(part, 1e-6), 0)
    share = np.where(part > LEAST_AROUND, red_od / np.maximum(all_od, 1e-6), 0)
    return _fine(about, dense.shape), _fine(share, dense.shape)


def _coarse(plane: Float32) -> Float32:
    """Return the means of blocks of a plane (h, w)."""
    size = plane.shape[1] // COARSE, plane.shape[0] // COARSE
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def _fine(plane: Float32, shape: tuple[int, ...]) -> Float32:
    """Return a plane of blocks at every pixel (h, w)."""
    return np.asarray(cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST), np.float32)


def _objects(folded: Bool, um: float) -> list[Artifact]:
    """Return the outlines of what is large enough and fills its outline."""
    core = cv2.morphologyEx(folded.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not core.any():
        return []
    whole = cv2.dilate(core, np.ones((3, 3), np.uint8))  # the blur took its edge off
    labels, boxes = connected_objects(whole, 8)
    areas = boxes[:, AREA] * (um * um)
    found = []
    for index in range(1, len(boxes)):
        if areas[index] < LEAST_UM2:
            continue
        outline = object_outline(labels, boxes[index], index, um)
        if cv2.contourArea(np.asarray(outline, np.float32)) <= FILLED * areas[index]:
            found.append(Artifact("fold", float(areas[index]), outline))
    return found
