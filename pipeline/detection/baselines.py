"""Detectors for comparison: one threshold over the whole section."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.detection.checks import Ranges, check_ranges
from pipeline.detection.lattice import Lattice, keep_objects
from pipeline.sections.kernels import FIXED_POINT_SCALE, above_surface
from pipeline.sections.statistics import SectionContext

# Ranges of the parameters that all detectors share: um2 and um.
_AREAS: Ranges = {"min_area_um2": (0.0, 500.0), "max_hole_um2": (0.0, 500.0), "edge_um": (0.0, 100.0)}


@dataclass(frozen=True)
class Global:
    """Darker than a fixed threshold, whatever the light and the stain of the section.

    Attributes
    ----------
    threshold : float, 1-254
        Darkness that an expressing pixel exceeds.
    min_area_um2 : float, um2
        Smaller objects are dropped.
    max_hole_um2 : float, um2
        Smaller holes are filled.
    edge_um : float, um
        Rim of the tissue, darkened by its edge, that does not count.
    """

    name: ClassVar[str] = "global"
    halo_um: ClassVar[float] = 256.0
    reads_colour: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {"threshold": (1.0, 254.0), **_AREAS}

    threshold: float = 130.0
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
        return _above(dark, context, lambda glass: np.full_like(glass, self.threshold), self)


@dataclass(frozen=True)
class Otsu:
    """Darker than Otsu's threshold between the tissue's pixels, in optical density over the glass.

    Attributes
    ----------
    min_area_um2 : float, um2
        Smaller objects are dropped.
    max_hole_um2 : float, um2
        Smaller holes are filled.
    edge_um : float, um
        Rim of the tissue, darkened by its edge, that does not count.

    References
    ----------
    Otsu N (1979). A threshold selection method from gray-level histograms. IEEE Transactions on Systems, Man,
    and Cybernetics 9, 62-66.
    """

    name: ClassVar[str] = "otsu"
    halo_um: ClassVar[float] = 256.0
    reads_colour: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = _AREAS

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
        return _above(dark, context, lambda glass: 255.0 - glass * 10.0**-context.otsu_level, self)


def _above(
    dark: UInt8,
    context: SectionContext,
    threshold: Callable[[Float64], Float64],
    areas: Global | Otsu,
) -> Bool:
    """Return which pixels exceed a threshold of darkness that is a function of the luma of glass."""
    if context.tissue_fraction <= 0:
        return np.zeros(dark.shape, np.bool_)
    lattice = Lattice.of(context, dark)
    # The threshold follows the light of the glass, so it is a surface too.
    surface = threshold(lattice.glass_luma(context)).clip(0, 255)
    nodes = np.rint(surface * FIXED_POINT_SCALE).astype(np.int32)
    mask = above_surface(dark, nodes, lattice.spacing, lattice.first)
    lattice.clear_outside_tissue(mask, context, areas.edge_um)
    keep_objects(mask, context.resolution_um, areas.min_area_um2, areas.max_hole_um2)
    return np.asarray(mask.view(np.bool_))
