"""Sections stacked to a volume: linear between neighbours, gaps bridged and marked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.atlas_building.reconstruction.surfaces import Raster
from pipeline.core.model import Bool, Float32, UInt8

BRIDGED_UM = 500.0  # longest gap that is bridged
NEAR = 1.5  # distances of neighbouring sections up to which nothing is missing between two
OUTSIDE, FROM_SECTIONS, BRIDGED = 0, 1, 2


@dataclass(eq=False)
class Stack:
    """A volume that sections are added to, one after another along the normal.

    Attributes
    ----------
    raster : Raster
        Cells of the planes.
    planes : int
        Voxels along the normal, at the raster's distance.
    spacing_um : float, um
        Usual distance of neighbouring sections along the normal.
    """

    raster: Raster
    planes: int
    spacing_um: float
    values: Float32 = field(init=False)
    coverage: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.planes, *self.raster.shape)
        self.values, self.coverage = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
        self._last = np.zeros(self.raster.shape, np.float32)
        self._height = np.full(self.raster.shape, -np.inf, np.float32)

    def add(self, image: Float32, height_um: Float32) -> None:
        """Add the section that comes next along the normal.

        Parameters
        ----------
        image : (rows, columns) float32
            Its values; NaN where it shows nothing.
        height_um : (rows, columns) float32, um
            Its height.
        """
        known = np.isfinite(image) & np.isfinite(height_um)
        gap = height_um - self._height
        rising = known & (gap > 0)
        most = max(BRIDGED_UM, NEAR * self.spacing_um)
        between = rising & (gap <= most)
        far = rising & ~between
        half = np.float32(self.spacing_um / 2)
        self._fill(far, height_um - half, height_um, image, image)
        ended = far & np.isfinite(self._height)
        self._fill(ended, self._height, self._height + half, self._last, self._last)
        bridged = between & (gap > NEAR * self.spacing_um)
        self._fill(between & ~bridged, self._height, height_um, self._last, image)
        self._fill(bridged, self._height, height_um, self._last, image, is_bridge=True)
        self._last = np.where(rising, image, self._last)
        self._height = np.where(rising, height_um, self._height)

    def finish(self) -> tuple[Float32, UInt8]:
        """Return the volume, its last sections continued by half a distance.

        Returns
        -------
        values : (P, I, R) float32
            0 where nothing is known.
        coverage : (P, I, R) uint8
            0 outside, 1 from sections, 2 bridged.
        """
        there = np.isfinite(self._height)
        half = np.float32(self.spacing_um / 2)
        self._fill(there, self._height, self._height + half, self._last, self._last)
        turned = (self.values, self.coverage)
        if self.raster.plane == "sagittal":  # (R, I, P) to (P, I, R)
            turned = (self.values.transpose(2, 1, 0), self.coverage.transpose(2, 1, 0))
        return np.ascontiguousarray(turned[0]), np.ascontiguousarray(turned[1])

    def _fill(
        self, where: Bool, low: Float32, high: Float32, first: Float32, last: Float32, is_bridge: bool = False
    ) -> None:
        """Fill the voxels of some cells between two heights, linear between two values."""
        rows, columns = np.nonzero(where)
        if rows.size == 0:
            return
        um = np.float32(self.raster.um)
        low, high, first, last = (part[rows, columns] for part in (low, high, first, last))
        start = np.maximum(np.ceil(low / um).astype(np.int64), 0)
        end = np.minimum(np.floor(high / um).astype(np.int64), self.planes - 1)
        length = np.maximum(high - low, np.float32(1e-3))
        most = self.spacing_um / 2
        for step in range(int((end - start).max(initial=-1)) + 1):
            inside = start + step <= end
            at = (start + step)[inside]
            share = np.clip((at * um - low[inside]) / length[inside], 0, 1).astype(np.float32)
            cells = at, rows[inside], columns[inside]
            self.values[cells] = (1 - share) * first[inside] + share * last[inside]
            away = np.minimum(share, 1 - share) * length[inside]
            self.coverage[cells] = (
                np.where(away > most, BRIDGED, FROM_SECTIONS) if is_bridge else FROM_SECTIONS
            )
