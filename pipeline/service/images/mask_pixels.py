"""Expression masks as a run stores them: OME-Zarr levels in shards, read chunk by chunk.

`store.masks` reads a whole shard at every call, as a run needs it. A server is asked for one chunk at a time:
here the index of a shard is read once, and a chunk is one read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs.checksum32 import CRC32C

from pipeline.core.errors import DataError
from pipeline.core.model import SectionImage, UInt8
from pipeline.formats.images.files import ImageInfo
from pipeline.inputs.pixels import frame_factor
from pipeline.service.images.sources import Level, Size
from pipeline.store.arrays import ZSTD, read_document
from pipeline.store.masks import ABSENT, level_count, read_level

TILE_PX = 512  # side of a chunk as a run writes it
Index = npt.NDArray[np.uint64]  # (rows, columns, 2): offset and length of every chunk of a shard
PLAIN = (["bytes", "zstd"], ["bytes", "crc32c"])  # codecs of chunks and of the index that are read here


@dataclass(frozen=True, eq=False)
class ShardedLevel:
    """One level in shards.

    Attributes
    ----------
    folder : Path
        Array of the level.
    shape : (int, int), px
        Rows and columns.
    shard, chunk : (int, int), px
        Rows and columns of a shard and of a chunk.
    indices : dict of (int, int) to Index
        Indices of the shards that were read, by their place.
    """

    folder: Path
    shape: tuple[int, int]
    shard: tuple[int, int]
    chunk: tuple[int, int]
    indices: dict[tuple[int, int], Index] = field(default_factory=dict)

    def chunk_at(self, row: int, column: int) -> UInt8 | None:
        """Return a chunk.

        Parameters
        ----------
        row, column : int
            Place of the chunk.

        Returns
        -------
        (h, w) uint8 or None
            Its pixels; None where nothing in it expresses.

        Raises
        ------
        DataError
            Where the shard or the chunk is damaged or missing.
        """
        sides = self.shard[0] // self.chunk[0], self.shard[1] // self.chunk[1]
        place = row // sides[0], column // sides[1]
        path = self.folder / "c" / str(place[0]) / str(place[1])
        try:
            index = self.indices.get(place)
            if index is None:
                index = self.indices[place] = _read_index(path, sides)
            offset, count = (int(n) for n in index[row % sides[0], column % sides[1]])
            if offset == ABSENT:
                return None
            content = ZSTD.decode(_read(path, count, offset))
            return np.frombuffer(content, np.uint8).reshape(self.chunk)
        except (OSError, RuntimeError, ValueError):
            raise DataError(f"{path}: expected a whole shard, got a damaged one; run detect again") from None


OpenLevel = tuple[tuple[int, int], ShardedLevel | None]


class MaskPixels:
    """A mask of a run, as `Pixels`.

    Parameters
    ----------
    folder : Path
        OME-Zarr image, for levels that zarr reads.
    levels : sequence of ((int, int), ShardedLevel or None)
        Rows and columns of each level, the finest first, and how it is read; None: by zarr.
    size : (int, int)
        Width and height of the frame, px.
    factor : int
        Pixels of the frame along each side of a pixel of the mask.
    """

    is_mask = True

    def __init__(self, folder: Path, levels: Sequence[OpenLevel], size: Size, factor: int) -> None:
        self.size = size
        self._folder, self._levels = folder, tuple(levels)
        self.levels = [
            Level(shape[1], shape[0], factor * 2**number, TILE_PX, TILE_PX)
            for number, (shape, _) in enumerate(self._levels)
        ]

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
        (h, w) uint8
            The mask: 0 not expressing, else the intensity.

        Raises
        ------
        DataError
            Where a shard is damaged.
        """
        sharded = self._levels[level][1]
        if sharded is None:
            return read_level(self._folder, level, (rows, columns))
        out = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        high, wide = sharded.chunk
        places = product(
            range(rows.start // high, -(-rows.stop // high)),
            range(columns.start // wide, -(-columns.stop // wide)),
        )
        for row, column in places:
            chunk = sharded.chunk_at(row, column)
            if chunk is not None:
                y, x = row * high, column * wide
                seen = chunk[
                    max(rows.start - y, 0) : rows.stop - y, max(columns.start - x, 0) : columns.stop - x
                ]
                top, left = max(y - rows.start, 0), max(x - columns.start, 0)
                out[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
        return out

    def stored_tile(self, level: int, column: int, row: int) -> bytes | None:
        """Return nothing: chunks are no pictures that a browser reads.

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


def open_mask(folder: Path, image: SectionImage) -> MaskPixels:
    """Open the mask of a section.

    Parameters
    ----------
    folder : Path
        OME-Zarr image.
    image : SectionImage
        The section; where its size is not known, the frame is that of the mask.

    Returns
    -------
    MaskPixels
        The mask in the frame of the section.

    Raises
    ------
    DataError
        Where the mask is damaged, or its size is not the section's, halved some times.
    """
    levels = [_opened(folder / str(number)) for number in range(level_count(folder))]
    if not levels:
        raise DataError(f"{folder}: expected an OME-Zarr image with levels, got none; run detect again")
    height, width = levels[0][0]
    if not (image.width_px and image.height_px):
        return MaskPixels(folder, levels, (width, height), 1)
    factor = frame_factor(replace(image, path=folder), ImageInfo(width, height, 1, 8, None, "OME-Zarr"))
    return MaskPixels(folder, levels, (image.width_px, image.height_px), factor)


def _opened(folder: Path) -> OpenLevel:
    """Return the shape of a level, and the level itself where its form is the one that is read here."""
    try:
        document = read_document(folder)
        rows, columns = (int(n) for n in document["shape"])
    except (OSError, LookupError, TypeError, ValueError):
        raise DataError(
            f"{folder}: expected a level of an OME-Zarr image, got none; run detect again"
        ) from None
    return (rows, columns), _sharded(folder, (rows, columns), document)


def _sharded(folder: Path, shape: tuple[int, int], document: dict[str, Any]) -> ShardedLevel | None:
    try:
        (coded,) = document["codecs"]
        form = coded["configuration"]
        names = tuple([codec["name"] for codec in form[key]] for key in ("codecs", "index_codecs"))
        plain = names == PLAIN and form["index_location"] == "end" and document["data_type"] == "uint8"
        if coded["name"] != "sharding_indexed" or not plain or document.get("fill_value") != 0:
            return None
        shard_y, shard_x = (int(n) for n in document["chunk_grid"]["configuration"]["chunk_shape"])
        chunk_y, chunk_x = (int(n) for n in form["chunk_shape"])
    except (LookupError, TypeError, ValueError):
        return None
    return ShardedLevel(folder, shape, (shard_y, shard_x), (chunk_y, chunk_x))


def _read_index(path: Path, sides: tuple[int, int]) -> Index:
    count = sides[0] * sides[1] * 16 + 4  # offset and length of each chunk, then the CRC-32C
    content = _read(path, count, path.stat().st_size - count)
    return np.frombuffer(CRC32C().decode(content), "<u8").reshape(*sides, 2)


def _read(path: Path, count: int, offset: int) -> bytes:
    if offset < 0:
        raise ValueError("a shard shorter than its index")
    number = os.open(path, os.O_RDONLY)
    try:
        return os.pread(number, count, offset)
    finally:
        os.close(number)
