"""A section reduced to a thumbnail, for registration and for drafts of manifests."""

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

    Attributes
    ----------
    section_number : int
        Number of the section in its series.
    z_um : float, um
        section_number x section thickness.
    pixels : (h, w[, 3]) uint8
        As the file shows them: `rotate_deg` and `flip` are not applied.
    resolution_um : float, um
        Size of a manifest pixel.
    thumbnail_to_section : (2, 3) float64, px -> px
        Thumbnail to manifest pixels.
    valid : (h, w) bool or None
        False in padding and dark polygons; None where all pixels count.
    rotate_deg : float, degree
        Clockwise as displayed, about the centre, after `flip`.
    flip : {"horizontal", "vertical"} or None
        Reflection that the manifest states.
    failed : bool
        Whether the manifest marks the section as failed.
    series : int
        Its series among those of a specimen: each has a stain of its own.
    position_um : float, um, or None
        Position along the normal in the reference, where it is stated.
    position_spread_um : float, um
        Its standard deviation; 50 is what a person reads off landmarks.

    Raises
    ------
    DataError
        Where shapes, dtype or scale are not as stated here.
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
    position_um: float | None = None
    position_spread_um: float = 50.0

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
        """Return the map from thumbnail px to um about the image centre, hints of the manifest applied.

        Parameters
        ----------
        turn_deg : float, degree
            Further rotation, clockwise as displayed.
        mirrored : bool
            Whether to mirror left and right.

        Returns
        -------
        (2, 3) float64, px -> um
            In this order: `flip`, mirror, `rotate_deg`, turn.
        """
        h, w = self.pixels.shape[:2]
        centre = (0.5 * (w - 1), 0.5 * (h - 1))
        mirror = {"horizontal": (-1.0, 1.0), "vertical": (1.0, -1.0), None: (1.0, 1.0)}[self.flip]
        side = -1.0 if mirrored else 1.0
        to_um = affine.compose(
            affine.scaling([side * mirror[0] * self.pixel_um, mirror[1] * self.pixel_um]), _shift(centre)
        )
        return affine.compose(affine.rigid2d(self.rotate_deg + turn_deg, (0.0, 0.0)), to_um)


def reduced(thumbnail: SectionThumbnail, pixel_um: float) -> SectionThumbnail:
    """Return the thumbnail with whole blocks averaged.

    Parameters
    ----------
    thumbnail : SectionThumbnail
        The thumbnail.
    pixel_um : float, um
        Largest pixel size of the result.

    Returns
    -------
    SectionThumbnail
        As coarse as whole blocks get within that size; the same where it is as coarse already.
    """
    factor = int(pixel_um // thumbnail.pixel_um)
    if factor < 2 or min(thumbnail.pixels.shape[:2]) < factor:
        return thumbnail
    shift = 0.5 * (factor - 1)  # centre of the first block, px: pixel centres lie at integers
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
    """Return the translation that takes a centre (x, y) to the origin, (2, 3)."""
    return np.array([[1.0, 0.0, -centre[0]], [0.0, 1.0, -centre[1]]])
