"""Images that are expression masks already: what other programs marked, or what the original serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, UInt8
from pipeline.detection.checks import Ranges, check_ranges
from pipeline.sections.statistics import SectionContext


@dataclass(frozen=True)
class Given:
    """Every pixel that is not 0 expresses, with its value as intensity.

    The series is read with `SectionImage.is_mask`, which makes a mask's values darkness.

    Attributes
    ----------
    least_intensity : float, 1-255
        Lowest value that counts as expressing. JPEG leaves small values beside bright ones: take 32 there.
    """

    name: ClassVar[str] = "given"
    halo_um: ClassVar[float] = 0.0
    reads_colour: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {"least_intensity": (1.0, 255.0)}

    least_intensity: float = 1.0

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
            Value of the mask.
        context : SectionContext
            Not used.

        Returns
        -------
        (H, W) bool
            True where a pixel expresses.
        """
        return np.asarray(dark >= self.least_intensity)
