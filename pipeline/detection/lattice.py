"""Coarse lattices over an image, anchored at the section's corner, so that tiles agree."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.core.blocks import whole_block_mean
from pipeline.core.model import Float64, Polygon, UInt8
from pipeline.sections.kernels import clear_outside
from pipeline.sections.objects_by_size import drop_small
from pipeline.sections.scan import fill_polygons
from pipeline.sections.statistics import SectionContext

# Side of a block, um, as near as whole pixels come. In blocks of 10 um the background between dense cells is
# mixed with the cells.
REDUCED_UM = 8.0
NODE_STEPS = 4  # nodes of a surface lie 4 blocks apart
LARGEST_SPACING_PX = 64  # px between nodes: the fixed-point interpolation of `keep_above` takes no more
CELL_AREA_UM2 = 80.0  # um2: a cell of 10 um
FEWEST_PIXELS = 3  # a smaller object may be noise


@dataclass(frozen=True, eq=False)
class Lattice:
    """An image reduced on blocks that begin at the section's corner, wherever the image begins.

    Attributes
    ----------
    reduced : (h, w) uint8
        Mean darkness of factor x factor blocks, about REDUCED_UM wide.
    factor : int, px
        Side of a block.
    steps : int
        A node lies at the centre of every steps x steps blocks.
    reduced_um : float, um
        Side of a block.
    corner : (int, int)
        (y, x) of the first block, counted in blocks from the section's corner.
    first : (int, int), px
        (y, x): where the image begins, counted from that block.
    """

    reduced: UInt8
    factor: int
    steps: int
    reduced_um: float
    corner: tuple[int, int]
    first: tuple[int, int]

    @classmethod
    def of(cls, context: SectionContext, dark: UInt8) -> Lattice:
        """Reduce an image of darkness.

        Parameters
        ----------
        context : SectionContext
            Pixel size, and in `origin_px` where the image begins inside the section.
        dark : (H, W) uint8
            Darkness.

        Returns
        -------
        Lattice
            The lattice over the image. Border pixels are repeated outwards to the corner of its first cell,
            and where the image is smaller than a cell.
        """
        factor = max(1, min(round(REDUCED_UM / context.resolution_um), LARGEST_SPACING_PX))
        reduced_um = factor * context.resolution_um
        steps = round(NODE_STEPS * REDUCED_UM / reduced_um)
        steps = max(1, min(steps, LARGEST_SPACING_PX // factor))
        spacing = factor * steps
        x0, y0 = context.origin_px
        top, left = y0 % spacing, x0 % spacing
        bottom, right = max(0, spacing - top - dark.shape[0]), max(0, spacing - left - dark.shape[1])
        if top or left or bottom or right:
            padded = cv2.copyMakeBorder(dark, top, bottom, left, right, cv2.BORDER_REPLICATE)
            dark = np.asarray(padded, np.uint8)
        # The padding begins at a node cell of the section: tiles see the same blocks as the whole image.
        corner = (y0 - top) // factor, (x0 - left) // factor
        return cls(whole_block_mean(dark, factor), factor, steps, reduced_um, corner, (top, left))

    @property
    def spacing(self) -> int:
        """Pixels between nodes."""
        return self.factor * self.steps

    def glass_luma(self, context: SectionContext) -> Float64:
        """Return the luma of empty glass at the nodes.

        Parameters
        ----------
        context : SectionContext
            Statistics with the fitted glass.

        Returns
        -------
        (rows, columns) float64
            Luma, 0-255.
        """
        rows, columns = (n // self.steps for n in self.reduced.shape)
        y = (self.corner[0] + (np.arange(rows) + 0.5) * self.steps) * self.reduced_um
        x = (self.corner[1] + (np.arange(columns) + 0.5) * self.steps) * self.reduced_um
        return context.glass_luma(x[None, :], y[:, None])

    def clear_outside_tissue(self, mask: UInt8, context: SectionContext, edge_um: float) -> None:
        """Clear a mask in place in the rim of the tissue, beyond it and on artifacts.

        Parameters
        ----------
        mask : (H, W) uint8
            0 and 1; changed in place.
        context : SectionContext
            Outlines of tissue and artifacts.
        edge_um : float, um
            Width of the rim.
        """
        clear_outside(mask, self.inside_tissue(mask.shape, context, edge_um), self.factor, self.first)

    def inside_tissue(self, shape: tuple[int, ...], context: SectionContext, edge_um: float) -> UInt8:
        """Return which blocks of an image lie in the tissue, outside its rim and artifacts.

        Parameters
        ----------
        shape : (int, int), px
            Height and width of the image.
        context : SectionContext
            Outlines of tissue and artifacts.
        edge_um : float, um
            Width of the rim.

        Returns
        -------
        (rows, columns) uint8
            0 or 1 for every block.
        """
        rows, columns = (-(-(n + f) // self.factor) for n, f in zip(shape, self.first, strict=True))
        canvas = np.zeros((rows, columns), np.uint8)
        fill_polygons(canvas, [self._local(ring) for ring in context.tissue_outlines_um], 1)
        # Distance from the edge of the tissue in blocks: a chamfer distance (Borgefors 1986).
        depth = cv2.distanceTransform(canvas, cv2.DIST_L2, cv2.DIST_MASK_5)
        inside = ((depth > edge_um / self.reduced_um) & (canvas > 0)).astype(np.uint8)
        fill_polygons(inside, [self._local(found.outline_um) for found in context.artifacts], 0)
        return np.asarray(inside, np.uint8)

    def columns(self, inside: UInt8, rows: slice, width: int) -> slice | None:
        """Return the columns of an image that hold all blocks inside the tissue of some rows.

        Parameters
        ----------
        inside : (rows, columns) uint8
            0 or 1 for every block, as `inside_tissue` returns it.
        rows : slice, px
            Rows of the image.
        width : int, px
            Width of the image.

        Returns
        -------
        slice or None, px
            The columns; None where no block of these rows lies inside.
        """
        first, last = ((row + self.first[0]) // self.factor for row in (rows.start, rows.stop - 1))
        before = self.first[1] // self.factor  # blocks that end before the tile begins
        found = before + np.flatnonzero(inside[first : last + 1, before:].any(axis=0))
        if not found.size:
            return None
        start, stop = (int(n) * self.factor - self.first[1] for n in (found[0], found[-1] + 1))
        return slice(max(0, start), min(width, stop))

    def _local(self, ring: Polygon) -> Polygon:
        """Return corners in um from the section's corner as blocks of the lattice, centres at integers."""
        y0, x0 = self.corner
        return tuple((x / self.reduced_um - 0.5 - x0, y / self.reduced_um - 0.5 - y0) for x, y in ring)


def grown(part: slice, halo: int, length: int) -> tuple[slice, slice]:
    """Return a part of an axis with a halo, and where the part lies within that.

    Parameters
    ----------
    part : slice, px
        The part.
    halo : int, px
        Width of the halo; it ends at the ends of the axis.
    length : int, px
        Length of the axis.

    Returns
    -------
    tuple of 2 slice, px
        The part with its halo, and the part counted from its start.

    Examples
    --------
    >>> grown(slice(40, 80), 3, 82)
    (slice(37, 82, None), slice(3, 43, None))
    """
    start = max(part.start - halo, 0)
    return slice(start, min(part.stop + halo, length)), slice(part.start - start, part.stop - start)


def keep_objects(mask: UInt8, resolution_um: float, min_area_um2: float, max_hole_um2: float) -> None:
    """Drop small objects and fill small holes, in place.

    Parameters
    ----------
    mask : (H, W) uint8
        0 and 1; changed in place.
    resolution_um : float, um
        Pixel size.
    min_area_um2 : float, um2
        Smaller objects are dropped, as `least_pixels` counts them.
    max_hole_um2 : float, um2
        Smaller holes are filled.
    """
    drop_small(mask, least_pixels(min_area_um2, resolution_um), int(max_hole_um2 / resolution_um**2) + 1)


def least_pixels(min_area_um2: float, resolution_um: float) -> int:
    """Return how many pixels an object needs: at least 3, but 1 where 3 are more than a cell.

    Parameters
    ----------
    min_area_um2 : float, um2
        Least area of an object.
    resolution_um : float, um
        Pixel size.

    Returns
    -------
    int, px
        The least number of pixels.

    Examples
    --------
    >>> least_pixels(22.0, 1.0), least_pixels(22.0, 4.2), least_pixels(22.0, 17.0)
    (22, 3, 1)
    """
    area = resolution_um**2
    if min_area_um2 == 0 or FEWEST_PIXELS * area > CELL_AREA_UM2:
        return 1
    return max(FEWEST_PIXELS, round(min_area_um2 / area))
