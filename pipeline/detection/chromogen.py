"""A detector by colour: how much of the stain's own dye lies over a pixel, whatever else darkens it.

Optical densities of red, green and blue are sums over dyes (Beer-Lambert). They are split into the
chromogen's part and a grey remainder by colour deconvolution (Ruifrok and Johnston 2001), with the colour of
NBT/BCIP beside neutral grey. A grey image cannot be split: all of its density counts.
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

# Optical density of NBT/BCIP in red, green and blue: purple-blue, absorbs green most.
NBT_BCIP = np.array([0.55, 0.66, 0.51])
STRIP_ROWS = 64  # px: rows at a time, so that densities take little memory


@dataclass(frozen=True)
class Chromogen:
    """More dye than a multiple of the tissue's own, by colour deconvolution.

    Attributes
    ----------
    contrast : float
        Threshold over the tissue level, in units of the tissue's texture.
    grey : float, 0-1
        Share of a pure dye's colour that a pixel may lack and still count in full.
    min_area_um2 : float, um2
        Smaller objects are dropped.
    max_hole_um2 : float, um2
        Smaller holes are filled.
    edge_um : float, um
        Rim of the tissue, darkened by its edge, that does not count.

    References
    ----------
    Ruifrok AC, Johnston DA (2001). Quantification of histochemical staining by color deconvolution.
    Analytical and Quantitative Cytology and Histology 23, 291-299.
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
        """Return the expressing pixels, (H, W) bool, of an image or tile (H, W[, 3]) uint8."""
        dark = darkness(pixels)
        return self._marked(dark, dark if pixels.ndim == 2 else self._dye(pixels, dark), context)

    def of_darkness(self, dark: UInt8, context: SectionContext) -> Bool:
        """Return the expressing pixels of a grey image that is darkness already: all of it counts as dye.

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
        return self._marked(dark, dark, context)

    def _marked(self, dark: UInt8, dye: UInt8, context: SectionContext) -> Bool:
        """Return which pixels have more dye than the tissue, in the tissue and in objects large enough."""
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
        """Return the darkness that the dye alone would give, (H, W) uint8; the grey remainder is left out."""
        dye = np.empty_like(dark)
        full = max(_CHROMA * (1 - self.grey), 1e-3)
        for top in range(0, len(dark), STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            red, green, blue = (_DENSITY[pixels[rows, :, k]] for k in range(3))
            # Excess of green over red and blue, relative to all three: 0 is grey, whatever the density.
            chroma = (2 * green - red - blue) / np.maximum(red + green + blue, np.float32(1e-3))
            share = np.clip(chroma / np.float32(full), 0.0, 1.0)
            share[(red == green) & (green == blue)] = 1.0  # a grey image stored as colour
            # Rounded half up, as darkness is.
            dye[rows] = np.floor(dark[rows] * share + 0.5)
        return dye


# Optical density of every grey level, and how much more green than red and blue the pure dye absorbs.
_DENSITY: Float32 = -np.log10(np.maximum(np.arange(256), 1) / 255.0).astype(np.float32)
_CHROMA = float((2 * NBT_BCIP[1] - NBT_BCIP[0] - NBT_BCIP[2]) / NBT_BCIP.sum())
