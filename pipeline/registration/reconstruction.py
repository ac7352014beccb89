"""The specimen volume: sections resampled to one lattice and stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.core.model import Float32, Float64, SeriesAlignment, Status
from pipeline.geometry import affine
from pipeline.sections.thumbnail import SectionThumbnail
from pipeline.sections.thumbnail_tissue import tissue_image

_MARGIN_UM = 200.0  # empty border around the sections, um


@dataclass(frozen=True, eq=False)
class SpecimenVolume:
    """A stack of sections on a lattice of the volume.

    Attributes
    ----------
    stain : (n_z, n_y, n_x) float32
        Optical density; NaN where no section has a valid pixel.
    origin_um : (float, float, float), um
        Position (x, y, z) of voxel (0, 0, 0) in the volume.
    spacing_um : (float, float, float), um
        Voxel size along x, y, z.
    """

    stain: Float32
    origin_um: tuple[float, float, float]
    spacing_um: tuple[float, float, float]


def reconstruct(
    thumbnails: Sequence[SectionThumbnail], alignment: SeriesAlignment, spacing_um: float = 50.0
) -> SpecimenVolume:
    """Stack the sections that were placed, by their matrices.

    A plane without a section of its own is NaN. Deformations are not applied.

    Parameters
    ----------
    thumbnails : sequence of SectionThumbnail
        Sections in any order.
    alignment : SeriesAlignment
        Their alignment; sections of status `fail` are left out.
    spacing_um : float, um
        Voxel size in the plane.

    Returns
    -------
    SpecimenVolume
        The stack; its z spacing is the smallest gap between sections, so that each has a plane of its own.
    """
    placed = []
    for thumbnail in sorted(thumbnails, key=lambda t: t.z_um):
        section = alignment.of(thumbnail.section_number)
        if section is not None and section.status is not Status.FAIL:
            to_section = thumbnail.thumbnail_to_section
            placed.append((thumbnail, affine.compose(section.alignment2d.section_to_volume, to_section)))
    stains = [tissue_image(thumbnail) for thumbnail, _ in placed]
    images = [np.where(s.valid, s.stain, np.nan).astype(np.float32) for s in stains]
    return stack(images, [m for _, m in placed], [t.z_um for t, _ in placed], spacing_um)


def stack(
    images: Sequence[Float32], to_volume: Sequence[Float64], z_um: Sequence[float], spacing_um: float
) -> SpecimenVolume:
    """Resample images to one lattice, each on the plane of its z.

    Parameters
    ----------
    images : n x (h, w) float32
        Optical density, NaN where unknown.
    to_volume : n x (2, 3) float64, px -> um
        Map of the pixels of each image to (x, y) of the volume.
    z_um : (n,) float, um
        Position of each image, ascending.
    spacing_um : float, um
        Voxel size in the plane; also along z where there is one image only.

    Returns
    -------
    SpecimenVolume
        The stack, empty without images.
    """
    if not images:
        return SpecimenVolume(np.zeros((0, 0, 0), np.float32), (0.0, 0.0, 0.0), (spacing_um,) * 3)
    low, high = _box(images, to_volume)
    width, height = (int(n) for n in np.ceil((high - low) / spacing_um) + 1)
    gaps = np.diff(np.asarray(z_um))
    step = float(gaps.min()) if gaps.size else spacing_um  # z spacing, um
    # where gaps are no multiples of the smallest, a section moves to the nearest plane
    planes = np.rint((np.asarray(z_um) - z_um[0]) / step).astype(int)
    volume = np.full((int(planes[-1]) + 1, height, width), np.nan, np.float32)
    lattice = np.column_stack([np.eye(2) / spacing_um, -low / spacing_um])  # volume um to lattice px
    for image, matrix, plane in zip(images, to_volume, planes, strict=True):
        flags = cv2.INTER_LINEAR
        volume[plane] = cv2.warpAffine(
            # bilinear; a voxel next to a NaN becomes NaN itself
            image,
            affine.compose(lattice, matrix),
            (width, height),
            flags=flags,
            borderValue=float("nan"),
        )
    return SpecimenVolume(
        volume, (float(low[0]), float(low[1]), float(z_um[0])), (spacing_um, spacing_um, step)
    )


def _box(images: Sequence[Float32], to_volume: Sequence[Float64]) -> tuple[Float64, Float64]:
    """Return the box of all image corners with a margin, (x, y) um, lower and upper corner."""
    corners = []
    for image, matrix in zip(images, to_volume, strict=True):
        h, w = image.shape
        corners.append(affine.apply(matrix, [[0, 0], [w - 1, 0], [0, h - 1], [w - 1, h - 1]]))
    points = np.concatenate(corners)
    return points.min(axis=0) - _MARGIN_UM, points.max(axis=0) + _MARGIN_UM
