"""Folds: tissue that lies on itself in two or three layers.

The optical densities of the layers add up, colour by colour (Beer-Lambert): a fold is much denser than the
tissue around it and nearly of the same colour. A structure or a band that expresses absorbs a larger share of
red than the tissue around, larger by what is usual for that much more density on the section. So neither
density nor colour alone separates the two. What does is how much of the usual rise of the red share came with
the density: about a fifth in a fold, nearly all of it in a band. Where the tissue around is itself redder
than usual, plain structures in it would look like folds; its excess over the usual is therefore capped.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.model import Bool, Float32, Float64
from pipeline.sections.colours import above_blocks, block_shares, red_and_all
from pipeline.sections.medians import median
from pipeline.sections.objects_labelled import AREA, connected_objects
from pipeline.sections.scan import object_outline
from pipeline.sections.statistics import Artifact

FOLDED, DENSER = 1.6, 1.5  # least density of a fold: times that of most tissue, and of the tissue around
RISEN = 0.55  # share of the usual rise of the red share: a fold has less
REDDER = 0.15  # of that rise: by at most this much the tissue around counts as redder than usual
LEAST_RISE = 0.004  # of the red share: a smaller rise is lost in noise
TREND_RED = 0.008  # least rise of the red share from pale to stained tissue; below it the stain is grey
PALE, STAINED = 0.9, 2.0  # times as dense as most tissue
LEVEL_UM = 56.0  # um: side of the window in which colour is averaged
LEAST_UM2 = 6000.0  # um2: smaller regions are not reported
FILLED = 1.6  # times its own area: the outline of a fold encloses no more

COARSE = 4  # px: surroundings are averaged over blocks of this side
WIDE_UM, CLEAR = 500.0, 1.35  # um, and times as dense: denser than this neighbourhood is not surroundings
AROUND_UM, LEAST_AROUND = 120.0, 0.03  # um: Gaussian sigma of the surroundings; least share of tissue in it
PALEST = 0.4  # times as dense as most tissue: paler is a tear or a ventricle

BINS, LOW, HIGH = 3, -3, 10  # bins of density to a doubling; the first and the last, 0 is most tissue
FEWEST = 20  # pixels in a bin that counts


def find_folds(density: Float32, typical: float, where: Bool, um: float) -> list[Artifact]:
    """Find regions that are much denser than the tissue around them, and hardly redder.

    Parameters
    ----------
    density : (3, h, w) float32, OD
        Optical density in red, green and blue.
    typical : float, OD
        Optical density of most tissue.
    where : (h, w) bool
        Pixels to look at.
    um : float, um
        Pixel size.

    Returns
    -------
    list of Artifact
        "fold"; none where the stain does not change the colour of the tissue.
    """
    whole = tuple(slice(0, n // COARSE * COARSE) for n in where.shape)
    where = where[whole]
    if where.size == 0:
        return []
    planes = red_and_all(density, np.float32(1 / (3 * typical)))  # the sum is 1 in most tissue
    red, dense = (cv2.blur(plane[whole], (3, 3)) for plane in planes)
    tissue = where & (dense > PALEST)
    trend = _red_trend(red, dense, tissue)
    pale, stained = _of_trend(trend, np.array([PALE, STAINED]))
    if stained - pale < TREND_RED:
        return []
    about, share_about = _surroundings(red, dense, tissue, um)
    limits = np.where(about > 0, np.maximum(DENSER * about, FOLDED), np.inf)
    maybe = where & above_blocks(dense, limits, COARSE)
    at = np.unravel_index(np.flatnonzero(maybe), maybe.shape)
    block = at[0] // COARSE, at[1] // COARSE
    usual = _of_trend(trend, about[block])
    rise = np.maximum(_of_trend(trend, dense[at]) - usual, LEAST_RISE)
    start = np.minimum(share_about[block], usual + REDDER * rise)
    over = np.zeros(where.shape, np.float32)
    over[at] = (red[at] / dense[at] - start) / rise - RISEN
    side = 2 * round(LEVEL_UM / um / 2) + 1
    return _objects(maybe & (cv2.blur(over, (side, side)) < 0), um)


def _red_trend(red: Float32, dense: Float32, tissue: Bool) -> Float64:
    """Return the median red share in every bin of density of pixels of tissue, (bins,).

    From most tissue on the trend never falls: where folds fill the densest bins, they do not set the rule.
    """
    some = np.flatnonzero(tissue)[::5]  # every fifth pixel is enough for medians
    density = dense.ravel()[some]
    share = red.ravel()[some] / density
    bins = np.floor(np.log2(density) * BINS + 0.5).astype(np.int8)
    order = np.argsort(bins, kind="stable")  # of bytes: a radix sort
    every = np.arange(LOW, HIGH + 1)
    found = np.split(share[order], np.searchsorted(bins[order], np.arange(LOW, HIGH + 2)))[1:-1]
    full = np.array([values.size >= FEWEST for values in found])
    if not full.any():
        return np.zeros(every.size)
    medians = [median(found[k]) for k in np.flatnonzero(full)]
    trend = np.interp(every, every[full], medians)
    trend[-LOW:] = np.maximum.accumulate(trend[-LOW:])
    return np.asarray(trend)


def _of_trend(trend: Float64, dense: npt.ArrayLike) -> Float64:
    """Return the usual red share at given densities, relative to most tissue."""
    steps = np.log2(np.maximum(dense, 1e-3)) * BINS
    return np.asarray(np.interp(steps, np.arange(LOW, HIGH + 1), trend))


def _surroundings(red: Float32, dense: Float32, tissue: Bool, um: float) -> tuple[Float32, Float32]:
    """Return density and red share of the tissue around, both for blocks of pixels; 0 where there is none.

    Pixels clearly denser than a wide neighbourhood are left out, with a margin for blur.
    """
    side = 2 * round(WIDE_UM / (COARSE * um) / 2) + 1
    part, wide = block_shares(tissue, (dense,), COARSE)
    # A geometric mean: a few very dense pixels pull it less than an arithmetic one.
    wide = part * np.log(np.maximum(wide, 1e-3) / np.maximum(part, 1e-3))
    wide = np.exp(cv2.blur(wide, (side, side)) / np.maximum(cv2.blur(part, (side, side)), 1e-3))
    clear = above_blocks(dense, CLEAR * wide, COARSE).view(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    clear = cv2.dilate(cv2.morphologyEx(clear, cv2.MORPH_OPEN, kernel), kernel)
    sums = block_shares(tissue & (clear == 0), (dense, red), COARSE)
    part, all_od, red_od = (cv2.GaussianBlur(plane, (0, 0), AROUND_UM / (COARSE * um)) for plane in sums)
    about = np.where(part > LEAST_AROUND, all_od / np.maximum(part, 1e-6), 0)
    share = np.where(part > LEAST_AROUND, red_od / np.maximum(all_od, 1e-6), 0)
    return about, share


def _objects(folded: Bool, um: float) -> list[Artifact]:
    """Return the outlines of objects that are large enough and fill their outline."""
    core = cv2.morphologyEx(folded.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not core.any():
        return []
    whole = cv2.dilate(core, np.ones((3, 3), np.uint8))  # gives back the edge that the blur took
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
