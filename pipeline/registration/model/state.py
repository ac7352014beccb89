"""The state of an alignment and the images of one level of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pipeline.core.blocks import block_mean_float
from pipeline.core.model import Bool, Float32, Float64
from pipeline.geometry import affine
from pipeline.registration.model.painted_atlas import blur
from pipeline.sections.thumbnail_tissue import TissueImage

_PAD_UM = 1000.0


@dataclass(frozen=True, eq=False)
class State:
    """Where everything is.

    Parameters
    ----------
    sections : (n, 2, 3) float64    thumbnail px to volume um
    z_um : (n,) float64             of each section in the volume
    volume : (3, 4) float64         volume um to reference um
    """

    sections: Float64
    z_um: Float64
    volume: Float64

    def plane(self, k: int, to_thumbnail: Float64, z_shift_um: float = 0.0) -> Float64:
        """Return the (3, 3) map of (x, y, 1), pixels of a level of section `k`, to reference um."""
        lift = np.zeros((4, 3))
        lift[:2] = affine.compose(self.sections[k], to_thumbnail)
        lift[2, 2] = self.z_um[k] + z_shift_um
        lift[3, 2] = 1.0
        return self.volume @ lift

    def replaced(self, sections: Float64 | None = None, volume: Float64 | None = None) -> State:
        """Return a copy with new matrices."""
        return replace(
            self,
            sections=self.sections if sections is None else sections,
            volume=self.volume if volume is None else volume,
        )


@dataclass(frozen=True, eq=False)
class LevelImage:
    """One section at one level: padded by glass and reduced.

    Parameters
    ----------
    values : (h, w) float32
    weights : (h, w) float32        0 where nothing is known, else the area of the pixel in mm2
    to_thumbnail : (2, 3) float64   level px to thumbnail px
    series : int                    whose stain it shows, see `SectionThumbnail`
    """

    values: Float32
    weights: Float32
    to_thumbnail: Float64
    pixel_um: float
    series: int = 0


def known_with_margin(tissue: TissueImage) -> Bool:
    """Return where a section says something, with a margin of glass around the image; (h + 2m, w + 2m).

    Beyond the frame lies glass, but where tissue touches the frame nothing is known.
    """
    pad = _padding_px(tissue)
    valid, mask = np.pad(tissue.valid, pad), np.pad(tissue.mask, pad)
    if not tissue.valid.any():
        return valid
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    outer = ~_frame(tissue.valid, pad)
    return np.asarray(valid | (outer & ~mask[tuple(nearest)]))


def level_image(
    tissue: TissueImage, known: Bool, image: Float32, pixel_um: float, sigma_um: float
) -> LevelImage:
    """Pad a section's image (stain or mask) by glass, reduce it by block means and blur it."""
    pad = _padding_px(tissue)
    values = np.pad(np.where(tissue.valid, image, 0.0).astype(np.float32), pad)
    factor = max(1, round(pixel_um / tissue.pixel_um))
    weights = block_mean_float(known.astype(np.float32), factor)
    sums = block_mean_float(values * known.astype(np.float32), factor)
    mean = np.asarray(sums / np.maximum(weights, np.float32(1e-6)), dtype=np.float32)
    size_um = factor * tissue.pixel_um
    sigma_px = sigma_um / size_um
    soft = blur(mean * weights, sigma_px) / np.maximum(blur(weights, sigma_px), np.float32(1e-3))
    offset = 0.5 * (factor - 1) - pad
    to_thumbnail = np.array([[factor, 0.0, offset], [0.0, factor, offset]])
    area = (size_um * 1e-3) ** 2
    known_mm2 = (weights * area).astype(np.float32)
    return LevelImage(soft.astype(np.float32), known_mm2, to_thumbnail, size_um, tissue.series)


def _padding_px(tissue: TissueImage) -> int:
    return int(np.ceil(_PAD_UM / tissue.pixel_um))


def _frame(valid: Bool, pad: int) -> Bool:
    """Where the image proper lies: holes inside it are unknown, margins around it are glass."""
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    frame = np.zeros((valid.shape[0] + 2 * pad, valid.shape[1] + 2 * pad), bool)
    frame[pad + rows[0] : pad + rows[-1] + 1, pad + columns[0] : pad + columns[-1] + 1] = True
    return frame
