"""The default detector against plain compositions of the same algorithm, and what memory it takes.

`with_skimage` is what the description of the detector reads like in scikit-image and scipy, at full size;
`with_opencv` the quickest that OpenCV alone gives, its surroundings reduced eightfold. Both keep the same
parameters; the agreement is the Dice of their masks with ours.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache, partial

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import draw, filters, morphology

from bench.timing import Row, duel, fresh
from pipeline.core.blocks import block_mean
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.detection import SectionContext, make_detector, measure_section, pool_contexts, statistics_step
from pipeline.detection.adaptive import GLASS_SHARE, RANK_PERCENT, YIELD, Adaptive
from pipeline.detection.lattice import least_pixels
from pipeline.phantom import RenderOptions, render_section
from pipeline.phantom.scenes import phantom_scene
from pipeline.system.peak_memory import process_peak_mb

DRAWN_UM, UM = 2.4, 1.2
CROP = np.s_[1500:4000, 3000:5500]


@cache
def section() -> tuple[UInt8, SectionContext]:
    """Draw a section, enlarge it twice and make it noisy: (H, W, 3) of 78 MP at 1.2 um, and its context."""
    scene = phantom_scene("sagittal", 20, DRAWN_UM, RenderOptions(seed=5, texture=0.15, dust=3.0))
    drawn = render_section(scene, 12).pixels
    large = cv2.resize(drawn, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    noise = np.empty(large.shape[:2], np.int16)
    cv2.setRNGSeed(3)
    cv2.randn(noise, 0, 2)
    pixels = np.clip(large + noise[..., None], 0, 255).astype(np.uint8)
    step = statistics_step(UM)
    reduced = block_mean(pixels, step)
    measured = measure_section(reduced, np.ones(reduced.shape[:2], np.bool_), UM * step)
    return pixels, replace(pool_contexts([measured])[0], resolution_um=UM)


def rows(rounds: int) -> list[Row]:
    """Time both compositions against ours, and weigh ours in a fresh process."""
    pixels, context = section()
    cv2.setNumThreads(1)
    detector = Adaptive()
    top, left = CROP[0].start, CROP[1].start
    crop, part = np.ascontiguousarray(pixels[CROP]), context.at(left, top)
    found: list[Row] = []
    for name, other, image, where, bound, turns in (
        ("scikit-image", with_skimage, crop, part, ">= 30", min(rounds, 3)),
        ("OpenCV alone", with_opencv, pixels, context, ">= 4", rounds),
    ):
        a, b, ratio = duel(
            partial(detector, image, where), partial(other, image, where, detector), turns, time.thread_time
        )
        size = image.shape[0] * image.shape[1] / 1e6
        dice = _dice(detector(image, where), other(image, where, detector))
        agreement = f"Dice {dice:.4f}; ours {size / a:.0f} MP/s"
        what = f"detector, {size:.0f} MP, one thread"
        found.append(Row("detector", what, name, a * 1e3, b * 1e3, ratio, bound, agreement))
    weight = fresh(detector_bytes)
    found.append(
        Row("detector", "detector, memory beyond the image", "a pixel", weight, 1.0, weight, "<= 4", unit="B")
    )
    return found


def _dice(a: Bool, b: Bool) -> float:
    return 2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0)


def detector_bytes() -> float:
    """Return by how many bytes a pixel a detection raises the peak memory of this process."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    pixels = rng.integers(60, 200, (6000, 8000, 3), dtype=np.uint8)
    height, width = (n * UM for n in pixels.shape[:2])
    ring = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
    context = SectionContext(UM, (width, height), (2.35, 0, 0, 0, 0, 0), 0.06, 0.006, 1.0, 0.2, (ring,))
    detector = make_detector("adaptive", {})
    detector(pixels[:400, :400], context)
    before = process_peak_mb()
    detector(pixels, context)
    return (process_peak_mb() - before) * 2**20 / (6000 * 8000)


def with_skimage(pixels: npt.NDArray[np.uint8], context: SectionContext, detector: Adaptive) -> Bool:
    """Detect with scikit-image and scipy, every step at full size."""
    dark = np.floor(255.0 - pixels @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
    glass = _glass(context, dark.shape, 1)
    pale = 255.0 - glass * 10.0 ** -(GLASS_SHARE * context.tissue_level)
    side = max(3, round(detector.window_um / context.resolution_um))
    rank = filters.rank.percentile(dark, np.ones((side, side)), mask=dark > pale, p0=RANK_PERCENT / 100)
    surfaces = _surfaces(np.log10(glass / np.maximum(255.0 - rank, 1.0)), context, detector)
    background, foot, top = (255.0 - glass * 10.0**-od for od in surfaces)
    smooth = filters.gaussian(dark, detector.smoothing_um / context.resolution_um, preserve_range=True)
    reach = 2 * round(detector.reach_um / context.resolution_um) + 1
    peak = morphology.dilation(smooth, np.ones((reach, reach)))
    mask = (smooth > foot) & (peak > top) & (smooth > background + detector.height * (peak - background))
    tissue = np.zeros(dark.shape, bool)
    for ring in context.tissue_outlines_um:
        tissue |= draw.polygon2mask(dark.shape, _local(ring, context)[:, ::-1])
    mask &= ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1] > (
        detector.edge_um / context.resolution_um
    )
    least = least_pixels(detector.min_area_um2, context.resolution_um)
    mask = morphology.remove_small_objects(mask, max_size=least - 1, connectivity=2)
    most = int(detector.max_hole_um2 / context.resolution_um**2)
    return np.asarray(morphology.remove_small_holes(mask, max_size=most, connectivity=1))


def with_opencv(pixels: npt.NDArray[np.uint8], context: SectionContext, detector: Adaptive) -> Bool:
    """Detect with OpenCV alone; the rank of the surroundings becomes their median, eightfold reduced."""
    dark = cv2.bitwise_not(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    size = dark.shape[::-1]
    small = cv2.resize(dark, (-(-size[0] // 8), -(-size[1] // 8)), interpolation=cv2.INTER_AREA)
    window = 2 * (round(detector.window_um / context.resolution_um / 8) // 2) + 1
    rank = cv2.medianBlur(small, window).astype(np.float64)
    glass = _glass(context, small.shape, 8)
    surfaces = _surfaces(np.log10(glass / np.maximum(255.0 - rank, 1.0)), context, detector)
    background, foot, top = (
        cv2.resize((255.0 - glass * 10.0**-od).astype(np.float32), size) for od in surfaces
    )
    smooth = cv2.GaussianBlur(dark, (0, 0), detector.smoothing_um / context.resolution_um)
    reach = 2 * round(detector.reach_um / context.resolution_um) + 1
    peak = cv2.dilate(smooth, np.ones((reach, reach), np.uint8))
    mask = cv2.compare(smooth.astype(np.float32), foot, cv2.CMP_GT)
    mask &= cv2.compare(peak.astype(np.float32), top, cv2.CMP_GT)
    upper = cv2.addWeighted(background, 1 - detector.height, peak.astype(np.float32), detector.height, 0.0)
    mask &= cv2.compare(smooth.astype(np.float32), upper, cv2.CMP_GT)
    tissue = np.zeros(dark.shape, np.uint8)
    for ring in context.tissue_outlines_um:
        cv2.fillPoly(tissue, [np.rint(_local(ring, context)).astype(np.int32)], 255)
    depth = cv2.distanceTransform(tissue, cv2.DIST_L2, cv2.DIST_MASK_5)
    mask &= cv2.compare(depth, detector.edge_um / context.resolution_um, cv2.CMP_GT)
    mask = _without_small(mask, least_pixels(detector.min_area_um2, context.resolution_um), 8)
    most = int(detector.max_hole_um2 / context.resolution_um**2)
    return np.asarray(_without_small(cv2.bitwise_not(mask), most + 1, 4) == 0)


def _without_small(mask: UInt8, least: int, connectivity: int) -> UInt8:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity)
    keep = np.where(stats[:, cv2.CC_STAT_AREA] >= least, 255, 0).astype(np.uint8)
    keep[0] = 0
    return np.asarray(keep[labels], np.uint8)


def _surfaces(
    local: Float64, context: SectionContext, detector: Adaptive
) -> tuple[Float64, Float64, Float64]:
    """Return background and thresholds of pixel and peak, OD."""
    above, peak_above = detector.thresholds_above(context)
    solid = detector.solid_level(context)
    local = np.maximum(local, detector.least_background(context))
    cap = solid + YIELD * np.maximum(solid - local, 0.0)
    low = np.minimum(local, cap - above)
    return low, low + above, np.minimum(local + peak_above, cap)


def _glass(context: SectionContext, shape: tuple[int, ...], step: int) -> Float64:
    x0, y0 = context.origin_px
    x = (x0 + (np.arange(shape[1]) + 0.5) * step) * context.resolution_um
    y = (y0 + (np.arange(shape[0]) + 0.5) * step) * context.resolution_um
    return context.glass_luma(x[None, :], y[:, None])


def _local(ring: tuple[tuple[float, float], ...], context: SectionContext) -> Float64:
    return np.asarray(ring) / context.resolution_um - 0.5 - np.asarray(context.origin_px)
