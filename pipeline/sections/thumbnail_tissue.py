"""Tissue against glass on a thumbnail: which pixels are section, and how strongly they are stained."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.sections.thumbnail import SectionThumbnail

_SMOOTH_UM = 50.0  # um: Gaussian sigma before the threshold
_MIN_AREA_UM2 = 1.0e5  # um2
_MIN_SHARE = 0.015  # of the largest piece
_MIN_SIGNAL = 0.010  # OD: less is the unevenness of glass
_RIM_UM = 120.0  # um: width of the rim in which the outline is drawn back
_RIM_SUPPORT = 0.02  # least share of tissue around a pixel of the rim
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
    density = optical_density(pixels, valid)
    stain = _stain(density, valid)
    stain = _flat(stain, valid)
    pixel_um = thumbnail.pixel_um
    return TissueImage(stain, _mask(stain, valid, pixel_um), valid, pixel_um, thumbnail.series)


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


def optical_density(pixels: np.ndarray, valid: Bool) -> Float32:
    """Return the optical density of every channel over the glass at the border (Beer-Lambert).

    Parameters
    ----------
    pixels : (h, w, c) uint8
        The image.
    valid : (h, w) bool
        Pixels that count.

    Returns
    -------
    (h, w, c) float32, OD
        log10(glass / pixel), where glass is the median of the brighter half of the border.
    """
    ring = _ring(valid)
    luma = pixels.mean(axis=-1)
    if not ring.any():
        return np.zeros(pixels.shape, np.float32)
    bright = ring & (luma >= np.median(luma[ring]))
    glass = np.median(pixels[bright].astype(np.float64), axis=0)
    return np.asarray(np.log10(np.maximum(glass, 1.0) / np.maximum(pixels, 1.0)), dtype=np.float32)


def _ring(valid: Bool) -> Bool:
    """Return the valid pixels near the border of the valid region: some 4 % of the shorter side."""
    width = max(2, min(valid.shape) // 25)
    inner = ndimage.binary_erosion(valid, iterations=width, border_value=0)
    return np.asarray(valid & ~inner)


def _stain(density: Float32, valid: Bool) -> Float32:
    """Project the densities on the mean colour of clearly stained pixels, (h, w)."""
    if density.shape[-1] == 1:
        return np.array(density[..., 0])
    total = density.sum(axis=-1)
    strong = valid & (total > max(float(np.percentile(total[valid], 70)), 0.03)) if valid.any() else valid
    if not strong.any():
        return np.asarray(density.mean(axis=-1))
    colour: Float64 = np.maximum(density[strong].mean(axis=0).astype(np.float64), 0.0)
    length = float(np.linalg.norm(colour))
    return (
        (density @ (colour / length)).astype(np.float32) if length > 0 else np.asarray(density.mean(axis=-1))
    )


def _flat(stain: Float32, valid: Bool) -> Float32:
    """Subtract the uneven light of the glass: a plane through pixels nearly as bright as glass."""
    h, w = stain.shape
    y, x = np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    surface = np.zeros(stain.shape)
    for limit in (2.0 * _MIN_SIGNAL, _MIN_SIGNAL, _MIN_SIGNAL):
        glass = valid & (np.abs(stain - surface) < limit)
        if glass.sum() < 0.05 * glass.size:
            break
        fit = np.linalg.lstsq(terms[glass], stain[glass].astype(np.float64), rcond=None)[0]
        surface = terms @ fit
    flat = np.where(valid, stain - surface, 0.0)
    return np.asarray(flat, dtype=np.float32)


def _mask(stain: Float32, valid: Bool, pixel_um: float) -> Bool:
    """Return the tissue: above the weak threshold, in large pieces that somewhere exceed the strong one."""
    smooth = cv2.GaussianBlur(stain, (0, 0), max(_SMOOTH_UM / pixel_um, 0.7), borderType=cv2.BORDER_REPLICATE)
    weak, strong = _thresholds(smooth, valid)
    mask = (smooth > weak) & valid
    mask = ndimage.binary_opening(mask, iterations=max(1, round(60.0 / pixel_um)))
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros(mask.shape, bool)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * pixel_um**2
    peaks = ndimage.maximum(smooth, labels, np.arange(1, count + 1))
    large = (areas >= _MIN_AREA_UM2) & (areas >= _MIN_SHARE * areas.max())
    keep = np.flatnonzero(large & (peaks > strong)) + 1
    filled = ndimage.binary_fill_holes(np.isin(labels, keep))
    return _trimmed(np.asarray(filled & valid), smooth, pixel_um)


def _trimmed(mask: Bool, smooth: Float32, pixel_um: float) -> Bool:
    """Draw the outline back to half the stain inside it: a faint threshold lies in the blur outside."""
    core = ndimage.binary_erosion(mask, iterations=max(1, round(_RIM_UM / pixel_um)))
    if not core.any():
        return mask
    sigma = _RIM_UM / pixel_um
    weight = cv2.GaussianBlur(core.astype(np.float32), (0, 0), sigma)
    level = cv2.GaussianBlur(np.where(core, smooth, np.float32(0.0)), (0, 0), sigma)
    rim = mask & ~core & (weight > _RIM_SUPPORT)
    trimmed = mask & ~(rim & (smooth * weight < 0.5 * level))
    return np.asarray(ndimage.binary_fill_holes(trimmed) & mask)


def _thresholds(smooth: Float32, valid: Bool) -> tuple[float, float]:
    """Return where tissue begins, above the noise of the glass, and what it must reach somewhere, OD."""
    values = smooth[valid]
    if values.size == 0:
        return np.inf, np.inf
    strong = values[values > max(_otsu(values), _MIN_SIGNAL)]
    typical = float(np.median(strong)) if strong.size else 0.0
    glass = values[np.abs(values) < _MIN_SIGNAL]
    # 1.4826 x the median absolute deviation is the standard deviation of a normal distribution.
    noise = MAD_TO_SIGMA * float(np.median(np.abs(glass))) if glass.size > 20 else 0.0
    weak = max(4.0 * noise, 0.05 * typical, _MIN_SIGNAL)
    return weak, max(weak, 0.3 * typical)


def _otsu(values: Float32) -> float:
    """Return Otsu's threshold (1979), OD, from a histogram of 128 bins; 0 where nothing is stained."""
    top = float(np.percentile(values, 99.5))  # a few black pixels would stretch the bins
    if top <= 0:
        return 0.0
    counts, edges = np.histogram(np.clip(values, 0.0, top), bins=128, range=(0.0, top))
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * gap**2)
    return float(centres[int(np.argmax(between))])
