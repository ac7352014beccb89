"""The default detector against what its description reads like in scikit-image and scipy.

Surroundings and the rim of the tissue are seen at 8 um and thresholds computed at nodes, as described. What
nodes leave out is held against the truth: a rank at every one of those pixels finds no more of it.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from detection_scenes import Scene, draw
from scipy import ndimage
from skimage import draw as shapes
from skimage import filters, morphology, transform

from pipeline.detection import SectionContext
from pipeline.detection.adaptive import (
    GLASS_SHARE,
    HALF_FULL_UM,
    RANK_PERCENT,
    SOLID_LEVEL,
    SOLID_OD,
    YIELD,
    Adaptive,
)
from pipeline.detection.lattice import NODE_STEPS, REDUCED_UM


def surroundings(
    dark: np.ndarray, context: SectionContext, detector: Adaptive, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return background and threshold, darkness (H, W), from ranks `steps` reduced pixels apart."""
    um = context.resolution_um
    factor = round(REDUCED_UM / um)
    pitch, side = factor * steps, round(detector.window_um / (factor * um))
    seen = np.pad(dark, [(0, -n % pitch) for n in dark.shape], mode="edge")
    seen = np.floor(transform.downscale_local_mean(seen, (factor, factor)) + 0.5).astype(np.uint8)
    y, x = ((np.arange(n) + 0.5) * factor * um for n in seen.shape)
    pale = 255.0 - context.glass_luma(x, y[:, None]) * 10.0 ** (-GLASS_SHARE * context.tissue_level)
    rank = filters.rank.percentile(seen, np.ones((side, side)), mask=seen > pale, p0=RANK_PERCENT / 100)
    rank = rank[steps // 2 :: steps, steps // 2 :: steps]
    y, x = ((np.arange(n) + 0.5) * pitch * um for n in rank.shape)
    glass = context.glass_luma(x, y[:, None])
    local = np.log10(glass / np.maximum(255.0 - rank, 1.0))
    above = detector.contrast * context.noise
    usual = max(context.tissue_level, context.series_level)
    solid = max(usual + detector.solid * context.noise, usual + SOLID_OD, SOLID_LEVEL * usual)
    most = np.where(local < solid, solid + YIELD * (solid - local), solid)
    background = np.minimum(local, most - above)
    places = np.meshgrid(*((np.arange(n) + 0.5) / pitch - 0.5 for n in dark.shape), indexing="ij")
    low, high = (
        ndimage.map_coordinates(255.0 - glass * 10.0**-od, places, order=1, mode="nearest")
        for od in (background, background + above)
    )
    return low, high


def inside(shape: tuple[int, ...], context: SectionContext, edge_um: float) -> np.ndarray:
    """Return which pixels (H, W) lie in reduced pixels of the tissue, but for its rim.

    An outline runs through the outermost pixels of the tissue: they are tissue.
    """
    factor = round(REDUCED_UM / context.resolution_um)
    reduced_um = factor * context.resolution_um
    tissue = np.zeros([-(-n // factor) for n in shape], bool)
    for ring in context.tissue_outlines_um:
        corners = (np.asarray(ring) / reduced_um - 0.5)[:, ::-1]
        tissue |= shapes.polygon2mask(tissue.shape, corners)
        ends = np.rint(corners).astype(int)
        for here, there in zip(ends, np.roll(ends, -1, axis=0), strict=True):
            tissue[shapes.line(*here, *there)] = True
    depth = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1]
    wide = np.kron(depth > edge_um / reduced_um, np.ones((factor, factor), bool))
    return np.asarray(wide[: shape[0], : shape[1]])


def composed(
    pixels: np.ndarray, context: SectionContext, detector: Adaptive, steps: int = NODE_STEPS
) -> np.ndarray:
    """Detect with scikit-image and scipy: no compiled kernel of ours."""
    um = context.resolution_um
    dark = np.floor(255.0 - pixels @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
    low, high = surroundings(dark, context, detector, steps)
    smooth = filters.gaussian(dark, detector.smoothing_um / um, preserve_range=True)
    smooth = smooth if detector.smoothing_um / um >= 0.4 else dark
    reach = 2 * round(detector.reach_um / um) + 1
    peak = morphology.dilation(smooth, np.ones((reach, reach)))
    height = detector.height * (1 + (um / HALF_FULL_UM) ** 4)
    mask = (smooth > high) & (smooth > low + height * (peak - low))
    mask &= inside(dark.shape, context, detector.edge_um)
    least = max(3, round(detector.min_area_um2 / um**2))
    mask = morphology.remove_small_objects(mask, max_size=least - 1, connectivity=2)
    most_px = int(detector.max_hole_um2 / um**2)
    return np.asarray(morphology.remove_small_holes(mask, max_size=most_px, connectivity=1))


def seen(um: float, coverage: float, band_um: float, seed: int) -> tuple[Scene, SectionContext]:
    """Draw a section, and measure it at about 4 um."""
    scene = draw(um, coverage=coverage, band_um=band_um, seed=seed, size_um=(1400.0, 1800.0))
    step = round(4.0 / um)
    size = (scene.pixels.shape[1] // step, scene.pixels.shape[0] // step)
    reduced = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_AREA)
    measured = Scene(reduced, scene.expressing, scene.tissue, um * step).context()
    return scene, replace(measured, resolution_um=um)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize(
    ("um", "coverage", "band_um"),
    [
        (4.0, 0.03, 0.0),
        (4.0, 0.2, 0.0),
        (4.0, 0.4, 0.0),
        (4.0, 0.02, 150.0),
        (2.0, 0.05, 150.0),
        (2.0, 0.2, 0.0),
        (2.0, 0.4, 0.0),
        (1.2, 0.2, 0.0),
        (1.2, 0.4, 0.0),
    ],
)
def test_agrees_with_scikit_image(um: float, coverage: float, band_um: float) -> None:
    scene, context = seen(um, coverage, band_um, seed=1)
    ours, theirs = Adaptive()(scene.pixels, context), composed(scene.pixels, context, Adaptive())
    assert dice(ours, theirs) >= 0.995


@pytest.mark.parametrize("coverage", [0.03, 0.2, 0.4])
@pytest.mark.parametrize("um", [4.0, 2.0, 1.2])
def test_nodes_find_as_much_as_a_rank_at_every_reduced_pixel(um: float, coverage: float) -> None:
    scene, context = seen(um, coverage, 0.0, seed=1)
    ours, theirs = Adaptive()(scene.pixels, context), composed(scene.pixels, context, Adaptive(), steps=1)
    assert dice(ours, scene.expressing) >= dice(theirs, scene.expressing) - 0.002
