"""A section reduced to what registration and drafts of manifests go by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.core.blocks import block_majority, whole_block_mean
from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float64, UInt8, frozen
from pipeline.geometry import affine


@dataclass(frozen=True, eq=False)
class SectionThumbnail:
    """One section, reduced by block means to some 25-60 um a pixel.

    Parameters
    ----------
    z_um : float, um                    section_number x section thickness
    pixels : (h, w[, 3]) uint8          as the file shows them: hints are given beside, not applied
    resolution_um : float, um           size of a manifest pixel
    thumbnail_to_section : (2, 3) float64, px -> px     thumbnail to manifest pixels
    valid : (h, w) bool                 False where a pixel says nothing (padding, dark polygon), or None
    rotate_deg : float, degree          clockwise as displayed, about the centre, after `flip`
    series : int                        its series among those of a specimen: each has a stain of its own
    """

    section_number: int
    z_um: float
    pixels: UInt8
    resolution_um: float
    thumbnail_to_section: Float64
    valid: Bool | None = None
    rotate_deg: float = 0.0
    flip: Literal["horizontal", "vertical"] | None = None
    failed: bool = False
    series: int = 0

    def __post_init__(self) -> None:
        where = f"thumbnail of section {self.section_number}"
        pixels = np.asarray(self.pixels)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim not in (2, 3)
            or (pixels.ndim == 3 and pixels.shape[2] != 3)
        ):
            raise DataError(f"{where}: expected (h, w) or (h, w, 3) uint8, got {pixels.shape} {pixels.dtype}")
        if self.valid is not None and self.valid.shape != pixels.shape[:2]:
            raise DataError(f"{where}: valid has shape {self.valid.shape}, pixels {pixels.shape[:2]}")
        matrix = np.asarray(self.thumbnail_to_section, dtype=np.float64)
        if matrix.shape != (2, 3) or not np.linalg.det(matrix[:, :2]) > 0 or not self.resolution_um > 0:
            raise DataError(f"{where}: expected a (2, 3) map of positive size and a resolution above 0")
        object.__setattr__(self, "pixels", frozen(pixels))
        object.__setattr__(self, "thumbnail_to_section", frozen(matrix))

    @property
    def pixel_um(self) -> float:
        """Size of a thumbnail pixel, in um."""
        return float(self.resolution_um * np.sqrt(np.linalg.det(self.thumbnail_to_section[:, :2])))

    def hinted(self, turn_deg: float = 0.0, mirrored: bool = False) -> Float64:
        """Return thumbnail px -> um about the image centre, (2, 3): flip, mirror, `rotate_deg`, turn."""
        h, w = self.pixels.shape[:2]
        centre = (0.5 * (w - 1), 0.5 * (h - 1))
        mirror = {"horizontal": (-1.0, 1.0), "vertical": (1.0, -1.0), None: (1.0, 1.0)}[self.flip]
        side = -1.0 if mirrored else 1.0
        to_um = affine.compose(
            affine.scaling([side * mirror[0] * self.pixel_um, mirror[1] * self.pixel_um]), _shift(centre)
        )
        return affine.compose(affine.rigid2d(self.rotate_deg + turn_deg, (0.0, 0.0)), to_um)


def reduced(thumbnail: SectionThumbnail, pixel_um: float) -> SectionThumbnail:
    """Return the thumbnail with whole blocks averaged, as coarse as it gets within `pixel_um`."""
    factor = int(pixel_um // thumbnail.pixel_um)
    if factor < 2 or min(thumbnail.pixels.shape[:2]) < factor:
        return thumbnail
    shift = 0.5 * (factor - 1)
    block = np.array([[factor, 0.0, shift], [0.0, factor, shift]])
    valid = thumbnail.valid
    if valid is not None:
        height, width = (n // factor * factor for n in valid.shape)
        valid = block_majority(valid[:height, :width], factor)
    return replace(
        thumbnail,
        pixels=whole_block_mean(thumbnail.pixels, factor),
        valid=valid,
        thumbnail_to_section=affine.compose(thumbnail.thumbnail_to_section, block),
    )


def _shift(centre: tuple[float, float]) -> Float64:
    return np.array([[1.0, 0.0, -centre[0]], [0.0, 1.0, -centre[1]]])
