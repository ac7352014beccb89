"""Boundaries of a label image: directed cracks between pixels, joined to closed rings.

A crack is one side of a pixel whose neighbour across it has another label. It is directed so that its pixel
lies to its right, which takes the outer ring of a part clockwise as displayed and its holes anticlockwise
(Rosenfeld 1970; Kovalevsky 1989). A part is connected by sides, not by corners: where two of its pixels
touch at a corner only, the ring turns right and they stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float64, Int32, Int64, UInt32

EAST, SOUTH, WEST, NORTH = range(4)  # direction of travel along the top, right, bottom, left side of a pixel


@dataclass(frozen=True, eq=False)
class Rings:
    """Closed rings of labels, in pixels; pixel (x, y) covers x..x+1, y..y+1.

    Attributes
    ----------
    points : (n, 2) float64, px
        Vertices (x, y) of all rings, one after the other; the last vertex of a ring joins its first.
    starts : (m + 1,) int64
        Ring k has the vertices `starts[k]` to `starts[k + 1]`.
    labels : (m,) uint32
        Label of each ring, never 0.
    parts : (m,) int64
        Number of the part that each ring bounds, ascending; the outer ring of a part comes before its holes.
    """

    points: Float64
    starts: Int64
    labels: UInt32
    parts: Int64

    def ring(self, number: int) -> Float64:
        """Return the vertices of a ring.

        Parameters
        ----------
        number : int
            Index of the ring.

        Returns
        -------
        (k, 2) float64, px
            Vertices (x, y).
        """
        return self.points[self.starts[number] : self.starts[number + 1]]

    def moved(self, scale: float, shift: tuple[float, float] = (0.0, 0.0)) -> Rings:
        """Return the rings in other pixels.

        Parameters
        ----------
        scale : float
            New pixels per pixel.
        shift : (float, float), px
            Added to x and y after scaling.

        Returns
        -------
        Rings
            The same rings; vertices at `scale * (x, y) + shift`.
        """
        return Rings(self.points * scale + np.asarray(shift), self.starts, self.labels, self.parts)


@dataclass(frozen=True, eq=False)
class Cracks:
    """The directed cracks of a label image in the order of its rings.

    Attributes
    ----------
    labels : (H, W) uint32
        The image; 0 is outside and has no rings.
    steps : (n,) int64
        4 x (flat index of the pixel) + direction, for every crack.
    starts : (m + 1,) int64
        Ring k has the cracks `starts[k]` to `starts[k + 1]`.
    parts : (m,) int64
        Number of the part of each ring, ascending; the outer ring of a part comes first.
    """

    labels: UInt32
    steps: Int64
    starts: Int64
    parts: Int64

    @property
    def ring_labels(self) -> UInt32:
        """Label of each ring, (m,)."""
        return np.asarray(self.labels.ravel()[self.steps[self.starts[:-1]] // 4], np.uint32)

    def corners(self) -> Rings:
        """Return the rings as they run between pixels, without the points of straight runs.

        Returns
        -------
        Rings
            With whole numbers; filled by the even-odd rule they give every pixel its label again.
        """
        x, y, direction = origins(self.steps, self.labels.shape[1])
        kept = direction != direction[before(self.starts)] if len(direction) else np.zeros(0, bool)
        return gathered(np.column_stack([x, y]).astype(np.float64), kept, self)


def cut(labels: UInt32) -> Cracks:
    """Find the boundaries of every label of an image.

    Parameters
    ----------
    labels : (H, W) uint32
        Structure ids; 0 is outside, as is everything beyond the image.

    Returns
    -------
    Cracks
        All directed cracks of labels other than 0.

    Raises
    ------
    DataError
        Where the image does not have two dimensions.
    """
    if labels.ndim != 2:
        raise DataError(f"cutting outlines: expected an image (H, W) of labels, got shape {labels.shape}")
    image = np.ascontiguousarray(labels, dtype=np.uint32)
    if not image.size:
        return Cracks(image, np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64))
    steps, starts = _trace(image, _sides(image))
    part = _parts(image).ravel()[steps[starts[:-1]] // 4]
    order = np.argsort(part, kind="stable")  # the outer ring of a part was met before its holes
    lengths = np.diff(starts)[order]
    fresh = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    index = np.repeat(starts[:-1][order] - fresh[:-1], lengths) + np.arange(len(steps))
    return Cracks(image, steps[index], fresh, np.unique(part[order], return_inverse=True)[1].astype(np.int64))


def origins(steps: Int64, width: int) -> tuple[Int64, Int64, Int64]:
    """Return the corner at which each directed crack begins, and its direction.

    Parameters
    ----------
    steps : (n,) int64
        Directed cracks, as of `Cracks`.
    width : int, px
        Width of the image.

    Returns
    -------
    x, y : (n,) int64, px
        Corner between pixels.
    direction : (n,) int64
        EAST, SOUTH, WEST or NORTH.
    """
    pixel, direction = steps // 4, steps % 4
    x = pixel % width + ((direction == SOUTH) | (direction == WEST))
    y = pixel // width + ((direction == WEST) | (direction == NORTH))
    return x, y, direction


def before(starts: Int64) -> Int64:
    """Return the index of the element before each one of closed rings.

    Parameters
    ----------
    starts : (m + 1,) int64
        Where each ring begins; the last one ends at `starts[-1]`.

    Returns
    -------
    (n,) int64
        Index of the previous element of the same ring.
    """
    index = np.arange(-1, starts[-1] - 1, dtype=np.int64)
    index[starts[:-1]] = starts[1:] - 1
    return index


def gathered(points: Float64, kept: Bool, cracks: Cracks) -> Rings:
    """Return rings of the chosen points.

    Parameters
    ----------
    points : (n, 2) float64, px
        One point for every crack.
    kept : (n,) bool
        Which of them are vertices; at least three of every ring.
    cracks : Cracks
        The rings.

    Returns
    -------
    Rings
        With the kept points as vertices.
    """
    before_each = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return Rings(points[kept], before_each[cracks.starts], cracks.ring_labels, cracks.parts)


def _sides(image: UInt32) -> npt.NDArray[np.uint8]:
    """Return which sides of each pixel are cracks, bit d for direction d; none of label 0."""
    framed = np.pad(image, 1)
    here = framed[1:-1, 1:-1]
    sides = (here != framed[:-2, 1:-1]).astype(np.uint8)
    sides |= (here != framed[1:-1, 2:]).astype(np.uint8) << SOUTH
    sides |= (here != framed[2:, 1:-1]).astype(np.uint8) << WEST
    sides |= (here != framed[1:-1, :-2]).astype(np.uint8) << NORTH
    return np.asarray(np.where(here == 0, 0, sides), np.uint8)


@kernel
def _trace(image: UInt32, sides: npt.NDArray[np.uint8]) -> Any:
    """Join cracks to rings; `sides` is used up. A ring has a crack to the east, so only those start one."""
    height, width = image.shape
    total = 0
    for y in range(height):
        for x in range(width):
            for d in range(4):
                total += (sides[y, x] >> d) & 1
    steps = np.empty(total, np.int64)
    starts = np.empty(total // 4 + 2, np.int64)
    count, rings = 0, 0
    for y0 in range(height):
        for x0 in range(width):
            if not sides[y0, x0] & 1:
                continue
            starts[rings] = count
            rings += 1
            x, y, d = x0, y0, 0
            while sides[y, x] >> d & 1:
                sides[y, x] &= ~np.uint8(1 << d)
                steps[count] = 4 * (y * width + x) + d
                count += 1
                x, y, d = _next(image, x, y, d)
    starts[rings] = count
    return steps, starts[: rings + 1].copy()


@kernel(inline=True)
def _next(image, x, y, d):  # type: ignore[no-untyped-def]
    """Return the crack after that of pixel (x, y) in direction d: right, straight on or left."""
    height, width = image.shape
    dx, dy = (d == 0) * 1 - (d == 2) * 1, (d == 1) * 1 - (d == 3) * 1
    ax, ay = x + dx, y + dy  # pixel ahead
    label = image[y, x]
    if ax < 0 or ax >= width or ay < 0 or ay >= height or image[ay, ax] != label:
        return x, y, (d + 1) % 4
    lx, ly = ax + dy, ay - dx  # pixel ahead, left of the line of travel
    if lx < 0 or lx >= width or ly < 0 or ly >= height or image[ly, lx] != label:
        return ax, ay, d
    return lx, ly, (d + 3) % 4


@kernel
def _parts(image: UInt32) -> Int32:
    """Number the parts of an image that are connected by sides, by the first pixel of each."""
    height, width = image.shape
    root = np.empty(height * width, np.int32)
    for y in range(height):
        for x in range(width):
            n = y * width + x
            root[n] = n
            if x > 0 and image[y, x - 1] == image[y, x]:
                root[n] = _root(root, n - 1)
            if y > 0 and image[y - 1, x] == image[y, x]:
                a, b = _root(root, n - width), _root(root, n)
                low = min(a, b)
                root[a] = low
                root[b] = low
                root[n] = low
    for n in range(height * width):
        root[n] = root[root[n]]  # a root is never above its pixels, so that it is final already
    return root.reshape(height, width)


@kernel(inline=True)
def _root(root, n):  # type: ignore[no-untyped-def]
    """Return the representative of a pixel, halving the way to it."""
    while root[n] != n:
        root[n] = root[root[n]]
        n = root[n]
    return n
