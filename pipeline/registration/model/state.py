"""The transforms of an alignment, and the section images at one level of the pyramid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pipeline.core.blocks import block_mean_float
from pipeline.core.model import Bool, Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.model.painted_atlas import blur
from pipeline.sections.thumbnail_tissue import TissueImage

_PAD_UM = 1000.0  # um; margin of glass around a section, so that the atlas may reach beyond the frame
# Floors of the weight of a block and of its blur: where next to nothing is known nothing is divided by zero.
_LEAST_WEIGHT, _LEAST_BLURRED_WEIGHT = np.float32(1e-6), np.float32(1e-3)


@dataclass(frozen=True, eq=False)
class TransformState:
    """Transforms of all sections and of the volume.

    Attributes
    ----------
    sections : (n, 2, 3) float64, px to um
        Thumbnail px to (x, y) of the volume.
    z_um : (n,) float64, um
        Position of each section in the volume.
    volume : (3, 4) float64, um to um
        Volume (x, y, z) to reference (P, I, R).
    """

    sections: Float64
    z_um: Float64
    volume: Float64

    def plane(self, k: int, to_thumbnail: Float64, z_shift_um: float = 0.0) -> Float64:
        """Return the map from the pixels of a section to the reference.

        Parameters
        ----------
        k : int
            Index of the section.
        to_thumbnail : (2, 3) float64
            Px of a level to thumbnail px.
        z_shift_um : float, um
            Distance of the plane from the section along z of the volume.

        Returns
        -------
        (3, 3) float64
            (x, y, 1), px of the level, to (P, I, R) um.
        """
        lift = np.zeros((4, 3))
        # (x, y, 1) of the plane to homogeneous (x, y, z, 1) of the volume.
        lift[:2] = affine.compose(self.sections[k], to_thumbnail)
        lift[2, 2] = self.z_um[k] + z_shift_um
        lift[3, 2] = 1.0
        return self.volume @ lift

    def replaced(self, sections: Float64 | None = None, volume: Float64 | None = None) -> TransformState:
        """Return a copy with new matrices.

        Parameters
        ----------
        sections : (n, 2, 3) float64 or None
            New maps of the sections; None keeps the present ones.
        volume : (3, 4) float64 or None
            New map of the volume; None keeps the present one.

        Returns
        -------
        TransformState
            The copy.
        """
        return replace(
            self,
            sections=self.sections if sections is None else sections,
            volume=self.volume if volume is None else volume,
        )


@dataclass(frozen=True, eq=False)
class LevelImage:
    """One section at one level, with a margin of glass and reduced.

    Attributes
    ----------
    values : (h, w) float32
        Stain (optical density) or mask, blurred.
    weights : (h, w) float32, mm2
        Known area of the pixel; 0 where nothing is known.
    to_thumbnail : (2, 3) float64
        Level px to thumbnail px.
    pixel_um : float, um
        Size of a pixel.
    series : int
        Series of the specimen that the section belongs to, see `SectionThumbnail`.
    """

    values: Float32
    weights: Float32
    to_thumbnail: Float64
    pixel_um: float
    series: int = 0


def known_with_margin(tissue: TissueImage) -> Bool:
    """Return where a section holds information, with a margin of 1 mm of glass around the image.

    Beyond the frame lies glass, except where tissue touches the frame: there nothing is known.

    Parameters
    ----------
    tissue : TissueImage
        The section's mask and valid pixels.

    Returns
    -------
    (h + 2m, w + 2m) bool
        True where known; m is the margin in px.
    """
    pad = _padding_px(tissue)
    valid, mask = np.pad(tissue.valid, pad), np.pad(tissue.mask, pad)
    if not tissue.valid.any():
        return valid
    # A margin pixel is as its nearest valid pixel: glass goes on, tissue may go on and is unknown.
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    outer = ~_frame(tissue.valid, pad)
    return np.asarray(valid | (outer & ~mask[tuple(nearest)]))


def level_image(
    tissue: TissueImage, known: Bool, image: Float32, pixel_um: float, sigma_um: float
) -> LevelImage:
    """Add a margin of glass to a section's image, reduce it by block means and blur it.

    Parameters
    ----------
    tissue : TissueImage
        Gives valid pixels, pixel size and series.
    known : (h + 2m, w + 2m) bool
        Where the section holds information, see `known_with_margin`.
    image : (h, w) float32
        Stain or mask of the section.
    pixel_um : float, um
        Wanted pixel; the nearest whole multiple of the thumbnail's is taken.
    sigma_um : float, um
        Blur; 0 for none.

    Returns
    -------
    LevelImage
        The image at this level.

    Notes
    -----
    Unknown pixels take no part in means and blur: blur(image x weight) / blur(weight) is normalised
    convolution (Knutsson and Westin 1993).

    References
    ----------
    Knutsson H, Westin CF (1993). Normalized and differential convolution. IEEE Conference on Computer Vision
    and Pattern Recognition, 515-523.
    """
    pad = _padding_px(tissue)
    values = np.pad(np.where(tissue.valid, image, 0.0).astype(np.float32), pad)
    factor = max(1, round(pixel_um / tissue.pixel_um))
    # The known share of each block, then used as its weight.
    weights = block_mean_float(known.astype(np.float32), factor)
    sums = block_mean_float(values * known.astype(np.float32), factor)
    mean = np.asarray(sums / np.maximum(weights, _LEAST_WEIGHT), dtype=np.float32)
    # Whole blocks: the pixel obtained, not the one asked for.
    size_um = factor * tissue.pixel_um
    sigma_px = sigma_um / size_um
    soft = blur(mean * weights, sigma_px) / np.maximum(blur(weights, sigma_px), _LEAST_BLURRED_WEIGHT)
    # The centre of the first block, in px of the thumbnail without margin.
    offset = 0.5 * (factor - 1) - pad
    to_thumbnail = np.array([[factor, 0.0, offset], [0.0, factor, offset]])
    area = (size_um * 1e-3) ** 2
    known_mm2 = (weights * area).astype(np.float32)
    return LevelImage(soft.astype(np.float32), known_mm2, to_thumbnail, size_um, tissue.series)


def _padding_px(tissue: TissueImage) -> int:
    """Return the width of the margin, px."""
    return int(np.ceil(_PAD_UM / tissue.pixel_um))


def _frame(valid: Bool, pad: int) -> Bool:
    """Return the image proper in its margin: holes inside it are unknown, margins around it are glass."""
    # Bounding box of the valid pixels.
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    frame = np.zeros((valid.shape[0] + 2 * pad, valid.shape[1] + 2 * pad), bool)
    frame[pad + rows[0] : pad + rows[-1] + 1, pad + columns[0] : pad + columns[-1] + 1] = True
    return frame
