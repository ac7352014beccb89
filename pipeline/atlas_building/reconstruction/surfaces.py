"""Sections as surfaces over the planes of a reference: which pixel lies at a place, and how high.

Coronal sections are surfaces P = h(I, R), sagittal ones R = h(I, P): rows of a raster run along I, columns
along the other axis. So every section can be drawn on one raster, whatever its tilt and bends are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.core.model import Alignment3d, Float32, Float64, Plane, SectionAlignment
from pipeline.geometry import affine
from pipeline.geometry.deformation import volume_to_section

NODE_UM = 200.0  # distance of the places that are looked up; linear between them
ROUNDS = 4  # of the search for the height; sections are tilted by degrees
NORMAL, ROWS, COLUMNS = {"coronal": 0, "sagittal": 2}, 1, {"coronal": 2, "sagittal": 0}


@dataclass(frozen=True)
class Raster:
    """A raster over the planes of a reference.

    Attributes
    ----------
    plane : {"coronal", "sagittal"}
        Plane of section.
    shape : (int, int)
        Rows and columns.
    um : float, um
        Distance of rows and of columns.
    """

    plane: Plane
    shape: tuple[int, int]
    um: float

    @classmethod
    def over(cls, plane: Plane, box_um: tuple[float, float, float], um: float) -> Raster:
        """Return the raster that covers a box.

        Parameters
        ----------
        plane : {"coronal", "sagittal"}
            Plane of section.
        box_um : (3,) float, um
            Box along P, I, R.
        um : float, um
            Distance of its rows and columns.

        Returns
        -------
        Raster
            From 0 to the end of the box.
        """
        rows, columns = (max(2, round(box_um[axis] / um)) for axis in (ROWS, COLUMNS[plane]))
        return cls(plane, (rows, columns), um)

    @property
    def normal(self) -> int:
        """Index into (P, I, R) of the axis that the heights run along."""
        return NORMAL[self.plane]

    @property
    def axes(self) -> tuple[int, int]:
        """Indices into (P, I, R) of rows and columns."""
        return ROWS, COLUMNS[self.plane]

    def places(self, height_um: npt.ArrayLike, step: float = 1.0) -> Float64:
        """Return (P, I, R) of every so many cells at a height.

        Parameters
        ----------
        height_um : float or (rows, columns) float64, um
            Heights.
        step : float
            Cells between two places.

        Returns
        -------
        (rows, columns, 3) float64, um
            Places.
        """
        counts = [int(np.ceil((n - 1) / step)) + 1 for n in self.shape]
        rows, columns = (step * self.um * np.arange(n, dtype=np.float64) for n in counts)
        places = np.empty((*counts, 3))
        places[..., self.axes[0]], places[..., self.axes[1]] = rows[:, None], columns[None, :]
        places[..., self.normal] = height_um
        return places

    def finer(self, nodes: Float64, step: float) -> Float32:
        """Return values of every cell, linear between those of every so many.

        Parameters
        ----------
        nodes : (rows, columns) float64
            Values at the places of `places(…, step)`.
        step : float
            Cells between two of them.

        Returns
        -------
        (rows, columns) float32
            Values at all cells.
        """
        rows, columns = (np.arange(n, dtype=np.float32) / np.float32(step) for n in self.shape)
        x, y = np.meshgrid(columns, rows)
        return np.asarray(
            cv2.remap(nodes.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )


@dataclass(frozen=True, eq=False)
class Surface:
    """A section over a raster.

    Attributes
    ----------
    pixel : (2, rows, columns) float32, px
        x and y of the manifest's frame at every cell.
    height_um : (rows, columns) float32, um
        Height along the normal.
    """

    pixel: Float32
    height_um: Float32


def surface(section: SectionAlignment, space: Alignment3d, z_um: float, raster: Raster) -> Surface:
    """Return a section as a surface.

    Parameters
    ----------
    section : SectionAlignment
        Its placement.
    space : Alignment3d
        Volume to reference.
    z_um : float, um
        Its place in the volume.
    raster : Raster
        Cells that are looked up.

    Returns
    -------
    Surface
        Pixel and height of every cell; pixels may lie outside of the image.
    """
    step = max(1.0, NODE_UM / raster.um)
    rise = float(space.volume_to_reference[raster.normal, 2])  # height per um of z
    places = raster.places(0.0, step)
    shape, flat = places.shape[:2], places.reshape(-1, 3)
    middle = affine.apply(space.reference_to_volume, flat)
    flat[:, raster.normal] = (z_um - middle[:, 2]) * rise
    pixels = np.zeros((len(flat), 2))
    for _ in range(ROUNDS):
        volume = affine.apply(space.reference_to_volume, flat)
        pixels, beyond = volume_to_section(section, volume, z_um)
        flat[:, raster.normal] -= beyond * rise
    found = (pixels[:, 0], pixels[:, 1], flat[:, raster.normal])
    x, y, height = (raster.finer(values.reshape(shape), step) for values in found)
    return Surface(np.stack([x, y]), height)


def drawn_on(image: Float32, to_section: Float64, placed: Surface, outside: float = float("nan")) -> Float32:
    """Return an image drawn on the cells of a surface.

    Parameters
    ----------
    image : (h, w) float32
        Pixels; NaN spreads to its neighbours.
    to_section : (2, 3) float64, px -> px
        Its pixels to those of the manifest.
    placed : Surface
        Where its section lies.
    outside : float
        Value beyond the image.

    Returns
    -------
    (rows, columns) float32
        Bilinear.
    """
    back = affine.invert(to_section)
    x = back[0, 0] * placed.pixel[0] + back[0, 1] * placed.pixel[1] + back[0, 2]
    y = back[1, 0] * placed.pixel[0] + back[1, 1] * placed.pixel[1] + back[1, 2]
    at = x.astype(np.float32), y.astype(np.float32)
    return np.asarray(
        cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,) * 4)
    )
