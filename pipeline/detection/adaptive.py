"""The default detector: pixels darker than their surroundings by a multiple of the texture of the tissue.

In optical density over the section's own glass there is a threshold for every contrast c,

    min(background + c x noise, solid_level + YIELD x max(solid_level - background, 0)).

A pixel expresses where the darkest pixel next to it exceeds the threshold of `contrast`, where it exceeds
that of `foot` x `contrast` itself, and where it lies in the upper part of its cell: above `height` of the way
from the background to that darkest pixel.

- `background` is a low rank of the surroundings: it lies between the cells also where cells are dense.
- It is at least `floor` x what the texture exceeds that of flat tissue by. Cells that do not express make up
  that texture. They are many, the darkest of them stand far out of a pale background, such as that of fibre
  tracts, and are no darker than those elsewhere.
- A cell counts by its darkest pixel: where that one is dark enough, all of the cell is marked.
- Where the background itself reaches the solid level, everything around expresses. Bands wider than any
  surroundings stay solid, while faint cells in a dark structure do not add up to expression.
- The solid level lies above tissue and texture of section and series, and above the darkest structures that
  do not express.

Surroundings, and the rim of the tissue that does not count, are computed on blocks of about 8 um. Threshold
and background are computed at every fourth block, on a lattice anchored at the section's corner, and
interpolated bilinearly in between: that smooths the scatter of a rank of some sixty pixels. They are compared
pixel by pixel; then objects smaller than the core of a cell are dropped and pinholes are filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.intensity import darkness, optical_density
from pipeline.core.model import Bool, Float64, Int32, UInt8
from pipeline.detection.checks import Ranges, check_ranges
from pipeline.detection.lattice import Lattice, grown, keep_objects
from pipeline.sections.kernels import FIXED_POINT_SCALE, clear_outside, keep_above, window_rank
from pipeline.sections.statistics import TEXTURE_RANGE, SectionContext

RANK_PERCENT = 40  # rank of the surroundings that is the background
# Pixels below 30 % of the tissue level are glass (ventricle, tear) and excluded from the background.
GLASS_SHARE = 0.3
LEAST_SIGMA_PX = 0.4  # px: a narrower Gaussian changes next to nothing
STRIP_PX = 128  # px: rows that are filtered together, so that intermediate results stay in a cache
# The fullest pixel of a cell of 8-15 um is covered to 1 / (1 + (um / 10.5)^4): to a half at 10.5 um.
HALF_FULL_UM = 10.5
MEETING = 0.75  # coarse pixels: power of `foot` at which the thresholds of pixel and cell meet
HIGHEST = 0.9  # the largest share of a cell's height

# Solid expression is at least this many times as dense as typical tissue; the darkest structures hardly are.
SOLID_LEVEL = 3.2
# It is also denser by this much OD, about 60 grey levels: in a pale stain smooth structures are many times as
# dense as most tissue, and no darker than tissue of a usual stain.
SOLID_OD = 0.12
# Slope by which the threshold rises as the background falls below the solid level, until the local threshold
# is the lower one.
YIELD = 2.5


@dataclass(frozen=True)
class Adaptive:
    """Local threshold in optical density.

    Attributes
    ----------
    contrast : float
        Threshold of a cell's darkest pixel over the background, in units of the tissue's texture.
    foot : float, 0-1
        Share of that threshold that every pixel of the cell exceeds, where pixels are small.
    floor : float
        Least background, in units of what the texture exceeds that of flat tissue by.
    solid : float
        Solid level over the tissue level, in the same units: surroundings as dense as that are solid
        expression.
    height : float, 0-1
        Share of a cell's own height above the background at which the cell ends.
    window_um : float, um
        Side of the surroundings.
    reach_um : float, um
        Distance within which the darkest pixel of a cell is looked for.
    smoothing_um : float, um
        Gaussian sigma before the comparison; skipped where it is under 0.4 px.
    min_area_um2 : float, um2
        Smaller objects are dropped; at least 3 px where 3 px are less than a cell.
    max_hole_um2 : float, um2
        Smaller holes are filled.
    edge_um : float, um
        Rim of the tissue, darkened by its edge, that does not count.

    Raises
    ------
    ConfigError
        Where a parameter is out of its range.
    """

    name: ClassVar[str] = "adaptive"
    halo_um: ClassVar[float] = 256.0
    reads_colour: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {
        "contrast": (1.0, 100.0),
        "foot": (0.0, 1.0),
        "floor": (0.0, 100.0),
        "solid": (1.0, 200.0),
        "height": (0.0, HIGHEST),
        "window_um": (20.0, 200.0),
        "reach_um": (0.0, 20.0),
        "smoothing_um": (0.0, 5.0),
        "min_area_um2": (0.0, 500.0),
        "max_hole_um2": (0.0, 500.0),
        "edge_um": (0.0, 100.0),
    }

    contrast: float = 25.0
    foot: float = 0.65
    floor: float = 29.2
    solid: float = 26.0
    height: float = 0.45
    window_um: float = 67.0
    reach_um: float = 4.5
    smoothing_um: float = 0.73
    min_area_um2: float = 22.0
    max_hole_um2: float = 60.0
    edge_um: float = 42.0

    def __post_init__(self) -> None:
        check_ranges(self)

    def __call__(self, pixels: npt.NDArray[np.uint8], context: SectionContext) -> Bool:
        """Return the expressing pixels, (H, W) bool, of an image or tile (H, W[, 3]) uint8."""
        return self.of_darkness(darkness(pixels), context)

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return the expressing pixels of an image that is darkness already.

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
        lattice = Lattice.of(context, dark)
        surfaces = self._surfaces(lattice, context)
        inside = lattice.inside_tissue(dark.shape, context, self.edge_um)
        mask = np.zeros(dark.shape, np.uint8)
        for top in range(0, len(dark), STRIP_PX):
            # Only the columns of the strip that hold tissue.
            rows = slice(top, min(top + STRIP_PX, len(dark)))
            columns = lattice.columns(inside, rows, dark.shape[1])
            if columns is not None:
                mask[rows, columns] = self._part(dark, (rows, columns), context, lattice, surfaces)
        clear_outside(mask, inside, lattice.factor, lattice.first)
        keep_objects(mask, context.resolution_um, self.min_area_um2, self.max_hole_um2)
        return np.asarray(mask.view(np.bool_))

    def _part(
        self,
        dark: UInt8,
        part: tuple[slice, slice],
        context: SectionContext,
        lattice: Lattice,
        surfaces: tuple[Int32, Int32, Int32],
    ) -> UInt8:
        """Return which pixels of some rows and columns exceed all surfaces, 0 or 1."""
        # The Gaussian reaches 4 sigma beyond the part, the peak its own distance; the rest is margin.
        halo = round(4 * self.smoothing_um / context.resolution_um) + self._reach_px(context) + 2
        (rows, inner), (columns, middle) = (grown(s, halo, n) for s, n in zip(part, dark.shape, strict=True))
        smooth = self._smoothed(dark[rows, columns], context.resolution_um)
        mask = np.ones((part[0].stop - part[0].start, smooth.shape[1]), np.uint8)
        first = lattice.first[0] + part[0].start, lattice.first[1] + columns.start
        peak = self._peak(smooth, context)[inner]
        smooth = np.ascontiguousarray(smooth[inner])
        for values, surface in zip((smooth, peak), surfaces[:2], strict=True):
            keep_above(mask, np.ascontiguousarray(values), surface, lattice.spacing, first)
        upper = self._upper_part(smooth, peak, context)
        keep_above(mask, upper, surfaces[2], lattice.spacing, first)
        return mask[:, middle]

    def _surfaces(self, lattice: Lattice, context: SectionContext) -> tuple[Int32, Int32, Int32]:
        """Return thresholds of pixel and peak, and background, darkness x FIXED_POINT_SCALE."""
        glass = lattice.glass_luma(context)
        pale = _darkness_of(glass, GLASS_SHARE * context.tissue_level).clip(0, 255).astype(np.uint8)
        window = max(3, round(self.window_um / lattice.reduced_um))
        rank = window_rank(lattice.reduced, pale, lattice.steps, window, RANK_PERCENT)
        # Where the surroundings are mostly glass, typical tissue stands in for them.
        local = np.where(rank < 0, context.tissue_level, optical_density(glass, rank / FIXED_POINT_SCALE))
        local = np.maximum(local, self.least_background(context))
        solid = self.solid_level(context)
        cap = solid + YIELD * np.maximum(solid - local, 0.0)
        above, peak_above = self.thresholds_above(context)
        # The comparison adds `above` to the background: it is taken off here where the solid level decides.
        background = np.minimum(local, cap - above)
        densities = background + above, np.minimum(local + peak_above, cap), background
        low, high, between = (_nodes(_darkness_of(glass, density)) for density in densities)
        return low, high, between

    def thresholds_above(self, context: SectionContext) -> tuple[float, float]:
        """Return by how much a pixel and the darkest pixel of its cell exceed the background.

        Parameters
        ----------
        context : SectionContext
            Statistics of the section, pooled over its series, with the pixel size of the image.

        Returns
        -------
        tuple of 2 float, OD
            The least excess of every pixel, and of the darkest one.
        """
        # A coarse pixel covers its cell only in part: the peak is lower, so the cell ends nearer to it. Where
        # the two thresholds meet, a pixel is all that is left of a cell.
        full, middle = _fullness(context.resolution_um), self.foot**MEETING
        unit = self.contrast * context.noise
        return min(self.foot / full, middle) * unit, max(full, middle) * unit

    def least_background(self, context: SectionContext) -> float:
        """Return the least background that thresholds are counted from.

        Parameters
        ----------
        context : SectionContext
            Statistics of the section, pooled over its series.

        Returns
        -------
        float, OD
            The least background; 0 where the tissue is flat.
        """
        # The texture of coarse pixels holds the cells themselves, in part.
        beyond = max(context.noise - TEXTURE_RANGE[0] * context.tissue_level, 0.0)
        return self.floor * _fullness(context.resolution_um) * beyond

    def solid_level(self, context: SectionContext) -> float:
        """Return the density from which on surroundings are solid expression.

        Parameters
        ----------
        context : SectionContext
            Statistics of the section, pooled over its series.

        Returns
        -------
        float, OD
            The solid level; no structure of the tissue that does not express is as dense.
        """
        level = max(context.tissue_level, context.series_level)
        return max(level + max(self.solid * context.noise, SOLID_OD), SOLID_LEVEL * level)

    def _smoothed(self, dark: UInt8, resolution_um: float) -> UInt8:
        """Return the image after the Gaussian, or the image itself where it is negligible."""
        sigma = self.smoothing_um / resolution_um
        if sigma < LEAST_SIGMA_PX:
            return dark
        return np.asarray(cv2.GaussianBlur(dark, (0, 0), sigma), np.uint8)

    def _reach_px(self, context: SectionContext) -> int:
        """Return the distance to a cell's darkest pixel in pixels of the image."""
        return round(self.reach_um / context.resolution_um)

    def _peak(self, dark: UInt8, context: SectionContext) -> UInt8:
        """Return the darkness of the darkest pixel within reach; without reach a pixel is its own."""
        side = 2 * self._reach_px(context) + 1
        return dark if side == 1 else np.asarray(cv2.dilate(dark, np.ones((side, side), np.uint8)), np.uint8)

    def _upper_part(self, dark: UInt8, peak: UInt8, context: SectionContext) -> UInt8:
        """Return an image that exceeds the background exactly in the upper part of a cell; `peak` is used up.

        That is where dark > b + height x (peak - b). Solved for the background b:
        (dark - height x peak) / (1 - height) > b.
        """
        if self._reach_px(context) == 0 or self.height == 0:
            return dark
        # A coarse pixel covers its cell only in part: the peak is lower, so the cell ends nearer to it.
        height = min(self.height / _fullness(context.resolution_um), HIGHEST)
        rest = 1.0 - height
        return np.asarray(cv2.addWeighted(dark, 1.0 / rest, peak, -height / rest, 0.0, peak), np.uint8)


def _fullness(resolution_um: float) -> float:
    """Return which share of the fullest pixel of a cell the cell covers."""
    return 1.0 / (1.0 + (resolution_um / HALF_FULL_UM) ** 4)


def _darkness_of(glass_luma: Float64, density: Float64 | float) -> Float64:
    """Return the darkness, 255 - luma, of a density over glass of some luma."""
    return np.asarray(255.0 - glass_luma * 10.0**-density)


def _nodes(surface: Float64) -> Int32:
    """Return a surface of darkness in fixed point, FIXED_POINT_SCALE x 0-255."""
    return np.asarray(np.rint(surface.clip(0, 255) * FIXED_POINT_SCALE), np.int32)
