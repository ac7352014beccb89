"""True positions of the pixels of a rendered section in the reference space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float64

LATTICE_UM = 100.0  # wanted node spacing


@dataclass(frozen=True, eq=False)
class PixelMap:
    """The true position of every pixel, exact by definition: bilinear between the nodes of a lattice.

    The renderer itself looks up every pixel through this lattice, so storing the lattice loses nothing.

    Attributes
    ----------
    step_px : int, px
        Node spacing; node (j, i) is pixel (x, y) = (i * step_px, j * step_px).
    nodes : (rows, columns, 3) float64, um
        Reference positions (P, I, R).
    """

    step_px: int
    nodes: Float64

    def to_reference(self, points: Float64) -> Float64:
        """Map pixels to the reference space; outside the lattice its outermost cell is extrapolated.

        Parameters
        ----------
        points : (n, 2) float64, px
            Drawn pixels, (x, y).

        Returns
        -------
        (n, 3) float64, um
            Positions (P, I, R).
        """
        at = np.asarray(points, dtype=np.float64) / self.step_px
        rows, columns, _ = self.nodes.shape
        i = np.clip(np.floor(at[:, 0]).astype(int), 0, columns - 2)
        j = np.clip(np.floor(at[:, 1]).astype(int), 0, rows - 2)
        fx, fy = (at[:, 0] - i)[:, None], (at[:, 1] - j)[:, None]
        top = self.nodes[j, i] * (1 - fx) + self.nodes[j, i + 1] * fx
        bottom = self.nodes[j + 1, i] * (1 - fx) + self.nodes[j + 1, i + 1] * fx
        return np.asarray(top * (1 - fy) + bottom * fy, np.float64)


def lattice_px(width_px: int, height_px: int, resolution_um: float) -> tuple[int, Float64]:
    """Return a lattice of nodes that covers an image.

    Parameters
    ----------
    width_px : int, px
        Width of the image.
    height_px : int, px
        Height of the image.
    resolution_um : float, um
        Size of a pixel.

    Returns
    -------
    step : int, px
        Node spacing, about 100 um.
    points : (rows, columns, 2) float64, px
        Positions of the nodes, (x, y).
    """
    step = max(round(LATTICE_UM / resolution_um), 1)
    columns, rows = ((n - 1) // step + 2 for n in (width_px, height_px))
    x, y = np.meshgrid(step * np.arange(columns), step * np.arange(rows))
    return step, np.stack([x, y], axis=-1).astype(np.float64)
