"""How the marks of a section depend on the detector's thresholds: some tiles, marked again."""

from __future__ import annotations

import numpy as np

from pipeline.core import intensity
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.detection import Detector
from pipeline.detection.sensitivity import changed_detectors
from pipeline.quantification.cells import SectionCells, accumulate
from pipeline.quantification.uncertainty.detector_share import BINS, bin_of
from pipeline.sections.statistics import SectionContext

TILE_CELLS = 8  # cells along each side of a tile, 400 um
TILES = 3  # of a section, spread over its expression from sparse to dense


def sensitivity(
    dark: UInt8, valid: Bool, detector: Detector, context: SectionContext, cells: SectionCells
) -> dict[str, list[float]]:
    """Mark some tiles of a section again, with each threshold of the detector lower and higher.

    Parameters
    ----------
    dark : (H, W) uint8
        Darkness of the section.
    valid : (H, W) bool
        Pixels that count.
    detector : Detector
        The detector that marked it.
    context : SectionContext
        Statistics of the section, with the pixel size of `dark`.
    cells : SectionCells
        Sums of what it marked.

    Returns
    -------
    dict of str to list of float
        Expression (intensity of expressing pixels) of the tiles by density: `as_marked`, and with every
        threshold changed; empty where nothing expresses, or the detector reads colour or has no threshold.
    """
    changed = {} if detector.reads_colour else changed_detectors(detector)
    tiles = _tiles(cells) if changed else []
    if not tiles:
        return {}
    halo = int(np.ceil(detector.halo_um / context.resolution_um))
    found = {"as_marked": np.zeros(BINS)}
    for name in changed:
        found |= {f"{name}_lower": np.zeros(BINS), f"{name}_higher": np.zeros(BINS)}
    bright = np.asarray(cells.sums.sum_expressing_pixel_intensity, np.float64)
    bins = bin_of(cells.sums.density)
    for row, column in tiles:
        part = slice(row, row + TILE_CELLS), slice(column, column + TILE_CELLS)
        found["as_marked"] += np.bincount(bins[part].ravel(), bright[part].ravel(), BINS)
        for name, pair in changed.items():
            for end, other in zip(("lower", "higher"), pair, strict=True):
                marked = _marked_again(dark, valid, other, context, (row, column), cells.pitch_px, halo)
                same = tuple(slice(0, n) for n in marked.shape)
                found[f"{name}_{end}"] += np.bincount(bins[part][same].ravel(), marked.ravel(), BINS)
    return {name: [round(float(v)) for v in values] for name, values in found.items()}


def _tiles(cells: SectionCells) -> list[tuple[int, int]]:
    """Return the first row and column of some tiles, at even shares of the expression by density."""
    bright, pixels = cells.sums.sum_expressing_pixel_intensity, cells.sums.sum_pixels
    rows, columns = (n // TILE_CELLS for n in bright.shape)
    if rows == 0 or columns == 0:
        return []
    part = slice(rows * TILE_CELLS), slice(columns * TILE_CELLS)
    shape = rows, TILE_CELLS, columns, TILE_CELLS
    blocks, area = (np.asarray(a[part]).reshape(shape).sum(axis=(1, 3)).ravel() for a in (bright, pixels))
    if blocks.sum() <= 0:
        return []
    order = np.argsort(blocks / np.maximum(area, 1), kind="stable")
    share = np.cumsum(blocks[order]) / blocks.sum()
    wanted = (np.arange(TILES) + 0.5) / TILES
    picked = dict.fromkeys(order[np.searchsorted(share, wanted)].tolist())
    return [(at // columns * TILE_CELLS, at % columns * TILE_CELLS) for at in picked]


def _marked_again(
    dark: UInt8,
    valid: Bool,
    detector: Detector,
    context: SectionContext,
    first: tuple[int, int],
    pitch: int,
    halo: int,
) -> Float64:
    """Return the expression of the cells of a tile, with the surroundings that the detector needs."""
    top, left = (n * pitch for n in first)
    side = TILE_CELLS * pitch
    y0, x0 = max(0, top - halo), max(0, left - halo)
    around = slice(y0, top + side + halo), slice(x0, left + side + halo)
    mask = detector.of_darkness(np.ascontiguousarray(dark[around]), context.at(x0, y0))
    inner = slice(top - y0, top - y0 + side), slice(left - x0, left - x0 + side)
    own = slice(top, top + side), slice(left, left + side)
    there = np.ascontiguousarray(valid[own])
    marks = intensity.expression(np.ascontiguousarray(dark[own]), np.ascontiguousarray(mask[inner]), there)
    sums = accumulate(np.ascontiguousarray(dark[own]), marks, there, pitch)
    return np.asarray(sums.sum_expressing_pixel_intensity, np.float64)
