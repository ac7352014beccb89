"""Thumbnails of a run, and the positions of their pixels in section, volume and reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Alignment3d, Bool, Float64, SectionAlignment, UInt8
from pipeline.geometry import affine
from pipeline.geometry.sync import pixel_to_reference
from pipeline.report.contents import RunContents, Section


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A section image reduced by block means.

    Pixel t (its centre at integer t) is the mean of `reduce` stored pixels along each axis; a stored pixel
    spans `factor` manifest pixels.

    Attributes
    ----------
    pixels : (h, w[, 3]) uint8
        The reduced image.
    valid : (h, w) bool
        Pixels that count: inside scan and tissue box, outside dark polygons.
    reduce : int
        Stored pixels per thumbnail pixel, along one axis.
    factor : int
        Manifest pixels per stored pixel, along one axis.
    resolution_um : float, um
        Size of a manifest pixel; 0 where the run does not state it.
    """

    pixels: UInt8
    valid: Bool
    reduce: int
    factor: int
    resolution_um: float

    @property
    def pixel_um(self) -> float:
        """Size of a thumbnail pixel, in um."""
        return self.resolution_um * self.factor * self.reduce

    @property
    def to_section(self) -> Float64:
        """Matrix from thumbnail px to manifest px, (2, 3)."""
        scale, shift = float(self.factor * self.reduce), self.factor * (self.reduce - 1) / 2
        return np.array([[scale, 0.0, shift], [0.0, scale, shift]])

    def picture_points(self, section_px: Float64) -> Float64:
        """Map manifest pixels to picture coordinates, where thumbnail pixel t covers t..t+1.

        Parameters
        ----------
        section_px : (n, 2) float64, px
            Pixels of the manifest, (x, y).

        Returns
        -------
        (n, 2) float64
            Picture coordinates, (x, y).
        """
        return (np.asarray(section_px, np.float64) / self.factor + 0.5) / self.reduce

    def from_um(self, points_um: Float64) -> Float64:
        """Map positions in um to picture coordinates.

        Parameters
        ----------
        points_um : (n, 2) float64, um
            Positions from the outer corner of the section image, (x, y).

        Returns
        -------
        (n, 2) float64
            Picture coordinates, (x, y).
        """
        return np.asarray(points_um, np.float64) / self.pixel_um


def read_thumbnail(contents: RunContents, section: Section) -> Thumbnail:
    """Read the thumbnail of a measured section.

    Parameters
    ----------
    contents : RunContents
        The run.
    section : Section
        The section.

    Returns
    -------
    Thumbnail
        The reduced image.
    """
    pixels, valid, attributes = contents.run.read_thumbnail(section.number)
    reduce, factor = int(attributes["reduce"]), int(attributes["factor"])
    return Thumbnail(pixels, valid, reduce, factor, section.resolution_um)


def reference_points(
    thumbnail: Thumbnail, section: SectionAlignment, alignment3d: Alignment3d, z_um: float
) -> Float64:
    """Return the position of every thumbnail pixel in the reference space.

    Parameters
    ----------
    thumbnail : Thumbnail
        The reduced image of the section.
    section : SectionAlignment
        Alignment of the section.
    alignment3d : Alignment3d
        Map from the volume to the reference.
    z_um : float, um
        Position of the section along the cutting axis of the volume.

    Returns
    -------
    (h, w, 3) float64, um
        Positions (P, I, R).
    """
    h, w = thumbnail.pixels.shape[:2]
    to_section = thumbnail.to_section
    if section.deformation is None:  # an affine map is known from three corners
        corners = affine.apply(to_section, [[0, 0], [w, 0], [0, h]])
        origin, right, down = pixel_to_reference(corners, section, alignment3d, z_um)
        points = np.empty((h, w, 3))
        for k in range(3):
            along = origin[k] + np.arange(w) * ((right - origin)[k] / w)
            points[..., k] = along + (np.arange(h) * ((down - origin)[k] / h))[:, None]
        return points
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2) @ to_section[:, :2].T + to_section[:, 2]
    return pixel_to_reference(pixels, section, alignment3d, z_um).reshape(h, w, 3)
