"""A detector by colour: how much of the stain's own dye lies over a pixel, whatever else darkens it.

Optical densities of red, green and blue are sums over dyes (Beer and Lambert). They are split into the
chromogen's part and a grey remainder, as colour deconvolution does (Ruifrok and Johnston 2001), with the
colour of NBT/BCIP beside neutral grey. On grey images there is nothing to split: all of the density counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Float32, UInt8
from pipeline.detection.checks import Ranges, check_ranges
from pipeline.detection.lattice import Lattice, keep_objects
from pipeline.sections.kernels import FIXED_POINT_SCALE, above_surface
from pipeline.sections.statistics import SectionContext

# Optical density of NBT/BCIP in red, green and blue: purple-blue, green is taken out most.
NBT_BCIP = np.array([0.55, 0.66, 0.51])
STRIP_ROWS = 64  # at a time, so that densities take no memory to speak of


@dataclass(frozen=True)
class Chromogen:
    """More dye than a multiple of the tissue's own, by colour deconvolution.

    Parameters
    ----------
    contrast : float        over the tissue level, in units of the tissue's texture
    grey : float            share of a pure dye's colour that a pixel may lack and still count in full, 0-1
    min_area_um2, max_hole_um2, edge_um : as for `adaptive`
    """

    name: ClassVar[str] = "chromogen"
    halo_um: ClassVar[float] = 256.0
    reads_colour: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "contrast": (1.0, 200.0),
        "grey": (0.0, 1.0),
        "min_area_um2": (0.0, 500.0),
        "max_hole_um2": (0.0, 500.0),
        "edge_um": (0.0, 100.0),
    }

    contrast: float = 20.0
    grey: float = 0.5
    min_area_um2: float = 22.0
    max_hole_um2: float = 60.0
    edge_um: float = 42.0

    def __post_init__(self) -> None:
        check_ranges(self)

    def __call__(self, pixels: npt.NDArray[np.uint8], context: SectionContext) -> Bool:
        """Return the expressing pixels of an image or tile, (H, W) bool."""
        dark = darkness(pixels)
        return self._marked(dark, dark if pixels.ndim == 2 else self._dye(pixels, dark), context)

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return the same of a grey image (H, W) that is darkness already: all of it counts as dye."""
        return self._marked(dark, dark, context)

    def _marked(self, dark: UInt8, dye: UInt8, context: SectionContext) -> Bool:
        if context.tissue_fraction <= 0:
            return np.zeros(dark.shape, np.bool_)
        lattice = Lattice.of(context, dark)
        least = context.tissue_level + self.contrast * context.noise
        nodes = np.rint((255.0 - lattice.glass_luma(context) * 10.0**-least).clip(0, 255) * FIXED_POINT_SCALE)
        mask = above_surface(dye, nodes.astype(np.int32), lattice.spacing, lattice.first)
        lattice.clear_outside_tissue(mask, context, self.edge_um)
        keep_objects(mask, context.resolution_um, self.min_area_um2, self.max_hole_um2)
        return np.asarray(mask.view(np.bool_))

    def _dye(self, pixels: npt.NDArray[np.uint8], dark: UInt8) -> UInt8:
        """Return the darkness that the dye alone would give, the rest of it left out, (H, W) uint8."""
        dye = np.empty_like(dark)
        full = max(_CHROMA * (1 - self.grey), 1e-3)
        for top in range(0, len(dark), STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            red, green, blue = (_DENSITY[pixels[rows, :, k]] for k in range(3))
            chroma = (2 * green - red - blue) / np.maximum(red + green + blue, np.float32(1e-3))
            share = np.clip(chroma / np.float32(full), 0.0, 1.0)
            share[(red == green) & (green == blue)] = 1.0  # a grey image stored as colour
            dye[rows] = np.floor(dark[rows] * share + 0.5)
        return dye


_DENSITY: Float32 = -np.log10(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)
_CHROMA = float((2 * NBT_BCIP[1] - NBT_BCIP[0] - NBT_BCIP[2]) / NBT_BCIP.sum())
