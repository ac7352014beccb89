"""Tissue against glass on a thumbnail: which pixels are section, and how strongly they are stained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.core.intensity import darkness
from pipeline.core.model import Bool, Float32, UInt8
from pipeline.sections.glass import fit_glass
from pipeline.sections.statistics import SectionContext
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.tissue import colour_densities, find_tissue, over_glass

STRONG_PERCENT = 70  # of all pixels: denser ones show the colour of the stain
CLEARLY_STAINED_OD = 0.03  # sum of three colours
_DARK = 80.0  # grey level: a darker background is not glass
_TIMES, _BRIGHTER = 1.5, 4.0  # tissue on it is brighter by this factor and this many grey levels


@dataclass(frozen=True, eq=False)
class TissueImage:
    """Stain and tissue of a thumbnail.

    Attributes
    ----------
    stain : (h, w) float32, OD
        Optical density along the section's stain colour, 0 on glass.
    mask : (h, w) bool
        Tissue, holes filled.
    valid : (h, w) bool
        False in padding and where the thumbnail is not valid.
    pixel_um : float, um
        Pixel size.
    series : int
        Series whose stain it shows, see `SectionThumbnail`.
    """

    stain: Float32
    mask: Bool
    valid: Bool
    pixel_um: float
    series: int = 0

    @property
    def area_um2(self) -> float:
        """Area of the tissue, in um2."""
        return float(self.mask.sum()) * self.pixel_um**2

    @property
    def blank(self) -> bool:
        """Whether no tissue was found."""
        return not self.mask.any()


def tissue_image(thumbnail: SectionThumbnail) -> TissueImage:
    """Find the tissue of a thumbnail: glass from its border, then colour and threshold of its own.

    Parameters
    ----------
    thumbnail : SectionThumbnail
        The section.

    Returns
    -------
    TissueImage
        Stain and tissue; the mask is empty where no tissue was found.
    """
    pixels = thumbnail.pixels if thumbnail.pixels.ndim == 3 else thumbnail.pixels[..., None]
    valid = ~_padding(pixels)
    if thumbnail.valid is not None:
        valid &= thumbnail.valid
    um = thumbnail.pixel_um
    stain = stain_density(thumbnail.pixels, valid, um)
    return TissueImage(stain, find_tissue(stain, valid, um), valid, um, thumbnail.series)


def stain_density(pixels: UInt8, valid: Bool, um: float) -> Float32:
    """Return the optical density of an image along the colour of its stain, over its own glass.

    Parameters
    ----------
    pixels : (h, w[, 3]) uint8
        The image.
    valid : (h, w) bool
        Pixels that count.
    um : float, um
        Pixel size.

    Returns
    -------
    (h, w) float32, OD
        0 where not valid.

    Notes
    -----
    The colour is the mean density of what is clearly not glass; densities are projected on it, as in colour
    deconvolution (Ruifrok and Johnston 2001) with a single stain.
    """
    dark = darkness(pixels)
    extent = dark.shape[1] * um, dark.shape[0] * um
    context = SectionContext(um, extent, fit_glass(dark, valid, extent), 0.0, 0.0, 0.0)
    log_glass, density = over_glass(context, dark, um)
    planes = colour_densities(pixels, dark, log_glass, density, valid) if pixels.ndim == 3 else None
    if planes is None:
        return np.where(valid, density, np.float32(0))
    total = planes.sum(axis=0)
    strong = valid & (total > max(float(np.percentile(total[valid], STRONG_PERCENT)), CLEARLY_STAINED_OD))
    if not strong.any():
        return np.asarray(planes.mean(axis=0))
    colour = np.maximum(planes[:, strong].mean(axis=1, dtype=np.float64), 0.0)
    return np.tensordot(colour / np.linalg.norm(colour), planes, axes=1).astype(np.float32)


def background_luma(thumbnail: SectionThumbnail) -> float | None:
    """Return the grey level around a section where it is dark and the section is brighter.

    Parameters
    ----------
    thumbnail : SectionThumbnail
        The section.

    Returns
    -------
    float or None
        Mean of the channels, 0-255; None on a bright background.
    """
    pixels = thumbnail.pixels if thumbnail.pixels.ndim == 3 else thumbnail.pixels[..., None]
    valid = np.ones(pixels.shape[:2], bool) if thumbnail.valid is None else thumbnail.valid
    luma, ring = pixels.mean(axis=-1), _ring(valid)
    if not ring.any():
        return None
    around, bright = float(np.median(luma[ring])), float(np.percentile(luma[valid], 98))
    return around if around < _DARK and bright > _TIMES * around + _BRIGHTER else None


def _padding(pixels: np.ndarray) -> Bool:
    """Return the margins of pure white or black that a scanner or a script put around the image."""
    margin = np.zeros(pixels.shape[:2], bool)
    for value in (255, 0):
        sides = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
        if not any((side == value).all() for side in sides):
            continue
        pure = (pixels == value).all(axis=-1)
        if pure.mean() > 0.9:  # nearly all is of this value: it is the image itself, not padding
            continue
        for axis in (0, 1):
            full = pure.all(axis=1 - axis)
            inside = np.flatnonzero(~full)
            lines = np.ones(full.size, bool)
            lines[inside[0] : inside[-1] + 1] = False
            margin |= lines[:, None] if axis == 0 else lines[None, :]
    return margin


def _ring(valid: Bool) -> Bool:
    """Return the valid pixels near the border of the valid region: some 4 % of the shorter side."""
    width = max(2, min(valid.shape) // 25)
    inner = ndimage.binary_erosion(valid, iterations=width, border_value=0)
    return np.asarray(valid & ~inner)
