"""The default detector as its definition reads, composed of scikit-image and scipy.

The same parameters give nearly the same mask as `Adaptive` (Dice of at least 0.995 in the tests), far slower:
no step is compiled here, and all of it can be read on one page. It is meant to be read and cited, to check
the default against, and to be copied by authors of new detectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import ndimage

from pipeline.core.intensity import optical_density
from pipeline.core.model import Bool, Float32, Float64, UInt8
from pipeline.detection.adaptive import (
    GLASS_SHARE,
    HALF_FULL_UM,
    HIGHEST,
    LEAST_SIGMA_PX,
    RANK_PERCENT,
    YIELD,
    Adaptive,
)
from pipeline.detection.lattice import NODE_STEPS, REDUCED_UM, least_pixels
from pipeline.sections.statistics import SectionContext
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    import skimage.morphology as morphology
    from skimage import draw, filters, transform
else:
    draw, filters = LazyModule("skimage.draw"), LazyModule("skimage.filters")
    morphology, transform = LazyModule("skimage.morphology"), LazyModule("skimage.transform")

STRIP_PX = 512  # px: rows whose surfaces are interpolated together, to bound the memory of two floats a pixel


@dataclass(frozen=True)
class Plain(Adaptive):
    """Local threshold in optical density, step by step; its parameters are those of `Adaptive`."""

    name: ClassVar[str] = "plain"
    steps: ClassVar[int] = NODE_STEPS  # reduced pixels between the places where a threshold is computed

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Mark the expressing pixels of an image that is darkness already.

        Parameters
        ----------
        dark : (H, W) uint8
            Darkness, 255 - luma; a tile begins at `context.origin_px` of its section.
        context : SectionContext
            Statistics of the section, pooled over its series, with the pixel size of `dark`.

        Returns
        -------
        (H, W) bool
            True where a pixel expresses.
        """
        if context.tissue_fraction <= 0:
            return np.zeros(dark.shape, np.bool_)
        # Blocks are counted from the corner of the section, so that tiles agree: a tile begins at a block.
        um = context.resolution_um
        spacing = max(1, round(REDUCED_UM / um)) * self.steps
        left, top = (n % spacing for n in context.origin_px)
        origin = context.origin_px[0] - left, context.origin_px[1] - top
        whole = np.pad(dark, ((top, 0), (left, 0)), mode="edge")
        mask = self._marked(whole, context.at(*origin))
        mask = mask[top:, left:]
        small_px = least_pixels(self.min_area_um2, um) - 1
        mask = morphology.remove_small_objects(mask, max_size=small_px, connectivity=2)
        holes_px = int(self.max_hole_um2 / um**2)
        return np.asarray(morphology.remove_small_holes(mask, max_size=holes_px, connectivity=1))

    def _marked(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return which pixels exceed the threshold and lie in the upper part of their cell, (H, W) bool."""
        um = context.resolution_um
        smooth: Float32 = dark.astype(np.float32)
        if self.smoothing_um / um >= LEAST_SIGMA_PX:
            smooth = filters.gaussian(smooth, self.smoothing_um / um, preserve_range=True)
        reach = 2 * round(self.reach_um / um) + 1
        highest = morphology.dilation(smooth, np.ones((reach, reach)))
        # A coarse pixel covers its cell only in part: its height above the background is that much lower.
        height = min(self.height * (1 + (um / HALF_FULL_UM) ** 4), HIGHEST)
        surfaces = self._at_nodes(dark, context)
        mask = np.zeros(dark.shape, np.bool_)
        for start in range(0, dark.shape[0], STRIP_PX):
            rows = slice(start, min(start + STRIP_PX, dark.shape[0]))
            low, foot, top = (self._between_nodes(nodes, rows, dark.shape[1], um) for nodes in surfaces)
            part, peak = smooth[rows], highest[rows]
            mask[rows] = (part > foot) & (peak > top) & (part > low + height * (peak - low))
        return mask & self._inside(dark.shape, context)

    def _at_nodes(self, dark: UInt8, context: SectionContext) -> list[Float64]:
        """Return background and thresholds of pixel and peak, darkness, at every `steps`-th block of 8 um."""
        um = context.resolution_um
        factor = max(1, round(REDUCED_UM / um))
        spacing = factor * self.steps
        whole = np.pad(dark, [(0, -n % spacing) for n in dark.shape], mode="edge")
        # Rounded half up, as `whole_block_mean` rounds.
        seen = np.floor(transform.downscale_local_mean(whole, (factor, factor)) + 0.5).astype(np.uint8)
        pale = 255.0 - self._glass(seen.shape, factor, context) * 10.0 ** (
            -GLASS_SHARE * context.tissue_level
        )
        side = round(self.window_um / (factor * um))
        rank = filters.rank.percentile(seen, np.ones((side, side)), mask=seen > pale, p0=RANK_PERCENT / 100)
        # The rank of every block is known; only those at the nodes are used, as in `Adaptive`.
        rank = rank[self.steps // 2 :: self.steps, self.steps // 2 :: self.steps]
        glass = self._glass(rank.shape, spacing, context)
        local = np.maximum(optical_density(glass, rank), self.least_background(context))
        (above, peak_above), solid = self.thresholds_above(context), self.solid_level(context)
        # Above the solid level everything around expresses: the thresholds stay at that level.
        cap = solid + YIELD * np.maximum(solid - local, 0.0)
        background = np.minimum(local, cap - above)
        densities = background, background + above, np.minimum(local + peak_above, cap)
        return [255.0 - glass * 10.0**-density for density in densities]

    def _glass(self, shape: tuple[int, ...], block_px: int, context: SectionContext) -> Float64:
        """Return the luma of empty glass at the centres of blocks, (h, w)."""
        block_um = block_px * context.resolution_um
        x0, y0 = (n * context.resolution_um for n in context.origin_px)
        y, x = ((np.arange(n) + 0.5) * block_um for n in shape)
        return context.glass_luma(x0 + x, (y0 + y)[:, None])

    def _between_nodes(self, nodes: Float64, rows: slice, width: int, um: float) -> Float64:
        """Interpolate a surface linearly from its nodes to pixels of some rows."""
        spacing = max(1, round(REDUCED_UM / um)) * self.steps
        y, x = np.arange(rows.start, rows.stop), np.arange(width)
        places = np.meshgrid((y + 0.5) / spacing - 0.5, (x + 0.5) / spacing - 0.5, indexing="ij")
        return np.asarray(ndimage.map_coordinates(nodes, places, order=1, mode="nearest"))

    def _inside(self, shape: tuple[int, ...], context: SectionContext) -> Bool:
        """Return which pixels lie in blocks of the tissue, but for its rim and for artifacts.

        An outline runs through the outermost pixels of the tissue: they are tissue.
        """
        um = context.resolution_um
        factor = max(1, round(REDUCED_UM / um))
        blocks = tuple(-(-n // factor) for n in shape)
        tissue, artifacts = np.zeros(blocks, np.bool_), np.zeros(blocks, np.bool_)
        rings = [(tissue, ring) for ring in context.tissue_outlines_um]
        rings += [(artifacts, found.outline_um) for found in context.artifacts]
        x0, y0 = (n / factor for n in context.origin_px)
        for canvas, ring in rings:
            corners = (np.asarray(ring) / (factor * um) - 0.5 - (x0, y0))[:, ::-1]
            canvas |= draw.polygon2mask(blocks, corners)
            # The mask leaves out blocks that the outline crosses: they are drawn as lines.
            ends = np.rint(corners).astype(int)
            for here, there in zip(ends, np.roll(ends, -1, axis=0), strict=True):
                line = np.stack(draw.line(*here, *there))
                on = ((line >= 0) & (line < np.array(blocks)[:, None])).all(axis=0)
                canvas[tuple(line[:, on])] = True
        depth = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1]
        # Beyond the image is glass, hence the margin of one block above.
        wide = (depth > self.edge_um / (factor * um)) & ~artifacts
        return np.kron(wide, np.ones((factor, factor), np.bool_))[: shape[0], : shape[1]]
