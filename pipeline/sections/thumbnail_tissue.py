"""Tissue against glass: what of a thumbnail is section, and how strongly it is stained."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64
from pipeline.sections.medians import MAD_TO_SIGMA
from pipeline.sections.thumbnail import SectionThumbnail

_SMOOTH_UM = 50.0
_MIN_AREA_UM2 = 1.0e5
_MIN_SHARE = 0.015
_MIN_SIGNAL = 0.010
_RIM_UM = 120.0
_RIM_SUPPORT = 0.02
_DARK = 80.0  # of a background that is no glass
_TIMES, _BRIGHTER = 1.5, 4.0  # by how much tissue on it is brighter


@dataclass(frozen=True, eq=False)
class TissueImage:
    """A thumbnail turned to numbers.

    Parameters
    ----------
    stain : (h, w) float32      optical density along the section's stain colour, 0 on glass
    mask : (h, w) bool          tissue, holes filled
    valid : (h, w) bool         False in padding and where the caller said so
    series : int                whose stain it shows, see `SectionThumbnail`
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
    """Find the tissue of a thumbnail: glass from its border, colour and threshold of its own."""
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
    """Return the grey level around a section where it is dark and the section brighter, else None."""
    pixels = thumbnail.pixels if thumbnail.pixels.ndim == 3 else thumbnail.pixels[..., None]
    valid = np.ones(pixels.shape[:2], bool) if thumbnail.valid is None else thumbnail.valid
    luma, ring = pixels.mean(axis=-1), _ring(valid)
    if not ring.any():
        return None
    around, bright = float(np.median(luma[ring])), float(np.percentile(luma[valid], 98))
    return around if around < _DARK and bright > _TIMES * around + _BRIGHTER else None


def _padding(pixels: np.ndarray) -> Bool:
    """Pure white or black margins that a scanner or a script put around the image."""
    margin = np.zeros(pixels.shape[:2], bool)
    for value in (255, 0):
        pure = (pixels == value).all(axis=-1)
        if pure.mean() > 0.9:
            continue
        for axis in (0, 1):
            full = pure.all(axis=1 - axis)
            inside = np.flatnonzero(~full)
            lines = np.ones(full.size, bool)
            lines[inside[0] : inside[-1] + 1] = False
            margin |= lines[:, None] if axis == 0 else lines[None, :]
    return margin


def optical_density(pixels: np.ndarray, valid: Bool) -> Float32:
    """Return log10(glass / pixel) of every channel, (h, w, c) float32, the glass from the border."""
    ring = _ring(valid)
    luma = pixels.mean(axis=-1)
    if not ring.any():
        return np.zeros(pixels.shape, np.float32)
    bright = ring & (luma >= np.median(luma[ring]))
    glass = np.median(pixels[bright].astype(np.float64), axis=0)
    return np.asarray(np.log10(np.maximum(glass, 1.0) / np.maximum(pixels, 1.0)), dtype=np.float32)


def _ring(valid: Bool) -> Bool:
    width = max(2, min(valid.shape) // 25)
    inner = ndimage.binary_erosion(valid, iterations=width, border_value=0)
    return np.asarray(valid & ~inner)


def _stain(density: Float32, valid: Bool) -> Float32:
    """Project the densities on the mean colour of what is clearly not glass."""
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
    """Subtract the uneven light of the glass: a plane through what is nearly as bright as glass."""
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
    """Where tissue begins (above the noise of the glass) and what it must reach somewhere."""
    values = smooth[valid]
    if values.size == 0:
        return np.inf, np.inf
    strong = values[values > max(_otsu(values), _MIN_SIGNAL)]
    typical = float(np.median(strong)) if strong.size else 0.0
    glass = values[np.abs(values) < _MIN_SIGNAL]
    noise = MAD_TO_SIGMA * float(np.median(np.abs(glass))) if glass.size > 20 else 0.0
    weak = max(4.0 * noise, 0.05 * typical, _MIN_SIGNAL)
    return weak, max(weak, 0.3 * typical)


def _otsu(values: Float32) -> float:
    top = float(np.percentile(values, 99.5))
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
