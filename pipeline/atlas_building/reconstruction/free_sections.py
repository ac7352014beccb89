"""Sections without an anchor on their common plane, and how they are drawn there to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.atlas_building.reconstruction.comparisons import Nodes, blurred
from pipeline.core.model import Bool, Float32, Float64, Int64
from pipeline.geometry import affine
from pipeline.sections.thumbnail_tissue import TissueImage
from pipeline.system.threads import each

NODE_UM = 500.0
LEAST_KNOWN = 0.5
COARSEST_UM = 200.0  # pixel of a blur, at most
TISSUE = 0.15  # of a section's mean stain: what is above is tissue
THREADS = 2


@dataclass(frozen=True, eq=False)
class FreeSections:
    """Sections on a common plane, before they are placed.

    Attributes
    ----------
    tissues : tuple of TissueImage
        Stain and tissue, in ascending z.
    nominal : (n, 2, 3) float64, px -> um
        Thumbnail to um about the image's centre, hints applied.
    z_um : (n,) float64, um
        Places along the series.
    is_symmetric : bool
        Whether every section should mirror itself.
    one_frame : bool
        Whether all slides have images of one size.
    """

    tissues: tuple[TissueImage, ...]
    nominal: Float64
    z_um: Float64
    is_symmetric: bool
    one_frame: bool

    def part(self, chosen: Sequence[int] | Int64) -> FreeSections:
        """Return some of the sections.

        Parameters
        ----------
        chosen : sequence of int
            Indices, ascending.

        Returns
        -------
        FreeSections
            Those.
        """
        chosen = np.asarray(chosen, int)
        tissues = tuple(self.tissues[int(k)] for k in chosen)
        return replace(self, tissues=tissues, nominal=self.nominal[chosen], z_um=self.z_um[chosen])


@dataclass(frozen=True, eq=False)
class Level:
    """Sections drawn on the common plane at one blur.

    Attributes
    ----------
    image : (n, rows, columns) float32
        Stain over its mean.
    known : (n, rows, columns) bool
        Where the image counts.
    um : float, um
        Pixel size.
    centre_um : (2,) float64, um
        (x, y) of the origin of the common plane from the first pixel.
    """

    image: Float32
    known: Bool
    um: float
    centre_um: Float64


def draw_level(
    sections: FreeSections, poses: Float64, sigma_um: float, bends: Float64 | None = None
) -> Level:
    """Return the sections drawn on the common plane, each over its mean stain, blurred.

    Parameters
    ----------
    sections : FreeSections
        The sections.
    poses : (n, 2, 3) float64, um -> um
        Where they lie.
    sigma_um : float, um
        Blur.
    bends : (n, node rows, node columns, 2) float64, um, optional
        Displacements at nodes `NODE_UM` apart over the level of this blur: the image at x + bend comes to x.

    Returns
    -------
    Level
        Images on pixels of about half the blur.
    """
    um = float(np.clip(sigma_um / 2, 50.0, COARSEST_UM))
    extent = np.zeros(2)
    for tissue, nominal, pose in zip(sections.tissues, sections.nominal, poses, strict=True):
        h, w = tissue.mask.shape
        corners = affine.apply(affine.compose(pose, nominal), [[0, 0], [w, 0], [0, h], [w, h]])
        extent = np.maximum(extent, np.abs(corners).max(axis=0))
    columns, rows = (2 * int(np.ceil(n / um)) + 1 for n in np.minimum(extent, 12000.0))
    centre = np.array([columns // 2, rows // 2]) * um
    to_cells = np.array([[1 / um, 0.0, columns // 2], [0.0, 1 / um, rows // 2]])

    def one(k: int) -> tuple[Float32, Bool]:
        tissue = sections.tissues[k]
        matrix = affine.compose(to_cells, poses[k], sections.nominal[k])
        stain = tissue.stain / np.float32(max(float(tissue.stain[tissue.mask].mean()), 1e-6))
        sharp, _ = blurred(stain, tissue.valid, max(0.4 * um / tissue.pixel_um, 0.34))
        drawn, known = _placed(sharp, tissue.valid, matrix, (columns, rows))
        if bends is not None:
            drawn, known = (_bent(part, bends[k], um) for part in (drawn, known))
        soft, weight = blurred(drawn, known > 0.9, sigma_um / um)
        return soft, weight > LEAST_KNOWN

    parts = each(one, range(len(sections.tissues)), THREADS)
    return Level(np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts]), um, centre)


def _placed(image: Float32, valid: Bool, matrix: Float64, size: tuple[int, int]) -> tuple[Float32, Float32]:
    """Return an image drawn by a matrix, and where it is known: beyond its edge is glass."""
    drawn = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(valid.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR, borderValue=1.0)
    return np.asarray(drawn, np.float32), np.asarray(known, np.float32)


def _bent(image: Float32, bend: Float64, um: float) -> Float32:
    """Return what an image shows at x + bend(x)."""
    nodes = Nodes.over((image.shape[0], image.shape[1]), um, NODE_UM)
    down, across = (nodes.at_cells(bend[..., k]) / np.float32(um) for k in (0, 1))
    rows, columns = (np.arange(n, dtype=np.float32) for n in image.shape)
    at = columns[None, :] + across, rows[:, None] + down
    return np.asarray(cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
