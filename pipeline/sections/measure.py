"""The statistics of one section, from its image reduced to about STATISTICS_UM.

Glass comes first: its light is fitted, and everything becomes optical density (OD) over it. Tissue is next:
stained, large, and at least 0.4 times as dense as most of it. Last, in small windows well inside the tissue,
the background between the cells is measured: its level and its texture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.blocks import block_majority, whole_block_mean
from pipeline.core.errors import DataError
from pipeline.core.intensity import darkness, optical_density
from pipeline.core.model import Bool, Float32, Float64, UInt8
from pipeline.sections.artifacts import bubble_rims, foreign_objects
from pipeline.sections.glass import fit_glass
from pipeline.sections.kernels import (
    FIXED_POINT_SCALE,
    above_surface,
    depths_at,
    window_rank,
    window_ranks,
)
from pipeline.sections.medians import median
from pipeline.sections.scan import outermost
from pipeline.sections.statistics import Artifact, SectionContext
from pipeline.sections.tissue import (
    LEAST_OD,
    colour_densities,
    find_tissue,
    log_glass_map,
    outlines_um,
    over_glass,
)

STATISTICS_UM = 4.0  # um: a finer image is reduced to about this before measuring; a coarser one stays
COARSEST_STATISTICS_UM = 5.0  # um: and to no more than this

OUTLINE_UM = 8.0  # um: tissue is outlined at about this pixel size
WINDOW_UM = 60.0  # um: side of the windows
DEPTHS_UM = (100.0, 30.0, 0.0)  # um that windows lie inside the tissue; the next where there are too few
FEWEST_WINDOWS = 20
TEXTURE_SMOOTHING_UM = 4.2  # um: Gaussian sigma, so that texture compares between sharp and soft images
LOW_PERCENT, MIDDLE_PERCENT = 10, 50  # ranks: the level, and the middle whose distance from it is texture
CLEARLY_STAINED = 3.0  # times the tissue level
QUIET_STEPS = 254  # of OD in 8 bits; 0 and 255 are taken
BAND_PX = 128  # px: rows that are processed together
GLASS_SPACING = 32  # px between the places where the fit of the glass is evaluated
LEAST_LEVEL = 0.005  # OD: a lower tissue level is glass
NO_TISSUE = "no tissue"
GLASS_BORDER = 0.1  # of the image's border: less glass makes the fit doubtful
COARSEST_UM = 6.0  # um: in larger pixels cells are not resolved


def statistics_step(resolution_um: float) -> int:
    """Return by how much to reduce an image before measuring: a power of two, as images offer them.

    Parameters
    ----------
    resolution_um : float, um
        Pixel size of the image.

    Returns
    -------
    int, px
        Side of the blocks to average.

    Examples
    --------
    >>> [statistics_step(um) for um in (0.5, 1.049, 1.07, 1.63, 2.0, 4.2, 17.0)]
    [8, 4, 4, 2, 2, 1, 1]
    """
    return 1 << max(0, math.floor(math.log2(COARSEST_STATISTICS_UM / resolution_um)))


@dataclass(frozen=True, eq=False)
class _Level:
    """A section at one pixel size: darkness (h, w) and which pixels count."""

    dark: UInt8
    valid: Bool
    um: float

    def reduced(self, step: int) -> _Level:
        step = max(1, min(step, *self.dark.shape))
        dark = whole_block_mean(self.dark, step)
        if self.valid.all():
            return _Level(dark, np.ones(dark.shape, np.bool_), self.um * step)
        height, width = (n // step * step for n in self.dark.shape)
        return _Level(dark, block_majority(self.valid[:height, :width], step), self.um * step)

    @property
    def extent_um(self) -> tuple[float, float]:
        return self.dark.shape[1] * self.um, self.dark.shape[0] * self.um


def measure_section(pixels: npt.NDArray[np.uint8], valid: Bool, resolution_um: float) -> SectionContext:
    """Measure the statistics of a section.

    Parameters
    ----------
    pixels : (h, w[, 3]) uint8
        The whole section, reduced to about STATISTICS_UM.
    valid : (h, w) bool
        Pixels that count, as `valid_region` returns them.
    resolution_um : float, um
        Pixel size of `pixels`.

    Returns
    -------
    SectionContext
        Statistics before pooling; its `resolution_um` is the one given here.

    Raises
    ------
    DataError
        Where `valid` is not of the shape of `pixels`.
    """
    if valid.shape != pixels.shape[:2]:
        raise DataError(f"section statistics: expected valid of {pixels.shape[:2]}, got {valid.shape}")
    fine = _Level(darkness(pixels), valid, resolution_um)
    level = fine.reduced(round(OUTLINE_UM / resolution_um))
    background = fit_glass(level.dark, level.valid, level.extent_um)
    context = SectionContext(resolution_um, fine.extent_um, background, 0.0, 0.0, 0.0)
    log_glass, density = over_glass(context, level.dark, level.um)
    foreign, artifacts = _foreign(context, pixels, level, (log_glass, density))
    tissue = find_tissue(density, level.valid & ~foreign, level.um)
    if not tissue.any():
        return replace(context, flags=(NO_TISSUE,))
    tissue &= level.valid  # what is filled as a hole may be padding
    tissue_level, noise = _between_cells(context, fine, tissue, level.um)
    if tissue_level == 0:
        return replace(context, flags=(NO_TISSUE,))
    return replace(
        context,
        flags=_flags(level.valid, tissue, resolution_um),
        tissue_level=tissue_level,
        noise=noise,
        tissue_fraction=np.count_nonzero(tissue) / np.count_nonzero(level.valid),
        otsu_level=_otsu(density[tissue]),
        tissue_outlines_um=outlines_um(tissue, level.um),
        artifacts=(*artifacts, *bubble_rims(level.dark, level.um)),
    )


def _foreign(
    context: SectionContext, pixels: npt.NDArray[np.uint8], level: _Level, optical: tuple[Float64, Float32]
) -> tuple[Bool, list[Artifact]]:
    """Return where the colour is not that of the stain, (h, w), and those artifacts.

    Nothing is returned where the image has no colour or shows no tissue. `optical` holds log10 of the luma of
    glass and OD over it, both (h, w).
    """
    log_glass, density = optical
    stained = density[level.valid & (density > LEAST_OD)]
    if pixels.ndim == 2 or stained.size == 0:
        return np.zeros(level.valid.shape, np.bool_), []
    colours = whole_block_mean(pixels, round(level.um / context.resolution_um))
    coloured = colour_densities(colours, level.dark, log_glass, density, level.valid)
    if coloured is None:
        return np.zeros(level.valid.shape, np.bool_), []
    return foreign_objects(coloured, median(stained), level.um)


def _flags(valid: Bool, tissue: Bool, um: float) -> tuple[str, ...]:
    """Return what makes the statistics of a section doubtful."""
    glass = valid & ~tissue
    rim = outermost(valid)
    bare = () if glass[rim].mean() >= GLASS_BORDER else ("hardly any glass at the border",)
    coarse = () if um <= COARSEST_UM else (f"cells are not resolved at {um:.3g} um per pixel",)
    return bare + coarse


def _otsu(density: Float32) -> float:
    """Return Otsu's threshold (1979) between values, OD, found among 256 steps."""
    top = max(float(density.max()), 1e-6)
    steps = (density * (255.0 / top)).clip(0, 255).astype(np.uint8)
    return float(cv2.threshold(steps, 0, 1, cv2.THRESH_OTSU)[0]) * top / 255.0


def _between_cells(
    context: SectionContext, fine: _Level, tissue: Bool, tissue_um: float
) -> tuple[float, float]:
    """Return level and texture of the background between the cells, OD.

    Low ranks in small windows ignore scattered cells. Before texture is measured, clearly stained pixels are
    left out with their neighbours, so that it holds where 40 % of the tissue expresses. Both are 0 where the
    supposed tissue is hardly darker than glass.
    """
    side = min(max(3, round(WINDOW_UM / fine.um)), *fine.dark.shape)
    shape = fine.dark.shape[0] // side, fine.dark.shape[1] // side
    inside = _windows_inside(tissue, tissue_um, shape, side * fine.um)
    floor = np.where(inside, 0, 255).astype(np.uint8)  # nothing counts in the other windows
    darkness_low = window_rank(fine.dark, floor, side, side, LOW_PERCENT) / FIXED_POINT_SCALE
    glass = 10.0 ** log_glass_map(context, shape, side * fine.um)
    first = _middle_mean(optical_density(glass, darkness_low)[inside])
    if first < LEAST_LEVEL:
        return 0.0, 0.0
    quiet = np.zeros(fine.dark.shape, np.uint8)
    for part in _bands(inside, side):
        quiet[part] = _quiet(context, fine, CLEARLY_STAINED * first, part)
    low, middle = window_ranks(quiet, floor, side, side, np.array([LOW_PERCENT, MIDDLE_PERCENT]))
    seen = inside & (low >= 0)
    if not seen.any():
        return first, 0.0
    unit = CLEARLY_STAINED * first / (QUIET_STEPS * FIXED_POINT_SCALE)
    return _middle_mean(low[seen] * unit), _middle_mean((middle - low)[seen] * unit)


def _bands(inside: Bool, side: int) -> Iterator[tuple[slice, slice]]:
    """Yield the parts (px) that hold all windows to look at, each small enough for a cache."""
    height = -(-BAND_PX // GLASS_SPACING) * GLASS_SPACING
    for top in range(0, inside.shape[0] * side, height):
        rows = inside[top // side : -(-(top + height) // side)]
        columns = np.flatnonzero(rows.any(axis=0))
        if columns.size:
            left = columns[0] * side // GLASS_SPACING * GLASS_SPACING
            yield slice(top, top + height), slice(left, (columns[-1] + 1) * side)


def _quiet(context: SectionContext, fine: _Level, least_od: float, part: tuple[slice, slice]) -> UInt8:
    """Return softened OD in steps of least_od / QUIET_STEPS; 0 where it reaches that, and next to it."""
    sigma = max(TEXTURE_SMOOTHING_UM / fine.um, 0.1)
    reach = round(4 * sigma + 2)
    halo = -(-round(reach + GLASS_SPACING / 2) // GLASS_SPACING) * GLASS_SPACING
    y0, x0 = (max(s.start - halo, 0) for s in part)
    top = max(part[0].start - reach, 0)  # a band is flat: only the rows that the filter reaches
    dark = fine.dark[top : part[0].stop + reach, x0 : part[1].stop + halo]
    ends = (min(s.stop + halo, n) for s, n in zip(part, fine.dark.shape, strict=True))
    y, x = (
        (first // GLASS_SPACING + np.arange(-(-(end - first) // GLASS_SPACING)) + 0.5)
        * GLASS_SPACING
        * fine.um
        for first, end in zip((y0, x0), ends, strict=True)
    )
    glass = context.glass_luma(x[None, :], y[:, None])
    nodes = np.rint((255.0 - glass * 10.0**-least_od).clip(0, 255) * FIXED_POINT_SCALE).astype(np.int32)
    stained = above_surface(dark, nodes, GLASS_SPACING, (top - y0, 0))
    clear = cv2.compare(cv2.dilate(stained, np.ones((3, 3), np.uint8)), 0, cv2.CMP_EQ)  # 255, else 0
    log_glass = cv2.resize(np.log10(glass).astype(np.float32), None, fx=GLASS_SPACING, fy=GLASS_SPACING)
    density = _soft_log_luma(dark, clear, sigma)
    np.subtract(log_glass[top - y0 :][: dark.shape[0], : dark.shape[1]], density, out=density)
    scale = float(np.float32(QUIET_STEPS / least_od))
    steps = cv2.convertScaleAbs(np.maximum(density, 0, out=density), alpha=scale)  # rounds, clips
    quiet: UInt8 = np.maximum(steps, 1) & clear
    return quiet[part[0].start - top : part[0].stop - top, part[1].start - x0 : part[1].stop - x0]


def _soft_log_luma(dark: UInt8, clear: UInt8, sigma: float) -> Float32:
    """Return log10 of luma after a Gaussian (px) over the pixels where `clear` is 255, not 0.

    Normalised convolution (Knutsson and Westin 1993): blur(luma x clear) / blur(clear).
    """
    luma = cv2.GaussianBlur((~dark & clear).astype(np.float32), (0, 0), sigma)
    share = cv2.GaussianBlur((clear & 1).astype(np.float32), (0, 0), sigma)
    luma /= np.maximum(share, 1e-3, out=share)
    return np.asarray(np.log10(np.maximum(luma, 1.0, out=luma), out=luma))


def _windows_inside(tissue: Bool, tissue_um: float, shape: tuple[int, int], window_um: float) -> Bool:
    """Return which windows have their centre well inside the tissue, as far as the tissue is that wide."""
    centres = ((np.arange(n) + 0.5) * window_um / tissue_um for n in shape)
    y, x = (np.minimum(c.astype(np.int64), n - 1) for c, n in zip(centres, tissue.shape, strict=True))
    reach = math.ceil(DEPTHS_UM[0] / tissue_um) + 1
    depth = np.sqrt(depths_at(tissue.view(np.uint8), y, x, reach).astype(np.float32))
    depth_um = depth * tissue_um
    for least in DEPTHS_UM:
        inside = np.asarray(depth_um > least)
        if inside.sum() >= FEWEST_WINDOWS:
            return inside
    return inside if inside.any() else np.ones(shape, np.bool_)


def _middle_mean(values: Float64) -> float:
    """Return the mean of the middle half: unlike a median, it is not quantised by grey levels."""
    low, high = np.percentile(values, [25, 75])
    return max(0.0, float(values[(values >= low) & (values <= high)].mean()))
