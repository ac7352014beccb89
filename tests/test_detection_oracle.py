"""The default detector against what its description reads like in scikit-image and scipy.

Surroundings are seen at 8 um, as described; a rank is taken at every such pixel, not at every fourth.
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
from pipeline.detection.adaptive import Adaptive

REDUCED_UM = 8.0


def composed(pixels: np.ndarray, context: SectionContext, detector: Adaptive) -> np.ndarray:
    """Detect with scikit-image: no lattice of nodes, no compiled kernel of ours."""
    um = context.resolution_um
    dark = np.floor(255.0 - pixels @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
    y, x = ((np.arange(n) + 0.5) * um for n in dark.shape)
    glass = context.glass_luma(x[None, :], y[:, None])
    pale = 255.0 - glass * 10.0 ** (-0.3 * context.tissue_level)
    factor = round(REDUCED_UM / um)
    side = round(detector.window_um / REDUCED_UM)
    seen = np.pad(dark, [(0, -n % factor) for n in dark.shape], mode="edge")
    seen = np.floor(transform.downscale_local_mean(seen, (factor, factor)) + 0.5).astype(np.uint8)
    least = transform.downscale_local_mean(pale, (factor, factor))
    rank = filters.rank.percentile(seen, np.ones((side, side)), mask=seen > least, p0=0.4)
    rank = np.kron(rank, np.ones((factor, factor)))[: dark.shape[0], : dark.shape[1]]
    local = np.log10(glass / np.maximum(255.0 - rank, 1.0))
    above = detector.contrast * context.noise
    level = context.tissue_level
    usual = max(level, context.series_level)
    solid = max(usual + detector.solid * context.noise, 3.2 * usual)
    most = np.where(local < solid, solid + 2.5 * (solid - local), solid)
    background = np.minimum(local, most - above)
    low, high = (255.0 - glass * 10.0**-od for od in (background, background + above))
    smooth = filters.gaussian(dark, detector.smoothing_um / um, preserve_range=True)
    smooth = smooth if detector.smoothing_um / um >= 0.4 else dark
    reach = 2 * round(detector.reach_um / um) + 1
    peak = morphology.dilation(smooth, np.ones((reach, reach)))
    height = detector.height * (1 + (um / 10.5) ** 4)
    mask = (smooth > high) & (smooth > low + height * (peak - low))
    tissue = np.zeros(dark.shape, bool)
    for ring in context.tissue_outlines_um:
        tissue |= shapes.polygon2mask(dark.shape, (np.asarray(ring) / um - 0.5)[:, ::-1])
    mask &= ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1] > detector.edge_um / um
    least = max(3, int(np.ceil(detector.min_area_um2 / um**2)))
    mask = morphology.remove_small_objects(mask, max_size=least - 1, connectivity=2)
    most_px = int(detector.max_hole_um2 / um**2)
    return np.asarray(morphology.remove_small_holes(mask, max_size=most_px, connectivity=1))


@pytest.mark.parametrize(
    ("um", "coverage", "band_um", "least"),
    [(4.0, 0.03, 0.0, 0.995), (4.0, 0.2, 0.0, 0.99), (4.0, 0.02, 150.0, 0.995), (2.0, 0.05, 150.0, 0.995)],
)
def test_agrees_with_scikit_image(um: float, coverage: float, band_um: float, least: float) -> None:
    scene = draw(um, coverage=coverage, band_um=band_um, seed=1, size_um=(1400.0, 1800.0))
    step = round(4.0 / um)
    size = (scene.pixels.shape[1] // step, scene.pixels.shape[0] // step)
    reduced = cv2.resize(scene.pixels, size, interpolation=cv2.INTER_AREA)
    measured = Scene(reduced, scene.expressing, scene.tissue, um * step).context()
    context, detector = replace(measured, resolution_um=um), Adaptive()
    ours, theirs = detector(scene.pixels, context), composed(scene.pixels, context, detector)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) >= least
