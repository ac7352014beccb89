"""What can be served as an image: pixels at several levels, some of them as tiles that lie ready.

Everything is stated in the manifest's frame. A level is that frame reduced by a whole factor, its scale; the
file of an image may begin at a scale above 1. An image that is stored coarsely has no level at scale 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.core.blocks import block_mean
from pipeline.core.model import UInt8

WHITE, BLACK = 255, 0  # what lies beyond the pixels of an image, and of a mask
TILE_PX = 256
Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Level:
    """One level of an image.

    Attributes
    ----------
    width, height : int
        Size, pixels of this level.
    scale : int
        Pixels of the frame along each side of a pixel of this level.
    tile_width, tile_height : int
        Size of its tiles, pixels of this level.
    """

    width: int
    height: int
    scale: int
    tile_width: int = TILE_PX
    tile_height: int = TILE_PX


class Pixels(Protocol):
    """An image, a mask or a plate that regions can be cut from; `ArrayPixels` is the plainest."""

    @property
    def size(self) -> Size:
        """Width and height of the frame, px."""

    @property
    def levels(self) -> Sequence[Level]:
        """Levels, the finest first."""

    @property
    def is_mask(self) -> bool:
        """Whether 0 means nothing: reduced by the maximum, black beyond; else by the mean, and white."""

    def read(self, level: int, rows: slice, columns: slice) -> UInt8:
        """Return some pixels of a level.

        Parameters
        ----------
        level : int
            Index into `levels`.
        rows, columns : slice
            Start and stop inside the level, px of the level.

        Returns
        -------
        (h, w) or (h, w, 3) uint8
            Grey or RGB.
        """

    def stored_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return a tile as it is stored, where it is a JPEG and lies inside the level as a whole.

        Parameters
        ----------
        level : int
            Index into `levels`.
        column, row : int
            Place of the tile.

        Returns
        -------
        bytes or None
            A complete JPEG; None where the tile has to be made.
        """


class ArrayPixels:
    """Pixels in memory, at one scale and its halvings down to a tile.

    Parameters
    ----------
    pixels : (h, w) or (h, w, 3) uint8
        The finest level.
    size : (int, int), optional
        Width and height of the frame, px; default that of the pixels.
    scale : int
        Pixels of the frame along each side of a pixel.
    is_mask : bool
        Whether 0 means nothing.
    """

    def __init__(
        self, pixels: UInt8, size: Size | None = None, scale: int = 1, *, is_mask: bool = False
    ) -> None:
        self.size = (pixels.shape[1] * scale, pixels.shape[0] * scale) if size is None else size
        self.is_mask = is_mask
        self._arrays = [pixels]
        while not is_mask and max(self._arrays[-1].shape[:2]) > TILE_PX:
            self._arrays.append(block_mean(self._arrays[-1], 2))
        self.levels = [
            Level(a.shape[1], a.shape[0], scale * 2**number) for number, a in enumerate(self._arrays)
        ]

    @property
    def nbytes(self) -> int:
        """Memory that the levels take, bytes."""
        return sum(array.nbytes for array in self._arrays)

    def read(self, level: int, rows: slice, columns: slice) -> UInt8:
        """Return some pixels of a level, as `Pixels.read`.

        Parameters
        ----------
        level : int
            Index into `levels`.
        rows, columns : slice
            Start and stop inside the level, px of the level.

        Returns
        -------
        (h, w) or (h, w, 3) uint8
            Grey or RGB.
        """
        return self._arrays[level][rows, columns]

    def stored_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return nothing: no tile lies ready.

        Parameters
        ----------
        level : int
            Index into `levels`.
        column, row : int
            Place of the tile.

        Returns
        -------
        None
            Always.
        """
        return None


class Layers:
    """Levels of several sources of one frame as one image.

    Parameters
    ----------
    size : (int, int)
        Width and height of the frame, px.
    parts : sequence of (Pixels, int)
        Source and index of its level, the finest first.
    """

    is_mask = False

    def __init__(self, size: Size, parts: Sequence[tuple[Pixels, int]]) -> None:
        self.size = size
        self._parts = tuple(parts)
        self.levels = [source.levels[index] for source, index in self._parts]

    def read(self, level: int, rows: slice, columns: slice) -> UInt8:
        """Return some pixels of a level, as `Pixels.read`.

        Parameters
        ----------
        level : int
            Index into `levels`.
        rows, columns : slice
            Start and stop inside the level, px of the level.

        Returns
        -------
        (h, w) or (h, w, 3) uint8
            Grey or RGB.
        """
        source, index = self._parts[level]
        return source.read(index, rows, columns)

    def stored_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return a tile as stored, as `Pixels.stored_tile`.

        Parameters
        ----------
        level : int
            Index into `levels`.
        column, row : int
            Place of the tile.

        Returns
        -------
        bytes or None
            A complete JPEG; None where the tile has to be made.
        """
        source, index = self._parts[level]
        return source.stored_tile(index, column, row)
